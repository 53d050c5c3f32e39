"""Builds of a release on this machine."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time

import gevent
import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.releases import artifact, builds
from slipway.tasks import frontend_build


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
    begun: builds.Builds = {}
    builds.begin(settings, begun)
    hosts = [gevent.spawn(artifact.build, settings, ("frontend",), begun) for _ in range(3)]
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
    building = [builds.begin(settings, {}) for settings in both]
    for name, folder in zip(("first", "second"), building, strict=True):
        files = {path.name: path.read_text() for path in folder.result(timeout=10).iterdir()}
        assert files == {"index.html": f"{name}\n", f"{name}.txt": f"{name}\n"}


ENDS_EARLY = """
import sys
from pathlib import Path
from types import SimpleNamespace
from slipway.releases import builds

source = Path(sys.argv[1])
settings = SimpleNamespace(frontend_build="touch begun; sleep 1; touch ended", frontend_output="build")
with builds._alone_in(source) as held:
    builds._built(settings, source, held)
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
    assert (builds.begin(settings, {}).result(timeout=10) / "index.html").read_text() == "page\n"


def test_a_build_that_fails_is_reported_with_the_end_of_its_output(settings_with, tmp_path):
    settings = settings_with(frontend_source=str(tmp_path), frontend_build="echo no such module; exit 3")
    with pytest.raises(Exception, match=r"frontend_build failed \(exit code 3\)[\s\S]*no such module"):
        artifact.build(settings, ("frontend",), {})


@pytest.fixture
def with_program(settings_with, tmp_path):
    """Settings with a `backend_build`."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend/requirements.txt").write_text("fastapi\n")
    (tmp_path / "backend/main.py").write_text("source")
    (tmp_path / "program").mkdir()
    return lambda build: settings_with(backend_source=str(tmp_path / "backend"), backend_build=build)


def test_what_backend_build_writes_is_released_with_the_backend(with_program, tmp_path):
    (tmp_path / "program/run").write_text("#!/bin/sh\n")
    (tmp_path / "program/run").chmod(0o755)
    build = (
        "mkdir -p $OUTPUT/web/node_modules/.pnpm/a && touch $OUTPUT/web/node_modules/.pnpm/a/index.js"
        " && ln -s .pnpm/a $OUTPUT/web/node_modules/a && ln -s gone $OUTPUT/web/dangling"
        " && cp ../program/run $OUTPUT/run && echo TOKEN=x > $OUTPUT/web/.env && echo built > $OUTPUT/main.py"
    )
    begun: builds.Builds = {}
    releases = [artifact.build(with_program(build), ("backend",), begun) for _ in range(2)]
    with tarfile.open(releases[0].archive) as archive:
        members = {member.name: member for member in archive}
        text = archive.extractfile("backend/main.py").read()
    assert text == b"built\n"
    assert members["backend/run"].mode == 0o755
    assert members["backend/web/node_modules/.pnpm/a/index.js"].isfile()
    links = {name: member.linkname for name, member in members.items() if member.issym()}
    assert links == {"backend/web/node_modules/a": ".pnpm/a", "backend/web/dangling": "gone"}
    assert {*[*members][-2:]} == {*links}, "a file could be unpacked through a link"
    assert "backend/web/.env" not in members, "the developer's secrets"
    assert len(begun) == 1
    assert sorted(path.name for path in (tmp_path / "backend").iterdir()) == ["main.py", "requirements.txt"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        ("echo no such module; exit 3", r"backend_build failed \(exit code 3\)[\s\S]*no such module"),
        ("true", r"backend_build failed \(it wrote nothing to \$OUTPUT\)"),
        ("ln -s /etc/passwd $OUTPUT/file", "found the link file to /etc/passwd, expected links inside"),
        ("mkdir $OUTPUT/a && ln -s ../../b $OUTPUT/a/b", r"found the link a/b to \.\./\.\./b"),
        (
            ": npm ci; echo npm error code ERESOLVE; exit 1",
            r'allow it by backend_build = ": npm ci --legacy-peer-deps; echo',
        ),
        ("kill -9 $$", r"it ran out of memory: allow more, as in backend_build = .* \(in MiB\)$"),
    ],
)
def test_a_backend_build_that_can_not_be_released_is_reported(with_program, build, said):
    with pytest.raises(PyinfraError, match=said):
        artifact.build(with_program(build), ("backend",), {})


def test_a_release_of_the_frontend_alone_needs_no_backend_build(with_program, tmp_path):
    settings = with_program("exit 1")
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").write_text("page")
    alone = settings.model_copy(
        update={"frontend_source": str(tmp_path / "page"), "frontend_build": "true", "frontend_output": "."}
    )
    assert artifact.build(alone, ("frontend",), {}).id


@pytest.mark.parametrize(
    ("said", "code", "is_told"),
    [
        ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", 134, True),
        ("Killed", 137, True),
        ("no such module", 1, False),
    ],
)
def test_a_build_on_the_server_without_memory_is_told_what_allows_more(
    settings_with, tmp_path, monkeypatch, said, code, is_told
):
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\ncat > /dev/null; echo {said!r} >&2; exit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / artifact.SOURCE).mkdir(parents=True)
    steps = frontend_build.build_there(settings_with(frontend_build_on="server", frontend_build="npm run 'it'"))
    done = subprocess.run(
        ["sh", "-euc", f"new={tmp_path}; {'; '.join(steps)}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    told = (
        'it ran out of memory: allow more, as in frontend_build = "export NODE_OPTIONS=--max-old-space-size=6144;'
        " npm run 'it'\" (in MiB), or build on the other machine (frontend_build_on)"
    )
    assert done.stderr.splitlines() == ([said, told] if is_told else [said])


def test_a_build_on_the_server_with_conflicting_peers_is_told_the_setting(settings_with, tmp_path, monkeypatch):
    program = tmp_path / "systemd-run"
    program.write_text("#!/bin/sh\ncat > /dev/null; echo npm error code ERESOLVE >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / artifact.SOURCE).mkdir(parents=True)
    steps = frontend_build.build_there(settings_with(frontend_build_on="server", frontend_build="npm ci && npm run b"))
    script = f"new={tmp_path}; {'; '.join(steps)}"
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "peer dependencies conflict: change the packages' versions, or allow it by"
        ' frontend_build = "npm ci --legacy-peer-deps && npm run b"'
    ]
