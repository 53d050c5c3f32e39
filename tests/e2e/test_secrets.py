"""What Slipway promises of secrets and of MongoDB's users, on a real host. One host, and as few applies as possible."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.lab_host import PROJECT, LabHost, bring_up, mongosh
from support.leaks import program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="throwaway hosts need root")

KEPT = "/etc/codementee/credentials"
# Recognisable, with everything that a shell, systemd, a URL or a template could give a meaning.
MARK = "s3cr3t-m4rk"
ODD = f"{MARK} \"'`$HOME ${{x}} %n %25 \\n @:/?# {{{{ x }}}} hä€\nof two lines"
GIVEN = {
    "ADMIN_PASSWORD": f"{MARK}-login",
    "JWT_SECRET": ODD,
    "MONGODB_ADMIN_PASSWORD": f"{MARK}-root@:/?#%",
    "MONGODB_BACKEND_PASSWORD": f"{MARK}-site@:/?#% '\"$x`",
}
# Looks at all command lines over and over, until it is told to end, and writes down those that hold the mark.
SAMPLER = f"""
import os, pathlib
mark, seen, rounds = b"-".join([b"s3cr3t", b"m4rk"]), set(), 0
while not os.path.exists("/run/sampled"):
    rounds += 1
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = pathlib.Path("/proc", process, "cmdline").read_bytes()
        except OSError:
            continue
        if mark in line or b"{base64.b64encode(MARK.encode()).decode()[:12]}" in line:
            seen.add(line.replace(b"\\0", b" ").decode(errors="replace")[:200])
