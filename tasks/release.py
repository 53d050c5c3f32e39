"""Releases: each is in `releases/<id>`, and `current` is a link to the live one.

A release is complete before the link is atomically renamed, so that no visitor gets half of it. The hashed files of
kept releases stay available to pages that are already open.

The backend changes in three steps without downtime (slipway/releases/program.py): the next release starts beside it on
its own socket and passes a health check; the link to the socket that Nginx uses is switched to it; the backend, which
has no connections any more, restarts with the release, and the link is switched back.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.exceptions import PyinfraError

from slipway.dependencies import uv
from slipway.engine import notes, run
from slipway.engine.components import Drift, component, component_step, in_order
from slipway.engine.uploads import with_input
from slipway.facts.base import Output
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import directory, link
from slipway.releases import artifact, builds, sources
from slipway.releases import host as release_host
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.tasks import python_environment, release_copy, rolling, shared
from slipway.tasks.adoption import by_hand
from slipway.tasks.backend_units import describe_for_releases, describe_program, describe_socket, unit_values_here
from slipway.tasks.credentials import sync_credentials
from slipway.tasks.frontend_build import BUILD_PACKAGES, check_build_tools
from slipway.tasks.policies import runs_scripts
from slipway.tasks.release_steps import PACKAGES, PROGRAM, command, put_facts, put_programs, scripts_are_recorded
from slipway.tasks.unpacking import unpack_script

PARTS = {"backend": "app", "frontend": "web"}


def packages(settings: Settings) -> list[str]:
    builds = "frontend" in parts_here(settings) and settings.frontend_build_on == "server"
    return [*PACKAGES, *(BUILD_PACKAGES if builds else [])]


def begin(settings: Settings) -> None:
    if "app" in host.groups:
        if not settings.is_further_site:
            python_environment.put_uv(settings.limits)
        python_environment.put_python(settings)
        python_environment.put_logins(settings)
    begin_first(name="Start building the first release", settings=settings, parts=parts_here(settings))


def drifts(settings: Settings) -> dict[str, Drift]:
    root = settings.site_root
    return {
        "uv removed": Drift(f"rm {python_environment.UV}", f"Install uv {uv.VERSION}"),
        "the current release unlinked": Drift(f"rm {root}/current", "Link the current release"),
        "the site's folder open": Drift(f"chmod 777 {root}"),
        "the backend's usual path gone": Drift(f"rm {root}/backend"),
        "the frontend's usual path elsewhere": Drift(f"ln -sfn /srv {root}/frontend"),
    }


@component(roles=("app", "web"), per_site=True, packages=packages, begin=begin, drifts=drifts)
def first_release(settings: Settings) -> None:
    """Create the site's folders, and ship its first release."""
    directory(name="Create the site's directory", path=settings.site_root)
    if not settings.is_further_site:
        put_programs("app" in host.groups)
    put_facts(settings, parts_here(settings))
    ship_first(name="Upload the first release", settings=settings, parts=parts_here(settings))
    relink(name="Link the current release", settings=settings)
    # Links point to the application's own data, and to an environment that several releases share.
    foreign = f"find {settings.site_root}/current/ -not -type l \\( -not -user root -o -perm /022 \\)"
    ensure(
        name="Protect the current release",
        check=f'[ -z "$({foreign} -print -quit 2> /dev/null)" ]',
        command=f"{foreign} -exec chown -h root:root {{}} + -exec chmod go-w {{}} +",
        note=f"{settings.site_root}/current: writable only by root",
    )
    if "frontend" in parts_here(settings) and runs_scripts(settings):
        allow_scripts(name="Allow the scripts in the pages", settings=settings)
    if "app" in host.groups:
        shared.link(name="Link the folders that stay into the releases", settings=settings)
    in_order([partial(_link_usual_path, settings, part) for part in PARTS])


def _link_usual_path(settings: Settings, part: str) -> None:
    """The site's conventional path. An existing folder there is kept for now (tasks/adoption.py)."""
    if part in parts_here(settings) and part not in by_hand(settings):
        link(name=f"Link the usual path of the {part}", path=f"{settings.site_root}/{part}", target=f"current/{part}")


