"""MongoDB's certificate where its members and backends are on several hosts, as they talk to each other by TLS."""

from __future__ import annotations

from typing import Any, cast

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts.files import Modified
from slipway.facts.units import Unit
from slipway.ops.commands import Commands
from slipway.ops.units import is_stale
from slipway.settings import members
from slipway.settings.balancing import AUTHORITY_FILE
from slipway.settings.model import Settings
from slipway.tasks import mongodb_members
from slipway.tasks.authority import MONGODB, own_certificate

# Touched whenever mongod has read its certificate without a restart. /run is empty after a boot, as mongod is younger.
READ = "/run/slipway-mongodb-certificate"


def certificate(settings: Settings) -> Any:
    """The operation that issues it; None where MongoDB needs none."""
    if not members.has_certificates(settings):
        return None
    return own_certificate(
        name="Issue MongoDB's certificate",
        settings=settings,
        path=MONGODB,
        names=members.certificate_names(settings),
        owner="mongodb",
    )


def values(settings: Settings) -> dict[str, str]:
    """The template values of mongod.conf."""
    return {"certificate": MONGODB if members.has_certificates(settings) else "", "authority": AUTHORITY_FILE}


def read_anew(settings: Settings, unit: str, issued: Any) -> None:
    """Let mongod read a certificate that has changed since it started. In a replica set without a restart, and its
    connections stay."""
    if issued is None:
        return

    def is_due() -> bool:
        state = cast("dict[str, str]", host.get_fact(Unit, unit=unit))
        changed = host.get_fact(Modified, paths=(MONGODB, AUTHORITY_FILE))
        missed = is_stale(state, changed, reloads=False) and host.get_fact(Modified, paths=(READ,)) < changed
        return issued.did_change() or missed

    rotate(name="Let MongoDB read its certificate", settings=settings, unit=unit, _if=is_due)


@operation()
def rotate(settings: Settings, unit: str) -> Commands:
    """https://www.mongodb.com/docs/v7.0/reference/command/rotateCertificates/"""
    if settings.mongodb_replica_set:
        notes.note(f"{unit}: reads {MONGODB} and {AUTHORITY_FILE}, without a restart")
        yield f"{mongodb_members.asked(settings, 'rotate')} && touch {READ}"
    else:
        # There is no key to log in by.
        notes.note(f"{unit}: restarts with {MONGODB} and {AUTHORITY_FILE}")
        yield f"systemctl restart {unit}"
