"""Reads an application's Dockerfile: what it installs with apt, and the script that it runs first."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from slipway.starter.reading import compose
from slipway.starter.reading.apps import App
from slipway.starter.reading.files import Place, Repository, folder_of, line_of, parents

_FOR_WORK = re.compile(r"(^|[._-])(dev|test|local|override|ci)([._-]|$)", re.IGNORECASE)
_FROM = re.compile(r"^[ \t]*FROM[ \t]+(?:--\S+[ \t]+)*(\S+)(?:[ \t]+AS[ \t]+(\S+))?", re.MULTILINE | re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*\n(?:[ \t]*#[^\n]*\n)*")
_ENTRYPOINT = re.compile(r"^[ \t]*ENTRYPOINT[ \t]+(.+)$", re.MULTILINE | re.IGNORECASE)
_COPY = re.compile(r"^[ \t]*(?:COPY|ADD)[ \t]+(?:--\S+[ \t]+)*(\S+)[ \t]+(\S+)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_APT = re.compile(r"\bapt(?:-get)?\s[^\n&|;]*?\binstall\s([^\n&|;<>]*)")
_WITH_VALUE = re.compile(r"(?<!\S)(?:-t|-o|--target-release|--option)\s+\S+")
# What builds packages, what wheels bring along, what brings files or helps people, what an image has in place of
# systemd, and what Slipway installs.
_NO_NEED = re.compile(
    r"(gcc|g\+\+|clang|cpp)(-[\w.]+)?|build-essential|make|cmake|ninja-build|autoconf|automake|libtool|m4|pkg-config|pkgconf"
    r"|patchelf|swig|rustc|cargo|golang(-go)?|.+-dev|python3?(\.\d+)?(-.+)?|python-is-python3|libpython.+|pipx"
    r"|lib(xml2|xslt1|ssl|ffi|yaml-0)[\w.-]*|zlib1g|git|git-lfs|curl|wget|ca-certificates|gnupg2?|gpg|dirmngr|apt-.+|apt"
    r"|software-properties-common|lsb-release|debian-.+-keyring|unzip|zip|tar|gzip|bzip2|xz-utils|jq|vim.*|nano|less|tree"
    r"|htop|procps|psmisc|lsof|strace|gdb|net-tools|iproute2|iputils-ping|inetutils-.+|dnsutils|bind9-.+|netcat.*|ncat"
    r"|telnet|tmux|screen|bash(-completion)?|zsh|sudo|gosu|tini|dumb-init|supervisor|cron|systemd|rsyslog|openssh-.+|rsync"
    r"|locales|tzdata|logrotate|nginx.*|certbot|nodejs|npm|yarn|redis.*|valkey.*|mongodb.*|openssl|libc6|dos2unix"
)


def dockerfile_of(repository: Repository, app: App) -> str:
    """The Dockerfile that starts the application; else that of its service in a compose file, or the nearest one of an
    image of Python. "" for none."""
    start = app.start
    if start and _is_dockerfile(start.place.file):
        return start.place.file
    if service := _service_of(repository, app):
        return service.dockerfile
    near = [file for file in repository.files if _is_dockerfile(file) and folder_of(file) in parents(app.root)]
    near = [file for file in near if not _FOR_WORK.search(posixpath.basename(file))]
    of_python = [file for file in near if re.search(r"\b(pip|uv|poetry|pdm|pipenv)\b", repository.read(file) or "")]
    return max(of_python, key=lambda file: file.count("/"), default="")


def _service_of(repository: Repository, app: App) -> compose.Service | None:
    """The service of a compose file whose command starts the application."""
    for one in compose.built(repository) if app.start else ():
        target = f"{app.start.module}:{app.start.attribute}" if app.start else ""
        if app.start and one.file == app.start.place.file and target in one.command:
            return one
    return None


def _is_dockerfile(file: str) -> bool:
    return bool(re.search(r"dockerfile|containerfile", posixpath.basename(file), re.IGNORECASE))


def apt_packages(repository: Repository, app: App) -> Iterator[tuple[str, Place]]:
    """What the image that runs installs with apt, without what only builds or serves a container."""
    file = dockerfile_of(repository, app)
    text = repository.read(file) or "" if file else ""
    for begin, end in _stages(text, _line(app, file)):
        # The same length, so that lines can be counted.
        joined = _CONTINUED.sub(lambda match: " " * len(match[0]), text[begin:end])
        joined = re.sub(r"^[ \t]*#.*$|[\"',\[\]]", lambda match: " " * len(match[0]), joined, flags=re.MULTILINE)
        for match in _APT.finditer(joined):
            for word in _WITH_VALUE.sub("", match[1]).split():
                name = re.split(r"[=:/]", word)[0]
                if re.fullmatch(r"[a-z0-9][a-z0-9.+-]+", name) and not _NO_NEED.fullmatch(name):
                    yield name, Place(file, line_of(text, begin + match.start()))


def first_script(repository: Repository, app: App) -> str:
    """The shell script in the repository that ENTRYPOINT or a compose file's entrypoint names, "" for none."""
    file = dockerfile_of(repository, app)
    text = repository.read(file) or "" if file else ""
    found = [one for begin, end in _stages(text, _line(app, file)) for one in _ENTRYPOINT.findall(text[begin:end])]
    copied = {posixpath.basename(to.rstrip("/")): source for source, to in _COPY.findall(text)}
    service = _service_of(repository, app)
    own = service.command if service and ".sh" in service.command else ""
    for word in re.findall(r"[\w./-]+", own or next(iter(found[-1:]), "")):
        name = copied.get(posixpath.basename(word), word)
        parts = posixpath.normpath(name).strip("/").split("/")
        # The path in a container may begin with its folder.
        inner = ["/".join(parts[count:]) for count in range(len(parts)) if ".." not in parts[count:]]
        places = [*parents(folder_of(file)), *parents(app.root)]
        known = [posixpath.join(folder, one) for one in inner for folder in places]
        known += repository.named(parts[-1])
        for one in known:
            script = repository.read(one) if "." not in parts[-1] or one.endswith((".sh", ".bash")) else None
            if script and (re.match(r"#!.*sh\b", script) or one.endswith((".sh", ".bash"))):
                return one
    return ""


def _line(app: App, file: str) -> int:
    return app.start.place.line if app.start and app.start.place.file == file else 0


def _stages(text: str, line: int) -> list[tuple[int, int]]:
    """The offsets of the stage of a line, 0 for the last stage, after those of the stages that it is made from."""
    found = [*_FROM.finditer(text)]
    ends = [*(one.start() for one in found[1:]), len(text)]
    named = {(one[2] or "").lower(): number for number, one in enumerate(found)}
    numbers = [number for number, one in enumerate(found) if not line or line_of(text, one.start()) <= line][-1:]
    while numbers and (above := named.get(found[numbers[0]][1].lower(), len(found))) < numbers[0]:
        numbers.insert(0, above)
    return [(found[number].start(), ends[number]) for number in numbers]
