"""Releases, and the ways back: visitors notice none of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab.visitors import Habit, Site, all_visit, habits
from support.lab_host import PROJECT, LabHost
from support.odd_names import ODD_NAMES

EXAMPLE = PROJECT / "examples/codementee"
ROOT = "/var/www/codementee"
# Until somebody loses patience with a release that can't become healthy.
IMPATIENT = ("--data", "backend_health_seconds=8")
# Where it must have started to be wrong: on a busy machine that takes longer.
PATIENT = ("--data", "backend_health_seconds=25")
# What an earlier release has built is there still: to build it again takes longer than the rest of a release.
BUILT = ("--data", "frontend_build=[ -e build/index.html ]")


class Visits:
    """Visitors at a site, from now until they are asked what they have noticed."""

    def __init__(self, site: Any, *backend: str) -> None:
        where = [site.address, str(443 + site.port_offset), site.domain, site.authorities, "600", *backend]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab.visitors", *where], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        )

    def noticed(self) -> dict[str, dict[str, Any]]:
        self.process.send_signal(signal.SIGINT)
        output, _ = self.process.communicate(timeout=30)
        return json.loads(output)

    def nothing(self, at_least: int = 100) -> None:
        """They have noticed nothing: each request was answered as it should be."""
        noticed = self.noticed()
        for habit, its in noticed.items():
            assert its["failed"] == {}, (habit, its)
            assert its["requests"] >= at_least, "too few to notice anything"


@pytest.fixture
def visits(server: LabHost) -> Iterator[Visits]:
    visits = Visits(server.site())
    time.sleep(1)
    yield visits
    visits.process.kill()


def current(server: LabHost) -> str:
    return server.ssh(f"basename $(readlink {ROOT}/current)")


def is_settled(server: LabHost) -> bool:
    """Whether one backend runs, the current release, and Nginx is led to it."""
    found = server.ssh(
        "systemctl is-active codementee-backend.service codementee-backend-next.service codementee-backend-next.socket;"
        f" readlink /run/codementee-backend.sock; [ ! -e {ROOT}/next ] && echo gone;"
        " realpath /proc/$(systemctl show --property=MainPID --value codementee-backend)/cwd",
        check=False,
    )
    wanted = ["active", "inactive", "inactive", "/run/codementee-backend/backend.sock", "gone"]
    wanted.append(f"{ROOT}/releases/{current(server)}/backend")
    print("found:", found, "wanted:", wanted, sep="\n")
    return found.split() == wanted


def backend(folder: Path, edit: Callable[[str], str] = lambda text: text, requirements: str = "") -> tuple[str, str]:
    """Options of a release of the example's backend, with its server.py edited and more requirements."""
    shutil.copytree(EXAMPLE / "backend", folder / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    server = folder / "backend/server.py"
    server.write_text(edit(server.read_text()))
    with (folder / "backend/requirements.txt").open("a") as file:
        file.write(requirements)
    return "--data", f"backend_source={folder / 'backend'}"


def frontend(folder: Path) -> tuple[str, ...]:
    """Options of a release of a copy of the example's frontend, whose packages are installed but once."""
    shutil.copytree(EXAMPLE / "frontend", folder / "frontend", ignore=shutil.ignore_patterns("build", "node_modules"))
    build = "[ -e node_modules ] || npm ci; npm run build"
    return "--data", f"frontend_source={folder / 'frontend'}", "--data", f"frontend_build={build}"


def test_releases_rollbacks_and_reloads_fail_not_one_request(server, visits):
    first = current(server)
    done = server.slipway("release", "lab", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    second = current(server)
    assert second != first
    assert server.ssh(f"readlink {ROOT}/previous") == f"releases/{first}"
    assert is_settled(server)

    done = server.slipway("rollback", "lab", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert current(server) == first
    assert is_settled(server)
    done = server.slipway("rollback", "lab", second, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert current(server) == second
    visits.nothing()

    assert server.plan() == []
    shown = server.slipway("releases", "lab").stdout
    (now,) = [line for line in shown.splitlines() if " current " in line]
    assert second in now
    assert "@" in now
    log = [json.loads(line) for line in server.ssh("tail -n 3 /var/log/slipway.log").splitlines()]
    assert [line["verb"] for line in log] == ["release", "rollback", "rollback"]


def test_reloads_of_nginx_lose_no_request_on_a_kept_connection(server, visits):
    """Each would lose about one, of twelve visitors who ask fifty times a second."""
    for _ in range(6):
        server.ssh("systemctl reload nginx")
        time.sleep(1)
    visits.nothing()
    assert server.ssh("[ ! -e /run/nginx-closing ] && echo gone") == "gone"
    server.ssh("touch /run/nginx-closing")
    site = server.site()
    for path, status in (("/", 200), ("/api/health", 200), ("/static/never-there.js", 404)):
        answer = site.get(path)
        assert (answer.status_code, answer.headers["Connection"]) == (status, "close")
    server.ssh("rm /run/nginx-closing")
    assert site.get("/").headers["Connection"] == "keep-alive"


def test_to_go_back_to_what_is_not_there_is_told_with_what_is(server):
    now = current(server)
    done = server.slipway("rollback", "lab", "20200101000000-abc", "--yes")
    assert done.returncode == 1
    assert "found '20200101000000-abc', expected one of: " in done.stderr
    assert "nothing was changed" in done.stderr
    assert server.slipway("rollback", "lab", now, "--yes").returncode == 1
    assert current(server) == now


# What is wrong with a release, how it is made so, and what the error tells.
BROKEN = {
    "a syntax error": (lambda text: f"{text}\ndef (:\n", (), "SyntaxError"),
    "a dependency that is missing": (lambda text: f"import not_there\n{text}", (), "No module named 'not_there'"),
    "no such module": (None, ("--data", "backend_app=not_there:app"), "not_there"),
    "a crash at its start": (
        lambda text: text.replace(
            "    app.state.database =", "    raise OSError('on purpose')\n    app.state.database ="
        ),
        (),
        "on purpose",
    ),
    "a health check that fails": (
        lambda text: text.replace('return JSONResponse({"status": "ok"})', "raise HTTPException(500, 'unwell')"),
        PATIENT,
        'answered: {"detail":"unwell"} 500',
    ),
    "a health check that hangs": (
        lambda text: text.replace('return JSONResponse({"status": "ok"})', "await asyncio.sleep(999)"),
        (),
        "answered: ",
    ),
    "an answer of another kind": (
        None,
        ("--data", 'backend_health_body="status":"fine"', *PATIENT),
        '{"status":"ok"} 200',
    ),
    "a migration that fails": (None, ("--data", "release_before=echo 'no such table' >&2; exit 3"), "no such table"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_release_never_reaches_a_visitor(server, visits, tmp_path, what):
    edit, settings, told = BROKEN[what]
    now = current(server)
    source = backend(tmp_path, edit) if edit else ()
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *source, *IMPATIENT, *settings)
    assert done.returncode == 1, done.stdout
    assert told in done.stderr
    assert not re.search("^Traceback", done.stderr, re.MULTILINE), "a user's error is no traceback of ours"
    assert f"releases/{now} serves as before" in done.stderr
    assert current(server) == now
    assert is_settled(server)
    visits.nothing(20)
    assert server.ssh(f"ls {ROOT}/releases").split()[-1] == now
    # The steps of a release stay as this one had them; the rest of its settings an apply takes back.
    if settings:
        server.apply(*IMPATIENT)
    assert server.plan(*IMPATIENT) == []


def test_a_release_that_finds_the_disk_full_is_told_and_nothing_is_left_of_it(server, visits, tmp_path):
    now = current(server)
    server.ssh(f"mount -t tmpfs -o size=4m tmpfs {ROOT}/venvs")
    try:
        source = (*backend(tmp_path, requirements="# another environment\n"), *BUILT)
        done = server.slipway("release", "lab", "--yes", *source)
    finally:
        server.ssh(f"umount {ROOT}/venvs")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    visits.nothing(20)
    assert current(server) == now
    assert is_settled(server)
    again = server.slipway("release", "lab", "--yes", *source)
    assert again.returncode == 0, again.stderr
    assert server.ssh(f"ls {ROOT}/releases | grep -c new", check=False) == "0"


# An operation of a release; it is ended when that one has begun.
STEPS = [
    "Build a release and ship it",
    "Run release_before",
    "Start it beside the one that serves, and ask for its health",
    "Switch to it",
    "Let the backend take over from it",
    "Run release_after",
    "Remove old releases",
]
# They run still when the release is ended.
HOOKS = ("--data", "release_before=sleep 2", "--data", "release_after=sleep 2")


@pytest.mark.parametrize("step", STEPS)
def test_a_release_that_is_cut_off_leaves_visitors_served_and_the_next_run_settles_it(server, visits, step):
    command = [sys.executable, "-m", "slipway", "release", "lab", "--yes", *BUILT, *HOOKS]
    before = STEPS[max(STEPS.index(step) - 1, 0)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    release = subprocess.Popen(command, cwd=PROJECT, env=server.env, text=True, **pipes)
    assert release.stdout
    for line in release.stdout:
        if (line[0] in "✓=" and before in line) or (step == STEPS[0] and "The next release goes to" in line):
            break
    else:
        raise AssertionError(f"it never came to {before}")
    time.sleep(0.5)
    release.kill()
    release.wait()
    # What has begun on the host may go on to its end. An apply settles it, and so does the next release.
    if STEPS.index(step) % 2:
        server.apply()
    else:
        done = server.slipway("release", "lab", "--yes", *BUILT)
        assert done.returncode == 0, done.stderr
    assert is_settled(server)
    assert server.plan() == []
    visits.nothing()
    assert server.ssh(f"ls {ROOT}/releases | grep -c new", check=False) == "0"


def test_a_second_release_at_once_is_told_who_is_at_it(server):
    command = [sys.executable, "-m", "slipway", "release", "lab", "--yes", *BUILT]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, cwd=PROJECT, env=server.env, text=True, **pipes)
    assert first.stdout
    assert any("Build a release" in line for line in first.stdout)
    second = server.slipway("release", "lab", "--yes")
    assert second.returncode == 1
    assert "locked by" in second.stderr
    assert "(slipway release lab)" in second.stderr
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    assert is_settled(server)


def test_one_part_is_released_and_the_other_stays_and_what_is_there_is_not_sent_again(server):
    sums = f"cd {ROOT}/current && find {{}} -type f ! -name '*.pyc' -exec sha256sum {{{{}}}} + | sort -k 2"
    before = server.ssh(sums.format("backend"))
    done = server.slipway("release", "lab", "--yes", "--only", "frontend")
    assert done.returncode == 0, done.stderr
    assert server.ssh(sums.format("backend")) == before
    # The same build: each file of it is the one that was there before, under one more name.
    links = server.ssh(f"find {ROOT}/current/frontend/build -type f -links 1")
    assert links == ""


def test_a_page_that_was_opened_some_releases_ago_still_finds_its_files(server, tmp_path):
    first = current(server)
    script = server.ssh(f"ls {ROOT}/current/frontend/build/static/ | grep '[.]js$'")
    settings = frontend(tmp_path)
    source = tmp_path / "frontend/src/main.jsx"
    for number in range(2):
        source.write_text(f"{source.read_text()}\nwindow.release = {number};\n")
        done = server.slipway("release", "lab", "--yes", "--only", "frontend", *settings)
        assert done.returncode == 0, done.stderr
    now = server.ssh(f"ls {ROOT}/current/frontend/build/static/ | grep '[.]js$'")
    assert now != script
    site = server.site()
    old = site.get(f"/static/{script}")
    assert old.status_code == 200
    assert "immutable" in old.headers["Cache-Control"]
    # A page of the release that is gone back from.
    assert server.slipway("rollback", "lab", "--yes").returncode == 0
    assert site.get(f"/static/{now}").status_code == 200
    assert site.get("/static/never-there.js").status_code == 404
    assert server.slipway("rollback", "lab", first, "--yes").returncode == 0


def test_files_are_served_as_they_were_compressed_at_release(server):
    script = server.ssh(f"ls {ROOT}/current/frontend/build/static/ | grep '[.]js$'")
    site, tags = server.site(), set()
    for coding, suffix in (("br", ".br"), ("gzip", ".gz"), ("identity", "")):
        answer = site.get(f"/static/{script}", headers={"Accept-Encoding": coding}, stream=True)
        size = server.ssh(f"stat -c %s {ROOT}/current/frontend/build/static/{script}{suffix}")
        assert answer.headers["Content-Length"] == size
        assert answer.headers.get("Content-Encoding", "identity") == coding
        assert "Accept-Encoding" in answer.headers["Vary"]
        tags.add(answer.headers["ETag"])
        again = site.get(
            f"/static/{script}", headers={"Accept-Encoding": coding, "If-None-Match": answer.headers["ETag"]}
        )
        assert again.status_code == 304
    assert len(tags) == 3


# A backend that has files of such names too, and a module.
READING = """

import gr\u00f6\u00dfe
from pathlib import Path


@app.get("/api/words")
async def words() -> dict[str, str]:
    return {"words": Path(__file__).with_name("W\u00f6rter & S\u00e4tze.txt").read_text(), "size": gr\u00f6\u00dfe.SIZE}
"""


def test_files_are_released_and_served_whatever_they_are_called(server, tmp_path):
    build = tmp_path / "frontend/build"
    files = {}
    for folder in ("static", "\u00fcber uns", "\u65e5\u672c \u8a9e"):
        (build / folder).mkdir(parents=True)
        for name in ODD_NAMES:
            files[f"{folder}/{name}"] = f"{folder}/{name!a}\n".encode() * 200
            (build / folder / name).write_bytes(files[f"{folder}/{name}"])
    (build / "index.html").write_text("<!doctype html>")
    source = backend(tmp_path, lambda text: text + READING)
    (tmp_path / "backend/W\u00f6rter & S\u00e4tze.txt").write_text("gr\u00fcn")
    (tmp_path / "backend/gr\u00f6\u00dfe.py").write_text("SIZE = 'gro\u00df'\n")
    settings = (*source, "--data", f"frontend_source={build.parent}", "--data", "frontend_build=true")
    site = server.site()
    # The second one finds them all on the server.
    for _ in range(2):
        done = server.slipway("release", "lab", "--yes", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        for name, content in files.items():
            for coding in ("br", "gzip", "identity"):
                found = site.get(f"/{quote(os.fsencode(name))}", headers={"Accept-Encoding": coding})
                assert found.content == content, name
                is_compressed = name.endswith(".js") and coding != "identity"
                assert found.headers.get("Content-Encoding", "identity") == (coding if is_compressed else "identity")
        assert site.get("/api/words").json() == {"words": "gr\u00fcn", "size": "gro\u00df"}
    # Those of a page that was opened before.
    assert server.slipway("release", "lab", "--yes", *BUILT).returncode == 0
    for name, content in files.items():
        if name.startswith("static/"):
            assert site.get(f"/{quote(os.fsencode(name))}").content == content, name


def test_a_frontend_is_built_on_the_server_where_that_is_set(server):
    settings = ("--data", "frontend_build_on=server")
    # The same page as built here; its compressed files, by other programs, need not be the same to the byte.
    there = (
        f"cd {ROOT}/current/frontend/build && find . -type f ! -name '*.gz' ! -name '*.br' -exec sha256sum {{}} +"
        " | sort -k 2; find . -name '*.gz' -o -name '*.br' | sort"
    )
    here = server.ssh(there)
    try:
        server.apply(*settings)
        done = server.slipway("release", "lab", "--yes", "--only", "frontend", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.ssh(there) == here
        broken = ("--data", "frontend_build=echo on $(hostname); exit 4")
        now = current(server)
        done = server.slipway("release", "lab", "--yes", "--only", "frontend", *settings, *broken)
        assert done.returncode == 1
        assert f"on {server.ssh('hostname')}" in done.stderr
        assert current(server) == now
    finally:
        server.ssh("apt-get purge -y -q nodejs npm brotli; apt-get autoremove -y -q")
        server.slipway("release", "lab", "--yes", *BUILT)
    assert server.plan() == []


def test_maintenance_is_told_to_all_visitors_at_once_and_ends_at_once(server):
    site = server.site()
    done = server.slipway("maintenance", "on", "lab")
    assert done.returncode == 0, done.stderr
    for path, accept, kind in (("/", "text/html", "text/html"), ("/api/health", "*/*", "application/json")):
        answer = site.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (503, kind)
        assert answer.headers["Retry-After"]
        assert answer.headers["Content-Security-Policy"]
    assert site.session.post(f"https://{site.domain}/api/auth/login", json={}, timeout=10).status_code == 503
    # It is no drift, and certificates are renewed.
    assert server.plan() == []
    assert server.slipway("maintenance", "off", "lab").returncode == 0
    assert site.get("/").status_code == 200
    assert site.get("/api/health").status_code == 200


# Lets a visitor watch a count, by a stream and by a WebSocket.
COUNTING = """

from fastapi import WebSocket
from fastapi.responses import StreamingResponse


@app.get("/api/count")
async def count() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(60):
            yield f"{number}\\n"
            await asyncio.sleep(0.2)
    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/api/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())
"""
WEBSOCKETS = "websockets==17.4 --hash=sha256:cebad8f4796248b91fc2168515e507e5cb6b663a32befd09f3b1e7920acdcb1a\n"


def test_streams_and_websockets_pass_through_and_outlast_a_switch(server, tmp_path):
    settings = backend(tmp_path, lambda text: text + COUNTING, WEBSOCKETS)
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *settings)
    assert done.returncode == 0, done.stderr
    site = server.site()
    began = time.monotonic()
    stream = site.get("/api/count", stream=True)
    lines = stream.iter_lines()
    assert next(lines) == b"0"
    assert time.monotonic() - began < 3, "it came only when all of it was there"
    connection = websocket(site, "/api/echo")
    assert echoed(connection, "before") == "before"

    release = subprocess.Popen(
        [sys.executable, "-m", "slipway", "release", "lab", "--yes", "--only", "backend"],
        cwd=PROJECT,
        env=server.env,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert release.stdout
    assert any("Switch to it" in line for line in release.stdout)
    assert echoed(connection, "after the switch") == "after the switch"
    assert list(lines)[-1] == b"59"
    connection.close()
    release.communicate(timeout=300)
    assert release.returncode == 0
    assert is_settled(server)


def websocket(site: Any, path: str) -> ssl.SSLSocket:
    """An open WebSocket, RFC 6455 section 1.3."""
    context = ssl.create_default_context(cafile=site.authorities)
    plain = socket.create_connection((site.address, 443 + site.port_offset), timeout=10)
    connection = context.wrap_socket(plain, server_hostname=site.domain)
    request = [f"GET {path} HTTP/1.1", f"Host: {site.domain}", "Upgrade: websocket", "Connection: Upgrade"]
    request += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
    connection.sendall("\r\n".join(request).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return connection


def echoed(connection: ssl.SSLSocket, text: str) -> str:
    """What comes back for a text frame; a client's are masked, RFC 6455 section 5.2."""
    payload = text.encode()
    connection.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
    head = connection.recv(2)
    return connection.recv(head[1]).decode()


def test_visitors_would_notice(server):
    """What the others rely on."""
    server.ssh(
        "(sleep 1; systemctl stop codementee-backend.socket codementee-backend; sleep 1;"
        " systemctl start codementee-backend.socket codementee-backend) > /dev/null 2>&1 &"
    )
    site = server.site()
    where = Site(site.address, 443 + site.port_offset, site.domain, site.authorities)
    noticed = asyncio.run(all_visit(where, habits(), 5))
    assert noticed["GET /, kept"].failed == {}
    assert noticed["GET /api/health, kept"].failed
    assert isinstance(habits()[0], Habit)
