"""Nginx on both sides of a load balancer: what it adds to the configuration (tasks/nginx.py)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pyinfra import host

from slipway.engine.notes import note
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.settings.balancing import AUTHORITY_FILE, SERVER_NAME
from slipway.settings.model import Settings
from slipway.tasks import authority
from slipway.tasks.backend_health import UNANSWERED

# On the load balancer: the names of the servers that get no requests, a line each (slipway drain).
DRAINED = "/etc/nginx/slipway-drained"
# On the load balancer: the servers, how requests are passed to them, and the headers of its own answers.
UPSTREAM, PASS, OWN_HEADERS = (f"snippets/slipway-{name}.conf" for name in ("upstream", "pass", "own-headers"))
# Of a request. Nginx follows ten redirects of one at most (NGX_HTTP_MAX_URI_CHANGES).
MAX_REFUSALS = 4
# On an application server: who may connect.
BEHIND = "snippets/slipway-behind.conf"
# The headers of templates/nginx/headers, which an application server has sent already.
HEADERS = {
    "Strict-Transport-Security": "$hsts",
    "Content-Security-Policy": "$content_security_policy",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": '"camera=(), geolocation=(), microphone=(), usb=()"',
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Cross-Origin-Resource-Policy": "$cross_origin_resource_policy",
}


def drained(settings: Settings) -> list[str]:
    """The application servers that `slipway drain` has taken out of rotation."""
    if not settings.is_balancer:
        return []
    for name in direct(settings):
        note(f"{name}: visitors reach it without the load balancer, too, until lb_direct is removed")
    known = [peer.name for peer in settings.peers_with("web")]
    there = host.get_fact(Output, command=f"cat {DRAINED}").split()
    for name in (name for name in known if name in there):
        note(f"{name} is drained: it gets no requests until `slipway undrain {name}`")
    return [name for name in known if name in there]


def direct(settings: Settings) -> list[str]:
    """The application servers that visitors reach without the load balancer, too."""
    return [peer.name for peer in settings.peers_with("web") if peer.given.get("lb_direct")]


def address_problems(settings: Settings) -> list[str]:
    """Whether an application server has the address that its Nginx listens on."""
    here = settings.here
    machine: dict[str, str] = host.get_fact(Machine) if here and settings.is_behind else {}
    own = machine.get("addresses", "").split()
    if not here or not machine or here.address in own:
        return []
    return [
        f"private_address: found {here.address}, which is none of this host's, need one by which the load balancer"
        f" reaches it: {' or '.join(own)}"
    ]


def certificates(settings: Settings) -> list[str]:
    """The files that Nginx reads at a reload."""
    return [AUTHORITY_FILE, authority.OWN] if settings.is_balancer or settings.is_behind else []


def files(settings: Settings) -> dict[str, str]:
    """The templates of further files below /etc/nginx, by the file."""
    if settings.is_balancer:
        return {UPSTREAM: "nginx/upstream", PASS: "nginx/pass", OWN_HEADERS: "nginx/own-headers"}
    return {BEHIND: "nginx/behind"} if settings.is_behind else {}


def values(settings: Settings, out: Collection[str]) -> dict[str, Any]:
    """The values of those templates, and of the others; `out` are the servers that get no requests."""
    here, balancers = settings.here, settings.peers_with("lb")
    return {
        "is_balancer": settings.is_balancer,
        "is_behind": settings.is_behind,
        "behind": BEHIND,
        "upstream": UPSTREAM,
        "pass_on": PASS,
        "own_headers": OWN_HEADERS,
        "all_headers": HEADERS,
        # In a site's second file, for visitors that do not come through the load balancer.
        "is_beside": False,
        "is_direct": settings.is_direct,
        # Those that a challenge for a certificate may be meant for besides this host.
        "challenges": [peer.address for peer in balancers if not peer.is_here]
        if settings.is_direct or here in balancers
        else [],
        "request_id": "$known_request_id" if settings.is_behind else "$request_id",
        "listen": f"{here.address}:{settings.lb_port}" if here and settings.is_behind else "",
        "authority": AUTHORITY_FILE,
        "own_certificate": authority.OWN,
        "server_name": SERVER_NAME,
        "balancers": [peer.address for peer in balancers],
        "servers": [
            (peer, peer.given.get("lb_port", settings.lb_port), peer.name in out) for peer in settings.peers_with("web")
        ],
        # How many servers may refuse a request, less the first: all but one, and few, as each takes time.
        "refusals": min(max(len(settings.peers_with("web")) - 2, 0), MAX_REFUSALS - 1),
        "unanswered": UNANSWERED,
    }
