"""The program on the host with the steps of a release (slipway/releases/program.py), and its configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from pyinfra.api import StringCommand

from slipway.ops.backup import KEPT
from slipway.ops.files import absent, put
from slipway.ops.templates import render
from slipway.releases import checks, launcher, pages
from slipway.releases import host as release_host
from slipway.releases import program as release_program
from slipway.releases.host import Facts
from slipway.settings import limits
from slipway.settings.model import Settings
from slipway.settings.services import Service

FOLDER = "/usr/lib/slipway"
PROGRAM = f"{FOLDER}/release"
LAUNCHER = f"{FOLDER}/with-credentials"
SERVE_PORT = f"{FOLDER}/serve-port"
# The program's imports.
MODULES = (release_host, checks, pages)
PACKAGES = ["python3"]
# The polling interval of a release.
POLL_SECONDS = 0.2


def put_programs(has_backend: bool) -> None:
    """The program with the steps of a release, the modules that it imports, and the services' launchers."""
    put(
        name="Install the module of the release program",
        path=place_of(release_host),
        content=text_of(release_host),
    )
    put(name="Install the release program's checks", path=place_of(checks), content=text_of(checks))
    put(name="Install the release program's reader of pages", path=place_of(pages), content=text_of(pages))
    put(
        name="Install the release program",
        path=PROGRAM,
        content=text_of(release_program),
        mode="755",
        check="{} --help > /dev/null",
    )
    if has_backend:
        put(
            name="Install the launcher of the services",
            path=LAUNCHER,
            content=text_of(launcher),
            mode="755",
            check="{} true",
        )
        put(
            name="Install the launcher of services that listen on a port",
            path=SERVE_PORT,
            content=render("backend/serve-port"),
            mode="755",
            check="sh -n {}",
        )


def place_of(module: ModuleType) -> str:
    """The path of a module on the host."""
    return f"{FOLDER}/{module.__name__.replace('.', '/')}.py"


def text_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text()


def put_facts(settings: Settings, parts: Collection[str]) -> None:
    """The release program's configuration for a site."""
    put(name="Configure the release program", path=facts_file(settings), content=as_json(facts(settings, parts)))
    # Earlier versions had a shell script per site. A step of it that is still running holds the program's lock.
    absent(name="Remove the release script of earlier versions", path=f"{FOLDER}/release-{settings.site_name}")


def facts_file(settings: Settings) -> str:
    return f"{FOLDER}/release-{settings.site_name}.json"


def facts(settings: Settings, parts: Collection[str]) -> Facts:
    """The release program's configuration for a site on a host that has these parts."""
    has_backend = "backend" in parts
    return Facts(
        site=settings.site_name,
        root=settings.site_root,
        lock=f"/run/{settings.site_name}.release.lock",
        backups=KEPT,
        services=[_described(settings, service) for service in settings.web_services if has_backend],
        workers=[service.name for service in settings.services if service.is_worker and has_backend],
        has_pages="frontend" in parts,
        csp=settings.nginx_csp,
        assets=settings.frontend_assets,
        domain=settings.site_domain,
        locations=settings.locations,
        keep_releases=settings.keep_releases,
        drain_seconds=settings.release_drain_seconds,
        worker_seconds=settings.release_worker_seconds,
        hook_seconds=settings.release_hook_seconds,
        probe_seconds=settings.limits.probe,
        lock_seconds=settings.limits.release_step,
        poll_seconds=POLL_SECONDS,
        hint=limits.HINT,
    )


def as_json(facts: Facts) -> str:
    services = [service._asdict() for service in facts.services]
    return json.dumps({**facts._asdict(), "services": services}, indent=2) + "\n"


def _described(settings: Settings, service: Service) -> release_host.Service:
    """The release program's configuration for a service."""
    is_tcp = settings.is_tcp(service)
    return release_host.Service(
        name=service.name,
        listen=settings.listen(service) if is_tcp else settings.socket(service),
        next_socket=settings.socket(service, is_next=True),
        link="" if is_tcp else settings.listen(service),
        health_path=service.asked_path,
        health_status=0 if service.health_is_any else service.health_status,
        health_body=service.health_body,
        health_seconds=service.health_seconds,
        health_setting=settings.health_setting(service, "path"),
        seconds_setting=settings.health_setting(service, "seconds"),
        host_name=settings.host_name(service),
    )


def command(settings: Settings, *words: str) -> StringCommand:
    """The command that runs a step of the release program."""
    return StringCommand(PROGRAM, settings.site_name, *map(shlex.quote, words), _timeout=step_seconds(settings))


def step_seconds(settings: Settings) -> int:
    """The time limit of a step, which only bounds a hang: that of any command, and what the site's settings let a step
    wait for. A hook, and a restart of each service with its health check, or two, if it is rolled back."""
    restart = limits.BACKEND_STOP_SECONDS + limits.BACKEND_START_SECONDS + 2 * settings.release_drain_seconds
    restarts = sum(restart + service.health_seconds for service in settings.web_services)
    workers = settings.release_worker_seconds + sum(
        service.stop_seconds for service in settings.services if service.is_worker
    )
    return settings.limits.command + settings.release_hook_seconds + 2 * (restarts + workers)


def scripts_are_recorded(settings: Settings) -> str:
    """A shell test whether the scripts that are allowed are those of the release program's last reading
    (Checks.record_scripts), and it would read the same pages again: the program takes ten times as long.

    What counts is a file's ctime, which nobody can set. Behind a link there may be another page.
    """
    policy, backends = shlex.quote(settings.nginx_csp), "-regex 'releases/[^/]*/backend' -prune"
    changed = "-type l -o \\( -type d -o -name '*.html' -o -name '*.py' \\) -cnewer csp.checked"
    return (
        f"( cd {settings.site_root} && {{ echo {policy}; cat csp.conf; }} | cmp -s - csp.checked"
        f" && new=$(find releases {FOLDER}/slipway {backends} -o \\( {changed} \\) -print -quit)"
        ' && [ -z "$new" ] )'
    )
