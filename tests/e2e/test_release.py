"""Releases and rollbacks, which visitors do not notice."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from slipway.lab.visitors import Habit, Site, all_visit, habits
from slipway.settings.hashed_names import has_hash
from support.lab_host import BUILT, LabHost
from support.odd_names import ODD_NAMES
from support.releases import COUNTING, ROOT, WEBSOCKETS, Visits, backend, echoed, frontend, is_settled, websocket


def test_releases_rollbacks_and_reloads_fail_no_request(server: LabHost, visits: Visits) -> None:
    first = server.current_release()
    server.release(*BUILT)
    second = server.current_release()
    assert second != first
    assert server.ssh(f"readlink {ROOT}/previous") == f"releases/{first}"
    assert is_settled(server)

    done = server.slipway("rollback", "lab", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.current_release() == first
    assert is_settled(server)
    done = server.slipway("rollback", "lab", second, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.current_release() == second
    visits.nothing()

    assert server.plan() == []
    shown = server.slipway("releases", "lab").stdout
    (now,) = [line for line in shown.splitlines() if " current " in line]
    assert second in now
    assert "@" in now
    log = [json.loads(line) for line in server.ssh("tail -n 3 /var/log/slipway.log").splitlines()]
    assert [line["verb"] for line in log] == ["release", "rollback", "rollback"]


@pytest.mark.thorough
def test_reloads_of_nginx_lose_no_request_on_a_kept_connection(server: LabHost) -> None:
    """Otherwise each reload would lose about one, with twelve visitors at fifty requests a second."""
    visits = Visits(server.site(), calm=1)
    time.sleep(1)
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


@pytest.mark.thorough
def test_one_part_is_released_and_the_other_stays_and_what_is_there_is_not_sent_again(server: LabHost) -> None:
    sums = f"cd {ROOT}/current && find {{}} -type f ! -name '*.pyc' -exec sha256sum {{{{}}}} + | sort -k 2"
    before = server.ssh(sums.format("backend"))
    server.release("--only", "frontend")
    assert server.ssh(sums.format("backend")) == before
    # The same build: each of its files is a hard link to the previous release's.
    links = server.ssh(f"find {ROOT}/current/frontend/build -type f -links 1")
    assert links == ""


@pytest.mark.thorough
def test_a_page_opened_some_releases_ago_still_finds_its_files(server: LabHost, tmp_path: Path) -> None:
    first = server.current_release()
    script = server.ssh(f"ls {ROOT}/current/frontend/build/static/ | grep '[.]js$'")
    settings = frontend(tmp_path)
    source = tmp_path / "frontend/src/main.jsx"
    for number in range(2):
        source.write_text(f"{source.read_text()}\nwindow.release = {number};\n")
        server.release("--only", "frontend", *settings)
    now = server.ssh(f"ls {ROOT}/current/frontend/build/static/ | grep '[.]js$'")
    assert now != script
    site = server.site()
    old = site.get(f"/static/{script}")
    assert old.status_code == 200
    assert ("immutable" in old.headers["Cache-Control"]) == has_hash(script)
    # A page of the release that was rolled back.
    assert server.slipway("rollback", "lab", "--yes").returncode == 0
    assert site.get(f"/static/{now}").status_code == 200
    assert site.get("/static/never-there.js").status_code == 404
    assert server.slipway("rollback", "lab", first, "--yes").returncode == 0


@pytest.mark.thorough
def test_pages_with_many_inline_scripts_and_files_outside_of_the_assets_follow_one_another(
    server: LabHost, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    settings = ("--only", "frontend", "--data", f"frontend_source={tmp_path}", "--data", "frontend_assets=/js/", *BUILT)

    def page(name: str, scripts: int) -> None:
        shutil.rmtree(build, ignore_errors=True)
        (build / "js").mkdir(parents=True)
        (build / f"js/{name}.js").write_text("1")
        inline = "".join(f"<script>window.its = '{name} {number}'</script>" for number in range(scripts))
        (build / "index.html").write_text(
            f"<!doctype html><title>{name}</title>{inline}<script src=/js/{name}.js></script>"
        )

    for name in ("a", "b", "c"):
        page(name, 40)
        server.release(*settings)
    site = server.site()
    assert site.get("/").headers["Content-Security-Policy"].count("'sha256-") >= 120
    server.ssh("nginx -t && systemctl restart nginx")
    # The previous release's file; one of before is gone, as this site has its assets elsewhere.
    answers = {path: site.get(path) for path in ("/js/c.js", "/js/b.js", "/js/a.js", "/js/never.js", "/some/page.1")}
    assert [answer.status_code for answer in answers.values()] == [200, 200, 404, 404, 200]
    assert "javascript" in answers["/js/b.js"].headers["Content-Type"]
    assert all(answer.headers["X-Content-Type-Options"] == "nosniff" for answer in answers.values())

    live = server.current_release()
    page("d", 600)
    done = server.slipway("release", "lab", "--yes", *settings)
    assert done.returncode == 1
    assert "inline scripts and event handlers in the pages of the kept releases, expected at most 512" in done.stderr
    assert server.current_release() == live
    assert server.ssh("nginx -t 2>&1 | grep -c successful") == "1"
    server.release(*BUILT)


def test_files_are_served_as_they_were_compressed_at_release(server: LabHost) -> None:
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


# A backend with files of such names, and a module.
READING = """

