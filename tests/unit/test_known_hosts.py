"""Hosts of one run, and runs side by side, remember their keys in one file: none is lost, or missing meanwhile."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slipway.engine import known_hosts
from support.checkout import PROJECT

NAMES = [f"192.0.2.{number}" for number in range(1, 17)]
OTHER_RUN = """
import sys
from slipway.engine import known_hosts
for words in sys.argv[2:]:
    name, _, key = words.partition(" ")
    known_hosts.remember(sys.argv[1], name, {key})
"""


def key(number: int) -> str:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number] * 32)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def names_in(file: Path) -> set[str]:
    return {line.split()[0] for line in file.read_text().splitlines()}


def test_hosts_that_get_new_keys_at_the_same_time_all_keep_theirs(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"{name} {key(0)}\n" for name in [*NAMES, "stays"]))
    new = {name: key(number) for number, name in enumerate(NAMES, 1)}
    missing: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            missing.update({*NAMES} - names_in(file))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    others = [f"{name} {new[name]}" for name in NAMES[8:]]
    with subprocess.Popen([sys.executable, "-c", OTHER_RUN, str(file), *others], cwd=PROJECT) as other:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: known_hosts.remember(str(file), name, {new[name]}), NAMES[:8]))
        assert other.wait(60) == 0
    ended.set()
    looking.join()
    assert {*file.read_text().splitlines()} == {*(f"{name} {its}" for name, its in new.items()), f"stays {key(0)}"}
    assert missing == set()
    assert [one.name for one in tmp_path.iterdir()] == ["known_hosts"]
