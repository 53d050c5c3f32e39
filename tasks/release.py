"""What runs on the server: releases in `releases/<id>`, of which `current` is a link to one.

A release is unpacked and complete before the link moves, in one rename, so that no visitor sees half of it; `previous`
keeps the hashed files of the page that a visitor has open reachable.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import StringCommand, operation
from pyinfra.api.exceptions import PyinfraError

from slipway import artifact, report
from slipway.components import component
from slipway.facts import Output
from slipway.operations import Commands, and_wait, directory, link, with_input
from slipway.settings import Settings


@component
def first_release(settings: Settings) -> None:
    """The folders of the site, and a first release in them."""
    directory(name="Make the site's folder", path=settings.site_root)
    ship_first(name="Ship the first release, if there is none", settings=settings, groups=tuple(host.groups))
    relink(name="Point to a release", settings=settings)
    # The paths that the site's owner is used to.
    for part, role in (("backend", "app"), ("frontend", "web")):
        if role in host.groups:
            link(
                name=f"Keep the usual path of the {part}", path=f"{settings.site_root}/{part}", target=f"current/{part}"
            )


def healthy(settings: Settings) -> str:
    """A shell test: the backend answers its health path."""
    if settings.backend_is_tcp:
        where = f"http://{settings.backend_listen}"
    else:
        where = f"--unix-socket {settings.backend_listen} http://localhost"
    return f"curl -fsS --max-time 5 -o /dev/null {where}{settings.backend_health_path} 2>/dev/null"


def current(settings: Settings) -> str:
    """The id of the release that `current` leads to, "" where there is none."""
    return host.get_fact(
        Output, command=f"cd {settings.site_root}/current && here=$(pwd -P) && echo ${{here##*/}}"
    ).strip()


def shipped(settings: Settings) -> list[str]:
    """The ids of the complete releases on the host, the oldest first."""
    listing = host.get_fact(Output, command=f"ls -1 {settings.site_root}/releases")
    return sorted(line for line in listing.split() if not line.endswith(".new"))


@operation()
def begin_first(settings: Settings, groups: tuple[str, ...]) -> Commands:
    """Begin what takes long in a first release, here and on the host; shipping it waits for both.

    It only saves time: `ship_first` tells what did not go well here, and does again what did not go well there.
    """
    if shipped(settings):
        return
    report.note("the host has no release: what takes long in making one begins beside the packages")
    # A plan stops at the first command: nothing is built until the release is really wanted.
    yield f"mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    if "web" in groups:
        artifact.begin(settings)
    if "app" in groups:
        requirements = f"{settings.site_root}/venvs/.requirements.txt"
        script = shlex.quote("; ".join(environment(settings, requirements)))
        yield with_input(
            f"base64 -d > {requirements}; setsid sh -euc {script} < /dev/null > /dev/null 2>&1 &",
            (Path(settings.backend_source) / "requirements.txt").read_bytes(),
        )


@operation()
def ship_first(settings: Settings, groups: tuple[str, ...]) -> Commands:
    """Build and ship a release where the host has none; what runs on a server that has one is not apply's business."""
    if shipped(settings):
        return
    report.note("the host has no release: the first one is built here and shipped")
    yield from _ship(settings, groups)


@operation()
def ship(settings: Settings, groups: tuple[str, ...]) -> Commands:
    """Build this checkout's release, ship it, switch to it, and switch back if it is not healthy."""
    if not shipped(settings):
        raise PyinfraError(
            f"{host.name} has no release yet; nothing was changed. Type `slipway apply` first: it ships the first one"
        )
    release_id = yield from _ship(settings, groups)
    if "app" in groups:
        yield _restart_or_go_back(settings, release_id)
    yield _prune(settings)


@operation()
def relink(settings: Settings) -> Commands:
    """Point `current` to the newest release where it leads nowhere."""
    releases = shipped(settings)
    if releases and current(settings) not in releases:
        report.note(f"current -> releases/{releases[-1]}")
        yield _switch(settings, releases[-1])


