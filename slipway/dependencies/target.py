"""The target of dependencies: CPython on Linux with glibc, on x86_64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from slipway.dependencies.model import MIN_GLIBC, File, minor_of

# uv's target: with MIN_GLIBC.
UV_PLATFORM = "x86_64-manylinux_2_28"
# Versions of Python that a server may have, oldest first.
MINORS = tuple(f"3.{minor}" for minor in range(9, 16))
# Legacy tags. https://peps.python.org/pep-0600/#legacy-manylinux-tags
LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def environment(python: str) -> dict[str, str]:
    """The environment of markers, for a version such as "3.11.2" or "3.11"."""
    major, minor, *_ = python.split(".")
    return {
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "python_version": f"{major}.{minor}",
        "python_full_version": python if python.count(".") == 2 else f"{python}.0",
        "implementation_version": python if python.count(".") == 2 else f"{python}.0",
        "platform_release": "",
        "platform_version": "",
        "extra": "",
    }


@cache
def tags(python: str, glibc: int = MIN_GLIBC) -> frozenset[Tag]:
    """The compatible wheel tags; `glibc` is its minor version."""
    version = [*map(int, minor_of(python).split("."))]
    platforms = [*_platforms(glibc)]
    found = [*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)]
    interpreter = f"cp{version[0]}{version[1]}"
    return frozenset([*found, *compatible_tags(version, interpreter=interpreter, platforms=platforms)])


def fits(file: File, fitting: frozenset[Tag]) -> bool:
    """Whether a file is a wheel with one of the tags."""
    if not file.is_wheel:
        return False
    try:
        return not fitting.isdisjoint(parse_wheel_filename(file.name)[3])
    except InvalidWheelFilename:
        return False


def _platforms(glibc: int) -> Iterator[str]:
    for minor in range(glibc, 4, -1):
        yield f"manylinux_2_{minor}_x86_64"
        if minor in LEGACY:
            yield f"{LEGACY[minor]}_x86_64"
    yield "linux_x86_64"


def applies(marker: str, python: str) -> bool:
    """Whether a marker, "" for none, applies to a version of Python."""
    return not marker or Marker(marker).evaluate(environment(python))


def may_apply(marker: str) -> bool:
    """Whether a marker applies to any version of Python."""
    return any(applies(marker, minor) for minor in MINORS)
