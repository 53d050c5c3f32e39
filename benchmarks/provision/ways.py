"""The ways to provision a lab host, each as its users would. They return their output and raise StepFailed."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import requests

from benchmarks import PROJECT
from benchmarks.provision import state
from slipway.lab.hosts import Host
from slipway.lab.instance import cache_dir
from slipway.lab.steps import StepFailed, remove, run
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.tasks import fail2ban, logins, mongodb, nginx, ssh
from slipway.tasks.python_environment import UV, fetch_uv
from slipway.tasks.release import healthy
from slipway.tasks.tls import certbot_command

HERE = Path(__file__).resolve().parent
# Here: build the frontend while apt runs on the host, and send the release last.
SEND = '{ cat "$1"; "$2" -m benchmarks.provision.release "$3" "$4" && cat "$4"; } | { shift 4; "$@"; }'
# There: `head` reads exactly so many bytes, and leaves the release to the script.
RECEIVE = "umask 077; f=$(mktemp -d); trap 'rm -rf $f' EXIT; head -c {size} | tar -x -C $f; sh $f/provision.sh $f"


def release_command(host: Host, file: Path) -> list[str]:
    """A command that builds the host's release into a file and prints its id."""
    return [sys.executable, "-m", "benchmarks.provision.release", host.name, str(file)]


def slipway(host: Host) -> str:
    return run("slipway", [sys.executable, "-m", "slipway", "apply", "lab", "--yes"], cwd=PROJECT)


def pyinfra(host: Host) -> str:
    # The inventory has the login of a provisioned server, and pyinfra tries no other.
    as_root = ["--data", "ssh_user=root", "--data", "_sudo=False"]
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", *as_root, "lab/inventory.py", "deploy.py"]
    return run("pyinfra", command, cwd=PROJECT)


def script(host: Host) -> str:
    """provision.sh over one connection."""
    with tempfile.TemporaryDirectory() as folder:
        parcel, release = Path(folder) / "parcel.tar", Path(folder) / "release.tar.gz"
        parcel.write_bytes(script_parcel(state.settings_of(host)))
        receive = host.ssh_argv(RECEIVE.format(size=parcel.stat().st_size))
        command = ["sh", "-c", SEND, "send", str(parcel), sys.executable, host.name, str(release), *receive]
        return run("provision.sh", command, cwd=PROJECT)


def script_parcel(settings: Settings) -> bytes:
    """A tar of provision.sh and its input."""
    contents = [*state.files(settings), mongodb_key(settings)]
    parts = {
        "provision.sh": (HERE / "provision.sh").read_bytes(),
        "settings.sh": script_settings(settings).encode(),
        "files.tar": state.archive(contents, state.links(settings)),
        **{name: text.encode() for name, text in state.set_users(settings).items()},
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def script_settings(settings: Settings) -> str:
    """The site's settings for provision.sh, as shell variables and functions, without secrets."""
    variables = {
        "packages": " ".join(state.packages(settings)),
        "ports": " ".join(state.open_ports(settings)),
        "admin": settings.admin_user,
        "rsa_key": ssh.RSA_LARGE,
        "rsa_bits": str(ssh.RSA_BITS),
        "least_modulus": str(ssh.MIN_MODULUS),
        "site": settings.site_name,
        "root": settings.site_root,
        "unit": settings.backend_unit,
        "tls": TLS_FOLDER,
        "uv": UV,
        "webroot": nginx.ACME_WEBROOT,
    }
    functions = {
        "set_login_defs": logins.set_login_defs(),
        "healthy": healthy(settings, settings.backend),
        "bans": fail2ban.bans(settings.limits.probe),
        "get_certificate": shlex.join(certbot_command(settings)),
        "get_uv": f"({fetch_uv(settings.limits)})",
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, *(f"{name}() {{ {command}; }}" for name, command in functions.items()), ""])


def mongodb_key(settings: Settings) -> state.File:
    """The key that signs MongoDB's packages, fetched and checked here, so that the host needs no program
    for it."""
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


