"""A broken connection is reported as such, whatever a command was doing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from support.mistakes import told


class Breaking(paramiko.ServerInterface):
    """An ssh server without authentication that breaks the connection as soon as a command is to run."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self.transport = transport

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.transport.close()
        return True


@pytest.fixture
def breaking_server(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Such a server; its connection as an inventory gives it."""
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "key"))
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.start_server(server=Breaking(transport))

    threading.Thread(target=serve, daemon=True).start()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    yield {
        "ssh_hostname": "127.0.0.1",
        "ssh_port": port,
        "ssh_user": "root",
        "ssh_key": str(tmp_path / "key"),
        "ssh_known_hosts_file": str(tmp_path / "known_hosts"),
    }
    listening.close()


@pytest.mark.parametrize("sudo", [False, True], ids=["as root", "by sudo, which is tried first"])
def test_a_connection_that_breaks_is_an_error_of_that_host_and_no_interruption(project, breaking_server, sudo):
    server = {**breaking_server, "_sudo": sudo}
    (project / "inventory.py").write_text(f"web = app = db = [('example.invalid', {server!r})]\n")
    assert "the connection broke" in told(project, "plan")
