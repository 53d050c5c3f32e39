"""The Python environment of a release: uv, which installs it, its Python, and the script that creates one on the host.

Releases with the same dependencies share an environment. Only packages that are locked by hash are installed, and no
package's code runs while root installs it: wheels are unpacked.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pyinfra import host
from pyinfra.api.exceptions import PyinfraError

from slipway.dependencies import uv
from slipway.dependencies.indexes import Index, in_environment, login_names
from slipway.dependencies.model import MIN_GLIBC, DependenciesError, Host, Locked, minor_of
from slipway.engine import notes
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.ops.commands import ensure
from slipway.ops.files import directory
from slipway.releases import sources
from slipway.settings.limits import Limits
from slipway.settings.model import Settings
from slipway.systems import system_of
from slipway.tasks.credentials import host_secrets

UV = "/usr/lib/slipway/uv"
SYSTEM_PYTHON = "/usr/bin/python3"
# Pythons that uv has installed.
PYTHONS = "/usr/lib/slipway/python"
# For uv's wheel, and for packages.
PYPI = ("https://pypi.org/", "https://files.pythonhosted.org/")
# To fetch and unpack uv.
PACKAGES = ["ca-certificates", "curl", "python3"]
# Files in a release's backend that define its environment: packages installed from wheels; packages that are built from
# source; what their builds need.
REQUIREMENTS, BUILT, BUILD = ".requirements.lock", ".built.lock", ".build.lock"
# A build can write only to a folder of its own.
SANDBOX = ("DynamicUser=yes", "ProtectHome=yes", "PrivateDevices=yes", "NoNewPrivileges=yes", "OOMScoreAdjust=900")


@dataclass(frozen=True)
class Environment:
    """What defines a release's environment: locked dependencies, and the path and version of a Python."""

    locked: Locked
    python: str = SYSTEM_PYTHON
    version: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The environment's files in a release's backend, by name."""
        found = {REQUIREMENTS: self.locked.requirements}
        if self.locked.built:
            found |= {BUILT: self.locked.built_requirements, BUILD: self.locked.build_requirements}
        return found

    @property
    def key(self) -> str:
        """Its folder's name on a host, as `script` computes it; needs a complete Python version."""
        text = f"{''.join(self.files.values())}Python {self.version}\n{uv.VERSION}\n"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- uv and Python ----------------------------------------------------------------------------------------------------


def put_uv(limits: Limits) -> None:
    ensure(
        name=f"Install uv {uv.VERSION}",
        # Its size tells a version from others: to start it takes ten times as long.
        check=f"[ \"$(stat -c '%U %a %s' {UV})\" = 'root 755 {uv.SIZE}' ]",
        command=fetch_uv(limits),
        note=f"{UV}: {uv.VERSION}, from {uv.WHEEL_URL}",
    )


def repositories(settings: Settings) -> list[str]:
    """The sources of packages, and of the Pythons that python_version names."""
    return [*PYPI, *dict.fromkeys(site.python_mirror for site in settings.all_sites if site.python_version)]


def fetch_uv(limits: Limits) -> str:
    """A command that installs uv, if its wheel has the pinned hash."""
    folder, _, name = UV.rpartition("/")
    unpack = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))"
    return (
        f"set -eu; umask 022; mkdir -p {folder}; new=$(mktemp -d {folder}/.{name}.XXXXXX); trap 'rm -rf $new' EXIT;"
        f" curl --fail --silent --show-error --location --proto =https --connect-timeout {limits.connect} --retry 3"
        f" --speed-limit 1000 --speed-time {limits.download} --output $new/wheel {uv.WHEEL_URL};"
        f" echo '{uv.WHEEL_SHA256}  '$new/wheel | sha256sum --check --quiet --strict;"
        f" {SYSTEM_PYTHON} -c '{unpack}' $new/wheel {uv.MEMBER} > $new/{name}; chmod 755 $new/{name};"
        f" $new/{name} --version > /dev/null; sync $new/{name}; mv -fT $new/{name} {UV}"
    )


