"""Settings of the backend."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from slipway.project import path
from slipway.settings.types import (
    ALL,
    MIN_SERVICE_MB,
    Check,
    EnvName,
    EnvText,
    LocalFolder,
    MemoryLimit,
    PlainLine,
    Seconds,
    Section,
    Unit,
    UrlPath,
    Words,
    derived,
    is_ipv4,
    matching,
)


def is_listen_address(value: str) -> bool:
    address, _, port = value.rpartition(":")
    is_tcp = is_ipv4(address) and port.isdigit() and 1 <= int(port) <= 65535
    return is_tcp or bool(re.fullmatch(r"(/[\w.@-]+)+", value))


class Backend(Section):
    """Backend"""

    per_site = ALL

    backend_source: LocalFolder
    """The FastAPI application, with a locked `requirements.txt` (with hashes)."""

    backend_app: Annotated[str, matching(r"[\w.]+:[\w.]+", 'module:attribute as "server:app"')] = "main:app"
    """What uvicorn runs."""

    backend_workers: Annotated[int, Field(ge=1, le=64), Unit("processes")] = 2
    """Number of uvicorn workers."""

    backend_listen: Annotated[
        str, Check(is_listen_address, 'a socket\'s absolute path, or address:port as "127.0.0.1:8001"')
    ] = derived("/run/{site_name}-backend.sock")
    """Where the backend is reached: the path of a link to its unix socket, or a TCP address. With TCP a release
    restarts the backend, and requests wait for a second or two."""

    backend_health_path: UrlPath = "/api/health"
    """A path that answers when the backend and its database are well."""

    backend_health_status: Annotated[int, Field(ge=200, le=599)] = 200
    """The HTTP status of a healthy answer."""

    backend_health_body: PlainLine = ""
    """Text that a healthy answer contains; `""` for any."""

    backend_health_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """How long the backend may take to become healthy after a start."""

    backend_environment: Annotated[dict[EnvName, EnvText], Words("dictionary of variable name to text")] = Field({})
    """Environment variables of the backend. A value may name what Slipway knows, as in `{"MONGODB_URI": "{mongo_url}"}`
    ([names](secrets.md#values-that-name-a-secret)). Plans and the unit file show values, but none with a secret's name
    in it."""

    backend_memory_max_mb: MemoryLimit = 0
    """Memory limit of the backend with all its workers, as `mongodb_memory_max_mb`; 0 computes 4/10 of the memory. If
    the server runs out of memory, the kernel kills the backend before mongod."""

    backend_tasks_max: Annotated[int, Field(ge=16, le=100_000), Unit("processes and threads")] = 512
    """Maximum number of the backend's processes and threads. FastAPI uses up to 40 threads in each worker."""

    @field_validator("backend_source")
    @classmethod
    def _holds_an_application(cls, value: str) -> str:
        if not (path(value) / "requirements.txt").is_file():
            raise ValueError("a folder with a requirements.txt in it")
        return value

    @field_validator("backend_memory_max_mb")
    @classmethod
    def _enough_for_python(cls, value: int) -> int:
        if 0 < value < MIN_SERVICE_MB:
            raise ValueError(f"0, or at least {MIN_SERVICE_MB}")
        return value
