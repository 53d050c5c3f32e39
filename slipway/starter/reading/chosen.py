"""Finds the application that the user names, also where the search finds another one or none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from slipway.starter.reading.apps import App
from slipway.starter.reading.files import Place, Repository, folder_of
from slipway.starter.reading.python import tree_of
from slipway.starter.reading.roots import is_within


@dataclass(frozen=True)
class Chosen:
    """What the user names: `target` as in backend_app, "" for any; `source`, the folder that it is imported from,
    relative to the repository; None for any."""

    target: str = ""
    source: str | None = None


def chosen_of(repository: Repository, candidates: Sequence[App], chosen: Chosen) -> App | None:
    """The application to read, None if there is none. `candidates` are those that the search finds, best first."""
    source = chosen.source
    inside = [one for one in candidates if source is None or is_within(one.file, source)]
    if not chosen.target:
        return next(iter(inside), None)
    fitting = [one for one in inside if one.target == chosen.target]
    if exact := [one for one in fitting if source in (None, one.root)]:
        return exact[0]
    for named in _named(repository, chosen):
        for one in inside:
            if (one.file, one.name) == (named.file, named.name):
                # The search knows from where its imports are found.
                return one if source is not None else replace(one, root=named.root)
        return named
    # It may be imported from a folder of PYTHONPATH.
    return next(iter(fitting), None)


def _named(repository: Repository, chosen: Chosen) -> Iterator[App]:
    """The modules of the name, nearest first."""
    module, _, name = chosen.target.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*", module) or not name:
        return
    path = module.replace(".", "/")
    files = [f"{path}.py", f"{path}/__init__.py"]
    if chosen.source is None:
        last = {file.rpartition("/")[2] for file in files}
        files = [one for one in repository.named(*last) if f"/{one}".endswith((f"/{files[0]}", f"/{files[1]}"))]
    elif is_outside(chosen.source):
        return
    else:
        files = [f"{chosen.source}/{file}".lstrip("/") for file in files]
    for file in files:
        if tree_of(repository, file):
            root = folder_of(file.removesuffix("/__init__.py").removesuffix(".py"))
            for _ in range(module.count(".")):
                root = folder_of(root)
            yield App(file, name.removesuffix("()"), name.endswith("()"), Place(file), root)


def is_outside(folder: str) -> bool:
    """Whether a folder is not in the repository."""
    return folder == ".." or folder.startswith(("../", "/"))