def _ship(settings: Settings, groups: tuple[str, ...]) -> Generator[StringCommand | str, None, str]:
    """Returns the release's id."""
    # A plan stops at the first command: nothing is built until the release is really wanted.
    yield f"mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    release = artifact.build(settings, groups)
    report.note(f"release {release.id}: {len(release.archive) // 1024} KiB")
    yield with_input(unpack_script(settings, release.id, with_backend="app" in groups), release.archive)
    yield _switch(settings, release.id)
    return release.id


def unpack_script(settings: Settings, release_id: str, with_backend: bool) -> str:
    """A shell script that unpacks the archive on its standard input as a release, complete with its environment."""
    root = settings.site_root
    steps = [
        # What an upload that was cut off left goes.
        f"umask 022; rm -rf {root}/releases/*.new; new={root}/releases/{release_id}.new; mkdir $new",
        "base64 -d | tar -xz -C $new --no-same-owner",
    ]
    if with_backend:
        steps += [
            *environment(settings, "$new/backend/requirements.txt"),
            "ln -s $venv $new/backend/.venv",
            "$venv/bin/python -m compileall -q $new/backend -x '[.]venv'",
        ]
    # On the disk before it has its name: where the power is cut, what is complete by name is so in content.
    return "; ".join([*steps, "sync -f $new", f"mv -T $new {root}/releases/{release_id}"])


def environment(settings: Settings, requirements: str) -> list[str]:
    """Steps of a shell script that make $venv the Python environment for a file with the locked dependencies."""
    venvs = f"{settings.site_root}/venvs"
    return [
        # Releases with the same locked dependencies and the same Python share an environment.
        f"venv={venvs}/$( (cat {requirements}; python3 -V) | sha256sum | cut -c1-16)",
        f"exec 9> {venvs}/.lock; flock 9",
        "if [ ! -e $venv/.complete ]; then rm -rf $venv; python3 -m venv --without-pip $venv;"
        # Debian's own pip from its wheel: one in the environment takes seconds to put there, and is of no use later.
        " PYTHONPATH=$(echo /usr/share/python-wheels/pip-*.whl)"
        # The system's trust, not the bundle that pip brings: a company's own CA counts.
        " PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_DISABLE_PIP_VERSION_CHECK=1 $venv/bin/python -m pip install"
        f" --quiet --no-cache-dir --require-hashes --only-binary :all: -r {requirements};"
        # On the disk before it is called complete, or a power cut would leave one that is for ever half.
        " sync -f $venv; touch $venv/.complete; fi; exec 9>&-",
    ]


def _switch(settings: Settings, release_id: str) -> str:
    """Move `current` to a release in one rename, and `previous` to where it was."""
    root = shlex.quote(settings.site_root)
    return (
        f"cd {root} && if [ -e current/. ]; then ln -sfn releases/$(basename $(realpath current)) previous.new"
        " && mv -fT previous.new previous; fi"
        f" && ln -sfn releases/{release_id} current.new && mv -fT current.new current"
    )


def _restart_or_go_back(settings: Settings, release_id: str) -> str:
    unit = f"{settings.backend_unit}.service"
    # In a subshell, as and_wait ends with exit.
    restart = f"({and_wait(f'systemctl restart {unit}', unit, healthy(settings))})"
    # A release that does not work is not kept: it would be the newest, which a lost link is mended with.
    back = (
        f"cd {settings.site_root}; echo 'the new release is not healthy: back to the one before' >&2;"
        f" cp -dT previous current.new && mv -fT current.new current && {restart} && rm -rf releases/{release_id};"
        " exit 1"
    )
    return f"{restart} || {{ {back}; }}"


def _prune(settings: Settings) -> str:
    """Remove the oldest releases, never the current or the previous one, and environments that none uses."""
    return (
        f"cd {settings.site_root} && for old in $(ls -1 releases | sort | head -n -{settings.releases_kept}); do"
        " case releases/$old in $(readlink current)|$(readlink previous)) ;; *) rm -rf releases/$old ;; esac; done;"
        " for venv in venvs/*; do"
        " readlink releases/*/backend/.venv | grep -q /$venv\\$ || rm -rf $venv; done"
    )
