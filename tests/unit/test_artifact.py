"""The content of a release's archive, and the errors before anything is sent."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.releases import artifact, sources
from slipway.releases.artifact import KEPT, RECORD, Release
from slipway.settings.model import Settings
from support.odd_names import ODD_NAMES

Build = Callable[..., Release]
PAGE = b"<!doctype html>"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder of the frontend's build; tests add files."""
    (tmp_path / "frontend/build/static").mkdir(parents=True)
    (tmp_path / "frontend/build/index.html").write_bytes(PAGE)
    return tmp_path / "frontend/build"


@pytest.fixture
def settings_of_release(output: Path, settings_with: Callable[..., Settings]) -> Callable[..., Settings]:
    def make(**changes: Any) -> Settings:
        # Its files unchanged.
        return settings_with(**{"frontend_source": str(output.parent), "frontend_build": "true", **changes})

    return make


@pytest.fixture
def build(settings_of_release: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds the frontend's part of a release."""

    def build(there: dict[str, str] | None = None, parts: tuple[str, ...] = ("frontend",), **changes: Any) -> Release:
        return artifact.build(settings_of_release(**changes), parts, {}, there)

    return build


def contents(release: Release) -> dict[str, bytes]:
    """The files of an archive by name, each once."""
    with tarfile.open(release.archive) as archive:
        members = archive.getmembers()
        found = {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    assert len(found) == len(members)
    return found


def hashes(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != RECORD}


def test_a_browser_that_takes_a_compressed_file_gets_the_same(build, output):
    script = os.urandom(200).hex().encode() * 20
    (output / "static/app.js").write_bytes(script)
    found = contents(build())
    assert found["frontend/build/static/app.js"] == script
    assert gzip.decompress(found["frontend/build/static/app.js.gz"]) == script
    assert brotli.decompress(found["frontend/build/static/app.js.br"]) == script
    assert len(found["frontend/build/static/app.js.br"]) < len(script) / 2


@pytest.mark.parametrize(("name", "size"), [("small.js", 1023), ("picture.png", 9999), ("font.woff2", 9999)])
def test_what_gains_nothing_is_not_compressed(build, output, name, size):
    (output / name).write_bytes(b"x" * size)
    assert {*contents(build())} == {"frontend/build/index.html", f"frontend/build/{name}", RECORD}
    (output / "big.js").write_bytes(b"x" * 1024)
    assert "frontend/build/big.js.br" in contents(build())


def test_what_the_build_has_compressed_itself_is_there_once_and_of_the_right_content(build, output):
    script = b"x" * 2000
    for name, data in (("app.js", script), ("app.js.gz", b"of another time"), ("data.gz", b"asked for as it is")):
        (output / name).write_bytes(data)
    found = contents(build())
    assert gzip.decompress(found["frontend/build/app.js.gz"]) == script
    assert found["frontend/build/data.gz"] == b"asked for as it is"
    # Once: a host that has both kinds could keep one and not know what to do with the other.
    again = build(hashes(found))
    assert sorted(again.kept) == sorted(hashes(found))


def test_what_is_there_is_not_sent_again_and_what_has_changed_is(build, output):
    for name in ("app.js", "other.js"):
        (output / name).write_bytes(f"{name} 1".encode())
    there = hashes(contents(build()))
    (output / "app.js").write_bytes(b"app.js 2")
    (output / "new.js").write_bytes(b"new")
    second = build(there)
    found = contents(second)
    assert {*found} == {"frontend/build/app.js", "frontend/build/new.js", RECORD, KEPT}
    assert second.kept == ("frontend/build/index.html", "frontend/build/other.js")
    assert found[KEPT] == b"frontend/build/index.html\0frontend/build/other.js"


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_file_is_shipped_whatever_it_is_called(build, output, name):
    (output / "static" / name).write_bytes(b"this one")
    first = build()
    shipped = f"frontend/build/static/{name}"
    assert contents(first)[shipped] == b"this one"
    kept = contents(build(hashes(contents(first))))[KEPT]
    assert os.fsencode(shipped) in kept.split(b"\0")


def test_what_is_hidden_stays_here_but_for_what_is_well_known(build, output):
    for name in (".env", ".vite/manifest.json", ".well-known/security.txt", ".well-known/.env"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text(name)
    assert {*contents(build())} == {"frontend/build/index.html", "frontend/build/.well-known/security.txt", RECORD}


def test_folders_in_a_builds_output_are_not_mistaken_for_development_files(build, output, tmp_path):
    """A build may have a folder of such a name, and a site a page "tests"."""
    (tmp_path / "backend").mkdir()
    (tmp_path / "backend/requirements.txt").touch()
    for folder in (output, tmp_path / "backend"):
        for name in ("tests/index.html", "static/node_modules/icon.svg", "__pycache__/x"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
    found = contents(build(parts=("backend", "frontend"), backend_source=str(tmp_path / "backend")))
    assert {*found} == {
        *("frontend/build/index.html", "frontend/build/tests/index.html", "frontend/build/__pycache__/x"),
        *("frontend/build/static/node_modules/icon.svg", "backend/requirements.txt", "backend/tests/index.html"),
        RECORD,
    }


def test_what_the_server_builds_is_sent_as_it_is_without_what_a_build_here_has_left(build, output):
    for name in ("package.json", "src/main.js", "node_modules/react/index.js", "tests/main.js", "buildings.js"):
        (output.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (output.parent / name).write_text("x" * 2000)
    (output.parent / ".env.production").touch()
    names = {"package.json", "src/main.js", "buildings.js", "tests/main.js", ".env.production"}
    # Were it built here, it would fail.
    found = contents(build(frontend_build_on="server", frontend_build="exit 1"))
    assert {*found} == {*(f"frontend/source/{name}" for name in names), RECORD}


def test_a_build_that_leaves_no_page_is_reported(build, output):
    (output / "index.html").unlink()
    with pytest.raises(PyinfraError) as error:
        build(frontend_build="echo all is well")
    assert str(error.value) == (
        f"frontend_build failed (it created no {output}/index.html): echo all is well\n  | all is well"
    )


def test_of_what_a_failing_build_says_the_end_is_shown_whatever_bytes_are_in_it(build):
    with pytest.raises(PyinfraError) as error:
        build(frontend_build="seq 99; printf '\\377\\n'; exit 7")
    first, *said = str(error.value).splitlines()
    assert first.startswith("frontend_build failed (exit code 7): ")
    assert said == [*(f"  | {number}" for number in range(81, 100)), "  | \ufffd"]


@pytest.mark.parametrize("command", ["echo 'JavaScript heap out of memory'; exit 134", "exit 137"])
def test_a_build_without_memory_is_told_what_allows_more(build, command):
    with pytest.raises(PyinfraError, match=r"it ran out of memory: allow more.*--max-old-space-size"):
        build(frontend_build=command)


def test_a_release_of_2_gb_is_refused_with_its_largest_file_before_any_is_read(build, output):
    for name, size in (("intro.mp4", 2**31), ("app.js", 2**30)):
        with (output / "static" / name).open("wb") as file:
            file.truncate(size)
    tracemalloc.start()
    try:
        with pytest.raises(PyinfraError) as error:
            build()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(error.value) == (
        "release_max_mb: found a release of 3073 MiB, expected at most 500; remove what is not for visitors"
        " (the largest file is frontend/build/static/intro.mp4, 2048 MiB), or raise it"
    )
    assert peak < 2**24


def test_a_large_file_is_never_in_memory(build, output):
    with (output / "intro.mp4").open("wb") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    try:
        release = build()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert len(contents(release)["frontend/build/intro.mp4"]) == 64 * 2**20


def test_a_release_may_be_as_large_as_is_allowed_and_no_larger(build, output):
    picture = output / "picture.png"
    picture.write_bytes(b"\0" * (2**20 - len(PAGE)))
    assert "frontend/build/picture.png" in contents(build(release_max_mb=1))
    picture.write_bytes(b"\0" * (2**20 - len(PAGE) + 1))
    with pytest.raises(PyinfraError, match="found a release of 2 MiB, expected at most 1;"):
        build(release_max_mb=1)


def test_pointers_of_git_lfs_are_refused_with_what_to_do(build, output):
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (output / "a page.txt").write_text(f"not one: {pointer}")
    assert "frontend/build/a page.txt" in contents(build())
    for number in range(5):
        (output / f"{number}.png").write_text(pointer)
    with pytest.raises(PyinfraError, match=r"^frontend/build/0.png, .*/2.png and 2 more: .*; run `git lfs pull`$"):
        build()


def test_a_release_says_who_made_it_when_and_of_what(build, settings_of_release, tmp_path, monkeypatch):
    monkeypatch.setattr(artifact.lock, "who", lambda: "j\u00fcrgen@desk")
    monkeypatch.setattr(sources, "of", lambda settings: sources.Sources(tmp_path, tmp_path, "0c890ac-dirty", "v1"))
    found = json.loads(artifact.record(settings_of_release()))
    assert (found["who"], found["commit"], found["ref"]) == ("j\u00fcrgen@desk", "0c890ac-dirty", "v1")
    assert found["id"] == artifact.release_id(settings_of_release())
    time, _, commit = found["id"].partition("-")
    assert (len(time), time.isdigit(), commit) == (14, True, "0c890ac-dirty")
    assert found["when"].endswith("Z")
    assert found["services"] == ["backend"]
