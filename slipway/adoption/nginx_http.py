"""What directives outside of server blocks do: for all servers, so also for those that are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from slipway.adoption import Obstacle, setting
from slipway.adoption.nginx_config import KEPT_IN_HTTP, Directive, Server, all_of, megabytes
from slipway.adoption.nginx_policy import (
    CONNECTIONS,
    HARMLESS_VARIABLES,
    LOG_DIRECTIVES,
    LOGS,
    TLS,
    needs_larger_buffers,
    serves_compressed_only,
)
from slipway.adoption.nginx_site import directive_obstacles, is_covered
from slipway.settings.model import Settings

# Directives of http that Slipway's nginx.conf replaces, whatever their values.
HTTP_POLICY = re.compile(
    rf"{TLS}|{CONNECTIONS}|server|include|log_not_found|client_body_(timeout|buffer_size)"
    r"|(types|server_names|variables|map)_hash_\w+"
)
# Slipway's server blocks have their own, so that they inherit none.
OVERRIDDEN = {"add_header", "proxy_set_header", "proxy_hide_header", "proxy_read_timeout"}
# They do nothing until another directive names what they define.
DEFINITIONS = re.compile(
    r"upstream|map|geo|split_clients|log_format|limit_(req|conn)_zone|(proxy|fastcgi|uwsgi|scgi)_cache_path"
)


def http_obstacles(one: Directive, settings: Settings, has_others: bool) -> Iterator[Obstacle]:
    """What would be lost with a directive of nginx.conf. `has_others` is whether servers of others are kept."""
    need = f"it in {KEPT_IN_HTTP}"
    if one.name == "client_max_body_size":
        if megabytes(one.arguments[0]) <= settings.nginx_max_body_mb:
            return
        need = setting("nginx_max_body_mb", megabytes(one.arguments[0]))
    elif one.name == "default_type":
        # Slipway's has the package's value, and Nginx accepts no second one beside it.
        if one.arguments == ("application/octet-stream",):
            return
        need = "it in the server blocks that need it"
    elif one.name == "charset":
        # That of Slipway's sites, whose server blocks say it.
        if one.arguments[0].lower() == "utf-8" and not has_others:
            return
    elif one.name in OVERRIDDEN:
        # Slipway's sites would not inherit it from there.
        if not has_others:
            return
        need += " for the other servers"
    elif is_usual_log(one) or (
        HTTP_POLICY.fullmatch(one.name) and not needs_larger_buffers(one) and not serves_compressed_only(one)
    ):
        return
    yield Obstacle(f"{one.at}: {one.name}", str(one), need)


def is_usual_log(one: Directive) -> bool:
    return one.name in LOG_DIRECTIVES and one.arguments[0].startswith(LOGS) and len(one.arguments) < 3


def lost_obstacles(
    lost: Sequence[Directive], kept: Sequence[Directive], settings: Settings, has_others: bool
) -> Iterator[Obstacle]:
    """What would be lost with the directives beside the server blocks of a file that goes. `kept` are those of files
    that stay, and their servers."""
    there = {str(one) for one in kept}
    for one in lost:
        if DEFINITIONS.fullmatch(one.name):
            name = _defined(one)
            users = [user for user in all_of(kept) if _uses(user, one.name, name)]
            if users and name not in HARMLESS_VARIABLES:
                found_now = f"{name} in a file that goes, and used at {users[0].at}"
                yield Obstacle(f"{one.at}: {one.name} {name}", found_now, f"it in {KEPT_IN_HTTP}", may_go=False)
        elif str(one) not in there and (has_others or not is_covered(one, "")):
            yield from http_obstacles(one, settings, has_others)


def inherited_obstacles(
    directives: Sequence[Directive], of_site: Sequence[Server], settings: Settings
) -> Iterator[Obstacle]:
    """What the site's servers inherit, and Slipway's would not."""
    for one in directives:
        if one.name in OVERRIDDEN and any(_inherits(server.directives, one) for server in of_site):
            yield from directive_obstacles(one, "", settings)


def together(obstacles: Sequence[Obstacle]) -> Iterator[Obstacle]:
    """Obstacles with one line for each name: all that it needs."""
    needs: dict[tuple[str, str], list[Obstacle]] = {}
    for one in obstacles:
        needs.setdefault((one.name, one.found), []).append(one)
    for same in needs.values():
        yield replace(same[0], need=", and ".join(dict.fromkeys(one.need for one in same)))


def _inherits(block: Sequence[Directive], one: Directive) -> bool:
    """Whether a directive of http is in force somewhere in a block.
    https://nginx.org/en/docs/http/ngx_http_headers_module.html#add_header"""
    if any(inner.name == one.name for inner in block):
        return False
    within = [inner for inner in block if inner.name == "location"]
    if one.name.startswith("proxy_") and any(inner.name == "proxy_pass" for inner in block):
        return True
    if any(_inherits(inner.block or (), one) for inner in within):
        return True
    return not one.name.startswith("proxy_") and not within


def _defined(one: Directive) -> str:
    """The name that a definition gives: "$own" of a map, "app" of an upstream, "mine" of zone=mine:10m."""
    if one.name in ("map", "geo", "split_clients"):
        return one.arguments[-1]
    if one.name in ("upstream", "log_format"):
        return one.arguments[0]
    return next((name[1] for word in one.arguments if (name := re.match(r"(?:keys_)?zone=([^:]+)", word))), "")


def _uses(one: Directive, kind: str, name: str) -> bool:
    """Whether a directive needs what another one of this kind defines by this name."""
    if kind == "upstream":
        target = re.compile(rf"(\w+://)?{re.escape(name)}(/.*)?")
        return one.name.endswith("_pass") and any(target.fullmatch(word) for word in one.arguments)
    if kind in ("map", "geo", "split_clients"):
        variable = re.compile(rf"\$\{{?{re.escape(name[1:])}(?!\w)")
        return any(variable.search(word) for word in one.arguments)
    if kind == "log_format":
        return one.name == "access_log" and name in one.arguments[1:]
    return re.fullmatch(r"limit_(req|conn)|\w+_cache", one.name) is not None and bool(
        {name, f"zone={name}"} & {*one.arguments}
    )