def put_python(settings: Settings) -> None:
    """The Python of python_version, if the system's is another version."""
    path, version = python_here(settings)
    if path == SYSTEM_PYTHON:
        return
    ensure(
        name=f"Install Python {version}",
        check=f"[ -e {python_marker(version)} ] && {path} -V",
        command=fetch_python(path, version, settings.python_mirror),
        note=f"{path}: from {settings.python_mirror}",
    )


def python_marker(version: str) -> str:
    # A newer uv has newer patch versions, so they come with an update of Slipway.
    return f"{PYTHONS}/.{version}-by-uv-{uv.VERSION}"


def fetch_python(path: str, version: str, mirror: str) -> str:
    """A command that installs a Python by uv, which verifies its hash."""
    settings = "UV_NO_CACHE=1 UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=manual"
    options = f"--no-bin --upgrade --install-dir {PYTHONS} --mirror {mirror}"
    return (
        f"umask 022; env {settings} {UV} --no-progress python install {options} {version}"
        # uv makes its lock file world-writable.
        f" && {path} -V > /dev/null && chmod go-w {PYTHONS}/.lock"
        f" && sync -f {PYTHONS} && touch {python_marker(version)}"
    )


def python_here(settings: Settings) -> tuple[str, str]:
    """The path and the version of the Python that runs the site's backend: the complete version of the system's Python,
    if it is that one, else the minor version."""
    machine = host.get_fact(Machine)
    system = system_of(machine)
    version = machine.get("python") or (system.python if system else "")
    wanted = settings.python_version
    if not wanted or wanted == minor_of(version):
        return SYSTEM_PYTHON, version
    # A link to the newest of its patch versions. https://docs.astral.sh/uv/concepts/python-versions/
    return f"{PYTHONS}/cpython-{wanted}-linux-x86_64-gnu/bin/python{wanted}", wanted


# --- What is installed ------------------------------------------------------------------------------------------------


def of(settings: Settings) -> Environment:
    """The environment of the next release. Raises PyinfraError, before any change, if the host can't have it."""
    path, version = python_here(settings)
    try:
        found = Environment(_locked(settings, version), path, version)
        problems = _problems(settings, found)
    except DependenciesError as error:
        problems = error.problems
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        what = f"the dependencies of {settings.backend_source}"
        raise PyinfraError(f"{host.name}: {what} can't be installed; nothing was changed.\n{lines}")
    notes.note(f"dependencies: {len(found.locked.packages)} packages of {found.locked.source}")
    return found


def problems(settings: Settings) -> list[str]:
    """What prevents a first release on this host, a line each."""
    path, version = python_here(settings)
    try:
        return _problems(settings, Environment(_locked(settings, version), path, version))
    except DependenciesError as error:
        return error.problems


def _locked(settings: Settings, version: str) -> Locked:
    backend = sources.of(settings).backend
    built, indexes = tuple(settings.backend_build_packages), tuple(settings.indexes)
    return _locked_once(backend, settings.backend_requirements, version, built, indexes)


@cache
def _locked_once(folder: Path, named: str, python: str, built: tuple[str, ...], indexes: tuple[Index, ...]) -> Locked:
    from slipway.dependencies import resolve  # a plan of a server with a release needs none of it

    return resolve.locked(folder, named, python, built, indexes=indexes)


def _problems(settings: Settings, wanted: Environment) -> list[str]:
    if not uv.has_python(settings.python_version):
        return [f"python_version: found {settings.python_version!r}, expected one that uv {uv.VERSION} has"]
    machine = host.get_fact(Machine)
    glibc = int(machine.get("glibc", "").partition(".")[2] or MIN_GLIBC)
    free = int(machine["disk:/var/www"].split()[1])
    # An existing environment needs no download.
    is_there = _is_there(settings, wanted)
    found, said = _judged(wanted.locked, Host(wanted.version, glibc, None if is_there else free), not is_there)
    for text in said:
        notes.note(text)
    return found


