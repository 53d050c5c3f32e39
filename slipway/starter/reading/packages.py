"""Finds the file that lists a backend's Python packages, the packages, and the required Python."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from slipway.dependencies import indexes
from slipway.dependencies.files import LISTS, LOCKS, PROJECT, UNLOCKED
from slipway.starter.reading.files import Place, Repository, folder_of, line_of, parents

# The form of a pyproject.toml in a workspace of uv.
UV_LOCK, WITH_WORKSPACE = "uv.lock", "locked by its workspace"
# The form of a pyproject.toml with Poetry's own table.
POETRYS = "pyproject.toml, Poetry's"
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement)[= ]?\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Dependencies:
    """`file` lists them; `folder` is where Slipway looks for it. `names` are normalized, from all lists there."""

    folder: str
    file: str
    form: str
    names: frozenset[str] = field(default=frozenset())
    # Where a Dockerfile or the like installs this list, if another one would be found by default.
    installed_at: Place | None = None

    @property
    def is_locked(self) -> bool:
        """Whether every package is pinned with hashes; otherwise `slipway lock` is needed."""
        is_listed = self.form.endswith(", with hashes") or WITH_WORKSPACE in self.form
        return is_listed or self.file.rpartition("/")[2] in LOCKS

    @property
    def can_be_locked(self) -> bool:
        """Whether it is a list that any lock is made from, unlike those of conda and setuptools."""
        return UNLOCKED.get(self.file.rpartition("/")[2]) != ""

    @property
    def own_lock(self) -> str:
        """The command of another tool that locks it, "" if `slipway lock` does."""
        name = self.file.rpartition("/")[2]
        return "poetry lock" if self.form == POETRYS else UNLOCKED.get(name, "")


def dependencies(repository: Repository, app_file: str, root: str) -> Dependencies | None:
    """The file that lists an application's packages: in the folder that it is imported from or above, else between that
    and the application, else anywhere."""
    above = [*parents(root)]
    between = [folder for folder in parents(folder_of(app_file)) if folder not in above]
    for folder in [*above, *between]:
        if found := _in(repository, folder):
            return _of_workspace(repository, found)
    others = repository.named("requirements.txt", *LOCKS, "pyproject.toml")
    return _in(repository, folder_of(others[0])) if others else None


_INSTALLS = re.compile(r"\bpip3?\s+install\b[^\n&|;]*?(?:-r|--requirement)[= ]?\s*[\"']?([^\s\"'`&|;,]+)")
_COPIES = re.compile(r"^\s*(?:COPY|ADD)\s+(?:--\S+\s+)*(\S+)\s+(\S+)\s*$", re.MULTILINE)
_FOR_WORK = re.compile(r"dev|test|local|docs?|lint|debug", re.IGNORECASE)


def as_installed(
    repository: Repository, listed: Dependencies | None, files: Iterable[str], root: str
) -> Dependencies | None:
    """The list that one of `files`, such as the Dockerfile that starts the application, installs, if it is another one
    than `listed`."""
    for file in files if listed and not listed.is_locked and listed.file.endswith((".txt", ".in")) else ():
        text = re.sub(r"\\\n", " ", repository.read(file) or "")
        named = list(_installed(repository, file, text, root))
        if listed is not None and named and listed.file not in named:
            place = Place(file, line_of(text, max(text.find("-r "), 0)))
            names = frozenset(_names(repository, named[0]))
            return Dependencies(folder_of(named[0]), named[0], _form(repository, named[0]), names, place)
        if named:
            break
    return listed


# The commands of other tools that install what their locks name.
_LOCKS_OF = {
    "uv.lock": re.compile(r"\buv[\"',\s]+sync\b"),
    "poetry.lock": re.compile(r"\bpoetry[\"',\s]+(?:install|sync)\b"),
    "pdm.lock": re.compile(r"\bpdm[\"',\s]+(?:install|sync)\b"),
    "Pipfile.lock": re.compile(r"\bpipenv[\"',\s]+(?:install|sync)\b"),
}


def by_tool(repository: Repository, listed: Dependencies | None, files: Iterable[str]) -> Dependencies | None:
    """The lock that one of `files` installs, if there are other locks or lists beside it, which may disagree."""
    prefix = f"{listed.folder}/" if listed and listed.folder else ""
    there = [name for name in (*LOCKS, *LISTS) if repository.has(f"{prefix}{name}")]
    for file in files if listed and not listed.installed_at and len(there) > 1 else ():
        text = repository.read(file) or ""
        # One that also installs a list by pip leaves the choice open.
        if _INSTALLS.search(text):
            continue
        found = {name: match for name, one in _LOCKS_OF.items() if name in there and (match := one.search(text))}
        if listed and len(found) == 1:
            ((name, match),) = found.items()
            lock = f"{prefix}{name}"
            names = frozenset(_names(repository, lock))
            place = Place(file, line_of(text, match.start()))
            return Dependencies(listed.folder, lock, _form(repository, lock), names, place)
    return listed


def _installed(repository: Repository, file: str, text: str, root: str) -> Iterator[str]:
    """The lists in the repository that a file installs by pip."""
    copied = {posixpath.basename(to.rstrip("/")): source for source, to in _COPIES.findall(text)}
    for name in _INSTALLS.findall(text):
        name = copied.get(posixpath.basename(name), name)
        parts = name.replace("\\", "/").removeprefix("./").lstrip("/").split("/")
        # The path in a container may begin with its folder.
        inner = ["/".join(parts[count:]) for count in range(len(parts))]
        places = [*parents(folder_of(file)), *parents(root)]
        found = (posixpath.normpath(posixpath.join(folder, one)) for one in inner for folder in places)
        there = next((one for one in found if repository.has(one)), "")
        if there and not _FOR_WORK.search(posixpath.basename(there)):
            yield there


def for_production(repository: Repository, listed: Dependencies) -> str:
    """A list for production beside the one that is found, "" for none."""
    if listed.installed_at or posixpath.basename(listed.file) != "requirements.txt":
        return ""
    folder = folder_of(listed.file)
    names = [f"requirements{between}{name}.txt" for between in "-_./" for name in ("production", "prod")]
    return next((one for name in names if repository.has(one := f"{folder}/{name}".lstrip("/"))), "")


def _of_workspace(repository: Repository, found: Dependencies) -> Dependencies:
    """The same with the packages of the lock of a workspace of uv, if the project is a member of one."""
    name = toml(repository, found.file).get("project", {}).get("name") if found.file.endswith(PROJECT) else None
    for folder in parents(folder_of(found.folder)) if name and found.folder else ():
        lock = f"{folder}/{UV_LOCK}".lstrip("/")
        if repository.has(lock) and re.search(rf'^name = "{re.escape(str(name))}"$', repository.read(lock) or "", re.M):
            names = found.names | {*_names(repository, lock)}
            return replace(found, form=f"{PROJECT}, {WITH_WORKSPACE} ({lock})", names=names)
    return found


def lists_packages(repository: Repository, folder: str) -> bool:
    """Whether a folder has a list of packages."""
    return _in(repository, folder) is not None


def _in(repository: Repository, folder: str) -> Dependencies | None:
    prefix = f"{folder}/" if folder else ""
    there = [f"{prefix}{name}" for name in (*LOCKS, *LISTS, PROJECT, *UNLOCKED) if repository.has(f"{prefix}{name}")]
    there = [file for file in there if not file.endswith("pyproject.toml") or _has_list(repository, file)]
    if not there:
        return None
    names = frozenset(name for file in there for name in _names(repository, file))
    return Dependencies(folder, there[0], _form(repository, there[0]), names)


def _has_list(repository: Repository, file: str) -> bool:
    """Whether a pyproject.toml lists packages, rather than only options of tools."""
    tables = toml(repository, file)
    project, poetry = tables.get("project", {}), tables.get("tool", {}).get("poetry", {})
    return "dependencies" in project or "dependencies" in project.get("dynamic", ()) or "dependencies" in poetry


def _form(repository: Repository, file: str) -> str:
    name = file.rpartition("/")[2]
    if name == PROJECT and "dependencies" not in toml(repository, file).get("project", {}):
        return POETRYS
    if not name.endswith((".txt", ".in")):
        return name
    text = repository.read(file) or ""
    if "--hash=" in text:
        return f"{name}, with hashes"
    lines = [line for line in text.split("\n") if re.match(r"[A-Za-z]", line)]
    pinned = sum("==" in line for line in lines)
    return f"{name}, {'pinned' if lines and pinned == len(lines) else 'not all pinned'}, without hashes"


def toml(repository: Repository, file: str) -> dict[str, Any]:
    """A parsed TOML file; {} if it is missing or invalid."""
    try:
        return tomllib.loads(repository.read(file) or "")
    except (tomllib.TOMLDecodeError, RecursionError):
        return {}


def _names(repository: Repository, file: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """`above` are the files that include this one."""
    text = repository.read(file) or ""
    name = file.rpartition("/")[2]
    for included in _INCLUDE.findall(text) if name.endswith((".txt", ".in")) else ():
        other = posixpath.normpath(posixpath.join(folder_of(file), included.replace("\\", "/")))
        if other not in (file, *above) and not other.startswith(("/", "../")):
            yield from _names(repository, other, (file, *above))
    if name.endswith((".txt", ".in")):
        found = re.findall(r"^\s*([A-Za-z][\w.-]*(?:\[[\w,\s-]*\])?)\s*(?:[=<>!~;@]|$|#)", text, re.MULTILINE)
    elif name in ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"):
        found = re.findall(r"^name = \"([\w.-]+)\"", text, re.MULTILINE)
    elif name == "Pipfile.lock":
        found = re.findall(r"^\s{8}\"([\w.-]+)\": \{", text, re.MULTILINE)
    else:
        found = re.findall(r"[\"']?([A-Za-z][\w.-]*(?:\[[\w,\s-]*\])?)[\"']?\s*[=<>!~\"',]", text)
    for one in found:
        bare, _, extras = one.partition("[")
        normal = re.sub(r"[-_.]+", "-", bare).lower()
        yield normal
        if extras:
            yield from (f"{normal}[{extra.strip()}]" for extra in extras.rstrip("]").split(","))


def version_of(repository: Repository, listed: Dependencies | None, name: str) -> tuple[int, ...]:
    """The version of a package in the list or lock, () if none is named."""
    text = repository.read(listed.file) or "" if listed else ""
    found = (
        re.search(rf"^\s*\"?{name}(?:\[[^\]]*\])?(?:\s*=\s*[\"'])?\s*(?:==|\^)\s*(\d+(?:\.\d+)+)", text, re.MULTILINE)
        or re.search(rf'^name = "{name}"\nversion = "(\d+(?:\.\d+)+)"', text, re.MULTILINE)
        or re.search(rf'"{name}": \{{[^}}]*"version": "==(\d+(?:\.\d+)+)"', text)
    )
    return tuple(map(int, found[1].split("."))) if found else ()


# --- Package indexes ------------------------------------------------------------------------------------------------

_INDEX_OPTION = re.compile(r"^\s*(?:-i|--index-url|--extra-index-url)[= ]\s*[\"']?(https?://[^\s\"']+)", re.MULTILINE)
# The tables of uv, Poetry and pipenv, as keys, and the files that they are in.
_INDEX_TABLES = (
    ("pyproject.toml", ("tool", "uv", "index")),
    ("uv.toml", ("index",)),
    ("pyproject.toml", ("tool", "poetry", "source")),
    ("Pipfile", ("source",)),
)


def other_indexes(repository: Repository, folder: str) -> dict[str, tuple[str, Place]]:
    """The package indexes beside PyPI that the lists in a folder name: URL without a login, and place, by a name."""
    found: dict[str, tuple[str, Place]] = {}
    prefix = f"{folder}/" if folder else ""
    there = [*_indexes_of_tables(repository, prefix), *_indexes_of_lists(repository, prefix)]
    for name, url, place in there:
        if re.fullmatch(r"https?://.+", url) and not indexes.OFFICIAL.fullmatch(indexes.bare(url)):
            slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30]
            its = slug if re.match(r"[a-z]", slug) else indexes.name_of(url)
            if indexes.bare(url) not in {one for one, _ in found.values()}:
                found.setdefault(its, (indexes.bare(url), place))
    return found


def _indexes_of_tables(repository: Repository, prefix: str) -> Iterator[tuple[str, str, Place]]:
    for file, keys in _INDEX_TABLES:
        table: Any = toml(repository, f"{prefix}{file}") if repository.has(f"{prefix}{file}") else {}
        for key in keys:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        text = repository.read(f"{prefix}{file}") or ""
        for one in table if isinstance(table, list) else ():
            url = str(one.get("url", "")) if isinstance(one, dict) else ""
            yield str(one.get("name", "")), url, Place(f"{prefix}{file}", line_of(text, max(text.find(url), 0)))


def _indexes_of_lists(repository: Repository, prefix: str) -> Iterator[tuple[str, str, Place]]:
    for file in repository.below(prefix.rstrip("/")):
        if re.fullmatch(rf"{re.escape(prefix)}(requirements/)?[\w.-]*\.(txt|in)", file):
            text = repository.read(file) or ""
            for match in _INDEX_OPTION.finditer(text):
                yield "", match[1], Place(file, line_of(text, match.start(1)))


# --- Python -----------------------------------------------------------------------------------------------------------

_PLACES = (
    (".python-version", re.compile(r"^\s*(?:cpython-|python-)?(3\.\d+)", re.MULTILINE)),
    ("runtime.txt", re.compile(r"python-(3\.\d+)")),
    (".tool-versions", re.compile(r"^python\s+(3\.\d+)", re.MULTILINE)),
    ("pyproject.toml", re.compile(r"^\s*requires-python\s*=\s*[\"']([^\"']+)", re.MULTILINE)),
    ("pyproject.toml", re.compile(r"^\s*python\s*=\s*[\"']([^\"']+)", re.MULTILINE)),
    ("Pipfile", re.compile(r"^\s*python(?:_full)?_version\s*=\s*[\"'](3\.\d+)", re.MULTILINE)),
    ("environment.yml", re.compile(r"python\s*=+\s*(3\.\d+)")),
)  # fmt: skip
_IMAGE = re.compile(r"^\s*FROM\s+(?:--\S+\s+)?\S*python[^\s:]*:\S*?(3\.\d+)", re.MULTILINE | re.IGNORECASE)
_ARGUMENT = re.compile(r"^\s*ARG\s+PYTHON_VERSION=[\"']?(3\.\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Wanted:
    """A series of Python, such as "3.12", or a range, as `specifier`."""

    specifier: str
    place: Place

    @property
    def series(self) -> str:
        """The named series; "" for a range."""
        exact = re.fullmatch(r"(?:==|~=|\^|~)?\s*(3\.\d+)(?:\.[\d*]+)?", self.specifier.strip())
        is_range = self.specifier.strip().startswith("^")
        return exact[1] if exact and not is_range else ""

    @property
    def least(self) -> tuple[int, int]:
        """The lowest series that it allows."""
        found = re.search(r"(?:>=|\^|~=|~|==|^)\s*3\.(\d+)", self.specifier)
        return (3, int(found[1])) if found else (3, 0)


def pythons(repository: Repository, folders: list[str]) -> list[Wanted]:
    """Statements of the required Python, in an application's folders and above: named series before ranges."""
    found = []
    for folder in dict.fromkeys(above for one in folders for above in parents(one)):
        prefix = f"{folder}/" if folder else ""
        for name, pattern in _PLACES:
            text = repository.read(f"{prefix}{name}") if repository.has(f"{prefix}{name}") else None
            if text and (match := pattern.search(text)):
                found.append(Wanted(match[1], Place(f"{prefix}{name}", line_of(text, match.start(1)))))
        for file in repository.below(folder):
            if folder_of(file) == folder and "dockerfile" in file.rpartition("/")[2].lower():
                text = repository.read(file) or ""
                if match := _IMAGE.search(text) or _ARGUMENT.search(text):
                    found.append(Wanted(match[1], Place(file, line_of(text, match.start(1)))))
    return sorted(found, key=lambda one: not one.series)
