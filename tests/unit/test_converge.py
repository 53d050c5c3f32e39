"""The evaluation of the plan benchmark, and its simulated latency."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.converge import clock
from benchmarks.converge.link import FIRST_WINDOW, Window, gone, rules, serve
from benchmarks.converge.results import (
    ANSIBLE,
    APPLY,
    PLAN,
    PLAN_OF,
    PYINFRA,
    SSH,
    Run,
    growth,
    remarks,
    run_of,
    summaries,
    table,
)

ROUND_TRIP = 0.05


def ran(way: str, seconds: float, hosts: int = 1, round_trip: int = 100) -> Run:
    return Run(way, hosts, round_trip, seconds, cpu=1, memory_mb=50 * hosts, remote_cpu=0.5)


def test_a_way_is_as_fast_as_the_median_of_its_runs_on_as_many_hosts_as_far_away() -> None:
    found = summaries([ran(PLAN, 3), ran(PLAN, 30, hosts=20), ran(PLAN, 1), ran(PLAN, 9), ran(PLAN, 5, round_trip=0)])
    assert [(run.hosts, run.round_trip, run.seconds) for run in found] == [(1, 100, 3), (20, 100, 30), (1, 0, 5)]
    assert run_of(found, PLAN, 8, 100) is None


def test_targets_are_shown_next_to_results() -> None:
    far = [ran(SSH, 1), ran(PLAN, 1.4), ran(APPLY, 3.5), ran(PYINFRA, 35), ran(ANSIBLE, 28), ran(PLAN, 4.1, hosts=20)]
    # What is near is not what is aimed at.
    assert remarks([ran(SSH, 9, round_trip=0), ran(PLAN, 90, round_trip=0), *far])[:5] == [
        "slipway plan: 1.40 x ssh host true (aim: ≤ 1.5, met)",
        "slipway plan: 25.00 x faster than pyinfra --dry (aim: ≥ 20, met)",
        "slipway plan: 20.00 x faster than ansible-playbook (aim: ≥ 40, missed)",
        "slipway apply, 1 change: 3.50 s (aim: ≤ 3, missed)",
        "slipway plan, 20 hosts: 2.93 x slipway plan (aim: ≤ 3, met)",
    ]


def test_a_target_without_measurements_is_omitted() -> None:
    assert remarks([ran(PLAN, 1.4), ran(APPLY, 2)]) == ["slipway apply, 1 change: 2.00 s (aim: ≤ 3, met)"]


def test_growth_is_from_one_host_to_the_most() -> None:
    found = [ran(PYINFRA, 10), ran(PYINFRA, 25, hosts=8)]
    told = "pyinfra --dry, from 1 to 8 hosts: time x 2.50, processor here x 1.00, memory here x 8.00"
    assert growth(found, PYINFRA, 100) == f"{told}, processor of each host x 1.00"
    assert growth(found[:1], PYINFRA, 100) is None


def test_the_table_is_markdown_of_one_distance() -> None:
    out = io.StringIO()
    runs = [ran(SSH, 2), ran(PLAN, 3), ran(PLAN, 5, hosts=20), ran(PLAN, 1, round_trip=0)]
    Console(file=out, width=120).print(table(runs, 100))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.getvalue().splitlines() if "|" in line]
    assert rows[0][:3] == ["100 ms", "seconds", "of ssh"]
    assert rows[2:] == [
        ["ssh host true", "2.00", "1.00", "1.00", "50", "0.50"],
        ["slipway plan", "3.00", "1.50", "1.00", "50", "0.50"],
        ["slipway plan, 20 hosts", "5.00", "2.50", "1.00", "1000", "0.50"],
    ]


def test_the_clock_counts_the_command_and_not_what_started_it(tmp_path: Path) -> None:
    file = tmp_path / "took.json"
    held = bytearray(300 * 2**20)  # of this process, which starts it
    held[::4096] = b"x" * len(held[::4096])
    work = "import sys, time; b = b'x' * 60_000_000; time.sleep(0.2); sys.exit(3)"
    done = subprocess.run([sys.executable, "-I", clock.__file__, str(file), sys.executable, "-c", work], check=False)
    took = json.loads(file.read_text())
    assert done.returncode == 3
    assert took["seconds"] >= 0.2
    assert took["cpu"] > 0
    assert 57 < took["memory_mb"] < 200


async def exchange(size: int) -> tuple[float, float]:
    """Seconds to the first answer of an echo behind the link, and from there to the end of an answer of some size."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**20):
            writer.write(data)
        writer.close()

    far = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = far.sockets[0].getsockname()[1]

    async def connect(_client: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    link = await asyncio.start_server(partial(serve, ROUND_TRIP, connect), "127.0.0.1", 0)
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*link.sockets[0].getsockname())
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    first = time.monotonic() - began
    content = b"0123456789" * (size // 10)
    writer.write(content)
    writer.write_eof()
    assert await reader.read(-1) == content
    total = time.monotonic() - began
    writer.close()
    link.close()
    far.close()
    return first, total - first


def test_a_link_costs_a_round_trip_for_the_handshake_and_one_for_each_answer() -> None:
    first, second = asyncio.run(exchange(1000))
    assert first >= 2 * ROUND_TRIP
    assert second >= ROUND_TRIP


def test_what_is_larger_than_the_first_window_takes_more_round_trips() -> None:
    # The first window, twice and four times that: a third round trip begins after seven of them.
    _, seconds = asyncio.run(exchange(8 * FIRST_WINDOW))
    assert seconds >= 4 * ROUND_TRIP


def test_a_client_that_is_refused_behind_the_link_is_reported() -> None:
    async def refused(_client: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise ConnectionRefusedError

    async def ask() -> bytes:
        async with await asyncio.start_server(partial(serve, 0.01, refused), "127.0.0.1", 0) as link:
            reader, writer = await asyncio.open_connection(*link.sockets[0].getsockname())
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return answer

    assert asyncio.run(ask()) == b""


def test_a_window_grows_when_it_is_used() -> None:
    idle, busy = Window(), Window()
    idle.leave(10)
    idle.acknowledge(10)
    busy.leave(FIRST_WINDOW)
    busy.acknowledge(FIRST_WINDOW)
    assert (idle.size, busy.size) == (FIRST_WINDOW, 2 * FIRST_WINDOW)


def test_only_the_ssh_of_the_named_hosts_is_led_and_not_our_own() -> None:
    text = rules("slipway_link_x", ["10.213.1.10", "10.213.1.11"], 22, 4567)
    assert "meta mark != 20907 ip daddr { 10.213.1.10, 10.213.1.11 } tcp dport 22 redirect to :4567" in text
    # What a run that was killed has left goes first.
    assert text.lstrip().startswith(gone("slipway_link_x"))


def test_the_plans_of_two_versions_are_compared_near_and_far() -> None:
    old = f"{PLAN_OF}6dcf845"
    near = [ran(PLAN, 1, round_trip=0), ran(old, 2, round_trip=0)]
    assert remarks([*near, ran(PLAN, 3), ran(old, 2)]) == [
        "0 ms: slipway plan: 0.50 x slipway plan of 6dcf845 (aim: ≤ 1, met)",
        "100 ms: slipway plan: 1.50 x slipway plan of 6dcf845 (aim: ≤ 1, missed)",
    ]