@cache
def _judged(locked: Locked, wanted: Host, is_examined: bool) -> tuple[list[str], tuple[str, ...]]:
    """Problems, and notes. Locks that have only hashes are examined by querying PyPI."""
    from slipway.dependencies import judge  # nor of this

    if is_examined:
        locked, found = judge.examined(locked, wanted)
        if found:
            return found, ()
    return [*judge.problems(locked, wanted)], locked.notes


def _is_there(settings: Settings, wanted: Environment) -> bool:
    command = f"cd {settings.site_root}/venvs && ls -d */.complete"
    return f"{wanted.key}/.complete" in host.get_fact(Output, command=command).split()


def script(settings: Settings, wanted: Environment, folder: str) -> list[str]:
    """Steps of a shell script that create the Python environment $venv from `wanted.files` in a folder."""
    venvs, python = f"{settings.site_root}/venvs", wanted.python
    files = " ".join(f"{folder}/{name}" for name in wanted.files)
    # uv's cache is on the environments' file system, so that it hard-links files instead of copying them.
    uv_run = f"{_asking(settings)}env UV_CACHE_DIR={venvs}/.uv UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 {UV} --quiet"
    into = "pip install --python $venv/bin/python"
    # With dependencies, uv reports what an incomplete, hand-written list lacks. Built packages come later.
    is_all = wanted.locked.is_complete or wanted.locked.built
    options = "--require-hashes --only-binary :all:" + (" --no-deps" if is_all else "")
    return [
        f"[ -x {UV} ] || {{ echo '{UV} does not exist; slipway apply installs it' >&2; exit 1; }}",
        # Releases with the same locked dependencies, the same Python and the same uv share an environment.
        f"venv={venvs}/$( (cat {files}; {python} -V; echo {uv.VERSION}) | sha256sum | cut -c1-16)",
        f"exec 9> {venvs}/.lock; flock 9",
        f"if [ ! -e $venv/.complete ]; then rm -rf $venv {venvs}/.uv; cd /;"
        # The resolved path: after an upgrade of the system /usr/bin/python3 is another version.
        f" {uv_run} venv --python $(readlink -f {python}) $venv; touch $venv/.begun;"
        f" {uv_run} {into} {options} -r {folder}/{REQUIREMENTS}",
        *(build(settings, wanted, folder, uv_run) if wanted.locked.built else []),
        # Not by the environment's Python: it would run packages' startup code (.pth files) as root.
        f"{python} -I -m compileall -qq -j 0 $venv/lib || true",
        # Sync before it is marked complete: a power cut must not leave an incomplete one. Without .begun the folder was
        # removed meanwhile, and uv has recreated it with only the rest of the packages.
        f"rm -rf {venvs}/.uv; sync -f $venv; mv $venv/.begun $venv/.complete 2> /dev/null"
        ' || { echo "$venv was removed during the installation; run it again" >&2; exit 1; }; fi; exec 9>&-',
    ]


def _asking(settings: Settings) -> str:
    """What comes before a command of uv, so that it asks the site's indexes: in its environment, which root alone can
    read, and in no command line."""
    if not settings.indexes:
        return ""
    folder = settings.credentials_folder
    logins = (f'{name}="$(cat {folder}/{name})" ' for index in settings.indexes for name, _ in index.login)
    return f"{''.join(logins)}UV_INDEX={shlex.quote(in_environment(settings.indexes))} "


def put_logins(settings: Settings) -> None:
    """The logins to the site's indexes, for `script`."""
    names = [name for index in settings.indexes for name, _ in index.login]
    if names:
        folder = Path(settings.credentials_folder)
        directory(name="Create the configuration's directory", path=str(folder.parent))
        directory(name="Create the secrets' directory", path=str(folder), mode="700")
        host_secrets(name="Install the logins to the package indexes", settings=settings, names=names)