@component_step()
def next_release(settings: Settings) -> None:
    """Ship the next release and activate it."""
    if not parts_here(settings):
        return
    rolling.check_all_here(settings)
    put_programs("app" in host.groups)
    put_facts(settings, parts_here(settings))
    if "app" in host.groups:
        python_environment.put_uv(settings.limits)
        python_environment.put_python(settings)
        python_environment.put_logins(settings)
        # New code may need changed settings, such as the name of its module. Only apply changes existing secrets: the
        # live backend and the database use them.
        sync_credentials(name="Install new secrets", settings=settings, only_new=True)
        describe_for_releases(settings, unit_values_here(settings))
    ship(name="Build and upload the release", settings=settings, parts=parts_here(settings))
    if "frontend" in parts_here(settings):
        step(
            name="Check the pages", settings=settings, words=lambda: ["pages", artifact.release_id(settings), "discard"]
        )
    if rolling.is_shared(settings):
        rolling.hold(name="Check that all servers can activate it", settings=settings)
    if settings.pre_activate and "app" in host.groups and rolling.is_first(settings):
        hook(name="Run pre_activate", settings=settings, when="before", then="discard")
    if rolling.is_shared(settings) and not rolling.is_rolling(settings):
        # Behind a load balancer each turn begins with it.
        rolling.hold(name="Let all servers activate it", settings=settings)
    activate(settings, lambda: artifact.release_id(settings), then="discard")
    if settings.post_activate and "app" in host.groups and rolling.is_first(settings):
        hook(name="Run post_activate", settings=settings, when="after", then="keep")
    step(name="Remove old releases", settings=settings, words=lambda: ["prune"])


@component_step()
def roll_back(settings: Settings) -> None:
    """Activate a release that is still on the host."""
    if not parts_here(settings):
        return
    rolling.check_all_here(settings)
    put_programs("app" in host.groups)
    put_facts(settings, parts_here(settings))
    if "app" in host.groups:
        # The services may be others than those of the last apply or release.
        describe_for_releases(settings, unit_values_here(settings))
    # Once: the links change meanwhile.
    wanted = wanted_id(settings)
    check_id(name="Find the release to roll back to", settings=settings, wanted=wanted)
    if rolling.is_rolling(settings):
        release_copy.copy_missing(
            name="Copy the release from another server",
            settings=settings,
            parts=parts_here(settings),
            release_id=wanted,
        )
        # Visitors may have pages of it from another server.
        link(
            name="Link the files of the release", path=f"{settings.site_root}/next-assets", target=f"releases/{wanted}"
        )
    activate(settings, lambda: wanted, then="keep", is_live=wanted == current(settings))


def activate(settings: Settings, release_id: Callable[[], str], then: str, is_live: bool = False) -> None:
    """Activate a release, behind a load balancer on one server after another. `then` is as of `change_to`; where it
    `is_live` already, as after an interrupted run, there is nothing to do."""
    if not rolling.is_rolling(settings):
        change_to(settings, release_id, then)
        return
    # Visitors may have pages of it from another server, whose files this one must have.
    change = partial(change_to, settings, release_id, then="keep")
    rolling.one_by_one(settings, (lambda: None) if is_live else change, release_id)


def change_to(settings: Settings, release_id: Callable[[], str], then: str) -> None:
    """Activate a release. `then` is what to do with one that fails: "keep" or "discard"."""
    if "app" in host.groups:
        begin = "Start the release and check its health"
        step(name=begin, settings=settings, words=lambda: ["begin", release_id(), then])
    step(name="Activate the release", settings=settings, words=lambda: ["switch", release_id()])
    if "app" in host.groups:
        describe(settings, unit_values_here(settings))
        step(name="Restart the backend with the release", settings=settings, words=lambda: ["take_over"])


def describe(settings: Settings, values: Mapping[str, Any]) -> None:
    """The units of this release's services; a new service runs before `slipway apply` routes visitors to it."""
    for service in settings.all_services:
        if service.is_web or service.is_worker:
            describe_program(settings, service, values)
    for service in settings.services:
        if service.is_web:
            describe_socket(settings, service, values)


def parts_here(settings: Settings) -> tuple[str, ...]:
    """The parts of a site's releases that this host has, by its roles."""
    return tuple(part for part in settings.parts if PARTS[part] in host.groups)


