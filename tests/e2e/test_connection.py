"""A connection that fails at any moment is reported, stops no other host, and the next run converges.

The connection goes through a proxy of the test's own, which cuts it or stalls, on demand or after so many bytes.
"""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.lab_host import BUILT, PENDING, LabHost, Running, run

SEED = 7
PLANS, APPLIES = 35, 15
# What an apply has to do: files, services, a check of a whole configuration, a proven login, a reload.
DRIFT = """
chmod 600 /etc/issue; rm $(readlink -f /etc/default/locale); systemctl disable --now certbot.timer
sed -i 's/keepalive_timeout .*/keepalive_timeout 5s;/' /etc/nginx/nginx.conf; echo '# x' >> /etc/sudoers.d/admin
"""
DRIFTED = [
    "Set the locale",
    "Harden logins",
    "Authorize admin's keys and sudo",
    "Configure Nginx",
    "Reload Nginx",
    "Start Nginx",
    "Enable the certificate renewal timer",
]


class Proxy:
    """Forwards a port of this machine to an SSH server; `rules` has one entry per connection."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        # After how many bytes from the host a connection is cut ("cut") or stalls ("hang"); once empty, none is.
        self.rules: list[tuple[str, int]] = []
        self.carried: list[int] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def start(self, *rules: tuple[str, int]) -> None:
        self._close()
        self.rules, self.carried = list(rules), []

    def break_off(self) -> None:
        """Cut all open connections and every later one."""
        self.rules = [("cut", 0)] * 100
        self._close()

    def stop(self) -> None:
        self.listening.close()
        self._close()

    def _close(self) -> None:
        while self.open:
            one = self.open.pop()
            # Only this wakes a thread that is reading from it.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
                server = socket.create_connection(self.target)
            except OSError:
                return
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open += [client, server]
            what, after = self.rules.pop(0) if self.rules else ("whole", 0)
            self.carried.append(0)
            end = (what, after, len(self.carried) - 1)
            silent = threading.Event()
            threading.Thread(target=self._copy, args=(client, server, silent, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, silent, end), daemon=True).start()

    def _copy(self, source, target, silent: threading.Event, end: tuple[str, int, int] | None) -> None:
        try:
            while data := source.recv(2**14):
                if end:
                    what, after, number = end
                    self.carried[number] += len(data)
                    if what != "whole" and self.carried[number] > after:
                        silent.set()
                        if what == "cut":
                            break
                if not silent.is_set():
                    target.sendall(data)
        except OSError:
            silent.set()
        if not (end and end[0] == "hang"):
            for one in (source, target):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


@pytest.fixture(scope="module")
def proxy(server: LabHost) -> Iterator[Proxy]:
    between = Proxy((server.record.address, server.record.ssh_port))
    yield between
    between.stop()


# The command line with shorter timeouts and other hosts.
HASTY = """if True:
    from dataclasses import replace
    from slipway import project
    from slipway.cli import main
    from slipway.settings import limits
    limits.SHIPPED = replace(limits.SHIPPED, answer={answer}, command={command})
    project.INVENTORIES["lab"] = {inventory!r}
    main.main()
"""
INVENTORY = """
from slipway.lab import hosts as _hosts, record as _record

