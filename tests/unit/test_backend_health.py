"""The check for services behind a load balancer that have stopped answering."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.engine.components import registry
from slipway.ops.templates import render
from slipway.tasks import backend_health
from slipway.tasks.backend_health import FILE, PROGRAM, UNIT
from support.waiting import wait_until

UNIT_NAME = "codementee-backend"
# The limits of the tests, and what is shorter than they are.
TIMEOUT, OUT_AFTER, CALM = 1, 2, 4


class Server(socketserver.ThreadingUnixStreamServer):
    """A service that answers 503, once it serves."""

    class RequestHandlerClass(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

        def address_string(self) -> str:
            return "-"

        def log_message(self, *arguments: object) -> None:
            pass

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), self.RequestHandlerClass)

    def serve(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Starts the program for a service at a socket; returns the file that says that it does not answer."""
    running = []

    def start(path: Path) -> Path:
        options = f"--unix-socket {path} http://localhost/api/health"
        text = render("balancing/backend-health", watched={UNIT_NAME: options}, timeout=TIMEOUT, out_after=OUT_AFTER)
        environment = {**os.environ, "RUNTIME_DIRECTORY": str(tmp_path)}
        running.append(subprocess.Popen(["sh", "-c", text], env=environment, start_new_session=True))
        return tmp_path / UNIT_NAME

    yield start
    for process in running:
        os.killpg(process.pid, 9)
        process.wait()


def test_a_service_that_hangs_is_noticed_and_any_answer_ends_that(watched, tmp_path):
    server = Server(tmp_path / "hung.sock")
    flag = watched(tmp_path / "hung.sock")
    wait_until("it is noticed", flag.exists, 20)
    server.serve()
    wait_until("a 503 is an answer", lambda: not flag.exists(), 20)
    server.shutdown()
    server.server_close()


def test_a_service_that_closes_each_connection_is_noticed(watched, tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "closing.sock"))
        listening.listen()

        def close_each() -> None:
            while True:
                try:
                    listening.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=close_each, daemon=True).start()
        flag = watched(tmp_path / "closing.sock")
        wait_until("it is noticed", flag.exists, 20)
        listening.shutdown(socket.SHUT_RDWR)


def test_a_service_that_answers_is_left_alone(watched, tmp_path):
    server = Server(tmp_path / "well.sock")
    server.serve()
    flag = watched(tmp_path / "well.sock")
    with pytest.raises(AssertionError):
        wait_until("nothing", flag.exists, CALM)
    server.shutdown()
    server.server_close()


def test_all_services_are_asked_where_nginx_finds_them(balanced_with):
    services = [
        {"name": "pay", "app": "pay:app", "host": "pay.codementee.io", "health_path": "/well"},
        {"name": "web", "command": "node server.js", "listen": 3000, "path": "/shop/", "health_path": ""},
        {"name": "mailer", "command": "python -m mailer"},
    ]
    texts = backend_health.files(balanced_with("one", services=services, backend_listen="127.0.0.1:8001"))
    lines = [line for line in texts[PROGRAM].splitlines() if line.startswith("watch ")]
    assert [line.split()[1] for line in lines] == [f"codementee-{name}" for name in ("backend", "pay", "web")]
    assert lines[0].endswith(" http://127.0.0.1:8001/api/health &")
    assert lines[1].endswith(" --unix-socket /run/codementee-pay.sock http://localhost/well &")
    assert "-H 'Host: pay.codementee.io'" in lines[1]
    # It needs the network only for a port.
    assert "PrivateNetwork=yes" not in texts[FILE]
    assert "PrivateNetwork=yes" in backend_health.files(balanced_with("one"))[FILE]


def test_only_a_server_behind_a_load_balancer_has_it(balanced_with, settings_with):
    listed = {name: registry["nginx"].listed(registry["nginx"].units, balanced_with(name)) for name in ("lb", "one")}
    assert listed == {"lb": ["nginx.service"], "one": ["nginx.service", UNIT]}
    assert backend_health.units(settings_with()) == []
