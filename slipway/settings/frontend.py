"""Settings of the frontend."""

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from slipway.settings.routes import overlaps
from slipway.settings.types import ALL, Command, OptionalFolder, Section, matching


class Frontend(Section):
    """Frontend"""

    per_site = ALL

    frontend_source: OptionalFolder
    """The frontend's source; `""` for none: the backend answers everything."""

    frontend_build: Command = "npm ci --no-audit --no-fund && npm run build"
    """The command that builds it, in `frontend_source`."""

    frontend_output: Annotated[
        str, matching(r"(?!\.\.)[\w.-]+(/(?!\.\.)[\w.-]+)*", "a folder below frontend_source")
    ] = "build"
    """The folder that the build writes."""

    frontend_build_on: Literal["local", "server"] = "local"
    """Where it is built: `"local"`, on your machine; or `"server"`, in a sandbox, by Debian's Node.js and npm, which
    Slipway installs. Then `frontend_source` is uploaded without hidden files, node_modules and tests."""

    frontend_assets: Annotated[str, matching(r"(/[\w.-]+)+/", 'a URL path between slashes as "/static/"')] = "/static/"
    """URL path of the files with a hash of their content in their names. Browsers cache them for a year."""

    @field_validator("frontend_assets")
    @classmethod
    def _not_of_another(cls, value: str, info: ValidationInfo) -> str:
        if not info.data.get("frontend_source"):
            return value
        paths = [(f"backend_paths {text!r}", text) for text in info.data.get("backend_paths", [])]
        paths += [("shared_urls", text) for text in info.data.get("shared_urls", {})]
        if problems := overlaps(paths, {value: "the frontend's files"}):
            raise ValueError(f"a path of their own; {'; '.join(problems)}")
        return value
