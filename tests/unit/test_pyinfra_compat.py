"""Slipway's patches of pyinfra, against a local `sh`: operations behave as with plain pyinfra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import gevent
import pytest
from pyinfra import host as current_host
from pyinfra import inventory as all_hosts
from pyinfra.api import Config, Inventory, State, arguments, facts, operation
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import ArgumentTypeError, PyinfraError
from pyinfra.api.operation import OperationMeta
from pyinfra.api.util import get_operation_order_from_stack

from support.connected import Counted, Shown, evaluate, look


def test_operations_that_are_evaluated_side_by_side_go_out_in_one_batch(host, monkeypatch):
    counted, seen = Counted(host, monkeypatch), []
    evaluate(host, *(lambda n=n: look(name=f"Look {n}", seen=seen, what=lambda: n) for n in range(9)))
    assert len(seen) == 9
    assert [len(batch) for batch in counted.batches] == [9]
    assert counted.live == []


def test_each_operation_sees_the_defaults_of_its_own_deploy(host):
    seen: list[Any] = []

    def described(port: int) -> Callable[[], Any]:
        @deploy(f"Part {port}", data_defaults={"port": port})
        def part() -> OperationMeta:
            return look(name="Look at the port", seen=seen, what=lambda: current_host.data.port)

        return part

    evaluate(host, *(described(port) for port in (80, 443, 22)))
    assert sorted(seen) == [(22, 22), (80, 80), (443, 443)]


def test_each_operation_knows_its_own_hash(host):
    seen: list[Any] = []
    evaluate(
        host,
        *(lambda n=n: look(name=f"Look {n}", seen=seen, what=lambda: current_host.current_op_hash) for n in range(3)),
    )
    assert len({first for first, _ in seen}) == 3
    assert all(first and first == second for first, second in seen)


def test_facts_take_the_arguments_of_their_own_operation_alone(host):
    seen: list[Any] = []

    def described(n: int) -> Callable[[], OperationMeta]:
        return lambda: look(
            name=f"Look {n}",
            seen=seen,
            what=lambda: current_host.get_fact(Shown, command="echo $NUMBER"),
            _env={"NUMBER": str(n)},
        )

    evaluate(host, *map(described, range(3)))
    assert sorted(seen) == [("0", "0"), ("1", "1"), ("2", "2")]


def test_facts_of_another_host_take_no_arguments_of_the_operation_at_hand(hosts):
    here, there = hosts("here", "there")
    seen: list[Any] = []
    evaluate(
        here,
        lambda: look(
            name="Look at the other",
            seen=seen,
            what=lambda: all_hosts.get_host("there").get_fact(Shown, command="echo ${NUMBER-none}"),
            _env={"NUMBER": "1"},
        ),
    )
    assert seen == [("none", "none")]
    assert there.current_op_hash is None


def test_an_operation_that_is_called_in_another_is_refused_as_pyinfra_does(host):
    @operation()
    def outer() -> Any:
        look(seen=[], what=lambda: 0)
        yield "true"

    with pytest.raises(pyinfra_compat.UnexpectedExternalError) as caught:
        evaluate(host, lambda: outer(name="Outer"))
    assert "Operation called within another operation" in str(caught.value.exception)


def test_an_operation_that_fails_releases_the_others(host):
    seen: list[Any] = []

    @operation()
    def fails() -> Any:
        current_host.get_fact(Shown, command="echo first")
        raise PyinfraError("this can't be")
        yield

    with pytest.raises(PyinfraError, match="this can't be"):
        evaluate(
            host,
            lambda: fails(name="Fail"),
            lambda: look(
                name="Look", seen=seen, what=lambda: current_host.get_fact(Shown, command=f"echo {len(seen)}")
            ),
        )
    gevent.sleep(0.5)
    assert seen == [("0", "0")]


@deploy("With defaults", data_defaults={"of_deploy": "deploy", "of_all": "deploy"})
def seen_in_a_deploy(seen: dict[str, Any]) -> None:
    seen |= {name: current_host.data.get(name) for name in ("of_deploy", "of_all", "missing")}


def test_data_of_a_host_come_from_the_strongest_source_as_pyinfra_has_it():
    pyinfra_compat.prepare()
    everywhere = {"of_all": "all", "of_group": "all", "of_host": "all", "of_override": "all", "a_list": [1]}
    inventory = Inventory(
        ([("box", {"of_host": "host", "of_override": "host"})], everywhere),
        web=(["box"], {"of_group": "group", "of_host": "group"}),
        override_data={"of_override": "override"},
    )
    state = State(inventory, Config(), check_for_changes=False)
    host = inventory.get_host("box")
    found = [getattr(host.data, f"of_{name}") for name in ("all", "group", "host", "override")]
    assert found == ["all", "group", "host", "override"]
    host.data.a_list.append(2)
    assert host.data.a_list == [1]
    host.data.of_host = "set"
    assert host.data.of_host == "set"
    with pytest.raises(AttributeError, match="Host `box` has no data `missing`"):
        _ = host.data.missing
    seen: dict[str, Any] = {}
    with pyinfra_compat.ctx_state.use(state), pyinfra_compat.using(state, host):
        seen_in_a_deploy(seen)
    assert seen == {"of_deploy": "deploy", "of_all": "all", "missing": None}


@pytest.mark.parametrize("of_deploy", [None, {"_env": {"B": "deploy"}, "_sudo": False, "_timeout": 9}])
@pytest.mark.parametrize("given", [{}, {"_env": {"A": "1"}, "_timeout": 5, "path": "/etc"}, {"_sudo": True}])
def test_arguments_are_those_that_pyinfra_finds(given, of_deploy):
    pyinfra_compat.prepare()
    everywhere = {"_sudo": True, "_retries": 2, "_shell_executable": "bash", "port": 80}
    inventory = Inventory(([("box", {"_retries": 3})], everywhere), override_data={"_timeout": 7})
    state = State(inventory, Config(SUDO_USER="app", ENV={"C": "config"}), check_for_changes=False)
    host = inventory.get_host("box")
    host.data._shell_executable = "dash"
    host.current_deploy_kwargs = of_deploy
    theirs, ours = {**given}, {**given}
    with pyinfra_compat.using(state, host):
        wanted = arguments.pop_global_arguments(state, host, theirs)
        found = pyinfra_compat.pop_global_arguments(state, host, ours)
    assert (found, ours) == (wanted, theirs)
    assert list(found[0]) == list(wanted[0])
    assert facts.pop_global_arguments is pyinfra_compat.pop_global_arguments


def test_an_argument_of_a_wrong_type_is_refused_as_by_pyinfra():
    pyinfra_compat.prepare()
    inventory = Inventory((["box"], {"_retries": "two"}))
    state = State(inventory, Config(), check_for_changes=False)
    host = inventory.get_host("box")
    for given in ({"_sudo": "yes"}, {"_retries": "three"}):
        said = []
        for one in (arguments.pop_global_arguments, pyinfra_compat.pop_global_arguments):
            with pytest.raises(ArgumentTypeError) as error:
                one(state, host, {**given})
            said.append(str(error.value))
        assert said[0] == said[1] != ""


DEPLOY = """
def call(function, *arguments):
    return function(*arguments)


