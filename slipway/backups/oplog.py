"""Oplog entries and other documents as bytes, of which only the needed fields are decoded.

https://bsonspec.org/spec.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from slipway.backups.chain import Moment

# Sizes of values by BSON type; others begin with their length, or are two strings.
FIXED = {1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0}
DOCUMENT, ARRAY, TIMESTAMP, LONG = 3, 4, 17, 18
# Commands that make indexes.
INDEXING = ("createIndexes", "commitIndexBuild")
# Not restored: MongoDB's internal databases, and admin, whose users the host has.
INTERNAL = ("config.", "local.", "admin.")


class Element(NamedTuple):
    kind: int
    name: str
    value: bytes


def elements(document: bytes) -> Iterator[Element]:
    """The elements of a document, values as bytes."""
    at = 4
    while kind := document[at]:
        end = document.index(b"\0", at + 1)
        name, at = document[at + 1 : end].decode(), end + 1
        if kind in FIXED:
            size = FIXED[kind]
        elif kind == 11:
            size = document.index(b"\0", document.index(b"\0", at) + 1) + 1 - at
        else:
            (length,) = struct.unpack_from("<i", document, at)
            size = length + {3: 0, 4: 0, 5: 5, 12: 16, 15: 0}.get(kind, 4)
        yield Element(kind, name, document[at : at + size])
        at += size


def documents(source: IO[bytes]) -> Iterator[bytes]:
    """The documents of a BSON file. Raises ValueError if it is truncated."""
    while head := source.read(4):
        (size,) = struct.unpack("<i", head) if len(head) == 4 else (0,)
        rest = source.read(size - 4) if size >= 5 else b""
        if size < 5 or len(rest) < size - 4:
            raise ValueError("a slice of the oplog is truncated")
        yield head + rest


def moment_of(value: bytes) -> Moment:
    number, seconds = struct.unpack("<II", value)
    return seconds, number


def timestamp(moment: Moment) -> bytes:
    return struct.pack("<II", moment[1], moment[0])


class Entry(NamedTuple):
    """An oplog entry: moment, operation (i, u, d, c for a command, n for none), namespace, and a command's name."""

    moment: Moment
    operation: str
    namespace: str
    command: str


def entry(document: bytes) -> Entry:
    found = {one.name: one.value for one in elements(document)}
    operation = found["op"][4:-1].decode()
    command = next((one.name for one in elements(found["o"])), "") if operation == "c" else ""
    return Entry(moment_of(found["ts"]), operation, found["ns"][4:-1].decode(), command)


def is_applied(one: Entry) -> bool:
    """Whether a restore applies it. Transactions (applyOps), which are commands in admin, are applied."""
    if one.operation == "n":
        return False
    return one.command == "applyOps" or not one.namespace.startswith(INTERNAL)
