"""Programs on a server that use the previous site beside Nginx: workers in its folders, callers of its port."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from slipway.adoption import backend
from slipway.facts.earlier import Earlier
from support.obstacles import SERVICE, told

ROOT = "/var/www/codementee"


def test_a_worker_in_the_sites_folder_is_named_once(settings_with):
    text = "supervisor.service celery\nsupervisor.service python3\n- node\nqueue.service it\nqueue.service rq"
    found = [*backend.programs({f"programs {ROOT}": text}, settings_with())]
    assert told(found) == ["supervisor.service", "node", "queue.service"]
    assert found[0].found.startswith("celery, python3 running in a folder of /var/www/codementee")
    assert found[2].found.startswith("rq running")
    assert [*backend.programs({}, settings_with())] == []


@pytest.mark.parametrize(
    ("text", "is_open", "is_named"),
    [
        # An ordinary server: its port is for Nginx alone, also where it listens on all addresses.
        ("8001 at 127.0.0.1:8001", None, False),
        ("8001 at 0.0.0.0:8001", None, False),
        # No server block leads to it.
        ("8002 at 0.0.0.0:8002", None, True),
        ("8002 at *:8002", {8002}, True),
        ("8002 at 0.0.0.0:8002", {80, 443}, False),
        ("8002 at 127.0.0.1:8002", None, False),
        ("8001 at 0.0.0.0:8001\n8001 from 203.0.113.7", {8001}, True),
        ("8001 at 127.0.0.1:8001\n8001 by next.service", None, True),
    ],
)
def test_a_port_of_the_previous_backend_that_others_use_is_named(settings_with, text, is_open, is_named):
    found = backend.callers({f"callers {ROOT}": text}, settings_with(), is_open, {8001})
    assert told(found) == ([f"port {text[:4]} of {SERVICE}"] if is_named else [])


def test_a_port_that_stays_is_no_obstacle_for_programs_of_the_server(settings_with):
    text = "8001 at 127.0.0.1:8001\n8001 by next.service\n8001 by /etc/cron.d/warm"
    (found,) = backend.callers({f"callers {ROOT}": text}, settings_with(), None, {8001})
    assert "next.service, /etc/cron.d/warm using it" in found.found
    assert found.need.startswith('backend_listen = "127.0.0.1:8001", or')
    kept = settings_with(backend_listen="127.0.0.1:8001")
    assert [*backend.callers({f"callers {ROOT}": text}, kept, None, {8001})] == []


def run(tmp_path: Path, **programs: str) -> dict[str, list[str]]:
    """The sections of a server in a folder: its /proc, /etc and /var, and what its programs print."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in programs.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), (ROOT,), 27017)
    functions = command[command.index("s() {") : command.index("s listeners;")]
    script = functions + command[command.index("own() {") : command.index("s passwords;")]
    for folder in ("/proc", "/etc", "/var"):
        for before in (" ", '"', "(", "<", "|"):
            script = script.replace(f"{before}{folder}/", f"{before}{tmp_path}{folder}/")
    script = script.replace("s,.*pid=([0-9]+).*,/proc/", f"s,.*pid=([0-9]+).*,{tmp_path}/proc/")
    # A process is the last but one part of its path.
    script = script.replace("cut -d/ -f3", "sed -E 's,.*/proc/([0-9]+).*,\\1,'")
    env = {"PATH": f"{bin_}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    found = Earlier().process(done.stdout.replace(str(tmp_path), "").splitlines())
    return {name: text.splitlines() for name, text in found.items()}


def process(tmp_path: Path, pid: int, name: str, unit: str = "", cwd: str = "/", line: str = "", env: str = "") -> None:
    place = tmp_path / f"proc/{pid}"
    (place / "ns").mkdir(parents=True)
    (place / "comm").write_text(f"{name}\n")
    (place / "cmdline").write_bytes(line.replace(" ", "\0").encode())
    (place / "environ").write_bytes(env.encode() + b"\0")
    (place / "cgroup").write_text(f"0::/system.slice/{unit}\n" if unit else "0::/user.slice/session-1.scope\n")
    (place / "cwd").symlink_to(f"{tmp_path}{cwd}" if cwd != "/" else cwd)
    (place / "exe").symlink_to("/usr/bin/python3")
    (place / "ns/pid").symlink_to("pid:[1]")


@pytest.fixture
def server(tmp_path):
    for folder in ("backend/venv/bin", "frontend"):
        (tmp_path / f"var/www/codementee/{folder}").mkdir(parents=True)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/cron.d").mkdir()
    process(tmp_path, 1, "systemd")
    process(tmp_path, 7, "uvicorn", SERVICE, f"{ROOT}/backend", "uvicorn server:app --port 8001")
    return tmp_path


def test_programs_in_the_sites_folders_are_found_by_their_folder_their_command_and_their_unit(server):
    process(server, 20, "celery", "supervisor.service", f"{ROOT}/backend", "celery worker")
    process(server, 21, "node", "", f"{ROOT}/frontend", "node server.js")
    process(server, 22, "rq", "queue.service", "/", f"{server}{ROOT}/backend/venv/bin/rq worker")
    # A person's shell, another site, and Slipway's own.
    process(server, 23, "bash", "", f"{ROOT}/backend", "bash")
    process(server, 24, "gunicorn", "blog.service", "/var/www/codementee-blog/backend", "gunicorn blog:app")
    process(server, 25, "python3", "codementee-mailer.service", f"{ROOT}/backend", "python3 mailer.py")
    units = server / "etc/systemd/system"
    (units / "codementee-mailer.service").write_text("# by Slipway\n")
    (units / "report.service").write_text(f"[Service]\nWorkingDirectory={server}{ROOT}/backend\n")
    (units / "old.service").write_text(f"[Service]\nWorkingDirectory={server}{ROOT}/backend\n")
    (units / "near.service").write_text(f"[Service]\nWorkingDirectory={server}{ROOT}/backend-of-blog\n")
    (server / "var/run").mkdir()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(server / "var/run/docker.sock"))
    docker = f"echo 'docker.service jobs: /srv/x {server}{ROOT}/backend/data'; echo 'docker.service db: /srv/db'"
    found = run(server, systemctl='case "$*" in *old.service*) exit 1 ;; esac', docker=docker)
    listening.close()
    named = ["- node", "docker.service jobs", "queue.service rq", "report.service it", "supervisor.service celery"]
    assert found[f"programs {ROOT}"] == named