orders = call(both, "deploy.py")
"""


def test_operations_have_the_order_that_pyinfra_gives_them():
    class Deploying:
        current_op_file_number = 3

        def __init__(self, file: str | None) -> None:
            self.current_deploy_filename = file

    def both(file: str | None) -> list[list[int]]:
        return [order(Deploying(file)) for order in (pyinfra_compat.order_of_operation, get_operation_order_from_stack)]

    in_a_deploy: dict[str, Any] = {"both": both}
    exec(compile(DEPLOY, "deploy.py", "exec"), in_a_deploy)
    ours, theirs = in_a_deploy["orders"]
    assert ours == theirs
    assert len(ours) > 3
    for file in (None, "nowhere.py"):
        ours, theirs = both(file)
        assert ours == theirs


def test_what_pyinfra_needs_later_is_loaded_when_it_is_used():
    code = """
import sys
from slipway.engine import pyinfra_compat
assert not {"jinja2", "packaging.requirements"} & sys.modules.keys(), "loaded before it is used"
from io import StringIO
from pyinfra.api import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.util import get_template
from jinja2 import UndefinedError
assert get_template(StringIO("{{ port }}!")).render(port=80) == "80!"
try:
    get_template(StringIO("{{ missing }}")).render()
except UndefinedError:
    print("undefined")
Config().REQUIRE_PYINFRA_VERSION = "~=3.10"
try:
    Config().REQUIRE_PYINFRA_VERSION = "~=2.0"
except PyinfraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    undefined, refused = done.stdout.splitlines()
    assert undefined == "undefined"
    assert refused.startswith("pyinfra version requirement not met (requires ~=2.0")
