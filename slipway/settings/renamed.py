"""Settings that had another name, or a value that had one: the old ones are read for now, with a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NAMES = {
    "reboot_window": "reboot_time",
    "releases_kept": "keep_releases",
    "release_before": "pre_activate",
    "release_after": "post_activate",
    "backend_secrets_in": "backend_secrets_delivery",
}
VALUES = {"frontend_build_on": {"here": "local"}}


class Renaming:
    """Settings under their new names, and what is to be said of the old ones, a line each."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)
        # The old name that each was found under.
        self.old_names: dict[str, str] = {}
        self.warnings: list[str] = []
        self.problems: list[str] = []


def renamed(data: Mapping[str, Any], where: Callable[[str], str]) -> Renaming:
    """`where` says in which file a setting was found."""
    found = Renaming(data)
    for old, new in NAMES.items():
        if old not in data:
            continue
        value = found.data.pop(old)
        if new in data:
            found.problems.append(
                f"{where(old)}: {old}: found together with {new} ({where(new)}), which is its new name; remove {old}"
            )
        else:
            found.data[new] = value
            found.old_names[new] = old
            found.warnings.append(f"{where(old)}: {old} is deprecated; rename it to {new}")
    for name, values in VALUES.items():
        value = data.get(name)
        if isinstance(value, str) and value in values:
            found.data[name] = values[value]
            found.warnings.append(f"{where(name)}: {name} = {value!r} is deprecated; change it to {values[value]!r}")
    return found
