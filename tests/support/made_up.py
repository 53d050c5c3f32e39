"""A fake host for the alarms' checks, with given answers."""

from __future__ import annotations

from typing import Any

from slipway.alarms.host import Facts, Host, Site

SITE = Site("shop.example", "/api/health", "/etc/nginx/tls/shop", "/var/www/shop/maintenance")


class MadeUp(Host):
    """A fake host with given answers."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.files: dict[str, str] = {}
        self.times: dict[str, float] = {}
        self.commands: dict[str, tuple[int, str]] = {}
        self.answers: dict[str, int] = {}
        self.served_certificate = b""
        self.used = {"/": (1, 50.0, 10.0), "/var": (1, 50.0, 10.0)}

    def now(self) -> float:
        return self.time

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def read_from(self, path: str, begin: int, inode: int, limit: int = 0) -> tuple[str, int, int]:
        text = self.files.get(path, "")
        return text[max(begin, 0) :], len(text), 1

    def mtime(self, path: str) -> float:
        return self.times.get(path, 0)

    def run(self, *command: str, seconds: float = 20) -> tuple[int, str]:
        line = " ".join(command)
        return next((answer for begin, answer in self.commands.items() if line.startswith(begin)), (0, ""))

    def usage(self, path: str, seconds: float = 5) -> tuple[int, float, float]:
        if path not in self.used:
            raise FileNotFoundError(path)
        return self.used[path]

    def get(self, domain: str, path: str, seconds: float = 10) -> int:
        status = self.answers.get(path, 200)
        if not status:
            raise ConnectionRefusedError(111, "Connection refused")
        return status

    def served(self, domain: str, seconds: float = 10) -> bytes:
        return self.served_certificate


def facts(**more: Any) -> Facts:
    given: dict[str, Any] = {
        "host": "shop.example",
        "credentials": "/nowhere",
        "mail_to": ["ops@shop.example"],
        "mail_from": "slipway@shop.example",
        "smtp": "127.0.0.1:25",
        "smtp_security": "none",
        "smtp_user": "",
        "webhooks": {},
        "heartbeat": False,
        "sites": [SITE],
        "units": ["nginx.service"],
        "health": {},
        "disk_percent": 90,
        "errors_percent": 5,
        "memory_percent": 20,
        "logins": True,
        "mongodb": [],
        "slow_per_minute": 30,
    }
    return Facts(**{**given, **more})


def found(check: Any, host: Host, memory: dict[str, Any] | None = None, **more: Any) -> dict[str, str]:
    return {key: problem.text for key, problem in check(facts(**more), host, {} if memory is None else memory)}
