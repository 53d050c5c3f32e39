"""apt sources that Slipway did not add."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# What names a distribution among the origins of unattended-upgrades.
DISTRIBUTION = re.compile(r"debian|ubuntu|\$\{distro_id\}", re.IGNORECASE)


def remarks(earlier: Mapping[str, str]) -> Iterator[str]:
    """What gets no updates by itself any more."""
    others = [line for line in earlier.get("origins", "").splitlines() if not DISTRIBUTION.search(line)]
    if others:
        yield (
            f"unattended-upgrades: no longer updates {'; '.join(others)}: of Slipway's it installs the distribution's"
            " security updates alone, `apt upgrade` the others"
        )


def same_repository(texts: Mapping[str, str], url: str) -> list[str]:
    """The files, given as texts by path, with an enabled source of the repository at `url`."""
    return [file for file, text in texts.items() if any(url_of(line, url) for line in lines_in_force(file, text))]


def lines_in_force(file: str, text: str) -> list[str]:
    """The enabled lines of a sources file that name a repository, in either of apt's formats (sources.list(5))."""
    if not file.endswith(".sources"):
        return [line for line in text.splitlines() if re.match(r"\s*deb(-src)?\s", line)]
    stanzas = re.split(r"\n\s*\n", text)
    off = re.compile(r"^Enabled:\s*(no|false|0|off)", re.IGNORECASE | re.MULTILINE)
    found = [re.search(r"^URIs:((?:.|\n[ \t])*)", stanza, re.MULTILINE) for stanza in stanzas if not off.search(stanza)]
    return [one[0] for one in found if one]


def without(file: str, text: str, url: str) -> str:
    """The text of a sources file with those of the repository at `url` disabled."""
    if not file.endswith(".sources"):
        lines = text.splitlines()
        named = {*(line for line in lines_in_force(file, text) if url_of(line, url))}
        return "".join(f"{f'# by Slipway: {line}' if line in named else line}\n" for line in lines)
    stanzas = re.split(r"(\n\s*\n)", text)
    for number, stanza in enumerate(stanzas):
        if any(url_of(line, url) for line in lines_in_force(file, stanza)):
            bare = re.sub(r"^Enabled:.*\n?", "", stanza, flags=re.IGNORECASE | re.MULTILINE).strip("\n")
            stanzas[number] = f"{bare}\n# By Slipway.\nEnabled: no" + "\n" * (number == len(stanzas) - 1)
    return "".join(stanzas)


def url_of(line: str, url: str) -> bool:
    """Whether a line names a repository at `url` or below, by http or https."""
    bare = url.rstrip("/").partition("://")[2]
    return any(
        f"{word.partition('://')[2].rstrip('/')}/".startswith(f"{bare}/") for word in line.split() if "://" in word
    )
