"""Locks of PDM."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.dependencies import resolve
from slipway.dependencies.model import DependenciesError

PROJECT = """
[project]
name = "shop"
requires-python = ">=3.10"
dependencies = ["fastapi>=0.115", "uvicorn[standard]"]

[dependency-groups]
dev = ["httpx"]
"""
LOCK = """
[metadata]
groups = ["default", "dev"]
strategy = ["inherit_metadata"]
lock_version = "4.5.0"

[[metadata.targets]]
requires_python = ">=3.10"

[[package]]
name = "FastAPI"
version = "0.115.0"
requires_python = ">=3.8"
groups = ["default"]
files = [
    {file = "fastapi-0.115.0-py3-none-any.whl", hash = "sha256:FASTAPI"},
    {file = "fastapi-0.115.0.tar.gz", hash = "sha256:SOURCE"},
]

[[package]]
name = "uvicorn"
version = "0.30.6"
groups = ["default"]
files = [{file = "uvicorn-0.30.6-py3-none-any.whl", hash = "sha256:UVICORN"}]

[[package]]
name = "uvicorn"
version = "0.30.6"
extras = ["standard"]
groups = ["default"]
files = [{file = "uvicorn-0.30.6-py3-none-any.whl", hash = "sha256:UVICORN"}]

[[package]]
name = "colorama"
version = "0.4.6"
groups = ["default", "dev"]
marker = "sys_platform == \\"win32\\""
files = [{file = "colorama-0.4.6-py3-none-any.whl", hash = "sha256:COLORAMA"}]

[[package]]
name = "httpx"
version = "0.27.2"
groups = ["dev"]
files = [{file = "httpx-0.27.2-py3-none-any.whl", hash = "sha256:HTTPX"}]
"""


FILES = 'files = [{file = "uvicorn-0.30.6-py3-none-any.whl", hash = "sha256:UVICORN"}]'


def project(folder: Path, lock: str = LOCK, own: str = PROJECT) -> Path:
    (folder / "pdm.lock").write_text(lock)
    (folder / "pyproject.toml").write_text(own)
    return folder


def test_what_the_lock_has_for_the_server_is_installed_without_development_groups(tmp_path):
    found = resolve.locked(project(tmp_path), "", "3.11.2")
    assert found.source == "pdm.lock"
    assert [*map(str, found.packages)] == ["fastapi==0.115.0", "uvicorn==0.30.6"]
    assert found.python == (("pdm.lock", ">=3.10"), ("pyproject.toml", ">=3.10"))
    (fastapi, _) = found.packages
    assert [file.name for file in fastapi.files if file.is_wheel] == ["fastapi-0.115.0-py3-none-any.whl"]
    assert fastapi.requires_python == ">=3.8"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lock", 'strategy = ["inherit_metadata"]', "strategy = []"), "run `pdm lock -S inherit_metadata`"),
        (("own", "fastapi>=0.115", "fastapi>=0.116"), "pdm.lock is older than pyproject.toml (fastapi changed)"),
        (("own", '"uvicorn[standard]"', '"uvicorn", "jinja2"'), "pdm.lock is older than pyproject.toml (jinja2"),
        (("lock", FILES, 'git = "https://a"'), "found uvicorn from version control"),
        (("lock", 'hash = "sha256:UVICORN"', 'hash = "md5:1"'), "found uvicorn without hashes"),
        (("lock", "[metadata]", "[metadata"), "pdm.lock: found invalid TOML"),
    ],
)  # fmt: skip
def test_a_lock_that_can_not_be_used_is_reported_with_what_to_do(tmp_path, change, said):
    which, old, new = change
    lock = LOCK.replace(old, new) if which == "lock" else LOCK
    own = PROJECT.replace(old, new) if which == "own" else PROJECT
    with pytest.raises(DependenciesError) as error:
        resolve.locked(project(tmp_path, lock, own), "", "3.11.2")
    assert said in str(error.value)
