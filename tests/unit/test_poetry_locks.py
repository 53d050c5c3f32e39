"""Poetry's locks: older ones, resolved from pyproject.toml, and newer ones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from slipway.dependencies import poetry, resolve


def of_poetry(folder: Path, project: str, lock: str, python: str) -> list[str]:
    """The packages of a lock whose hash is right."""
    (folder / "pyproject.toml").write_text(project)
    (digest,) = poetry._content_hashes(tomllib.loads(project))
    (folder / "poetry.lock").write_text(lock.replace("DIGEST", digest))
    return [str(package) for package in poetry.locked(folder / "poetry.lock", "poetry.lock", python).packages]


PROJECT = """
[tool.poetry.dependencies]
python = "^3.9"
server = {version = "^1.2", extras = ["fast"]}
legacy = {version = "~2", python = "<3.10"}
extra = {version = "*", optional = true}
[tool.poetry.group.dev.dependencies]
tester = "*"
"""
FILES = 'files = [{file = "a-1-py3-none-any.whl", hash = "sha256:0"}]'
OLD = f"""
[[package]]
name = "Server"
version = "1.4"
python-versions = ">=3.9"
{FILES}
[package.dependencies]
loop = {{version = ">=1", optional = true, markers = "sys_platform != \\"win32\\" and extra == \\"fast\\""}}
windows = {{version = "*", markers = "sys_platform == \\"win32\\""}}
slow = {{version = "*", optional = true, markers = "extra == \\"slow\\""}}
both = [
  {{version = "<2", markers = "python_version < \\"3.11\\""}},
  {{version = ">=2", markers = "python_version >= \\"3.11\\""}},
]
[[package]]
name = "loop"
version = "1.0"
python-versions = "*"
{FILES}
[package.dependencies]
server = "*"
[[package]]
name = "both"
version = "1.9"
python-versions = ">=3.8"
{FILES}
[[package]]
name = "both"
version = "2.1"
python-versions = ">=3.8"
{FILES}
[[package]]
name = "legacy"
version = "2.7"
python-versions = "!=3.0.*,>=2.7"
{FILES}
[[package]]
name = "tester"
version = "9"
python-versions = "*"
{FILES}
[metadata]
lock-version = "2.0"
python-versions = "^3.9"
content-hash = "DIGEST"
"""


@pytest.mark.parametrize(
    ("python", "expected"),
    [
        ("3.9.1", ["both==1.9", "legacy==2.7", "loop==1.0", "server==1.4"]),
        ("3.12.0", ["both==2.1", "loop==1.0", "server==1.4"]),
    ],
)
def test_an_older_lock_of_poetry_is_followed_from_the_project(tmp_path, python, expected):
    assert of_poetry(tmp_path, PROJECT, OLD, python) == expected


def test_files_that_the_oldest_locks_have_in_one_place_are_found(tmp_path):
    lock = OLD.replace(f"{FILES}\n", "").replace('lock-version = "2.0"', 'lock-version = "1.1"')
    names = ("Server", "loop", "both", "legacy", "tester")
    lock += "[metadata.files]\n" + "".join(f'{name} = [{{file = "a", hash = "sha256:1"}}]\n' for name in names)
    assert of_poetry(tmp_path, PROJECT, lock, "3.12.0") == ["both==2.1", "loop==1.0", "server==1.4"]


NEW = f"""
[[package]]
name = "server"
version = "1.4"
optional = false
python-versions = ">=3.9"
groups = ["main"]
{FILES}
[[package]]
name = "both"
version = "2.1"
python-versions = ">=3.9"
groups = ["main", "dev"]
markers = {{main = "python_version >= \\"3.11\\"", dev = "python_version >= \\"3.9\\""}}
{FILES}
[[package]]
name = "windows"
version = "1"
python-versions = "*"
groups = ["main"]
markers = "sys_platform == \\"win32\\""
{FILES}
[[package]]
name = "extra"
version = "1"
optional = true
python-versions = "*"
groups = ["main"]
{FILES}
[[package]]
name = "tester"
version = "9"
python-versions = "*"
groups = ["dev"]
{FILES}
[metadata]
lock-version = "2.1"
python-versions = ">=3.9,<4.0"
content-hash = "DIGEST"
"""


def test_a_newer_lock_of_poetry_says_itself_what_runs(tmp_path):
    of_poetry(tmp_path, PROJECT, NEW, "3.12.0")
    found = resolve.locked(tmp_path, "", "3.12.0")
    assert {str(package): package.marker for package in found.packages} == {
        "server==1.4": "",
        "both==2.1": 'python_version >= "3.11"',
    }


@pytest.mark.parametrize(
    ("constraint", "yes", "no"),
    [
        ("^1.2.3", ["1.2.3", "1.9"], ["1.2.2", "2.0"]),
        ("^0.3", ["0.3.9"], ["0.4", "0.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("^0", ["0.9"], ["1.0"]),
        ("~1.2", ["1.2.9"], ["1.3"]),
        ("~1", ["1.9"], ["2.0"]),
        ("~=1.2", ["1.9"], ["2.0"]),
        ("1.2.*", ["1.2.7"], ["1.3"]),
        ("1.2", ["1.2"], ["1.2.1"]),
        ("*", ["7", "8.0a1"], []),
        (">= 1, < 2 || ^3.1", ["1.5", "3.2"], ["2.0", "3.0", "4.0"]),
        (">=1 <2", ["1.5"], ["2.0"]),
        ("!=3.0.*,>=2.7", ["3.1"], ["3.0.4"]),
    ],
)
def test_a_constraint_of_poetry_is_understood(constraint, yes, no):
    assert [version for version in (*yes, *no) if poetry.allows(constraint, version)] == yes
