"""A program with its own port behind systemd's socket."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from slipway.releases.host import ask
from support.checkout import PROJECT
from support.waiting import wait_until

ACTIVATE, PROXY = "/usr/bin/systemd-socket-activate", Path("/usr/lib/systemd/systemd-socket-proxyd")


@pytest.mark.skipif(not (shutil.which(ACTIVATE) and PROXY.exists()), reason="systemd is not on this machine")
def test_who_connects_before_the_program_listens_waits_and_the_program_gets_its_port_alone():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = PROJECT / "tests/projects/root-api/web.py"
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        place = f"{folder}/held.sock"
        command = ["sh", str(PROJECT / "templates/backend/serve-port"), str(port), f"sleep 0.5; exec python3 {program}"]
        variables = [f"--setenv={text}" for text in (f"PORT={port}", "HOST=127.0.0.1", "FLAVOUR=sweet", "PATH")]
        running = subprocess.Popen(
            [ACTIVATE, f"--listen={place}", *variables, *command], start_new_session=True, stderr=subprocess.DEVNULL
        )
        try:
            wait_until("the socket is held", lambda: Path(place).exists(), pause=0.02)
            began = time.monotonic()
            answer = ask(place, "/x", "site.example", 10)
            assert (answer.status, answer.body) == (200, "1 /x https sweet")
            assert time.monotonic() - began > 0.3
            assert ask(place, "/y", "site.example", 5).body == "1 /y https sweet"
        finally:
            os.killpg(running.pid, signal.SIGTERM)
            running.wait()
