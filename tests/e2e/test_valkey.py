"""Valkey, enabled for a site: its services use it, drifts are corrected, and its data stay when it is disabled."""

from __future__ import annotations

import base64
import json

import pytest

from slipway.engine.deployed import deployed
from support.drifts import lab_settings, of_component
from support.lab_host import LabHost

pytestmark = pytest.mark.thorough

# What a service does with its URL, in the sandbox of all services.
COUNT = """
import os, socket, urllib.parse
url = urllib.parse.urlsplit(os.environ["VALKEY_URL"])
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(url.path)
    connection.sendall(f"AUTH {urllib.parse.unquote(url.password)}\\r\\nINCR visits\\r\\n".encode())
    answers = connection.makefile()
    print("said", answers.readline().strip(), answers.readline().strip(), flush=True)
"""
COMMAND = f"echo {base64.b64encode(COUNT.encode()).decode()} | base64 -d | python -"
SERVICE = {"name": "visits", "command": COMMAND, "schedule": "yearly"}
ON = ("--data", "valkey=true", "--data", f"services={json.dumps([SERVICE])}")
UNIT, DATA = "codementee-valkey.service", "/var/lib/codementee-valkey"


def count(server: LabHost) -> str:
    """Valkey's reply to the service, which increments a counter."""
    server.ssh("systemctl start codementee-visits")
    return server.ssh("journalctl -u codementee-visits -o cat --no-pager | grep ^said | tail -n 1")


def test_the_services_of_a_site_use_it_by_the_url_in_their_environment(server: LabHost) -> None:
    server.apply(*ON)
    assert server.plan(*ON) == []
    assert [count(server), count(server)] == ["said +OK :1", "said +OK :2"]
    server.ssh(f"systemctl restart {UNIT}")
    assert count(server) == "said +OK :3"
    verified = server.slipway("verify", "lab", *ON)
    assert verified.returncode == 0, verified.stdout
    assert "systemd-analyze security, Valkey" in verified.stdout
    status = server.slipway("status", "lab", *ON).stdout
    assert f"{UNIT} active (running)\n" in status
    assert "Valkey 7" in status


def test_drifts_are_found_by_a_plan_and_corrected_by_an_apply(server: LabHost) -> None:
    (valkey,) = [one for one in deployed() if one.name == "valkey"]
    drifts = of_component(valkey, lab_settings(valkey=True))
    # A stopped one can't hang.
    for names in ([name for name in drifts if name != "Valkey hangs"], ["Valkey hangs"]):
        server.ssh("".join(f"( {drifts[name].script}\n)\n" for name in names), check=False)
        seen = server.operations(*ON)
        assert [name for name in names if drifts[name].operation not in seen] == []
        server.apply(*ON)
        assert server.plan(*ON) == []
    assert count(server).startswith("said +OK")
    server.ssh(f"pkill --signal STOP --uid {UNIT.removesuffix('.service')}")
    assert f"{UNIT} active (running), unhealthy" in server.slipway("status", "lab", *ON).stdout


def test_disabling_it_removes_it_and_keeps_its_data(server: LabHost) -> None:
    server.apply(*ON)
    before = int(count(server).rpartition(":")[2])
    (change,) = [one for one in server.plan() if one["component"] == "valkey"]
    assert change["reasons"] == [f"{UNIT}: stopped and disabled; its data stay in {DATA}"]
    server.apply()
    assert server.plan() == []
    assert server.ssh(f"systemctl is-active {UNIT}", check=False) == "inactive"
    assert "VALKEY" not in server.ssh("ls /etc/codementee/credentials")
    assert server.slipway("verify", "lab").returncode == 0
    server.apply(*ON)
    assert count(server) == f"said +OK :{before + 1}"
