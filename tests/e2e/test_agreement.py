"""Slipway's engine and plain pyinfra find the same pending changes on a drifted host, and make the same of it; and a
plan is clean exactly when `slipway verify` is green.

Sets of drifts are drawn from a seed, SLIPWAY_TEST_SEED, over all components.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.lab import hosts, snapshots
from slipway.lab.seed import know
from slipway.tasks.packages import DPKG_STATUS
from support.drifts import COMPARED, DRIFTS
from support.lab_host import PROJECT, LabHost
from support.waiting import wait_until

SEED = int(os.environ.get("SLIPWAY_TEST_SEED", "5"))
# Of each draw. Plans by Slipway and by pyinfra are compared for ten sets in an everyday run and for fifty in the
# thorough one, plans and `slipway verify` for two hundred.
SETS_OF_DRAW, PLANNED_DRAWS, VERIFIED_DRAWS = 10, 5, 20
APPLIED = 3
# The number of drifts in a set.
SIZES = (1, 1, 2, 3, 3, 4, 8)
READY = "ready"
VERIFY = "verify_worker.py"
HOST_KEY_GONE = "the host key gone"
# dpkg can't correct its own forged status.
MENDED = {name: drift.script for name, drift in DRIFTS.items() if DPKG_STATUS not in drift.script}


def drawn(count: int, names: list[str]) -> list[list[str]]:
    """Sets of drifts. None is repeated before all have been used."""
    chance, deck = random.Random(SEED), []
    sets = []
    for _ in range(count):
        size = chance.choice(SIZES)
        if len(deck) < size:
            deck = chance.sample(names, len(names))
        sets.append([deck.pop() for _ in range(size)])
    return sets


class Drifting:
    """A server that drifts and is restored to its snapshot."""

    def __init__(self, server: LabHost) -> None:
        self.server = server
        program = (PROJECT / "tests/support/host_state.py").read_text()
        server.ssh(f"cat > /root/host_state.py <<'END_OF_FILE'\n{program}\nEND_OF_FILE")
        self.keys = server.ssh("cat /etc/ssh/ssh_host_*_key.pub").splitlines()
        hosts.stop(server.name)
        snapshots.take(READY, server.name)
        self.restore()

    def _know(self, keys: list[str]) -> None:
        """Trust all of these host keys: where a drift removes one, another is offered."""
        record = self.server.record
        know(Path(record.known_hosts_file), record.address, record.ssh_port, keys)

    def restore(self) -> None:
        # Those of the snapshot: an apply may have made new ones.
        self._know(self.keys)
        snapshots.restore(READY, self.server.name)
        self.server.wait_until_healthy()
        units = "systemctl is-active fail2ban nginx mongod codementee-backend"
        wait_until("all units run", lambda: set(self.server.ssh(units, check=False).split()) == {"active"})
        # A file that changes just after a start is older or newer by chance, as an age is in whole seconds.
        self.server.ssh('until [ "$(ps -o etimes= -p "$(pgrep -n nginx)")" -gt 4 ]; do sleep 0.3; done')

    def break_by(self, drifts: list[str]) -> None:
        # One drift may break another's script.
        script = "; ".join(f"( {DRIFTS[drift].script}\n) > /dev/null 2>&1 < /dev/null" for drift in drifts)
        self.server.ssh(f"{script}; true")
        if HOST_KEY_GONE in drifts:
            self.know_offered()

    def know_offered(self) -> None:
        """Trust the host keys that the server offers now."""
        command = ["ssh-keyscan", "-T", "30", self.server.record.address]
        offered = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        self._know([line.partition(" ")[2] for line in offered if not line.startswith("#")])

    def state(self) -> dict[str, str]:
        return dict(json.loads(self.server.ssh("python3 /root/host_state.py")))


@pytest.fixture(scope="module")
def drifting(server: LabHost, owned_domain: str) -> Drifting:
    return Drifting(server)


def worker(server: LabHost, *command: str) -> subprocess.Popen[str]:
    """A program of tests/support that answers a line of input by a line of output."""
    program, *words = command
    return subprocess.Popen(
        [sys.executable, str(PROJECT / "tests/support" / program), *words],
        env=server.env,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(asked: subprocess.Popen[str]) -> None:
    assert asked.stdin
    asked.stdin.write("again\n")
    asked.stdin.flush()


def answer(asked: subprocess.Popen[str]) -> list[str]:
    assert asked.stdout
    assert asked.stderr
    line = asked.stdout.readline()
    assert line, asked.stderr.read()
    return list(json.loads(line))


@pytest.fixture
def planners(server: LabHost) -> Iterator[dict[str, subprocess.Popen[str]]]:
    running = {way: worker(server, "plan_worker.py", way) for way in ("pyinfra", "slipway")}
    yield running
    for planner in running.values():
        planner.communicate(timeout=60)


def plan_both_ways(planners: dict[str, subprocess.Popen[str]]) -> dict[str, list[str]]:
    """The pending operations according to each; both plan at the same time."""
    for planner in planners.values():
        begin(planner)
    return {way: answer(planner) for way, planner in planners.items()}


@pytest.mark.parametrize(
    "draw", [0, *(pytest.param(draw, marks=pytest.mark.thorough) for draw in range(1, PLANNED_DRAWS))]
)
def test_slipway_and_pyinfra_find_the_same_pending(
    drifting: Drifting, planners: dict[str, subprocess.Popen[str]], say: Callable[[str], None], draw: int
) -> None:
    sets = drawn(PLANNED_DRAWS * SETS_OF_DRAW, sorted(COMPARED))[draw * SETS_OF_DRAW :][:SETS_OF_DRAW]
    found = plan_both_ways(planners)
    if found != {"pyinfra": [], "slipway": []}:
        # A draw that failed halfway leaves a drifted server behind.
        drifting.restore()
        found = plan_both_ways(planners)
    assert found == {"pyinfra": [], "slipway": []}
    unlike, pending = [], set()
    for number, drifts in enumerate(sets):
        # Every second set is added to the previous one: a restore takes longer than a plan.
        drifting.break_by(drifts)
        found = plan_both_ways(planners)
        if number % 2:
            drifting.restore()
        pending |= {*found["slipway"]}
        if found["pyinfra"] != found["slipway"] or not found["slipway"]:
            common = {*found["pyinfra"]} & {*found["slipway"]}
            unlike.append((drifts, {way: [one for one in its if one not in common] for way, its in found.items()}))
    say(f"{len(sets)} sets, {len(unlike)} differ; {len(pending)} operations were pending in some of them")
    assert unlike == []


@pytest.mark.thorough
@pytest.mark.parametrize("draw", range(VERIFIED_DRAWS))
def test_a_plan_is_clean_exactly_when_verify_is_green(
    drifting: Drifting, say: Callable[[str], None], draw: int
) -> None:
    """Verify includes a plan: it is red wherever a plan is not clean. An apply of what a set of drifts leaves pending
    must leave both in order."""
    sets = drawn(VERIFIED_DRAWS * SETS_OF_DRAW, sorted(MENDED))[draw * SETS_OF_DRAW :][:SETS_OF_DRAW]
    applying, verifying = worker(drifting.server, "plan_worker.py", "apply"), worker(drifting.server, VERIFY)
    unlike = []
    drifting.restore()
    for number, drifts in enumerate(sets):
        drifting.break_by(drifts)
        if number == 0:
            begin(verifying)
            assert answer(verifying), drifts
        begin(applying)
        pending = answer(applying)
        drifting.know_offered()
        begin(verifying)
        red = answer(verifying)
        if red or not pending:
            unlike.append((drifts, pending, red))
            drifting.restore()
    for one in (applying, verifying):
        one.communicate(timeout=60)
    say(f"{len(sets)} sets, {len(unlike)} in which plan and verify differ")
    assert unlike == []


def by_slipway(server: LabHost) -> None:
    server.apply()


def by_pyinfra(server: LabHost) -> None:
    server.pyinfra("lab/inventory.py", "deploy.py")


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(APPLIED))
def test_slipway_and_pyinfra_apply_to_the_same_state(drifting: Drifting, number: int) -> None:
    # Every drift, distributed over the sets.
    names = sorted({*COMPARED} & {*MENDED})
    drifts = random.Random(SEED).sample(names, len(names))[number::APPLIED][:12]
    drifting.restore()
    before = drifting.state()
    made = []
    for apply in (by_slipway, by_pyinfra):
        drifting.restore()
        drifting.break_by(drifts)
        assert drifting.server.slipway("verify", "lab").returncode != 0
        apply(drifting.server)
        made.append(drifting.state())
        verified = drifting.server.slipway("verify", "lab")
        assert verified.returncode == 0, verified.stdout
    by_one, by_other = made
    assert differences(by_one, by_other) == {}, drifts
    assert differences(by_one, before) == {}, drifts


def differences(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {what: (one.get(what), other.get(what)) for what in {*one, *other} if one.get(what) != other.get(what)}
