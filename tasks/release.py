"""What runs on the server: releases in `releases/<id>`, of which `current` is a link to one.

A release is unpacked and complete before the link moves, in one rename, so that no visitor sees half of it; the hashed
files of the releases that are kept stay reachable for a page that a visitor has open.

The backend changes in three steps, and visitors are served in each (slipway/releases/program.py): the next release
starts beside it, on a socket of its own, and is asked for its health; the link by which Nginx finds the backend leads
to it; the backend itself, to which nobody is connected any more, restarts with the release, and the link leads back.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import notes, run
from slipway.engine.components import component
from slipway.engine.uploads import with_input
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.ops.files import directory, link
from slipway.releases import artifact, sources
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.tasks.backend_units import describe_for_releases, describe_program, describe_socket, unit_values_here
from slipway.tasks.release_steps import command, put_facts, put_program

PARTS = {"backend": "app", "frontend": "web"}


@component
def first_release(settings: Settings) -> None:
    """The folders of the site, and a first release in them."""
    directory(name="Create the site's directory", path=settings.site_root)
    if not settings.is_further_site:
        put_program()
    put_facts(settings, parts_here())
    ship_first(name="Upload the first release", settings=settings, parts=parts_here())
    relink(name="Link the current release", settings=settings)
    # The paths that the site's owner is used to.
    for part, role in PARTS.items():
        if role in host.groups:
            link(
                name=f"Link the usual path of the {part}", path=f"{settings.site_root}/{part}", target=f"current/{part}"
            )


@component
def next_release(settings: Settings) -> None:
    """Ship the next release, and switch to it."""
    put_program()
    put_facts(settings, parts_here())
    if "app" in host.groups:
        # With the code its settings may change, the name of its module say.
        describe_for_releases(settings, unit_values_here(settings))
    ship(name="Build and upload the release", settings=settings, parts=parts_here())
    if settings.pre_activate and "app" in host.groups:
        hook(name="Run pre_activate", settings=settings, when="before", then="discard")
    change_to(settings, lambda: artifact.release_id(settings), then="discard")
    if settings.post_activate and "app" in host.groups:
        hook(name="Run post_activate", settings=settings, when="after", then="keep")
    step(name="Remove old releases", settings=settings, words=lambda: ["prune"])


@component
def roll_back(settings: Settings) -> None:
    """Go back to a release that is on the host still."""
    put_program()
    put_facts(settings, parts_here())
    check_id(name="Find the release to roll back to", settings=settings)
    change_to(settings, lambda: wanted_id(settings), then="keep")


def change_to(settings: Settings, release_id: Callable[[], str], then: str) -> None:
    """`then` is what becomes of a release that does not work: "keep" or "discard"."""
    if "app" in host.groups:
        begin = "Start the release and check its health"
        step(name=begin, settings=settings, words=lambda: ["begin", release_id(), then])
    step(name="Activate the release", settings=settings, words=lambda: ["switch", release_id()])
    if "app" in host.groups:
        describe(settings, unit_values_here(settings))
        step(name="Restart the backend with the release", settings=settings, words=lambda: ["take_over"])


def describe(settings: Settings, values: Mapping[str, Any]) -> None:
    """The services as this release wants them; one that is new runs before `slipway apply` leads visitors to it."""
    for service in settings.all_services:
        if service.app or service.is_worker:
            describe_program(settings, service, values)
    for service in settings.services:
        if service.app:
            describe_socket(settings, service, values)


def parts_here() -> tuple[str, ...]:
    """The parts of a release that this host has, by its roles."""
    return tuple(part for part, role in PARTS.items() if role in host.groups)


def _wanted(service: Service) -> str:
    """A pattern of the shell for the right answer of a health path, with its status after it."""
    return f"*{shlex.quote(service.health_body)}*' {service.health_status}'"


def _address(settings: Settings, service: Service) -> str:
    """What curl reaches a service itself by, whether or not visitors are led to it."""
    if settings.is_tcp(service):
        return f"http://{settings.listen(service)}"
    return f"--unix-socket {settings.socket(service)} http://localhost"


def healthy(settings: Settings, service: Service) -> str:
    """A shell test: a service answers its health path as it is to."""
    where = f"{_address(settings, service)}{service.health_path}"
    # Neither by a proxy nor with options that a login has for others' sites.
    answer = f"curl -q -s --noproxy '*' --max-time {settings.limits.probe} -w ' %{{http_code}}' {where} 2>/dev/null"
    return f'case "$({answer})" in {_wanted(service)}) ;; *) false ;; esac'


def current(settings: Settings) -> str:
    """The id of the release that `current` leads to, "" where there is none."""
    return host.get_fact(
        Output, command=f"cd {settings.site_root}/current && here=$(pwd -P) && echo ${{here##*/}}"
    ).strip()


def shipped(settings: Settings) -> list[str]:
    """The ids of the complete releases on the host, the oldest first."""
    return sorted(host.get_fact(Output, command=f"cd {settings.site_root}/releases && {artifact.IDS}").split())


@operation()
def step(settings: Settings, words: Callable[[], list[str]]) -> Commands:
    """One of the steps in slipway/releases/program.py."""
    yield command(settings, *words())


@operation()
def hook(settings: Settings, when: str, then: str) -> Commands:
    name = "pre_activate" if when == "before" else "post_activate"
    notes.note(f"{name}: {getattr(settings, name)}")
    yield command(settings, "hook", when, artifact.release_id(settings), then)


def wanted_id(settings: Settings) -> str:
    """The release to go back to, "" where there is none."""
    if settings.arguments.release_id:
        return settings.arguments.release_id
    command = f"cd {settings.site_root}/previous && here=$(pwd -P) && echo ${{here##*/}}"
    return host.get_fact(Output, command=command).strip()


@operation()
def check_id(settings: Settings) -> Commands:
    """Raises PyinfraError where there is nothing to go back to."""
    releases, now, wanted = shipped(settings), current(settings), wanted_id(settings)
    others = [one for one in releases if one != now]
    if wanted not in others:
        found = f"found {wanted!r}" if wanted else "found no previous release"
        raise PyinfraError(
            f"{host.name}: release_id: {found}, expected one of: {', '.join(others) or 'none is there'}; nothing was"
            " changed"
        )
    notes.note(f"current -> releases/{wanted} (was releases/{now})")
    yield "true"


@operation()
def begin_first(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Begin what takes long in a first release, here and on the host; shipping it waits for both.

    It only saves time: `ship_first` tells what did not go well here, and does again what did not go well there.
    """
    if shipped(settings):
        return
    notes.note("the host has no release: its build starts in parallel with the packages")
    # A plan stops at the first command: nothing is built until the release is really wanted.
    yield f"umask 022; mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    if "frontend" in parts and settings.frontend_build_on == "local":
        artifact.begin(settings, run.of(host.state).builds)
    if "backend" in parts:
        requirements = f"{settings.site_root}/venvs/.requirements.txt"
        script = shlex.quote("; ".join(environment(settings, requirements)))
        yield with_input(
            f"umask 022; base64 -d > {requirements}; setsid sh -euc {script} < /dev/null > /dev/null 2>&1 &",
            (sources.of(settings).backend / "requirements.txt").read_bytes(),
        )


