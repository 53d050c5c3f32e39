"""Several services of a site behind one gateway, and several sites on a host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from test_release import IMPATIENT, Visits, current, is_settled

from slipway.site import Site
from support.lab_host import PROJECT, LabHost, mongosh

EXAMPLE = PROJECT / "examples/codementee"
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
# /api/auth/ is the backend's own, which people log in by.
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
    """The example's backend with four more programs in it."""
    folder = tmp_path / "backend"
    shutil.copytree(EXAMPLE / "backend", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, prefix in {**PATHS, "partners": "/"}.items():
        (folder / f"{name}.py").write_text(PROGRAM.format(name=name, prefix=prefix))
    return folder


def set_to(code: Path, services: list[dict[str, object]]) -> tuple[str, ...]:
    return "--data", f"backend_source={code}", "--data", f"services={json.dumps(services)}"


def at(server: LabHost, name: str) -> Site:
    site = server.site()
    return Site(name, site.address, site.authorities, site.port_offset)


@pytest.fixture
def as_before(server: LabHost) -> Iterator[None]:
    yield
    server.apply()
    assert server.ssh("ls /etc/systemd/system | grep -c -E 'auth|mailer|report|blog'", check=False) == "0"
    assert server.ssh("ls /var/lib/slipway/kept") == ""
    assert server.plan() == []


def test_four_services_a_worker_and_a_timer_run_behind_one_gateway(server, code, as_before):
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
    assert at(server, partners).get("/health").json()["service"] == "partners"
    assert at(server, partners).get_plain("/").headers["Location"] == f"https://{partners}/"
    # The worker runs on, in its own /tmp; the timer's program runs when it is asked to.
    assert server.ssh("systemctl is-active codementee-mailer.service codementee-report.timer").split() == ["active"] * 2
    server.ssh("systemctl start codementee-report.service")
    assert server.ssh("journalctl -u codementee-report -o cat | grep -c '^42$'") == "1"

    visits = Visits(site, f"{PATHS['auth']}health")
    before = server.ssh("systemctl show --property=MainPID --value codementee-mailer")
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.ssh("systemctl show --property=MainPID --value codementee-mailer") != before

    # One of four does not come up: none changes.
    now = current(server)
    (code / "booking.py").write_text("raise SystemExit('no booking today')\n")
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert done.returncode == 1
    assert "no booking today" in done.stderr
    assert current(server) == now
    visits.nothing(20)
    verified = server.slipway("verify", "lab", *settings)
    assert verified.returncode == 0, verified.stdout

    # Those that are set no longer go.
    less = set_to(code, services[:1])
    assert "Remove services that are set no longer" in server.operations(*less)
    server.apply(*less)
    assert server.plan(*less) == []
    assert site.get(f"{PATHS['auth']}health").json()["service"] == "auth"
    assert site.get("/api/booking/health").status_code == 404
    assert server.ssh("systemctl list-units --all 'codementee-mailer*' --no-legend") == ""


def test_a_worker_that_ends_at_once_brings_the_release_before_back(server, code, as_before):
    works = set_to(code, [WORKS])
    assert server.slipway("release", "lab", "--yes", "--only", "backend", *works).returncode == 0
    server.apply(*works)
    now = current(server)
    visits = Visits(server.site())
    ends = {"name": "mailer", "command": "echo nobody to write to; exit 3"}
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *set_to(code, [ends]))
    assert done.returncode == 1
    assert "nobody to write to" in done.stderr
    assert "codementee-mailer.service: it ended" in done.stderr
    visits.nothing(20)
    assert current(server) == now
    assert is_settled(server)
    # What described it came back with the release.
    assert server.ssh("systemctl show --property=SubState --value codementee-mailer") == "running"
    assert server.ssh("ls /var/lib/slipway/kept") == ""

    # Of one that is new nothing was there before: visitors have the release before all the same.
    done = server.slipway(
        "release", "lab", "--yes", "--only", "backend", *set_to(code, [WORKS, {**ends, "name": "report"}])
    )
    assert done.returncode == 1
    assert "codementee-report.service: it ended" in done.stderr
    visits.nothing(20)
    assert current(server) == now
    assert is_settled(server)
    assert server.ssh("systemctl show --property=SubState --value codementee-mailer") == "running"


