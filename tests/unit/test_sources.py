"""The sources of a release: the working tree, a git commit, or another folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.releases import sources
from slipway.releases.sources import Sources
from slipway.settings.check import SettingsError
from slipway.settings.model import Settings

Of = Callable[..., Sources]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, version: str) -> str:
    """Commit a version of the backend; its short hash."""
    (folder / "site/backend/server.py").write_text(version)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", version)
    return git(folder, "rev-parse", "--short", "HEAD")


@pytest.fixture(scope="module", autouse=True)
def _git_of_nobody() -> Iterator[None]:
    """git without the user's configuration."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{name}_NAME", "nobody")
            patch.setenv(f"GIT_{name}_EMAIL", "nobody@server.invalid")
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        # Words as we expect them.
        patch.setenv("LC_ALL", "C")
        yield


@pytest.fixture(scope="module")
def made(_git_of_nobody: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that each test gets a copy of, as git takes long to make it."""
    folder = tmp_path_factory.mktemp("made") / "our site"
    for part, name in (("backend", "requirements.txt"), ("frontend", "index.html")):
        (folder / "site" / part).mkdir(parents=True)
        (folder / "site" / part / name).touch()
    git(folder.parent, "init", "--quiet", "--initial-branch=main", str(folder))
    commit(folder, "1")
    git(folder, "tag", "--annotate", "--message=first", "v1")
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Path:
    """A repository with the two folders below another one, and version 1 of the backend, which is tagged."""
    sources._of.cache_clear()
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def of(repository: Path, settings_with: Callable[..., Settings]) -> Of:
    """The sources of a release of the repository with some settings."""

    def of(**changes: str) -> Sources:
        folders = {f"{part}_source": str(repository / "site" / part) for part in ("backend", "frontend")}
        return sources.of(settings_with(**{**folders, **changes}))

    return of


def version(found: Sources) -> str:
    return (found.backend / "server.py").read_text()


def test_without_a_ref_the_folders_are_released_as_they_are(repository, of):
    found = of()
    assert found.backend == repository / "site/backend"
    assert found.frontend == repository / "site/frontend"
    assert (found.commit, found.ref) == (git(repository, "rev-parse", "--short", "HEAD"), "")


@pytest.mark.parametrize("part", ["backend/server.py", "frontend/new.js"])
def test_what_differs_from_the_commit_in_either_folder_is_noted_and_what_is_beside_them_is_not(repository, of, part):
    (repository / "notes.txt").write_text("of no release")
    assert not of().commit.endswith("-dirty")
    sources._of.cache_clear()
    (repository / "site" / part).write_text("edited")
    assert of().commit == f"{git(repository, 'rev-parse', '--short', 'HEAD')}-dirty"


def test_a_build_for_the_backend_may_read_what_is_beside_it(repository, of):
    (repository / "notes.txt").write_text("of the build")
    assert of(backend_build="cat ../../notes.txt > $OUTPUT/notes.txt").commit.endswith("-dirty")


def test_what_no_release_has_makes_none_differ_from_its_commit(repository, of, monkeypatch):
    monkeypatch.chdir(repository)
    for name in (
        "inventory.py",
        "group_data/all.py",
        "deploy.py",
        ".github/workflows/ci.yml",
        "site/backend/.venv/x.py",
    ):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    build = {"backend_build": "make -C ../.. web"}
    assert not of(**build).commit.endswith("-dirty")
    sources._of.cache_clear()
    (repository / "Makefile").touch()
    assert of(**build).commit.endswith("-dirty")


def test_folders_outside_of_git_have_no_commit(repository, of, tmp_path):
    (repository / ".git").rename(tmp_path / "gone")
    assert of().commit == ""


def test_folders_of_a_repository_without_a_commit_have_none(repository, of, tmp_path):
    (repository / ".git").rename(tmp_path / "gone")
    git(repository, "init", "--quiet")
    assert of().commit == ""


@pytest.mark.parametrize("ref", ["v1", "old", "HEAD~1", "refs/tags/v1"])
def test_a_tag_a_branch_or_a_commit_is_released_whatever_is_in_the_working_tree(repository, of, ref):
    git(repository, "branch", "old")
    before, now = git(repository, "rev-parse", "--short", "HEAD"), commit(repository, "2")
    (repository / "site/backend/server.py").write_text("edited")
    found = of(release_ref=ref)
    assert found.exported == found.backend.parents[1]
    assert (version(found), found.commit, found.ref) == ("1", before, ref)
    assert (found.frontend / "index.html").is_file()
    sources._of.cache_clear()
    assert version(of(release_ref=before)) == "1"
    # And the working tree stays what it was.
    assert git(repository, "rev-parse", "--short", "HEAD") == now
    assert (repository / "site/backend/server.py").read_text() == "edited"


def test_the_files_of_a_commit_are_gone_when_the_run_has_ended(repository, tmp_path):
    folders = [str(repository / "site" / part) for part in ("backend", "frontend")]
    program = f"""
from slipway.engine import pyinfra_compat
from slipway.releases import sources
print(sources._of(*{folders}, '', 'v1', False).backend)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("/site/backend\n")
    assert not Path(done.stdout.strip()).exists()


@pytest.fixture
def elsewhere(repository: Path, tmp_path: Path) -> Path:
    """Another clone of the repository's origin."""
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(tmp_path / "origin.git"))
    git(repository, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


@pytest.mark.parametrize("kind", ["branch", "tag", "whole hash"])
def test_what_is_only_at_origin_is_fetched_from_there(repository, elsewhere, of, kind):
    git(elsewhere, "switch", "--quiet", "--create", "feature/x")
    pushed = commit(elsewhere, "2")
    git(elsewhere, "tag", "v2")
    git(elsewhere, "push", "--quiet", "origin", "feature/x", "v2")
    ref = {"branch": "feature/x", "tag": "v2", "whole hash": git(elsewhere, "rev-parse", "HEAD")}[kind]
    found = of(release_ref=ref)
    assert (version(found), found.commit, found.ref) == ("2", pushed, ref)
    assert git(repository, "branch", "--list", "--format=%(refname:short)") == "main"


def test_a_ref_that_is_nowhere_is_reported_with_the_setting_and_where_it_was_looked_for(repository, elsewhere, of):
    with pytest.raises(PyinfraError) as error:
        of(release_ref="v9")
    assert str(error.value) == (
        f"release_ref = 'v9': found no such branch, tag or commit in {repository}, nor at origin"
        " (fatal: couldn't find remote ref v9); `git branch --all` and `git tag` list them"
    )


def test_an_origin_that_is_not_there_or_cant_be_asked_is_reported_as_that(repository, of, tmp_path):
    with pytest.raises(PyinfraError, match=r"nor at origin \(fatal: 'origin' does not appear to be a git repository\)"):
        of(release_ref="v9")
    git(repository, "remote", "add", "origin", str(tmp_path / "never there"))
    with pytest.raises(PyinfraError, match=rf"nor at origin \(fatal: '{tmp_path}/never there' does not appear"):
        of(release_ref="v9")


def test_a_ref_outside_of_git_is_reported(repository, of, tmp_path):
    (repository / ".git").rename(tmp_path / "gone")
    with pytest.raises(PyinfraError) as error:
        of(release_ref="v1")
    assert str(error.value) == (
        f"release_ref = 'v1': found no git repository at {repository}/site, expected one with this ref"
    )


def test_a_commit_that_lacks_a_folder_is_reported_with_the_folder(repository, of):
    git(repository, "mv", "site/frontend", "site/web")
    git(repository, "commit", "--quiet", "--message", "moved")
    git(repository, "branch", "moved")
    git(repository, "mv", "site/web", "site/frontend")
    git(repository, "commit", "--quiet", "--message", "and back")
    with pytest.raises(PyinfraError, match=r"release_ref = 'moved': found no folder /\S+/site/frontend, expected"):
        of(release_ref="moved")


def test_a_disk_that_is_full_is_reported_and_nobody_waits_for_ever(repository, of, monkeypatch, tmp_path):
    # More than a pipe holds.
    (repository / "site/backend/big").write_text("x" * 2**20)
    commit(repository, "2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tar").write_text("#!/bin/sh\necho 'tar: No space left on device' >&2; exit 2\n")
    (tmp_path / "bin/tar").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(PyinfraError, match=r"could not be written to \S+: tar: No space left on device"):
        of(release_ref="main")


def test_another_folder_is_released_by_its_own_commit(repository, elsewhere, of):
    now = commit(elsewhere, "2")
    found = of(release_path=str(elsewhere / "site"))
    assert (version(found), found.commit, found.ref) == ("2", now, "")
    assert found.frontend == elsewhere / "site/frontend"
    sources._of.cache_clear()
    (elsewhere / "site/frontend/index.html").write_text("edited")
    assert of(release_path=str(elsewhere / "site")).commit == f"{now}-dirty"


def test_another_folder_that_holds_no_sources_is_reported(repository, of, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PyinfraError) as error:
        of(release_path=str(tmp_path / "empty"))
    assert str(error.value) == (
        f"release_path = '{tmp_path}/empty': found no folder {tmp_path}/empty/backend,"
        " expected those of backend_source and frontend_source"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"release_path": "/nowhere"}, "release_path: found '/nowhere', expected a folder on this machine"),
        ({"release_path": "/", "release_ref": "v1"}, "release_path: found '/', expected '' with release_ref"),
        ({"release_ref": "--upload-pack=x"}, "release_ref: found '--upload-pack=x', expected a branch, tag or commit"),
    ],
)
def test_a_wrong_setting_is_reported_before_git_is_asked(of, changes, said):
    with pytest.raises(SettingsError) as error:
        of(**changes)
    assert said in str(error.value)


def test_a_submodule_is_part_of_a_release_and_one_that_is_not_here_is_reported(of, repository, tmp_path):
    library = tmp_path / "library"
    git(tmp_path, "init", "--quiet", str(library))
    (library / "words.py").write_text("library")
    git(library, "add", "--all")
    git(library, "commit", "--quiet", "--message", "1")
    allowed = ("-c", "protocol.file.allow=always")
    git(repository, *allowed, "submodule", "--quiet", "add", str(library), "site/backend/library")
    commit(repository, "2")
    found = of(release_ref="main").backend
    assert (found / "library/words.py").read_text() == "library"
    assert of().backend == repository / "site/backend"
    git(repository, "submodule", "--quiet", "deinit", "--all", "--force")
    for arguments in ({}, {"release_ref": "main"}):
        sources._of.cache_clear()
        with pytest.raises(PyinfraError, match=r"the submodule is not checked out; run `git submodule update --init"):
            of(**arguments)
