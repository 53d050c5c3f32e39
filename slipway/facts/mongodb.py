"""What MongoDB says to its users."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

from slipway.facts import mongodb_data, mongodb_login, mongodb_protocol
from slipway.facts.base import Fact, key_values
from slipway.settings.limits import SHIPPED


def alone(module: ModuleType) -> str:
    """The text of a module that imports mongodb_protocol, with that in it: a host has neither."""
    protocol, own = (Path(str(one.__file__)).read_text() for one in (mongodb_protocol, module))
    imports = r"^from (__future__|slipway\.facts\.mongodb_protocol) import .*\n"
    return protocol + re.sub(imports, "", own, flags=re.MULTILINE)


def program(module: ModuleType, *arguments: object) -> str:
    """The command that runs such a module on a host."""
    return " ".join(["python3 -ISc", shlex.quote(alone(module)), *(shlex.quote(str(one)) for one in arguments)])


class MongodbUsers(Fact[dict[str, str]]):
    """What MongoDB says to `users`, pairs of a name and the file of its password, as mongodb_login.py prints it;
    `{}` where the host has no Python."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(
        self, address: str, port: int, users: tuple[tuple[str, str], ...], seconds: int = SHIPPED.mongodb_answer
    ) -> str:
        named = (f"{user}={file}" for user, file in users)
        return f"{program(mongodb_login, address, port, seconds, *named)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class MongodbData(Fact[dict[str, Any]]):
    """What mongodb_data.py finds in the server at a port of the host; `{}` where the host has no Python."""

    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    def command(self, address: str, port: int, seconds: int = SHIPPED.mongodb_answer) -> str:
        return f"{program(mongodb_data, address, port, seconds, 'look')} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = ast.literal_eval(output[0]) if output else {}
        return found
