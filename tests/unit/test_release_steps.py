"""The shell commands and program steps of a release, run in a temporary folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.engine.uploads import with_input
from slipway.releases import artifact, listing
from slipway.releases.listing import ReleaseThere
from slipway.settings.model import Settings
from slipway.tasks import release
from slipway.tasks.release import PARTS
from support.odd_names import ODD_NAMES
from support.release_tree import Tree


@pytest.fixture
def tree(settings_with: Callable[..., Settings]) -> Iterator[Tree]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        yield Tree(Path(folder), settings_with(keep_releases=2))


# --- The list of releases --------------------------------------------------------------------------------------------


def listed(tree: Tree) -> list[ReleaseThere]:
    done = tree.sh(listing.listing(tree.settings.site_root))
    assert done.stderr == ""
    return listing.parsed(done.stdout)


def record(tree: Tree, name: str, text: str) -> None:
    (tree.root / "releases" / name / artifact.RECORD).write_text(text)


def test_releases_are_listed_the_newest_first_with_what_is_known_of_them(tree):
    tree.add("20260101000000-a", "20260102000000-b", "20260103000000-c", "20260104000000-d.new")
    tree.lead(current="20260102000000-b", previous="20260101000000-a")
    known = {"when": "2026-01-02T00:00:00Z", "who": "me@desk", "commit": "b", "ref": "v1", "path": ""}
    record(tree, "20260102000000-b", json.dumps({"id": "of another", **known, "more": 1}) + "\n")
    assert listed(tree) == [
        ReleaseThere(id="20260103000000-c"),
        ReleaseThere(id="20260102000000-b", place="current", **known),
        ReleaseThere(id="20260101000000-a", place="previous"),
    ]


@pytest.mark.parametrize("path", ["a\\nb", 'C:\\new "folder"', "a\nb\tc", "\u00fc ber", "$(id) `id`"])
def test_a_record_is_read_as_it_was_written(tree, path):
    tree.add("1")
    record(tree, "1", json.dumps({"path": path}, indent=1))
    assert listed(tree) == [ReleaseThere(id="1", path=path)]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"text"', '{"who": 7, "ref": null}', "\x1b[31m\x00"])
def test_a_record_that_says_nothing_is_no_error(tree, text):
    tree.add("1")
    record(tree, "1", text)
    assert listed(tree) == [ReleaseThere(id="1")]


def test_what_is_no_release_is_neither_listed_nor_linked(tree, monkeypatch):
    tree.add("20260101000000-a", "zoo/deeper", "of mine")
    (tree.root / "releases/lost+found").mkdir()
    (tree.root / "releases/notes.txt").touch()
    assert [one.id for one in listed(tree)] == ["20260101000000-a"]
    answer = SimpleNamespace(get_fact=lambda fact, command: tree.sh(command).stdout)
    monkeypatch.setattr(release, "host", answer)
    assert release.shipped(tree.settings) == ["20260101000000-a"]


def test_a_host_without_releases_has_none(tree):
    assert listed(tree) == []
    (tree.root / "releases").rmdir()
    assert listed(tree) == []


def test_a_release_is_reported_by_its_maker_and_what_it_is_of():
    of = ReleaseThere(id="7", place="current", when="now", who="me@desk", ref="v1", path="")
    assert [*listing.rows([of, ReleaseThere(id="6", path="../other")])] == [
        ("current", "7  now by me@desk  of v1"),
        ("", "6  of ../other"),
    ]
    assert [*listing.rows([])] == [("", "none")]


# --- What an upload becomes ------------------------------------------------------------------------------------------


@pytest.fixture
def unpack(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Builds the frontend's files and unpacks them as a release, as the tasks do; returns its folder."""
    source = tree.folder / "frontend"
    settings = tree.settings.model_copy(update={"frontend_source": str(source), "frontend_build": "true"})
    monkeypatch.setattr(release, "host", SimpleNamespace(get_fact=lambda fact, command: tree.sh(command).stdout))

    def unpack(files: dict[str, bytes], name: str) -> Path:
        monkeypatch.setattr(artifact, "release_id", lambda settings: name)
        (source / "build/static").mkdir(parents=True, exist_ok=True)
        for path in (source / "build/static").iterdir():
            path.unlink()
        (source / "build/index.html").write_text(name)
        for path, data in files.items():
            (source / "build/static" / path).write_bytes(data)
        made = artifact.build(settings, ["frontend"], {}, release.hashes_there(settings))
        script = release.unpack_script(settings, made, ["frontend"], [])
        done = tree.sh(f"set -eu; {script}", given="".join(with_input("", made.archive).connector_arguments["_stdin"]))
        assert done.returncode == 0, done.stderr
        assert tree.step("switch", name).returncode == 0
        return tree.root / "releases" / name / "frontend/build/static"

    return unpack


