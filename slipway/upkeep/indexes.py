"""Indexes of MongoDB: which exist, and which one a query lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

MIB = 2**20


class Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, json_schema_serialization_defaults_required=True)


class Index(Described):
    name: str
    key: dict[str, int | str]
    bytes: int
    uses: int
    """Queries that used it since then."""
    since: datetime
    purpose: str
    """What it does without a query: identity, unique, expiry; empty for nothing."""

    @property
    def mb(self) -> int:
        return round(self.bytes / MIB)


class Collection(Described):
    database: str
    name: str
    documents: int
    data: int
    """Uncompressed, in bytes, as the next two."""
    storage: int
    index_bytes: int
    indexes: list[Index]

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.name}"

    @property
    def data_mb(self) -> int:
        return round(self.data / MIB)


class Query(Described):
    """Slow operations of one shape, without their values. Times are in milliseconds."""

    database: str
    collection: str
    operation: str
    equal: list[str]
    """Fields that are compared by equality."""
    sort: list[tuple[str, int]]
    ranges: list[str]
    """Fields that are compared otherwise."""
    simple: bool
    """Whether one index can serve it: no $or, no $expr, ..."""
    plan: str
    """COLLSCAN (reads all documents), IXSCAN, ..."""
    count: int
    total: int
    longest: int
    examined: int
    returned: int

    @property
    def title(self) -> str:
        parts = [*self.equal, *(f"{field} (range)" for field in self.ranges)]
        order = f" sorted by {', '.join(field for field, _ in self.sort)}" if self.sort else ""
        what = ", ".join(parts) if parts else "all" if self.simple else "($or, $expr, ...)"
        return f"{self.database}.{self.collection} {self.operation} {what}{order}"


class MissingIndex(Described):
    """An index that would end collection scans."""

    database: str
    collection: str
    key: dict[str, int]
    count: int
    """Logged scans that it would end."""
    total: int
    """Their time in milliseconds."""

    @property
    def command(self) -> str:
        """For mongosh."""
        where = f"db.getSiblingDB({json.dumps(self.database)}).getCollection({json.dumps(self.collection)})"
        return f"{where}.createIndex({json.dumps(self.key)})"

    def serves(self, other: MissingIndex) -> bool:
        """Whether it serves the queries of the other one too, whose fields it begins with."""
        of_same = (self.database, self.collection) == (other.database, other.collection)
        return of_same and [*self.key.items()][: len(other.key)] == [*other.key.items()]


def missing_indexes(queries: Sequence[Query], collections: Sequence[Collection]) -> list[MissingIndex]:
    """The indexes that collection scans lack, the one that saves the most time first."""
    found: list[MissingIndex] = []
    wanted = [MissingIndex(key=key, **_of(query)) for query in queries if (key := missing_key(query, collections))]
    for one in sorted(wanted, key=lambda one: -len(one.key)):
        if there := next((other for other in found if other.serves(one)), None):
            there.count += one.count
            there.total += one.total
        else:
            found.append(one)
    return sorted(found, key=lambda one: -one.total)


def _of(query: Query) -> dict[str, Any]:
    return {name: getattr(query, name) for name in ("database", "collection", "count", "total")}


def missing_key(query: Query, collections: Sequence[Collection]) -> dict[str, int]:
    """The key of the index that a collection scan lacks, {} if none would help: the fields compared by equality first,
    then those of the sort, then ranges.
    https://www.mongodb.com/docs/manual/tutorial/equality-sort-range-guideline/
    """
    if query.plan != "COLLSCAN" or not query.simple:
        return {}
    key = dict.fromkeys(query.equal, 1)
    key |= {field: order for field, order in query.sort if field not in key}
    key |= {field: 1 for field in query.ranges if field not in key}
    its = [one for one in collections if (one.database, one.name) == (query.database, query.collection)]
    # One that begins with the same fields was decided against by MongoDB, or was created since.
    is_there = any([*index.key][: len(key)] == [*key] for one in its for index in one.indexes)
    return {} if is_there else key
