"""The questions for a new project: only what can't be found out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import project
from slipway.settings.check import SettingsError, check
from slipway.settings.inventory import is_host_name
from slipway.settings.model import Settings
from slipway.settings.types import OnThisMachine

# The server's name, which is in the inventory, not a setting.
SERVER = "server"
ORIGIN = "slipway init"
# A host's data in the inventory: how a finished server is logged in to.
LOGIN = '{"ssh_user": "admin", "_sudo": True}'
MAX_PORT = 65535


@dataclass(frozen=True)
class Question:
    setting: str
    text: str
    # The default answer, from what is known by then; "" for none.
    default: Callable[[Mapping[str, Any]], str] = lambda known: ""


def site_name_of(domain: str) -> str:
    """A site_name from a domain: "shop" from "www.shop.example.org"."""
    labels = [label for label in domain.split(".") if label != "www"]
    return re.sub(r"[^a-z0-9-]", "", labels[0] if labels else "")[:24].strip("-")


# With the folder of the project (slipway/cli/init.py), six at most.
QUESTIONS = (
    Question("site_domain", "Host name that visitors type"),
    Question(SERVER, "Name or address of the server", lambda known: str(known["site_domain"])),
    Question("site_name", "Short name of the site", lambda known: site_name_of(str(known["site_domain"]))),
    Question("backend_source", "Folder of the backend"),
    Question("backend_app", "What uvicorn runs, module:attribute", lambda known: "main:app"),
)


def parsed(items: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """NAME=VALUE answers, and their problems. Text settings are taken literally, others as JSON."""
    answers: dict[str, Any] = {}
    problems = []
    for item in items:
        name, found, value = item.partition("=")
        field = Settings.model_fields.get(name)
        if not found:
            problems.append(f"--set: found {item!r}, expected NAME=VALUE")
        elif field is None or field.annotation is str:
            answers[name] = value
        else:
            try:
                answers[name] = json.loads(value)
            except ValueError:
                problems.append(f"--set {name}: found {value!r}, expected JSON, as {_example(field.annotation)}")
    return answers, problems


def _example(kind: Any) -> str:
    text = str(kind)
    return (
        "'[\"...\"]'"
        if "list" in text
        else '\'{"NAME": "..."}\''
        if "dict" in text
        else "true"
        if kind is bool
        else "2"
    )


def _from_here(name: str, value: Any) -> Any:
    """A setting's value with paths relative to the future project, even if a folder above looks like a project, by an
    application's own inventory.py and deploy.py."""
    field = Settings.model_fields.get(name)
    is_file = field is not None and any(isinstance(mark, OnThisMachine) for mark in field.metadata)
    if not is_file or not value or project.path(".") == Path.cwd():
        return value
    return str(Path.cwd() / Path(str(value)).expanduser())


def host_and_port(server: str) -> tuple[str, int]:
    """The name or address in an answer such as "203.0.113.7:2222" or "[2001:db8::7]:2222", and the port; 0 for none."""
    if found := re.fullmatch(r"\[([^\[\]]+)\](?::(\d+))?|([^:]+):(\d+)", server):
        address, its_port, name, port = found.groups()
        return address or name, int(its_port or port or 0)
    return server, 0


def problems_of(known: Mapping[str, Any]) -> list[str]:
    """The problems of answers."""
    problems = []
    if SERVER in known:
        name, port = host_and_port(str(known[SERVER]))
        if name.startswith("@") or not is_host_name(name) or port > MAX_PORT:
            expected = "the server's name or address, or one with its ssh port as 203.0.113.7:2222"
            problems.append(f"{SERVER}: found {known[SERVER]!r}, expected {expected}")
    settings = {name: _from_here(name, value) for name, value in known.items() if name != SERVER}
    try:
        check(settings, ORIGIN)
    except SettingsError as error:
        # Only problems of answered settings count.
        about = tuple(f"{ORIGIN}: {name}" for name in settings)
        problems += [text.removeprefix(f"{ORIGIN}: ") for text in error.problems if text.startswith(about)]
    return problems
