"""What plan, apply and status report of a real host."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest

from slipway.ui.plan_report import PlanReport
from support import browser
from support.lab_host import PENDING, PROJECT

DRIFT = (
    "sed -i 's/keepalive_timeout 65s/keepalive_timeout 5s/' /etc/nginx/nginx.conf; chgrp nogroup /etc/nginx/nginx.conf"
)


@pytest.fixture
def drifted(server):
    """The server with a drift of Nginx's; corrected at the end."""
    server.ssh(DRIFT)
    yield server
    server.apply("--only", "nginx")
    assert server.plan("--only", "nginx") == []


def test_a_plan_is_reported_to_programs_and_as_a_page_and_a_restart_says_what_it_follows(drifted, tmp_path):
    files = tmp_path / "plan.json", tmp_path / "plan.html"
    done = drifted.slipway("plan", "lab", "--only", "nginx,ssh", "--json", str(files[0]), "--html", str(files[1]))
    assert done.returncode == PENDING, done.stderr
    report = PlanReport.model_validate_json(files[0].read_text())
    (host,) = report.hosts
    (nginx,) = host.components
    changes = {change.operation: change for change in nginx.changes}
    assert changes["Configure Nginx"].reasons == ["/etc/nginx/nginx.conf: group nogroup -> root"]
    assert "-    keepalive_timeout 5s;\n+    keepalive_timeout 65s;" in changes["Configure Nginx"].diffs[0]
    assert changes["Reload Nginx"].reasons == ["follows: Configure Nginx"]
    assert (host.name, nginx.name, report.status) == (drifted.name, "nginx", "pending")
    for said in ("    ~ Configure Nginx", "      +    keepalive_timeout 65s;", "    ↻ Reload Nginx"):
        assert said in done.stdout.splitlines()
    assert "\x1b" not in done.stdout + done.stderr
    if not browser.PATH:
        pytest.skip("no headless browser is here; python -m slipway.lab.packages installs one")
    with browser.browser(tmp_path / "profile") as page:
        page.open(files[1], 360)
        assert "+    keepalive_timeout 65s;" in page.run("document.body.innerText")
        assert (page.errors(), page.requests()) == ([], [files[1].as_uri()])


def on_terminal(host, columns: int, *arguments: str) -> str:
    """What a command shows on a terminal of this width."""
    screen, terminal = pty.openpty()
    shell = 'stty cols "$0" rows 40; exec "$@"'
    command = ["sh", "-c", shell, str(columns), sys.executable, "-m", "slipway", *arguments]
    with subprocess.Popen(
        command, cwd=PROJECT, env={**host.env, "TERM": "xterm"}, stdin=terminal, stdout=terminal, stderr=terminal
    ) as running:
        shown = b""
        # Our own end of the terminal stays open: gevent closes what it is told to close some time later.
        while select.select([screen], [], [], 0.2)[0] or running.poll() is None:
            if select.select([screen], [], [], 0)[0]:
                shown += os.read(screen, 4096)
    os.close(terminal)
    os.close(screen)
    assert running.returncode in (0, PENDING), shown
    return shown.decode()


@pytest.mark.thorough
def test_a_narrow_terminal_shows_a_plan_within_its_width_and_in_colours_if_asked(drifted):
    shown = on_terminal(drifted, 40, "plan", "lab", "--only", "nginx")
    # A spinner's line is erased or overwritten.
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\x1b\[(2K|\d*A)", "\r", shown))
    lines = [line.rsplit("\r", 1)[-1] for line in plain.replace("\r\n", "\n").splitlines()]
    assert [line for line in lines if len(line) > 40] == []
    assert "    ~ Configure Nginx" in lines
    assert "\x1b[32m+    keepalive_timeout 65s;" in shown
    assert "\x1b[32m" not in on_terminal(drifted, 40, "plan", "lab", "--only", "nginx", "--no-color")


@pytest.mark.thorough
def test_an_apply_that_fails_shows_the_operation_its_output_and_the_hosts_state(server):
    server.ssh("echo 'nonsense on;' > /etc/nginx/conf.d/broken.conf")
    done = server.slipway("apply", "lab", "--yes", "--only", "ssh,nginx", "--data", "nginx_max_body_mb=11")
    server.ssh("rm /etc/nginx/conf.d/broken.conf")
    assert done.returncode == 1
    assert f"✗ {server.name}: Configure Nginx" in done.stdout
    assert f"slipway: {server.name} failed at: Configure Nginx\n  | " in done.stderr
    assert 'unknown directive "nonsense"' in done.stderr
    state = re.search(r"(\d+) of (\d+) operations completed \(0 changed something\).* (\d+) were not", done.stderr)
    assert state, done.stderr
    before, every, after = map(int, state.groups())
    assert every == before + 1 + after
    assert before > 0
    assert after > 0
    assert "run it again" in done.stderr
    assert server.plan() == []


# The lab's inventory with one more host, at a closed port.
WITH_ONE_DOWN = """
web.append(("down", {**web[0][1], "ssh_hostname": "127.0.0.1", "ssh_port": 1, "sshd_port": 1}))
"""
WITH_INVENTORY = """
import sys
from slipway import project
from slipway.cli import main
project.INVENTORIES["lab"], *sys.argv = sys.argv[1], "slipway", *sys.argv[2:]
main.main()
"""


def test_a_host_that_is_down_does_not_hide_the_plan_of_another(drifted, tmp_path):
    inventory, plan = tmp_path / "inventory.py", tmp_path / "plan.json"
    inventory.write_text((PROJECT / "lab/inventory.py").read_text() + WITH_ONE_DOWN)
    arguments = ["plan", "lab", "--only", "nginx", "--json", str(plan)]
    done = subprocess.run(
        [sys.executable, "-c", WITH_INVENTORY, str(inventory), *arguments],
        cwd=PROJECT,
        env=drifted.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "    ~ Configure Nginx" in done.stdout.splitlines()
    assert "Could not connect" in done.stderr
    assert "Traceback" not in done.stderr
    report = PlanReport.model_validate_json(plan.read_text())
    assert {host.name: host.status for host in report.hosts} == {drifted.name: "pending", "down": "failed"}
    assert report.status == "failed"


def test_status_shows_services_versions_certificate_release_and_the_last_apply(server):
    server.apply("--only", "nginx")
    done = server.slipway("status", "lab", "--json", "-")
    assert done.returncode == 0, done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    states = {service["unit"]: service["active"] for service in host["services"]}
    units = ("nginx.service", "mongod.service", "codementee-backend.service", "fail2ban.service")
    assert {unit: states[unit] for unit in units} == dict.fromkeys(units, "active")
    assert host["release"]["id"] == server.ssh("basename $(realpath /var/www/codementee/current)")
    assert host["certificate"]["days_left"] > 0
    assert not host["certificate"]["is_placeholder"]
    assert host["last_apply"]["result"] == "nothing to change"
    assert (host["versions"]["MongoDB"], host["versions"]["Nginx"]) == tuple(
        server.ssh("mongod --version | sed -n 's/db version v//p'; nginx -v 2>&1 | cut -d/ -f2").split()
    )
    shown = server.slipway("status", "lab").stdout
    assert "  last apply  " in shown
    assert "days left" in shown
