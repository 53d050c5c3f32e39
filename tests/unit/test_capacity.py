"""The model of a site on several servers."""

from __future__ import annotations

import pytest

from benchmarks.capacity.model import (
    BALANCER,
    DATABASE,
    NETWORK,
    SERVER,
    Demands,
    Size,
    capacity,
    limits,
    needed,
    times,
)
from benchmarks.serve.load import percentile

DEMANDS = Demands(balancer=0.0002, server=0.002, database=0.0005, bytes=10_000)


def test_what_so_many_users_take_follows_from_the_utilization():
    found = needed(50_000, DEMANDS, Size(cores=4, network=1e9))
    assert found.requests == 5_000
    # 10 s of processor time a second, of 4 that are to be busy at 70 % at most.
    assert found.servers == {BALANCER: 1, SERVER: 4, DATABASE: 1, NETWORK: 1}
    assert found.utilization == pytest.approx({BALANCER: 0.25, SERVER: 2.5, DATABASE: 0.625, NETWORK: 0.4})


def test_what_has_to_change_first_comes_first():
    found = limits(DEMANDS, Size(cores=4, network=1e9))
    assert found == {SERVER: 14_000, DATABASE: 56_000, NETWORK: 87_500, BALANCER: 140_000}
    assert [*found] == [SERVER, DATABASE, NETWORK, BALANCER]


def test_more_servers_serve_more_until_another_kind_is_busy():
    assert [capacity(DEMANDS, count, 0.2, 1) for count in (1, 2, 3)] == pytest.approx([100, 200, 300])
    assert capacity(DEMANDS, 100, 0.2, 1) == pytest.approx(2_000)


def test_the_simulation_is_that_of_a_single_queue_where_there_is_a_formula():
    # M/M/1: the time in the system is exponential with the mean D / (1 - U).
    alone = Demands(balancer=0, server=0.01, database=0, bytes=0)
    found = times(50, alone, servers=1, share=1, others=1, seconds=500)
    assert sum(found) / len(found) == pytest.approx(0.02, rel=0.15)
    assert percentile(found, 99) == pytest.approx(0.02 * 4.605, rel=0.2)


def test_a_request_waits_longer_where_servers_are_busy():
    few, many = (percentile(times(rate, DEMANDS, 3, 0.2, 1), 99) for rate in (60, 270))
    assert many > 2 * few
