"""Check an inventory before pyinfra reads it.

pyinfra takes every public name of the file that is a list or a tuple for a group of hosts, a tuple for (hosts, data),
and ignores all else: a mistake makes groups of single letters, or a role without hosts.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from ipaddress import ip_address
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
    return found + [
        f"{role}: found no such name, expected a list of hosts: {role} = [...], or {role} = [] for none"
        for role in missing
    ]


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
    return [f"{name}[{number}]: {problem}" for number, host in enumerate(hosts) if (problem := _host_problem(host))]


def _is_host(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _host_problem(host: Any) -> str:
    """What is wrong with a host of a group, "" where nothing is."""
    if not isinstance(host, str) and not _is_host(host):
        return f'found {_kind(host)}, expected a host\'s name, or (name, settings) as ("codementee.io", {{...}})'
    name = host if isinstance(host, str) else host[0]
    if HOST_NAME.fullmatch(name) or _is_address(name):
        return ""
    return (
        f"found {name!r}, expected a host's name or address; user and port are settings:"
        ' ("codementee.io", {"ssh_user": "admin", "ssh_port": 22})'
    )


def _is_address(name: str) -> bool:
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
