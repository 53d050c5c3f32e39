"""A release that goes from server to server."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pyinfra
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage
from pyinfra.api.util import get_operation_order_from_stack

from slipway.releases.listing import ReleaseThere, difference
from slipway.settings.peers import Peer
from slipway.tasks import rolling
from slipway.tasks.rolling import batches

NAMES = ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize(
    ("names", "release_batch", "sizes"),
    [
        (NAMES, "1", [1, 1, 1, 1, 1]),
        (NAMES, "2", [1, 2, 2]),
        (NAMES, "3", [1, 3, 1]),
        (NAMES, "40%", [1, 2, 2]),
        (NAMES, "100%", [1, 4]),
        # A share of less than one server is one.
        (NAMES, "1%", [1, 1, 1, 1, 1]),
        (NAMES[:2], "50%", [1, 1]),
        (NAMES[:1], "5", [1]),
    ],
)
def test_one_server_comes_first_and_then_as_many_as_set(names, release_batch, sizes):
    found = batches(names, release_batch)
    assert [len(batch) for batch in found] == sizes
    assert [name for batch in found for name in batch] == names


@pytest.mark.parametrize(
    ("value", "is_valid"), [("1", True), ("25%", True), ("100%", True), ("0", False), ("x", False)]
)
def test_a_batch_is_a_number_or_a_share(settings_with, value, is_valid):
    if is_valid:
        assert settings_with(release_batch=value).release_batch == value
    else:
        with pytest.raises(Exception, match="a number as"):
            settings_with(release_batch=value)


DEPLOY = """
from pyinfra import host
from pyinfra.operations import server
from slipway.tasks import rolling

def change():
    server.shell(name=f"Start it on {host.name}", commands="true")
    server.shell(name=f"Activate it on {host.name}", commands="true")

