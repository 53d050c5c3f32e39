"""`slipway report`: what the programs on a host find, and what is made of it."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, date, datetime

import pytest
from click.testing import CliRunner

from slipway.cli.report import report
from slipway.facts.mongodb_usage import slow_queries
from slipway.facts.requests_log import route_of, summary
from slipway.facts.review import Review as Question
from slipway.ui.console import Console
from slipway.ui.review import as_html, show
from slipway.upkeep.indexes import Collection, Query, missing_indexes
from slipway.upkeep.review import Review, host_of, review_of

NOW = 1_795_987_000.0
ORDERS = '{"find":"orders","filter":%s,"sort":%s,"$db":"shop"}'


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/api/orders/17/items", "/api/orders/:id/items"),
        ("/api/orders/507f1f77bcf86cd799439011", "/api/orders/:id"),
        ("/api/u/8f14e45f-ceea-467f-a8d5-6c2f1b4b6f10/", "/api/u/:id/"),
        ("/static/js/main.3f2a9c.js", "/static/js/*.js"),
        ("/robots.txt", "/robots.txt"),
        ("/api/companies", "/api/companies"),
        ("", ""),
    ],
)
def test_requests_of_one_kind_are_one_route(path, route):
    assert route_of(path) == route


def line(path: str, status: int = 200, seconds: float = 0.1, agent: str = "Firefox", then: float = NOW - 60) -> str:
    its = {"time": then, "host": "shop.example", "method": "GET", "path": path, "status": f"{status:03}"}
    return json.dumps({**its, "seconds": seconds, "agent": agent}) + "\n"


def test_the_log_is_summed_up_with_its_rotated_files(tmp_path):
    log = tmp_path / "requests.log"
    log.write_text(
        "".join(line(f"/api/orders/{n}", seconds=n / 1000) for n in range(100))
        + line("/api/orders/5", 500, 2.345)
        + line("/api/orders/5", 404, 0)
        + line("/wp-login.php", 404)
        + line("/.env", 404)
        + line("/", agent="slipway-alarms")
        + line("/old", then=NOW - 9 * 86400)
        + '{"time":17'
    )
    (tmp_path / "requests.log.1").write_text(line("/api/orders/7", then=NOW - 86400))
    with gzip.open(tmp_path / "requests.log.2.gz", "wt") as file:
        file.write(line("/zipped", then=NOW - 2 * 86400))
    (tmp_path / "requests.log.3.gz").write_bytes(b"cut off")
    (tmp_path / "requests.log.9").write_text(line("/old"))
    os.utime(tmp_path / "requests.log.9", (NOW - 8 * 86400, NOW - 8 * 86400))
    found = summary(str(log), 7, NOW)
    assert (found["since"], found["until"], found["complete"]) == (NOW - 2 * 86400, NOW - 60, True)
    routes = {route[2]: route[3:] for route in found["routes"]}
    total = sum(range(100)) + 2340 + 100
    # 103 requests: the 52nd takes 50 ms, the 102nd 100 ms.
    assert routes == {
        "/api/orders/:id": [103, 1, 1, 50, 100, total],
        "/zipped": [1, 0, 0, 100, 100, 100],
        "(not found)": [2, 2, 0, 100, 100, 200],
    }
    assert not summary(str(log), 7, NOW, limit=1000)["complete"]
    assert summary(str(tmp_path / "none.log"), 7, NOW) == {
        "since": None,
        "until": None,
        "complete": True,
        "routes": [],
    }


def logged(command: str, plan: str = "COLLSCAN", milliseconds: int = 120, **more: object) -> str:
    its = {"type": "command", "ns": "shop.orders", "command": json.loads(command), "planSummary": plan}
    its |= {"docsExamined": 1000, "nreturned": 10, "durationMillis": milliseconds, **more}
    return json.dumps({"id": 51803, "attr": its})


def shape(text: str) -> list[object]:
    (found,) = slow_queries([text])
    return [found[name] for name in ("operation", "equal", "sort", "ranges", "simple", "plan")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            logged(ORDERS % ('{"who":"secret","at":{"$gt":{"$date":"1970-01-01T00:00:00Z"}}}', '{"n":-1,"at":1}')),
            ["find", ["who"], [["n", -1], ["at", 1]], ["at"], True, "COLLSCAN"],
        ),
        (
            logged(ORDERS % ('{"$or":[{"a":1},{"b":1}]}', "{}")),
            ["find", [], [], [], False, "COLLSCAN"],
        ),
        (
            logged(
                ORDERS % ('{"$and":[{"a":{"$in":[7]}},{"b":{"$regularExpression":{"pattern":"x"}}}]}', "{}"),
                "IXSCAN { b: 1 }",
            ),
            ["find", ["a"], [], ["b"], True, "IXSCAN"],
        ),
        (
            logged('{"aggregate":"orders","pipeline":[{"$match":{"a":7}},{"$sort":{"b":{"$numberInt":"-1"}}}]}'),
            ["aggregate", ["a"], [["b", -1]], [], True, "COLLSCAN"],
        ),
        (
            logged('{"getMore":1,"collection":"orders"}', originatingCommand={"find": "orders", "filter": {"a": 1}}),
            ["find", ["a"], [], [], True, "COLLSCAN"],
        ),
        (
            logged('{"q":{"a":8},"u":{"$set":{"b":1}},"multi":true}', type="update"),
            ["update", ["a"], [], [], True, "COLLSCAN"],
        ),
        (logged('{"q":{"a":9},"limit":0}', type="remove"), ["remove", ["a"], [], [], True, "COLLSCAN"]),
        (logged('{"distinct":"orders","query":{"a":{"$gt":8}}}'), ["distinct", [], [], ["a"], True, "COLLSCAN"]),
        (logged('{"findAndModify":"orders","query":{"a":5}}'), ["findAndModify", ["a"], [], [], True, "COLLSCAN"]),
    ],
)
def test_a_slow_operation_is_told_by_its_shape_without_its_values(text, expected):
    assert shape(text) == expected


def test_operations_of_one_shape_are_one_and_those_of_the_system_and_of_backups_are_none():
    find = ORDERS % ('{"a":%d}', "{}")
    found = slow_queries(
        [
            logged(find % 1, milliseconds=100),
            logged(find % 2, milliseconds=300),
            logged(find % 3, ns="local.oplog.rs"),
            logged(find % 3, ns="shop.$cmd"),
            logged(find % 3, appName="mongodump"),
            logged('{"createIndexes":"orders"}'),
            json.dumps({"id": 1, "attr": {}}),
            '{"id": 51803, "attr"',
            '"text"',
        ]
    )
    assert [(one["count"], one["total"], one["longest"], one["examined"]) for one in found] == [(2, 400, 300, 2000)]
    assert "1" not in found[0]["equal"]


def query(plan: str = "COLLSCAN", simple: bool = True, total: int = 100, **its: object) -> Query:
    shapes = {"equal": [], "sort": [], "ranges": [], **its}
    numbers = {"count": 1, "total": total, "longest": total, "examined": 1, "returned": 1}
    where = {"database": "shop", "collection": "orders", "operation": "find"}
    return Query.model_validate({**where, **shapes, **numbers, "plan": plan, "simple": simple})


def collection(*keys: dict[str, int]) -> Collection:
    uses = {"bytes": 3 * 2**20, "uses": 0, "since": 0, "purpose": ""}
    indexes = [{"name": "_".join(key), "key": key, **uses} for key in keys]
    sizes = {"documents": 1, "data": 2**21, "storage": 2**20, "index_bytes": 1}
    return Collection.model_validate({"database": "shop", "name": "orders", **sizes, "indexes": indexes})


def test_a_missing_index_has_equality_first_then_the_sort_then_ranges():
    (found,) = missing_indexes([query(equal=["who"], sort=[("n", -1)], ranges=["at"])], [collection()])
    assert [*found.key.items()] == [("who", 1), ("n", -1), ("at", 1)]
    assert found.command == (
        'db.getSiblingDB("shop").getCollection("orders").createIndex({"who": 1, "n": -1, "at": 1})'
    )


def test_one_index_serves_the_queries_whose_fields_it_begins_with():
    queries = [query(equal=["who"], total=50), query(equal=["who"], ranges=["at"]), query(equal=["at"])]
    found = missing_indexes(queries, [collection()])
    assert [([*one.key], one.count, one.total) for one in found] == [(["who", "at"], 2, 150), (["at"], 1, 100)]


def test_no_index_is_suggested_that_is_there_or_would_not_help():
    there = [collection({"who": 1, "n": 1})]
    useless = [query("IXSCAN", equal=["a"]), query(simple=False, equal=["a"]), query(), query(equal=["who"])]
    assert missing_indexes(useless, there) == []
    assert len(missing_indexes([query(equal=["n"])], there)) == 1


# As a host prints it.
ANSWER = """\
== system
title=Debian GNU/Linux 12 (bookworm)
id=debian-12
reboot=yes
lists=1795900000
== updates
openssl/stable-security 3.0.18-1 amd64 [upgradable from: 3.0.17-1]
tzdata/stable-updates 2026c-0 all [upgradable from: 2026b-0]
== disks
/ 900 1000
== folders
336	/var/lib/mongodb
== requests
{requests}
== mongodb
{mongodb}
== backups
[[1785000000, 104857600], [1795900000, 314572800]]"""
REQUESTS = {
    "since": NOW - 86400,
    "until": NOW,
    "complete": True,
    "routes": [
        ["shop.example", "GET", "/api/fast", 100, 0, 0, 1, 2, 110],
        ["shop.example", "GET", "/api/slow", 100, 3, 2, 400, 1500, 44000],
        ["shop.example", "", "(not found)", 9, 9, 0, 1, 2, 9],
    ],
}


def answer(mongodb: dict[str, object] | None = None, requests: dict[str, object] = REQUESTS) -> dict[str, list[str]]:
    orders = json.loads(collection({"a": 1}).model_dump_json())
    its = {"version": "7.0.28", "feature_version": "7.0", "since": NOW - 99 * 86400, "slow_ms": 100, "scans": 7}
    slow = slow_queries([logged(ORDERS % ('{"who":"secret"}', "{}"))])
    text = json.dumps(mongodb or {**its, "collections": [orders], "slow": slow})
    lines = ANSWER.format(requests=json.dumps(requests), mongodb=text).splitlines()
    return Question().process(lines)


def test_what_deserves_a_look_is_named_the_most_urgent_first():
    found = host_of("web1", ["web"], answer(), datetime.fromtimestamp(NOW, UTC))
    assert found.remarks == [
        "Debian GNU/Linux 12 (bookworm): no regular security support since 2026-07-11; LTS for 579 more days, until"
        " 2028-06-30",
        "1 security update pending (slipway upgrade): openssl",
        "reboot required: an update is not active",
        "/: 90 % used",
        "shop.example GET /api/slow: 2 of 100 answers were server errors",
        "shop.example GET /api/slow: p99 1500 ms of 100 requests",
        '1 slow scan of shop.orders, 0.1 s in all: db.getSiblingDB("shop").getCollection("orders")'
        '.createIndex({"who": 1})',
        "shop.orders: index a (3 MiB) not used for 20786 days",
    ]
    assert [(one.name, one.end, one.days_left) for one in found.support][1:] == [
        ("MongoDB 7.0", date(2027, 8, 31), 275)
    ]
    assert [route.path for route in found.requests.routes] == ["/api/slow", "/api/fast", "(not found)"]


def test_an_index_of_a_replica_set_is_unused_if_no_member_uses_it():
    def unused(uses: list[int], members: list[str]) -> list[list[str]]:
        found = {}
        for name, number in zip(("db1", "db2", "db3"), uses, strict=False):
            found[name] = answer()
            its = json.loads(found[name]["mongodb"][-1])
            its["collections"][0]["indexes"][0]["uses"] = number
            found[name]["mongodb"] = [json.dumps(its)]
        review = review_of("production", {name: ["db"] for name in found}, found, {}, 92, None, members)
        return [[one for one in host.remarks if "not used" in one] for host in review.hosts]

    three = ["db1", "db2", "db3"]
    (once,) = unused([0], ["db1"])
    assert len(once) == 1
    assert unused([0, 0, 0], three) == [once, [], []]
    assert unused([0, 5, 0], three) == [[], [], []]
    # One that was not asked may use it.
    assert unused([0, 0], three) == [[], []]


def test_a_quiet_host_has_no_remark_but_for_mongodb_that_cannot_be_asked():
    text = '== system\ntitle=Debian 13\nid=debian-13\n== disks\n/ 1 100\n== mongodb\n{"error": "OSError: refused"}'
    found = host_of("db1", ["db"], Question().process(text.splitlines()), datetime.fromtimestamp(NOW, UTC))
    assert found.remarks == ["MongoDB could not be asked: OSError: refused"]


def test_the_report_is_shown_on_a_terminal_and_as_a_page_and_compared_with_an_earlier_one(capsys):
    roles = {"web1": ["web", "db"], "web2": ["web"]}
    first = review_of("production", {"web1": ["web"]}, {"web1": answer()}, {}, 92)
    first.hosts[0].disks[0].used_mb = 600
    read = Review.model_validate_json(first.model_dump_json())
    its = review_of("production", roles, {"web1": answer()}, {"web2": "[web2] <no route>"}, 92, read)
    growth = {one.what: (one.before, one.after) for one in its.hosts[0].growth}
    assert growth == {
        "all documents": (100, 300),
        "/": (600, 900),
        "/var/lib/mongodb": (336, 336),
        "shop.orders": (2, 2),
    }
    assert f"{its.hosts[0].growth[0].since:%F}" == "2026-07-25"
    show(its, Console())
    said = capsys.readouterr().out
    for text in ("+300", "+200", "GET /api/slow", "createIndex", "could not be asked", "2027-08-31", "3.0.18-1"):
        assert text in said
    page = as_html(its)
    assert '<td class="number">+300</td>' in page
    assert "&lt;no route&gt;" in page
    assert "secret" not in said + page + its.model_dump_json()


def test_an_earlier_report_must_be_one(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text("{}")
    done = CliRunner().invoke(report, ["lab", "--against", str(file)])
    assert "found no report, expected the file of `slipway report --json`" in str(done.exception)
