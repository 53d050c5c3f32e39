"""The site in its sandboxes and limits, and the rollback of a configuration that does not start."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.lab_host import mongosh
from support.releases import IMPATIENT
from support.waiting import wait_until

# Wrong passwords of one client, three times as many as it may try at once.
GUESSES = 30


def test_a_large_body_reaches_the_backend_by_nginxs_folder_for_uploads(server):
    """Nginx buffers a body that does not fit its memory below /var/lib/nginx, which its sandbox must allow."""
    answer = server.site().post("/api/auth/login", json={"email": "a@b.c", "password": "x" * 9_000_000})
    assert answer.status_code == 422, answer.text


@pytest.mark.thorough
def test_logs_are_rotated_and_nginx_writes_to_the_new_one(server):
    server.ssh("logrotate -f /etc/logrotate.d/nginx")
    mark = f"/rotated-{time.monotonic_ns()}"
    server.site().get(mark)
    server.ssh(f"for n in 1 2 3 4 5; do grep -q {mark} /var/log/nginx/access.log && exit; sleep 1; done; exit 1")
    assert server.ssh("stat -c '%U %G %a' /var/log/nginx/access.log") == "www-data adm 640"


def test_the_database_restarts_and_takes_writes_and_scripts(server):
    server.ssh("systemctl restart mongod")
    script = """