import gr\u00f6\u00dfe
from pathlib import Path


@app.get("/api/words")
async def words() -> dict[str, str]:
    return {"words": Path(__file__).with_name("W\u00f6rter & S\u00e4tze.txt").read_text(), "size": gr\u00f6\u00dfe.SIZE}
"""


@pytest.mark.thorough
def test_files_are_released_and_served_whatever_they_are_called(server: LabHost, tmp_path: Path) -> None:
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
        server.release(*settings)
        for name, content in files.items():
            for coding in ("br", "gzip", "identity"):
                found = site.get(f"/{quote(os.fsencode(name))}", headers={"Accept-Encoding": coding})
                assert found.content == content, name
                is_compressed = name.endswith(".js") and coding != "identity"
                assert found.headers.get("Content-Encoding", "identity") == (coding if is_compressed else "identity")
        assert site.get("/api/words").json() == {"words": "gr\u00fcn", "size": "gro\u00df"}
    # The files of a page opened before.
    assert server.slipway("release", "lab", "--yes", *BUILT).returncode == 0
    for name, content in files.items():
        if name.startswith("static/"):
            assert site.get(f"/{quote(os.fsencode(name))}").content == content, name


@pytest.mark.thorough
def test_a_frontend_is_built_on_the_server_where_that_is_set(server: LabHost) -> None:
    settings = ("--data", "frontend_build_on=server")
    # The same page as built here; its compressed files come from other programs and may differ.
    there = (
        f"cd {ROOT}/current/frontend/build && find . -type f ! -name '*.gz' ! -name '*.br' -exec sha256sum {{}} +"
        " | sort -k 2; find . -name '*.gz' -o -name '*.br' | sort"
    )
    here = server.ssh(there)
    try:
        server.apply(*settings)
        server.release("--only", "frontend", *settings)
        assert server.ssh(there) == here
        broken = ("--data", "frontend_build=echo on $(hostname); exit 4")
        now = server.current_release()
        done = server.slipway("release", "lab", "--yes", "--only", "frontend", *settings, *broken)
        assert done.returncode == 1
        assert f"on {server.ssh('hostname')}" in done.stderr
        assert server.current_release() == now
    finally:
        server.ssh("apt-get purge -y -q nodejs npm brotli; apt-get autoremove -y -q")
        server.release(*BUILT)
    assert server.plan() == []


def test_maintenance_starts_and_ends_at_once_for_all_visitors(server: LabHost) -> None:
    site = server.site()
    done = server.slipway("maintenance", "on", "lab")
    assert done.returncode == 0, done.stderr
    for path, accept, kind in (("/", "text/html", "text/html"), ("/api/health", "*/*", "application/json")):
        answer = site.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (503, kind)
        assert answer.headers["Retry-After"]
        assert answer.headers["Content-Security-Policy"]
    assert site.session.post(f"https://{site.domain}/api/auth/login", json={}, timeout=10).status_code == 503
    # Maintenance is not a drift, and certificates are still renewed.
    assert server.plan() == []
    assert server.slipway("maintenance", "off", "lab").returncode == 0
    assert site.get("/").status_code == 200
    assert site.get("/api/health").status_code == 200


@pytest.mark.thorough
def test_streams_and_websockets_work_and_outlast_a_switch(server: LabHost, tmp_path: Path) -> None:
    settings = backend(tmp_path, lambda text: text + COUNTING, WEBSOCKETS)
    server.release("--only", "backend", *settings)
    site = server.site()
    began = time.monotonic()
    stream = site.get("/api/count", stream=True)
    lines = stream.iter_lines()
    assert next(lines) == b"0"
    assert time.monotonic() - began < 3, "it came only when all of it was there"
    connection = websocket(site, "/api/echo")
    assert echoed(connection, "before") == "before"

    release = server.start("release", "lab", "--yes", "--only", "backend")
    release.wait_for_operation("Activate the release")
    assert echoed(connection, "after the switch") == "after the switch"
    assert list(lines)[-1] == b"59"
    connection.close()
    assert release.end()[0] == 0
    assert is_settled(server)


def test_visitors_would_notice(server: LabHost) -> None:
    """The other tests rely on this."""
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
