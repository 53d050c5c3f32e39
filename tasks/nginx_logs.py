"""The size of Nginx's logs. Debian's configuration of logrotate(8), or the owner's, rotates them once a day and is left
as it is; a program limits what a busy day or an attack makes of them."""

from __future__ import annotations

from pyinfra import host

from slipway.engine.components import Drift
from slipway.facts.base import Output
from slipway.ops.files import put, put_all
from slipway.ops.templates import render
from slipway.ops.units import know, service
from slipway.settings.model import Settings

FOLDER, ROTATION = "/var/log/nginx", "/etc/logrotate.d/nginx"
PROGRAM = "/usr/local/lib/slipway/bound-nginx-logs"
UNITS = "/etc/systemd/system"
NAME = "slipway-nginx-logs"

DRIFTS = {
    "Nginx's logs without a limit": Drift(
        f"systemctl disable --now {NAME}.timer", "Start the timer that limits the size of Nginx's logs"
    ),
}


def problems(settings: Settings) -> list[str]:
    """Logs of an earlier owner that the program would remove."""
    command = f"[ -e {PROGRAM} ] || du -sm {FOLDER} 2> /dev/null | cut -f1"
    found, limit = host.get_fact(Output, command=command).strip(), settings.nginx_logs_max_mb
    if not found or int(found) <= limit:
        return []
    return [f"{FOLDER}: found {found} MiB, need at most nginx_logs_max_mb = {limit} (raise it, or move old logs away)"]


def limit_logs(settings: Settings) -> None:
    values = {"folder": FOLDER, "configuration": ROTATION, "max_mb": settings.nginx_logs_max_mb, "program": PROGRAM}
    put(
        name="Install the program that limits the size of Nginx's logs",
        path=PROGRAM,
        content=render("nginx/bound-logs", **values),
        mode="755",
        check="sh -n {}",
    )
    units = (f"{NAME}.service", f"{NAME}.timer")
    put_all(
        name="Limit the size of Nginx's logs",
        files={f"{UNITS}/{unit}": render(f"nginx/{unit}", **values) for unit in units},
    )
    know(name="Reload systemd for the limit of Nginx's logs", unit=f"{NAME}.service")
    service(name="Start the timer that limits the size of Nginx's logs", unit=f"{NAME}.timer")
