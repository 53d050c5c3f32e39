"""Check an inventory before pyinfra reads it.

pyinfra takes every public name of the file that is a list or a tuple for a group of hosts, a tuple for (hosts, data),
and ignores all else: a mistake makes groups of single letters, or a role without hosts.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Any

# Those that each inventory has, and all.
REQUIRED = ("web", "app", "db")
ROLES = ("lb", *REQUIRED)
NO_GROUP = "a name that is not a group of hosts begins with _"
# What pyinfra's other connectors take is theirs to check: "@local", "@docker/image".
HOST_NAME = re.compile(r"@\S+|[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def problems(names: Mapping[str, Any]) -> list[str]:
    """What is wrong with the top-level names of an inventory, a line for each."""
    public = {name: value for name, value in names.items() if not name.startswith("_")}
    found = [line for name, value in public.items() for line in _problems_of(name, value)]
    # A misspelt role would make a plan that is always clean.
    missing = [role for role in REQUIRED if role not in public]
    for name in public:
        near = difflib.get_close_matches(name, missing, n=1, cutoff=0.6)
        if near and isinstance(public[name], list | tuple):
            found.append(f"{name}: found a group that is no role, expected {near[0]}: rename it")
            missing.remove(near[0])
    found += _contradictions(public)
    return found + [
        f"{role}: found no such name, expected a list of hosts: {role} = [...], or {role} = [] for none"
        for role in missing
    ]


def role_problems(groups_of: Mapping[str, Iterable[str]]) -> list[str]:
    """What is wrong with the hosts that pyinfra found, by the groups of each."""
    if not groups_of:
        return [f"found no host, expected lists of hosts: {', '.join(REQUIRED)}"]
    idle = [name for name, groups in groups_of.items() if not {*groups} & {*ROLES}]
    return [f"found {', '.join(idle)} in none of the roles {', '.join(ROLES)}"] if idle else []


def group_data_problems(project: Path, groups: Iterable[str]) -> list[str]:
    """A line for each file of group data that no host has: pyinfra executes it, and ignores what is in it."""
    known = {"all", *ROLES, *groups}
    files = [file.stem for file in sorted((project / "group_data").glob("*.py")) if not file.stem.startswith("_")]
    if not {*files} - known:
        return []
    # The project may have more inventories, for pyinfra alone; each is a group of its own, too.
    others = {name for file in _inventories(project) for name in (file.stem, *_assigned(file))}
    found = []
    for name in [name for name in files if name not in known | others]:
        near = difflib.get_close_matches(name, sorted(known), n=1)
        expected = near[0] if near else f"all, {', '.join(ROLES)} or a group of the inventory"
        found.append(
            f"group_data/{name}.py: found {name}, which is no group of hosts, expected {expected}: rename it, or begin"
            " its name with _ if it is no group data"
        )
    return found


def report(problems: Iterable[str]) -> str:
    """What the user reads."""
    lines = list(dict.fromkeys(problems))
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return f"{count} in the inventory; no host was touched.\n" + "\n".join(f"  - {line}" for line in lines)


def _inventories(project: Path) -> list[Path]:
    return [*project.glob("*.py"), *project.glob("inventor*/*.py")]


def _assigned(file: Path) -> set[str]:
    """The names that a Python file gives something to or imports."""
    try:
        nodes = [*ast.walk(ast.parse(file.read_bytes()))]
    except (OSError, SyntaxError, ValueError):
        return set()
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}


def _contradictions(groups: Mapping[str, Any]) -> list[str]:
    """A line for each host whose settings are given twice with different values: pyinfra merges them, and the last one
    would win without a word."""
    given: dict[str, list[tuple[str, Mapping[Any, Any]]]] = {}
    for place, (name, data) in _hosts_with_settings(groups):
        given.setdefault(name, []).append((place, data))
    found = []
    for name, places in given.items():
        first, its = places[0]
        for place, data in places[1:]:
            if differ := [str(key) for key in data if key in its and its[key] != data[key]]:
                found.append(
                    f"{first} and {place}: found {name!r} with two values of {', '.join(differ)}, expected one: give a"
                    f' host its settings once, as _one = ("{name}", {{...}}), and list _one in its groups'
                )
                break
            its = {**its, **data}
    return found


def _hosts_with_settings(groups: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, Mapping[Any, Any]]]]:
    for group, value in groups.items():
        hosts = value[0] if isinstance(value, tuple) and value and isinstance(value[0], list) else value
        if isinstance(hosts, list):
            yield from ((f"{group}[{number}]", host) for number, host in enumerate(hosts) if _is_host(host))


def _problems_of(name: str, value: Any) -> list[str]:
    # pyinfra ignores texts: a name for something else may be one.
    if isinstance(value, str) and name in ROLES:
        return [f"{name}: found the text {value!r}, expected a list of hosts: {name} = [{value!r}]; {NO_GROUP}"]
    if _is_host(value):
        return [
            f"{name}: found a single host, expected a list of hosts: {name} = [({value[0]!r}, {{...}})]; {NO_GROUP}"
        ]
    if name in ROLES and not isinstance(value, list | tuple):
        return [f"{name}: found {_kind(value)}, expected a list of hosts: {name} = [...]"]
    if not isinstance(value, list | tuple):
        return []
    hosts = value
    if isinstance(value, tuple):
        if not (len(value) == 2 and isinstance(value[0], list) and isinstance(value[1], dict)):
            return [f"{name}: found a tuple, expected a list of hosts: {name} = [...]; {NO_GROUP}"]
        hosts = value[0]
        if problem := _key_problem(value[1]):
            return [f"{name}[1]: {problem}"]
    return [f"{name}[{number}]: {problem}" for number, host in enumerate(hosts) if (problem := _host_problem(host))]


def _is_host(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _host_problem(host: Any) -> str:
    """What is wrong with a host of a group, "" where nothing is."""
    if not isinstance(host, str) and not _is_host(host):
        return f'found {_kind(host)}, expected a host\'s name, or (name, settings) as ("codementee.io", {{...}})'
    name = host if isinstance(host, str) else host[0]
    if is_host_name(name):
        return "" if isinstance(host, str) else _key_problem(host[1])
    return (
        f"found {name!r}, expected a host's name or address; user and port are settings:"
        ' ("codementee.io", {"ssh_user": "admin", "ssh_port": 22})'
    )


def _key_problem(data: Mapping[Any, Any]) -> str:
    """What is wrong with the names of settings, "" where nothing is."""
    wrong = [_kind(key) for key in data if not isinstance(key, str)]
    return f'found {wrong[0]} as the name of a setting, expected text, as {{"swap_mb": 512}}' if wrong else ""


def is_host_name(name: str) -> bool:
    """Whether it may be the name of a host in an inventory: a name, an address or a connector."""
    if HOST_NAME.fullmatch(name):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _kind(value: Any) -> str:
    """What a value is, without its contents: a host's settings may hold a secret."""
    if isinstance(value, ModuleType):
        return "a module"
    if isinstance(value, bool | int | float | None):
        return repr(value)
    return f"a value of type {type(value).__name__}"
