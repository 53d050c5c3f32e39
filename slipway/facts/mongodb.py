"""What MongoDB says to its users."""

from __future__ import annotations

import shlex
from pathlib import Path

from slipway.facts import mongodb_login
from slipway.facts.base import Fact, key_values
from slipway.settings.limits import SHIPPED


class MongodbUsers(Fact[dict[str, str]]):
    """What MongoDB says to `users`, pairs of a name and the file of its password, as mongodb_login.py prints it;
    `{}` where the host has no Python."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(
        self, address: str, port: int, users: tuple[tuple[str, str], ...], seconds: int = SHIPPED.mongodb_answer
    ) -> str:
        program = Path(mongodb_login.__file__).read_text()
        arguments = " ".join(shlex.quote(f"{user}={file}") for user, file in users)
        return f"python3 -ISc {shlex.quote(program)} {address} {port} {seconds} {arguments} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)
