"""The certificate, by certbot over HTTP-01 through Nginx's webroot; renewal by timer.

It comes last: where the ACME server refuses, all else stands and the site serves what it served before.
"""

from __future__ import annotations

import time

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.components import component
from slipway.facts.certificates import Certificate
from slipway.ops.commands import Commands
from slipway.ops.files import link, put
from slipway.ops.templates import render
from slipway.ops.units import restart, service
from slipway.settings.model import Settings
from slipway.tasks.nginx import ACME_WEBROOT

PACKAGES = ["certbot"]
# certbot renews 30 days before the end (version 2.1), twice a day by its timer. A certificate that is closer to its
# end than this was missed by the timer, and is a drift.
OVERDUE_DAYS = 14


@component
def tls(settings: Settings) -> None:
    put(
        name="Install the renewal hook",
        path="/etc/letsencrypt/renewal-hooks/deploy/reload-nginx",
        content=render("tls/reload-nginx"),
        mode="755",
    )
    service(name="Enable the certificate renewal timer", unit="certbot.timer")
    renewed = certificate(name=f"Get a certificate for {', '.join(settings.domains)}", settings=settings)
    served = link(
        name="Link the certificate",
        path=settings.tls_folder,
        target=f"/etc/letsencrypt/live/{settings.site_name}",
    )
    restart(
        name="Reload Nginx with the certificate",
        unit="nginx.service",
        reload=True,
        _if=lambda: renewed.did_change() or served.did_change(),
    )
    service(
        name="Start Nginx with the certificate",
        unit="nginx.service",
        files=[f"{settings.tls_folder}/fullchain.pem"],
        reloads=True,
    )


def reason_to_issue(found: dict[str, str], settings: Settings, now: float) -> str | None:
    """Why the certificate that was found (facts.Certificate) won't do, None if it will. `now` in seconds."""
    if not found.get("end"):
        return "there is none"
    days = (int(found["end"]) - now) / 86400
    if days < 0:
        return f"it ended {-days:.0f} days ago"
    if days < OVERDUE_DAYS:
        return f"it ends in {days:.0f} days and the timer has not renewed it"
    if set(found.get("names", "").split()) != set(settings.domains):
        return f"it is for {found.get('names')}"
    if found.get("server") != settings.acme_directory:
        return f"it is from {found.get('server') or 'an unknown server'}, tls_acme_server is {settings.acme_directory}"
    return None


@operation()
def certificate(settings: Settings) -> Commands:
    """Make sure that certbot holds a certificate for all domains, from this ACME server, with time left."""
    name = settings.site_name
    live = f"/etc/letsencrypt/live/{name}"
    found = host.get_fact(Certificate, path=f"{live}/fullchain.pem", lineage=name)
    reason = reason_to_issue(found, settings, time.time())
    if reason is None:
        return
    notes.note(f"certificate: {reason}")
    if not found.get("end") or not found.get("server"):
        # What is left of a broken lineage would make certbot refuse, or name the new one {name}-0001.
        yield f"rm -rf {live} /etc/letsencrypt/archive/{name} /etc/letsencrypt/renewal/{name}.conf"
    # An account that a power cut has emptied: certbot would stumble over it for ever, and makes a new one.
    yield "find /etc/letsencrypt/accounts -name '*.json' -empty -printf '%h\\0' | sort -zu | xargs -0r rm -rf"
    # certbot leaves it to the kernel when its files reach the disk; Nginx would not start with empty ones.
    yield f"umask 022; {' '.join(certbot_command(settings))}" + " && sync -f /etc/letsencrypt"


def certbot_command(settings: Settings) -> list[str]:
    """The certbot command that gets the certificate, whatever is there already."""
    account = ["--email", settings.tls_email] if settings.tls_email else ["--register-unsafely-without-email"]
    return [
        *("certbot", "certonly", "--non-interactive", "--agree-tos", *account),
        *("--server", settings.acme_directory, "--cert-name", settings.site_name),
        *("--webroot", "--webroot-path", ACME_WEBROOT, "--force-renewal", "--renew-with-new-domains"),
        *(argument for domain in settings.domains for argument in ("-d", domain)),
    ]
