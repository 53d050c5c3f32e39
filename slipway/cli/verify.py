"""`slipway verify`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from slipway.cli.options import examples, on_hosts, pass_console
from slipway.cli.running import warn
from slipway.engine.deployed import deployed
from slipway.engine.errors import failing
from slipway.engine.session import Session
from slipway.project import PACKAGE, folder
from slipway.ui.console import Console


@click.command(epilog=examples("slipway verify", "slipway verify lab --html verify.html", "slipway verify --audit"))
@on_hosts
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a report to this file.")
@click.option("--audit", is_flag=True, help="Also run testssl.sh and Lynis, which take minutes.")
@pass_console
def verify(
    console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...], html: Path | None, audit: bool
) -> None:
    """Check the servers from outside and on the hosts. Changes nothing."""
    session = Session(environment, "deploy.py", limit, data)
    # What is wrong is told in our words, not in pytest's.
    warn(session, console)
    with failing(session.connections.log):
        deployed()
    # -P: modules of the user's folder do not shadow ours.
    command = [sys.executable, "-P", "-m", "pytest", *arguments(session, limit, data, audit)]
    command += {-1: ["-qq"], 0: ["-q"], 1: []}[console.level]
    if html:
        command += [f"--html={html.resolve()}", "--self-contained-html"]
    sys.exit(subprocess.run(command, env={**os.environ, "PY_COLORS": ""}, check=False).returncode)


def arguments(session: Session, limit: Iterable[str] = (), data: Iterable[str] = (), audit: bool = False) -> list[str]:
    """pytest's arguments for the tests of a session's servers; `limit` and `data` are those of the session."""
    tests = PACKAGE / "server_tests"
    folders = [str(own) for own in _own_tests(session) if own.is_dir() and not own.samefile(tests)]
    # No cache: the package may be read-only.
    found = [str(tests), "-c", str(tests / "pytest.ini"), *folders, "-p", "no:cacheprovider"]
    found += [f"--environment={session.connections.environment}"]
    found += [f"--limit={name}" for name in limit] + [f"--data={item}" for item in data]
    return found if audit else [*found, "-m", "not audit"]


def _own_tests(session: Session) -> list[Path]:
    """The folders of tests of the project's own components, and of its sites."""
    hosts = session.connections.hosts()
    sites = [site for host in hosts for site in session.connections.settings[host.name].all_sites]
    return [*dict.fromkeys([(folder() / "tests/server").resolve(), *(site.own_tests for site in sites)])]
