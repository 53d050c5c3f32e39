"""The evaluation of the throughput benchmark: h2load's and the visitors' results."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from benchmarks.serve import load, results, visits
from benchmarks.serve.results import Findings, Held, Load
from slipway.lab.steps import StepFailed

H2LOAD = """\
finished in 10.01s, 5852.30 req/s, 150.12MB/s
requests: 58523 total, 58587 started, 58523 done, 58520 succeeded, 3 failed, 0 errored, 0 timeout
status codes: 58520 2xx, 0 3xx, 0 4xx, 3 5xx
"""


def rate(way: str, rate: float, **more: float) -> Load:
    return Load(way, clients=64, requests=100, failed=0, rate=rate, **more)


def test_h2load_is_read_and_an_output_without_an_answer_is_an_error():
    argv = load.command("https://site/", clients=64, seconds=10)
    assert load.parsed("slipway", argv, H2LOAD) == Load("slipway", 64, 58523, 3, 5852.3)
    with pytest.raises(StepFailed):
        load.parsed("slipway", argv, H2LOAD.replace("58520 succeeded", "0 succeeded"))


def test_an_h2load_that_does_not_end_is_asked_again_and_one_that_never_does_is_an_error():
    argv, calls = load.command("https://site/", clients=64, seconds=10), 0

    def runner(step: str, command: Sequence[str]) -> str:
        nonlocal calls
        calls += 1
        if calls != 2:
            raise StepFailed(step, "exit code 124", code=124)
        return H2LOAD

    assert load.loaded("slipway", argv, runner).rate == 5852.3
    calls = 2
    with pytest.raises(StepFailed):
        load.loaded("slipway", argv, runner)
    assert calls == 5


def test_percentiles_are_of_the_requests_that_were_answered():
    log = "".join(f"17\t{200 if number else 503}\t{number * 1000}\n" for number in range(101))
    times = load.durations(log)
    assert (len(times), load.percentile(times, 50), load.percentile(times, 99)) == (100, 51, 100)


def test_a_rate_is_the_median_of_a_ways_runs_and_what_failed_adds_up():
    (one,) = results.summaries([rate("slipway", 10), rate("slipway", 30), rate("slipway", 20)])
    assert (one.rate, one.requests) == (20, 300)
    assert results.ratio([rate("a", 10), rate("b", 40)], "a", "b") == 0.25
    assert results.ratio([rate("a", 10)], "a", "b") is None


def test_the_aims_are_reported_as_met_and_as_missed():
    script = [rate(results.SLIPWAY, 80), rate(results.BARE, 100), rate(results.CADDY_GZIP, 10)]
    lines = results.remarks(Findings(script=script, held=[Held(500, rate("held", 25), 10, 17)]))
    assert "script, HTTP/1.1: 8.00 x Caddy, encode gzip (aim: ≥ 6, met)" in lines
    assert "script, HTTP/1.1: 0.80 x Nginx, bare (aim: ≥ 0.9, missed)" in lines
    assert "connections held: 500.00 of them (aim: ≥ 10,000, missed)" in lines
    assert not any("API" in line for line in lines), "what was not measured is not told of"


def test_every_table_can_be_shown():
    users = [rate(way, 9, offered=10, median=3, p99=40) for way in (results.API, results.API_WITH_LOGINS)]
    found = Findings(script=[rate(results.SLIPWAY, 80)], users=users, held=[Held(500, rate("held", 25), 10, 17)])
    out = io.StringIO()
    for table in results.tables(found):
        Console(file=out, width=120).print(table)
    assert "14.3" in out.getvalue(), "KiB of a connection that is held"


def test_visitors_gap_is_while_nobody_at_all_was_answered():
    its = {"requests": 50, "failed": {}, "longest_gap": 0.08}
    slow = {"requests": 50, "failed": {"status 502": 2}, "longest_gap": 0.5}
    done = {"releases": 20, "rollbacks": 5, "renewals": 5, "reloads": 20}
    found = visits.summary({"GET /, kept": its, "GET /, new": slow}, **done)
    assert (found.requests, found.failed, found.gap_ms) == (100, 2, 80)
    assert found.failures == {"GET /, new: status 502": 2}
    with pytest.raises(StepFailed):
        visits.summary({"GET /, kept": {**its, "requests": 0}}, **done)
