"""What runs on a server now, and would not run after an automatic reboot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from slipway.adoption import Obstacle, own_services
from slipway.adoption.network import EPHEMERAL, IGNORED
from slipway.settings.model import Settings

# Services that Slipway's components enable.
ENABLED = {"ssh": ("ssh.service", "sshd.service"), "nginx": ("nginx.service",), "mongodb": ("mongod.service",)}
# They are for one login: tunnels and forwarded displays, too.
OF_LOGINS = {"mosh-server", "sshd-session"}


def obstacles(earlier: Mapping[str, str], settings: Settings, components: Collection[str]) -> Iterator[Obstacle]:
    """None if the server reboots for its updates already, or will not."""
    if not settings.reboot_time or earlier.get("reboots", "").strip() == "true":
        return
    reboot = f"the automatic reboot of an update, at {settings.reboot_time}"
    after = f"would not run after {reboot}"
    own = own_services(settings).union(*(ENABLED.get(name, ()) for name in components))
    found: dict[tuple[str, str, str], list[str]] = {}
    for line in earlier.get("boot", "").splitlines():
        kind, name, port, protocol, program = line.split(" ", 4)
        if name in own or program in IGNORED | OF_LOGINS or int(port) in EPHEMERAL:
            continue
        ports = found.setdefault((kind, name, program), [])
        if (shown := port if protocol == "tcp" else f"{port}/{protocol}") not in ports:
            ports.append(shown)
    for (kind, name, program), ports in found.items():
        by = f"{program} on port {', '.join(ports)}"
        if kind == "unit":
            what, need = f"it running and not enabled ({by}): it", f"it enabled: systemctl enable {name}"
        elif kind == "user":
            what, need = f"services of a user who does not linger ({by}), which", f"loginctl enable-linger {name}"
        else:
            what, need = f"{program} started from a login, which", "it started by an enabled unit"
        shown = f"user {name}" if kind == "user" else name if kind == "unit" else f"port {', '.join(ports)}"
        yield _obstacle(shown, f"{what} {after}", need)
    for name in earlier.get("unrestarted", "").splitlines():
        need = f"docker update --restart=unless-stopped {name}"
        yield _obstacle(f"container {name}", f'the restart policy "no", by which it {after}', need)
    for folder in earlier.get("mounts", "").splitlines():
        found_now = f"a mount that is not in /etc/fstab, and would be missing after {reboot}"
        yield _obstacle(folder, found_now, "a line in /etc/fstab")


def _obstacle(name: str, found: str, need: str) -> Obstacle:
    return Obstacle(f"reboot: {name}", found, f'{need}, or reboot_time = ""')
