"""Hosts for end-to-end tests: one is provisioned per run, and each module gets a copy of it that it may break."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from slipway.lab import hosts, snapshots
from slipway.lab.instance import Instance, folder_lock
from slipway.site import Site
from support.checkout import PROJECT
from support.lab_host import LAB, LABEL, ORIGINAL, LabHost, bring_up
from support.releases import Visits

os.environ["SLIPWAY_LAB"] = LAB
# The longest modules start first, so that no worker is left with one at the end: first those whose thorough tests take
# longest, which have no everyday test or one. Two wait for the original, and light ones leave it the processors; and as
# a worker gets its next module early, the one behind the emulated machine is short.
ORDER = (
    *("agreement", "machine", "servers", "servers_kept", "balanced", "database_servers", "database_backups"),
    *("replica_set", "upgrades", "upgrade_debian", "restore_elsewhere", "backup_verbs", "sessions", "kernel"),
    *("lab", "preflight", "lock", "readme", "adoption", "readme_pyinfra", "connection", "upgrade", "secrets"),
    *("projects", "broken_release", "lockout", "init", "release", "backup", "web_hardening", "interrupted"),
    *("dependencies", "first_apply"),
)

# Modules that leave a server unchanged share one: even seconds add up.
SHARING = {
    *("first_apply", "inspect", "plan_report", "browser", "availability", "lock", "system_hardening", "on_server"),
}

# Modules that one worker runs, one after the other: of the first only one has the domain at a time (`owned_domain`),
# and two emulated machines at once are slower than one after the other.
IN_TURN = {
    "domain": {"agreement", "certificate_lifetimes", "causes", "sites", "drifts", "growth", "certificates"},
    "machine": {"machine", "lab_machines", "kernel"},
}

# The folder of this user's labs.
STATE = Instance(LAB).state.parent
# Held while a run has hosts: the names of a checkout's hosts are those of each run.
ALONE = pytest.StashKey[int]()

# A shell ignores Ctrl-C in what it starts in the background, and so would the applies that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return ORDER.index(name) if name in ORDER else len(ORDER)

    items.sort(key=rank)
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip("throwaway hosts need root"))


class Scheduling(LoadFileScheduling):
    """One worker runs all tests of a file, or of the files that take turns."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        name = Path(file).stem.removeprefix("test_")
        return next((turn for turn, names in IN_TURN.items() if name in names), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def alone() -> int:
    """Hold the lock of the checkout's runs, which the kernel releases with the process. Raises BlockingIOError."""
    STATE.mkdir(parents=True, exist_ok=True)
    lock = os.open(STATE / f"tests-of-{LAB}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise
    return lock


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _take_down() -> None:
    """Remove this checkout's labs from the machine: this run's, and the remains of a killed one."""
    for state in STATE.glob(f"{LAB}*"):
        LabHost("any", state.name).slipway("lab", "down", "--all")


def _has_hosts(session: pytest.Session) -> bool:
    """Whether this is the process that makes the run's hosts and removes them."""
    return not _is_worker(session.config) and os.geteuid() == 0 and not session.config.option.collectonly


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not _has_hosts(session):
        return
    try:
        session.config.stash[ALONE] = alone()
    except BlockingIOError:
        pytest.exit(f"another run of {PROJECT} uses its hosts: wait for it, or test in another clone", returncode=1)
    _take_down()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if ALONE in session.config.stash:
        _take_down()
        os.close(session.config.stash[ALONE])


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, str]:
    """Provision a fresh host, once for all workers, and keep its disk; the output of its first apply."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent
    said = folder / "first-apply.json"
    with folder_lock(folder):
        if not said.exists():
            said.write_text(json.dumps({"failed": "the other worker's attempt to provision the host did not end"}))
            host = bring_up(ORIGINAL)
            first = host.slipway("apply", "lab", "--yes")
            again = host.slipway("apply", "lab", "--yes") if first.returncode == 0 else first
            hosts.stop(ORIGINAL)
            snapshots.take(LABEL, ORIGINAL)
            failed = (first.stderr or first.stdout)[-3000:] if first.returncode else ""
            text = {"failed": failed, "first": first.stdout, "second": again.stdout + again.stderr}
            said.write_text(json.dumps(text))
    found: dict[str, str] = json.loads(said.read_text())
    if found["failed"]:
        pytest.fail(f"no host could be provisioned:\n{found['failed']}", pytrace=False)
    return found


def copy(name: str) -> LabHost:
    """A copy of the provisioned host, healthy."""
    snapshots.copy(LABEL, hosts.find(ORIGINAL), [name])
    hosts.up([name])
    host = LabHost(name)
    host.wait_until_healthy()
    return host


@pytest.fixture(scope="session")
def shared_server(original: dict[str, str], worker_id: str) -> LabHost:
    """A provisioned host for the modules that leave it unchanged."""
    return copy(f"shared-{worker_id}")


@pytest.fixture(scope="module")
def server(original: dict[str, str], request: pytest.FixtureRequest) -> Iterator[LabHost]:
    """A provisioned host for this module alone, unless the module is in SHARING."""
    name = request.node.path.stem.removeprefix("test_")
    if name in SHARING:
        yield request.getfixturevalue("shared_server")
        return
    host = copy(re.sub("[^a-z]", "", name)[:15])
    yield host
    host.remove()


@pytest.fixture
def fresh_server(original: dict[str, str], request: pytest.FixtureRequest) -> Iterator[LabHost]:
    """A provisioned host for this test alone."""
    host = copy(f"t{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def owned_domain(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's domain, which resolves to it until the end of the module: certificates can be issued for it.

    All copies have the same domain, so only one of them can have it at a time.
    """
    lock = tmp_path_factory.getbasetemp().parent / "owned-domain"
    lock.mkdir(exist_ok=True)
    with folder_lock(lock):
        server.resolve(server.record.domain)
        yield server.record.domain


@pytest.fixture
def visits(server: LabHost) -> Iterator[Visits]:
    """Visitors of the server's site, already running."""
    visits = Visits(server.site())
    time.sleep(1)
    yield visits
    visits.process.kill()


@pytest.fixture
def visiting() -> Iterator[Callable[[Site], Visits]]:
    """Starts visitors of a site in the middle of a test, however it ends."""
    started: list[Visits] = []

    def start(site: Site) -> Visits:
        started.append(Visits(site))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a figure to the run's summary."""

    def tell(text: str) -> None:
        request.node.user_properties.append(("figure", text))

    return tell
