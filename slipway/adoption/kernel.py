"""Existing kernel parameters that Slipway's file would override, and those that UFW would no longer load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle, setting
from slipway.settings.model import Settings

UFWS = "/etc/ufw/sysctl.conf"
# The parameters in UFW's file as its package has it: Slipway's are stricter, or the kernel's defaults are the same.
OF_UFWS_PACKAGE = {
    **{f"net.ipv{version}.conf.{of}.accept_redirects": "0" for version in (4, 6) for of in ("all", "default")},
    **{f"net.ipv4.conf.{of}.log_martians": "0" for of in ("all", "default")},
    "net.ipv4.icmp_echo_ignore_broadcasts": "1",
    "net.ipv4.icmp_ignore_bogus_error_responses": "1",
    "net.ipv4.icmp_echo_ignore_all": "0",
}


def obstacles(earlier: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[Obstacle]:
    """`wanted` are Slipway's parameters by name."""
    others: dict[str, str] = {}
    for name, text in earlier.items():
        if not name.startswith("file /etc/sysctl."):
            continue
        for parameter, value in _parameters(text):
            others[parameter] = value
            if wanted.get(parameter, value) != value:
                found = f"{value}, which Slipway would set to {wanted[parameter]}"
                yield Obstacle(
                    f"{name.removeprefix('file ')}: {parameter}", found, f"{wanted[parameter]}, or no such line"
                )
    for parameter, value in _parameters(earlier.get(f"file {UFWS}", "")):
        if value not in (OF_UFWS_PACKAGE.get(parameter), wanted.get(parameter), others.get(parameter)):
            found = f"{value} in a file that UFW would no longer load"
            need = f"no such line, or {parameter} = {value} in /etc/sysctl.d"
            if parameter in wanted:
                found, need = f"{value}, which Slipway would set to {wanted[parameter]}", "no such line"
            yield Obstacle(f"{UFWS}: {parameter}", found, need)


def modules(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Modules in use that would not load at the next boot."""
    used = dict.fromkeys(earlier.get("modules", "").split())
    if missing := [name for name in used if name not in settings.loadable_modules]:
        found = "them in use (a mounted disk on USB, or open sockets); Slipway keeps them from loading at the next boot"
        need = setting("loadable_modules", [*settings.loadable_modules, *missing])
        yield Obstacle(f"kernel modules {', '.join(missing)}", found, need)


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        left, is_set, right = line.partition("=")
        if is_set and not line.lstrip().startswith(("#", ";")):
            yield left.strip().lstrip("-").replace("/", "."), " ".join(right.split())
