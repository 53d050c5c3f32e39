"""The certificate by which this server knows the inventory's other servers, and they it: of their own authority."""

from __future__ import annotations

import shlex
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
from slipway.settings.balancing import SERVER_NAME
from slipway.settings.model import Settings

FOLDER = "/etc/slipway/tls"
# The certificate of the authority; the server's own with its key, in one file: one without the other is of no use.
AUTHORITY, OWN = f"{FOLDER}/authority.pem", f"{FOLDER}/server.pem"


def server_certificate(settings: Settings) -> None:
    """On each server of an inventory that has several, before whatever uses it."""
    if not settings.has_authority:
        return
    put(name="Install the certificate of the servers' authority", path=AUTHORITY, content=settings.authority.pem)
    own_certificate(name="Issue the server's certificate", settings=settings)


def names(settings: Settings) -> list[str]:
    """What the certificate is for: the server's name and address in the inventory, and its roles' names."""
    from slipway.secrets.authority import DNS_NAME

    here = settings.here
    assert here
    own = [here.name] if DNS_NAME.fullmatch(here.name) and here.name != here.address else []
    return [*own, *([here.address] if here.address else []), *([SERVER_NAME] if settings.is_behind else [])]


@operation()
def own_certificate(settings: Settings) -> Commands:
    """Make sure that there is a certificate of the authority, for this server, that does not end soon."""
    certificate = host.get_fact(Output, command=f"sed -n '/BEGIN CERTIFICATE/,/END CERTIFICATE/p' {OWN}")
    its: dict[str, Any] = {"name": host.name, "names": names(settings), "is_balancer": settings.is_balancer}
    now = datetime.now(UTC)
    reason = settings.authority.reason_to_issue(certificate, **its, now=now)
    state = host.get_fact(FileState, path=OWN)
    is_private = (state.get("owner"), state.get("group"), state.get("mode")) == ("root", "root", "600")
    if not reason and is_private:
        return
    if not reason:
        notes.note(f"{OWN}: {state.get('owner')}:{state.get('group')} {state.get('mode')} -> root:root 600")
        yield f"chown root:root {shlex.quote(OWN)}; chmod 600 {shlex.quote(OWN)}"
        return
    notes.note(f"{OWN}: {reason}")
    pem = settings.authority.issue(**its, now=now)
    yield with_input(write_script(OWN, "600", "root", "root", check=None), pem.encode())