@operation()
def ship_first(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Build and ship a release where the host has none; what runs on a server that has one is not apply's business."""
    if shipped(settings):
        return
    notes.note("the host has no release: the first one is built and uploaded")
    yield from _ship(settings, parts, parts)
    yield command(settings, "switch", artifact.release_id(settings))


@operation()
def ship(settings: Settings, parts: tuple[str, ...]) -> Commands:
    """Build a release and unpack it on the host. Visitors don't get it yet."""
    if not shipped(settings):
        raise PyinfraError(
            f"{host.name} has no release yet; nothing was changed. Type `slipway apply` first: it ships the first one"
        )
    yield from _ship(settings, parts, [part for part in parts if part in settings.arguments.release_parts])


@operation()
def relink(settings: Settings) -> Commands:
    """Point `current` to the newest release where it leads nowhere."""
    releases = shipped(settings)
    if releases and current(settings) not in releases:
        notes.note(f"current -> releases/{releases[-1]}")
        yield command(settings, "switch", releases[-1])


def _ship(settings: Settings, parts: Collection[str], changing: Collection[str]) -> Commands:
    """`changing` are the parts that are built; the others come from the current release."""
    # A plan stops at the first command: nothing is built until the release is really wanted.
    yield f"umask 022; mkdir -p {settings.site_root}/releases {settings.site_root}/venvs"
    release = artifact.build(settings, changing, run.of(host.state).builds, hashes_there(settings))
    notes.note(f"release {release.id}: {len(release.archive) // 1024} KiB, {len(release.kept)} files unchanged")
    script = unpack_script(settings, release, parts, [part for part in parts if part not in changing])
    yield with_input(script, release.archive)


def hashes_there(settings: Settings) -> dict[str, str]:
    """SHA-256 of the files of the current release by name, without those that have a backslash or a newline in it."""
    find = "find backend frontend -type f ! -name '*.pyc' -exec sha256sum {} + 2> /dev/null"
    output = host.get_fact(Output, command=f"cd {settings.site_root}/current && {find}")
    found = {}
    # Not splitlines: a name may have what other programs take for the end of a line.
    for line in output.split("\n"):
        digest, separator, name = line.partition("  ")
        if separator and not digest.startswith("\\"):
            found[name] = digest
    return found


def unpack_script(settings: Settings, release: artifact.Release, parts: Collection[str], whole: Collection[str]) -> str:
    """A shell script that unpacks the archive on its standard input as a release, complete with its environment.

    Parts that are `whole` the current release's, and files that it has too, are hard links to it: a release never
    changes.
    """
    root = settings.site_root
    steps = [
        # What an upload that was cut off left goes.
        f"umask 022; rm -rf {root}/releases/*.new; new={root}/releases/{release.id}.new; mkdir $new",
        f"trap {shlex.quote(given_up(root, release.id))} EXIT",
        "base64 -d | tar -xz -C $new --no-same-owner",
        *(f"cp -al {root}/current/{part} $new/{part}" for part in whole),
        f"kept=$new/{artifact.KEPT}; if [ -e $kept ]; then cd {root}/current/.;"
        " xargs -0 cp -l --parents -t $new < $kept; rm $kept; fi",
    ]
    if "backend" in parts and "backend" not in whole:
        steps += [
            *environment(settings, "$new/backend/requirements.txt"),
            "ln -s $venv $new/backend/.venv",
            "$venv/bin/python -m compileall -q $new/backend -x '[.]venv'",
        ]
    if "frontend" in parts and "frontend" not in whole and settings.frontend_build_on == "server":
        steps += build_there(settings)
    if "frontend" in parts:
        # Pages that were opened before ask for the hashed files of their own release.
        assets = settings.frontend_assets.rstrip("/")
        steps.append(
            f"mkdir -p $new/frontend/assets{assets}; for old in {root}/releases/*/frontend/build{assets}/; do"
            f" if [ -d $old ]; then cp -al --no-clobber $old/. $new/frontend/assets{assets}; fi; done"
        )
    # On the disk before it has its name: where the power is cut, what is complete by name is so in content.
    return "; ".join([*steps, "sync -f $new", f"mv -T $new {root}/releases/{release.id}"])


def given_up(root: str, release_id: str) -> str:
    """What a shell that ends does where it fails before the release is complete."""
    live = f'echo "release {release_id} was not activated; $(readlink {root}/current) is still live"'
    return f"[ $? = 0 ] || {{ rm -rf $new; [ ! -e {root}/current ] || {live}; }} >&2"


# The Debian packages that a build on the server takes.
BUILD_PACKAGES = ["brotli", "nodejs", "npm"]
# A build may do as it likes in a folder of its own, which keeps npm's cache, and nowhere else.
BUILD_SANDBOX = (
    "DynamicUser=yes",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    "OOMScoreAdjust=900",
)


def build_there(settings: Settings) -> list[str]:
    """Steps of a shell script that build the frontend of $new from its source on the host, and compress its files as
    slipway/releases/artifact.py does."""
    output = shlex.quote(settings.frontend_output)
    # Nothing but the archive may get into the archive.
    script = (
        f"cd $CACHE_DIRECTORY; rm -rf source; mkdir source; cd source; tar -x; {{ {settings.frontend_build}; }} >&2;"
        f" [ -e {output}/index.html ] || {{ echo frontend_build left no {settings.frontend_output}/index.html >&2;"
        f" exit 1; }}; tar -c -C {output} ."
    )
    sandbox = " ".join(f"-p {item}" for item in BUILD_SANDBOX)
    cache = f"slipway-build-{settings.site_name}"
    names = " -o ".join(f"-name '*{suffix}'" for suffix in sorted(artifact.COMPRESSED))
    gaining = f"-type f -size +{artifact.MIN_COMPRESSED_BYTES - 1}c \\( {names} \\)"
    return [
        f"tar -c -C $new/{artifact.SOURCE} . > $new/source.tar",
        f"systemd-run --quiet --pipe --wait --collect {sandbox} -p CacheDirectory={cache} -E HOME=/var/cache/{cache}"
        f" /bin/sh -euc {shlex.quote(script)} < $new/source.tar > $new/build.tar",
        "mkdir -p $new/frontend/build; tar -x -C $new/frontend/build --no-same-owner -f $new/build.tar",
        "rm $new/source.tar $new/build.tar; find $new/frontend/build -name '.?*'"
        f" ! -name {artifact.WELL_KNOWN} -prune -exec rm -rf {{}} +",
        # Over what the build may have compressed itself.
        f"find $new/frontend/build {gaining} -exec brotli --force --keep --quality={artifact.BROTLI_QUALITY} {{}} +"
        f" -exec gzip --force --keep --no-name -{artifact.GZIP_LEVEL} {{}} +",
    ]


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
