"""The verbs for work on a server: logs, a command in the live release, a shell, the database's shell."""

from __future__ import annotations

import signal
import subprocess
import sys

from support.checkout import PROJECT
from support.lab_host import LabHost
from support.waiting import wait_until

PROGRAM = """
import os, pathlib, sys
print(os.getcwd() == str(pathlib.Path("/var/www/codementee/current/backend").resolve()))
print(os.environ["MONGO_URL"].startswith("mongodb://"), os.getuid() != 0)
try:
    pathlib.Path("/etc/written").touch()
except OSError as error:
    print(type(error).__name__)
sys.exit(7)
"""


def test_a_command_runs_once_with_the_live_release_s_environment_and_sandbox(server: LabHost) -> None:
    done = server.slipway("run", "--env", "lab", "--", "python", "-c", PROGRAM)
    assert (done.returncode, done.stdout.split()) == (7, ["True", "True", "True", "OSError"]), done.stderr
    assert server.ssh("systemctl list-units --plain --no-legend 'run-*.service'") == ""
    # As it is typed, for the shell in the sandbox.
    script = 'its=1; echo "${its} $its $1"'
    done = server.slipway("run", "--env", "lab", "--", "sh", "-c", script, "sh", "$HOME")
    assert done.stdout.split() == ["1", "1", "$HOME"], done.stderr
    fed = subprocess.run(
        [sys.executable, "-m", "slipway", "run", "--env", "lab", "--", "wc", "-c"],
        cwd=PROJECT,
        env=server.env,
        input="12345",
        capture_output=True,
        text=True,
        check=False,
    )
    assert fed.stdout.strip() == "5", fed.stderr


def test_logs_shows_and_follows_a_service(server: LabHost) -> None:
    server.site().get("/api/health")
    assert "GET /api/health" in server.slipway("logs", "lab", "--lines", "20").stdout
    following = server.start("logs", "lab", "--service", "nginx", "--follow")
    server.site().get("/api/health?seen=1")
    following.wait_for_text("seen=1")
    following.process.send_signal(signal.SIGINT)
    following.end()
    wait_until("nothing goes on there", lambda: "tail -q" not in server.ssh("ps -eo args | grep -v grep"))
    done = server.slipway("logs", "lab", "--service", "nginx", "--since", "-1h")
    assert (done.returncode, done.stderr) == (
        1,
        "slipway: --since: nginx writes files of its own; use --lines\n",
    )


def test_the_mongodb_shell_runs_as_the_administrator_and_shows_no_password(server: LabHost) -> None:
    done = server.slipway(
        "mongosh", "lab", "--eval", "print(db.getName(), db.adminCommand({ getParameter: 1, quiet: 1 }).ok)"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "codementee 1"), done.stderr
    running = server.start("mongosh", "lab", "--eval", "sleep(3000); print('slept')")
    password = server.ssh("cat /etc/codementee/credentials/MONGODB_ADMIN_PASSWORD")
    wait_until("it runs", lambda: "sleep(3000)" in server.ssh("ps -eo args"))
    assert password not in server.ssh("ps -eo args")
    assert running.end()[0] == 0
