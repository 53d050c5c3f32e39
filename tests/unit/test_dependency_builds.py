"""Packages that the server builds: their build dependencies, and the lock of those."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from slipway.dependencies import builds, lockfile, resolve
from slipway.dependencies.model import DependenciesError, File, Locked, Package

SYSTEM = '[build-system]\nrequires = ["hatchling>=1", "cython"]\nbuild-backend = "hatchling.build"\n'


def source(folder: Path, name: str, files: dict[str, str], wrong: bool = False) -> Package:
    """A package with a source distribution of files."""
    data = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(data, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
    else:
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for path, text in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    (folder / name).write_bytes(data.getvalue())
    digest = "0" * 64 if wrong else hashlib.sha256(data.getvalue()).hexdigest()
    wheel = File("1" * 64, "some-1.0-cp39-cp39-win_amd64.whl", url="https://example.org/some.whl")
    return Package("some", "1.0", (wheel, File(digest, name, url=(folder / name).as_uri())))


@pytest.mark.parametrize("name", ["some-1.0.tar.gz", "some-1.0.zip"])
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"some-1.0/pyproject.toml": SYSTEM, "some-1.0/setup.py": "raise SystemExit"}, ["hatchling>=1", "cython"]),
        ({"some-1.0/setup.py": "", "some-1.0/tests/pyproject.toml": SYSTEM}, ["setuptools>=40.8.0", "wheel"]),
        ({"some-1.0/pyproject.toml": "[tool.black]\n"}, ["setuptools>=40.8.0", "wheel"]),
    ],
)
def test_a_source_says_what_its_build_needs(tmp_path, name, files, expected):
    assert builds.build_requirements(source(tmp_path, name, files)) == expected


def test_a_source_with_another_hash_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(DependenciesError, match="has another hash than the lock"):
        builds.build_requirements(source(tmp_path, "some-1.0.tar.gz", {"some-1.0/setup.py": ""}, wrong=True))
    gone = source(tmp_path, "some-1.0.tar.gz", {})
    (tmp_path / "some-1.0.tar.gz").unlink()
    with pytest.raises(DependenciesError, match="can't be fetched"):
        builds.build_requirements(gone)


def test_what_builds_need_is_locked_and_old_where_others_are_built(tmp_path, index):
    index.add("hatchling", "1.9")
    index.add("cython", "3.0")
    package = source(tmp_path, "some-1.0.tar.gz", {"some-1.0/pyproject.toml": SYSTEM})
    locked = Locked("uv.lock", (package,), built=frozenset({"some"}))
    with pytest.raises(DependenciesError, match=r"found no pylock\.slipway-build\.toml"):
        builds.load(tmp_path, [package])
    (tmp_path / builds.NAME).write_text(builds.lock(tmp_path, locked, "3.11"))
    assert [*map(str, builds.load(tmp_path, [package]))] == ["cython==3.0", "hatchling==1.9"]
    for other in (Package("some", "1.1", package.files), Package("other", "1.0", package.files)):
        with pytest.raises(DependenciesError, match="is for other packages than those to build: run `slipway lock`"):
            builds.load(tmp_path, [other])


def test_a_package_that_is_built_is_no_longer_refused_and_its_lock_is_new(tmp_path, index):
    index.add("uvicorn", "1.0")
    folder = tmp_path / "backend"
    folder.mkdir()
    (folder / "requirements.txt").write_text("uvicorn\n")
    inputs = resolve.inputs(folder, "")
    assert inputs
    (folder / lockfile.NAME).write_text(lockfile.make(folder / lockfile.NAME, inputs, "3.11"))
    assert resolve.locked(folder, "", "3.11.2").packages
    with pytest.raises(DependenciesError, match=r"is older than requirements\.txt"):
        resolve.locked(folder, "", "3.11.2", ["Uvicorn"])