def ansible(host: Host) -> str:
    with ansible_folder(host) as folder:
        return run("ansible-playbook", ansible_command(folder), env=ansible_environment(folder))


@contextmanager
def ansible_folder(host: Host, **connection: object) -> Iterator[Path]:
    """A folder with the playbook's input: an inventory, and the files beside it. `connection` overrides
    the login of a fresh host."""
    settings = state.settings_of(host)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in state.files(settings):
            place = folder / "files" / file.path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.content)
        for file_name, text in state.set_users(settings).items():
            (folder / file_name).write_text(text)
        variables = {**ansible_connection(host), **connection, **ansible_variables(host, settings, folder)}
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {host.name: variables}}}))
        yield folder


def ansible_command(folder: Path) -> list[str]:
    playbook = str(HERE / "ansible/site.yml")
    return [str(ansible_venv() / "bin/ansible-playbook"), "-i", str(folder / "inventory.json"), playbook]


def ansible_environment(folder: Path) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(HERE / "ansible/ansible.cfg"),
        # Its connections persist: one to an earlier host with the same address must not be reused.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{folder}/ssh",
        # It only starts in a UTF-8 locale.
        "LC_ALL": "C.UTF-8",
    }


def ansible_connection(host: Host) -> dict[str, object]:
    options = (
        f"-F none -o UserKnownHostsFile={host.known_hosts_file} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    )
    return {
        "ansible_host": host.address,
        "ansible_port": host.ssh_port,
        "ansible_user": host.user,
        "ansible_ssh_private_key_file": host.key_file,
        "ansible_ssh_common_args": options,
    }


def ansible_variables(host: Host, settings: Settings, folder: Path) -> dict[str, object]:
    """The site's settings for the playbook, without secrets."""
    release = folder / "release.tar.gz"
    socket = "" if settings.backend_is_tcp else settings.backend_listen
    address = settings.backend_listen if settings.backend_is_tcp else "localhost"
    return {
        "folder": str(folder),
        "files": str(folder / "files"),
        "project": str(PROJECT),
        "release_file": str(release),
        "release_command": release_command(host, release),
        "site": settings.site_name,
        "root": settings.site_root,
        "unit": settings.backend_unit,
        "timezone": settings.timezone,
        "ports": state.open_ports(settings),
        "admin": settings.admin_user,
        "admin_keys": settings.admin_keys,
        "login_defs": logins.LOGIN_DEFS,
        "rsa_key": ssh.RSA_LARGE,
        "rsa_bits": ssh.RSA_BITS,
        "least_modulus": ssh.MIN_MODULUS,
        "base_packages": state.base_packages(settings),
        "mongodb_packages": mongodb.packages(settings),
        "mongodb_key_url": settings.mongodb_key_url,
        "mongodb_key_fingerprint": settings.mongodb_key_fingerprint,
        "mongodb_keyring": mongodb.KEYRING,
        "mongodb_limits": mongodb.LIMITS,
        "get_uv": fetch_uv(settings.limits),
        "health_socket": socket,
        "health_url": f"http://{address}{settings.backend_health_path}",
        "tls": TLS_FOLDER,
        "webroot": nginx.ACME_WEBROOT,
        "error_pages": nginx.ERROR_PAGES,
        "certbot_command": certbot_command(settings),
    }


def ansible_venv() -> Path:
    """Ansible's own virtual environment, cached under a hash of its lock file."""
    locked = HERE / "ansible/requirements.txt"
    return cache_dir() / f"benchmarks/ansible-{hashlib.sha256(locked.read_bytes()).hexdigest()[:12]}"


def install_ansible() -> None:
    venv = ansible_venv()
    if (venv / ".installed").exists():
        return
    remove(venv)
    run("Make Ansible's virtual environment", [sys.executable, "-m", "venv", str(venv)])
    pip = [str(venv / "bin/pip"), "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    run("Install Ansible", [*pip, "-r", str(HERE / "ansible/requirements.txt")])
    (venv / ".installed").touch()
