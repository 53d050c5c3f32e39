"""Several services of a site behind one gateway, and several sites on a host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests

from support.lab_host import LabHost, mongosh
from support.releases import EXAMPLE, IMPATIENT, Visits, is_settled

PROGRAM = """\
import os

from fastapi import FastAPI

app = FastAPI()


@app.get("{prefix}health")
def health() -> dict[str, str]:
    return {{"service": "{name}", "key": os.environ.get("KEY", ""), "secrets": secrets()}}


def secrets() -> str:
    folder = os.environ["CREDENTIALS_DIRECTORY"]
    return " ".join(sorted(os.listdir(folder)))
"""
# /api/auth/ stays the backend's own: users log in there.
PATHS = {
    "auth": "/api/tokens/",
    "booking": "/api/booking/",
    "payments": "/api/payments/",
    "notifications": "/api/notifications/",
}


def answering(name: str) -> dict[str, object]:
    return {"name": name, "app": f"{name}:app", "path": PATHS[name], "health_path": f"{PATHS[name]}health"}


WORKER = "while :; do date +%s%N > /tmp/alive; sleep 0.2; done"
WORKS = {"name": "mailer", "command": WORKER}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The example's backend with four more programs."""
    folder = tmp_path / "backend"
    shutil.copytree(EXAMPLE / "backend", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, prefix in {**PATHS, "partners": "/"}.items():
        (folder / f"{name}.py").write_text(PROGRAM.format(name=name, prefix=prefix))
    return folder


def set_to(code: Path, services: list[dict[str, object]]) -> tuple[str, ...]:
    return "--data", f"backend_source={code}", "--data", f"services={json.dumps(services)}"


@pytest.mark.thorough
def test_four_services_a_worker_and_a_timer_run_behind_one_gateway(server, code, owned_domain):
    partners = f"partners.{server.site().domain}"
    server.resolve(partners)
    services = [
        *({**answering(name), "environment": {"KEY": name.upper()}, "secrets": ["JWT_SECRET"]} for name in PATHS),
        {"name": "partners", "app": "partners:app", "host": partners, "health_path": "/health", "workers": 2},
        {"name": "mailer", "command": WORKER, "memory_max_mb": 128},
        {"name": "report", "command": "python -c 'import fastapi; print(1 + 41)'", "schedule": "*-*-* 03:00"},
    ]
    settings = set_to(code, services)
    released = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert released.returncode == 0, released.stdout + released.stderr
    server.apply(*settings)
    assert server.plan(*settings) == []

    site = server.site()
    for name, path in PATHS.items():
        found = site.get(f"{path}health").json()
        assert found == {"service": name, "key": name.upper(), "secrets": "JWT_SECRET"}
    assert site.get("/api/health").json() == {"status": "ok"}
    assert server.site(partners).get("/health").json()["service"] == "partners"
    assert server.site(partners).get_plain("/").headers["Location"] == f"https://{partners}/"
    # The worker keeps running, with its own /tmp; the timer's program runs on demand.
    assert server.ssh("systemctl is-active codementee-mailer.service codementee-report.timer").split() == ["active"] * 2
    server.ssh("systemctl start codementee-report.service")
    assert server.ssh("journalctl -u codementee-report -o cat | grep -c '^42$'") == "1"

    visits = Visits(site, f"{PATHS['auth']}health")
    before = server.ssh("systemctl show --property=MainPID --value codementee-mailer")
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.ssh("systemctl show --property=MainPID --value codementee-mailer") != before

    # One of four does not start: none changes.
    now = server.current_release()
    (code / "booking.py").write_text("raise SystemExit('no booking today')\n")
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert done.returncode == 1
    assert "no booking today" in done.stderr
    assert server.current_release() == now
    visits.nothing(10)
    verified = server.slipway("verify", "lab", *settings)
    assert verified.returncode == 0, verified.stdout

    # Services that are no longer in the settings are removed.
    less = set_to(code, services[:1])
    assert "Remove services that are no longer configured" in server.operations(*less)
    server.apply(*less)
    assert server.plan(*less) == []
    assert site.get(f"{PATHS['auth']}health").json()["service"] == "auth"
    assert site.get("/api/booking/health").status_code == 404
    assert server.ssh("systemctl list-units --all 'codementee-mailer*' --no-legend") == ""


@pytest.mark.thorough
def test_a_worker_that_exits_at_once_rolls_the_release_back(server, code):
    works = set_to(code, [WORKS])
    assert server.slipway("release", "lab", "--yes", "--only", "backend", *works).returncode == 0
    server.apply(*works)
    now = server.current_release()
    visits = Visits(server.site())
    ends = {"name": "mailer", "command": "echo nobody to write to; exit 3"}
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *set_to(code, [ends]))
    assert done.returncode == 1
    assert "nobody to write to" in done.stderr
    assert "codementee-mailer.service: exited unexpectedly" in done.stderr
    visits.nothing(10)
    assert server.current_release() == now
    assert is_settled(server)
    # Its unit came back with the release.
    assert server.ssh("systemctl show --property=SubState --value codementee-mailer") == "running"
    assert server.ssh("ls /var/lib/slipway/kept") == ""

    # A new worker has no previous version: visitors stay on the previous release all the same.
    done = server.slipway(
        "release", "lab", "--yes", "--only", "backend", *set_to(code, [WORKS, {**ends, "name": "report"}])
    )
    assert done.returncode == 1
    assert "codementee-report.service: exited unexpectedly" in done.stderr
    visits.nothing(10)
    assert server.current_release() == now
    assert is_settled(server)
    assert server.ssh("systemctl show --property=SubState --value codementee-mailer") == "running"


