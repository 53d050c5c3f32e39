"""`slipway lock`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click
from pyinfra.api.host import Host

from slipway import project
from slipway.cli.options import examples, of_site, on_hosts, pass_console
from slipway.cli.running import connected, names_of, warn
from slipway.dependencies.model import DependenciesError
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.facts.machine import Machine
from slipway.settings.model import Settings
from slipway.ui.console import Console, escape

# What a server is that nobody has reached.
DEFAULT_SYSTEM = "debian-12"
# A lock opens no account: a project without a key of the administrator's yet has one, too.
ANY_KEY = 'admin_keys=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA unused"]'


@click.command(
    epilog=examples(
        "slipway lock",
        "slipway lock --upgrade",
        "slipway lock --site blog",
        "slipway lock --data python_version=3.12   (does not connect)",
    )
)
@on_hosts
@of_site
@click.option("--upgrade", is_flag=True, help="Take the newest versions that the list allows, not those of the lock.")
@pass_console
def lock(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], site: str, upgrade: bool
) -> None:
    """Lock the backend's dependencies, with hashes, for the server's Python. Commit the file that it writes."""
    session = Session(environment, "", limit, [ANY_KEY, *data, *([f"release_site={site}"] if site else [])])
    wanted = {host.name: sites_of(session, host) for host in session.connections.hosts() if "app" in host.groups}
    if not any(wanted.values()):
        raise RunFailed(f"found no host with the role app among {names_of(session)}; nothing to lock")
    pythons: dict[str, str] = {}
    if all(one.python_version for sites in wanted.values() for one in sites):
        warn(session, console)
    else:
        pythons = _of_servers(session, console, [*wanted])
    for line in locked(wanted, pythons, upgrade):
        console.say(escape(line))


def _of_servers(session: Session, console: Console, names: list[str]) -> dict[str, str]:
    """The minor versions of the hosts' own Pythons. One that is not reached, as it does not exist yet say, is taken for
    one of the default system: a plan compares. Raises RunFailed."""
    from slipway.systems import SYSTEMS

    try:
        with connected(session, console), console.doing(f"Asking {names_of(session)} for Python"):
            found = session.connections.ask(_machine)
        failures = dict(session.connections.failures)
    except RunFailed as error:
        found, failures = {}, dict.fromkeys(names, str(error))
    pythons = {name: system_python(machine) for name, machine in found.items()}
    supposed = SYSTEMS[DEFAULT_SYSTEM]
    if missing := [name for name in names if name not in pythons]:
        why = failures.get(missing[0], "no answer").partition("\n")[0]
        click.echo(
            f"slipway: warning: {why}; locked for Python {supposed.python}, which {supposed.title} has. Lock again when"
            " the server is there and has another one, or set python_version",
            err=True,
        )
    return {name: supposed.python for name in missing} | pythons


def sites_of(session: Session, host: Host) -> list[Settings]:
    """The sites of a host that are locked: all of them, or the one that is asked for."""
    settings = session.connections.settings[host.name]
    return [settings.released] if settings.arguments.release_site else settings.all_sites


def _machine(host: Host) -> tuple[type[Machine], dict[str, Any]]:
    return Machine, {}


def system_python(machine: dict[str, str]) -> str:
    """The minor version of a host's own Python. Raises RunFailed."""
    from slipway.dependencies.model import minor_of
    from slipway.systems import system_of

    system = system_of(machine)
    if machine.get("python"):
        return minor_of(machine["python"])
    if system:
        return system.python
    raise RunFailed("found no Python on the server, expected one to lock for: set python_version")


def locked(wanted: dict[str, list[Settings]], pythons: dict[str, str], upgrade: bool) -> list[str]:
    """Lock what has no lock of its own; what there is to say of each source. `pythons` are those of the hosts, by name.
    Raises RunFailed."""
    from slipway.dependencies import builds, explain, lockfile, resolve

    said, done = [], dict[Path, str]()
    for name, sites in wanted.items():
        for site in sites:
            folder, python = project.path(site.backend_source), site.python_version or pythons[name]
            if done.setdefault(folder, python) != python:
                raise RunFailed(
                    f"{site.backend_source}: found Python {done[folder]} and {python} on its hosts, expected one: set"
                    " python_version"
                )
            try:
                built, indexes = site.backend_build_packages, site.indexes
                inputs = resolve.inputs(folder, site.backend_requirements, built, indexes)
                if inputs is None:
                    said.append(f"{site.backend_source} is locked by a file of its own; nothing to do")
                else:
                    text = explain.lock(folder, inputs, python, upgrade)
                    said.append(_written(folder / lockfile.NAME, site.backend_source, text, python))
                its = resolve.locked(folder, site.backend_requirements, python, built, False, indexes)
                said += its.notes
                if its.built:
                    text = builds.lock(folder, its, python, upgrade)
                    said.append(_written(folder / builds.NAME, site.backend_source, text, python))
            except DependenciesError as error:
                lines = "".join(f"\n  - {problem}" for problem in error.problems)
                raise RunFailed(
                    f"backend_source = {site.backend_source!r}: its dependencies can't be locked:{lines}"
                ) from error
    return [*dict.fromkeys(said)]


def _written(file: Path, shown: str, text: str, python: str) -> str:
    """Write a lock; what there is to say of it."""
    from slipway.dependencies import lockfile

    before = file.read_text() if file.is_file() else ""
    if text == before:
        return f"{shown}/{file.name} is up to date"
    _write(file, text)
    now, then = lockfile.versions(text), lockfile.versions(before)
    count = f"{len(now)} packages for Python {python}"
    changed = [
        f"{name} {then.get(name, 'new')} -> {now[name]}" if name in now else f"{name} {then[name]} removed"
        for name in sorted(now.keys() | then.keys())
        if now.get(name) != then.get(name)
    ]
    listed = f"; {', '.join(changed)}" if then and changed else ""
    return f"{shown}/{file.name}: {count}{listed}; commit it"


def _write(file: Path, text: str) -> None:
    """At once, or not at all."""
    opened, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(opened, "w") as new:
            new.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
