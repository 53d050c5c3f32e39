"""A parser for requirements files as pip reads them, in any encoding, with their includes.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from slipway.dependencies import indexes
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError, File, Package

# Byte order marks, as Windows' tools and PowerShell's `>` write.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
FROM_PYPI = "expected a package of PyPI"
# Advice for a line printed by `pip list` or `conda list --export`.
FREEZE = ": make the list by `pip list --format=freeze`"
# Options that are ignored, as they have no effect here, with the number of their arguments.
WITHOUT_EFFECT = {
    "--require-hashes": 0,
    "--prefer-binary": 0,
    "--only-binary": 1,
    "--trusted-host": 1,
    "--use-feature": 1,
    "--use-pep517": 0,
}
LONG = {"-r": "--requirement", "-c": "--constraint", "-e": "--editable", "-i": "--index-url", "-f": "--find-links"}
# Ubuntu's pip lists it, but it can't be installed. https://bugs.launchpad.net/ubuntu/+source/python-pip/+bug/1635463
NO_PACKAGES = {"pkg-resources": "0.0.0"}


@dataclass(frozen=True)
class Entry:
    """A requirement, the given SHA-256 of its files, and its file and line."""

    requirement: Requirement
    hashes: tuple[str, ...]
    where: str

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The pinned version, "" if it is not pinned."""
        specifiers = [*self.requirement.specifier]
        is_pin = len(specifiers) == 1 and specifiers[0].operator in ("==", "===")
        return specifiers[0].version if is_pin and not specifiers[0].version.endswith("*") else ""

    @property
    def text(self) -> str:
        """The requirement, normalized."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        marker = f" ; {self.requirement.marker}" if self.requirement.marker else ""
        return f"{self.name}{extras}{self.requirement.specifier}{marker}"

    @property
    def package(self) -> Package:
        """The package of a pinned requirement."""
        return Package(
            self.name,
            self.version,
            tuple(map(File, self.hashes)),
            str(self.requirement.marker or ""),
            tuple(sorted(self.requirement.extras)),
        )


@dataclass
class Requirements:
    """The content of a requirements file and its includes."""

    entries: list[Entry] = field(default_factory=list)
    constraints: list[Entry] = field(default_factory=list)
    prereleases: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def is_locked(self) -> bool:
        return bool(self.entries) and all(entry.version and entry.hashes for entry in self.entries)


def read(path: Path, folder: Path, others: Sequence[Index] = ()) -> Requirements:
    """The requirements in a file; errors name it relative to `folder`. `others` are indexes that it may name beside
    PyPI. Raises DependenciesError."""
    reader = _Reader(folder, others)
    reader.read(path, reader.found.entries)
    if reader.problems:
        raise DependenciesError(reader.problems)
    return reader.found


def text_of(path: Path) -> str:
    """The text of a file, in whatever encoding."""
    return decoded(path.read_bytes())


def decoded(data: bytes) -> str:
    """The text of a file, in whatever encoding."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    # UTF-16 without a byte order mark: every second byte of ASCII is zero.
    if b"\0" in data[:2]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


