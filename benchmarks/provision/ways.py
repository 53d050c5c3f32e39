"""The ways to provision a lab host, each as a user of it would. They raise StepFailed where they do not come to an end.

What a way prints is given back.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import tarfile
import tempfile
from itertools import pairwise
from pathlib import Path

import requests

from benchmarks.provision import state
from lab.hosts import Host
from lab.steps import StepFailed, run
from slipway.operations import PROJECT
from slipway.settings import Settings
from tasks import mongodb, nginx
from tasks.release import healthy
from tasks.tls import certbot_command

HERE = Path(__file__).resolve().parent
# Here: the frontend is built, and the release sent after the rest, while apt is at work there.
SEND = '{ cat "$1"; "$2" -m benchmarks.provision.release "$3" "$4" && cat "$4"; } | { shift 4; "$@"; }'
# There: `head` takes no byte more than it is told to, and leaves the release for the script.
RECEIVE = "umask 077; f=$(mktemp -d); trap 'rm -rf $f' EXIT; head -c {size} | tar -x -C $f; sh $f/provision.sh $f"


def build_release(host: Host, file: Path) -> str:
    """Build the host's release into a file; gives its id."""
    return run("Build the release", [sys.executable, "-m", "benchmarks.provision.release", host.name, str(file)])


def slipway(host: Host) -> str:
    return run("slipway", [sys.executable, "-m", "slipway", "apply", "lab", "--yes"], cwd=PROJECT)


def pyinfra(host: Host) -> str:
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", "lab/inventory.py", "deploy.py"]
    return run("pyinfra", command, cwd=PROJECT)


def script(host: Host) -> str:
    """provision.sh over one connection."""
    with tempfile.TemporaryDirectory() as folder:
        parcel, release = Path(folder) / "parcel.tar", Path(folder) / "release.tar.gz"
        parcel.write_bytes(script_parcel(host, state.settings_of(host)))
        receive = host.ssh_argv(RECEIVE.format(size=parcel.stat().st_size))
        command = ["sh", "-c", SEND, "send", str(parcel), sys.executable, host.name, str(release), *receive]
        return run("provision.sh", command, cwd=PROJECT)


def script_parcel(host: Host, settings: Settings) -> bytes:
    """A tar of provision.sh and what it reads."""
    contents = [*state.files(settings), mongodb_key(settings)]
    parts = {
        "provision.sh": (HERE / "provision.sh").read_bytes(),
        "settings.sh": script_settings(host, settings).encode(),
        "files.tar": state.archive(contents, state.links(settings)),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def script_settings(host: Host, settings: Settings) -> str:
    """What provision.sh has to know of the site, as shell variables and functions. Nothing secret."""
    variables = {
        "packages": " ".join(state.packages(settings)),
        "ports": " ".join(state.open_ports(host, settings)),
        "site": settings.site_name,
        "root": settings.site_root,
        "unit": settings.backend_unit,
        "tls": nginx.TLS_FOLDER,
        "webroot": nginx.ACME_WEBROOT,
    }
    functions = {"healthy": healthy(settings), "get_certificate": shlex.join(certbot_command(settings))}
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, *(f"{name}() {{ {command}; }}" for name, command in functions.items()), ""])


def mongodb_key(settings: Settings) -> state.File:
    """The key that signs MongoDB's packages, fetched and checked here, so that apt need not bring the host a program
    that could."""
    answer = requests.get(settings.mongodb_key_url, timeout=30)
    answer.raise_for_status()
    with tempfile.TemporaryDirectory() as home:
        shown = subprocess.run(
            ["gpg", "--batch", "--homedir", home, "--show-keys", "--with-colons"],
            input=answer.text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    found = [after.split(":")[9] for line, after in pairwise(shown.splitlines()) if line.startswith("pub:")]
    if found != [settings.mongodb_key_fingerprint]:
        raise StepFailed("Check MongoDB's key", f"found {found}, expected {settings.mongodb_key_fingerprint} alone")
    return state.File(mongodb.KEYRING, answer.text)
