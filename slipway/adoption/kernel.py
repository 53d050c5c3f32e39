"""Existing kernel parameters that Slipway's file would override, and those that UFW would no longer load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle, setting
from slipway.settings.model import Settings

# Of rp_filter.
STRICT, LOOSE = "1", "2"
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
                need = f"{wanted[parameter]}, or no such line"
                if parameter.endswith(".rp_filter") and value == LOOSE:
                    need += f", or {setting('rp_filter', int(LOOSE))}"
                yield Obstacle(f"{name.removeprefix('file ')}: {parameter}", found, need)
    for parameter, value in _parameters(earlier.get(f"file {UFWS}", "")):
        if value not in (OF_UFWS_PACKAGE.get(parameter), wanted.get(parameter), others.get(parameter)):
            found = f"{value} in a file that UFW would no longer load"
            need = f"no such line, or {parameter} = {value} in /etc/sysctl.d"
            if parameter in wanted:
                found, need = f"{value}, which Slipway would set to {wanted[parameter]}", "no such line"
            yield Obstacle(f"{UFWS}: {parameter}", found, need)


def uplinks(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """Several ways to the Internet: what comes in by one may be answered by another."""
    found = [line.split() for line in earlier.get("uplinks", "").splitlines()]
    # The larger one of a device's value and that of all.
    open_now = [name for name, *values in found if max(values, default="0") != STRICT]
    if len(found) > 1 and open_now and settings.rp_filter == int(STRICT):
        names = ", ".join(name for name, *_ in found)
        found_now = f"default routes by {names}: packets that are answered by the other interface would be dropped"
        yield Obstacle("net.ipv4.conf.all.rp_filter", found_now, setting("rp_filter", int(LOOSE)))


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
