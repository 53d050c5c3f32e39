"""The declarations of components, their names in deploy.py, and the order of their operations."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pyinfra
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import StateStage
from pyinfra.api.util import get_operation_order_from_stack

from slipway.engine import components, deployed
from slipway.engine.components import Component
from slipway.engine.preload import known_components
from slipway.engine.run import of
from slipway.settings import of_host
from slipway.tasks.packages import is_new
from support.checkout import PROJECT
from support.described import FakeHost, described, run_deploy

SITES = [{"site_name": "blog", "site_domain": "blog.example.org"}]
BOTH = [get_operation_order_from_stack, pyinfra_compat.order_of_operation]
WAYS = {"pyinfra's own way": BOTH[0], "ours": BOTH[1]}


@pytest.fixture
def deploy_file(tmp_path, monkeypatch) -> Callable[[str], Any]:
    """Another deploy.py than the project's, whose text the test gives; returns its path."""

    def write(text: str) -> Any:
        path = tmp_path / "deploy.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def naming(*names: str) -> str:
    return f"from slipway.deploy import server\nserver({', '.join(map(repr, names))})\n"


# --- What deploy.py names


def test_the_components_are_read_from_the_deploy_file_in_order(deploy_file):
    path = deploy_file('from slipway import deploy\ndeploy.server("base", "nginx")\nprint("not run")\n')
    assert deployed.named_in(path) == ("base", "nginx")
    assert deployed.named()[:2] == ("base", "updates")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('server("base", *MINE)', r"deploy\.py, line 1: found \*MINE, expected a name as \"nginx\""),
        ('server(\n"base",\nname)', r"deploy\.py, line 3: found name, expected a name"),
        ("print()", r"deploy\.py: found no components, expected a call as server\("),
    ],
)
def test_names_that_can_not_be_read_are_reported_with_their_line(deploy_file, text, said):
    with pytest.raises(PyinfraError, match=said):
        deployed.named_in(deploy_file(text))


def test_a_missing_deploy_file_is_reported(tmp_path):
    with pytest.raises(PyinfraError, match=r"deploy\.py: there is no such file in .*; restore it"):
        deployed.named_in(tmp_path / "deploy.py")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["base", "ngnix"], r"deploy\.py: found 'ngnix', expected the name of a component; did you mean 'nginx'\?"),
        (
            ["credentials"],
            r"found 'credentials', expected the name of a component; there are: admin, alarms, auditing, backend",
        ),
        (["packages"], "found 'packages', expected the name of a component"),
        (["tls"], r"deploy\.py: found 'tls' without nginx, expected it before 'tls'"),
        (["ssh", "admin", "guard"], r"found 'ssh' without guard, admin, expected it before 'ssh'"),
    ],
    ids=["a misspelt one", "a module that is none", "one that is always there", "one missing", "the wrong way round"],
)
def test_an_invalid_name_is_reported_before_anything_is_described(settings_with, deploy_file, names, said):
    with described(settings_with()) as (server, _), pytest.raises(PyinfraError, match=said):
        run_deploy(deploy_file(naming(*names)))
    assert server.operations == []


def test_only_takes_the_components_of_the_deploy_file_and_what_every_server_has():
    assert known_components() == sorted([*deployed.named(), "adoption", "packages"])


def test_every_component_is_in_the_deploy_file():
    """Slipway's own deploy.py leaves none out."""
    for name in deployed.modules():
        import_module(f"slipway.tasks.{name}")
    assert {*components.registry} == {*deployed.named(), *deployed.FIXED}


# --- What a component declares


def test_a_component_is_on_hosts_of_its_roles_that_want_it(settings_with):
    one = Component(roles=("web", "db"), wanted=lambda settings: settings.swap_mb > 0)
    assert one.is_on(["db"], settings_with())
    assert not one.is_on(["app"], settings_with())
    assert not one.is_on(["db"], settings_with(swap_mb=0))
    assert Component().is_on([], settings_with())


