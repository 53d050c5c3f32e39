"""Which files of a folder a release ships: tracked ones, and none of a developer's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slipway.releases import shipped


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@x", *arguments], check=True)


def taken(folder: Path, is_frontend: bool = False) -> set[str]:
    return {*shipped.of(folder, is_frontend).files}


# What no server needs, and what nobody may have, whatever git says of it.
OWN = (
    *("venv/pyvenv.cfg", "venv/lib/x.py", "my-env/pyvenv.cfg", "conda/conda-meta/history", ".venv/x.py"),
    *("node_modules/a/index.js", "web/node_modules/b.js", "app/__pycache__/main.pyc", "app/main.pyc", ".git/config"),
    *(".env", "app/.env.local", "prod.env", ".env.production", "keys/id_rsa", ".vscode/settings.json"),
)
CODE = {"main.py", "app/main.py", "tests/test_app.py", "env/settings.py", "app/environment.py", "uploads/.gitkeep"}


def test_a_folder_without_git_is_shipped_without_what_is_a_developers_own(tmp_path):
    put(tmp_path, *OWN, *CODE, ".hidden/x")
    assert taken(tmp_path) == CODE


def test_what_git_ignores_stays_here_and_what_is_new_is_shipped(tmp_path):
    git(tmp_path, "init", "-q")
    put(tmp_path, *CODE, ".gitignore", ".streamlit/config.toml", "data/a.csv", "app/local.json", "env/own/x")
    (tmp_path / ".gitignore").write_text("data/\nlocal.json\nown\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "x")
    put(tmp_path, "app/new.py", ".idea/x", ".own/config", *OWN[:4])
    expected = {*CODE, ".gitignore", ".streamlit/config.toml", "app/new.py"}
    assert taken(tmp_path) == expected
    assert taken(tmp_path / "app") == {"main.py", "environment.py", "new.py"}
    left = shipped.of(tmp_path, False)
    assert {"data", "venv", "app/local.json", ".own"} <= {*left.left_out}
    assert left.told("backend").startswith(f"backend: not shipped ({len(left.left_out)}): ")


def test_secrets_that_git_has_stay_here(tmp_path):
    git(tmp_path, "init", "-q")
    put(tmp_path, "main.py", *OWN)
    git(tmp_path, "add", "-Af", "main.py", ".env", "prod.env", "venv")
    assert taken(tmp_path) == {"main.py"}


def test_a_frontend_is_built_with_its_hidden_files(tmp_path):
    put(tmp_path, ".env.production", ".env", ".env.local", ".npmrc", ".yarn/releases/yarn.cjs", ".git/config", "a.js")
    assert taken(tmp_path, is_frontend=True) == {".env.production", ".npmrc", ".yarn/releases/yarn.cjs", "a.js"}


def test_links_inside_of_the_repository_are_followed_and_others_are_not(tmp_path):
    top = tmp_path / "top"
    put(tmp_path, "elsewhere/key", "top/shared/a.py", "top/app/main.py", "top/app/.env", "top/venv/pyvenv.cfg")
    git(top, "init", "-q")
    for name, target in {
        "shared": "../shared",
        "again": ".",
        "key": tmp_path / "elsewhere/key",
        "others": tmp_path / "elsewhere",
        "nowhere": "missing",
        "settings": ".env",
        "python": "../venv",
    }.items():
        (top / "app" / name).symlink_to(target)
    assert taken(top / "app") == {"main.py", "shared/a.py"}


@pytest.mark.parametrize("has_git", [True, False])
def test_a_file_names_more_that_stays_here(tmp_path, has_git):
    put(tmp_path, "main.py", "big/model.bin", "docs/a.md", "docs/keep.md")
    (tmp_path / ".slipwayignore").write_text("# too large\nbig/\n*.md\n!keep.md\n")
    if has_git:
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "-A")
    assert taken(tmp_path) == {"main.py", "docs/keep.md"}


def test_the_projects_own_files_stay_here(tmp_path):
    own = ("inventory.py", "deploy.py", "group_data/all.py", "secrets/production.age", "release.py")
    put(tmp_path, "main.py", *own)
    assert taken(tmp_path) == {"main.py"}
    below = tmp_path / "other"
    put(below, "main.py", "release.py", *(f"deploy/{name}" for name in own))
    assert taken(below) == {"main.py", "release.py"}


def test_of_what_git_has_checked_out_hidden_files_travel_too(tmp_path):
    put(tmp_path, ".streamlit/config.toml", ".env", ".github/x.yml", "main.py")
    assert {*shipped.of(tmp_path, False, tmp_path).files} == {".streamlit/config.toml", "main.py"}


def test_links_out_of_the_folder_are_followed_in_what_git_has_exported_too(tmp_path):
    put(tmp_path, "top/backend/main.py", "top/shared/lib/a.py", "elsewhere/key")
    (tmp_path / "top/backend/lib").symlink_to("../shared/lib")
    (tmp_path / "top/backend/key").symlink_to(tmp_path / "elsewhere/key")
    assert {*shipped.of(tmp_path / "top/backend", False, tmp_path / "top").files} == {"main.py", "lib/a.py"}


def test_what_git_ignores_behind_a_link_stays_here(tmp_path):
    git(tmp_path, "init", "-q")
    put(
        tmp_path,
        "backend/main.py",
        "shared/lib/a.py",
        "shared/lib/deep/local.json",
        "shared/big/model.bin",
        "local.csv",
    )
    (tmp_path / ".gitignore").write_text("local.*\nbig/\n")
    links = {
        "lib": "../shared/lib",
        "big": "../shared/big",
        "model.bin": "../shared/big/model.bin",
        "a.csv": "../local.csv",
    }
    for name, target in links.items():
        (tmp_path / "backend" / name).symlink_to(target)
    found = shipped.of(tmp_path / "backend", False)
    assert {*found.files} == {"main.py", "lib/a.py"}
    assert {"big", "model.bin", "a.csv"} <= {*found.left_out}
