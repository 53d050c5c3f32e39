"""The requests of a health check: answers and timeouts."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.health_server import Parts, answering, response

PROJECT = Path(__file__).resolve().parents[2]
LIMIT = 1
# Asks all of them at once, without the patches of this process.
ASK = """\
import json, sys, threading, time
from slipway.releases.host import ask
found = {}
def measure(name, place):
    began = time.monotonic()
    answer = ask(place, "/a b/\\u00fc", "site.example", 1)
    found[name] = [answer.status, answer.body, time.monotonic() - began, answer.retry_after, answer.location]
places = json.loads(sys.argv[1])
threads = [threading.Thread(target=measure, args=item) for item in places.items()]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""
HEAD = "HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, Parts] = {
    "well": response(200, '{"status":"ok"}'),
    "tcp": [HEAD + "\r\n{request}"],
    "request": [HEAD + "\r\n{request}"],
    "of another status": response(503, "later"),
    "without a body": ["HTTP/1.1 204 No Content\r\n\r\n"],
    "in chunks": [HEAD + "Transfer-Encoding: chunked\r\n\r\n4\r\nit's\r\n5\r\n well\r\n0\r\n\r\n"],
    "cut off": [HEAD + "Content-Length: 99\r\n\r\nhalf"],
    "slow": [HEAD + "Content-Length: 4\r\n\r\n", 0.3, "well"],
    "for ever": [HEAD + "\r\n", *["x", 0.1] * 50],
    "with an endless head": [HEAD, *["A: b\r\n", 0.1] * 50],
    "never": [5],
    "of no sense": ["what?\r\n\r\n"],
    "limited": ["HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"],
    "dated": ["HTTP/1.1 503 Later\r\nRetry-After: Fri, 31 Dec 2027 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n"],
    "elsewhere": ["HTTP/1.1 307 Elsewhere\r\nLocation: https://a.example/\r\nContent-Length: 0\r\n\r\n"],
    "large": [HEAD + "\r\n" + "x" * (2 * 2**20)],
}


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, tuple[int, str, float]]]:
    """Status, body, seconds, Retry-After and Location of each answer.

    A Unix socket's path has at most 107 characters: not in tmp_path.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        places = {name: f"{folder}/{number}" for number, name in enumerate(ANSWERS)} | {"tcp": f"127.0.0.1:{port}"}
        with answering({place: ANSWERS[name] for name, place in places.items()}):
            command = [sys.executable, "-c", ASK, json.dumps({**places, "nobody": f"{folder}/nobody"})]
            done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        yield json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("well", 200, '{"status":"ok"}'),
        ("of another status", 503, "later"),
        ("without a body", 204, ""),
        ("in chunks", 200, "it's well"),
        ("cut off", 200, "half"),
        ("slow", 200, "well"),
        ("of no sense", 0, ""),
        ("nobody", 0, ""),
    ],
)
def test_an_answer_is_its_status_and_its_body_as_far_as_it_came(found, name, status, body):
    assert found[name][:2] == [status, body]
    assert found[name][2] < LIMIT


@pytest.mark.parametrize(("name", "status", "body"), [("for ever", 200, "xxx"), ("with an endless head", 0, "")])
def test_one_that_comes_by_and_by_is_cut_off_when_its_time_is_up(found, name, status, body):
    assert found[name][0] == status
    assert found[name][1].startswith(body)
    assert LIMIT <= found[name][2] < 2 * LIMIT


def test_a_silent_service_times_out(found):
    assert found["never"][:2] == [0, ""]
    assert LIMIT <= found["never"][2] < 2 * LIMIT


def test_a_large_one_is_not_read_to_its_end(found):
    assert 2**20 <= len(found["large"][1]) < 2**20 + 2**16


def test_a_request_is_what_nginx_would_make_of_a_visitors(found):
    lines = found["request"][1].strip("b'").split("\\r\\n")
    assert lines[0] == "GET /a%20b/%C3%BC HTTP/1.1"
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    assert (headers["Host"], headers["X-Forwarded-Proto"]) == ("site.example", "https")
    assert headers["X-Forwarded-For"] == headers["X-Real-IP"] == "127.0.0.1"
    # Not those that Nginx takes away.
    passed = re.findall(r'proxy_set_header (\S+) (?!"")', (PROJECT / "templates/nginx/backend").read_text())
    assert {*passed} - {"Upgrade", "Connection"} <= {*headers}
    assert "Host: site.example" in found["tcp"][1]


def test_when_to_ask_again_and_where_a_redirect_leads_are_part_of_an_answer(found):
    assert found["limited"][3] == 17
    # A clock would have to be right.
    assert found["dated"][3] == 0
    assert (found["elsewhere"][0], found["elsewhere"][4]) == (307, "https://a.example/")