rolling.one_by_one(SETTINGS, change, lambda: "new")
server.shell(name="End", commands="true")
"""


@pytest.mark.parametrize("order", [get_operation_order_from_stack, pyinfra_compat.order_of_operation])
def test_no_server_begins_before_those_of_the_turn_before_have_ended(monkeypatch, tmp_path, order):
    """In the order that pyinfra and Slipway run the operations of several hosts in."""
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.setattr(import_module("pyinfra.api.operation"), "get_operation_order_from_stack", order)
    state = State(Inventory((NAMES, {})), Config(), check_for_changes=False)
    state.set_stage(StateStage.Prepare)
    file = tmp_path / "release.py"
    file.write_text(DEPLOY)
    state.current_deploy_filename = str(file)
    monkeypatch.setattr(rolling, "_servers", lambda settings: [*state.inventory])
    monkeypatch.setattr(rolling, "_leads_to", lambda settings, link: "")
    monkeypatch.setattr("builtins.SETTINGS", SimpleNamespace(release_batch="2", site_root="/srv"), raising=False)
    pyinfra_compat.ctx_state.set(state)
    try:
        for host in state.inventory:
            state.activate_host(host)
            with pyinfra_compat.using(state, host):
                pyinfra_compat.exec_file(str(file))
        found = [name for one in state.get_op_order() for name in state.op_meta[one].names]
    finally:
        pyinfra_compat.ctx_state.reset()
    place = {name: found.index(name) for name in found}
    for earlier, later in (("one", "two"), ("one", "three"), ("two", "four"), ("three", "four"), ("three", "five")):
        assert place[f"Activate it on {earlier}"] < place[f"Start it on {later}"]
    assert place["Activate it on five"] < place["Go back to the release before"] < place["End"]


@pytest.fixture
def asked(balanced_with, monkeypatch):
    """Whether a release by some of the servers may begin, with what the load balancer passes requests to, None where it
    is not in the run; raises if not."""

    def asked(*names: str, upstream: str | None = "", **arguments: object) -> None:
        there = [SimpleNamespace(name=name) for name in names]
        monkeypatch.setattr(rolling, "_servers", lambda settings, role="web": there)
        said = {} if upstream is None else {"lb": upstream}
        monkeypatch.setattr("slipway.engine.across.facts", lambda host, names, question: said)
        rolling.check_all_here(balanced_with("one", **arguments))

    return asked


def test_a_release_without_a_server_is_refused_unless_that_is_wanted(asked):
    asked("one", "two")
    with pytest.raises(PyinfraError, match="found a run without two, expected all application servers") as refused:
        asked("one")
    assert "slipway drain two, and --limit lb --limit one --partial" in str(refused.value)
    asked("one", release_partial=True)


def test_a_release_without_a_server_is_refused_while_visitors_may_reach_that_one(asked):
    line = "    server 10.0.0.{}:8443 max_fails=3{}; # {}\n".format
    both = line(2, "", "one") + line(3, "", "two")
    with pytest.raises(PyinfraError, match=r"found two in rotation, need it drained.*slipway drain two"):
        asked("one", upstream=both, release_partial=True)
    asked("one", upstream=both.replace("3; # two", "3 down; # two"), release_partial=True)
    # One that was never applied gets no requests.
    asked("one", upstream=line(2, "", "one"), release_partial=True)
    with pytest.raises(PyinfraError, match="found a run without lb, need it, as it knows whether two is drained"):
        asked("one", upstream=None, release_partial=True)
    # Who leaves out none is not asked about it.
    asked("one", "two", upstream=both, release_partial=True)


def test_servers_without_a_load_balancer_get_the_same_release(settings_with, monkeypatch):
    there = [SimpleNamespace(name="one")]
    monkeypatch.setattr(rolling, "_servers", lambda settings, role="web": there)

    def check(**arguments: object) -> None:
        settings = settings_with(**arguments)
        settings._peers = (
            *(Peer(name, ("web", "app"), "10.0.0.1", is_here=name == "one") for name in ("one", "two")),
            Peer("other", ("web", "app"), "10.0.0.3", {"site_domain": "other.example.org"}),
            Peer("db", ("db",), "10.0.0.4"),
        )
        rolling.check_all_here(settings)

    with pytest.raises(PyinfraError, match="found a run without two, expected all") as refused:
        check()
    assert "drain" not in str(refused.value)
    check(release_partial=True)
    there.append(SimpleNamespace(name="two"))
    check()


def test_a_single_server_takes_no_turns(settings_with):
    assert not rolling.is_rolling(settings_with())
    rolling.check_all_here(settings_with())


def test_servers_with_different_releases_are_told_apart():
    def there(current: str) -> list[ReleaseThere]:
        return [ReleaseThere(id="c"), ReleaseThere(id=current, place="current"), ReleaseThere(id="a", place="previous")]

    assert difference({"one": there("b"), "two": there("b")}) == ""
    assert difference({}) == ""
    said = difference({"one": there("b"), "two": [ReleaseThere(id="c", place="current")], "three": []})
    assert said.startswith("the servers differ: one has b, two has c, three has none; ")


@pytest.mark.parametrize(
    ("links", "release"),
    [
        ({"one": ("c", "b"), "two": ("c", "b")}, "b"),
        # A release was interrupted after the first server, or after the second with a partial one before.
        ({"one": ("c", "b"), "two": ("b", "a")}, "b"),
        ({"one": ("b", "a"), "two": ("c", "b")}, "b"),
        # A rollback was.
        ({"one": ("b", "c"), "two": ("c", "b")}, "b"),
        # The second was added later.
        ({"one": ("c", "b"), "two": ("c", "")}, "b"),
        ({"one": ("c", ""), "two": ("c", "")}, ""),
    ],
)
def test_all_servers_go_back_to_the_same_release(links, release):
    assert rolling.before_of(links) == release


@pytest.mark.parametrize(
    "links",
    [
        # `slipway rollback a` was interrupted after the first server: c, which both have, is the bad one.
        {"one": ("a", "c"), "two": ("c", "b")},
        {"one": ("a", "c"), "two": ("c", "")},
        {"one": ("c", "b"), "two": ("b", "a"), "three": ("c", "a")},
    ],
)
def test_after_an_interrupted_rollback_no_server_goes_forward_to_the_bad_release(links):
    with pytest.raises(PyinfraError, match=r"the releases before differ: one .*; nothing was changed. Name one"):
        rolling.before_of(links)


def test_servers_whose_releases_before_differ_go_back_to_one_that_is_named():
    with pytest.raises(PyinfraError, match=r"the releases before differ: one a, two b; nothing was changed. Name one"):
        rolling.before_of({"one": ("c", "a"), "two": ("c", "b")})


def test_the_links_of_all_servers_are_read(balanced_with, monkeypatch):
    printed = {"one": "releases/c\nreleases/b", "two": "releases/c"}
    monkeypatch.setattr(rolling, "_servers", lambda settings: [SimpleNamespace(name=name) for name in printed])
    monkeypatch.setattr(rolling.across, "facts", lambda host, names, question: {name: printed[name] for name in names})
    assert rolling.release_before(balanced_with("one")) == "b"


def test_of_several_backends_without_a_load_balancer_the_first_alone_runs_the_hooks(settings_with, monkeypatch):
    def on(name: str, *names: str) -> bool:
        settings = settings_with()
        settings._peers = tuple(Peer(one, ("web", "app"), "10.0.0.1", is_here=one == name) for one in names)
        monkeypatch.setattr(rolling, "_servers", lambda settings, role: [SimpleNamespace(name=one) for one in names])
        monkeypatch.setattr(rolling, "host", SimpleNamespace(name=name))
        assert not rolling.is_rolling(settings)
        return rolling.is_first(settings)

    assert [on("one", "one", "two"), on("two", "one", "two"), on("two", "two")] == [True, False, True]
