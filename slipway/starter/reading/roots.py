"""The folders of a repository that an application is imported from: its own, and those of packages beside it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from slipway.starter.reading.apps import App
from slipway.starter.reading.files import Repository, folder_of
from slipway.starter.reading.python import Code

MAX_ROOTS = 8


def code_of(repository: Repository, app: App) -> Code:
    """The code of an application, with the packages of its repository that it imports from elsewhere."""
    code = Code(repository, app.root)
    beside = [folder for folder in _projects(repository) if folder != app.root]
    while len(code.others) < MAX_ROOTS and (more := _needed(code, app, beside)):
        code = Code(repository, app.root, [*code.others, more])
    return code


def _projects(repository: Repository) -> list[str]:
    """The folders that packages of the repository are imported from."""
    tops = [folder_of(file) for file in repository.named("pyproject.toml", "setup.py")]
    return [*dict.fromkeys(folder for top in tops for folder in (f"{top}/src".lstrip("/"), top))]


def _needed(code: Code, app: App, beside: list[str]) -> str:
    """The next folder that an import is found in and that `code` lacks, "" for none."""
    heads = dict.fromkeys(name.partition(".")[0] for one in code.reachable(app.module) for name in one.imported)
    for head in heads:
        if head and not code.file_of(head) and not code.repository.is_folder(f"{code.root}/{head}".lstrip("/")):
            for folder in beside:
                base = f"{folder}/{head}".lstrip("/")
                if folder not in code.others and code.repository.has(f"{base}/__init__.py"):
                    return folder
    return ""


def common(folders: Iterable[str]) -> str:
    """The innermost folder that all are in."""
    found = posixpath.commonpath([f"/{folder}" for folder in folders])
    return found.strip("/")


def is_within(path: str, folder: str) -> bool:
    return not folder or f"{path}/".startswith(f"{folder}/")