def test_files_are_unpacked_whatever_they_are_called_and_the_same_ones_are_kept(unpack):
    files = {name: ascii(name).encode() for name in ODD_NAMES}
    first = unpack(files, "1")
    assert {path.name: path.read_bytes() for path in first.iterdir()} == files
    second = unpack({**files, "app.js": b"new"}, "2")
    assert {path.name: path.read_bytes() for path in second.iterdir()} == {**files, "app.js": b"new"}
    # What sha256sum can't print as it is, is sent again; all else is one file with two names.
    kept = {name for name in files if (first / name).samefile(second / name)}
    sent_again = {"new\nline.js", "back\\slash.js", os.fsdecode(b"no utf-8 \xff.js")}
    assert {*files} - kept == sent_again


def test_a_build_that_compresses_its_files_itself_is_released_twice(unpack):
    files = {"app.js": b"x" * 2000, "app.js.gz": b"its own", "app.js.br": b"its own"}
    unpack(files, "1")
    assert {path.name for path in unpack(files, "2").iterdir()} == {*files}


def test_an_upload_that_is_cut_off_or_fails_leaves_nothing_and_says_what_serves(tree, unpack):
    made = artifact.Release("2", b"")
    first = tree.sh(f"set -eu; {release.unpack_script(tree.settings, made, ['frontend'], [])}", given="AAAA")
    assert (first.returncode != 0, tree.there(), "is still live" in first.stderr) == (True, [], False)
    unpack({}, "1")
    done = tree.sh(f"set -eu; {release.unpack_script(tree.settings, made, ['frontend'], [])}", given="AAAA")
    assert done.returncode != 0
    assert done.stderr.endswith("release 2 was not activated; releases/1 is still live\n")
    assert (tree.there(), tree.links()) == (["1"], {"current": "releases/1"})


def test_files_of_all_releases_that_are_there_are_found_below_the_newest(unpack, tree):
    unpack({"a.js": b"a"}, "1")
    unpack({"b.js": b"b"}, "2")
    unpack({"c.js": b"c"}, "3")
    assert {"a.js", "b.js"} <= {*tree.there("releases/3/frontend/assets/static")}


# --- Steps -----------------------------------------------------------------------------------------------------------


def test_a_switch_remembers_the_release_before_and_again_changes_nothing(tree):
    tree.add("1", "2")
    assert tree.step("switch", "1").returncode == 0
    assert tree.links() == {"current": "releases/1"}
    for _ in range(2):
        assert tree.step("switch", "2").returncode == 0
        assert tree.links() == {"current": "releases/2", "previous": "releases/1"}
    assert tree.step("switch", "1").returncode == 0
    assert tree.links() == {"current": "releases/1", "previous": "releases/2", "earlier": "releases/1"}


def test_a_switch_to_what_is_not_there_changes_nothing(tree):
    tree.add("1")
    tree.lead(current="1")
    done = tree.step("switch", "2")
    assert (done.returncode, tree.links()) == (1, {"current": "releases/1"})
    assert done.stderr == f"{tree.root}/releases/2 does not exist; nothing was changed\n"


@pytest.mark.parametrize("is_active", [True, False])
def test_a_switch_leads_nginx_to_the_next_backend_only_where_it_runs(tree, is_active):
    tree.add("1", "2")
    tree.lead(current="1")
    tree.link.symlink_to(tree.own)
    if is_active:
        (tree.folder / "active/codementee-backend-next.service").touch()
    assert tree.step("switch", "2", parts=tuple(PARTS)).returncode == 0
    assert tree.link.readlink() == (tree.next if is_active else tree.own)


def test_old_releases_go_but_never_the_current_or_the_previous_one(tree):
    tree.add("1", "2", "3", "4", "5", "6", "7.new")
    tree.lead(current="2", previous="4")
    assert tree.step("prune").returncode == 0
    assert tree.there() == ["2", "4", "5", "6"]
    # One that was cut off as it removed a release, whose name was free again.
    tree.add("1", "1.new")
    assert tree.step("prune").returncode == 0
    assert tree.there() == ["2", "4", "5", "6"]


def test_what_is_no_release_is_neither_removed_nor_counted(tree):
    tree.add("1", "2", "3", "of mine")
    (tree.root / "releases/lost+found").mkdir()
    (tree.root / "releases/notes.txt").touch()
    tree.lead(current="3", previous="2")
    assert tree.step("prune").returncode == 0
    assert tree.there() == ["2", "3", "lost+found", "notes.txt", "of mine"]


def test_environments_go_with_the_last_release_that_has_them(tree):
    tree.add("1", environment="old")
    tree.add("2", environment="shared")
    tree.add("3", environment="shared")
    tree.add("4", environment="shared-too")
    tree.lead(current="4", previous="3")
    (tree.root / "venvs/.lock").touch()
    assert tree.step("prune").returncode == 0
    assert (tree.there(), tree.there("venvs")) == (["3", "4"], [".lock", "shared", "shared-too"])


def test_a_host_without_environments_is_pruned_too(tree):
    tree.add("1")
    tree.lead(current="1")
    done = tree.step("prune")
    assert (done.returncode, done.stderr, tree.there()) == (0, "", ["1"])
