"""Servers of an environment for read-only tests: `slipway verify [ENV]`, or pytest tests/server --environment=ENV."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import testinfra.host

from slipway.engine.session import Session  # isort: skip  patches first

from pyinfra.api.exceptions import ConnectError, PyinfraError
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from slipway.engine.components import Component
from slipway.engine.deployed import deployed, fixed, modules
from slipway.engine.errors import RunFailed, hints_for
from slipway.engine.login import candidates
from slipway.engine.openssh import Way, way
from slipway.project import path
from slipway.server_tests.over_ssh import OverSsh
from slipway.settings.check import SettingsError
from slipway.settings.model import Settings
from slipway.site import Site

# The id of a test that applies to no server.
NOBODY = "none"


@dataclass(frozen=True)
class Server:
    """A host of the inventory: its settings, its roles, and access to it."""

    name: str
    settings: Settings
    groups: tuple[str, ...]
    environment: str
    way: Way
    # Use sudo to become root.
    sudo: bool

    @property
    def address(self) -> str:
        return self.way.hostname

    @cached_property
    def host(self) -> Any:
        """The host in testinfra, over ssh with host key checking."""
        # One connection for all tests, with a socket of this run only, as a host may have been recreated.
        options = {"controlpath": f"{_folder()}/{self.name}", "controlpersist": 15}
        backend = OverSsh(self.way, self.sudo, **options)
        host = testinfra.host.Host(backend)
        backend.set_host(host)
        return host

    @property
    def front(self) -> str:
        """The name of the host that visitors reach, the load balancer if there is one."""
        balancers = self.settings.peers_with("lb") if self.settings.is_behind else []
        return balancers[0].name if balancers else self.name

    @property
    def front_address(self) -> str:
        if self.front == self.name:
            return self.address
        given = self.settings.peers_with("lb")[0].given
        return str(given.get("ssh_hostname") or self.front)

    @cached_property
    def site(self) -> Site:
        """The site, as visitors reach it."""
        if self.environment == "lab":
            from slipway.lab import hosts

            return hosts.site(hosts.find(self.front), self.settings.site_domain, self.front_address)
        roots = _roots(self.settings.tls_authorities)
        return Site(self.settings.site_domain, self.front_address, roots, seconds=self.settings.limits.visit)


@cache
def _roots(own: str) -> str | None:
    """A file with the authorities that are trusted in general, and those of a file of the project's; None without."""
    if not own:
        return None
    file = Path(tempfile.mkdtemp(dir=_folder()), "authorities.pem")
    file.write_text(f"{Path(DEFAULT_CA_BUNDLE_PATH).read_text()}\n{path(own).read_text()}")
    return str(file)


