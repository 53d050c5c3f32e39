"""Frontends whose pages a program makes for each request: how it is built, and what runs it as a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from slipway.settings import frontend_tool
from slipway.settings import node_versions as node

# The folder of the program below the backend's.
FOLDER = "web"
# Of Debian 12 and 13.
DEBIAN = {12: (18, 20, 4), 13: (20, 19, 2)}
# The versions of Node.js that the programs need, by package and major version.
# https://nextjs.org/docs/app/getting-started/installation, https://nuxt.com/docs/getting-started/installation
NEEDED = {("next", 15): ">=18.18", ("next", 16): ">=20.9", ("nuxt", 4): ">=20.19"}


# SvelteKit's version of the build, with its default appDir. https://svelte.dev/docs/kit/configuration#version
OF_SVELTEKIT = "/_app/version.json"
# What installs the packages that a program needs when it runs.
PRODUCTION = {
    "npm": "npm ci --omit=dev --no-audit --no-fund",
    "pnpm": "pnpm install --prod --frozen-lockfile",
    "yarn": "yarn install --production --frozen-lockfile",
    "bun": "bun install --production --frozen-lockfile",
    # Since version 4 without a plugin; Node.js finds no packages that Yarn keeps in archives.
    frontend_tool.BERRY: "YARN_NODE_LINKER=node-modules yarn workspaces focus --all --production",
}
# An option whose value is an address of the developer's machine.
_LOCAL_OPTION = re.compile(r"(\w+)\s*:[^\n,]*?['\"`]https?://(?:localhost|127\.0\.0\.1)(?::\d+)?([^'\"`]*)")


@dataclass(frozen=True)
class PagesServer:
    """`variables` come before the build's command; `copy` copies the program from the build to $OUTPUT; `command` runs
    it in the backend's folder. `node` are the versions of Node.js that it needs, "" for any. `health_path` is answered
    without a request to the API: a page asks the API that visitors have, which has no new routes before the switch, and
    is not there at all before the first one."""

    variables: str
    copy: str
    command: str
    environment: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    health_path: str = "/favicon.ico"

    def needs_newer(self, wanted: str) -> str:
        """The versions of Node.js that Debian 12 lacks; `wanted` are the repository's. "" for none."""
        return next((one for one in (self.node, wanted) if one and not node.satisfies(DEBIAN[12], one)), "")


def of_next(version: str, folder: str, lock: str, is_standalone: bool, dist: str) -> PagesServer:
    """Next.js' standalone output. `version` is that in package.json; `folder` and `lock` are paths in the repository;
    `dist` is the folder that the build writes.

    https://nextjs.org/docs/app/api-reference/config/next-config-js/output
    """
    # Next.js traces files from the folder of the lock, and the program is below it.
    top = PurePosixPath(lock).parent if lock else PurePosixPath(folder)
    inner = PurePosixPath(folder).relative_to(top).as_posix()
    place = FOLDER if inner == "." else f"{FOLDER}/{inner}"
    root = "$PWD" if inner == "." else f'"$(cd {"/".join([".."] * len(PurePosixPath(inner).parts))} && pwd)"'
    # The defaults of two settings, in place of lines in next.config.
    variables = f"NEXT_PRIVATE_OUTPUT_TRACE_ROOT={root}"
    variables += "" if is_standalone else " NEXT_PRIVATE_STANDALONE=1"
    copy = (
        f"cp -R {dist}/standalone $OUTPUT/{FOLDER} && cp -R {dist}/static $OUTPUT/{place}/{dist}/static"
        f" && if [ -d public ]; then cp -R public $OUTPUT/{place}/; fi"
    )
    environment = {"HOSTNAME": "127.0.0.1"}
    return PagesServer(variables, copy, f"node {place}/server.js", environment, _needed("next", version))


def of_nuxt(version: str, environment: Mapping[str, str]) -> PagesServer:
    """https://nuxt.com/docs/getting-started/deployment"""
    copy, command = f"cp -R .output $OUTPUT/{FOLDER}", f"node {FOLDER}/server/index.mjs"
    return PagesServer("", copy, command, environment, _needed("nuxt", version))


def of_packages(
    folder: str, lock: str, manager: str, command: str, health_path: str = PagesServer.health_path
) -> PagesServer | None:
    """A program in build/ that needs the packages of package.json; None if there is no lock for them alone. `command`
    runs it in the folder of the program.

    https://svelte.dev/docs/kit/adapter-node, https://reactrouter.com/start/framework/deploying
    """
    if manager not in PRODUCTION or PurePosixPath(lock).parent != PurePosixPath(folder):
        return None
    copy = (
        f"mkdir $OUTPUT/{FOLDER} && cp -R build package.json {PurePosixPath(lock).name} $OUTPUT/{FOLDER}/"
        f" && cd $OUTPUT/{FOLDER} && {PRODUCTION[manager]}"
    )
    # What SvelteKit takes for the origin of forms.
    return PagesServer("", copy, command, {"ORIGIN": "https://{site_domain}"}, health_path=health_path)


def nuxt_variables(config: str) -> dict[str, str]:
    """The variables for addresses of the developer's machine in the runtimeConfig of nuxt.config.

    https://nuxt.com/docs/guide/going-further/runtime-config#environment-variables
    """
    _, found, rest = config.partition("runtimeConfig")
    variables = {}
    if found:
        before, _, public = rest.partition("public")
        for prefix, text in (("NUXT_", before), ("NUXT_PUBLIC_", public)):
            for name, path in _LOCAL_OPTION.findall(text):
                words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
                variables[f"{prefix}{words}"] = f"https://{{site_domain}}{path.rstrip('/')}"
    return variables


def _needed(package: str, version: str) -> str:
    major = re.search(r"\d+", version)
    return NEEDED.get((package, int(major[0])), "") if major else ""
