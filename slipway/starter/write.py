"""Writes the files of a new project. Existing files are kept."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from slipway import pin
from slipway.settings.doc import literal
from slipway.starter.found import Found

FILES = {
    "inventory.py.j2": "inventory.py",
    "all.py.j2": "group_data/all.py",
    "deploy.py": "deploy.py",
    "release.py": "release.py",
    "rollback.py": "rollback.py",
    "gitignore": ".gitignore",
    "requirements.txt.j2": pin.FILE,
}
WORKFLOW, WORKFLOW_FILE = "workflow.yml.j2", ".github/workflows/slipway.yml"
WIDTH = 120
# The sections of the settings file, with the prefixes of their settings.
SECTIONS = (
    ("The backend, and the paths that Nginx proxies to it.", ("backend_", "python_", "nginx_", "shared_")),
    (
        "Its database and its environment.",
        ("mongodb_", "valkey", "backend_environment", "backend_secrets", "generated_secrets"),
    ),
    ("The frontend.", ("frontend_",)),
    ("Further settings.", ("",)),
)


def quoted(value: Any) -> str:
    """A value as a Python literal; a text with JSON gets single quotes."""
    is_json = isinstance(value, str) and '"' in value and "'" not in value and value.isprintable() and "\\" not in value
    return f"'{value}'" if is_json else literal(value)


def with_comments(one: Found, with_more: bool = True) -> str:
    """A setting as it is written in the file, with a comment where it was found."""
    where = [
        f"# {line}" for line in textwrap.wrap(one.where, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    ]
    more = one.more if with_more else ()
    if isinstance(one.value, list) and any(isinstance(item, Mapping) for item in one.value):
        lines = [f"    {{\n{''.join(map(_entry, item.items()))}    }}," for item in one.value]
        return "\n".join([*where, f"{one.setting} = [", *lines, "]"])
    if not one.details and not more:
        return "\n".join([*where, f"{one.setting} = {quoted(one.value)}"])
    is_dictionary = isinstance(one.value, Mapping)
    lines = []
    for item in one.value:
        text = f"{literal(item)}: {quoted(one.value[item])}," if is_dictionary else f"{literal(item)},"
        comment = one.details.get(item, "")
        lines.append(f"    {text}  # {comment}" if comment else f"    {text}")
    lines += [f"    # {line}" for line in more]
    begin, end = "{}" if is_dictionary else "[]"
    return "\n".join([*where, f"{one.setting} = {begin}", *lines, end])


def _entry(entry: tuple[str, Any]) -> str:
    """A key and its value, in a dictionary in a list."""
    name, value = entry
    text = quoted(value)
    if isinstance(value, Mapping):
        text = f"{{{', '.join(f'{literal(key)}: {quoted(its)}' for key, its in value.items())}}}"
    return f"        {literal(name)}: {text},\n"


def sections(found: Sequence[Found]) -> list[tuple[str, list[Found]]]:
    """The settings by section: that with the longest matching prefix."""

    def title(one: Found) -> str:
        fitting = [
            (len(begin), title) for title, begins in SECTIONS for begin in begins if one.setting.startswith(begin)
        ]
        return max(fitting)[1]

    titles = {one.setting: title(one) for one in found}
    grouped = [(name, [one for one in found if titles[one.setting] == name]) for name, _ in SECTIONS]
    return [(name, parts) for name, parts in grouped if parts]


# Other delimiters than GitHub's ${{ }}.
_files = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent / "files"),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  Python and YAML, not HTML
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
    variable_start_string="<<",
    variable_end_string=">>",
    block_start_string="<%",
    block_end_string="%>",
    comment_start_string="<#",
    comment_end_string="#>",
)
_files.filters["literal"] = literal
_files.filters["setting"] = with_comments


def write(project: Path, site: Mapping[str, Any], found: Sequence[Found]) -> tuple[list[Path], list[Path]]:
    """Write the files of a project, and the workflow into its git repository. `site` has the site's name, its domain
    and the server. Returns the written files, and those that existed. Raises OSError."""
    top = repository_of(project) or project
    folder = str(project.relative_to(top)) if project != top else "."
    settings = {"sections": sections(found), "known": {one.setting for one in found}}
    known = {**site, **settings, "pin_file": pin.FILE, "requirement": pin.running(), "folder": folder}
    places = {project / path: name for name, path in FILES.items()} | {top / WORKFLOW_FILE: WORKFLOW}
    there = [path for path in places if path.exists() or path.is_symlink()]
    written = [path for path in places if path not in there]
    texts = {path: _files.get_template(places[path]).render(**known) for path in written}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL: it may have been created meanwhile.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w") as file:
            file.write(text)
    return written, there


def not_ignored(project: Path) -> list[str]:
    """The lines of Slipway's .gitignore that the project's existing one lacks: without them a plain-text secrets file
    may get into git."""
    own = project / ".gitignore"
    lines = (Path(__file__).resolve().parent / "files/gitignore").read_text().splitlines()
    there = {line.strip() for line in own.read_text(errors="replace").splitlines()} if own.is_file() else set(lines)
    return [line for line in lines if line and not line.startswith("#") and line not in there]


def repository_of(folder: Path) -> Path | None:
    """The top folder of a folder's git repository."""
    command = ["git", "-C", str(folder), "rev-parse", "--show-toplevel"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return Path(done.stdout.strip()) if done.returncode == 0 else None