probe = db.getSiblingDB("probe");
written = probe.probe.insertOne({a: 1}, {writeConcern: {j: true}}).acknowledged;
test = {$function: {body: "function(a) { return a == 1 }", args: ["$a"], lang: "js"}};
scripted = probe.probe.countDocuments({$expr: test}) > 0;
print(written && scripted && probe.dropDatabase().ok == 1);
"""
    shown = server.ssh(mongosh(script))
    assert shown == "true"
    server.wait_until_healthy()


@pytest.mark.thorough
def test_a_backend_over_its_memory_limit_is_restarted_and_the_database_is_untouched(server):
    if server.ssh("test -e /sys/fs/cgroup/cgroup.controllers; echo $?") != "0":
        pytest.skip("this machine gives containers no memory controller of cgroup v2: their limits are not enforced")
    mongod = server.ssh("systemctl show --property=MainPID --value mongod")
    # In the backend's own control group, as its own leak would be: twice the limit, which can't be reclaimed.
    server.ssh(
        "cd /sys/fs/cgroup/system.slice/codementee-backend.service;"
        " echo $(( $(awk '/^anon /{print $2}' memory.stat) / 2 )) > memory.max"
    )
    restarts = "systemctl show --property=NRestarts codementee-backend"
    wait_until("the backend is ended", lambda: "NRestarts=0" not in server.ssh(restarts))
    server.ssh("systemctl daemon-reload; systemctl restart codementee-backend")
    server.wait_until_healthy()
    assert server.ssh("systemctl show --property=MainPID --value mongod") == mongod


def test_a_client_that_guesses_passwords_is_slowed_down_and_no_other(server):
    site = server.site()
    wrong = {"email": "nobody@example.org", "password": "guess"}
    # At once: on a slow machine one after the other would keep to the limit.
    with ThreadPoolExecutor(GUESSES) as pool:
        answers = [*pool.map(lambda _: site.post("/api/auth/login", json=wrong), range(GUESSES))]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert len(refused) < GUESSES - 10
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert refused[0].headers["X-Content-Type-Options"] == "nosniff"
    assert refused[0].headers["Content-Type"].startswith("application/json")
    assert "Too many attempts" in refused[0].json()["detail"]
    assert {site.get("/api/health").status_code for _ in range(100)} == {200}
    here = (
        f"curl -s -o /dev/null -w %{{http_code}} -X POST -d '{json.dumps(wrong)}' -H 'Content-Type: application/json'"
    )
    where = f"--insecure --resolve {site.domain}:443:127.0.0.1 https://{site.domain}/api/auth/login"
    assert server.ssh(f"{here} {where}") == "401", "another address is not concerned"


@pytest.mark.thorough
def test_an_ipv6_network_counts_as_one_client(server):
    """Two addresses of one /64 network share a limit, one of another network does not."""
    server.ssh("for n in 1:1::1 1:1::2 1:2::1; do ip -6 addr add fd00:$n/128 dev lo nodad; done")
    where = f"--insecure --connect-to ::[::1]:443 https://{server.site().domain}/api/auth/login"
    post = f"curl -s -o /dev/null -w '%{{http_code}}\\n' -X POST -d '{{}}' {where}"
    first = server.ssh(f"for n in $(seq 30); do {post} --interface fd00:1:1::1; done").split()
    neighbour, stranger = (server.ssh(f"{post} --interface fd00:{address}") for address in ("1:1::2", "1:2::1"))
    server.ssh("for n in 1:1::1 1:1::2 1:2::1; do ip -6 addr del fd00:$n/128 dev lo; done")
    assert first[-1] == "429", "the precondition does not hold"
    assert (neighbour, stranger) == ("429", "422")


# What passes the program's own check and does not start: the setting, the operation that installs it,
# the unit, what the error says, and a file that must be as before.
DOES_NOT_START = {
    "a storage engine that MongoDB lacks": (
        'mongodb_settings={"storage.engine": "inMemory"}',
        "Configure MongoDB",
        "mongod.service",
        "inMemory",
        "/etc/mongod.conf",
    ),
    "a backend whose environment is wrong": (
        'backend_environment={"TOKEN_MINUTES": "never"}',
        "Configure the backend",
        "codementee-backend.service",
        "TOKEN_MINUTES is wrong",
        "/etc/systemd/system/codementee-backend.service",
    ),
    "a port that is taken": (
        "backend_listen=127.0.0.1:8002",
        "Configure the socket of the backend",
        "codementee-backend.service",
        "Address already in use",
        "/etc/systemd/system/codementee-backend.socket",
    ),
}
TAKEN = (
    "systemd-run --quiet --unit=taken python3 -c"
    " 'import socket, time; taken = socket.create_server((\"127.0.0.1\", 8002)); time.sleep(900)'"
)


# Everyday: the one that fails fastest.
EVERYDAY = "a backend whose environment is wrong"


@pytest.mark.parametrize(
    "what", [what if what == EVERYDAY else pytest.param(what, marks=pytest.mark.thorough) for what in DOES_NOT_START]
)
def test_a_configuration_that_does_not_start_is_rolled_back_and_the_site_stays_up(server, what):
    setting, operation, unit, said, file = DOES_NOT_START[what]
    server.ssh(f"{TAKEN}; sleep 1")
    before = server.ssh(f"sha256sum {file}")
    done = server.slipway("apply", "lab", "--yes", "--data", setting, *IMPATIENT)
    pending = server.operations("--data", setting, *IMPATIENT)
    server.ssh("systemctl stop taken")
    assert done.returncode == 1, done.stdout
    assert f"{unit} failed to start; previous configuration restored" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert server.ssh(f"sha256sum {file}") == before
    assert server.ssh("ls /var/lib/slipway/kept") == ""
    assert operation in pending
    server.wait_until_healthy()
    # Only a release reads it, and rewrites it.
    assert set(server.operations()) <= {"Configure the release program"}
    server.apply()
    assert server.plan() == []


@pytest.mark.thorough
def test_nginx_keeps_serving_where_a_reload_fails(server):
    """`nginx -t` and the reload both succeed although another program listens on the port."""
    server.ssh(f"{TAKEN}; sleep 1; echo 'server {{ listen 127.0.0.1:8002; }}' > /etc/nginx/conf.d/taken.conf; nginx -t")
    before = server.ssh("sha256sum /etc/nginx/nginx.conf; cat /run/nginx.pid")
    for setting in ("nginx_csp=default-src 'none'", "nginx_worker_connections=1000"):
        done = server.slipway("apply", "lab", "--yes", "--data", setting)
        assert done.returncode == 1, done.stdout
        assert "nginx.service failed to start; previous configuration restored" in done.stderr
        assert "bind() to 127.0.0.1:8002 failed" in done.stderr
        assert server.ssh("sha256sum /etc/nginx/nginx.conf; cat /run/nginx.pid") == before
        assert server.site().get("/").status_code == 200
        assert "Configure Nginx" in server.operations("--data", setting)
    server.ssh("rm /etc/nginx/conf.d/taken.conf; systemctl stop taken")
    server.apply()
    assert server.plan() == []


@pytest.mark.skipif(
    not shutil.which("testssl"), reason="testssl.sh is missing: python -m slipway.lab.packages installs it"
)
@pytest.mark.thorough
def test_the_audit_finds_nothing_above_low(server):
    done = server.slipway("verify", "lab", "--audit", timeout=900)
    assert done.returncode == 0, done.stdout
    assert "testssl.sh, findings above LOW" in done.stdout
    assert "TLS 1.2, TLS 1.3" in done.stdout
