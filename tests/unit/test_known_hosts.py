"""Hosts of one run, and runs side by side, remember their keys in one file: none is lost, or missing meanwhile."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

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

# Prints which of the names the file has lacked at any time, until it is told to end.
LOOK = """
import json, select, sys
missing = set()
while not select.select([sys.stdin], [], [], 0)[0]:
    with open(sys.argv[1]) as file:
        missing |= {*sys.argv[2:]} - {line.split()[0] for line in file}
print(json.dumps(sorted(missing)))
"""


def key(number: int) -> str:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number] * 32)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def test_hosts_that_get_new_keys_at_the_same_time_all_keep_theirs(tmp_path):
    file = tmp_path / "known_hosts"
    file.write_text("".join(f"{name} {key(0)}\n" for name in [*NAMES, "stays"]))
    new = {name: key(number) for number, name in enumerate(NAMES, 1)}
    program = [sys.executable, "-c", LOOK, str(file), *NAMES]
    looking = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    others = [f"{name} {new[name]}" for name in NAMES[8:]]
    with subprocess.Popen([sys.executable, "-c", OTHER_RUN, str(file), *others], cwd=PROJECT) as other:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: known_hosts.remember(str(file), name, {new[name]}), NAMES[:8]))
        assert other.wait(60) == 0
    missing, _ = looking.communicate("end\n", timeout=60)
    assert {*file.read_text().splitlines()} == {*(f"{name} {its}" for name, its in new.items()), f"stays {key(0)}"}
    assert json.loads(missing) == []
    assert [one.name for one in tmp_path.iterdir()] == ["known_hosts"]
