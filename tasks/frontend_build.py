"""Building the frontend on the server, and the checks of the build tools, local or on the server."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from slipway.facts.base import Output
from slipway.releases import artifact, build_tools, builds, shipped
from slipway.settings.model import Settings
from slipway.tasks.python_environment import SANDBOX

# The Debian packages that a build on the server needs.
BUILD_PACKAGES = ["brotli", "nodejs", "npm"]


def build_there(settings: Settings) -> list[str]:
    """Steps of a shell script that build the frontend of $new from its source on the host, and compress its files as
    slipway/releases/artifact.py does."""
    output = shlex.quote(settings.frontend_output)
    # stdout is the archive, so the build's output goes to stderr.
    script = (
        f"cd $CACHE_DIRECTORY; rm -rf source; mkdir source; cd source; tar -x; {{ {settings.frontend_build}; }} >&2;"
        f" [ -e {output}/index.html ] || {{ echo frontend_build left no {settings.frontend_output}/index.html >&2;"
        f" exit 1; }}; tar -c -C {output} ."
    )
    sandbox = " ".join(f"-p {item}" for item in SANDBOX)
    cache = f"slipway-build-{settings.site_name}"
    more = builds.more_memory("frontend_build", settings.frontend_build)
    peers = builds.without_peers("frontend_build", settings.frontend_build)
    names = " -o ".join(f"-name '*{suffix}'" for suffix in sorted(artifact.COMPRESSED))
    gaining = f"-type f -size +{artifact.MIN_COMPRESSED_BYTES - 1}c \\( {names} \\)"
    return [
        f"tar -c -C $new/{artifact.SOURCE} . > $new/source.tar",
        # OOMPolicy: without memory only the program that needs it is killed, and the exit code tells so.
        f"{{ systemd-run --quiet --pipe --wait --collect {sandbox} -p OOMPolicy=continue -p CacheDirectory={cache}"
        f" -E HOME=/var/cache/{cache} /bin/sh -euc {shlex.quote(script)} < $new/source.tar 2>&1 > $new/build.tar"
        " || echo $? > $new/code; } | tee $new/build.log >&2",
        f"if [ -e $new/code ]; then grep -q {shlex.quote(builds.PEERS_CONFLICT)} $new/build.log"
        f" && echo {shlex.quote(peers)} >&2; grep -q {shlex.quote(builds.HEAP_IS_FULL)} $new/build.log"
        f" || [ $(cat $new/code) = {builds.KILLED} ] && echo {shlex.quote(more)} >&2; exit 1; fi",
        "mkdir -p $new/frontend/build; tar -x -C $new/frontend/build --no-same-owner -f $new/build.tar",
        "rm $new/source.tar $new/build.tar $new/build.log; find $new/frontend/build -name '.?*'"
        f" ! -name {shipped.WELL_KNOWN} -prune -exec rm -rf {{}} +",
        # Overwrites files that the build has compressed itself.
        f"find $new/frontend/build {gaining} -exec brotli --force --keep --quality={artifact.BROTLI_QUALITY} {{}} +"
        f" -exec gzip --force --keep --no-name -{artifact.GZIP_LEVEL} {{}} +",
    ]


def check_build_tools(settings: Settings, parts: Collection[str]) -> None:
    """Raises PyinfraError, before anything changes, if one of the parts can't be built."""
    problems = build_tools.backend_problems(settings) if "backend" in parts else []
    if "frontend" in parts and settings.frontend_build_on == "server":
        # A fresh server gets it with the packages.
        found = host.get_fact(Output, command="node --version")
        problems += build_tools.problems_there(settings, found, host.name)
    elif "frontend" in parts:
        problems += build_tools.problems_here(settings)
    if problems:
        raise PyinfraError("\n".join([*problems, "nothing was changed"]))
