"""The machine, its packages and disks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from slipway.facts.base import key_values
from slipway.inspection import support
from slipway.inspection.masking import masked
from slipway.inspection.questions import parts
from slipway.inspection.report import Disk, Packages, Source, System

# apt's "origin" of the distributions' archives.
DISTRIBUTIONS = ("Debian", "Debian Backports", "Ubuntu", "UbuntuESM", "UbuntuESMApps")
# File systems without user data.
NOT_SHOWN = re.compile(r"/(run|proc|sys|etc|snap|dev|boot/efi|var/lib/(docker|containers|lxcfs))(/|$)")


def system(text: str, machine: Mapping[str, str]) -> System:
    found = key_values(text.split("\n"))
    end, long_end = support.ends(machine.get("os", ""), machine.get("release", ""))
    return System(
        title=found.get("title", ""),
        kernel=found.get("kernel", ""),
        newest_kernel=found.get("newest_kernel", ""),
        architecture=machine.get("arch", ""),
        virtualisation=found.get("virtual", ""),
        hostname=found.get("hostname", ""),
        addresses=machine.get("addresses", "").split(),
        cores=_number(found.get("cores")),
        memory_mb=_number(found.get("MemTotal")) // 1024,
        swap={
            # Without its first page, mkswap(8).
            name.removeprefix("swap:"): (_number(value.split()[-1]) + 4) // 1024
            for name, value in found.items()
            if name.startswith("swap:")
        },
        up_seconds=_number(found.get("up")),
        timezone=found.get("timezone", ""),
        locale=found.get("locale", ""),
        support_end=end,
        long_support_end=long_end,
        by_slipway="slipway" in found,
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.strip().isdigit() else 0


def disks(text: str) -> list[Disk]:
    found: dict[str, Disk] = {}
    for line in parts(text)[""]:
        fields = line.split(None, 6)
        if len(fields) == 7 and not NOT_SHOWN.match(fields[6]):
            found.setdefault(
                fields[0], Disk(mount=fields[6], kind=fields[1], size_mb=_number(fields[2]), free_mb=_number(fields[4]))
            )
    return [*found.values()]


def folders(text: str) -> dict[str, int]:
    lines = (line.split("\t", 1) for line in parts(text).get("folders", []))
    found = {fields[1]: _number(fields[0]) for fields in lines if len(fields) == 2}
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def packages(text: str, system_text: str, now: float) -> Packages:
    """`now` in seconds since the epoch."""
    found, of_system = parts(text), key_values(system_text.split("\n"))
    sources, has_lists = _sources(found.get("policy", []), found.get("files", []))
    # name/suite,suite version architecture [upgradable from: version]
    updates = [line.split()[0].partition("/")[::2] for line in found.get("updates", [])]
    newest = next((line for line in found.get("lists", []) if line.isdigit()), "")
    kernel, newest_kernel = of_system.get("kernel", ""), of_system.get("newest_kernel", "")
    return Packages(
        sources=sources,
        elsewhere=[line.partition("/")[0] for line in found.get("elsewhere", [])] if has_lists else None,
        held=found.get("held", []),
        snaps=[line.split()[0] for line in found.get("snaps", [])],
        updates=[name for name, _ in updates],
        security_updates=[name for name, suites in updates if "security" in suites],
        lists_age_days=int((now - int(newest)) // 86400) if newest else None,
        # A container runs its host's kernel.
        reboot_required="reboot" in of_system
        or bool(newest_kernel and kernel and _series(newest_kernel) == _series(kernel) and newest_kernel != kernel),
    )


def _series(kernel: str) -> str:
    """The flavour of a kernel: "cloud-amd64" for 6.1.0-18-cloud-amd64."""
    return re.sub(r"^[\d.]+-\d+-?", "", kernel) if re.match(r"[\d.]+-\d+-", kernel) else f"? {kernel}"


def _sources(policy: list[str], files: list[str]) -> tuple[list[Source], bool]:
    """Sources outside the distribution, by `apt-cache policy`, and whether it lists the distribution's own."""
    found: dict[str, Source] = {}
    has_own = False
    url = ""
    for line in policy:
        if line.startswith("Pinned packages"):
            break
        if entry := re.match(r"\s*-?\d+ (\w+:\S+) (\S+)", line):
            url, place = entry[1], entry[2]
        elif "release " in line and url:
            origin = next((one[2:] for one in line.split("release ", 1)[1].split(",") if one.startswith("o=")), "")
            if origin in DISTRIBUTIONS:
                has_own = True
            else:
                file, key = _listed(files, url, place)
                found.setdefault(url, Source(url=masked(url), origin=origin, file=file, signed_by=key))
            url = ""
    return [*found.values()], has_own


def _listed(lines: list[str], url: str, place: str) -> tuple[str, str]:
    """The file that contains a source, by its URL and suite/component, and its Signed-By keyring. Lines are as grep
    prints them, FILE:LINE."""
    entries = [line.split(":", 1) for line in lines if ":" in line]
    suite = place.rpartition("/")[0]
    for file, text in entries:
        own = " ".join(line for name, line in entries if name == file) if file.endswith(".sources") else text
        if url.rstrip("/") in re.split(r"[\s/]+(?=\s)|\s", f"{own} ") and suite in own.split():
            key = re.search(r"signed-by[=:]\s*([^\s\]]+)", own, re.IGNORECASE)
            return file, key[1] if key else ""
    return "", ""
