"""A host is reached as `ssh HOST` reaches it: by ssh's own configuration, known hosts and keys."""

from __future__ import annotations

import os
import pwd
import shlex
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

import pytest
from paramiko import Message
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import ConnectError

from slipway.engine import openssh
from slipway.engine.connector import Connector
from slipway.engine.ssh_keys import Keys

# As group_data/all.py has it.
UNSAID = {"ssh_strict_host_key_checking": "yes"}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Writes a configuration of ssh; returns the connection data of a host with it."""

    def write(*lines: str, **data: Any) -> dict[str, Any]:
        (tmp_path / "config").write_text("\n".join(lines) + "\n")
        return {**UNSAID, "ssh_config_file": str(tmp_path / "config"), **data}

    return write


@pytest.fixture
def connector() -> Iterator[Callable[..., Connector]]:
    """Creates a connector for a host from its name and connection data, not connected yet."""
    made: list[Connector] = []

    def make(name: str, data: dict[str, Any]) -> Connector:
        inventory = Inventory(([(name, data)], {}))
        State(inventory, Config(), check_for_changes=False)
        host = inventory.get_host(name)
        made.append(Connector(host.state, host))
        return made[-1]

    yield make
    for one in made:
        one.disconnect()


def key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", path], check=True)
    return path


def public(path: Path) -> str:
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


# --- The configuration


def test_an_alias_has_all_that_its_block_says(config, tmp_path):
    (tmp_path / "more").write_text("Host box\n  IdentityFile %d/of-%n-as-%r\n  IdentitiesOnly yes\n")
    data = config(
        f"Include {tmp_path}/more",
        "Host box",
        "  HostName box.invalid",
        "  Port 2222",
        "  HostKeyAlias the-box",
        f"  UserKnownHostsFile {tmp_path}/one {tmp_path}/two",
        f"  CertificateFile {tmp_path}/cert.pub",
        'Match host box.invalid exec "true"',
        "  User deploy",
    )
    way = openssh.way("box", data)
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert (way.hostname, way.port, way.user, way.known_as) == ("box.invalid", 2222, "deploy", "the-box")
    assert way.known_hosts[:2] == (f"{tmp_path}/one", f"{tmp_path}/two")
    assert way.own_known_hosts == f"{tmp_path}/one"
    assert way.identity_files == (f"{home}/of-box-as-deploy",)
    assert way.certificate_files == (f"{tmp_path}/cert.pub",)
    assert way.identities_only


def test_what_the_inventory_says_wins(config, tmp_path):
    said = {"ssh_hostname": "box", "ssh_port": 22, "ssh_user": "root", "ssh_key": f"{tmp_path}/key"}
    said["ssh_known_hosts_file"] = f"{tmp_path}/known"
    data = config("Host box", "  Port 2222", "  User deploy", "  IdentityFile /other", "  HostName box.invalid", **said)
    way = openssh.way("another", data)
    assert (way.hostname, way.port, way.user, way.known_as) == ("box.invalid", 22, "root", "box.invalid")
    assert way.known_hosts == (f"{tmp_path}/known",)
    assert way.identity_files == (f"{tmp_path}/key",)


def test_another_port_is_part_of_the_name_in_known_hosts(config):
    assert openssh.way("box.invalid", config("Port 2222")).known_as == "[box.invalid]:2222"
    way = openssh.way("box.invalid", config("UserKnownHostsFile /dev/null", "GlobalKnownHostsFile /etc/all"))
    assert (way.known_as, way.known_hosts, way.own_known_hosts) == ("box.invalid", ("/etc/all",), "")


def test_jump_hosts_are_ssh_s_own_to_reach(config, tmp_path):
    way = openssh.way("box", config("Host box", "  ProxyJump one:2200,%r@two:2201", "  Port 2222", "  User me"))
    file = f"-F {tmp_path}/config -J one:2200 -o BatchMode=yes"
    assert shlex.join(way.proxy) == f"ssh {file} -W '[box]:2222' ssh://me@two:2201"
    assert openssh.way("other", config("Host box", "  ProxyJump one")).proxy == ()


def test_a_mistake_in_the_configuration_is_reported_with_its_file_and_line(config, tmp_path):
    data = config("Host *", "  Prot 22")
    with pytest.raises(ConnectError, match=rf"{tmp_path}/config.*line 2.*prot"):
        openssh.way("box", data)


# --- Known hosts


@pytest.fixture
def known(config, tmp_path) -> Callable[..., openssh.KnownKeys]:
    """The entries of a known_hosts file for a host."""

    def ask(text: str, name: str = "box.invalid", port: int = 22, hashed: bool = False) -> openssh.KnownKeys:
        file = tmp_path / "known_hosts"
        file.write_text(text)
        if hashed:
            subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
            assert name not in file.read_text()
        return openssh.known_keys(openssh.way(name, config(f"UserKnownHostsFile {file}", ssh_port=port)))

    return ask


def kinds(found: openssh.KnownKeys) -> list[str]:
    return [key.get_name() for key in found.keys]


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_a_host_is_known_by_its_name_and_port(known, tmp_path, hashed):
    first, second = public(key(tmp_path / "first")), public(key(tmp_path / "second", "rsa"))
    text = f"box.invalid {first}\n[box.invalid]:2222 {second}\n"
    assert kinds(known(text, hashed=hashed)) == ["ssh-ed25519"]
    assert kinds(known(text, port=2222, hashed=hashed)) == ["ssh-rsa"]
    # As OpenSSH has it: a key without a port is good for each that has none of its own.
    assert kinds(known(text, port=2223, hashed=hashed)) == ["ssh-ed25519"]
    assert kinds(known(text, name="other.invalid", hashed=hashed)) == []


@pytest.mark.parametrize("name", ["box.invalid", "BOX.invalid", "[box.invalid]:2222", "10.0.0.1", "other.invalid"])
def test_a_plain_file_is_read_as_ssh_keygen_reads_it(tmp_path, name):
    file = tmp_path / "known_hosts"
    lines = ["# box.invalid", "", "box.invalid", "other.invalid ssh-ed25519"]
    names = ("Box.invalid,10.0.0.1", "\t[box.invalid]:2222", "box.invalid.example", "10.0.0.11,box")
    own = public(key(tmp_path / "key"))
    file.write_text("\n".join([*lines, *(f"{one} {own} comment" for one in names)]))
    said = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=False).stdout
    expected = [line.split() for line in said.splitlines() if not line.startswith("#")]
    assert [line.split() for line in openssh.lines_about(name, str(file))] == expected
    assert bool(expected) is (name != "other.invalid")


def test_patterns_and_marks_of_known_hosts_count(known, tmp_path):
    one, other = public(key(tmp_path / "one")), public(key(tmp_path / "other"))
    assert kinds(known(f"*.invalid,!bad.invalid {one}\n")) == ["ssh-ed25519"]
    assert kinds(known(f"*.invalid,!bad.invalid {one}\n", name="bad.invalid")) == []
    found = known(f"box.invalid {one}\nbox.invalid {other}\n@revoked * {one}\n@cert-authority *.invalid {other}\n")
    assert [key.get_base64() for key in found.keys] == [other.split()[1]]
    assert [key.get_base64() for key in found.revoked] == [one.split()[1]]
    assert found.has_authority


# --- Connections


def test_a_port_a_user_and_a_hashed_name_in_ssh_s_files_are_enough(config, connector, sshd, tmp_path):
    server = sshd.start()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(Path(server["ssh_known_hosts_file"]).read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known_hosts], check=True, capture_output=True)
    lines = ["Host box", "HostName 127.0.0.1", f"Port {server['ssh_port']}", f"IdentityFile {server['ssh_key']}"]
    asked = connector("box", config(*lines, f"UserKnownHostsFile {known_hosts}"))
    asked.connect()
    assert asked.by_root("echo fine").output == "fine\n"


RELAY = """
import socket, sys, threading
server = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
print("passed", sys.argv[1:], file=open(sys.argv[3], "w"))
def out():
    while data := server.recv(65536):
        sys.stdout.buffer.write(data); sys.stdout.buffer.flush()
