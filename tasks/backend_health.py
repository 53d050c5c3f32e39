"""A check for services that have stopped answering, on a server behind a load balancer. Nginx refuses requests for
these, and the load balancer passes them to another server (templates/nginx/upstream)."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts.base import Output
from slipway.ops.backup import KEPT
from slipway.ops.commands import Commands
from slipway.ops.files import put
from slipway.ops.templates import render
from slipway.ops.units import restart, restarts, service
from slipway.settings.model import Settings
from slipway.settings.services import Service

NAME = "slipway-backend-health"
UNIT, PROGRAM = f"{NAME}.service", "/usr/local/lib/slipway/backend-health"
FILE = f"/etc/systemd/system/{UNIT}"
# Holds a file for each service that does not answer, of the name of its unit.
UNANSWERED = f"/run/{NAME}"
# How long a service may take to answer, and how long none may come until Nginx refuses its requests.
TIMEOUT_SECONDS, OUT_AFTER_SECONDS = 2, 5


def units(settings: Settings) -> list[str]:
    return [UNIT] if settings.is_behind else []


def watch_services(settings: Settings) -> None:
    if not settings.is_behind:
        stop_unwanted(name="Remove the check for services that do not answer", settings=settings)
        return
    texts = files(settings)
    program = put(
        name="Install the program that checks whether services answer",
        path=PROGRAM,
        content=texts[PROGRAM],
        mode="755",
        check="sh -n {}",
        rollback_unit=UNIT,
    )
    unit = put(
        name="Configure the check for services that do not answer", path=FILE, content=texts[FILE], rollback_unit=UNIT
    )
    restart(name="Restart the check for services that do not answer", unit=UNIT, _if=restarts(program, unit))
    service(name="Start the check for services that do not answer", unit=UNIT, files=[PROGRAM, FILE])


def files(settings: Settings) -> dict[str, str]:
    """The program and its unit, by path."""
    services = [(site, one) for site in settings.all_sites for one in site.web_services]
    watched = {site.unit(one): asked(site, one) for site, one in services}
    has_ports = any(site.is_tcp(one) for site, one in services)
    limits = {"timeout": TIMEOUT_SECONDS, "out_after": OUT_AFTER_SECONDS}
    return {
        PROGRAM: render("balancing/backend-health", watched=watched, **limits),
        FILE: render(f"balancing/{UNIT}", name=NAME, program=PROGRAM, watched=watched, has_ports=has_ports),
    }


def asked(settings: Settings, one: Service) -> str:
    """curl's arguments to ask a service where Nginx finds it, during a release the next one, as for a visitor."""
    listen, name = settings.listen(one), settings.host_name(one)
    where = f"http://{listen}" if settings.is_tcp(one) else f"--unix-socket {listen} http://localhost"
    headers = {"Host": name, "X-Forwarded-Host": name, "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1"}
    given = " ".join(f"-H {shlex.quote(f'{header}: {value}')}" for header, value in headers.items())
    return f"{given} {where}{shlex.quote(one.asked_path)}"


@operation()
def stop_unwanted(settings: Settings) -> Commands:
    """Stop and remove it on a server that is no longer behind a load balancer."""
    there = host.get_fact(Output, command=f"ls {FILE} {PROGRAM} 2> /dev/null").split()
    if not there:
        return
    notes.note(f"{UNIT}: stopped and disabled")
    yield (
        f"systemctl disable --quiet --now {UNIT} 2> /dev/null; rm -f {' '.join(there)}; systemctl daemon-reload"
        # A later one must not be rolled back to this one.
        f"; rm -rf {KEPT}/{UNIT}"
    )
