"""Unchanged projects: an API without a frontend, an application that is strict with its clients."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from pathlib import Path

import pytest
import requests

from slipway.settings.hashed_names import has_hash
from support.lab_host import LabHost
from support.projects import copied, site, sites
from support.releases import WEBSOCKETS, Visits, echoed, websocket

KEEPS = {"shared_paths": ["uploads"], "shared_files": ["notes.db"], "shared_urls": {"/files/": "uploads"}}


def test_an_api_without_a_frontend_keeps_its_files_and_a_strict_application_accepts_the_checks(
    server: LabHost, visits: Visits, tmp_path: Path
) -> None:
    api, strict = copied("root-api", tmp_path), copied("strict-app", tmp_path)
    notes = site(server, "notes", api, backend_health_path="", **KEEPS)
    domain = f"strict.{server.site().domain}"
    shop = site(server, "strict", strict, backend_workers=1, backend_environment={"DOMAIN": domain})
    settings = sites(notes, shop)
    server.apply(*settings)

    api_site = server.site(notes["site_domain"])
    assert api_site.get("/").json() == {"version": "1", "home": "/var/cache/notes-backend"}
    assert api_site.get("/nowhere").json() == {"detail": "Not Found"}
    assert api_site.get("/cache").json() == "kept"
    docs, chat = api_site.get("/docs"), api_site.get("/chat")
    assert "https://cdn.jsdelivr.net" in docs.headers["Content-Security-Policy"]
    assert "script-src" not in chat.headers["Content-Security-Policy"]
    assert chat.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert api_site.get("/openapi.json").json()["info"]["title"] == "Notes"
    began = time.monotonic()
    stream = api_site.get("/events", stream=True).iter_lines()
    assert next(stream) == b"data: 0"
    assert time.monotonic() - began < 2, "it came only when all of it was there"

    assert api_site._request("PUT", f"https://{api_site.domain}/upload/a.txt", data=b"a visitor's").json() == {
        "bytes": 11
    }
    assert api_site.post("/notes/first").json() == ["first"]
    (api / "uploads").mkdir()
    (api / "uploads/a.txt").write_text("a developer's")
    (api / "main.py").write_text((api / "main.py").read_text().replace('VERSION = "1"', 'VERSION = "2"'))
    released = server.release("--site", "notes", *settings)
    assert "uploads: not shipped, as " in released.stdout
    assert api_site.get("/").json()["version"] == "2"
    done = server.slipway("rollback", "lab", "--yes", "--site", "notes", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    file = api_site.get("/files/a.txt")
    assert file.text == "a visitor's"
    assert file.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert api_site.get("/notes").json() == ["first"]
    writable = "find /var/www/notes -name venvs -prune -o -not -type l -writable -print"
    assert server.ssh(f"runuser -u notes-backend -- {writable} | sort").splitlines() == [
        *("/var/www/notes/shared-files", "/var/www/notes/shared-files/notes.db", "/var/www/notes/shared/uploads"),
        "/var/www/notes/shared/uploads/a.txt",
    ]

    # It answers five requests a minute per client, over https and under its own name.
    server.release("--site", "strict", *settings)
    answer = server.site(domain).get("/api/health").json()
    assert answer["scheme"] == "https"
    assert answer["client"] not in ("", "127.0.0.1")
    assert server.site(domain).get_plain("/").status_code == 301
    assert server.plan(*settings) == []
    verified = server.slipway("verify", "lab", *settings)
    assert verified.returncode == 0, verified.stdout
    visits.nothing()


@pytest.mark.thorough
def test_websockets_of_an_api_without_a_frontend_outlast_a_switch(server: LabHost, tmp_path: Path) -> None:
    api = copied("root-api", tmp_path)
    with (api / "requirements.txt").open("a") as file:
        file.write(WEBSOCKETS)
    chat = site(server, "chat", api, backend_health_path="", **KEEPS)
    server.apply(*sites(chat))
    connection = websocket(server.site(chat["site_domain"]), "/ws")
    release = server.start("release", "lab", "--yes", "--site", "chat", *sites(chat))
    release.wait_for_operation("Activate the release")
    assert echoed(connection, "after the switch") == "after the switch"
    connection.close()
    assert release.end()[0] == 0
    server.apply()


@pytest.mark.thorough
def test_a_frontend_is_built_and_its_pages_run_unchanged(server: LabHost, tmp_path: Path) -> None:
    """Files with a space in their path and with Windows line endings; a script in the page."""
    shop = copied("vite-like", tmp_path)
    page = shop / "front end/index.html"
    settings = site(
        server,
        "shop",
        shop / "back end",
        shop / "front end",
        backend_paths=["/backend/ -> /"],
        backend_health_path="/health",
    )
    server.apply(*sites(settings))
    assert server.plan(*sites(settings)) == []
    visitor = server.site(settings["site_domain"])
    first = visitor.get("/")
    assert allowed(first) == {script_of(first)}
    (script,) = re.findall(r'src="(/assets/[^"]+)"', first.text)
    assert ("immutable" in visitor.get(script).headers["Cache-Control"]) == has_hash(script)
    assert visitor.get("/backend/health").json() == {"version": "1"}
    assert visitor.get("/backend").status_code == 404
    docs = visitor.get("/backend/docs")
    assert "/backend/openapi.json" in docs.text
    assert visitor.get("/backend/openapi.json").status_code == 200
    # Another route of the single page.
    deep = visitor.get("/cart/7")
    assert deep.text == first.text
    assert allowed(deep) == allowed(first)

    # The next release's script is allowed before its page is served, and the previous one's still is.
    page.write_bytes(page.read_bytes().replace(b'"dark"', b'"light"'))
    server.release("--site", "shop", "--only", "frontend", *sites(settings))
    second = visitor.get("/")
    assert script_of(second) != script_of(first)
    assert allowed(second) == {script_of(first), script_of(second)}
    assert server.slipway("rollback", "lab", "--yes", "--site", "shop", *sites(settings)).returncode == 0
    assert script_of(visitor.get("/")) == script_of(first)
    assert server.plan(*sites(settings)) == []

    # A page that the policy would block, and files in another folder than Nginx serves: neither is released.
    for changes, told in (
        ({"nginx_csp": "default-src 'none'"}, "index.html would be blank: nginx_csp blocks /assets/"),
        ({"frontend_assets": "/static/"}, "the pages load files from /assets/"),
        ({"frontend_node": ">=99"}, "frontend_node: found Node.js"),
    ):
        wrong = sites({**settings, **changes})
        done = server.slipway("release", "lab", "--yes", "--site", "shop", "--only", "frontend", *wrong)
        assert done.returncode == 1
        assert told in done.stderr
        assert visitor.get("/").text == first.text
    page.write_text(
        page.read_text().replace("<title>", '<link rel="stylesheet" href="https://fonts.example/f.css"><title>')
    )
    said = server.release("--site", "shop", "--only", "frontend", *sites(settings)).stdout
    assert "nginx_csp blocks what the pages load: https://fonts.example (style-src)" in said
    server.apply()


# About 120 MiB of JavaScript's heap.
NEEDED = "const needed = Array.from({ length: 3e6 }, (_, number) => ({ number }));\n"


@pytest.mark.thorough
def test_a_build_without_the_memory_that_it_needs_is_told_what_allows_it(server: LabHost, tmp_path: Path) -> None:
    shop = copied("vite-like", tmp_path)
    front = shop / "front end"
    # As on a machine with little memory, where nothing else is set.
    package = (front / "package.json").read_text()
    limited = package.replace("node build", "NODE_OPTIONS=${NODE_OPTIONS:---max-old-space-size=64} node build")
    (front / "package.json").write_text(limited)
    paths = {"backend_paths": ["/backend/ -> /"], "backend_health_path": "/health"}
    settings = site(server, "shop", shop / "back end", front, frontend_build_on="server", **paths)
    server.apply(*sites(settings))
    visitor = server.site(settings["site_domain"])
    first = visitor.get("/").text
    for file, old, new in (("build.mjs", "const script", f"{NEEDED}const script"), ("index.html", "page 1", "page 2")):
        (front / file).write_text((front / file).read_text().replace(old, new))
    for place in ("local", "server"):
        options = sites({**settings, "frontend_build_on": place})
        done = server.slipway("release", "lab", "--yes", "--site", "shop", "--only", "frontend", *options)
        assert done.returncode == 1
        assert "it ran out of memory: allow more, as in frontend_build = " in done.stderr, place
        assert "Traceback" not in done.stderr
        assert visitor.get("/").text == first
    (advice,) = re.findall(r'frontend_build = (".*") \(in MiB\), or build on the other machine', done.stderr)
    told = sites({**settings, "frontend_build": json.loads(advice)})
    server.release("--site", "shop", "--only", "frontend", *told)
    assert "page 2" in visitor.get("/").text
    server.apply()


def allowed(answer: requests.Response) -> set[str]:
    """The script hashes that an answer's policy allows."""
    return {*re.findall(r"'sha256-[^']+'", answer.headers["Content-Security-Policy"])}


