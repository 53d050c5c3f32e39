"""Entries of the oplog as bytes, and how two fingerprints are compared."""

from __future__ import annotations

import io
import struct

import pytest

from slipway.backups.mongo import difference
from slipway.backups.oplog import TIMESTAMP, documents, elements, entry, is_applied, timestamp
from slipway.facts.mongodb_protocol import Typed, decode, encode

# A regular expression, a decimal, code, an id, a date: what decode() does not look at.
STRANGE = {
    "like": Typed(11, b"a.*b\0i\0"),
    "price": Typed(19, bytes(16)),
    "code": Typed(13, struct.pack("<i", 3) + b"f()"[:2] + b"\0"),
    "_id": Typed(7, bytes(12)),
    "at": Typed(9, bytes(8)),
    "data": b"bytes",
}


def written(operation="i", namespace="shop.orders", moment=(1796000000, 3), **what):
    at = Typed(TIMESTAMP, timestamp(moment))
    return encode({"op": operation, "ns": namespace, "ts": at, "o": what or {"_id": 1, **STRANGE}})


def test_values_of_every_kind_are_stepped_over():
    document = encode({"before": 1, **STRANGE, "nested": {"list": [1, "two", {"x": True}]}, "after": "text"})
    assert [one.name for one in elements(document)] == ["before", *STRANGE, "nested", "after"]
    assert next(one.value for one in elements(document) if one.name == "like") == b"a.*b\0i\0"


def test_an_entry_tells_its_moment_and_its_place():
    one = entry(written())
    assert (one.moment, one.operation, one.namespace, one.command) == ((1796000000, 3), "i", "shop.orders", "")
    renamed = entry(written("c", "shop.$cmd", renameCollection="shop.a", to="shop.b"))
    assert renamed.command == "renameCollection"


@pytest.mark.parametrize(
    ("operation", "namespace", "what", "applied"),
    [
        ("i", "shop.orders", {}, True),
        ("c", "shop.$cmd", {"drop": "orders"}, True),
        ("c", "admin.$cmd", {"applyOps": "a transaction"}, True),
        ("n", "", {}, False),
        ("u", "config.transactions", {}, False),
        ("u", "admin.system.users", {}, False),
        ("i", "administration.users", {}, True),
    ],
)
def test_what_a_server_writes_for_itself_is_not_applied(operation, namespace, what, applied):
    assert is_applied(entry(written(operation, namespace, **what))) is applied


def test_a_slice_is_read_entry_by_entry_and_one_that_is_cut_off_is_refused():
    whole = [written(moment=(1, number)) for number in range(5)]
    assert list(documents(io.BytesIO(b"".join(whole)))) == whole
    assert list(documents(io.BytesIO(b""))) == []
    with pytest.raises(ValueError, match="truncated"):
        list(documents(io.BytesIO(b"".join(whole)[:-1])))
    with pytest.raises(ValueError, match="truncated"):
        list(documents(io.BytesIO(whole[0] + b"\5\0")))


def test_a_document_that_is_bson_already_is_sent_as_it_is():
    assert decode(encode({"u": Typed(3, encode({"x": 5})), "cursor": Typed(18, struct.pack("<q", 2**40))})) == {
        "u": {"x": 5},
        "cursor": 2**40,
    }


def test_what_differs_is_named_by_its_collection():
    recorded = {"a": [2, "h1"], "b": [2, "h1"], "c": [1, "h"], "big": [-1, ""]}
    assert difference(recorded, {**recorded, "big": [9, "any"]}) == []
    found = {"a": [3, "h2"], "b": [2, "h3"], "d": [4, "h"]}
    assert difference(recorded, found) == [
        "a: 2 -> 3 documents",
        "b: other documents",
        "big: -1 -> 0 documents",
        "c: 1 -> 0 documents",
        "d: 0 -> 4 documents",
    ]
