"""Concurrent visitors of a site, which record every request with a wrong or missing response.

python -m slipway.lab.visitors ADDRESS PORT DOMAIN AUTHORITIES SECONDS [--backend PATH] [--calm TIMES] prints their
records as a line of JSON. PATH is the backend's path to request; TIMES multiplies the visitors' pauses.

Strict: a connection that is closed between a request and its response is a failed request, even if a browser would
retry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# A request that takes longer has failed.
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Habit:
    """A repeated request. `status` is the expected one; `keeps`: over a keep-alive connection."""

    name: str
    method: str
    path: str
    status: int
    keeps: bool
    visitors: int
    # Pause between two requests of a visitor, in seconds.
    pause: float


@dataclass
class Noticed:
    """The records of a habit's visitors; times in seconds."""

    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    # Longest time between two expected responses to any visitor.
    longest_gap: float = 0
    longest_wait: float = 0
    waits: list[float] = field(default_factory=list)
    _last: float = 0

    def answered(self, began: float, now: float) -> None:
        self.longest_wait = max(self.longest_wait, now - began)
        self.waits.append(now - began)
        if self._last:
            self.longest_gap = max(self.longest_gap, now - self._last)
        self._last = now


def name(method: str, path: str, keeps: bool) -> str:
    return f"{method} {path}, {'kept' if keeps else 'new'}"


def habits(backend: str = "/api/health", missing: str = "/api/companies", calm: float = 1) -> list[Habit]:
    """Pages and the backend, by GET and POST, on keep-alive connections and on new ones.

    `missing` accepts no POST: the backend answers 405, and Nginx must not retry it.
    """
    return [
        # A new connection costs a TLS handshake: with too many, this machine would be the bottleneck.
        Habit(name(method, path, keeps), method, path, status, keeps, visitors, pause * calm)
        for method, path, status in (("GET", "/", 200), ("GET", backend, 200), ("POST", missing, 405))
        for keeps, visitors, pause in ((True, 4, 0.02), (False, 2, 0.05))
    ]


class Site:
    """A site's address and its trusted roots."""

    def __init__(self, address: str, port: int, domain: str, authorities: str | Path) -> None:
        self.address, self.port, self.domain = address, port, domain
        self.tls = ssl.create_default_context(cafile=str(authorities))

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        return await asyncio.open_connection(self.address, self.port, ssl=self.tls, server_hostname=self.domain)


async def visit(site: Site, habit: Habit, noticed: Noticed, end: asyncio.Event) -> None:
    """One visitor."""
    connection: tuple[StreamReader, StreamWriter] | None = None
    while not end.is_set():
        began = time.monotonic()
        noticed.requests += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                # An idle connection that was closed is no failure.
                if connection is None or connection[0].at_eof():
                    _close(connection)
                    connection = await site.connect()
                status, stays = await ask(*connection, site.domain, habit)
            if status != habit.status:
                noticed.failed[f"status {status}"] += 1
            else:
                noticed.answered(began, time.monotonic())
            if not (stays and habit.keeps):
                _close(connection)
                connection = None
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            noticed.failed[type(error).__name__] += 1
            _close(connection)
            connection = None
        await asyncio.sleep(habit.pause)
    _close(connection)


async def ask(reader: StreamReader, writer: StreamWriter, domain: str, habit: Habit) -> tuple[int, bool]:
    """The status of the response, and whether the connection is kept. Raises OSError, EOFError, ValueError."""
    body = b'{"email": "nobody@example.org"}' if habit.method == "POST" else b""
    lines = [f"{habit.method} {habit.path} HTTP/1.1", f"Host: {domain}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", f"Connection: {'keep-alive' if habit.keeps else 'close'}", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split()[1]), fields.get("connection", "").lower() != "close"


def _close(connection: tuple[StreamReader, StreamWriter] | None) -> None:
    if connection:
        connection[1].close()


async def all_visit(site: Site, wanted: Iterable[Habit], seconds: float) -> dict[str, Noticed]:
    """Visit until the time is over, SIGINT, or the end of the parent process; returns the records of each habit by
    name."""
    end, loop, parent = asyncio.Event(), asyncio.get_running_loop(), os.getppid()

    def look() -> None:
        if os.getppid() == parent:
            loop.call_later(1, look)
        else:
            end.set()

    look()
    loop.call_later(seconds, end.set)
    loop.add_signal_handler(signal.SIGINT, end.set)
    noticed = {habit: Noticed() for habit in wanted}
    async with asyncio.TaskGroup() as group:
        for habit, its in noticed.items():
            for _ in range(habit.visitors):
                group.create_task(visit(site, habit, its, end))
    return {habit.name: its for habit, its in noticed.items()}


def shown(noticed: dict[str, Noticed]) -> str:
    """The records as a line of JSON."""
    found = {}
    for name, its in noticed.items():
        waits = sorted(its.waits)
        found[name] = {
            "requests": its.requests,
            "failed": its.failed,
            "longest_gap": its.longest_gap,
            "longest_wait": its.longest_wait,
            "median": waits[len(waits) // 2] if waits else None,
            "p99": waits[len(waits) * 99 // 100] if waits else None,
        }
    return json.dumps(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for argument in ("address", "port", "domain", "authorities", "seconds"):
        parser.add_argument(argument)
    parser.add_argument("--backend", default="/api/health")
    parser.add_argument("--calm", type=float, default=1)
    given = parser.parse_args()
    site = Site(given.address, int(given.port), given.domain, given.authorities)
    wanted = habits(given.backend, calm=given.calm)
    print(shown(asyncio.run(all_visit(site, wanted, float(given.seconds)))))
