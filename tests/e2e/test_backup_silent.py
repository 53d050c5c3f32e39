"""A repository that accepts connections and does not answer, beside one on the server's own disk."""

from __future__ import annotations

import time

import pytest

from support.backups import CHANGES, LOSSES, ON, PLACE, STATE, hashes, now, state, switch_on
from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

BOTH = ("--data", f'backup_repositories={{"far": "rest:http://127.0.0.1:9999/", "near": "{PLACE}"}}')
SILENT = "import socket; one = socket.create_server((str(), 9999)); all = [one.accept() for _ in iter(int, 1)]"
# As if it had been a repository until now.
WAS_THERE = f"""python3 -c '
import json
state = json.load(open("{STATE}"))
state["fulls"]["far"], state["reached"]["far"] = state["fulls"]["near"], state["reached"]["near"]
json.dump(state, open("{STATE}", "w"))'"""
AGE = f"""python3 -c 'import json, time; print(int(time.time() - json.load(open("{STATE}"))["sliced"]["near"]))'"""


def test_it_keeps_no_other_from_its_slices_and_no_restore_from_its_end(server: LabHost) -> None:
    switch_on(server)
    server.ssh(mongosh(CHANGES))
    server.ssh(f"systemd-run --quiet --unit=silent python3 -c '{SILENT}'")
    # A full backup begins, as one has none.
    server.apply(*BOTH)
    wait_until("the backup has failed", lambda: state(server)["full"]["failures"], seconds=180)
    assert "repository far: restic had no answer for 60 s" in state(server)["full"]["failures"][0]
    server.ssh(WAS_THERE)
    wait_until("a slice waits for it", lambda: server.ssh("pgrep -cf 'restic backup.*oplog' || :") != "0", seconds=90)
    ages = []
    for _ in range(24):
        time.sleep(5)
        ages.append(int(server.ssh(AGE)))
    assert max(ages) < 60, ages
    assert server.ssh("systemctl show -P ActiveState slipway-slice") == "activating", "it still waits"
    before, second = hashes(server), now(server)
    server.ssh(mongosh(LOSSES))
    time.sleep(60)
    began = time.monotonic()
    done = server.slipway("restore", "lab", "--at", second, "--yes", *BOTH)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Without the last slice of the present data: repository far: it was not done after 60 s" in done.stdout
    assert time.monotonic() - began < 180
    assert hashes(server) == before
    assert server.is_healthy()
    assert server.ssh("ls /var/www/codementee/maintenance 2> /dev/null || echo none") == "none"
    # A slice that a restore stopped is no failure.
    assert server.ssh("systemctl show -P Result slipway-slice") == "success"
    server.ssh("systemctl stop silent")
    server.apply(*ON)
    wait_until("there is another full backup", lambda: not state(server).get("awaits", True), seconds=180)
