"""Secrets reach the services that need them, byte for byte, and nobody else; MongoDB's users follow them."""

from __future__ import annotations

import base64
import json
import shlex

import pytest

from slipway.server_tests.leaks import VALUES, program
from support.lab_host import BUILT, PROJECT, PYINFRA, LabHost, mongosh, run
from support.releases import Visits

KEPT = "/etc/codementee/credentials"
# Recognisable, with all characters that are special in a shell, systemd, a URL or a template.
MARK = "s3cr3t-m4rk"
ODD = f"{MARK} \"'`$HOME ${{x}} %n %25 \\n @:/?# {{{{ x }}}} hä€\nof two lines"
GIVEN = {
    "ADMIN_PASSWORD": f"{MARK}-login",
    "JWT_SECRET": ODD,
    "MONGODB_ADMIN_PASSWORD": f"{MARK}-root@:/?#%",
    "MONGODB_BACKEND_PASSWORD": f"{MARK}-site@:/?#% '\"$x`",
}
# Polls all command lines until it is ended, and logs those with the mark.
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
    """Give exactly these secrets through the environment of the next commands."""
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
    found = json.loads(server.ssh(program(f"echo {values} | base64 -d", KEPT)))
    assert found["seen"] == []
    assert found["looked"] > 100


def test_the_search_would_find_a_leak(server):
    values = base64.b64encode(json.dumps([MARK]).encode()).decode()
    # Debian 13's sessions have login.defs' umask.
    server.ssh(f"umask 022; echo {MARK} > /var/leaked; logger {MARK}-{'x'}")
    server.ssh(f"systemd-run --quiet --unit=leak sh -c 'sleep 60; : {MARK}'")
    seen = json.loads(server.ssh(program(f"echo {values} | base64 -d", KEPT)))["seen"]
    server.ssh("systemctl stop leak; rm /var/leaked; journalctl -q --rotate; journalctl -q --vacuum-time=1s; sleep 1")
    assert "/var/leaked" in seen
    assert "the journal" in seen
    assert "the command line of sh" in seen


# The variables that an application reads.
ENVIRONMENT = {
    "BACKEND_CORS_ORIGINS": '["https://a.example", "https://b.example"]',
    "ODD": "a \"q\" 'x' \\ b\\\\c %n %% $HOME ${x} {x} {{y}} \u00e4\u20ac\n  of two\tlines\n",
    "EMPTY": "",
    "SITE": "https://{site_domain}",
    "MONGODB_URI": "{mongo_url}",
    "MONGO_PASSWORD": "{mongo_password}",
    "TOKEN": '{"key": "{secrets.JWT_SECRET}"}',
}
# Those that contain a secret.
SECRET = ("MONGODB_URI", "MONGO_PASSWORD", "TOKEN")


def with_environment(**changes: str) -> tuple[str, str]:
    return "--data", f"backend_environment={json.dumps({**ENVIRONMENT, **changes})}"


def environments(server: LabHost, unit: str = "codementee-backend") -> list[dict[str, str]]:
    """The variables of each process of a running unit."""
    script = f"""
main=$(systemctl show --property=MainPID --value {unit})
for pid in $main $(pgrep -P $main -f spawn_main); do base64 -w0 /proc/$pid/environ; echo; done"""
    texts = [base64.b64decode(line).decode() for line in server.ssh(script).splitlines()]
    return [dict(pair.split("=", 1) for pair in text.split("\0") if pair) for text in texts]


def expected(server: LabHost) -> dict[str, str]:
    password, url = kept(server, "MONGODB_BACKEND_PASSWORD"), kept(server, "MONGO_URL")
    token = ENVIRONMENT["TOKEN"].replace("{secrets.JWT_SECRET}", kept(server, "JWT_SECRET"))
    plain = {**ENVIRONMENT, "SITE": f"https://{server.site().domain}"}
    return {**plain, "MONGODB_URI": url, "MONGO_PASSWORD": password, "TOKEN": token, "MONGO_URL": url}


def leaks(server: LabHost) -> list[str]:
    """Where the host's secrets, and values that contain one, can be found."""
    found = json.loads(server.ssh(program(f"python3 -c {shlex.quote(VALUES)} {KEPT}", KEPT)))
    assert found["looked"] > 100
    return found["seen"]


