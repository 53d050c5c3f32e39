"""Settings of several servers behind a load balancer, and what keeps an inventory from being such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from slipway.secrets.store import AUTHORITY, ENCRYPTED, OWN, PREFIX, how_to_give
from slipway.settings.frontend_tool import NO_BUILD
from slipway.settings.types import Port, Seconds, Section

if TYPE_CHECKING:
    from slipway.settings.model import Settings

# Of nobody's certificate but an application server's, by which the load balancer knows it; ".internal" is reserved for
# private use (ICANN, 2024).
SERVER_NAME = "web.slipway.internal"
# On each server: the certificate of the servers' own authority.
AUTHORITY_FILE = "/etc/slipway/tls/authority.pem"


class Balancing(Section):
    """Load balancer

    For an inventory with an `lb` host ([scale.md](scale.md)).
    """

    lb_port: Port = 8443
    """The port that the application servers' Nginx listens on, at `private_address`, for the load balancer alone."""

    lb_sticky: bool = False
    """Pass a visitor's requests to the same server as long as it is there, by a hash of the address. The site must not
    need it: a visitor whose server is gone gets another one."""

    lb_failure_seconds: Annotated[Seconds, Field(ge=1, le=60)] = 5
    """How long a server gets no requests after three have failed to reach it within this time."""

    lb_direct: bool = False
    """For one application server, in the inventory: visitors reach it without the load balancer, too, as long as the
    site's DNS still leads to it ([scale.md](scale.md#from-one-server-to-several))."""

    shared_storage: Literal["own", "mounted"] = "own"
    """Where `shared_paths` and `shared_files` are if there are several application servers: `"own"`, on the disk of
    each, which is refused, as a visitor's upload would be on one of them; or `"mounted"`, in a file system that you
    have mounted at the same place on all of them."""


def problems(settings: Settings) -> Iterator[str]:
    """What keeps this host from its place in an inventory with a load balancer, a line each."""
    balancers = settings.peers_with("lb")
    here = settings.here
    if settings.lb_direct and (not here or not balancers or "web" not in here.roles):
        there = "no lb host" if not balancers else "a host that is not in web"
        yield (
            f"lb_direct: found True and {there}, expected it for an application server behind a load balancer, in the"
            ' inventory: ("app1.example.org", {"lb_direct": True})'
        )
    if here and here in settings.peers_with("app")[:1] and settings.peers_with("app")[1:]:
        for site in settings.all_sites:
            yield from _of_several(site)
            if balancers:
                yield from _of_the_frontend(site)
    if not balancers or not here:
        return
    if settings.is_balancer:
        yield from _of_balancer(settings)
    elif ("web" in here.roles) != ("app" in here.roles):
        one, other = ("web", "app") if "web" in here.roles else ("app", "web")
        yield (
            f"found it in {one} and not in {other}, expected it in both: the load balancer reaches a backend by the"
            f" Nginx of its own host; add it to {other} in the inventory"
        )
    if {*here.roles} & {"lb", "web"} and not here.address:
        yield (
            "private_address: found '' and no address of the connection, expected the IPv4 address by which the other"
            f' servers reach it: ("{here.name}", {{"private_address": "10.0.0.5"}})'
        )
    wanted = balancers[0].given.get("site_domain", settings.site_domain)
    if "web" in here.roles and wanted != settings.site_domain:
        yield f"site_domain: found {settings.site_domain!r}, expected that of the load balancer, {wanted!r}"


def _of_balancer(settings: Settings) -> Iterator[str]:
    here, (first, *_) = settings.here, settings.peers_with("lb")
    assert here
    if others := [role for role in here.roles if role != "lb"]:
        yield (
            f"found it in lb and in {', '.join(others)}, expected a load balancer in no other role: everybody reaches"
            " it, and its Nginx has the public ports; remove it from lb, or from the others"
        )
    if not settings.peers_with("web"):
        yield "found it in lb and no host in web, expected the application servers: web = app = [...]"
    if here == first and (problem := settings.authority_problem):
        yield problem


def _of_several(site: Settings) -> Iterator[str]:
    """What can't be on several application servers."""
    for name in ("shared_paths", "shared_files"):
        if (found := getattr(site, name)) and site.shared_storage == "own":
            yield (
                f"{name}: found {found!r} with several application servers, expected [] and a store that all of them"
                ' reach, such as S3; or mount one file system on all of them and set shared_storage = "mounted"'
            )
    for name in site.generated_secrets:
        if name not in site.secrets and name not in OWN:
            yield (
                f"generated_secrets: found {name} with several application servers, expected a value that is the same"
                f" on all of them: {how_to_give(name, site.secrets_file)}"
            )


def _of_the_frontend(site: Settings) -> Iterator[str]:
    builds = site.has_frontend and site.frontend_build != NO_BUILD and site.frontend_build_on == "server"
    if builds and len(site.peers_with("web")) > 1:
        yield (
            'frontend_build_on: found "server" with several application servers, expected "local": each would build'
            " files of other names, and a page of one would ask another one for them"
        )


def missing_authority(file: str) -> str:
    path = Path(file)
    named = "" if path.stem == "production" else f" {path.stem}"
    if not file:
        where = "the environment"
        how = f"`slipway secrets ca --print` makes both, for {' and '.join(f'{PREFIX}{name}' for name in AUTHORITY)}"
    elif path.suffix != ENCRYPTED:
        where, how = file, f"type `slipway secrets ca --print >> {file}`"
    else:
        where, how = file, f"type `slipway secrets ca{named}`"
    return (
        f"found several servers and no {AUTHORITY[0]} and {AUTHORITY[1]}, the servers' own certificate authority,"
        f" expected both in {where}: {how}"
    )
