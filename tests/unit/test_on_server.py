"""The scripts of verbs that show a host's output or open a terminal."""

from __future__ import annotations

import subprocess

import pytest

from slipway.cli.logs import log_script
from slipway.cli.on_server import mongosh_script, run_script

UNIT = """\
[Unit]
Description=shop backend
Requires=shop-backend.socket
[Service]
Type=exec
User=shop-backend
Environment=A=b "C=d e"
LoadCredential=MONGO_URL:/etc/shop/credentials/MONGO_URL
ReadWritePaths=-/var/www/shop/shared
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
ExecStartPre=/bin/true
ExecStart=/usr/bin/python3
Restart=always
RestartSec=2
TimeoutStartSec=90
OOMScoreAdjust=500
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture
def settings(settings_with):
    return settings_with(site_name="shop", site_domain="shop.example")


def test_a_command_gets_the_lines_of_the_unit_that_make_its_environment_and_sandbox(settings, tmp_path):
    (tmp_path / "unit").write_text(UNIT)
    (tmp_path / "systemd-run").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    (tmp_path / "systemd-run").chmod(0o755)
    script = run_script(settings, ("python", "-c", "print('it; $HOME')"))
    script = script.replace("/etc/systemd/system/shop-backend.service", str(tmp_path / "unit"))
    command = ["dash", "-c", f"PATH={tmp_path}:$PATH; {script}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("--quiet", "--collect", "--wait", "--pipe"),
        "--property=Environment=PATH=/var/www/shop/current/backend/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "--property=User=shop-backend",
        '--property=Environment=A=b "C=d e"',
        "--property=LoadCredential=MONGO_URL:/etc/shop/credentials/MONGO_URL",
        "--property=ReadWritePaths=-/var/www/shop/shared",
        "--property=SystemCallFilter=@system-service",
        "--property=SystemCallFilter=~@privileged @resources",
        *("/usr/lib/slipway/with-credentials", "python", "-c", "print('it; $HOME')"),
    ]


def test_without_a_release_a_command_says_what_comes_first(settings):
    done = subprocess.run(["sh", "-c", run_script(settings, ("true",))], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "`slipway apply` comes first" in done.stderr


@pytest.mark.parametrize(
    ("service", "follows", "since", "script"),
    [
        ("backend", False, "", "exec journalctl --no-pager --quiet --output=short-iso --unit=shop-backend --lines=9"),
        ("cron", True, "-1h", "exec journalctl --no-pager --quiet --output=short-iso --unit=cron --since=-1h --follow"),
        ("nginx", True, "", "exec tail -q -n 9 -F /var/log/nginx/access.log /var/log/nginx/error.log"),
    ],
)
def test_a_log_is_the_journal_s_or_a_file_of_the_program_s_own(settings, service, follows, since, script):
    assert log_script(settings, service, follows, since, 9) == script


def test_mongodb_s_shell_reads_the_password_itself(settings):
    script = mongosh_script(settings, "print(1)")
    assert script.startswith("exec mongosh --quiet --nodb --eval ")
    assert "/etc/shop/credentials/MONGODB_ADMIN_PASSWORD" in script
    assert script.endswith("print(1)'")
