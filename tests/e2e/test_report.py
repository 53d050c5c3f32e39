"""The quarterly report of a host with traffic and slow queries, and one request by its id in both logs."""

from __future__ import annotations

import json
import re

import pytest

from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

QUERIES = """
const site = db.getSiblingDB("codementee");
site.orders.insertMany([...Array(2000).keys()].map((n) => ({ n, who: n % 100, note: "x" })));
site.orders.createIndex({ note: 1 });
site.setProfilingLevel(0, { slowms: 0 });
site.orders.find({ who: "a-secret-value", at: { $gt: new Date(0) } }).sort({ n: -1 }).toArray();
site.orders.updateMany({ who: 8 }, { $set: { paid: true } });
site.setProfilingLevel(0, { slowms: 100 });
"""
FORGED = "forged-by-a-visitor"


def reported(server: LabHost, *arguments: str) -> dict:
    done = server.slipway("report", "lab", "--json", "-", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_has_routes_scans_indexes_and_the_end_of_support(server: LabHost, tmp_path) -> None:
    server.ssh(mongosh(QUERIES))
    for number in range(3):
        server.site().get(f"/api/orders/{number}?token=in-the-query")
        server.site().get("/api/health")
    server.ssh("sleep 2")
    first = tmp_path / "first.json"
    first.write_text(json.dumps(reported(server)))
    (host,) = reported(server, "--against", str(first))["hosts"]
    routes = {route["path"]: route for route in host["requests"]["routes"]}
    assert routes["/api/health"]["requests"] >= 3
    assert 0 < routes["/api/health"]["p99"] < 10_000
    missing = {tuple(one["key"].items()) for one in host["mongodb"]["missing"]}
    assert (("who", 1), ("n", -1), ("at", 1)) in missing
    (unused,) = [
        index
        for one in host["mongodb"]["collections"]
        for index in one["indexes"]
        if one["name"] == "orders" and index["name"] == "note_1"
    ]
    assert unused["uses"] == 0
    assert [one["name"].split()[0] for one in host["support"]] == ["Debian", "MongoDB"]
    assert {one["what"] for one in host["growth"]} >= {"/", "/var/lib/mongodb", "codementee.orders"}
    page = tmp_path / "report.html"
    done = server.slipway("report", "lab", "--html", str(page))
    said = done.stdout + page.read_text() + json.dumps(host)
    assert "codementee.orders" in said
    assert not re.search("a-secret-value|in-the-query", said)
    assert server.ssh("stat -c %a /var/log/nginx/requests.log") == "640"


def test_a_request_has_one_id_in_both_logs_which_no_visitor_can_choose(server: LabHost) -> None:
    server.site().get("/api/client?this-one", headers={"X-Request-ID": FORGED})

    def ids() -> list[str]:
        lines = server.slipway("logs", "lab", "--service", "nginx", "--grep", "/api/client").stdout.splitlines()
        return [json.loads(line)["id"] for line in lines]

    wait_until("Nginx has logged it", ids)
    assert re.fullmatch("[0-9a-f]{32}", ids()[-1])
    assert "GET /api/client?this-one" in server.slipway("logs", "lab", "--grep", ids()[-1]).stdout
    done = server.slipway("logs", "lab", "--grep", FORGED)
    assert (done.returncode, done.stdout) == (0, "")


def test_nginxs_logs_stay_below_their_limit_and_go_on_being_written(server: LabHost) -> None:
    folder = "/var/log/nginx"
    server.ssh(f"cd {folder} && head -c 600M /dev/urandom >> requests.log && head -c 600M /dev/urandom > access.log.1")
    server.ssh("systemctl start slipway-nginx-logs.service")
    assert int(server.ssh(f"du -sm {folder} | cut -f1")) <= 1000, "the default of nginx_logs_max_mb"
    assert server.ssh(f"stat -c %a {folder}/requests.log") == "640"
    server.site().get("/api/health?after-the-rotation")
    wait_until("the request is logged", lambda: "/api/health" in server.ssh(f"cat {folder}/requests.log"))
    assert server.plan() == []
