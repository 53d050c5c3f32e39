"""Facts about a MongoDB server, by programs that run on the host."""

from __future__ import annotations

import ast
import re
import shlex
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from slipway.facts import mongodb_data, mongodb_login, mongodb_members
from slipway.facts.base import Fact, key_values
from slipway.settings.limits import SHIPPED


def alone(module: ModuleType) -> str:
    """The source of a module with those of Slipway's that it imports inlined, as the host has none of them."""
    own = Path(str(module.__file__)).read_text()
    others = [import_module(name) for name in re.findall(r"^from (slipway\.\S+) import ", own, re.MULTILINE)]
    texts = [Path(str(other.__file__)).read_text() for other in others] + [own]
    imports = r"^from slipway\.\S+ import .*\n"
    first, *rest = (re.sub(imports, "", text, flags=re.MULTILINE) for text in texts)
    return "".join([first, *(re.sub(r"^from __future__ import .*\n", "", text, flags=re.MULTILINE) for text in rest)])


def program(module: ModuleType, *arguments: object) -> str:
    """The command that runs such a module (`alone`) on a host."""
    return " ".join(["python3 -ISc", shlex.quote(alone(module)), *(shlex.quote(str(one)) for one in arguments)])


class MongodbUsers(Fact[dict[str, str]]):
    """Whether `users`, pairs of a name and a password file, can log in, as mongodb_login.py prints it; `{}` if the host
    has no Python."""

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
    """What mongodb_data.py finds in the server at a port of the host, after a login as `user` if it requires one; `{}`
    if the host has no Python. Its password is that in `file`, or on standard input: `_stdin=Encoded(PASSWORD)`."""

    @staticmethod
    def default() -> dict[str, Any]:
        return {}

    def command(
        self, address: str, port: int, seconds: int = SHIPPED.mongodb_answer, user: str = "", file: str = ""
    ) -> str:
        login = [user, file] if user else []
        return f"{program(mongodb_data, address, port, seconds, 'look', *login)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = ast.literal_eval(output[0]) if output else {}
        return found


class MongodbMember(Fact[dict[str, str]]):
    """What mongodb_members.py finds by `look`: the state of a member, and its replica set; `{}` if the host has no
    Python."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, address: str, port: int, keyfile: str, seconds: int = SHIPPED.mongodb_answer) -> str:
        return f"{program(mongodb_members, 'look', address, port, seconds, keyfile)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)
