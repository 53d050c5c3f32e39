"""Good and broken releases of the example, and visitors who notice failures."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.lab_host import PROJECT, LabHost

EXAMPLE = PROJECT / "examples/codementee"
ROOT = "/var/www/codementee"
# For a backend with WebSockets, in addition to the example's requirements.
WEBSOCKETS = "websockets==17.4 --hash=sha256:cebad8f4796248b91fc2168515e507e5cb6b663a32befd09f3b1e7920acdcb1a\n"
# Sends a count to a visitor, as a stream and over a WebSocket.
COUNTING = """

from fastapi import WebSocket
from fastapi.responses import StreamingResponse


@app.get("/api/count")
async def count() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(60):
            yield f"{number}\\n"
            await asyncio.sleep(0.2)
    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/api/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())
"""
# The timeout of a release that can't become healthy.
IMPATIENT = ("--data", "backend_health_seconds=8")
# For one that must have started before it fails: on a busy machine that takes longer.
PATIENT = ("--data", "backend_health_seconds=25")


class Visits:
    """Visitors of a site, from now until they are asked what they have noticed.

    They are few: a benchmark's would take a whole core each of the host and of this machine.
    """

    def __init__(self, site: Any, backend: str = "/api/health", calm: float = 10) -> None:
        where = [site.address, str(443 + site.port_offset), site.domain, site.authorities, "3600"]
        where += ["--backend", backend, "--calm", str(calm)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slipway.lab.visitors", *where], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )

    def noticed(self) -> dict[str, dict[str, Any]]:
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=600)
        return json.loads(output)

    def nothing(self, at_least: int = 50) -> None:
        """They have noticed nothing: each request was answered as it should be."""
        noticed = self.noticed()
        for habit, its in noticed.items():
            assert its["failed"] == {}, (habit, its)
            assert its["requests"] >= at_least, "too few to notice anything"

    def the_api_waits(self, seconds: float) -> None:
        """Pages are answered; requests that MongoDB had as it stopped get 503, and none waits longer than `seconds`."""
        for habit, its in self.noticed().items():
            allowed = {"status 503"} if "/api/" in habit else set()
            assert {*its["failed"]} <= allowed, (habit, its)
            assert its["longest_gap"] <= seconds, (habit, its)


def is_settled(server: LabHost) -> bool:
    """Whether exactly one backend runs, of the current release, and Nginx proxies to it."""
    found = server.ssh(
        "systemctl is-active codementee-backend.service codementee-backend-next.service codementee-backend-next.socket;"
        f" readlink /run/codementee-backend.sock; [ ! -e {ROOT}/next ] && echo gone;"
        " realpath /proc/$(systemctl show --property=MainPID --value codementee-backend)/cwd",
        check=False,
    )
    wanted = ["active", "inactive", "inactive", "/run/codementee-backend/backend.sock", "gone"]
    wanted.append(f"{ROOT}/releases/{server.current_release()}/backend")
    print("found:", found, "wanted:", wanted, sep="\n")
    return found.split() == wanted


def backend(folder: Path, edit: Callable[[str], str] = lambda text: text, requirements: str = "") -> tuple[str, str]:
    """Options of a release of the example's backend, with its server.py edited and more requirements."""
    shutil.copytree(EXAMPLE / "backend", folder / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    server = folder / "backend/server.py"
    server.write_text(edit(server.read_text()))
    with (folder / "backend/requirements.txt").open("a") as file:
        file.write(requirements)
    return "--data", f"backend_source={folder / 'backend'}"


def frontend(folder: Path) -> tuple[str, ...]:
    """Options of a release of a copy of the example's frontend, whose packages are installed but once."""
    shutil.copytree(EXAMPLE / "frontend", folder / "frontend", ignore=shutil.ignore_patterns("build", "node_modules"))
    build = "[ -e node_modules ] || npm ci; npm run build"
    return "--data", f"frontend_source={folder / 'frontend'}", "--data", f"frontend_build={build}"


def websocket(site: Any, path: str) -> ssl.SSLSocket:
    """An open WebSocket, RFC 6455 section 1.3."""
    context = ssl.create_default_context(cafile=site.authorities)
    plain = socket.create_connection((site.address, 443 + site.port_offset), timeout=10)
    connection = context.wrap_socket(plain, server_hostname=site.domain)
    request = [f"GET {path} HTTP/1.1", f"Host: {site.domain}", "Upgrade: websocket", "Connection: Upgrade"]
    request += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
    connection.sendall("\r\n".join(request).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return connection


def echoed(connection: ssl.SSLSocket, text: str) -> str:
    """The reply to a text frame; a client's frames are masked, RFC 6455 section 5.2."""
    payload = text.encode()
    connection.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    head = connection.recv(2)
    return connection.recv(head[1]).decode()
