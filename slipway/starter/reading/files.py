"""Reads the relevant files of an unknown repository in bounded time, whatever it contains.

Nothing is imported or run. Folders of third-party code, builds and data are skipped, links to folders are not followed.
"""

from __future__ import annotations

import ast
import io
import os
import re
import time
import tokenize
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from itertools import islice
from pathlib import Path, PurePosixPath

from dotenv.parser import parse_stream

from slipway.dependencies.requirements import MARKS

# Folders without code of the deployed application.
SKIPPED = {
    "node_modules", "bower_components", "vendor", "venv", "site-packages", "dist", "build", "target",
    "out", "coverage", "htmlcov", "__pycache__", "tests", "test", "__tests__", "e2e", "cypress", "docs", "doc",
    "lib64", "migrations", "storybook-static",
}  # fmt: skip
# The maximum depth of a file; an API's routes are often five folders deep.
MAX_DEPTH = 9
# Of a folder with more entries, which holds data, only the first are read. And the maximum in total.
MAX_ENTRIES = 1000
MAX_SEEN = 300_000
# Relevant files, by suffix or by a part of the name.
_SUFFIXES = (
    *(
        ".py",
        ".toml",
        ".lock",
        ".in",
        ".cfg",
        ".sh",
        ".bat",
        ".ps1",
        ".service",
        ".conf",
        ".yml",
        ".yaml",
        ".md",
        ".rst",
    ),
    *(".js", ".jsx", ".ts", ".tsx", ".mjs", ".mts", ".cjs", ".cts", ".vue", ".svelte", ".astro", ".html", ".lockb"),
)
_TELLING = re.compile(
    r"requirements|runtime\.txt|\.?env\b|\.env|dockerfile|procfile|makefile|justfile|pipfile|python-version|tool-versions|readme"
    r"|package\.json|(package-lock|npm-shrinkwrap|angular|openapi|swagger|proxy\.conf)\.json|^\.gitignore$|pyvenv\.cfg|containerfile",
    re.IGNORECASE,
)
MAX_BYTES = 1_000_000
# The time limit on a slow disk.
SCAN_SECONDS = 5
# Hidden folders that are read nevertheless.
HIDDEN_FOLDERS = {".envs", ".docker", ".streamlit"}


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file, relative to the top of the repository; line 0 is the whole file."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


def decoded(data: bytes) -> str:
    """The text of a file in whatever encoding, with normalized line ends. Never fails."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, errors="replace")
            break
    else:
        if b"\0" in data[:200]:
            data_encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
            text = data.decode(data_encoding, errors="replace")
        else:
            try:
                encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
                text = data.decode(encoding)
            except (SyntaxError, UnicodeDecodeError, LookupError):
                text = data.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Repository:
    """The relevant files below `top`, relative to it, nearest first."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.files: list[str] = []
        self.folders: set[str] = {""}
        # Folders that were not read completely, and those with any files.
        self.cut: list[str] = []
        self._filled: set[str] = set()
        self._seen = 0
        self._texts: dict[str, str | None] = {}
        # A cache for the parsers.
        self.trees: dict[str, tuple[ast.Module, int, list[ast.Import | ast.ImportFrom]]] = {}
        self._scan()

    def _scan(self) -> None:
        end = time.monotonic() + SCAN_SECONDS
        waiting = deque([("", 0)])
        while waiting:
            folder, depth = waiting.popleft()
            if self._seen > MAX_SEEN or time.monotonic() > end:
                self.cut.append(folder)
                break
            inner = self._look_into(folder)
            if depth < MAX_DEPTH:
                waiting.extend((f"{folder}/{name}" if folder else name, depth + 1) for name in inner)

    def _look_into(self, folder: str) -> list[str]:
        """Record a folder's files, and return the names of subfolders to read."""
        files, folders = [], []
        try:
            with os.scandir(self.top / folder) as entries:
                listed = [*islice(entries, MAX_ENTRIES + 1)]
        except OSError:
            return []
        self._seen += len(listed)
        if len(listed) > MAX_ENTRIES:
            self.cut.append(folder)
        is_list = folder.endswith("requirements")
        is_filled = False
        for entry in listed:
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif name.endswith(_SUFFIXES) or _TELLING.search(name) or (is_list and name.endswith(".txt")):
                    if entry.is_file():
                        files.append(name)
                else:
                    is_filled = True
            except OSError:
                continue
        if folder and "pyvenv.cfg" in files:
            return []
        if folder:
            self.folders.add(folder)
        if files or is_filled:
            self._filled.add(folder)
        self.files += [f"{folder}/{name}" if folder else name for name in sorted(files)]
        return [
            name
            for name in sorted(folders)
            if name not in SKIPPED and (not name.startswith(".") or name in HIDDEN_FOLDERS)
        ]

    def add_folder_of(self, file: str) -> None:
        """Read the folder of a file, which is hidden or skipped, but without those below it."""
        if not self.has(file) and (self.top / file).is_file():
            self._look_into(folder_of(file))
            for name in ("_known", "_by_name"):
                self.__dict__.pop(name, None)

    @cached_property
    def _known(self) -> set[str]:
        return set(self.files)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in self.files:
            found.setdefault(file.rpartition("/")[2], []).append(file)
        return found

    def has(self, file: str) -> bool:
        return file in self._known

    def named(self, *names: str) -> list[str]:
        """The files of these names in all folders, nearest first."""
        found = [file for name in names for file in self._by_name.get(name, ())]
        return sorted(found, key=lambda file: file.count("/"))

    def below(self, folder: str) -> Iterator[str]:
        """The files below a folder, "" for the top."""
        prefix = f"{folder}/" if folder else ""
        return (file for file in self.files if file.startswith(prefix))

    def is_folder(self, folder: str) -> bool:
        """Whether such a folder exists, even if it was skipped."""
        return folder in self.folders or (self.top / folder).is_dir()

    def has_files(self, folder: str) -> bool:
        """Whether a folder contains any files."""
        return folder in self._filled

    def read(self, file: str) -> str | None:
        """The text of a file, None if it can't be read. Of a long one only the beginning."""
        if file not in self._texts:
            try:
                with (self.top / file).open("rb") as opened:
                    self._texts[file] = decoded(opened.read(MAX_BYTES))
            except (OSError, ValueError):
                self._texts[file] = None
        return self._texts[file]


# --- Files of names and values ----------------------------------------------------------------------------------------


def dotenv(text: str) -> dict[str, tuple[str, int]]:
    """Value and line number by name of NAME=value lines; other lines are ignored."""
    found = {}
    for binding in parse_stream(StringIO(text)):
        if binding.key and not binding.error:
            # A binding includes the empty lines before it.
            before = binding.original.string[: -len(binding.original.string.lstrip()) or None]
            found[binding.key] = (binding.value or "", binding.original.line + before.count("\n"))
    return found


def parents(folder: str) -> Iterator[str]:
    """A folder and its parents, up to the top, ""."""
    if folder:
        yield folder
        yield from (str(one) if str(one) != "." else "" for one in PurePosixPath(folder).parents)
    else:
        yield ""


def folder_of(file: str) -> str:
    return file.rpartition("/")[0]


def line_of(text: str, offset: int) -> int:
    """The line number of an offset."""
    return text.count("\n", 0, offset) + 1


def first(items: Iterable[str]) -> str:
    return next(iter(items), "")
