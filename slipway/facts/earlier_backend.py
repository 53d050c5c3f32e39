"""What the previous backends of sites read and write: sections of facts.Earlier, as described there.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT ROOT ...`, with the folders of the sites.
Prints the sections `written`, `environment`, `databases` and `stores` of each.

Values of variables stay on the host, as they may be secrets: only names of hosts, databases and places are printed.
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
import sys
import time
from contextlib import suppress
from fnmatch import fnmatchcase

from slipway.facts.own_addresses import is_here
from slipway.facts.searches import Search, below, is_below, is_file, is_folder, listed, read, shown, state_of, succeeds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_PLACES = 100

# --- What is looked for ----------------------------------------------------------------------------------------------

# Code and documents, which a deployment may replace while the backend runs: a folder named "media" may hold nothing
# else.
IS_CODE = re.compile(
    r".*[.](?:py|py[cdio]|so|pyx|ipynb|html?|jinja2?|j2|m?js|cjs|jsx|tsx?|vue|css|s[ac]ss|less|map|md|rst|toml|cfg|ini"
    r"|lock|ya?ml|sh|bat|log|swp|service|conf|example|(?:db|sqlite[0-9]?)-(?:wal|shm|journal))"
    r"|(?:package|package-lock|tsconfig|composer)[.]json|requirements.*[.]txt|LICENSE|Makefile|Dockerfile.*|[.].*",
    re.DOTALL,
)
IS_DATABASE = re.compile(r"[.](?:db|sqlite[^/]*)\Z")
TO_UPLOADS = re.compile(r"/(?:uploads|media)/")
UPLOADS = ("uploads", "media")
BESIDE_CODE = (*UPLOADS, "data", "storage", "files")
SKIPPED = {"venv", ".venv", "env", "node_modules", ".git", "__pycache__"}
NO_SOURCES = {"venv", ".venv", "env", "node_modules", "tests"}

# Where backends have folders besides their code; the other folders are the system's.
OUTSIDE = ("/srv", "/data", "/opt", "/mnt", "/var/uploads", "/var/data", "/var/media")
MAX_DEPTH = 6
OF_SYSTEM = (
    *("/", "/usr", "/usr/*", "/etc", "/etc/*", "/bin/*", "/sbin/*", "/lib*", "/proc/*", "/sys/*", "/dev/*", "/run/*"),
    *("/boot/*", "/tmp", "/tmp/*", "/var/tmp", "/var/tmp/*", "/var/cache/*", "/var/log/journal/*"),  # noqa: S108
)
# Folders of what belongs to several programs or users.
SHARED_BY_ALL = ("/root", "/srv", "/opt", "/mnt")
HOLDS_SHARED = ("/home", "/var")
PROC = "/proc"
NO_USERS_OF_THEIR_OWN = ("root", "www-data", "nobody")

# In an environment file, the value up to its first quote or space.
ASSIGNMENT = re.compile(r"""\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*["']?([^"'\s]*)""", re.ASCII)
# As systemctl(1) prints a unit's variables.
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
ENV_FILE_OPTION = re.compile(r"--env-file[ =]([^ ;]+)")
PATHS = re.compile(r"/.*:/.*")
SQLITE = re.compile(r"sqlite.*?:///(/.*)")
MONGODB = re.compile(
    r"mongodb(?:\+srv)?://(?P<login>[^/?]*@)?(?P<hosts>[\[\]A-Za-z0-9._:,%-]+)(?:/(?P<database>[A-Za-z0-9_%-]*))?"
    r"(?:[?](?P<options>.*))?"
)
PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
NAMES_DATABASE = re.compile(r"(?:.*_)?(?:DB|DATABASE|DBNAME)(?:_NAME)?|(?:.*_)?MONGO(?:DB)?_(?:DBNAME|NAME)", re.I)
NAMES_HOST = re.compile(r"(?:.*_)?MONGO(?:DB)?_?(?:.*_)?HOST(?:NAME)?", re.I)

QUOTED = r"""["']([a-z0-9_-]+)["']"""
IN_CODE = {
    # A database of a client, and the default of a variable that names one, with the variable.
    "client": re.compile(
        rf"(?:(?:(?:client|mongo|motor|conn|cluster)[a-z_]*|[)])\[|get_database[(]){QUOTED}", re.ASCII | re.I
    ),
    "default": re.compile(
        r"(?<!\w)([a-z_]*(?:db|database|dbname|mongo(?:db)?_name)(?:_name)?)"
        rf"""["']?(?: *, *|(?: *: *str)? *= *){QUOTED}(?!\w)""",
        re.I,
    ),
    "place": re.compile(r"""["'](?:sqlite[a-z+]*:///)?(/(?:srv|data|opt|mnt|home|var/[a-z]+)/[A-Za-z0-9_./-]+)["']"""),
}
IS_QUOTED = re.compile(r"""["'](?:[A-Za-z0-9_-]+["']|(?:sqlite|/))""")
# open(2): the last two bits.
IS_OPEN_TO_WRITE = re.compile(r"^flags:.*[1256]$", re.MULTILINE)

# --- The site --------------------------------------------------------------------------------------------------------


class Site:
    def __init__(self, root: str) -> None:
        self.root, self.backend = root, f"{root}/backend"
        self.unit = f"{os.path.basename(root)}-backend.service"
        self.working_directory = self.unit_has("WorkingDirectory").removeprefix("!")
        is_elsewhere = self.working_directory.count("/") > 1 and not self.working_directory.startswith(root)
        # The folder of a backend that is not in the site's own.
        self.folder = self.working_directory if is_elsewhere else ""
        self.code = [self.backend, self.folder] if self.folder else [self.backend]
        self.user = self.unit_has("User") or "root"
        self.process = self.unit_has("MainPID") or "0"
        self.unit_variables = [found[1] or found[2] for found in WORD.finditer(self.unit_has("Environment"))]
        self.unit_files = self.environment_files()
        self.option_files = self.files_of_options()
        self.variables: dict[str, str] = {}
        for variable in Search(environment, self).lines():
            name, _, value = variable.partition("=")
            self.variables.setdefault(name, value)

    def unit_has(self, name: str) -> str:
        return shown("systemctl", "show", "-p", name, "--value", self.unit)

    def environment_files(self) -> list[str]:
        """By what counts first: the last one."""
        lines = self.unit_has("EnvironmentFiles").split("\n")
        return [line.partition(" (ignore_errors=")[0].removeprefix("-") for line in reversed(lines)]

    def files_of_options(self) -> list[str]:
        """Those that the backend reads itself."""
        options = ENV_FILE_OPTION.findall(self.unit_has("ExecStart"))
        folders = (*reversed(self.code), self.root)
        return [*map(self.absolute, options), *(f"{folder}/.env" for folder in folders)]

    def absolute(self, path: str) -> str:
        return os.path.join(self.working_directory or self.backend, path)

    def began(self) -> int:
        """When the backend was started, in nanoseconds; now if it does not run."""
        date = self.unit_has("ExecMainStartTimestamp")
        seconds = shown("date", "-d", date, "+%s") if date else ""
        return int(seconds) * 10**9 if seconds else time.time_ns()

    def is_part(self, place: str) -> bool:
        """Whether a place is within the site or around it."""
        own = (self.backend, f"{self.root}/frontend", f"{self.root}/shared", *self.code)
        return any(is_below(place, folder) for folder in own) or is_below(self.folder or self.root, place)

    def writes(self, place: str) -> bool:
        """Whether the backend's user may write to a place."""
        return self.user == "root" or succeeds("runuser", "-u", self.user, "--", "test", "-w", place)

    def is_in_unit(self, cgroup: str) -> bool:
        return re.search(rf"/{re.escape(self.unit)}(?:/|$)", cgroup, re.MULTILINE) is not None


# --- Variables, and the databases that they and the code name --------------------------------------------------------


def assigned(text: str) -> Iterator[tuple[str, str]]:
    return ((found[1], found[2]) for found in map(ASSIGNMENT.match, text.split("\n")) if found)


def environment(site: Site) -> Iterator[str]:
    """NAME=VALUE, by what counts first: the process has what its unit says, and python-dotenv keeps what there is."""
    texts = itertools.chain(
        [read(f"{PROC}/{site.process}/environ") if site.process != "0" else ""],
        map(read, site.unit_files),
        site.unit_variables,
        map(read, site.option_files),
    )
    return (f"{name}={value}" for text in texts for name, value in assigned(text))


def names_in_files(site: Site) -> Iterator[str]:
    return (name for text in map(read, [*site.unit_files, *site.option_files]) for name, _ in assigned(text))


def may_name(line: str) -> bool:
    """Whether a line of code may match IN_CODE, which takes ten times as long to say."""
    return ('"' in line or "'" in line) and IS_QUOTED.search(line) is not None


def named_in_code(site: Site) -> Iterator[str]:
    """The kind of IN_CODE and what its groups match."""
    left = dict.fromkeys(IN_CODE, MAX_PLACES)
    for entry in below(site.code, NO_SOURCES):
        if not entry.name.endswith(".py") or not is_file(entry):
            continue
        text = "\n".join(filter(may_name, read(entry.path).split("\n")))
        for kind, pattern in IN_CODE.items():
            for found in itertools.islice(pattern.finditer(text), left[kind]):
                left[kind] -= 1
                yield " ".join([kind, *found.groups()])
        if not any(left.values()):
            return


def database(name: str, value: str) -> str:
    """VARIABLE HOSTS FAR DATABASE of facts.Earlier, "" of other variables."""
    if value.startswith(("mongodb://", "mongodb+srv://")):
        found = MONGODB.fullmatch(value)
        # What is before a later "@" may be a part of a password.
        if not found or (not found["login"] and "@" in (found["options"] or "")):
            return ""
        hosts, named = found["hosts"], found["database"]
    elif not PLAIN.fullmatch(value):
        return ""
    elif NAMES_DATABASE.fullmatch(name):
        return f"{name} - - {value}"
    elif NAMES_HOST.fullmatch(name):
        hosts, named = value, ""
    else:
        return ""
    is_srv = value.startswith("mongodb+srv:")
    far = [host for host in hosts.split(",") if host and (is_srv or not is_here(host))]
    return f"{name} {hosts} {','.join(far) or '-'} {named or '-'}"


def databases(site: Site, named: list[list[str]]) -> Iterator[str]:
    yield from filter(None, itertools.starmap(database, site.variables.items()))
    yield from (f"code - - {name}" for name in sorted({words[1] for words in named if words[0] == "client"}))
    given = {name.lower() for name in site.variables}
    for variable, name in sorted({(words[1], words[2]) for words in named if words[0] == "default"}):
        if variable.lower() not in given:
            yield f"code - - {name}"


# --- Files -----------------------------------------------------------------------------------------------------------


def one_of_each(paths: Iterable[str]) -> Iterator[str]:
    """A file of each folder, or of what is uploaded; of databases each."""
    seen: set[str] = set()
    for path in paths:
        uploads = TO_UPLOADS.search(path)
        place = path[: uploads.end()] if uploads else path if IS_DATABASE.search(path) else os.path.dirname(path)
        if place not in seen:
            seen.add(place)
            yield path
            if len(seen) == MAX_PLACES:
                return


def places_of(site: Site) -> list[str]:
    return [place for place in (*site.code, *(f"{site.root}/{name}" for name in BESIDE_CODE)) if is_folder(place)]


def folders_of_uploads(places: list[str]) -> Iterator[str]:
    others = [place for place in places if os.path.basename(place) not in UPLOADS]
    yield from (place for place in places if place not in others)
    for entry in below(others, SKIPPED, last=UPLOADS):
        if entry.name in UPLOADS and is_folder(entry.path):
            yield entry.path


def uploaded(site: Site) -> Iterator[str]:
    for folder in folders_of_uploads(places_of(site)):
        # It may be a package of this name.
        if not os.path.exists(f"{folder}/__init__.py"):
            files = (one.path for one in below([folder]) if not IS_CODE.fullmatch(one.name) and is_file(one))
            yield from itertools.islice(files, 1)


def changed(site: Site) -> Iterator[str]:
    """Of files that are newer than the backend's start one of each folder, and databases."""
    return one_of_each(changed_files(site, site.began()))


def changed_files(site: Site, began: int) -> Iterator[str]:
    for entry in below(places_of(site), SKIPPED):
        is_data = not IS_CODE.fullmatch(entry.name) and is_file(entry)
        if is_data and (IS_DATABASE.search(entry.name) or is_newer(entry, began)):
            yield entry.path


def is_newer(entry: os.DirEntry[str], began: int, uid: int | None = None) -> bool:
    """Whether a file is newer than the backend's start, and of this user, if one is given."""
    state = state_of(entry)
    return state is not None and state.st_mtime_ns > began and uid in (None, state.st_uid)


# --- Places outside of the site --------------------------------------------------------------------------------------


def outside(site: Site, reason: str, path: str) -> Iterator[str]:
    """REASON PATH if the backend may write to this place, without links in its path."""
    place = site.absolute(path)
    if not os.path.exists(place):
        return
    place = os.path.realpath(place)
    # Other files that are named are read.
    is_written = reason in ("open", "newer") or IS_DATABASE.search(place) or os.path.isdir(place)
    is_shared = place in SHARED_BY_ALL or os.path.dirname(place) in HOLDS_SHARED
    is_of_system = any(fnmatchcase(place, pattern) for pattern in OF_SYSTEM)
    if is_written and not is_shared and not is_of_system and not site.is_part(place) and site.writes(place):
        yield f"{reason} {place}"


def places_in_variables(site: Site) -> Iterator[str]:
    for name, value in site.variables.items():
        in_url = SQLITE.fullmatch(value)
        if in_url:
            yield from outside(site, name, in_url[1])
        elif value.startswith(("/", "../", "./")) and not PATHS.fullmatch(value):
            yield from outside(site, name, value)


def places_in_code(site: Site, named: list[list[str]]) -> Iterator[str]:
    for path in sorted({words[1] for words in named if words[0] == "place"}):
        yield from outside(site, "code", path)


def processes() -> Iterator[str]:
    return (f"{PROC}/{name}" for name in listed(PROC) if name.isdecimal())


def open_files(site: Site) -> Iterator[str]:
    for process in processes():
        if not site.is_in_unit(read(f"{process}/cgroup")):
            continue
        # The first three are of its unit.
        for descriptor in {*listed(f"{process}/fd")} - {"0", "1", "2"}:
            with suppress(OSError):
                path = os.readlink(f"{process}/fd/{descriptor}")
                flags = read(f"{process}/fdinfo/{descriptor}")
                if path.startswith("/") and os.path.isfile(path) and IS_OPEN_TO_WRITE.search(flags):
                    yield from outside(site, "open", path)


def number_of(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return int(user) if user.isdecimal() else -1


def has_other_processes(site: Site, uid: int) -> bool:
    """Whether the backend's user runs anything besides it, other than in a login."""
    for process in processes():
        with suppress(OSError):
            if os.stat(process).st_uid == uid:
                cgroup = read(f"{process}/cgroup")
                if cgroup and "/user.slice/" not in cgroup and not site.is_in_unit(cgroup):
                    return True
    return False


def newer_files(site: Site) -> Iterator[str]:
    """What is of a user of its own was written by the backend."""
    uid = number_of(site.user)
    if site.user in NO_USERS_OF_THEIR_OWN or has_other_processes(site, uid):
        return
    began = site.began()
    newer = (
        entry.path
        for entry in below(filter(is_folder, OUTSIDE), SKIPPED, max_depth=MAX_DEPTH)
        if not IS_CODE.fullmatch(entry.name) and is_file(entry) and is_newer(entry, began, uid)
    )
    for path in one_of_each(newer):
        yield from outside(site, "newer", path)


def stores(site: Site, named: list[list[str]]) -> list[str]:
    in_variables, in_code = Search(places_in_variables, site), Search(places_in_code, site, named)
    opened, newer = Search(open_files, site), Search(newer_files, site)
    return [*in_variables.lines(), *sorted({*opened.lines()}), *in_code.lines(), *newer.lines()]


# --- The sections ----------------------------------------------------------------------------------------------------


def show(name: str, lines: Iterable[str]) -> None:
    for line in itertools.chain(["", f"=== {name}"], (line.replace("\n", "?") for line in lines)):
        # As its bytes, whatever the host's locale.
        sys.stdout.buffer.write(os.fsencode(line) + b"\n")
    sys.stdout.buffer.flush()


def main(*roots: str) -> None:
    for root in roots:
        site = Site(root)
        uploads, changes = Search(uploaded, site), Search(changed, site)
        names, code = Search(names_in_files, site), Search(named_in_code, site)
        show(f"written {root}", one_of_each([*uploads.lines(), *changes.lines()]))
        show(f"environment {root}", sorted({*names.lines()}))
        named = [line.split(" ") for line in code.lines()]
        show(f"databases {root}", databases(site, named))
        show(f"stores {root}", stores(site, named))


if __name__ == "__main__":
    main(*sys.argv[1:])
