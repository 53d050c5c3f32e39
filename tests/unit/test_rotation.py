"""Which application servers a load balancer passes requests to, and when it answers for them."""

from __future__ import annotations

import re
import subprocess
from types import SimpleNamespace

import pytest

from slipway.facts.base import Output
from slipway.settings.peers import Peer
from slipway.tasks import balancing
from slipway.tasks.balancing import DRAINED, UPSTREAM, Rotation, at_last, rotation, rotation_problems, tell
from slipway.tasks.nginx import configuration


class Balancer:
    """The load balancer lb, with what it and another one have drained, and the servers of its own file."""

    name = "lb"

    def __init__(self, monkeypatch, reached, files, drained_on=None):
        self.noted: list[str] = []
        self.state = SimpleNamespace(failed_hosts=set())
        self.files = files
        monkeypatch.setattr(balancing, "host", self)
        monkeypatch.setattr(balancing, "note", self.noted.append)
        monkeypatch.setattr(balancing.across, "of_run", lambda host, names: [one for one in names if one in reached])
        monkeypatch.setattr(balancing.across, "facts", lambda host, names, question: drained_on or {})

    def get_fact(self, fact, command):
        assert fact is Output
        return next((text for part, text in self.files.items() if part in command), "")


@pytest.fixture
def settings(balanced_with):
    return balanced_with("lb")


def upstream(settings, down=()) -> str:
    return configuration(settings, drained=down)[UPSTREAM]


def servers(text: str) -> dict[str, bool]:
    """Whether each server gets requests."""
    return {name: " down;" not in line for line, name in re.findall(r"^ *(server .*; # (\S+))$", text, re.MULTILINE)}


def test_a_server_that_was_never_applied_gets_no_requests_until_a_run_has_reached_it(settings, monkeypatch):
    only_one = upstream(settings).replace("; # two", "; # another")
    box = Balancer(monkeypatch, {"one"}, {UPSTREAM: only_one})
    its = rotation(settings)
    assert (its.held, its.out) == (("two",), ["two"])
    tell(settings, its)
    assert box.noted == ["two is not in this run and was not in rotation: it gets no requests until an apply with it"]
    assert servers(upstream(settings, its.out)) == {"one": True, "two": False}
    # The same again, by what that has written, and then a run with it.
    box.files[UPSTREAM] = upstream(settings, its.out)
    assert rotation(settings).out == ["two"]
    Balancer(monkeypatch, {"one", "two"}, {UPSTREAM: upstream(settings, its.out)})
    assert rotation(settings).out == []


def test_servers_in_rotation_stay_in_it_whatever_the_run_reaches(settings, monkeypatch):
    Balancer(monkeypatch, set(), {UPSTREAM: upstream(settings)})
    assert rotation(settings) == Rotation()
    # A new load balancer may be applied alone.
    Balancer(monkeypatch, set(), {})
    assert rotation(settings).out == []


def test_a_new_server_that_failed_in_the_run_gets_no_requests_and_the_others_do(settings, monkeypatch):
    box = Balancer(monkeypatch, {"one", "two"}, {UPSTREAM: upstream(settings, ["two"])})
    its = rotation(settings)
    assert (its.out, at_last(settings, its)) == ([], {})
    box.state.failed_hosts = [SimpleNamespace(name="two"), SimpleNamespace(name="one")]
    assert servers(at_last(settings, its)[UPSTREAM]) == {"one": True, "two": False}
    assert box.noted == ["two failed in this run: no requests until an apply has succeeded"]
    # Not where no other one would be left.
    assert at_last(settings, Rotation({}, ("one", "two"))) == {}


def test_what_one_load_balancer_has_drained_all_of_them_have(settings, monkeypatch):
    settings._peers = (*settings._peers, Peer("lb2", ("lb",), "10.0.0.9"))
    box = Balancer(
        monkeypatch, {"one", "two"}, {UPSTREAM: upstream(settings)}, drained_on={"lb": "", "lb2": "two\ngone\n"}
    )
    its = rotation(settings)
    assert its.out == ["two"]
    tell(settings, its)
    assert box.noted == [
        "two is drained (by what lb2 remembers): it gets no requests until `slipway undrain two`",
    ]


def test_a_load_balancer_without_a_server_in_rotation_is_refused(settings, monkeypatch):
    Balancer(monkeypatch, {"one", "two"}, {DRAINED: "one\n", UPSTREAM: upstream(settings, ["one"])})
    assert rotation_problems(settings) == []
    Balancer(monkeypatch, {"one"}, {DRAINED: "one\n", UPSTREAM: upstream(settings, ["one", "two"])})
    assert rotation_problems(settings) == [
        "load balancer: found one drained and two not in this run, need an application server in rotation: slipway"
        " undrain one or a run with them"
    ]


def test_a_load_balancer_in_maintenance_answers_itself_and_a_plan_says_so(settings, monkeypatch):
    site = configuration(settings)["sites-available/codementee"]
    assert "if (-f /var/www/codementee/maintenance) {" in site
    assert site.index("return 503;") < site.index("error_page 503 /slipway-unavailable;") < site.index("proxy_pass")
    box = Balancer(monkeypatch, {"one"}, {"/maintenance": "/var/www/codementee/maintenance\n"})
    tell(settings, Rotation())
    assert box.noted == ["codementee.io is in maintenance: visitors get 503 until `slipway maintenance off`"]


@pytest.mark.parametrize(
    ("before", "after"),
    [("one\ngone\n", "one\n"), ("gone\n", ""), ("one\ntwo\n", "one\ntwo\n"), ("one.example.org\n", ""), (None, None)],
)
def test_a_drained_server_that_was_removed_is_forgotten(settings, monkeypatch, tmp_path, before, after):
    (file := tmp_path / "drained").write_text(before or "")
    if before is None:
        file.unlink()
    asked: dict[str, str] = {}
    monkeypatch.setattr(balancing, "DRAINED", str(file))
    monkeypatch.setattr(balancing, "ensure", lambda **arguments: asked.update(arguments))
    balancing.forget_removed(settings)

    def run(script: str) -> int:
        return subprocess.run(["sh", "-c", script], check=False).returncode

    is_due = bool(run(asked["check"]))
    assert is_due is (before != after)
    if is_due:
        assert run(asked["command"]) == 0
        assert run(asked["check"]) == 0
    assert (file.read_text() if file.exists() else None) == after
