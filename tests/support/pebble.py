"""ACME servers beside the lab's own: with another certificate lifetime, or with profiles.

Debian's Pebble has no profiles. A newer one is built from its Go module if a recent enough Go is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import requests

from slipway.lab import acme, network
from slipway.lab.instance import Instance
from support.go_programs import built
from support.waiting import wait_until

# Beside the lab's own ports (slipway/lab/network.py). Each server has its own port, as accounts belong to one server.
PORTS, MANAGEMENT_OFFSET = count(14050), 1000


def with_profiles() -> Path | None:
    """A Pebble with profiles; None if no Go can build it."""
    return built("pebble_source", "github.com/letsencrypt/pebble/v2", "cmd/pebble")


@contextmanager
def authority(
    lab: Instance, folder: Path, changes: Mapping[str, Any], program: Path | None = None, port: int = 0
) -> Iterator[str]:
    """The URL of an ACME server with its own configuration, running during the block. It uses the lab's DNS. Its
    directory is trusted by the lab's hosts; the root of its certificates is trusted by nobody."""
    net, port = network.of(lab), port or next(PORTS)
    config: dict[str, Any] = acme.pebble_config(lab.state / "acme", net)
    config["pebble"] |= {
        "listenAddress": f"{net.listen}:{port}",
        "managementListenAddress": f"{net.listen}:{port + MANAGEMENT_OFFSET}",
        **changes,
    }
    file = folder / "pebble.json"
    file.write_text(json.dumps(config))
    command = [str(program or "pebble"), "-config", str(file), "-dnsserver", f"{net.listen}:{net.port('dns')}"]
    environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"https://{net.gateway}:{port}/dir"
            wait_until("Pebble answers", lambda: _answers(url, acme.ca_file(lab)))
            yield url
        finally:
            process.kill()


def _answers(url: str, roots: Path) -> bool:
    try:
        return requests.get(url, verify=str(roots), timeout=2).ok
    except requests.RequestException:
        return False