def test_a_site_that_has_moved_to_releases_has_no_programs_of_others(server):
    for part in ("backend", "frontend"):
        (server / f"var/www/codementee/{part}").rename(server / part)
        (server / f"var/www/codementee/{part}").symlink_to(f"current/{part}")
    process(server, 20, "celery", "supervisor.service", f"{ROOT}/backend", "celery worker")
    assert run(server)[f"programs {ROOT}"] == []


def test_callers_of_the_previous_backends_port_are_found(server):
    process(server, 30, "node", "next.service", "/srv/next", "node next")
    process(server, 31, "nginx", "nginx.service")
    process(server, 32, "prometheus", "prometheus.service")
    process(server, 33, "python3", "bot.service", env="API=http://127.0.0.1:8001/api")
    process(server, 34, "python3", "other.service", env="API=http://127.0.0.1:80011/api")
    (server / "srv/next").mkdir(parents=True)
    (server / "srv/next/.env.local").write_text("# http://localhost:80\nAPI=http://localhost:8001\n")
    process(server, 35, "bash", "", "/home/dev")
    (server / "home/dev").mkdir(parents=True)
    (server / "home/dev/.env").write_text("API=http://localhost:8001\n")
    (server / "etc/cron.d/warm").write_text("#* * * * * root curl localhost:9\n* * * * * root curl localhost:8001/x\n")
    ss = """case "$*" in
*-Hltnp*) echo 'LISTEN 0 9 127.0.0.1:8001 0.0.0.0:* users:(("uvicorn",pid=7,fd=3))' ;;
*sport*8001) printf '0 0 127.0.0.1:8001 127.0.0.1:5\\n0 0 10.0.0.5:8001 203.0.113.7:5\\n' ;;
*dport*8001) printf '0 0 127.0.0.1:5 127.0.0.1:8001 users:(("x",pid=%s,fd=3))\\n' 31 32
  echo '0 0 10.0.0.5:5 10.0.0.9:8001 users:(("node",pid=30,fd=3))' ;;
esac"""
    found = run(server, ss=ss, ip="echo 2: eth0 inet 10.0.0.5/24", systemctl=f"echo {server}{ROOT}/backend")
    assert found[f"callers {ROOT}"] == [
        "8001 at 127.0.0.1:8001",
        "8001 from 203.0.113.7",
        "8001 by /etc/cron.d/warm",
        "8001 by /srv/next/.env.local",
        "8001 by bot.service",
        "8001 by prometheus.service",
    ]