threading.Thread(target=out, daemon=True).start()
while data := sys.stdin.buffer.raw.read(65536):
    server.sendall(data)
"""


def test_a_command_leads_to_the_host_where_ssh_has_one(config, connector, sshd, tmp_path):
    server = sshd.start()
    (tmp_path / "relay.py").write_text(RELAY)
    relay = f"{sys.executable} {tmp_path}/relay.py %h {server['ssh_port']} {tmp_path}/said"
    data = config(
        *("Host box", "HostName unreachable.invalid", "HostKeyAlias relayed", f"ProxyCommand {relay}"),
        f"IdentityFile {server['ssh_key']}",
        f"UserKnownHostsFile {tmp_path}/known_hosts",
    )
    (tmp_path / "known_hosts").write_text(f"relayed {sshd.key.get_name()} {sshd.key.get_base64()}\n")
    asked = connector("box", data)
    asked.connect()
    assert asked.by_root("echo fine").output == "fine\n"
    assert "unreachable.invalid" in (tmp_path / "said").read_text()
    process = asked.client._proxy._process
    asked.disconnect()
    assert process.poll() is not None


def test_a_command_that_fails_is_reported_in_its_own_words(config, connector):
    asked = connector("box", config("Host box", "ProxyCommand echo no way to %h >&2; exit 1"))
    with pytest.raises(ConnectError, match=r"Could not connect through .*: no way to box"):
        asked.connect()


def refusal(asked: Connector) -> str:
    with pytest.raises(ConnectError) as caught:
        asked.connect()
    return str(caught.value)


def test_an_unknown_host_is_reported_with_the_file_its_name_there_and_the_command_that_mends_it(
    config, connector, sshd, tmp_path
):
    server = sshd.start()
    (tmp_path / "known_hosts").touch()
    port = server["ssh_port"]
    lines = ["Host box", "HostName 127.0.0.1", f"Port {port}", f"UserKnownHostsFile {tmp_path}/known_hosts"]
    said = refusal(connector("box", config(*lines, f"IdentityFile {server['ssh_key']}")))
    assert f"No host key for [127.0.0.1]:{port} in {tmp_path}/known_hosts" in said
    assert f"the server shows {sshd.key.get_name()} {sshd.key.fingerprint}" in said
    assert f"type `ssh -F {tmp_path}/config box true` once" in said


def test_a_host_whose_key_is_another_is_reported_with_both_and_the_command_that_forgets_the_old(
    config, connector, sshd, tmp_path
):
    server = sshd.start()
    name = f"[127.0.0.1]:{server['ssh_port']}"
    other = public(key(tmp_path / "other", "ecdsa"))
    (tmp_path / "known_hosts").write_text(f"{name} {other}\n")
    data = {**UNSAID, **server, "ssh_known_hosts_file": f"{tmp_path}/known_hosts"}
    said = refusal(connector("box", data))
    assert f"REMOTE HOST IDENTIFICATION HAS CHANGED for {name}" in said
    assert sshd.key.fingerprint in said
    assert f"ssh-keygen -R '{name}' -f {tmp_path}/known_hosts" in said


def test_a_revoked_key_is_refused_wherever_it_is_known(config, connector, sshd, tmp_path):
    server = sshd.start()
    its = f"{sshd.key.get_name()} {sshd.key.get_base64()}"
    (tmp_path / "known_hosts").write_text(f"* {its}\n@revoked * {its}\n")
    said = refusal(connector("box", {**UNSAID, **server, "ssh_known_hosts_file": f"{tmp_path}/known_hosts"}))
    assert "is revoked in" in said


# --- Keys


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts OpenSSH's agent with some keys; returns its socket."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*keys: Path) -> str:
        path = f"{tmp_path}/agent"
        started.append(subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL))
        while not Path(path).exists():
            pass
        # A passphrase is asked for by a program where there is no terminal.
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\necho sesame\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_AUTH_SOCK": path, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        for one in keys:
            subprocess.run(["ssh-add", "-q", one], env=env, check=True, capture_output=True)
        return path

    yield start
    for process in started:
        process.kill()
        process.wait()


def offered(data: dict[str, Any], **options: Any) -> tuple[list[str], list[str]]:
    """The keys offered to a host in order, and the errors."""
    keys = Keys(openssh.way("box", data), **options)
    return [offer.label for offer in keys.offers()], keys.unusable


def test_keys_come_in_openssh_s_order(config, agent, tmp_path):
    named, held, other = (key(tmp_path / name) for name in ("named", "held", "other"))
    lines = [f"IdentityAgent {agent(other, held)}", f"IdentityFile {named}", f"IdentityFile {held}"]
    expected = [f"{held} (by the agent)", "the agent's ssh-ed25519 other", str(named)]
    assert offered(config(*lines)) == (expected, [])
    assert offered(config(*lines, "IdentitiesOnly yes")) == ([expected[0], expected[2]], [])


def test_a_public_key_in_the_configuration_names_one_of_the_agent_s(config, agent, tmp_path):
    held, other = key(tmp_path / "held"), key(tmp_path / "other")
    lines = [f"IdentityAgent {agent(held, other)}", f"IdentityFile {held}.pub", "IdentitiesOnly yes"]
    held.unlink()
    assert offered(config(*lines)) == ([f"{held}.pub (by the agent)"], [])


def test_an_encrypted_key_is_the_agent_s_or_told(config, agent, tmp_path):
    locked = key(tmp_path / "locked", passphrase="sesame")
    lines = [f"IdentityFile {locked}", "IdentitiesOnly yes"]
    assert offered(config(*lines)) == ([], [f"{locked}: encrypted, and no agent has it (ssh-add {locked})"])
    assert offered(config(*lines), passphrase="sesame") == ([str(locked)], [])
    assert offered(config(*lines, f"IdentityAgent {agent(locked)}"))[0] == [f"{locked} (by the agent)"]


def test_a_certificate_is_offered_with_its_own_key_and_no_other(config, tmp_path):
    authority, own, other = (key(tmp_path / name) for name in ("authority", "own", "other"))
    sign = ["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", "admin", f"{own}.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    lines = [f"IdentityFile {other}", f"IdentityFile {own}", "IdentitiesOnly yes"]
    expected = [str(other), f"{own} with its certificate", str(own)]
    assert offered(config(*lines)) == (expected, [])
    Path(f"{own}-cert.pub").rename(tmp_path / "elsewhere.pub")
    assert offered(config(*lines, f"CertificateFile {tmp_path}/elsewhere.pub")) == (expected, [])


class TokenAgent:
    """An agent with the key of a security token, which signs, and with one of a file."""

    TOKEN = b"sk-ssh-ed25519@openssh.com"

    def __init__(self, path: Path) -> None:
        self.asked = 0
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        while head := client.recv(4):
            what = client.recv(struct.unpack(">I", head)[0])[0]
            answer = Message()
            if what == 11:  # the list of identities
                blob = Message()
                for part in (self.TOKEN, b"k" * 32, b"ssh:"):
                    blob.add_string(part)
                answer.add_byte(b"\x0c")
                answer.add_int(1)
                answer.add_string(blob.asbytes())
                answer.add_string("token")
            else:
                self.asked += 1
                answer.add_byte(b"\x0e")
                answer.add_string(b"a signature")
            client.sendall(struct.pack(">I", len(answer.asbytes())) + answer.asbytes())


def test_a_token_s_key_is_signed_with_by_the_agent_and_a_host_that_hangs_up_on_it_is_reported(
    config, connector, sshd, tmp_path
):
    server = sshd.start()
    token = TokenAgent(tmp_path / "agent")
    data = config(
        *("Host box", "HostName 127.0.0.1", f"Port {server['ssh_port']}", f"IdentityAgent {tmp_path}/agent"),
        f"UserKnownHostsFile {server['ssh_known_hosts_file']}",
    )
    said = refusal(connector("box", data))
    # Once more: it may have had too much to do.
    assert token.asked == 2
    assert "the host ended the connection after it had refused the agent's sk-ssh-ed25519@openssh.com token" in said
    token.listening.close()


def test_a_key_that_is_not_there_is_reported_by_its_setting(connector, sshd, tmp_path):
    said = refusal(connector("box", {**UNSAID, **sshd.start(), "ssh_key": f"{tmp_path}/none"}))
    assert "Authentication error: root@127.0.0.1" in said
    assert f"ssh_key: found no file {tmp_path}/none" in said
