"""Visitors of a site, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.waiting import wait_until

START = """
import subprocess, sys
where = ("127.0.0.1", "9", "nobody.test", "/etc/ssl/certs/ca-certificates.crt", "60")
command = [sys.executable, "-m", "slipway.lab.visitors", *where]
print(subprocess.Popen(command, stdout=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


def open_files(process: Path) -> str:
    return subprocess.run(["ls", "-l", process / "fd"], capture_output=True, text=True, check=False).stdout


def test_visitors_end_with_the_process_that_started_them():
    with subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        visitors = Path(f"/proc/{int(starter.stdout.readline())}")
        wait_until("they visit", lambda: "[eventpoll]" in open_files(visitors), 30)
        starter.kill()
    wait_until("the visitors end", lambda: not visitors.exists(), 30)
