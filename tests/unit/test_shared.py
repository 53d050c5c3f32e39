"""Shared folders and files of releases, their commands run in a temporary folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.settings.check import SettingsError, check
from slipway.settings.model import Settings
from slipway.tasks import shared
from slipway.tasks.adoption import keep_site
from support.release_tree import Done, Tree

STAYS = {"shared_paths": ["uploads", "data/logs"], "shared_files": ["app.db"]}


@pytest.fixture
def tree(settings_with: Callable[..., Settings]) -> Iterator[Tree]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        yield Tree(Path(folder), settings_with(**STAYS))


def shipped(tree: Tree, name: str, **files: str) -> Path:
    """The backend of a release with files, by names with __ for a slash and _ for a dot."""
    backend = tree.root / "releases" / name / "backend"
    for file, text in files.items():
        path = backend / file.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return backend


def linked(tree: Tree, backend: Path) -> Done:
    done = tree.sh(f"set -eu; {'; '.join(shared.link_steps(tree.settings, str(backend)))}")
    assert done.returncode == 0, done.stderr
    return done


def test_what_the_first_release_has_there_stays_and_what_later_ones_have_does_not_replace_it(tree):
    first = shipped(tree, "1", uploads__a_txt="first", app_db="rows", main_py="")
    linked(tree, first)
    (first / "uploads/b.txt").write_text("of a visitor")
    (first / "app.db").write_text("more rows")
    second = shipped(tree, "2", uploads__a_txt="second", app_db="no rows", main_py="")
    linked(tree, second)
    for backend in (first, second):
        assert {path.name: path.read_text() for path in (backend / "uploads").iterdir()} == {
            "a.txt": "first",
            "b.txt": "of a visitor",
        }
        assert (backend / "app.db").read_text() == "more rows"
        assert (backend / "data/logs").is_dir()
    linked(tree, second)
    assert (second / "uploads").readlink() == tree.root / "shared/uploads"
    assert [*(tree.root / "shared/uploads").glob("uploads")] == []


def test_a_database_that_is_not_there_yet_is_the_applications_to_make(tree):
    backend = shipped(tree, "1", main_py="")
    linked(tree, backend)
    assert (backend / "app.db").is_symlink()
    (backend / "app.db").write_text("made")
    assert (tree.root / "shared-files/app.db").read_text() == "made"


def test_what_a_server_built_by_hand_has_kept_comes_before_what_a_release_has(tree):
    (tree.root / "backend.by-hand/uploads").mkdir(parents=True)
    (tree.root / "backend.by-hand/uploads/old.txt").write_text("of a visitor")
    backend = shipped(tree, "1", uploads__a_txt="first")
    linked(tree, backend)
    assert [path.name for path in (backend / "uploads").iterdir()] == ["old.txt"]


def adopted(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    class Host:
        groups = ("app", "web")

        def get_fact(self, fact: object, command: str) -> str:
            return tree.sh(command).stdout

    monkeypatch.setattr("slipway.tasks.adoption.host", Host())
    monkeypatch.setattr("slipway.tasks.adoption.notes.note", lambda text: None)
    for script in keep_site._inner(tree.settings):
        done = tree.sh(str(script))
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="a release is root's")
def test_a_server_that_is_adopted_keeps_what_visitors_have_brought_and_goes_on_writing(tree, monkeypatch):
    (tree.root / "releases").rmdir()
    backend = tree.root / "backend"
    for name in ("uploads/deep", ".venv"):
        (backend / name).mkdir(parents=True)
    (backend / "uploads/deep/a.txt").write_text("of a visitor")
    (backend / "app.db").write_text("rows")
    running = os.open(backend, os.O_RDONLY)
    adopted(tree, monkeypatch)
    # What still runs in the folder that was moved away.
    os.close(os.open("uploads/late.txt", os.O_CREAT | os.O_WRONLY, dir_fd=running))
    os.close(running)
    there = tree.root / "shared/uploads"
    assert {path.name for path in there.iterdir()} == {"deep", "late.txt"}
    assert (tree.root / "backend/uploads").resolve() == there.resolve()
    assert (tree.root / "backend/uploads/deep/a.txt").read_text() == "of a visitor"
    assert (tree.root / "shared-files/app.db").read_text() == "rows"
    assert not (tree.root / "releases").joinpath("x").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="folders are given away")
def test_no_link_that_the_application_has_made_is_followed_by_root(tmp_path):
    mine, theirs = tmp_path / "shared/uploads", tmp_path / "etc"
    theirs.mkdir()
    (theirs / "secret").touch()
    mine.parent.mkdir()
    place = shared.Place(str(mine), "nobody", "nogroup", "750", whole=True)
    mine.symlink_to(theirs)
    os.system(shared.owned(place))
    assert (theirs.stat().st_uid, (theirs / "secret").stat().st_uid) == (0, 0)
    mine.unlink()
    mine.mkdir()
    (mine / "link").symlink_to(theirs)
    (mine / "file").touch()
    assert os.system(shared.owned(place)) == 0
    assert theirs.stat().st_uid == 0
    assert (mine / "file").stat().st_uid == mine.stat().st_uid != 0


WRONG = {
    "one in another": ({"shared_paths": ["a", "a/b"]}, "none is in another; found 'a' and 'a/b'"),
    "a file in a folder": ({"shared_paths": ["a"], "shared_files": ["a/b.db"]}, "found 'a' and 'a/b.db'"),
    "one twice": ({"shared_paths": ["a", "a"]}, "found 'a' and 'a'"),
    "the environment": ({"shared_paths": [".venv/x"]}, "without .venv"),
    "above": ({"shared_paths": ["a/../../b"]}, "a path below the backend's folder"),
    "what is not shared": ({"shared_urls": {"/u/": "a"}}, "folders of shared_paths (none), or below one; found 'a'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_folder_that_is_to_stay_is_reported(defaults, what):
    changes, told = WRONG[what]
    with pytest.raises(SettingsError) as caught:
        check({**defaults, **changes})
    assert told in str(caught.value)
