"""The ways to find that hosts are in sync, each as its users would, and the cost of a run."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import PROJECT
from benchmarks.converge import results
from benchmarks.converge.results import Run
from benchmarks.provision import ways as provision
from slipway.lab import record
from slipway.lab.hosts import Host
from slipway.lab.instance import Instance
from slipway.lab.nspawn import cgroups_of, machine_name
from slipway.lab.steps import StepFailed, run

CLOCK = Path(__file__).with_name("clock.py")
SLIPWAY = [sys.executable, "-m", "slipway"]
# The drift that the apply corrects: no service reads this file, so nothing restarts.
DRIFT = "echo >> /etc/apt/apt.conf.d/00-slipway"


@dataclass(frozen=True)
class Way:
    """A command, its uncounted preparation, and what it must print: that there was nothing to change, or the expected
    number of changes. One that `remembers` its queries is run once before it is measured."""

    name: str
    command: Sequence[str]
    environment: Callable[[], dict[str, str]] = dict
    before: Callable[[], object] = lambda: None
    proof: str = ""
    remembers: bool = False


def one_host(host: Host, ansible_folder: Path | None) -> list[Way]:
    ways = [ssh(host), plan(), first_plan(), apply(host), pyinfra()]
    return [*ways, ansible(ansible_folder)] if ansible_folder else ways


def versions(host: Host, commit: str, folder: Path) -> list[Way]:
    return [ssh(host), plan(), plan_of_version(host, commit, folder)]


def ssh(host: Host) -> Way:
    login = provision.ansible_connection(host)
    options = shlex.split(str(login["ansible_ssh_common_args"]))
    target = ["-i", host.key_file, "-p", str(host.ssh_port), f"admin@{host.address}"]
    return Way(results.SSH, ["ssh", *options, *target, "true"])


def plan() -> Way:
    return Way(results.PLAN, [*SLIPWAY, "plan", "lab"], proof="nothing to change", remembers=True)


def first_plan() -> Way:
    """A plan without a cache of an earlier one, as in CI."""
    folder = tempfile.mkdtemp
    return Way(results.FIRST_PLAN, plan().command, lambda: {"XDG_CACHE_HOME": folder()}, proof=plan().proof)


def apply(host: Host) -> Way:
    def drift() -> None:
        run("Change a file", host.ssh_argv(DRIFT))

    return Way(results.APPLY, [*SLIPWAY, "apply", "lab", "--yes"], before=drift, proof="done: 1 of ")


def plan_of_version(host: Host, commit: str, folder: Path) -> Way:
    """The plan of another version, whose files are extracted to `folder`. It may find changes: its desired state
    may differ from this version's."""
    archive = f"git archive {shlex.quote(commit)} | tar -x -C {shlex.quote(str(folder))}"
    run(f"Extract {commit}", ["bash", "-o", "pipefail", "-c", archive], cwd=PROJECT)
    # A setting that the version does not have yet, it does not need.
    known = (folder / "docs/settings.md").read_text()
    data = {
        name: value
        for name, value in record.pyinfra_data(host).items()
        if name.startswith(("ssh_", "_")) or f"`{name}`" in known
    }
    (folder / "inventory.py").write_text(f"web = app = db = [({host.name!r}, {data!r})]\n")
    command = [*SLIPWAY, "plan"]
    script = f"cd {shlex.quote(str(folder))}; {shlex.join(command)}; code=$?; [ $code = 2 ] || exit $code"
    name = f"{results.PLAN_OF}{commit[:7]}"
    return Way(name, ["sh", "-c", script], lambda: {"PYTHONPATH": str(folder)}, remembers=True)


def pyinfra() -> Way:
    """Its exit code and preview are not checked: restarts that would follow a change count as changes."""
    pyinfra = str(Path(sys.executable).with_name("pyinfra"))
    return Way(results.PYINFRA, [pyinfra, "lab/inventory.py", "deploy.py", "--dry"])


def ansible(folder: Path) -> Way:
    """Ansible can't plan steps that depend on others, so this is a run that changes nothing."""

    def environment() -> dict[str, str]:
        # Each run makes its own connection, as the others do.
        control = {"ANSIBLE_SSH_CONTROL_PATH_DIR": tempfile.mkdtemp()}
        return {**provision.ansible_environment(folder), **control}

    return Way(results.ANSIBLE, provision.ansible_command(folder), environment, proof=" changed=0 ")


def measured(way: Way, hosts: Sequence[Host], round_trip: int, at_rest: float) -> Run:
    """Run a way on `hosts`; `at_rest` is their processor time per second when idle. Raises
    StepFailed."""
    way.before()
    names = ",".join(host.name for host in hosts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "took.json"
        command = [sys.executable, "-I", str(CLOCK), str(file), *way.command]
        before = remote_cpu(hosts)
        # Python may write its bytecode, as a user's does.
        env = {"SLIPWAY_LAB_HOSTS": names, "PYTHONDONTWRITEBYTECODE": "", **way.environment()}
        output = run(way.name, command, cwd=PROJECT, env=env)
        took = json.loads(file.read_text())
    if way.proof not in output:
        raise StepFailed(way.name, f"found no {way.proof.strip()!r} in what it printed", output=output)
    there = remote_cpu(hosts) - before - at_rest * took["seconds"]
    return Run(way.name, len(hosts), round_trip, **took, remote_cpu=max(0.0, there) / len(hosts))


def remote_cpu(hosts: Sequence[Host]) -> float:
    """The processor time of the hosts since they booted, in seconds."""
    return sum(_cpu_seconds(host) for host in hosts)


def _cpu_seconds(host: Host) -> float:
    files = (cgroup / "cpu.stat" for cgroup in cgroups_of(machine_name(Instance(), host.name)))
    text = next(file.read_text() for file in files if file.exists())
    return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6


def cpu_at_rest(hosts: Sequence[Host], seconds: float) -> float:
    """The hosts' processor time per second when idle."""
    before, began = remote_cpu(hosts), time.monotonic()
    time.sleep(seconds)
    return (remote_cpu(hosts) - before) / (time.monotonic() - began)