def script_of(answer: requests.Response) -> str:
    """The hash of the script in a page, with LF line endings as a browser computes it."""
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = hashlib.sha256(script.replace("\r\n", "\n").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@pytest.mark.thorough
def test_programs_with_their_own_http_server_are_released_as_the_backend_is(server: LabHost, tmp_path: Path) -> None:
    api = copied("root-api", tmp_path)
    services = [
        {"name": "port", "command": "python web.py", "listen": 3000, "path": "/port/ -> /", "health_path": "/"},
        {"name": "fd", "command": "python web.py fd", "listen": "fd", "path": "/fd/", "health_path": ""},
    ]
    notes = site(
        server, "notes", api, backend_health_path="", backend_environment={"FLAVOUR": "sweet"}, services=services
    )
    server.apply(*sites(notes))
    assert server.plan(*sites(notes)) == []
    visitor = server.site(notes["site_domain"])
    assert visitor.get("/port/x").text == "1 /x https sweet"
    assert visitor.get("/fd/x").text == "1 /fd/x https sweet"
    (api / "web.py").write_text((api / "web.py").read_text().replace('VERSION = "1"', 'VERSION = "2"'))
    answers: list[str] = []
    release = server.start("release", "lab", "--yes", "--site", "notes", *sites(notes))
    while release.process.poll() is None:
        answers += [visitor.get(path).text.partition(" ")[0] for path in ("/port/x", "/fd/x")]
    assert release.end()[0] == 0
    assert {*answers} == {"1", "2"}
    assert len(answers) > 50
    assert visitor.get("/port/x").text == "2 /x https sweet"
    listening = server.ssh("ss -Hltn | awk '{print $4}'").split()
    assert "127.0.0.1:3000" in listening
    assert "127.0.0.1:3001" not in listening
    # If the new one can't start, the previous one stays.
    (api / "web.py").write_text("raise SystemExit('no web today')\n")
    done = server.slipway("release", "lab", "--yes", "--site", "notes", *sites(notes))
    assert done.returncode == 1
    assert "no web today" in done.stderr
    assert visitor.get("/port/x").text == "2 /x https sweet"
    assert server.plan(*sites(notes)) == []
    server.apply()
