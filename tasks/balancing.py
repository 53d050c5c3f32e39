"""Nginx on both sides of a load balancer: what it adds to the configuration (tasks/nginx.py)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host

from slipway.engine import across
from slipway.engine.notes import note
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.ops.commands import ensure
from slipway.ops.templates import render
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
# A server in UPSTREAM.
SERVER_LINE = re.compile(r"^ *server .*?( down)?; # (\S+)$", re.MULTILINE)
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


@dataclass(frozen=True)
class Rotation:
    """The application servers that get no requests, by name."""

    # By `slipway drain`; with each the load balancers of the run that know it.
    drained: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Those that have not been in rotation: they are taken in when a run has applied them.
    new: tuple[str, ...] = ()
    # Those of them that this run does not reach.
    held: tuple[str, ...] = ()

    @property
    def out(self) -> list[str]:
        return [*self.drained, *self.held]


def rotation(settings: Settings) -> Rotation:
    """Who is in rotation, from what all load balancers of the run remember: `slipway drain` may have reached some."""
    if not settings.is_balancer:
        return Rotation()
    known, balancers = ([peer.name for peer in settings.peers_with(role)] for role in ("web", "lb"))
    said: dict[str, str] = {host.name: host.get_fact(Output, command=f"cat {DRAINED}")}
    if len(balancers) > 1:
        said |= across.facts(host, balancers, lambda _: (Output, {"command": f"cat {DRAINED}"}))
    drained = {name: tuple(one for one, text in said.items() if name in text.split()) for name in known}
    drained = {name: where for name, where in drained.items() if where}
    listed = SERVER_LINE.findall(host.get_fact(Output, command=f"cat /etc/nginx/{UPSTREAM}"))
    serving = {name for down, name in listed if not down}
    new = [name for name in known if name not in drained and name not in serving]
    # A new load balancer takes in all: it may be applied without them.
    held = [name for name in new if listed and not across.of_run(host, [name])]
    return Rotation(drained, tuple(new), tuple(held))


def tell(settings: Settings, its: Rotation) -> None:
    """Note which servers get no requests from this load balancer, and why."""
    if not settings.is_balancer:
        return
    for name in direct(settings):
        note(f"{name}: visitors reach it without the load balancer, too, until lb_direct is removed")
    for name, where in its.drained.items():
        by = "" if host.name in where else f" (by what {', '.join(where)} remembers)"
        note(f"{name} is drained{by}: it gets no requests until `slipway undrain {name}`")
    for name in its.held:
        note(f"{name} is not in this run and was not in rotation: it gets no requests until an apply with it")
    for site in settings.all_sites:
        if host.get_fact(Output, command=f"ls {site.site_root}/maintenance").strip():
            note(f"{site.site_domain} is in maintenance: visitors get 503 until `slipway maintenance off`")


def forget_removed(settings: Settings) -> None:
    """Forget the servers that are drained and no more in the inventory: another one may get such a name."""
    known = " ".join(f"-e {shlex.quote(peer.name)}" for peer in settings.peers_with("web"))
    ensure(
        name="Forget the drained servers that were removed",
        check=f"! grep -vxF {known} {DRAINED} 2> /dev/null | grep -q .",
        command=f"{{ grep -xF {known} {DRAINED} || :; }} > {DRAINED}.new; sync {DRAINED}.new;"
        f" mv -fT {DRAINED}.new {DRAINED}",
        note=f"{DRAINED}: without the servers that are not in the inventory",
    )


def at_last(settings: Settings, its: Rotation) -> dict[str, str]:
    """What becomes of UPSTREAM where new servers have failed in this run: the next apply takes them in. Not where no
    other one would be left."""
    due = {*its.new} - {*its.held}
    failed = sorted(one.name for one in host.state.failed_hosts if one.name in due) if due else []
    out = [*its.out, *failed]
    if not failed or not {peer.name for peer in settings.peers_with("web")} - {*out}:
        return {}
    note(f"{', '.join(failed)} failed in this run: no requests until an apply has succeeded")
    return {UPSTREAM: render("nginx/upstream", settings=settings, **values(settings, out))}


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


def rotation_problems(settings: Settings) -> list[str]:
    """Whether an apply would leave a load balancer without a server."""
    its = rotation(settings)
    known = [peer.name for peer in settings.peers_with("web")]
    if not its.out or {*known} - {*its.out}:
        return []
    drained = f"{', '.join(its.drained)} drained" if its.drained else ""
    held = f"{', '.join(its.held)} not in this run" if its.held else ""
    found = " and ".join(text for text in (drained, held) if text)
    undrain = f"slipway undrain {next(iter(its.drained), '')}" if its.drained else ""
    wanted = " or ".join(text for text in (undrain, "a run with them" if its.held else "") if text)
    return [f"load balancer: found {found}, need an application server in rotation: {wanted}"]


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