def build(settings: Settings, wanted: Environment, folder: str, uv_run: str) -> list[str]:
    """Steps of a shell script that build packages from source, in a sandbox, and install their wheels into $venv.

    Root fetches sources and what builds need, with the logins to indexes, and checks their hashes. The sandbox, where
    packages' code runs, gets no login.
    """
    cache, work = f"slipway-build-{settings.site_name}-python", f"{settings.site_root}/venvs/.wheels"
    # stdout is the archive, so all other output goes to stderr.
    inside = (
        "cd $CACHE_DIRECTORY; rm -rf work; mkdir work work/wheels; cd work; tar -x;"
        ' export UV_CACHE_DIR="$PWD/uv" PATH="$PWD/env/bin:$PATH";'
        f" for source in sources/*; do {UV} --quiet build --wheel --offline --no-config --no-build-isolation"
        ' --python "$PWD/env/bin/python" --out-dir wheels "$source" >&2; done;'
        " tar -c -C wheels --exclude .gitignore .; cd /; rm -rf $CACHE_DIRECTORY/work"
    )
    properties = " ".join(f"-p {item}" for item in SANDBOX)
    hint = (
        f"the build of {', '.join(sorted(wanted.locked.built))} failed; if it lacks a compiler or a library, name their"
        " Debian packages in extra_packages and run slipway apply"
    )
    of_builds = f"--require-hashes --only-binary :all: --no-deps -r {folder}/{BUILD}"
    return [
        f"rm -rf {work}; mkdir -m 700 {work}; mkdir {work}/in {work}/in/sources {work}/wheels",
        f"{uv_run} venv --relocatable --python $(readlink -f {wanted.python}) {work}/in/env",
        f"{uv_run} pip install --python {work}/in/env/bin/python {of_builds}",
        *_fetch_sources(settings, wanted, work),
        f"tar -c -C {work}/in . > {work}/in.tar",
        f"systemd-run --quiet --pipe --wait --collect {properties} -p CacheDirectory={cache}"
        f" -E HOME=/var/cache/{cache} -E UV_PYTHON_DOWNLOADS=never"
        f" /bin/sh -euc {shlex.quote(inside)} < {work}/in.tar > {work}/out.tar"
        f" || {{ rm -rf {work}; echo {shlex.quote(hint)} >&2; exit 1; }}",
        f"tar -x -C {work}/wheels --no-same-owner -f {work}/out.tar",
        f"{uv_run} pip install --python $venv/bin/python --no-deps --no-index {work}/wheels/*.whl; rm -rf {work}",
    ]


def _fetch_sources(settings: Settings, wanted: Environment, work: str) -> Iterator[str]:
    """Steps that fetch the sources, checked by their hashes."""
    from slipway.dependencies import builds  # no plan needs it

    netrc = f"{work}/netrc"
    yield f"umask 077; : > {netrc}; umask 022"
    for index in settings.indexes:
        if index.login:
            # As curl reads quotes in a netrc file. A command line would show it.
            given = {name for name, _ in index.login}
            user, password = (
                f'"$(sed \'s/[\\\\"]/\\\\&/g\' {settings.credentials_folder}/{name})"' if name in given else '""'
                for name in login_names(index.name)
            )
            host_name = urlsplit(index.url).hostname
            yield f'printf \'machine {host_name} login "%s" password "%s"\\n\' {user} {password} >> {netrc}'
    limits = settings.limits
    curl = (
        f"curl --fail --silent --show-error --location --proto =https,http --connect-timeout {limits.connect} --retry 3"
        f" --speed-limit 1000 --speed-time {limits.download} --netrc-file {netrc}"
    )
    for package, file in builds.sources(wanted.locked):
        place, said = shlex.quote(f"{work}/in/sources/{file.name}"), f"the source of {package} has another hash"
        yield f"{curl} --output {place} {shlex.quote(file.url)}"
        yield (
            f"echo {file.sha256}'  '{place} | sha256sum --check --quiet --strict"
            f" || {{ rm -rf {work}; echo {shlex.quote(f'{said} than its lock: lock it again')} >&2; exit 1; }}"
        )
    yield f"rm {netrc}"
