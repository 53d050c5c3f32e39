"""Existing kernel parameters that Slipway's file would override, and those that UFW would no longer load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle, setting
from slipway.settings.model import Settings

# Of rp_filter.
STRICT, LOOSE = "1", "2"
UFWS = "/etc/ufw/sysctl.conf"
# Of these Slipway's value is the least: a larger one of the host's stays.
AT_LEAST = (
    *("vm.max_map_count", "net.core.somaxconn"),
    *("kernel.yama.ptrace_scope", "kernel.perf_event_paranoid"),
)
# By system, what its kernel begins with where that is more: Ubuntu's has one level more than Debian's.
BUILT_IN = {"ubuntu": {"kernel.perf_event_paranoid": 4}}
# Parameters by whose change nothing ends that works now.
TUNING = {
    *("vm.swappiness", "vm.max_map_count", "net.core.somaxconn", "net.ipv4.tcp_keepalive_time"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.conf.all.log_martians", "net.ipv4.conf.default.log_martians"),
    "kernel.core_uses_pid",
}
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
    for file, parameter, value in _set(earlier):
        others[parameter] = value
        if parameter not in TUNING and _changes(parameter, value, wanted):
            found = f"{value}, which Slipway would set to {wanted[parameter]}"
            need = f"{wanted[parameter]}, or no such line"
            if parameter.endswith(".rp_filter") and value == LOOSE:
                need += f", or {setting('rp_filter', int(LOOSE))}"
            yield Obstacle(f"{file}: {parameter}", found, need)
    for parameter, value in _parameters(earlier.get(f"file {UFWS}", "")):
        known = (OF_UFWS_PACKAGE.get(parameter), wanted.get(parameter), others.get(parameter))
        if value not in known and parameter not in TUNING:
            found = f"{value} in a file that UFW would no longer load"
            need = f"no such line, or {parameter} = {value} in /etc/sysctl.d"
            if parameter in wanted:
                found, need = f"{value}, which Slipway would set to {wanted[parameter]}", "no such line"
            yield Obstacle(f"{UFWS}: {parameter}", found, need)


def tuned(earlier: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The parameters that become Slipway's without harm: "vm.swappiness = 10 becomes 1"."""
    last = {parameter: value for _, parameter, value in _set(earlier) if parameter in TUNING}
    return [
        f"{parameter} = {value} becomes {wanted[parameter]}"
        for parameter, value in last.items()
        if _changes(parameter, value, wanted)
    ]


def larger(text: str, system: str = "") -> dict[str, int]:
    """The largest values of AT_LEAST in the text of the host's files and in the kernel of a system ("ubuntu")."""
    found = [(name, int(value)) for name, value in _parameters(text) if name in AT_LEAST and value.isdecimal()]
    return {name: value for name, value in sorted([*found, *BUILT_IN.get(system, {}).items()])}


def _changes(parameter: str, value: str, wanted: Mapping[str, str]) -> bool:
    own = wanted.get(parameter, value)
    is_kept = parameter in AT_LEAST and value.isdecimal() and int(value) >= int(own)
    return value != own and not is_kept


def _set(earlier: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The parameters of the host's files, in their order: a file, a name and a value."""
    for name, text in earlier.items():
        if name.startswith("file /etc/sysctl."):
            for parameter, value in _parameters(text):
                yield name.removeprefix("file "), parameter, value


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
