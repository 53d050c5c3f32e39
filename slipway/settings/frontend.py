"""Settings of the frontend."""

from typing import Annotated, Literal

from slipway.settings.types import ALL, Command, LocalFolder, Section, matching


class Frontend(Section):
    """Frontend"""

    per_site = ALL

    frontend_source: LocalFolder
    """The frontend's source."""

    frontend_build: Command = "npm ci --no-audit --no-fund && npm run build"
    """The command that builds it, in `frontend_source`."""

    frontend_output: Annotated[
        str, matching(r"(?!\.\.)[\w.-]+(/(?!\.\.)[\w.-]+)*", "a folder below frontend_source")
    ] = "build"
    """The folder that the build writes."""

    frontend_build_on: Literal["local", "server"] = "local"
    """Where it is built: `"local"`, on your machine; or `"server"`, in a sandbox, by Debian's Node.js and npm, which
    Slipway installs. Then `frontend_source` is uploaded without hidden files, node_modules and tests."""

    frontend_assets: Annotated[
        str, matching(r"/(?!api/)[\w.-]+/", 'a URL path between slashes as "/static/", not "/api/"')
    ] = "/static/"
    """URL path of the files with a hash of their content in their names. Browsers cache them for a year."""
