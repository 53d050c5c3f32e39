"""The program that serves a site now, where its unit has another name than Slipway's."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slipway.adoption import Obstacle, own_services
from slipway.adoption.network import listeners, local_sockets
from slipway.adoption.nginx import Found, proxied_ports
from slipway.adoption.nginx_upstreams import backend_ports
from slipway.settings.model import Settings

UNITS = "/etc/systemd/system"
# What runs programs that others have told it to, and how it stops one.
MANAGERS = {
    "pm2-": "pm2 delete NAME; pm2 save",
    "supervisor": "supervisorctl stop NAME, and its file moved out of /etc/supervisor/conf.d",
    "docker.": "docker update --restart=no NAME; docker stop NAME",
    "containerd.": "its container stopped, and not started again",
}


@dataclass(frozen=True)
class Serving:
    """`holder` is the unit of a socket that a site's server blocks proxy to, or else its program."""

    holder: str
    port: int | str
    obstacle: Obstacle

    def says_it(self, other: Obstacle) -> bool:
        """Whether another obstacle goes with this one: it is about the same program, which Slipway's unit replaces."""
        first, _, ports = other.name.partition("reboot: port ")
        return (
            other.name in (self.holder, f"port {self.port}", f"reboot: {self.holder}")
            or other.name.startswith(f"{UNITS}/{self.holder}: ")
            or (not first and str(self.port) in ports.split(", "))
        )


def holders(earlier: Mapping[str, str]) -> dict[int | str, str]:
    """The unit, or else the program, of each listening port and socket."""
    ports: dict[int | str, str] = {one.port: one.unit or one.program for one in listeners(earlier)}
    return ports | {**local_sockets(earlier)}


def serving(earlier: Mapping[str, str], found: Found, settings: Settings) -> list[Serving]:
    """What serves the sites, in no unit of Slipway's names."""
    own, there = own_services(settings), holders(earlier)
    backends = {port: site for site in settings.all_sites for port in backend_ports(found, site)}
    told: dict[str, Serving] = {}
    for port, at in proxied_ports(found, settings).items():
        holder = there.get(port, "")
        # systemd holds the socket of a service that it starts: the program is not known by it.
        if holder and holder not in own and holder != "systemd":
            where = f"port {port}" if isinstance(port, int) else f"the socket {port}"
            now = f"it serving the site on {where} ({at}): it would keep running beside Slipway's backend"
            site = backends.get(port) or (None if backends else settings)
            need = _taken_over(holder, site, earlier) if site else "it as one of `services`"
            told.setdefault(holder, Serving(holder, port, Obstacle(holder, now, need)))
    return [*told.values()]


def _taken_over(holder: str, site: Settings, earlier: Mapping[str, str]) -> str:
    unit = f"{site.backend_unit}.service"
    stops = next((how for name, how in MANAGERS.items() if holder.startswith(name)), "")
    if not stops and holder in earlier.get("services", "").split():
        # With its drop-ins.
        steps = (
            *(f"cd {UNITS}", f"systemctl cat {holder} > {unit}", f"systemctl disable --now {holder}"),
            *(f"mv {holder} /root/", "systemctl daemon-reload", f"systemctl enable --now {unit}"),
        )
        return f"it renamed to {unit}, which Slipway replaces: {' && '.join(steps)}"
    options = "User=, WorkingDirectory=, EnvironmentFile= and ExecStart="
    how = f"write it with {options}; {stops or 'it stopped'}; systemctl enable --now {unit}"
    return f"it run by {UNITS}/{unit}, which Slipway replaces: {how}"


def without_repeats(
    obstacles: Iterable[Obstacle], found: Sequence[Serving], without: Collection[str]
) -> Iterator[Obstacle]:
    """The obstacles, with one line for each program that serves a site. One that is in `without` runs on."""
    yield from (one.obstacle for one in found)
    told = [one for one in found if one.holder not in without]
    yield from (one for one in obstacles if not any(other.says_it(one) for other in told))