@pytest.mark.thorough
def test_a_plan_notes_that_a_renamed_site_takes_the_mongodb_user_of_the_one_that_serves(server: LabHost) -> None:
    renamed = ("--data", "site_name=renamed", "--data", f"site_domain={server.data['site_domain']}")
    done = server.slipway("plan", "lab", *renamed)
    assert "mongodb_backend_user: the running site 'codementee'" in done.stdout
    assert 'mongodb_backend_user = "renamed"' in done.stdout
    done = server.slipway("plan", "lab", *renamed, "--data", "mongodb_backend_user=renamed")
    assert "mongodb_backend_user" not in done.stdout


@pytest.fixture
def blog(server: LabHost, tmp_path: Path) -> dict[str, object]:
    """The settings of a second site: the example's backend, and a prebuilt page."""
    domain = f"blog.{server.site().domain}"
    server.resolve(domain)
    shutil.copytree(EXAMPLE / "backend", tmp_path / "blog", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pages/build").mkdir(parents=True)
    (tmp_path / "pages/build/index.html").write_text("<!doctype html>the second site\n")
    return {
        "site_name": "blog",
        "site_domain": domain,
        "backend_source": str(tmp_path / "blog"),
        "frontend_source": str(tmp_path / "pages"),
        "frontend_build": "true",
        "nginx_csp": "default-src 'self'",
    }


def sites(*them: dict[str, object]) -> tuple[str, ...]:
    return "--data", f"sites={json.dumps(them)}"


def test_a_second_site_is_served_beside_the_first(server: LabHost, blog: dict[str, object]) -> None:
    first, visits, settings = server.current_release(), Visits(server.site()), sites(blog)
    server.apply(*settings)
    assert server.plan(*settings) == []

    site, other = server.site(), server.site(str(blog["site_domain"]))
    assert "the second site" in other.get("/").text
    assert "the second site" not in site.get("/").text
    assert other.get("/").headers["Content-Security-Policy"] == "default-src 'self'"
    assert site.get("/").headers["Content-Security-Policy"] != "default-src 'self'"
    assert other.get("/api/health").json() == {"status": "ok"}
    users = server.ssh(mongosh("print(db.getSiblingDB('admin').getUsers().users.map((user) => user.user).join(' '))"))
    assert {"admin", "backend", "blog"} <= {*users.split()}
    assert "blog" in server.slipway("status", "lab", *settings).stdout

    server.release("--site", "blog", *settings)
    done = server.slipway("rollback", "lab", "--yes", "--site", "blog", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.slipway("releases", "lab", "--site", "blog", *settings).stdout.splitlines()) >= 3
    assert server.current_release() == first
    assert server.slipway("maintenance", "on", "lab", "--site", "blog", *settings).returncode == 0
    assert (site.get("/").status_code, other.get("/").status_code) == (200, 503)
    assert server.slipway("maintenance", "off", "lab", "--site", "blog", *settings).returncode == 0

    # Removed from the settings, it is not served, and its data stay.
    server.apply()
    visits.nothing()
    with pytest.raises(requests.ConnectionError):
        other.get("/")
    assert server.ssh("ls -d /var/www/blog/current /etc/letsencrypt/live/blog | wc -l") == "2"


@pytest.mark.thorough
def test_a_second_site_whose_first_release_fails_is_fixed_by_the_next(
    fresh_server: LabHost, blog: dict[str, object]
) -> None:
    server = fresh_server
    server.resolve(str(blog["site_domain"]))
    visits = Visits(server.site())
    stopped = server.slipway("apply", "lab", "--yes", *sites({**blog, "backend_app": "not_there:app"}), *IMPATIENT)
    assert stopped.returncode == 1
    assert "not_there" in stopped.stderr
    server.release("--site", "blog", *sites(blog))
    server.apply(*sites(blog))
    assert server.plan(*sites(blog)) == []
    verified = server.slipway("verify", "lab", *sites(blog))
    assert verified.returncode == 0, verified.stdout
    visits.nothing()
