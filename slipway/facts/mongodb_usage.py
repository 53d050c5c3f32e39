"""What a MongoDB's data take, which indexes are used, and which queries are slow.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT ADDRESS PORT SECONDS USER FILE`, with the
administrator's password in FILE. Reads the log from standard input, as `journalctl --output=cat` prints it, and changes
nothing. Prints JSON: `version`, `feature_version`, `since` (of the statistics, seconds since the epoch), `slow_ms`,
`scans` (collection scans since then, also fast ones), `collections`, and `slow`, operations without their values; or
`error`.
"""

from __future__ import annotations

import json
import re
import sys
import time

from slipway.facts.mongodb_protocol import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SYSTEMS_OWN = ("admin", "config", "local")
# Of backups and restores.
OWN_PROGRAMS = ("mongodump", "mongorestore")
# "Slow query". https://www.mongodb.com/docs/manual/reference/log-messages/#logging-slow-operations
SLOW_QUERY = 51803
RANGES = {
    *("$gt", "$gte", "$lt", "$lte", "$ne", "$nin", "$regex", "$regularExpression", "$exists", "$not", "$type", "$mod"),
    *("$size", "$all"),
}
OPERATIONS = ("find", "aggregate", "count", "distinct", "findAndModify", "update", "remove", "insert")
MAX_QUERIES = 50