def _wanted(service: Service) -> str:
    """Shell patterns for healthy answers: the body, then the status. A service that limits the request rate counts as
    running."""
    status = "[1-4][0-9][0-9]" if service.health_is_any else service.health_status
    return f"*{shlex.quote(service.health_body)}*' '{status} | *' '{release_host.TOO_MANY}"


def _address(settings: Settings, service: Service) -> str:
    """curl's arguments to reach a service itself, whether or not visitors are routed to it."""
    if settings.is_tcp(service):
        return f"http://{settings.listen(service)}"
    return f"--unix-socket {settings.socket(service)} http://localhost"


def healthy(settings: Settings, service: Service) -> str:
    """A shell test: a service passes its health check, requested as Nginx does for a visitor."""
    where = f"{_address(settings, service)}{service.asked_path}"
    headers = release_host.visitors_headers(settings.host_name(service))
    given = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers.items())
    # Without a proxy, and without the options of a .curlrc.
    answer = (
        f"curl -q -s --noproxy '*' --max-time {settings.limits.probe} {given} -w ' %{{http_code}}' {where} 2>/dev/null"
    )
    return f'case "$({answer})" in {_wanted(service)}) ;; *) false ;; esac'


def current(settings: Settings) -> str:
    """The id of the release that `current` points to, "" if there is none."""
    return host.get_fact(
        Output, command=f"cd {settings.site_root}/current && here=$(pwd -P) && echo ${{here##*/}}"
    ).strip()


def shipped(settings: Settings) -> list[str]:
    """The ids of the complete releases on the host, the oldest first."""
    return sorted(host.get_fact(Output, command=f"cd {settings.site_root}/releases && {artifact.IDS}").split())


@operation()
def step(settings: Settings, words: Callable[[], list[str]]) -> Commands:
    """One of the steps in slipway/releases/program.py."""
    if words()[0] == "begin":
        for service in settings.web_services:
            if weak := settings.weak_health(service):
                notes.hint(weak)
    yield command(settings, *words())


@operation()
def allow_scripts(settings: Settings) -> Commands:
    """Allow the inline scripts of existing pages, shipped by an earlier version or present before the adoption."""
    # An earlier version's program lacks this step: the query fails until this version is installed.
    allowed = f"{{ {scripts_are_recorded(settings)} || {PROGRAM} {settings.site_name} scripts_allowed; }}"
    allowed += " > /dev/null 2>&1; echo $?"
    if host.get_fact(Output, command=allowed).strip() == "1":
        notes.note(f"{settings.site_root}/csp.conf: hashes of the scripts in the pages")
        yield command(settings, "allow_scripts")


@operation()
def hook(settings: Settings, when: str, then: str) -> Commands:
    name = "pre_activate" if when == "before" else "post_activate"
    notes.note(f"{name}: {getattr(settings, name)}")
    yield command(settings, "hook", when, artifact.release_id(settings), then)


def wanted_id(settings: Settings) -> str:
    """The release to roll back to, "" if there is none."""
    if settings.arguments.release_id:
        return settings.arguments.release_id
    if rolling.is_rolling(settings):
        return rolling.release_before(settings)
    command = f"cd {settings.site_root}/previous && here=$(pwd -P) && echo ${{here##*/}}"
    return host.get_fact(Output, command=command).strip()


@operation()
def check_id(settings: Settings, wanted: str) -> Commands:
    """Raises PyinfraError if there is no such release to roll back to. Behind a load balancer another server may have
    it, and this one may have activated it already."""
    releases, now = shipped(settings), current(settings)
    if rolling.is_rolling(settings) and wanted == now != "":
        return
    others = [one for one in releases if one != now]
    if wanted not in others and not (
        wanted and rolling.is_rolling(settings) and release_copy.server_with(settings, wanted)
    ):
        found = f"found {wanted!r}" if wanted else "found no previous release"
        raise PyinfraError(
            f"{host.name}: release_id: {found}, expected one of: {', '.join(others) or 'none is there'}; nothing was"
            " changed"
        )
    notes.note(f"current -> releases/{wanted} (was releases/{now})")
    yield "true"