def test_a_component_of_each_site_is_asked_for_each_that_wants_it(settings_with):
    settings = settings_with(sites=SITES)
    one = Component(per_site=True, units=lambda site: [f"{site.site_name}.service", "all.timer"])
    assert one.listed(one.units, settings) == ["codementee.service", "all.timer", "blog.service"]
    one = Component(per_site=True, wanted=lambda site: site.is_further_site, ports=lambda site: {80: site.site_name})
    assert one.mapped(one.ports, settings) == {80: "blog"}
    assert Component(packages=["curl"]).listed(["curl"], settings) == ["curl"]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: components.component(lambda settings: None), r"needs parentheses: @component\(\)"),
        (
            lambda: components.component(roles="db"),
            r"roles of a component: found 'db', expected a tuple as \(\"db\",\)",
        ),
    ],
    ids=["without parentheses", "a text for a tuple"],
)
def test_a_declaration_that_would_mean_something_else_is_refused(declare, said):
    with pytest.raises(TypeError, match=said):
        declare()


# --- What is left out


def test_what_belongs_to_a_component_goes_with_it(settings_with, deploy_file):
    without = [name for name in deployed.named() if name not in ("firewall", "nginx", "tls")]
    with described(settings_with()) as (server, _):
        run_deploy(deploy_file(naming(*without)))
    subjects = {one.subject for one in server.operations}
    assert {"slipway.tasks.firewall", "/etc/nginx", "certbot.timer"} & subjects == set()
    assert [one for one in server.operations if one.kind in ("retire_ours", "close_rules")] == []
    assert {"slipway.tasks.ssh", "/etc/mongod.conf"} <= subjects
    packages = {name for one in server.all("install") for names in one.arguments["packages"].values() for name in names}
    assert {"nginx", "ufw", "certbot"} & packages == set()
    assert {"curl", "fail2ban"} <= packages
    jails = server.about("/etc/fail2ban").arguments["files"]["jail.d/slipway.local"]
    assert "[nginx-limit-req]\nenabled = false" in jails


@pytest.mark.parametrize("left_out", deployed.named_in(PROJECT / "deploy.py"))
def test_each_can_be_left_out_with_those_that_need_it(settings_with, deploy_file, monkeypatch, left_out):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGO_URL", "mongodb://db.example.org/codementee")
    settings = settings_with(valkey=True, backend_secrets=["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL"])
    names = deployed.named()
    deployed.load(names)
    gone = {left_out}
    for name in names:
        if {*components.registry[name].needs} & gone:
            gone.add(name)
    found = []
    for kept in (names, [name for name in names if name not in gone]):
        with described(settings) as (server, _):
            run_deploy(deploy_file(naming(*kept)))
        found.append([one.name for one in server.operations])
    assert 0 < len(found[1]) < len(found[0])


def test_what_follows_a_component_that_is_left_out_follows_its_own(settings_with, deploy_file):
    with described(settings_with()) as (server, _):
        run_deploy(deploy_file(naming("guard", "admin", "firewall", "kernel")))
    order = [one.name for one in server.operations if one.operation.__module__ == "slipway.tasks.firewall"]
    assert order == ["Allow only ssh, the web and firewall_allow", "Remove other firewall rules"]


def test_a_backend_without_mongodb_needs_the_url_of_its_database(settings_with, deploy_file, monkeypatch):
    file = deploy_file(naming("release", "backend"))
    with described(settings_with()) as _, pytest.raises(PyinfraError, match="MONGO_URL: found no value for codementee"):
        run_deploy(file)
    monkeypatch.setenv("SLIPWAY_SECRET_MONGO_URL", "mongodb://db.example.org/codementee")
    settings = settings_with(backend_secrets=["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL"])
    with described(settings) as (server, _):
        run_deploy(file)
    assert server.about("/var/www/codementee").kind == "directory"


# --- Order


@pytest.fixture
def deploying(settings_with, monkeypatch, request) -> Callable[..., State]:
    """Describes a deploy file on fresh hosts, given by name with their roles, as pyinfra does; `order` is how it sorts
    operations."""

    def run(order: Callable[[State], list[int]], hosts: dict[str, list[str]], file: Any, **settings: Any) -> State:
        monkeypatch.setattr(pyinfra, "is_cli", True)
        monkeypatch.setattr(import_module("pyinfra.api.operation"), "get_operation_order_from_stack", order)
        roles = {role: ([name for name in hosts if role in hosts[name]], {}) for role in ("web", "app", "db")}
        state = State(Inventory(([*hosts], {}), **roles), Config(), check_for_changes=False)
        state.set_stage(StateStage.Prepare)
        state.current_deploy_filename = str(file)
        monkeypatch.setattr(of_host, "checked_settings", lambda host: settings_with(**settings))
        monkeypatch.setattr(
            Host, "get_fact", lambda host, *of, **its: FakeHost(tuple(host.groups)).get_fact(*of, **its)
        )
        pyinfra_compat.ctx_state.set(state)
        for host in state.inventory:
            state.activate_host(host)
            with pyinfra_compat.using(state, host):
                pyinfra_compat.exec_file(str(file))
        return state

    yield run
    pyinfra_compat.ctx_state.reset()