def starts(server: LabHost) -> int:
    return int(server.ssh("journalctl -u codementee-backend -o cat | grep -c '^Started codementee-backend.service'"))


@pytest.mark.thorough
def test_an_application_alone_reads_its_environment_by_its_own_names(server, visits):
    given(server)
    server.apply(*with_environment())
    assert server.plan(*with_environment()) == []
    visits.nothing()
    processes = environments(server)
    assert len(processes) == 3, "uvicorn and its two workers"
    for found in processes:
        assert {name: found.get(name) for name in expected(server)} == expected(server)

    shown = server.ssh("systemctl show codementee-backend; cat /etc/systemd/system/codementee-backend*.service")
    assert "BACKEND_CORS_ORIGINS" in shown
    password = kept(server, "MONGODB_BACKEND_PASSWORD")
    assert password not in shown
    assert leaks(server) == []
    pid = server.ssh("systemctl show --property=MainPID --value codementee-backend")
    assert server.ssh(f"stat -c '%U %a' /proc/{pid}/environ") == "codementee-backend 400"
    for user in ("nobody", "www-data", "admin"):
        read = f"runuser -u {user} -- cat /proc/{pid}/environ /run/credentials/codementee-backend.service/TOKEN"
        assert server.ssh(f"{read} 2>/dev/null | wc -c") == "0"

    # A new password, which the host generates, changes the variables that refer to it, and one restart is enough.
    server.ssh(f"rm {KEPT}/MONGODB_BACKEND_PASSWORD")
    before = starts(server)
    server.apply(*with_environment())
    assert starts(server) == before + 1
    assert kept(server, "MONGODB_BACKEND_PASSWORD") != password
    assert environments(server)[0]["MONGODB_URI"] == kept(server, "MONGO_URL")
    assert environments(server)[1]["MONGO_PASSWORD"] == kept(server, "MONGODB_BACKEND_PASSWORD")
    assert server.plan(*with_environment()) == []


@pytest.mark.thorough
def test_hooks_workers_and_scheduled_services_have_the_environment_too(server):
    given(server)
    digest = "printenv TOKEN | sha256sum"
    services = [
        {"name": "mailer", "command": "sleep infinity", "secrets": ["MONGO_URL"], "environment": {"EMPTY": "its own"}},
        {"name": "report", "command": digest, "schedule": "*-*-* 03:00"},
    ]
    settings = (*with_environment(), "--data", f"services={json.dumps(services)}", "--data", f"pre_activate={digest}")
    # A release also installs new secrets.
    server.ssh(f"rm -f {KEPT}/TOKEN")
    server.release(*settings, *BUILT)
    wanted = server.ssh(f"{{ cat {KEPT}/TOKEN; echo; }} | sha256sum")
    assert wanted in server.ssh("journalctl -u codementee-backend-before -o cat")
    server.apply(*settings)
    assert server.plan(*settings) == []
    (mailer,) = environments(server, "codementee-mailer")
    assert mailer["EMPTY"] == "its own"
    assert (mailer["MONGODB_URI"], mailer["MONGO_URL"]) == (kept(server, "MONGO_URL"), kept(server, "MONGO_URL"))
    # The secret inside a variable is not a variable as well.
    assert {"TOKEN", "JWT_SECRET", "ADMIN_PASSWORD"} & {*mailer} == set()

    server.ssh("systemctl start codementee-report.service")
    assert wanted in server.ssh("journalctl -u codementee-report -o cat")
    assert leaks(server) == []
    server.apply()
    assert server.plan() == []


@pytest.mark.thorough
def test_with_credentials_a_service_has_files_and_no_variable_with_a_secret(server):
    given(server)
    way = ("--data", "backend_secrets_delivery=credentials", *with_environment())
    server.apply(*way)
    assert server.plan(*way) == []
    secret = {"JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL", *SECRET}
    for found in environments(server):
        assert secret & {*found} == set()
        assert found["BACKEND_CORS_ORIGINS"] == ENVIRONMENT["BACKEND_CORS_ORIGINS"]
    folder = "/run/credentials/codementee-backend.service"
    assert {*server.ssh(f"ls {folder}").split()} == secret
    assert server.ssh(f"cat {folder}/MONGODB_URI") == kept(server, "MONGO_URL")
    server.apply()
    assert server.plan() == []