@operation()
def begin_first(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Start the slow parts of a first release, locally and on the host; `ship_first` waits for both.

    It only saves time: `ship_first` reports a local failure, and repeats what has failed on the host.
    """
    if shipped(settings) or not parts or release_copy.of_others(settings)[0]:
        return
    notes.note("the host has no release: its build starts in parallel with the packages")
    # A plan stops at the first command, so only an apply builds.
    yield f"umask 022; mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    if "frontend" in parts and settings.frontend_build_on == "local":
        builds.begin(settings, run.of(host.state).builds)
    if "backend" in parts and settings.backend_build:
        builds.begin_backend(settings, run.of(host.state).builds)
    if "backend" in parts:
        wanted, venvs = python_environment.of(settings), f"{settings.site_root}/venvs"
        # A build may need packages that are installed later.
        if not wanted.locked.built:
            script = shlex.quote("; ".join(python_environment.script(settings, wanted, venvs)))
            yield with_input(
                f"umask 022; base64 -d > {venvs}/{python_environment.REQUIREMENTS};"
                f" setsid sh -euc {script} < /dev/null > /dev/null 2>&1 &",
                wanted.locked.requirements.encode(),
            )


@operation()
def ship_first(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Build and ship a release if the host has none, or copy another server's behind the load balancer; apply does not
    change the release of a host that has one."""
    if shipped(settings) or not parts:
        return
    source, release_id = release_copy.of_others(settings)
    if source:
        notes.note(f"the host has no release: it gets {release_id}, which is live on {source}")
        yield from release_copy.copy(settings, parts, source, release_id)
    else:
        release_id = artifact.release_id(settings)
        notes.note("the host has no release: the first one is built and uploaded")
        yield from _ship(settings, parts, parts)
    if "frontend" in parts:
        yield command(settings, "pages", release_id, "discard")
    yield command(settings, "switch", release_id)


@operation()
def ship(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Build a release and unpack it on the host, without activating it."""
    if not shipped(settings):
        raise PyinfraError(
            f"{host.name} has no release yet; nothing was changed. Type `slipway apply` first: it ships the first one"
        )
    changing = [part for part in parts if part in settings.released_parts]
    if "backend" in changing:
        # Raises its errors in the plan already.
        python_environment.of(settings)
    yield from _ship(settings, parts, changing)


@operation()
def relink(settings: Settings) -> Commands:
    """Point `current` to the newest release if it is dangling or missing."""
    releases = shipped(settings)
    if releases and current(settings) not in releases:
        notes.note(f"current -> releases/{releases[-1]}")
        yield command(settings, "switch", releases[-1])


def _ship(settings: Settings, parts: Collection[str], changing: Collection[str]) -> Commands:
    """`changing` are the parts that are built; the others come from the current release."""
    check_build_tools(settings, changing)
    kept = shared.there(settings) if "backend" in changing else []
    for path in kept:
        if (sources.of(settings).backend / path).exists():
            notes.hint(f"{path}: not shipped, as {settings.shared_places[path]} is kept")
    # A plan stops at the first command, so only an apply builds.
    yield f"umask 022; mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    wanted = python_environment.of(settings) if "backend" in changing else None
    more = {f"backend/{name}": text.encode() for name, text in wanted.files.items()} if wanted else {}
    release = artifact.build(settings, changing, run.of(host.state).builds, hashes_there(settings), more, kept)
    size = release.archive.stat().st_size // 1024
    notes.note(f"release {release.id}: {size} KiB, {len(release.kept)} files unchanged")
    for line in artifact.left_out(settings, changing):
        notes.note(line)
    script = unpack_script(settings, release, parts, [part for part in parts if part not in changing], wanted)
    yield with_input(script, release.archive)
    if "frontend" in changing:
        known = host.get_fact(Output, command=f"{PROGRAM} {settings.site_name} hints {release.id}")
        for hint in known.splitlines():
            notes.hint(hint)


def hashes_there(settings: Settings) -> dict[str, str]:
    """SHA-256 of the current release's files by name, except names with a backslash or a newline."""
    find = "find backend frontend -type f ! -name '*.pyc' -exec sha256sum {} + 2> /dev/null"
    output = host.get_fact(Output, command=f"cd {settings.site_root}/current && {find}")
    found = {}
    # Not splitlines: a name may contain other line separators.
    for line in output.split("\n"):
        digest, separator, name = line.partition("  ")
        if separator and not digest.startswith("\\"):
            found[name] = digest
    return found
