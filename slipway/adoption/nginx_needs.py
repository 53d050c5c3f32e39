"""What other servers need of Nginx's sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from slipway.adoption.nginx import Found, replaced_files, retired_files
from slipway.adoption.nginx_config import Directive, all_of
from slipway.adoption.nginx_policy import LOG_DIRECTIVES, LOGS
from slipway.settings.model import Settings

WRITTEN = re.compile(r"(proxy|fastcgi|uwsgi|scgi)_(cache|temp)_path|client_body_temp_path|(access|error)_log")
STORED = re.compile(r"dav_methods|(proxy|fastcgi|uwsgi|scgi)_store")
JIT = re.compile(r"\w*lua\w*|perl\w*|js_\w+")


@dataclass(frozen=True)
class Needs:
    """What other servers need of Nginx's sandbox: folders to write, /home, /tmp, JIT compilation."""

    write: tuple[str, ...] = ()
    home: bool = False
    tmp: bool = False
    jit: bool = False


def needs_of(found: Found, settings: Settings) -> Needs:
    gone = {*retired_files(found, settings), *replaced_files(settings)}
    directives = [
        one
        for file in found.tree.files
        if file not in gone and not found.is_ours(file)
        for one in all_of(found.tree.directives(file))
    ]
    words = [word.rpartition("unix:")[2] for one in directives for word in one.arguments]
    paths = {word.partition("$")[0].rstrip("/") for word in words} | {*found.tree.files} - gone
    words += [real for path, real in found.links.items() if {path, str(PurePosixPath(path).parent)} & paths]
    stored = {folder for file, folder in _stored(found.tree.top) if file not in gone and not found.is_ours(file)}
    return Needs(
        write=tuple(sorted({folder for one in directives for folder in _written(one)} | stored)),
        home=any(word.startswith(("/home/", "/root/", "/run/user/")) for word in words),
        tmp=any(word.startswith(("/tmp/", "/var/tmp/")) for word in words),  # noqa: S108
        jit=any(JIT.fullmatch(one.name) or (one.name == "load_module" and JIT.search(str(one))) for one in directives),
    )


def _written(one: Directive) -> Iterator[str]:
    """The folder that a directive makes Nginx write to, if Slipway's sandbox denies it."""
    path = one.arguments[0].partition("$")[0] if one.arguments else ""
    if WRITTEN.fullmatch(one.name) and path.startswith("/"):
        is_file = one.name in LOG_DIRECTIVES and not path.endswith("/")
        yield from _denied(str(PurePosixPath(path).parent) if is_file else path)


def _stored(directives: Sequence[Directive], root: str = "") -> Iterator[tuple[str, str]]:
    """The folders in which Nginx stores what visitors upload or what it fetches: those of its pages, if a directive
    names no other. With the files that say so."""
    root = next((one.arguments[0] for one in directives if one.name in ("root", "alias") and one.arguments), root)
    for one in directives:
        if STORED.fullmatch(one.name) and one.arguments[:1] != ("off",):
            path = next((word for word in one.arguments if word.startswith("/")), root).partition("$")[0]
            yield from ((one.file, folder) for folder in _denied(path))
        yield from _stored(one.block or (), root)


def _denied(folder: str) -> Iterator[str]:
    """A folder, if Slipway's sandbox lets Nginx not write there."""
    if folder.startswith("/") and not f"{folder}/".startswith((LOGS, "/var/lib/nginx/", "/run/", "/dev/")):
        yield folder.rstrip("/")
