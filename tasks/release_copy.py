"""A release of another application server behind a load balancer, copied, so that all serve the same: the live one, for
a server that has none, or one to roll back to."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Collection
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import across, notes
from slipway.engine.uploads import with_input
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.releases import artifact
from slipway.settings.model import Settings
from slipway.tasks import python_environment, rolling
from slipway.tasks.release_steps import command
from slipway.tasks.unpacking import unpack_script


def of_others(settings: Settings) -> tuple[str, str]:
    """The name of a server with a live release, and its id; two times "" if there is none."""
    if not rolling.is_rolling(settings):
        return "", ""
    names = [peer.name for peer in settings.peers_with("web") if not peer.is_here]
    links = across.facts(host, names, lambda _: (Output, {"command": f"readlink {settings.site_root}/current"}))
    found = {name: link.strip().removeprefix("releases/") for name, link in links.items()}
    # One of this run is being built on each of them.
    there = ((name, its) for name, its in found.items() if its not in ("", artifact.release_id(settings)))
    return next(there, ("", ""))


def problems(settings: Settings) -> list[str]:
    """What keeps this server from getting the live release of another one: an adopted site's has no list of the
    packages that it needs, and paths of that server alone."""
    source, release_id = of_others(settings)
    file = f"{settings.site_root}/releases/{release_id}/backend/{python_environment.REQUIREMENTS}"
    question = (Output, {"command": f"ls {file}"})
    if not source or across.facts(host, [source], lambda _: question).get(source, file):
        return []
    return [
        f"release of {settings.site_name}: found {release_id} live on {source}, a copy of the site as it was adopted,"
        " need one that other servers can have, too: leave this server out of the inventory, `slipway release`, and add"
        " it then"
    ]


def server_with(settings: Settings, release_id: str) -> str:
    """The name of another server that has a release, "" if there is none."""
    if not rolling.is_rolling(settings) or not release_id:
        return ""
    names = [peer.name for peer in settings.peers_with("web") if not peer.is_here]
    command = f"ls -d {settings.site_root}/releases/{shlex.quote(release_id)}"
    found = across.facts(host, names, lambda _: (Output, {"command": command}))
    return next((name for name, there in found.items() if there.strip()), "")


def copy(settings: Settings, parts: Collection[str], source: str, release_id: str) -> Commands:
    """Unpack the release of another server as this one's. Its Python packages are installed by its own locked list."""
    wanted = python_environment.of(settings) if "backend" in parts else None
    # A plan stops at the first command, so only an apply reads it.
    yield f"umask 022; mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    left_out = "--exclude=./backend/.venv --exclude=__pycache__"
    pack = f"tar -C {settings.site_root}/releases/{release_id} -cz {left_out} . | base64 -w 0"
    packed = base64.b64decode(across.output(host.inventory.get_host(source), pack))
    if not packed:
        raise PyinfraError(f"{host.name}: found nothing of the release {release_id} on {source}; run it again")
    release = artifact.Release(release_id, Path())
    yield with_input(unpack_script(settings, release, parts, (), wanted, is_built=True), packed)


@operation()
def copy_missing(settings: Settings, parts: Collection[str], release_id: str) -> Commands:
    """Copy a release that this server does not have: it was added after it."""
    place = f"{settings.site_root}/releases/{shlex.quote(release_id)}"
    if host.get_fact(Output, command=f"cd {place} && pwd").strip():
        return
    source = server_with(settings, release_id)
    notes.note(f"the host does not have {release_id}: it is copied from {source}")
    yield from copy(settings, parts, source, release_id)
    if "frontend" in parts:
        yield command(settings, "pages", release_id, "discard")
