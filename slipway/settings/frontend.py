"""Settings of the frontend."""

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from slipway.settings import frontend_tool as tool
from slipway.settings.node_versions import is_known
from slipway.settings.routes import overlaps
from slipway.settings.types import ALL, Check, Command, OptionalFolder, Section, derived_by, matching


class Frontend(Section):
    """Frontend"""

    per_site = ALL

    frontend_source: OptionalFolder
    """The frontend's source; `""` for none: the backend answers everything."""

    frontend_build_on: Literal["local", "server"] = "local"
    """Where it is built: `"local"`, on your machine; or `"server"`, in a sandbox, by Debian's Node.js and npm, which
    Slipway installs. What of `frontend_source` is uploaded: [releases.md](releases.md#what-is-shipped). A member of a
    workspace, whose lock is further up, needs `"local"`, and so do several servers behind a load balancer."""

    frontend_build: Command = derived_by(
        f'npm, yarn, pnpm or bun, by `packageManager` in package.json or the lock file: `"{tool.NPM}"`',
        ["frontend_source", "frontend_build_on"],
        lambda source, build_on: tool.build_command(source, build_on) if source else tool.NO_BUILD,
    )
    """The command that builds it, in `frontend_source`. Without a package.json there is nothing to build: the pages are
    released as they are."""

    frontend_output: Annotated[
        str, matching(r"([.]|(?!\.\.?(/|$))[\w.-]+(/(?!\.\.?(/|$))[\w.-]+)*)?", "a folder below frontend_source")
    ] = derived_by(
        "what Vite (with its configuration), react-scripts, Next.js or Astro writes",
        ["frontend_source"],
        lambda source: source and tool.output(source),
    )
    """The folder that the build writes; `"."` for `frontend_source` itself."""

    frontend_assets: Annotated[str, matching(r"((/[\w.-]+)+/)?", 'a URL path between slashes as "/static/", or ""')] = (
        derived_by(
            "that of the same tool",
            ["frontend_source", "frontend_output"],
            lambda source, output: source and tool.assets(source, output),
        )
    )
    """URL path of the files with a hash of their content in their names, `""` for none. Browsers cache these for a
    year, and ask again for files there without a hash, such as a build's copies of its public folder."""

    frontend_node: Annotated[str, Check(is_known, 'versions of Node.js, as ">=20"')] = derived_by(
        "`.nvmrc`, `.node-version` or `engines` in package.json",
        ["frontend_source"],
        lambda source: source and tool.node_versions(source),
    )
    """The versions of Node.js that build it, in npm's notation; `""` for any. A plan of a release compares them with
    the one that is there."""

    @field_validator("frontend_output")
    @classmethod
    def _is_known(cls, value: str, info: ValidationInfo) -> str:
        if not value and (source := info.data.get("frontend_source")):
            raise ValueError(
                f'the folder that frontend_build writes in {source}, as "dist": package.json and the configuration'
                " there do not tell it; set frontend_output, and frontend_assets"
            )
        return value

    @field_validator("frontend_assets")
    @classmethod
    def _not_of_another(cls, value: str, info: ValidationInfo) -> str:
        if not value or not info.data.get("frontend_source"):
            return value
        paths = [(f"backend_paths {text!r}", text) for text in info.data.get("backend_paths", [])]
        paths += [("shared_urls", text) for text in info.data.get("shared_urls", {})]
        if problems := overlaps(paths, {value: "the frontend's files"}):
            raise ValueError(f"a path of their own; {'; '.join(problems)}")
        return value
