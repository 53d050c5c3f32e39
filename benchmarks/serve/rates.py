"""The measurements with h2load: a script by several web servers, the API through Nginx, held connections, users."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.serve import load, others, results, site
from benchmarks.serve.results import Held, Load
from slipway.lab.hosts import Host
from slipway.lab.steps import run

COMPRESSION = "accept-encoding: br, gzip"
CLIENTS = 64
# Enough clients that the next one is seldom still waiting for an answer.
API_CLIENTS, LOGIN_CLIENTS = 200, 10
SOCKET = "/run/codementee-backend.sock"
# The rate of 10,000 users whose logins last an hour (TOKEN_MINUTES of the example's backend).
LOGINS_A_SECOND = 10_000 / 3600
API_A_SECOND = 1000
# Between two requests on a held connection. Nginx keeps one for 65 seconds.
HELD_SECONDS = 20
HELD_PATHS = ("/", "/robots.txt")
# Proportional set size: memory that workers share counts once.
MEMORY = """
for worker in $(pgrep -f 'nginx: worker process$'); do cat /proc/$worker/smaps_rollup; done |
  awk '/^Pss:/ { kib += $2 } END { print kib }'
"""
CONNECTIONS = "ss -Hnt state established '( sport = :443 )' | wc -l"


def script(host: Host, servers: Sequence[others.Server], seconds: float, http2: bool) -> list[Load]:
    """Each server once."""
    found = []
    for server in servers:
        url = f"https://{host.domain}:{server.port}{site.SCRIPT}"
        at = f"{host.address}:{server.port}"
        argv = load.command(url, clients=CLIENTS, seconds=seconds, address=at, headers=[COMPRESSION], http2=http2)
        found.append(load.loaded(server.way, argv))
    return found


def proxied(host: Host, token: str, seconds: float) -> list[Load]:
    """The API by the backend's own socket and through Nginx, both from the host itself."""
    headers, url = [authorization(token)], f"https://{host.domain}{site.COMPANIES}"
    ways = {
        results.SOCKET: load.command(
            url.replace("https", "http"), clients=CLIENTS, seconds=seconds, headers=headers, socket=SOCKET
        ),
        results.THROUGH_NGINX: load.command(
            url, clients=CLIENTS, seconds=seconds, headers=headers, address="127.0.0.1:443"
        ),
    }
    return [load.loaded(way, argv, load.on(host)) for way, argv in ways.items()]


def authorization(token: str) -> str:
    return f"authorization: Bearer {token}"


def held(host: Host, connections: int) -> Held:
    """Connections that are all open at once, each with an occasional request."""
    before = memory(host)
    urls = [f"https://{host.domain}{path}" for path in HELD_PATHS]
    argv = load.command(
        *urls,
        clients=connections,
        # The last one is opened when the first sends its second request.
        seconds=3 * HELD_SECONDS,
        rate=connections / HELD_SECONDS,
        address=f"{host.address}:443",
    )
    seen: list[tuple[int, float]] = []
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(load.loaded, "held", argv)
        while not asking.done():
            seen.append((count(host), memory(host)))
            time.sleep(1)
    return Held(max(open_now for open_now, _ in seen), asking.result(), before, max(used for _, used in seen))


def count(host: Host) -> int:
    return int(run("Count the connections", host.ssh_argv(CONNECTIONS)))


def memory(host: Host) -> float:
    """Of Nginx's workers, in MiB."""
    return int(run("Look at Nginx's memory", host.ssh_argv(MEMORY))) / 1024


def users(host: Host, token: str, seconds: float, share: float, logins: bool) -> list[Load]:
    """A share of the described load: the API and logins at the same time."""
    api_rate, login_rate = API_A_SECOND * share, LOGINS_A_SECOND * share
    where = f"{host.address}:443"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        body = Path(folder) / "login.json"
        body.write_text(json.dumps({"email": site.ADMIN, "password": site.password(host)}))
        api = load.command(
            f"https://{host.domain}{site.COMPANIES}",
            clients=API_CLIENTS,
            seconds=seconds,
            rate=api_rate,
            address=where,
            headers=[authorization(token)],
        )
        login = load.command(
            f"https://{host.domain}{site.LOGIN}",
            clients=LOGIN_CLIENTS,
            seconds=seconds,
            rate=login_rate,
            address=where,
            headers=["content-type: application/json"],
            body=body,
        )
        at = f"at {api_rate:,.0f} API requests a second"
        asked = [(pool.submit(load.timed, results.API_WITH_LOGINS if logins else results.API, api), api_rate)]
        if logins:
            asked.append((pool.submit(load.timed, f"{results.LOGINS} {at}", login), login_rate))
        return [replace(its.result(), offered=rate) for its, rate in asked]
