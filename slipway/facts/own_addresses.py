"""Whether a name leads to this server.

For programs that are sent to the host: the standard library alone (facts.mongodb.alone).
"""

from __future__ import annotations

import functools
import re

from slipway.facts.searches import shown

# Seconds: a resolver may not answer.
MAX_LOOKUP = 5
IS_LOCAL = re.compile(r"localhost|127[.].*|::1|0[.]0[.]0[.]0|host[.]docker[.]internal|%2[fF].*")


@functools.cache
def own_addresses() -> set[str]:
    lines = [line.split() for line in shown("ip", "-o", "addr", "show").split("\n")]
    return {words[3].partition("/")[0] for words in lines if len(words) > 3}


@functools.cache
def is_here(host: str) -> bool:
    """Whether HOST:PORT is this server."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if IS_LOCAL.fullmatch(name):
        return True
    lines = shown("getent", "ahosts", name, seconds=MAX_LOOKUP).split("\n")
    addresses = {line.partition(" ")[0] for line in lines}
    is_loopback = any(address.startswith("127.") or address == "::1" for address in addresses)
    return is_loopback or not addresses.isdisjoint(own_addresses())
