"""What a new project is asked: as little as can't be found out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.settings.check import SettingsError, check

# The server's name: no setting, but the inventory's.
SERVER = "server"
ORIGIN = "slipway init"


@dataclass(frozen=True)
class Question:
    setting: str
    text: str
    # What Enter answers, of what is known by then; "" for nothing.
    default: Callable[[Mapping[str, Any]], str] = lambda known: ""


def site_name_of(domain: str) -> str:
    """A site_name by its domain: "shop" of "www.shop.example.org"."""
    labels = [label for label in domain.split(".") if label != "www"]
    return re.sub(r"[^a-z0-9-]", "", labels[0] if labels else "")[:24].strip("-")


QUESTIONS = (
    Question("site_domain", "Host name that visitors type"),
    Question(SERVER, "Name or address of the server", lambda known: str(known["site_domain"])),
    Question("site_name", "Short name of the site", lambda known: site_name_of(str(known["site_domain"]))),
    Question("backend_source", "Folder of the backend"),
    Question("backend_app", "What uvicorn runs, module:attribute", lambda known: "main:app"),
    Question("frontend_source", "Folder of the frontend"),
)


def problems_of(known: Mapping[str, Any]) -> list[str]:
    """What is wrong with answers."""
    problems = []
    if SERVER in known and not re.fullmatch(r"[\w.:-]+", str(known[SERVER])):
        problems.append(f"{SERVER}: found {known[SERVER]!r}, expected the server's name or address")
    settings = {name: value for name, value in known.items() if name != SERVER}
    try:
        check(settings, ORIGIN)
    except SettingsError as error:
        # Of what is not answered yet nothing can be said.
        about = tuple(f"{ORIGIN}: {name}: " for name in settings)
        problems += [text.removeprefix(f"{ORIGIN}: ") for text in error.problems if text.startswith(about)]
    return problems