_host = next(host for host in _hosts.status() if host.name == {name!r})
_data = _record.pyinfra_data(_host)
_by_proxy = {{**_data, "ssh_hostname": "127.0.0.1", "ssh_port": {port}, "ssh_known_hosts_file": {known_hosts!r}}}
_down = {{**_data, "site_domain": "other.example.org", "ssh_hostname": "127.0.0.1", "ssh_port": {closed}}}
_other = {{**_by_proxy, "site_domain": "other.example.org"}}
web = app = db = [{hosts}]
"""
ALONE = "({name!r}, _by_proxy)"


class Between:
    """`slipway` on the server, reached through the proxy, and on other hosts."""

    def __init__(self, server: LabHost, proxy: Proxy, folder: Path) -> None:
        self.server, self.proxy, self.folder = server, proxy, folder
        self.known_hosts = folder / "known_hosts"
        state = server.record
        keys = [line.split(" ", 1) for line in Path(state.known_hosts_file).read_text().splitlines()]
        self.known_hosts.write_text(
            "".join(f"[127.0.0.1]:{proxy.port} {key}\n" for name, key in keys if state.address in name.split(","))
        )

    def argv(self, arguments: tuple[str, ...], hosts: str, answer: int, command: int) -> list[str]:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            closed = nobody.getsockname()[1]
        inventory = self.folder / "inventory.py"
        inventory.write_text(
            INVENTORY.format(
                name=self.server.name,
                port=self.proxy.port,
                known_hosts=str(self.known_hosts),
                closed=closed,
                hosts=hosts.format(name=self.server.name),
            )
        )
        program = HASTY.format(answer=answer, command=command, inventory=str(inventory))
        return [sys.executable, "-c", program, *arguments]

    def start(self, *arguments: str) -> Running:
        return Running(self.argv(arguments, ALONE, 120, 3600), self.server.env)

    def slipway(
        self, *arguments: str, hosts: str = ALONE, answer: int = 120, command: int = 3600
    ) -> subprocess.CompletedProcess[str]:
        done = run(self.argv(arguments, hosts, answer, command), self.server.env)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done


@pytest.fixture
def between(server: LabHost, proxy: Proxy, tmp_path: Path) -> Iterator[Between]:
    proxy.start()
    yield Between(server, proxy, tmp_path)
    proxy.start()


def is_told(done: subprocess.CompletedProcess[str], host: str) -> bool:
    """Whether the output names the host and says that the connection failed, which is no fault of a line of Python."""
    signs = ("connection broke", "Could not connect", "SSH error", "but did not answer")
    return host in done.stderr and any(sign in done.stderr for sign in signs) and ".py, line " not in done.stderr


# A verb, and the operation after which the connection is cut.
VERBS = {
    "apply": "Set the locale",
    "release": "Build and upload the release",
    "rollback": "Start the release and check its health",
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_connection_that_breaks_under_a_verb_is_reported_and_the_next_run_converges(between, server, proxy, verb):
    server.ssh(DRIFT)
    if verb == "rollback":
        server.release("--only", "backend")
    running = between.start(verb, "lab", "--yes", *(BUILT if verb == "release" else ()))
    running.wait_for_operation(VERBS[verb])
    proxy.break_off()
    code, _, errors = running.end()
    assert code == 1, errors
    assert "connection broke" in errors
    assert "Traceback" not in errors
    assert server.is_healthy()
    proxy.start()
    done = between.slipway(verb, "lab", "--yes", *(BUILT if verb == "release" else ()))
    assert done.returncode == 0, done.stderr
    server.apply()
    assert server.plan() == []


@pytest.mark.parametrize("verb", ["plan", "status", "releases"])
def test_a_connection_that_breaks_while_something_is_asked_is_reported(between, server, proxy, verb):
    assert between.slipway(verb, "lab").returncode in (0, PENDING)
    proxy.start(*[("cut", proxy.carried[0] // 4)] * 20)
    done = between.slipway(verb, "lab")
    assert done.returncode == 1, done.stdout
    assert is_told(done, server.name), done.stderr


@pytest.mark.thorough
def test_a_plan_whose_connection_is_cut_is_told_or_made_all_the_same(between, server, proxy):
    # Nginx must have started well before its configuration changes (ops/units.py, STALE_SECONDS).
    server.ssh("sleep 5")
    server.ssh(DRIFT)
    whole = between.slipway("plan", "lab", "--json", "-")
    assert whole.returncode == PENDING, whole.stderr
    assert server.operations() == DRIFTED
    chance, size = random.Random(SEED), proxy.carried[0]
    codes = []
    for number in range(PLANS):
        # Every second time the connection stays bad.
        cuts = [("cut", chance.randrange(size)) for _ in range(1 if number % 2 else 20)]
        proxy.start(*cuts)
        done = between.slipway("plan", "lab", "--json", "-")
        codes.append(done.returncode)
        if done.returncode == 1:
            assert is_told(done, server.name), (cuts, done.stderr)
        else:
            assert (done.returncode, strip(done.stdout)) == (PENDING, strip(whole.stdout)), (cuts, done.stderr)
    assert set(codes) == {1, PENDING}, "some are in time, some are not"


def strip(plan: str) -> str:
    """A plan without its duration."""
    return "\n".join(line for line in plan.splitlines() if '"seconds"' not in line and '"when"' not in line)


@pytest.mark.thorough
def test_an_apply_whose_connection_is_cut_is_reported_and_the_next_one_converges(between, server, proxy):
    server.ssh(DRIFT)
    whole = between.slipway("apply", "lab", "--yes")
    assert whole.returncode == 0, whole.stderr
    chance, size, codes = random.Random(SEED), proxy.carried[0], []
    for _ in range(APPLIES):
        server.ssh(DRIFT)
        cut = ("cut", chance.randrange(size // 4, size))
        proxy.start(cut)
        done = between.slipway("apply", "lab", "--yes")
        codes.append(done.returncode)
        if done.returncode:
            assert done.returncode == 1
            assert is_told(done, server.name), (cut, done.stderr)
        again = between.slipway("apply", "lab", "--yes")
        assert again.returncode == 0, (cut, again.stderr)
    assert 1 in codes, "the precondition does not hold"
    assert server.plan() == []


@pytest.mark.thorough
# A plan may have less to ask than the one before it, and asks nothing more that it needs at its end.
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_a_host_that_stalls_is_reported_after_a_timeout(between, server, proxy, share):
    words = ("plan", "lab", "--data", "timeout_scale=0.05")
    # The first plans after a failed one have no cache, and more to ask.
    for _ in range(3):
        proxy.start()
        between.slipway(*words)
    proxy.start(*[("hang", int(proxy.carried[0] * share))] * 20)
    began = time.monotonic()
    done = between.slipway(*words)
    assert time.monotonic() - began < 120
    assert done.returncode == 1
    assert server.name in done.stderr
    signs = r"no answer within \d+ s|but did not answer|Could not connect|timed out"
    assert re.search(signs, done.stderr), done.stderr


@pytest.mark.thorough
def test_a_host_that_stalls_during_an_apply_is_reported_after_a_timeout(between, server, proxy):
    server.ssh(DRIFT)
    assert between.slipway("apply", "lab", "--yes").returncode == 0
    # A plan receives more or less depending on the host's cache; an apply always receives as much.
    size = proxy.carried[0]
    server.ssh(DRIFT)
    proxy.start(("hang", int(size * 0.9)))
    done = between.slipway("apply", "lab", "--yes", answer=5, command=5)
    assert done.returncode == 1, done.stdout
    assert f"[{server.name}] no " in done.stderr
    assert "within 5 s" in done.stderr
    assert "✓" in done.stdout, "it fell silent before anything was changed"


def hanging(program: str) -> str:
    """A command that replaces a program by one that never ends, and the command that restores it."""
    return (
        f"mv /usr/bin/{program} /usr/bin/{program}.away;"
        f" printf '#!/bin/sh\\nsleep 4321\\n' > /usr/bin/{program}; chmod 755 /usr/bin/{program}"
    )


def restored(program: str) -> str:
    return f"mv /usr/bin/{program}.away /usr/bin/{program}; pkill --full 'sleep 432[1]'"


@pytest.mark.thorough
def test_a_command_that_never_ends_is_reported_with_its_name(between, server):
    server.ssh(f"rm $(readlink -f /etc/default/locale); {hanging('chown')}")
    done = between.slipway("apply", "lab", "--yes", command=5)
    server.ssh(restored("chown"))
    assert done.returncode == 1
    assert "no end within 5 s: sh -euc" in done.stderr
    assert f"{server.name} failed at: Set the locale" in done.stderr


@pytest.mark.thorough
def test_a_question_that_is_never_answered_is_reported_with_its_name(between, server):
    server.ssh(hanging("getent"))
    done = between.slipway("plan", "lab", answer=4)
    server.ssh(restored("getent"))
    assert done.returncode == 1
    assert f"[{server.name}] no answer within 4 s: " in done.stderr
    assert "getent" in done.stderr


BOTH = "({name!r}, _data), ('other', {other})"


def operations_in(plan: str) -> list[str]:
    return re.findall("^    [~↻] (.*)", plan, re.MULTILINE)


def test_where_one_of_the_hosts_is_down_the_others_finish(between, server):
    server.ssh(DRIFT)
    hosts = BOTH.replace("{other}", "_down")
    planned = between.slipway("plan", "lab", hosts=hosts)
    assert planned.returncode == 1
    assert "[other] Could not connect" in planned.stderr
    assert "is the server up" in planned.stderr
    assert operations_in(planned.stdout) == DRIFTED
    applied = between.slipway("apply", "lab", "--yes", hosts=hosts)
    assert applied.returncode == 1
    assert "[other] Could not connect" in applied.stderr
    assert server.plan() == []


@pytest.mark.thorough
def test_where_one_of_the_hosts_is_cut_off_in_the_middle_of_a_plan_the_others_are_planned(between, server, proxy):
    server.ssh(DRIFT)
    server.resolve("other.example.org")
    between.slipway("plan", "lab")
    # For good: what was asked before a cut is not asked again after it.
    proxy.start(("cut", int(proxy.carried[0] * 0.5)), *[("cut", 0)] * 20)
    planned = between.slipway("plan", "lab", hosts=BOTH.replace("{other}", "_other"))
    assert planned.returncode == 1
    assert "[other] " in planned.stderr
    assert operations_in(planned.stdout) == DRIFTED
    assert planned.stdout.count("could not be asked") == 1