# How version 0.1 implemented backend_secrets_delivery = "environment".
ENVIRONMENT_FILE = rf"""
cd {KEPT}; umask 077
for name in JWT_SECRET ADMIN_PASSWORD MONGO_URL; do
  printf '%s="' $name; sed 's/[\"`$]/\&/g' $name; printf '"\n'
done > /etc/codementee/backend.env
cd /etc/systemd/system
sed -i '/^LoadCredential=/d; s|/usr/lib/slipway/with-credentials ||
  s|^User=.*|&\nEnvironmentFile=/etc/codementee/backend.env|' codementee-backend.service codementee-backend-next.service
systemctl daemon-reload; systemctl restart codementee-backend
"""


@pytest.mark.thorough
def test_a_server_with_its_secrets_in_an_environment_file_loses_no_request_and_the_file(server):
    given(server)
    server.apply()
    server.ssh(ENVIRONMENT_FILE)
    server.wait_until_healthy()
    assert "MONGO_URL" in environments(server)[0]
    visits = Visits(server.site())
    assert [change["operation"] for change in server.plan()] == [
        *("Configure the backend", "Restart the backend", "Configure the release's units", "Remove unused secrets")
    ]
    server.apply()
    assert server.plan() == []
    assert server.ssh("ls /etc/codementee") == "credentials"
    assert environments(server)[0]["JWT_SECRET"] == kept(server, "JWT_SECRET")
    visits.nothing()


@pytest.mark.thorough
def test_a_secret_that_the_application_can_not_start_with_leaves_the_old_one_serving(server, visits):
    given(server)
    server.apply()
    # The example requires 32 characters.
    given(server, JWT_SECRET="short")
    done = server.slipway("apply", "lab", "--yes")
    assert done.returncode == 1
    assert "JWT_SECRET is wrong" in done.stderr
    assert "codementee-backend.service was not restarted and is still live" in done.stderr
    given(server, JWT_SECRET="long enough for the example to start with it")
    server.apply()
    assert server.plan() == []
    assert environments(server)[0]["JWT_SECRET"].startswith("long enough")
    visits.nothing()


# A cause, and the operation that must notice it. All causes of a row happen at once.
DRIFTS = [
    {
        "the backend's user dropped": (mongosh('db.dropUser("backend")'), "Create MongoDB's users"),
        "a secret made readable": (f"chmod 644 {KEPT}/ADMIN_PASSWORD", "Install the backend's secrets"),
        "a secret of nobody's": (f"touch {KEPT}/OLD", "Remove unused secrets"),
    },
    {
        "the backend's user may do more": (
            mongosh('db.grantRolesToUser("backend", ["root"])'),
            "Create MongoDB's users",
        ),
        "a secret changed": (f"echo x >> {KEPT}/MONGO_URL", "Install the backend's secrets"),
    },
    {
        "authorization switched off": (
            "sed -i 's/authorization: enabled/authorization: disabled/' /etc/mongod.conf; systemctl restart mongod",
            "Configure MongoDB",
        ),
    },
    {
        # All passwords are lost: root regains MongoDB through its files.
        "all users gone and the passwords lost": (
            mongosh('db.dropUser("backend"); db.updateUser("admin", {pwd: "nobody knows"})') + f"; rm {KEPT}/MONGODB_*",
            "Create MongoDB's users",
        ),
    },
]


@pytest.mark.thorough
@pytest.mark.parametrize("drifts", DRIFTS, ids=["; ".join(row) for row in DRIFTS])
def test_a_drift_of_secrets_is_found_by_a_plan_and_corrected_by_an_apply(server, drifts):
    given(server)
    server.apply() if server.plan() else None
    for script, _ in drifts.values():
        server.ssh(script)
    assert {operation for _, operation in drifts.values()} <= set(server.operations())
    server.apply()
    assert server.plan() == []
    assert server.site().get("/api/health").status_code == 200


@pytest.mark.thorough
def test_a_secret_that_is_removed_on_the_host_is_generated_anew(server):
    before = kept(server, "JWT_SECRET")
    server.ssh(f"rm {KEPT}/JWT_SECRET")
    assert "Install the backend's secrets" in server.operations()
    server.apply()
    assert kept(server, "JWT_SECRET") != before
    assert server.plan() == []
