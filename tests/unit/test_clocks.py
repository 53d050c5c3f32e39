"""The clocks of two application servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.facts.machine import Clock
from slipway.tasks import clocks
from slipway.tasks.clocks import Reading, apart
from support.described import FakeHost


@pytest.fixture
def told(balanced_with, monkeypatch) -> Callable[..., tuple[list[str], list[str]]]:
    """The problems and notes of a server whose clock is so far ahead of the other's, if each answer takes so long."""

    def told(ahead: float, takes: float, here: str = "two", reached: tuple[str, ...] = ("one", "two")):
        hosts = {name: FakeHost(("app",)) for name in ("one", "two")}
        for name, host in hosts.items():
            host.name = name
        now = [1000.0]
        noted: list[str] = []

        def facts(_: object, names: list[str], question: Callable) -> dict[str, float]:
            (name,) = names
            assert question(hosts[name])[0] is Clock
            now[0] += takes
            # Read at the end for one, at the beginning for the other: all that a slow answer can do.
            return {name: 1_700_000_000 + now[0] + (ahead if name == "two" else -takes)}

        monkeypatch.setattr(clocks.time, "monotonic", lambda: now[0])
        monkeypatch.setattr("slipway.engine.across.facts", facts)
        monkeypatch.setattr("slipway.engine.across.of_run", lambda _, names: [hosts[n] for n in names if n in reached])
        monkeypatch.setattr(clocks, "host", hosts[here])
        monkeypatch.setattr(clocks, "note", noted.append)
        return clocks.problems(balanced_with(here)), noted

    return told


@pytest.mark.parametrize("ahead", [9.0, -9.0])
def test_servers_whose_clocks_would_refuse_each_others_logins_are_refused(told, ahead):
    (problem,), noted = told(ahead, takes=0.1)
    assert problem.startswith(f"clock: found it {ahead:+.0f} s off one's, need at most 5 s between")
    assert noted == []
    # The server that the others are compared with tells nothing, nor one that is alone in the run.
    assert told(ahead, takes=0.5, here="one") == ([], [])
    assert told(ahead, takes=0.5, reached=("two",)) == ([], [])


def test_a_smaller_difference_is_noted(told):
    problems, (noted,) = told(-4.0, takes=0.1)
    assert problems == []
    assert noted.startswith("clock: -4 s off one's; a login")
    assert told(1.0, takes=0.1) == ([], [])


@pytest.mark.parametrize("takes", [0.1, 8.0, 60.0])
def test_an_answer_that_takes_long_is_no_difference(told, takes):
    assert told(0.0, takes) == ([], [])


def test_a_server_that_does_not_say_its_time_is_not_compared():
    assert apart(Reading(float("-inf"), float("inf")), Reading(5, 6)) == 0


def test_the_fact_reads_the_time_anew():
    assert Clock().command(1.5) != Clock().command(2.5)
    assert Clock().process(["1700000000.250000000"]) == 1_700_000_000.25