def test_a_second_site_lives_beside_the_first(server, tmp_path, as_before):
    domain = f"blog.{server.site().domain}"
    server.resolve(domain)
    shutil.copytree(EXAMPLE, tmp_path / "blog", ignore=shutil.ignore_patterns("__pycache__", "node_modules", "build"))
    page = tmp_path / "blog/frontend/public/second.txt"
    page.parent.mkdir(exist_ok=True)
    page.write_text("the second site\n")
    blog = {
        "site_name": "blog",
        "site_domain": domain,
        "backend_source": str(tmp_path / "blog/backend"),
        "frontend_source": str(tmp_path / "blog/frontend"),
        "nginx_csp": "default-src 'self'",
    }
    settings = ("--data", f"sites={json.dumps([blog])}")
    first = current(server)
    visits = Visits(server.site())
    # Its first release does not come up: that is told, mended, released, and it goes on from there.
    wrong = ("--data", f"sites={json.dumps([{**blog, 'backend_app': 'not_there:app'}])}")
    stopped = server.slipway("apply", "lab", "--yes", *wrong, *IMPATIENT)
    assert stopped.returncode == 1
    assert "not_there" in stopped.stderr
    done = server.slipway("release", "lab", "--yes", "--site", "blog", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    server.apply(*settings)
    assert server.plan(*settings) == []

    site, other = server.site(), at(server, domain)
    assert other.get("/second.txt").text == "the second site\n"
    assert "the second site" not in site.get("/second.txt").text
    assert other.get("/").headers["Content-Security-Policy"] == "default-src 'self'"
    assert site.get("/").headers["Content-Security-Policy"] != "default-src 'self'"
    assert other.get("/api/health").json() == {"status": "ok"}
    users = server.ssh(mongosh("print(db.getSiblingDB('admin').getUsers().users.map((user) => user.user).join(' '))"))
    assert {"admin", "backend", "blog"} <= {*users.split()}
    verified = server.slipway("verify", "lab", *settings)
    assert verified.returncode == 0, verified.stdout
    assert "blog" in server.slipway("status", "lab", *settings).stdout

    done = server.slipway("release", "lab", "--yes", "--site", "blog", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    done = server.slipway("rollback", "lab", "--yes", "--site", "blog", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(server.slipway("releases", "lab", "--site", "blog", *settings).stdout.splitlines()) >= 3
    assert current(server) == first
    assert server.slipway("maintenance", "on", "lab", "--site", "blog", *settings).returncode == 0
    assert (site.get("/").status_code, other.get("/").status_code) == (200, 503)
    assert server.slipway("maintenance", "off", "lab", "--site", "blog", *settings).returncode == 0
    visits.nothing()

    # Taken out again, it is not served, and what is its own stays.
    server.apply()
    with pytest.raises(requests.ConnectionError):
        other.get("/")
    assert server.ssh("ls -d /var/www/blog/current /etc/letsencrypt/live/blog | wc -l") == "2"
    server.ssh("rm -rf /var/www/blog /etc/blog; certbot delete -n --cert-name blog")


def test_mistakes_in_services_are_told_together(server):
    services = [answering("auth"), {**answering("booking"), "path": PATHS["auth"]}, {"name": "x", "comand": "y"}]
    done = server.slipway("plan", "lab", "--data", f"services={json.dumps(services)}")
    assert done.returncode == 1
    assert "services[2]['comand']: there is no such key" in done.stderr
    services[2] = {**answering("payments"), "path": "/api/(a|b)/"}
    done = server.slipway("plan", "lab", "--data", f"services={json.dumps(services)}")
    assert "without patterns" in done.stderr
    done = server.slipway("plan", "lab", "--data", f"services={json.dumps(services[:2])}")
    assert "found /api/tokens/ for auth and for booking" in done.stderr
    assert "no host was touched" in done.stderr