def asked(connection: Connection, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
    """The answer. Raises OSError if the command fails."""
    answer = connection.run(command, database)
    if not answer["ok"]:
        raise OSError(answer["errmsg"])
    return answer


def first_batch(connection: Connection, command: dict[str, Any], database: str) -> list[dict[str, Any]]:
    answer = asked(connection, {**command, "cursor": {"batchSize": 10**5}}, database)
    found: list[dict[str, Any]] = answer["cursor"]["firstBatch"]
    return found


def collections(connection: Connection) -> list[dict[str, Any]]:
    """Each collection's documents, sizes in bytes and indexes: name, key, bytes, uses since when, and what else than
    queries needs it."""
    found = []
    for database in (one["name"] for one in asked(connection, {"listDatabases": 1, "nameOnly": True})["databases"]):
        if database in SYSTEMS_OWN:
            continue
        for one in first_batch(connection, {"listCollections": 1}, database):
            name = one["name"]
            if one["type"] != "collection" or name.startswith("system."):
                continue
            stats = asked(connection, {"collStats": name}, database)
            uses = first_batch(connection, {"aggregate": name, "pipeline": [{"$indexStats": {}}]}, database)
            indexes = [
                {
                    "name": index["name"],
                    "key": {name: one if isinstance(one, str) else int(one) for name, one in index["key"].items()},
                    "bytes": int(stats["indexSizes"].get(index["name"], 0)),
                    "uses": int(index["accesses"]["ops"]),
                    "since": index["accesses"]["since"] / 1000,
                    "purpose": purpose(index["name"], index.get("spec", {})),
                }
                for index in uses
            ]
            found.append(
                {
                    "database": database,
                    "name": name,
                    "documents": int(stats["count"]),
                    "data": int(stats["size"]),
                    "storage": int(stats["storageSize"]),
                    "index_bytes": int(stats["totalIndexSize"]),
                    "indexes": sorted(indexes, key=lambda index: str(index["name"])),
                }
            )
    return sorted(found, key=lambda its: (its["database"], its["name"]))


def purpose(name: str, spec: dict[str, Any]) -> str:
    """What an index does without any query; "" for nothing."""
    if name == "_id_":
        return "identity"
    return "unique" if spec.get("unique") else "expiry" if "expireAfterSeconds" in spec else ""


def slow_queries(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The slow operations in a log, those of one shape together, the longest in all first."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["id"] != SLOW_QUERY:
                continue
            its = entry["attr"]
            database, _, name = its["ns"].partition(".")
            milliseconds = int(its["durationMillis"])
        except (ValueError, KeyError, TypeError):
            continue
        if database in SYSTEMS_OWN or its.get("appName") in OWN_PROGRAMS or not name or name.startswith("$cmd"):
            continue
        operation, equal, sort, ranges, is_simple = shape(its)
        if operation not in OPERATIONS:
            continue
        plan = re.sub(r"\{.*", "", str(its.get("planSummary", ""))).strip() or "unknown"
        key = json.dumps([its["ns"], operation, equal, sort, ranges, plan])
        one = found.setdefault(
            key,
            {
                "database": database,
                "collection": name,
                "operation": operation,
                "equal": equal,
                "sort": sort,
                "ranges": ranges,
                "simple": is_simple,
                "plan": plan,
                "count": 0,
                "total": 0,
                "longest": 0,
                "examined": 0,
                "returned": 0,
            },
        )
        one["count"] += 1
        one["total"] += milliseconds
        one["longest"] = max(one["longest"], milliseconds)
        one["examined"] += int(its.get("docsExamined", 0))
        one["returned"] += int(its.get("nreturned", its.get("nModified", its.get("ndeleted", 0))) or 0)
    return sorted(found.values(), key=lambda its: -its["total"])[:MAX_QUERIES]


def shape(its: dict[str, Any]) -> tuple[str, list[str], list[list[Any]], list[str], bool]:
    """An operation's name; the fields that it compares by equality, sorts by with their direction, and compares
    otherwise; and whether that is all of it, so that one index can serve it."""
    command = its.get("originatingCommand") or its.get("command") or {}
    operation = next((str(one) for one in command if one != "q"), str(its.get("type", "")))
    query, sort = command.get("filter", command.get("query", command.get("q"))), command.get("sort") or {}
    if its.get("type") in ("update", "remove"):
        operation = its["type"]
    is_simple = True
    if "pipeline" in command:
        stages = command["pipeline"] if isinstance(command["pipeline"], list) else []
        query = next((stage["$match"] for stage in stages[:1] if "$match" in stage), None)
        sort = next((stage["$sort"] for stage in stages[1:2] if "$sort" in stage), {})
    equal: list[str] = []
    ranges: list[str] = []
    for field, condition in _conditions(query if isinstance(query, dict) else {}):
        if field.startswith("$"):
            is_simple = False
        elif isinstance(condition, dict) and RANGES & {*condition}:
            ranges.append(field)
        else:
            equal.append(field)
    order = [[field, 1 if _number(one) >= 0 else -1] for field, one in sort.items()]
    equal, ranges = sorted({*equal}), sorted({*ranges} - {*equal})
    return operation, equal, order, ranges, is_simple


def _conditions(query: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    for field, condition in query.items():
        if field == "$and" and isinstance(condition, list):
            for part in condition:
                yield from _conditions(part if isinstance(part, dict) else {})
        elif field not in ("$comment", "$expr"):
            yield field, condition
        elif field == "$expr":
            yield "$expr", condition


def _number(value: Any) -> float:
    """A number of the log, which may be {"$numberInt": "-1"}."""
    try:
        return float(next(iter(value.values())) if isinstance(value, dict) else value)
    except (TypeError, ValueError, StopIteration):
        return 1


def usage(connection: Connection, log: Iterable[str]) -> dict[str, Any]:
    status = asked(connection, {"serverStatus": 1})
    feature = asked(connection, {"getParameter": 1, "featureCompatibilityVersion": 1})["featureCompatibilityVersion"]
    return {
        "version": status["version"],
        "feature_version": feature["version"],
        "since": time.time() - int(status["uptime"]),
        "slow_ms": int(asked(connection, {"profile": -1})["slowms"]),
        "scans": int(status["metrics"].get("queryExecutor", {}).get("collectionScans", {}).get("total", 0)),
        "collections": collections(connection),
        "slow": slow_queries(log),
    }


def main(address: str, port: str, seconds: str, user: str, file: str) -> None:
    try:
        connection = Connection(address, int(port), int(seconds))
        with open(file, encoding="utf-8", newline="") as opened:  # noqa: PTH123
            is_in = connection.logs_in(user, opened.read())
        refused = {"error": f"{user}: MongoDB rejects the password in {file}"}
        print(json.dumps(usage(connection, sys.stdin) if is_in else refused))
    except (OSError, KeyError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