@cache
def _folder() -> str:
    """A folder of this run, also for ssh's sockets; their paths must be short."""
    folder = tempfile.mkdtemp(prefix="slipway-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("slipway")
    group.addoption("--environment", default="lab", help="which inventory: production or lab")
    group.addoption("--limit", action="append", default=[], help="only this host or role")
    group.addoption("--data", action="append", default=[], help="NAME=VALUE, a setting for this run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every server that has the component in its module's name: test_nginx.py or
    test_nginx_headers.py. Modules without a component's name run on all servers. If the component is per site, or the
    module sets FOR_EACH_SITE, the test runs for each site; tests next to a site's backend run only for that site."""
    if "server" not in metafunc.fixturenames:
        return
    one = _component(metafunc.module.__name__.rpartition(".")[2].removeprefix("test_"))
    found = []
    for server in servers(metafunc.config):
        sites = one.sites(server.settings) if one and one.is_on(server.groups, server.settings) else []
        if getattr(metafunc.module, "FOR_EACH_SITE", False) and sites:
            sites = server.settings.all_sites
        sites = [site for site in sites if _is_for(site, Path(str(metafunc.module.__file__)).parent)]
        found += [replace(server, settings=site) for site in sites]
    ids = [server.name + f"/{server.settings.site_name}" * (server.settings.is_further_site) for server in found]
    parameters = [pytest.param(server, id=its) for server, its in zip(found, ids, strict=True)]
    metafunc.parametrize("server", parameters or [pytest.param(None, id=NOBODY)], scope="session")


def _is_for(site: Settings, folder: Path) -> bool:
    """Whether tests in a folder apply to a site: those next to a site's backend only apply to that site."""
    shared = (Path(__file__).parent, path("tests/server"))
    return folder.resolve() == site.own_tests or any(folder.samefile(one) for one in shared if one.is_dir())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of components that no server has."""
    nobodys = [item for item in items if isinstance(item, pytest.Function) and _is_nobodys(item)]
    if nobodys:
        config.hook.pytest_deselected(items=nobodys)
        items[:] = [item for item in items if item not in nobodys]


def _is_nobodys(item: pytest.Function) -> bool:
    return hasattr(item, "callspec") and item.callspec.params.get("server", item) is None


def _component(name: str) -> Component | None:
    """The component of a test module, by the longest matching prefix; one that every server has if there is no match,
    and None if deploy.py omits it."""
    known = [one for one in modules() if name == one or name.startswith(f"{one}_")]
    there = {one.name: one for one in (*fixed(), *deployed())}
    return there.get(max(known, key=len)) if known else Component()


_servers: list[Server] = []


def servers(config: pytest.Config) -> list[Server]:
    if not _servers:
        environment = config.getoption("--environment")
        try:
            session = Session(environment, "deploy.py", config.getoption("--limit"), config.getoption("--data"))
            deployed()
        except (SettingsError, RunFailed, PyinfraError, SystemExit) as error:
            raise pytest.UsageError(str(error)) from None
        for host in session.connections.hosts():
            settings = session.connections.settings[host.name]
            try:
                login = candidates(host, settings)[0]
                given = {**host.connector.data, "ssh_user": login.user, "ssh_port": login.port}
                its_way = way(host.name, given)
            except ConnectError as error:
                raise pytest.UsageError(f"[{host.name}] {error}") from None
            sudo = bool(login.needs_sudo and host.data.get("_sudo", True))
            _servers.append(Server(host.name, settings, tuple(host.groups), environment, its_way, sudo))
    return _servers


# What is wrong with the logins of hosts that can't be reached, by name.
_unreachable: dict[str, str] = {}
OPENSSH_HINTS = {
    "Permission denied": "if the server is not provisioned yet: slipway apply; else set ssh_user and ssh_key for the"
    " host in the inventory; `ssh USER@HOST` must work by itself",
    "Host key verification failed": "compare the host's key with the one in known_hosts: `ssh USER@HOST` shows both",
    "connect to host": "is the server up, and are ssh_hostname and ssh_port right?",
}


def pytest_runtestloop(session: pytest.Session) -> None:
    """Leave out the tests of hosts that can't be reached: each would fail with the same error. The connection that is
    made here is the one that the tests use."""
    if session.config.option.collectonly or hasattr(session.config, "workerinput"):
        return
    wanted = {server.name for item in session.items if (server := _server_of(item))}
    found = [server for server in _servers if server.name in wanted]
    with ThreadPoolExecutor(len(found) or 1) as pool:
        said = pool.map(_login_problem, found)
        _unreachable.update({server.name: text for server, text in zip(found, said, strict=True) if text})
    if _unreachable:
        left = [one for one in session.items if (server := _server_of(one)) and server.name not in _unreachable]
        session.items[:] = left
        session.testscollected = len(left)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unreachable:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _server_of(item: pytest.Item) -> Server | None:
    found = getattr(item, "callspec", None)
    server: Server | None = found.params.get("server") if found else None
    return server


def _login_problem(server: Server) -> str:
    """What a user reads where a server can't be logged in to, "" where it can."""
    try:
        done = server.host.run("true")
        said = str(done.stderr) if done.rc else ""
    except RuntimeError as error:
        said = str(getattr(error.args[0], "stderr", error)) or "ssh ended without an error"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    hints = hints_for(said) or [f"  {hint}" for sign, hint in OPENSSH_HINTS.items() if sign in said][:1]
    return "\n".join([f"[{server.name}] {lines[-1]}", *hints])


# What OpenSSL says, and what to do about it.
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
HINTS = {
    "expired": "`slipway apply` gets another one",
    "not yet valid": "compare the clocks of this machine and the server: timedatectl",
    "mismatch": "`slipway apply` gets one with all names of the site; does another server answer?",
    "": "set tls_authorities to a file with the root certificates of its authority",
}
_untrusted: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    except OSError as error:
        if UNTRUSTED not in (said := str(error)):
            raise
    _tell_once(item, said)


# A fixture may look at the site, too.
pytest_runtest_setup = pytest_runtest_call


def _tell_once(item: pytest.Item, said: str) -> None:
    """Fail for a certificate that is not trusted, once, whatever number of tests can't look at the site then."""
    given: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    server = given.get("server")
    site = f"{server.settings.site_domain} at {server.front_address}" if server else "the site"
    if site in _untrusted:
        pytest.skip(f"the certificate of {site} is not trusted, as another test reports")
    _untrusted.add(site)
    reason = said.partition(UNTRUSTED)[2].lstrip("] ").partition(" (_ssl")[0]
    hint = next(hint for sign, hint in HINTS.items() if sign in reason)
    pytest.fail(f"the certificate of {site} is not trusted: {reason}; {hint}", pytrace=False)


@pytest.fixture
def own_kernel(server: Server) -> None:
    """Skip the test in a container."""
    if server.host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container has its host's kernel")


@dataclass(frozen=True)
class Figure:
    """A measured value of an audit, with its target."""

    server: str
    what: str
    value: str
    aim: str
    is_met: bool


_figures: list[Figure] = []


@pytest.fixture
def figure(server: Server) -> Callable[..., None]:
    """Record a figure for the summary, and fail if it misses its target."""

    def note(what: str, value: float | str, aim: str, is_met: bool) -> None:
        _figures.append(Figure(server.name, what, str(value), aim, is_met))
        assert is_met, f"{what}: found {value}, expected {aim}"

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _unreachable:
        terminalreporter.write_sep("=", "hosts that can't be reached, and were not tested")
        for text in _unreachable.values():
            terminalreporter.write_line(text, red=True)
    if not _figures:
        return
    terminalreporter.write_sep("=", "what auditors measure")
    width = max(len(f"{f.server}: {f.what}") for f in _figures)
    for f in _figures:
        line = f"{f'{f.server}: {f.what}':{width}}  {f.value}  (aim: {f.aim})"
        terminalreporter.write_line(line, green=f.is_met, red=not f.is_met)
