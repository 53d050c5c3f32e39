"""How long a distribution gives security support to a release.

https://salsa.debian.org/debian/distro-info-data (the package distro-info-data, 0.58+deb12u7)
"""

from __future__ import annotations

from datetime import date

# By ID and VERSION_ID of os-release: the end of regular support, and of Debian's LTS.
ENDS: dict[str, tuple[date, date | None]] = {
    "debian-9": (date(2020, 7, 18), date(2022, 6, 30)),
    "debian-10": (date(2022, 9, 10), date(2024, 6, 30)),
    "debian-11": (date(2024, 8, 14), date(2026, 8, 31)),
    "debian-12": (date(2026, 7, 11), date(2028, 6, 30)),
    "debian-13": (date(2028, 8, 9), date(2030, 6, 30)),
    "ubuntu-16.04": (date(2021, 4, 30), None),
    "ubuntu-18.04": (date(2023, 5, 31), None),
    "ubuntu-20.04": (date(2025, 5, 29), None),
    "ubuntu-22.04": (date(2027, 6, 1), None),
    "ubuntu-24.04": (date(2029, 5, 31), None),
    "ubuntu-26.04": (date(2031, 5, 29), None),
}


def ends(os: str, version: str) -> tuple[date | None, date | None]:
    """The ends of regular and of long support; None where they are not known, or there is none."""
    return ENDS.get(f"{os}-{version}", (None, None))
