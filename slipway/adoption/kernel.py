"""Existing kernel parameters that Slipway's file would override."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle


def obstacles(earlier: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[Obstacle]:
    """`wanted` are Slipway's parameters by name."""
    for name, text in earlier.items():
        if not name.startswith("file /etc/sysctl."):
            continue
        for line in text.splitlines():
            left, _, right = line.partition("=")
            parameter, value = left.strip().lstrip("-").replace("/", "."), " ".join(right.split())
            if wanted.get(parameter, value) != value and not line.lstrip().startswith(("#", ";")):
                found = f"{value}, which Slipway would set to {wanted[parameter]}"
                yield Obstacle(
                    f"{name.removeprefix('file ')}: {parameter}", found, f"{wanted[parameter]}, or no such line"
                )
