"""Builds of a release on this machine."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time

import gevent
import pytest

from slipway.releases import artifact


def test_a_release_has_the_backend_without_what_is_hidden_and_big_files_compressed(settings_with, tmp_path):
    backend, frontend = tmp_path / "backend", tmp_path / "frontend"
    (backend / "tests").mkdir(parents=True)
    for name in ("server.py", "requirements.txt", ".env", "tests/test_it.py"):
        (backend / name).write_text(name)
    frontend.mkdir()
    settings = settings_with(
        backend_source=str(backend),
        frontend_source=str(frontend),
        frontend_build="mkdir -p build && echo page > build/index.html && head -c 5000 /dev/zero > build/app.js",
    )
    release = artifact.build(settings, ("backend", "frontend"), {})
    with tarfile.open(release.archive) as archive:
        names = archive.getnames()
    assert sorted(names) == [
        ".release.json",
        "backend/requirements.txt",
        "backend/server.py",
        "backend/tests/test_it.py",
        "frontend/build/app.js",
        "frontend/build/app.js.br",
        "frontend/build/app.js.gz",
        "frontend/build/index.html",
    ]


def test_hosts_side_by_side_share_one_build_that_was_begun_before(settings_with, tmp_path):
    settings = settings_with(
        frontend_source=str(tmp_path),
        frontend_build="echo built >> log && sleep 0.3 && mkdir build && echo page > build/index.html",
    )
    builds: artifact.Builds = {}
    artifact.begin(settings, builds)
    hosts = [gevent.spawn(artifact.build, settings, ("frontend",), builds) for _ in range(3)]
    releases = {host.get() for host in hosts}
    assert (tmp_path / "log").read_text() == "built\n"
    assert len({release.id for release in releases}) == 1


def test_a_run_that_builds_in_the_same_folder_waits_and_does_not_change_what_the_first_one_ships(
    settings_with, tmp_path
):
    slow = "rm -rf build; mkdir build; sleep 0.3; echo {0} > build/index.html; echo {0} > build/{0}.txt"
    both = [
        settings_with(frontend_source=str(tmp_path), frontend_build=slow.format(name)) for name in ("first", "second")
    ]
    building = [artifact.begin(settings, {}) for settings in both]
    for name, folder in zip(("first", "second"), building, strict=True):
        files = {path.name: path.read_text() for path in folder.result(timeout=10).iterdir()}
        assert files == {"index.html": f"{name}\n", f"{name}.txt": f"{name}\n"}


ENDS_EARLY = """
import sys
from pathlib import Path
from types import SimpleNamespace
from slipway.releases import artifact

source = Path(sys.argv[1])
settings = SimpleNamespace(frontend_build="touch begun; sleep 1; touch ended", frontend_output="build")
with artifact._alone_in(source) as held:
    artifact._built(settings, source, held)
"""


def test_a_build_that_a_killed_run_has_left_behind_ends_before_the_next_begins(settings_with, tmp_path):
    running = subprocess.Popen([sys.executable, "-c", ENDS_EARLY, str(tmp_path)])
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    next_one = "[ -e ended ] && mkdir build && echo page > build/index.html"
    settings = settings_with(frontend_source=str(tmp_path), frontend_build=next_one)
    assert (artifact.begin(settings, {}).result(timeout=10) / "index.html").read_text() == "page\n"


def test_a_build_that_fails_is_reported_with_the_end_of_its_output(settings_with, tmp_path):
    settings = settings_with(frontend_source=str(tmp_path), frontend_build="echo no such module; exit 3")
    with pytest.raises(Exception, match=r"frontend_build failed \(exit code 3\)[\s\S]*no such module"):
        artifact.build(settings, ("frontend",), {})
