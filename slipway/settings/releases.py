"""Settings of releases. What one release is of, its arguments say."""

from typing import Annotated

from pydantic import Field

from slipway.settings.types import ALL, Mebibytes, PlainLine, Seconds, Section, Unit, matching


class Releases(Section):
    """Releases"""

    per_site = ALL

    keep_releases: Annotated[int, Field(ge=2, le=100), Unit("releases")] = 5
    """How many releases stay on the server, including the live one."""

    pre_activate: PlainLine = ""
    """Shell command that runs on the server before visitors get the release, in its backend folder, as the backend and
    with its secrets: a database migration, for example, which the previous release must work with. `""` for none. If it
    fails, the release is not activated."""

    post_activate: PlainLine = ""
    """The same, after visitors get the release."""

    release_hook_seconds: Annotated[Seconds, Field(ge=1, le=86_400)] = 300
    """How long `pre_activate` and `post_activate` may take, each."""

    release_drain_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 30
    """How long requests, WebSockets and streams in flight may continue in the old backend."""

    release_worker_seconds: Annotated[Seconds, Field(ge=0, le=600)] = 2
    """How long the workers of `services` must run after a release has started them. If one exits earlier, the previous
    release is activated again."""

    release_batch: Annotated[str, matching(r"[1-9]\d?|([1-9]\d?|100)%", 'a number as "2", or a share as "25%"')] = "1"
    """How many application servers behind a load balancer activate a release at once, after the first one has."""

    release_max_mb: Annotated[Mebibytes, Field(ge=1, le=4096)] = 500
    """Maximum size of a release, the sum of its files before compression."""
