"""The certificate by which this server knows the inventory's other servers, and they it: of their own authority."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.uploads import with_input
from slipway.facts.base import Output
from slipway.facts.files import FileState
from slipway.ops.commands import Commands
from slipway.ops.files import put, write_script
from slipway.settings import members
from slipway.settings.balancing import AUTHORITY_FILE, SERVER_NAME
from slipway.settings.model import Settings

# A server's certificate with its key, in one file, as one without the other is of no use: root's, and MongoDB's.
OWN, MONGODB = "/etc/slipway/tls/server.pem", "/etc/slipway/tls/mongodb.pem"


def server_certificate(settings: Settings) -> None:
    """On each server of an inventory that has several, before whatever uses it."""
    if not settings.has_authority:
        return
    put(name="Install the certificate of the servers' authority", path=AUTHORITY_FILE, content=settings.authority.pem)
    own_certificate(name="Issue the server's certificate", settings=settings, path=OWN, names=names(settings))


def files(settings: Settings) -> dict[str, str]:
    """The certificates of this server, by whose they are."""
    if not settings.has_authority:
        return {}
    is_of_mongodb = "db" in host.groups and members.has_certificates(settings)
    return {"this server": OWN, **({"MongoDB on this server": MONGODB} if is_of_mongodb else {})}


def names(settings: Settings) -> list[str]:
    """What the certificate is for: the server's name and address in the inventory, and its roles' names."""
    from slipway.secrets.authority import DNS_NAME

    here = settings.here
    assert here
    own = [here.name] if DNS_NAME.fullmatch(here.name) and here.name != here.address else []
    return [*own, *([here.address] if here.address else []), *([SERVER_NAME] if settings.is_behind else [])]


@operation()
def own_certificate(settings: Settings, path: str, names: Sequence[str], owner: str = "root") -> Commands:
    """Make sure that there is a certificate of the authority, for these names of this server, that does not end soon,
    with its key for `owner` alone."""
    certificate = host.get_fact(Output, command=f"sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' {path}")
    its: dict[str, Any] = {"name": host.name, "names": names, "is_balancer": settings.is_balancer}
    now = datetime.now(UTC)
    reason = settings.authority.reason_to_issue(certificate, **its, now=now)
    state = host.get_fact(FileState, path=path)
    is_private = (state.get("owner"), state.get("group"), state.get("mode")) == (owner, owner, "600")
    if not reason and is_private:
        return
    if not reason:
        notes.note(f"{path}: {state.get('owner')}:{state.get('group')} {state.get('mode')} -> {owner}:{owner} 600")
        yield f"chown {owner}:{owner} {shlex.quote(path)}; chmod 600 {shlex.quote(path)}"
        return
    notes.note(f"{path}: {reason}")
    pem = settings.authority.issue(**its, now=now)
    yield with_input(write_script(path, "600", owner, owner, check=None), pem.encode())
