"""Secrets reach who needs them, byte for byte, and nobody else; MongoDB's users follow them."""

from __future__ import annotations

import base64
import json

import pytest

from slipway.server_tests.leaks import program
from support.lab_host import PROJECT, PYINFRA, LabHost, mongosh, run

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
import os, pathlib, time
mark, seen, rounds = b"-".join([b"s3cr3t", b"m4rk"]), set(), 0
while not os.path.exists("/run/sampled"):
    rounds += 1
    time.sleep(0.005)
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = pathlib.Path("/proc", process, "cmdline").read_bytes()
        except OSError:
            continue
        if mark in line or b"{base64.b64encode(MARK.encode()).decode()[:12]}" in line:
            seen.add(line.replace(b"\\0", b" ").decode(errors="replace")[:200])
pathlib.Path("/run/sample").write_text(f"{{rounds}}\\n" + "\\n".join(seen))
"""


def given(server: LabHost, **values: str) -> None:
    """Give these secrets by the environment of the next commands, and no others so."""
    server.env = {name: value for name, value in server.env.items() if not name.startswith("SLIPWAY_SECRET_")}
    server.env |= {f"SLIPWAY_SECRET_{name}": value for name, value in values.items()}


def kept(server: LabHost, name: str) -> str:
    return server.ssh(f"cat {KEPT}/{name}")


def test_secrets_that_change_arrive_byte_for_byte_and_are_seen_nowhere(server):
    given(server, **GIVEN)
    plan, as_json = server.slipway("plan", "lab"), server.slipway("plan", "lab", "--json", "-")
    found = [part["changes"] for part in json.loads(as_json.stdout)["hosts"][0]["components"]]
    assert {change["operation"] for changes in found for change in changes} == {
        *("Create MongoDB's users", "Install the backend's secrets", "Restart the backend")
    }
    assert "(secret, not shown)" in plan.stdout
    sampler = base64.b64encode(SAMPLER.encode()).decode()
    server.ssh(f"rm -f /run/sample*; echo {sampler} | base64 -d > /run/sampler.py")
    server.ssh("systemd-run --quiet --unit=sampler python3 /run/sampler.py")
    pyinfra = run([PYINFRA, "-y", "--debug", "-vvv", "lab/inventory.py", "deploy.py"], server.env)
    server.ssh("touch /run/sampled; until [ -e /run/sample ]; do sleep 0.1; done; rm /run/sampler.py")
    assert pyinfra.returncode == 0, pyinfra.stdout + pyinfra.stderr
    rounds, *seen = server.ssh("cat /run/sample").splitlines()
    assert int(rounds) > 100, "the precondition does not hold"
    assert seen == []
    log = PROJECT / "pyinfra-debug.log"
    said = "".join((plan.stdout, plan.stderr, as_json.stdout, as_json.stderr, pyinfra.stdout, pyinfra.stderr))
    said += log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    assert MARK not in said
    assert base64.b64encode(MARK.encode()).decode()[:12] not in said
    assert server.plan() == []

    for name, value in GIVEN.items():
        found = server.ssh(f"base64 -w0 {KEPT}/{name}")
        assert base64.b64decode(found).decode() == value
    handed = server.ssh("base64 -w0 /run/credentials/codementee-backend.service/JWT_SECRET")
    assert base64.b64decode(handed).decode() == ODD
    assert server.site().get("/api/health").status_code == 200
    login = {"email": "admin@codementee.io", "password": GIVEN["ADMIN_PASSWORD"]}
    assert server.site().post("/api/auth/login", json=login).status_code == 200

    values = base64.b64encode(json.dumps([MARK]).encode()).decode()
    found = json.loads(server.ssh(program(f"echo {values} | base64 -d")))
    assert found["seen"] == []
    assert found["looked"] > 100


def test_the_search_would_find_a_leak(server):
    values = base64.b64encode(json.dumps([MARK]).encode()).decode()
    server.ssh(
        f"echo {MARK} > /var/leaked; logger {MARK}-{'x'}; systemd-run --quiet --unit=leak sh -c 'sleep 60; : {MARK}'"
    )
    seen = json.loads(server.ssh(program(f"echo {values} | base64 -d")))["seen"]
    server.ssh("systemctl stop leak; rm /var/leaked; journalctl -q --rotate; journalctl -q --vacuum-time=1s; sleep 1")
    assert "/var/leaked" in seen
    assert "the journal" in seen
    assert "the command line of sh" in seen


@pytest.mark.thorough
def test_an_application_that_wants_its_environment_gets_it_byte_for_byte(server):
    way = ("--data", "backend_secrets_delivery=environment")
    server.apply(*way)
    assert server.plan(*way) == []
    main = "$(systemctl show --property=MainPID --value codementee-backend)"
    found = base64.b64decode(server.ssh(f"base64 -w0 /proc/{main}/environ")).decode().split("\0")
    assert f"JWT_SECRET={ODD}" in found
    assert server.ssh("stat -c '%U %a' /etc/codementee/backend.env") == "root 600"
    server.apply()
    assert server.plan() == []
    assert server.ssh("ls /etc/codementee") == "credentials"


# What somebody does, and the operation that must notice. All of one row are done at once.
DRIFTS = [
    {
        "the backend's user dropped": (mongosh('db.dropUser("backend")'), "Create MongoDB's users"),
        "a secret made readable": (f"chmod 644 {KEPT}/ADMIN_PASSWORD", "Install the backend's secrets"),
        "a secret of nobody's": (f"touch {KEPT}/OLD", "Install the backend's secrets"),
    },
    {
        "the backend's user may do more": (
            mongosh('db.grantRolesToUser("backend", ["root"])'),
            "Create MongoDB's users",
        ),
        "a secret changed": (f"echo x >> {KEPT}/ADMIN_PASSWORD", "Install the backend's secrets"),
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
            "Create MongoDB's users",
        ),
    },
]


@pytest.mark.thorough
@pytest.mark.parametrize("drifts", DRIFTS, ids=["; ".join(row) for row in DRIFTS])
def test_a_drift_of_secrets_is_seen_by_a_plan_and_mended_by_an_apply(server, drifts):
    given(server)
    server.apply() if server.plan() else None
    for script, _ in drifts.values():
        server.ssh(script)
    assert {operation for _, operation in drifts.values()} <= set(server.operations())
    server.apply()
    assert server.plan() == []
    assert server.site().get("/api/health").status_code == 200


@pytest.mark.thorough
def test_a_secret_that_is_taken_away_on_the_host_is_made_up_anew(server):
    before = kept(server, "JWT_SECRET")
    server.ssh(f"rm {KEPT}/JWT_SECRET")
    assert "Install the backend's secrets" in server.operations()
    server.apply()
    assert kept(server, "JWT_SECRET") != before
    assert server.plan() == []