class _Reader:
    def __init__(self, folder: Path, others: Sequence[Index]) -> None:
        self.folder, self.found, self.others = folder, Requirements(), others
        self.problems: list[str] = []
        self._reading: set[Path] = set()

    def read(self, path: Path, into: list[Entry]) -> None:
        resolved = path.resolve()
        if resolved in self._reading:
            return
        self._reading.add(resolved)
        for number, line in _lines(text_of(path)):
            where = f"{os.path.relpath(path, self.folder)} line {number}"
            try:
                words = shlex.split(line, posix=False)
            except ValueError:
                words = line.split()
            if words[0].startswith("-"):
                self._option(path, words, where, into)
            else:
                self._requirement(path, line, where, into)
        self._reading.discard(resolved)

    def _option(self, path: Path, words: list[str], where: str, into: list[Entry]) -> None:
        name, _, value = words[0].partition("=")
        if not name.startswith("--") and len(name) > 2:
            name, value = name[:2], words[0][2:]
        name = LONG.get(name, name)
        value = (value or " ".join(words[1:])).strip("\"'")
        if name in ("--requirement", "--constraint"):
            self._include(path, value, where, self.found.constraints if name == "--constraint" else into)
        elif name == "--pre":
            self.found.prereleases = True
        elif name == "--editable" and (folder := self._own_project(path, value)):
            self._project(folder, value, where, into)
        elif name == "--editable":
            self._refuse(where, "an editable installation", value, _local_advice(value))
        elif name in ("--index-url", "--extra-index-url"):
            if not indexes.is_known(value, self.others):
                self.problems.append(f"{where}: {indexes.unknown(value)}")
        elif name == "--find-links" or name == "--no-index":
            self.problems.append(f"{where}: found {name}, expected only PyPI; remove the line")
        elif name == "--no-binary":
            advice = "expected the packages in the setting backend_build_packages; remove the line"
            self.problems.append(f"{where}: found {name} {value}, {advice}")
        elif name not in WITHOUT_EFFECT:
            self.problems.append(f"{where}: found the option {words[0]}, which Slipway does not know; remove the line")

    def _include(self, path: Path, name: str, where: str, into: list[Entry]) -> None:
        other = path.parent / name
        if not other.is_file():
            # A path written on Windows.
            other = path.parent / name.replace("\\", "/")
        if other.is_file():
            self.read(other, into)
        else:
            self.problems.append(f"{where}: found no file {name}, expected one in {path.parent}")

    def _own_project(self, path: Path, value: str) -> Path | None:
        """The folder of the project itself, which a release runs: `-e .`; None for another one."""
        inner, own = value.partition("[")[0].strip("\"'"), self.folder.resolve()
        # pip takes it relative to where it runs.
        found = [place.resolve() for place in (self.folder / inner, path.parent / inner)]
        return next((place for place in found if place.is_dir() and own.is_relative_to(place)), None)

    def _project(self, folder: Path, value: str, where: str, into: list[Entry]) -> None:
        """Add the dependencies of the project in a folder, in place of the project."""
        import tomllib  # few plans need it

        from slipway.dependencies import setuptools_project  # nor this

        file = folder / "pyproject.toml"
        try:
            project = tomllib.loads(text_of(file)).get("project", {}) if file.is_file() else {}
        except tomllib.TOMLDecodeError as error:
            self.problems.append(f"{where}: {file.name}: found invalid TOML ({error})")
            return
        for name, read in (
            ("setup.cfg", setuptools_project.of_configuration),
            ("setup.py", setuptools_project.of_program),
        ):
            if "dependencies" not in project and (folder / name).is_file():
                file, project = folder / name, read(text_of(folder / name))
        if "dependencies" not in project:
            self.found.notes.append(
                f"{where}: {value} is ignored, as a release runs the folder itself; what only running setup.py would"
                " tell is not installed"
            )
        extras = re.split(r"[\s,]+", value.partition("[")[2].partition("]")[0])
        optional = project.get("optional-dependencies", {})
        for dependency in [
            *project.get("dependencies", []),
            *(one for name in extras for one in optional.get(name, [])),
        ]:
            self._requirement(file, dependency, where, into)

    def _requirement(self, path: Path, line: str, where: str, into: list[Entry]) -> None:
        # Options follow spaces; a marker may contain dashes.
        text, *options = re.split(r"\s+(?=--[a-z])", line)
        hashes = []
        for option in options:
            if digest := re.fullmatch(r"--hash[= ]sha256:([0-9a-f]{64})", option):
                hashes.append(digest[1])
            elif not option.startswith("--hash"):
                self.problems.append(f"{where}: found the option {option}, which Slipway does not know; remove it")
        if _is_local(text) and (folder := self._own_project(path, text)):
            self._project(folder, text, where, into)
            return
        if _is_local(text):
            self._refuse(where, "a local path", text, _local_advice(text))
            return
        if "://" in text and " @ " not in text:
            self._refuse(where, *_of_url(text))
            return
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            said = str(error).splitlines()[0]
            advice = FREEZE if re.fullmatch(r"\S+\s{2,}\S+|\S+=[^=]+=\S+", text) else ""
            self.problems.append(
                f"{where}: found {text!r}, expected a requirement as fastapi==0.115.0 ({said}){advice}"
            )
            return
        if requirement.url:
            self._refuse(where, *_of_url(requirement.url, text))
            return
        entry = Entry(requirement, tuple(dict.fromkeys(hashes)), where)
        if NO_PACKAGES.get(entry.name) == entry.version:
            self.found.notes.append(
                f"{where}: {text} is ignored: a bug of Ubuntu's pip lists it, but it is not a package"
            )
            return
        into.append(entry)

    def _refuse(self, where: str, kind: str, text: str, advice: str) -> None:
        self.problems.append(f"{where}: found {kind}, {text}; {FROM_PYPI}: {advice}")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines without comments, each with its first line's number."""
    whole, first = "", 0
    # Not splitlines: for pip a form feed does not end a line.
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw)
        first = first or number
        if raw.rstrip().endswith("\\") and line.rstrip().endswith("\\"):
            whole += line.rstrip()[:-1] + " "
            continue
        whole = (whole + line).strip()
        if whole:
            yield first, whole
        whole, first = "", 0
    if whole.strip():
        yield first, whole.strip()


def _is_local(text: str) -> bool:
    is_path = text.startswith((".", "/", "~", "\\")) or re.match(r"[A-Za-z]:[\\/]", text) is not None
    return is_path or (re.search(r"\.(whl|tar\.gz|zip)$", text) is not None and "://" not in text)


def _local_advice(text: str) -> str:
    if text.strip("\"'").rstrip("/\\") in (".", ".."):
        return "a release runs the source folder itself; remove the line, and list its dependencies"
    return "copy its code into backend_source, or name its release on PyPI"


def _of_url(url: str, text: str = "") -> tuple[str, str, str]:
    """Kind, text and advice."""
    if url.startswith(("git+", "hg+", "svn+", "bzr+")):
        kind = "a source in version control"
        return kind, text or url, "name a release of it, or copy its code into backend_source"
    if url.startswith("file:"):
        return "a local path", text or url, "name its version, as `pip list --format=freeze` does"
    return "a file's URL", text or url, "name its version"
