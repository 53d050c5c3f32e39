"""The requests of a health check: what is taken for the answer, and when it is waited for no longer."""

from __future__ import annotations

import json
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
from slipway.releases.host import System, ask
found = {}
def measure(name, place):
    began = time.monotonic()
    status, body = ask(place, "/a b/\\u00fc", 1)
    found[name] = [status, body, time.monotonic() - began]
places = json.loads(sys.argv[1])
threads = [threading.Thread(target=measure, args=item) for item in places.items()]
for thread in threads: thread.start()
for thread in threads: thread.join()
began = time.monotonic()
answers = System().answers(places["slow"], "/", 5)
found["several"] = [len(answers), {answer.body for answer in answers}.pop(), time.monotonic() - began]
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
    "large": [HEAD + "\r\n" + "x" * (2 * 2**20)],
}


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, tuple[int, str, float]]]:
    """Status, body and seconds of each answer. A Unix socket's path has at most 107 characters: not in tmp_path."""
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


def test_who_says_nothing_is_not_waited_for_longer(found):
    assert found["never"][:2] == [0, ""]
    assert LIMIT <= found["never"][2] < 2 * LIMIT


def test_a_large_one_is_not_read_to_its_end(found):
    assert 2**20 <= len(found["large"][1]) < 2**20 + 2**16


def test_a_request_is_what_a_browser_would_send_to_the_service_itself(found):
    assert found["request"][1].startswith("b'GET /a%20b/%C3%BC HTTP/1.1\\r\\nHost: localhost\\r\\n")
    assert "Host: 127.0.0.1:" in found["tcp"][1]


def test_several_are_asked_at_once(found):
    assert found["several"][:2] == [4, "well"]
    assert 0.3 <= found["several"][2] < 0.9