pathlib.Path("/run/sample").write_text(f"{{rounds}}\\n" + "\\n".join(seen))
"""


def given(host: LabHost, **values: str) -> None:
    """Give these secrets by the environment of the next commands, and no others so."""
    host.env = {name: value for name, value in host.env.items() if not name.startswith("SLIPWAY_SECRET_")}
    host.env |= {f"SLIPWAY_SECRET_{name}": value for name, value in values.items()}


@pytest.fixture(scope="module")
def host(ci_lab):
    """A host of its own: its secrets change all the time."""
    host = bring_up("ssecrets")
    host.first_apply = host.apply()
    return host


def kept(host: LabHost, name: str) -> str:
    return host.ssh(f"cat {KEPT}/{name}")


def test_what_nobody_gives_is_made_up_on_the_host_and_stays_there(host):
    names = ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
    values = [kept(host, name) for name in names]
    assert len(set(values)) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values)
    said = host.first_apply.stdout + host.first_apply.stderr
    assert not [value for value in values if value in said]
    assert host.plan() == []
    done = host.slipway("verify", "lab", timeout=300)
    assert "MongoDB without a password" in done.stdout
    assert re.search(r"secrets seen in journal, process list, world-readable files +none", done.stdout), done.stdout


def test_secrets_that_change_arrive_byte_for_byte_and_are_seen_nowhere(host):
    given(host, **GIVEN)
    plan, as_json = host.slipway("plan", "lab"), host.slipway("plan", "lab", "--json", "-")
    found = [part["changes"] for part in json.loads(as_json.stdout)["hosts"][0]["components"]]
    assert {change["operation"] for changes in found for change in changes} == {
        *("Give MongoDB its users", "Hand the backend its secrets", "Restart the backend")
    }
    assert "(secret, not shown)" in plan.stdout
    sampler = base64.b64encode(SAMPLER.encode()).decode()
    host.ssh(f"rm -f /run/sample*; echo {sampler} | base64 -d > /run/sampler.py")
    host.ssh("systemd-run --quiet --unit=sampler python3 /run/sampler.py")
    command = [str(PROJECT / ".venv/bin/pyinfra"), "-y", "--debug", "-vvv", "lab/inventory.py", "deploy.py"]
    pyinfra = subprocess.run(command, cwd=PROJECT, env=host.env, capture_output=True, text=True, check=False)
    host.ssh("touch /run/sampled; until [ -e /run/sample ]; do sleep 0.1; done; rm /run/sampler.py")
    assert pyinfra.returncode == 0, pyinfra.stdout + pyinfra.stderr
    rounds, *seen = host.ssh("cat /run/sample").splitlines()
    assert int(rounds) > 100, "this test would not notice anything"
    assert seen == []
    log = Path(PROJECT / "pyinfra-debug.log")
    said = "".join((plan.stdout, plan.stderr, as_json.stdout, as_json.stderr, pyinfra.stdout, pyinfra.stderr))
    said += log.read_text() if log.exists() else ""
    assert MARK not in said
    assert base64.b64encode(MARK.encode()).decode()[:12] not in said
    assert host.plan() == []

    for name, value in GIVEN.items():
        found = host.ssh(f"base64 -w0 {KEPT}/{name}")
        assert base64.b64decode(found).decode() == value
    handed = host.ssh("base64 -w0 /run/credentials/codementee-backend.service/JWT_SECRET")
    assert base64.b64decode(handed).decode() == ODD
    assert host.site().get("/api/health").status_code == 200
    login = {"email": "admin@codementee.io", "password": GIVEN["ADMIN_PASSWORD"]}
    assert host.site().post("/api/auth/login", json=login).status_code == 200

    values = base64.b64encode(json.dumps([MARK]).encode()).decode()
    found = json.loads(host.ssh(program(f"echo {values} | base64 -d")))
    assert found["seen"] == []
    assert found["looked"] > 100


def test_the_search_would_find_a_leak(host):
    values = base64.b64encode(json.dumps([MARK]).encode()).decode()
    host.ssh(
        f"echo {MARK} > /var/leaked; logger {MARK}-{'x'}; systemd-run --quiet --unit=leak sh -c 'sleep 60; : {MARK}'"
    )
    seen = json.loads(host.ssh(program(f"echo {values} | base64 -d")))["seen"]
    host.ssh("systemctl stop leak; rm /var/leaked; journalctl -q --rotate; journalctl -q --vacuum-time=1s; sleep 1")
    assert "/var/leaked" in seen
    assert "the journal" in seen
    assert "the command line of sh" in seen


def test_an_application_that_wants_its_environment_gets_it_byte_for_byte(host):
    way = ("--data", "backend_secrets_in=environment")
    host.apply(*way)
    assert host.plan(*way) == []
    main = "$(systemctl show --property=MainPID --value codementee-backend)"
    found = base64.b64decode(host.ssh(f"base64 -w0 /proc/{main}/environ")).decode().split("\0")
    assert f"JWT_SECRET={ODD}" in found
    assert host.ssh("stat -c '%U %a' /etc/codementee/backend.env") == "root 600"
    host.apply()
    assert host.plan() == []
    assert host.ssh("ls /etc/codementee") == "credentials"


# What somebody does, and the operation that must notice. All of one row are done at once.
DRIFTS = [
    {
        "the backend's user dropped": (mongosh('db.dropUser("backend")'), "Give MongoDB its users"),
        "a secret made readable": (f"chmod 644 {KEPT}/ADMIN_PASSWORD", "Hand the backend its secrets"),
        "a secret of nobody's": (f"touch {KEPT}/OLD", "Hand the backend its secrets"),
    },
    {
        "the backend's user may do more": (
            mongosh('db.grantRolesToUser("backend", ["root"])'),
            "Give MongoDB its users",
        ),
        "a secret changed": (f"echo x >> {KEPT}/ADMIN_PASSWORD", "Hand the backend its secrets"),
    },
    {
        "authorization switched off": (
            "sed -i 's/authorization: enabled/authorization: disabled/' /etc/mongod.conf; systemctl restart mongod",
            "Configure MongoDB",
        ),
    },
    {
        # Nobody knows a password any more: root takes MongoDB back by its files.
        "all users gone and the passwords lost": (
            mongosh('db.dropUser("backend"); db.updateUser("admin", {pwd: "nobody knows"})') + f"; rm {KEPT}/MONGODB_*",
            "Give MongoDB its users",
        ),
    },
]


@pytest.mark.parametrize("drifts", DRIFTS, ids=["; ".join(row) for row in DRIFTS])
def test_a_drift_of_secrets_is_seen_by_a_plan_and_mended_by_an_apply(host, drifts):
    given(host)
    host.apply() if host.plan() else None
    for script, _ in drifts.values():
        host.ssh(script)
    assert {operation for _, operation in drifts.values()} <= set(host.operations())
    host.apply()
    assert host.plan() == []
    assert host.site().get("/api/health").status_code == 200


def test_a_wrong_secret_is_told_before_any_host_is_touched(host):
    given(host, ADMIN_PASSWORD="changeme", MONGODB_ADMIN_PASSWORT="abc")
    done = host.slipway("apply", "lab", "--yes")
    given(host)
    assert done.returncode == 1
    assert "found a placeholder for ADMIN_PASSWORD" in done.stderr
    assert "did you mean MONGODB_ADMIN_PASSWORD?" in done.stderr
    assert "no host was touched" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_secret_that_is_taken_away_on_the_host_is_made_up_anew(host):
    before = kept(host, "JWT_SECRET")
    host.ssh(f"rm {KEPT}/JWT_SECRET")
    assert "Hand the backend its secrets" in host.operations()
    host.apply()
    assert kept(host, "JWT_SECRET") != before
    assert host.plan() == []
