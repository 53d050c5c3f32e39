"""Settings as a user has them: group_data/all.py with a secrets file."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

import paramiko
import pytest
from pyinfra.api.host import Host

from slipway.cli import main
from slipway.engine import environment
from slipway.settings.arguments import Arguments
from slipway.settings.check import COMMAND_LINE, check
from slipway.settings.model import Settings
from support.connected import Hosts, connected_hosts
from support.fake_session import FakeSession
from support.package_index import PackageIndex

# Its private half was discarded.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN nobody"
PROJECT = Path(__file__).resolve().parents[2]
# RFC 2606: never resolves, so that any connection would fail.
INVENTORY = 'web = app = db = ["server.invalid"]\n'
# Modules that mostly wait, and those that take a processor longest, each the longest first.
WAITING = (
    *("remote_shell", "connector", "backup_parallel", "release_program", "leaks", "backend_health"),
    *("limits", "mistakes", "visitors", "alarms", "mongodb_set", "mongodb_members"),
)
LONG = ("dependencies", "starter", "plain_pyinfra", "cli", "templates", "components", "own_component", "package_builds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules to the workers, as pytest-xdist gives each a part of the items as they stand: two begin with
    what waits, and leave the processors to the others."""
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path.stem.removeprefix("test_"), []).append(item)
    hands: list[list[pytest.Item]] = [[] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))]
    for number, name in enumerate(WAITING):
        hands[number % min(2, len(hands))].extend(modules.pop(name, []))
    for name in sorted(modules, key=lambda name: name not in LONG):
        min(hands, key=len).extend(modules[name])
    items[:] = [item for hand in hands for item in hand]


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


@pytest.fixture
def in_group_data() -> dict[str, Any]:
    """The settings in this checkout's group_data/all.py."""
    found = runpy.run_path(str(PROJECT / "group_data/all.py"))
    return {name: value for name, value in found.items() if not name.startswith("__")}


@pytest.fixture
def defaults(tmp_path: Path, in_group_data: dict[str, Any]) -> dict[str, Any]:
    """The settings in group_data/all.py, with a valid secrets file."""
    file = tmp_path / "secrets.env"
    file.touch(mode=0o600)
    file.write_text("JWT_SECRET=3b4f0c6a5d9e8f7a6b5c4d3e2f1a0b9c\nADMIN_PASSWORD='correct horse'\n")
    # Of the example, also where a test has another frontend.
    built = {"frontend_output": "build", "frontend_assets": "/static/", "frontend_node": ""}
    return {**in_group_data, "secrets_file": str(file), "admin_keys": [PUBLIC_KEY], **built}


@pytest.fixture
def settings_with(defaults: dict[str, Any]) -> Callable[..., Settings]:
    """The defaults with changes, not validated: templates are tested with odd values too."""

    def make(**changes: Any) -> Settings:
        if "frontend_assets" in changes:
            return check(defaults).model_copy(update=changes)
        return check({**defaults, **changes}, dict.fromkeys(Arguments.model_fields, COMMAND_LINE))

    return make