def names_of(state: State, host: str) -> list[str]:
    """The operations of a host as they would run."""
    its = state.ops[state.inventory.get_host(host)]
    return [", ".join(state.op_meta[one].names) for one in state.get_op_order() if one in its]


HOSTS = {"front": ["web"], "back": ["app", "db"]}


@pytest.mark.parametrize("order", WAYS.values(), ids=WAYS)
def test_hosts_of_different_roles_have_their_operations_in_the_order_of_the_deploy_file(
    deploying, settings_with, order
):
    state = deploying(order, HOSTS, PROJECT / "deploy.py", sites=SITES)
    for name, roles in HOSTS.items():
        with described(settings_with(sites=SITES), tuple(roles)) as (server, _):
            run_deploy()
        assert names_of(state, name) == [one.name for one in server.operations]
        # What sorts two operations of different hosts says the same as the order on each of them; pyinfra numbers those
        # that a component calls in a loop, which are the same on all hosts.
        hashes = [one for one in state.inventory.get_host(name).op_hash_order if "-" not in one]
        assert sorted(hashes, key=lambda one: state.op_meta[one].op_order) == hashes
    # None is taken for another one.
    assert [meta.names for meta in state.op_meta.values() if len(meta.names) > 1] == []


def test_slipway_and_pyinfra_have_the_same_order(deploying):
    ours, theirs = (deploying(order, HOSTS, PROJECT / "deploy.py") for order in BOTH)
    assert [meta.op_order for meta in ours.op_meta.values()] == [meta.op_order for meta in theirs.op_meta.values()]


# Two functions whose lines are the same, as those of two modules may be.
ALIKE = """
from pyinfra import host
from pyinfra.operations import server
from slipway.engine.components import in_order

def {0}():
    if "{1}" in host.groups: server.shell(name="{0}", commands="true")
"""
CALLS = {
    "one by one": "in_order([{0}])\n",
    "in a loop": "for one in [{0}]: one()\n",
}


@pytest.mark.parametrize("order", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("calls", "is_right"), [("one by one", True), ("in a loop", False)])
def test_operations_on_the_same_lines_of_two_modules_are_apart(deploying, tmp_path, order, calls, is_right):
    for name, role in (("last", "web"), ("first", "db")):
        (tmp_path / f"alike_{name}.py").write_text(ALIKE.format(name, role))
    load = "import runpy\nfirst, last = (runpy.run_path(f'{folder}/alike_{n}.py')[n] for n in ('first', 'last'))\n"
    file = tmp_path / "deploy.py"
    file.write_text(
        f"folder = {str(tmp_path)!r}\nfrom slipway.engine.components import in_order\n{load}"
        + CALLS[calls].format("first, last")
    )
    state = deploying(order, {"one": ["web"], "two": ["db"]}, file)
    found = sorted(sorted(meta.names) for meta in state.op_meta.values())
    assert (found == [["first"], ["last"]]) is is_right


def test_each_operation_bears_the_name_of_its_own_component(deploying):
    state = deploying(BOTH[1], {"all": ["web", "app", "db"]}, PROJECT / "deploy.py")
    named = {", ".join(state.op_meta[one].names): name for (_, one), name in of(state).component_of.items()}
    assert named["Remove other firewall rules"] == "firewall"
    assert named["Stop the previous backend"] == "adoption"
    assert named["Remove services that are no longer configured"] == "backend"
    assert named["Start building the first release"] == "packages"
    assert named["Link the current release"] == "release"
    assert len(named) == len(state.op_meta)


def test_a_host_is_new_until_apts_settings_are_there():
    with pyinfra_compat.ctx_host.use(FakeHost(("web",))):
        assert is_new()