@pytest.fixture
def balanced_with(settings_with: Callable[..., Settings]) -> Callable[..., Settings]:
    """Those of a server of an inventory with a load balancer, by its name there: lb, one or two."""
    from slipway.settings.peers import Peer

    places = (
        ("lb", ("lb",), "10.0.0.1"),
        ("one", ("web", "app", "db"), "10.0.0.2"),
        ("two", ("web", "app"), "10.0.0.3"),
    )

    def make(here: str, **changes: Any) -> Settings:
        settings = settings_with(**changes)
        settings._peers = tuple(Peer(*place, is_here=place[0] == here) for place in places)
        settings.__dict__.pop("all_sites", None)
        return settings

    return make


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project like the checkout, with its own inventory and secrets."""
    shutil.copytree(PROJECT / "group_data", tmp_path / "group_data")
    for name in ("examples/codementee/backend", "examples/codementee/frontend"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "examples/codementee/backend/requirements.txt").touch()
    for name in ("package.json", "vite.config.js"):
        shutil.copy(PROJECT / "examples/codementee/frontend" / name, tmp_path / "examples/codementee/frontend")
    for name in ("deploy.py", "release.py", "rollback.py"):
        shutil.copy(PROJECT / name, tmp_path)
    (tmp_path / "inventory.py").write_text(INVENTORY)
    own = f"admin_keys = [{PUBLIC_KEY!r}]\nsecrets_file = 'secrets/production.env'\n"
    (tmp_path / "group_data/web.py").write_text(own)
    secrets = tmp_path / "secrets/production.env"
    secrets.parent.mkdir()
    secrets.touch(mode=0o600)
    secrets.write_text("JWT_SECRET=3b4f0c6a\nADMIN_PASSWORD=3b4f0c6b\n")
    return tmp_path


PATH = environment.PATH
# A fake sudo that runs the command as the same user.
SUDO = """\
#!/bin/sh
while true; do case $1 in -u) shift 2 ;; -*) shift ;; *) break ;; esac; done
exec "$@"
"""
NO_SUDO = "#!/bin/sh\necho sudo: a password is required >&2; exit 1\n"


class Sshd:
    """ssh servers on this machine (local_sshd.py), shared by tests with the same options."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = paramiko.ECDSAKey.generate()
        self.key.write_private_key_file(str(folder / "key"))
        for name, program in (("sudo", SUDO), ("no-sudo", NO_SUDO)):
            (folder / name).mkdir()
            (folder / name / "sudo").write_text(program)
            (folder / name / "sudo").chmod(0o755)
        self.running: dict[tuple[object, ...], tuple[subprocess.Popen[str], int]] = {}

    def start(self, max_sessions: int = 10, prefix: str = "", sudo: str = "sudo") -> dict[str, Any]:
        """A server's connection data. `prefix` is what its login shell runs first."""
        wanted = (max_sessions, prefix, sudo)
        if wanted not in self.running:
            program = str(PROJECT / "tests/support/local_sshd.py")
            command = [sys.executable, program, str(self.folder / "key"), str(max_sessions), prefix]
            env = {**os.environ, "PATH": f"{self.folder / sudo}:{os.environ['PATH']}"}
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
            assert process.stdout
            self.running[wanted] = process, int(process.stdout.readline())
        environment.PATH = f"{self.folder / sudo}:{PATH}"
        port = self.running[wanted][1]
        known_hosts = self.folder / f"known_hosts-{port}"
        known_hosts.write_text(f"[127.0.0.1]:{port} {self.key.get_name()} {self.key.get_base64()}\n")
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": port,
            "ssh_user": "root",
            "ssh_key": str(self.folder / "key"),
            "ssh_known_hosts_file": str(known_hosts),
        }

    def stop(self) -> None:
        """Kill the servers; new ones are started on demand."""
        environment.PATH = PATH
        while self.running:
            process, _ = self.running.popitem()[1]
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    servers = Sshd(tmp_path_factory.mktemp("sshd"))
    yield servers
    servers.stop()


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command line on a session with an outcome; returns its exit code, output and errors."""

    def run(outcome, *arguments, error=None):
        session = type("Session", (FakeSession,), {"outcome": outcome, "error": error})
        for module in {module for module, _ in main.VERBS.values()}:
            if hasattr(import_module(module), "Session"):
                monkeypatch.setattr(import_module(module), "Session", session)
        monkeypatch.setattr(sys, "argv", ["slipway", *arguments])
        run.session = session
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def hosts(sshd: Sshd) -> Iterator[Hosts]:
    """Creates connected hosts of one pyinfra state, with Slipway's connector."""
    with connected_hosts(sshd) as make:
        yield make


@pytest.fixture
def host(hosts: Hosts) -> Host:
    return hosts("box")[0]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """The only package index that uv uses."""
    index = PackageIndex(tmp_path / "index")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.folder.as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return index
