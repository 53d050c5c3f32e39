"""A site on several servers as a network of queues, and what so many users take.

Each request passes the load balancer, an application server and MongoDB's primary, and takes processor time at each.
The least number of servers follows from the utilization law, U = X * D / c, of X requests a second, D seconds of
processor time for each and c processors (Lazowska et al., Quantitative System Performance, 1984, chapter 3); the times
of requests from a simulation with exponential service and arrivals, which is pessimistic for a steady site and
optimistic for one whose visitors come in bursts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

# A server that is busier than this has no reserve for a burst, or for another one that has failed.
TARGET = 0.7
# The described load: 10,000 users make 1,000 requests a second.
REQUESTS_PER_USER = 0.1
BALANCER, SERVER, DATABASE, NETWORK = "load balancer", "application servers", "MongoDB's primary", "network"


@dataclass(frozen=True)
class Demands:
    """Seconds of processor time that a request takes at each kind of server, and bytes on the load balancer's
    network."""

    balancer: float
    server: float
    database: float
    bytes: float

    def processors(self) -> dict[str, float]:
        return {BALANCER: self.balancer, SERVER: self.server, DATABASE: self.database}


@dataclass(frozen=True)
class Size:
    """Processors of each server, and the load balancer's network in bits a second."""

    cores: float = 4
    network: float = 1e9


@dataclass(frozen=True)
class Needed:
    """What so many users take: servers by kind at TARGET utilization, and how busy a single one would be."""

    users: int
    requests: float
    servers: dict[str, int]
    utilization: dict[str, float]


def shares(users: float, demands: Demands, size: Size) -> dict[str, float]:
    """How busy one server of each kind would be; 1 is fully."""
    rate = users * REQUESTS_PER_USER
    found = {kind: rate * seconds / size.cores for kind, seconds in demands.processors().items()}
    return {**found, NETWORK: rate * demands.bytes * 8 / size.network}


def needed(users: int, demands: Demands, size: Size) -> Needed:
    busy = shares(users, demands, size)
    servers = {kind: max(1, math.ceil(share / TARGET)) for kind, share in busy.items()}
    return Needed(users, users * REQUESTS_PER_USER, servers, busy)


def limits(demands: Demands, size: Size) -> dict[str, int]:
    """The users at which one of a kind has TARGET utilization, the fewest first: what has to change first."""
    found = {kind: round(TARGET / share) for kind, share in shares(1, demands, size).items()}
    return dict(sorted(found.items(), key=lambda one: one[1]))


def capacity(demands: Demands, servers: int, share: float, others: float) -> float:
    """Requests a second of so many application servers, each with a `share` of a processor, where the other kinds have
    `others` processors each."""
    return min(servers * share / demands.server, others / demands.balancer, others / demands.database)


def times(
    rate: float, demands: Demands, servers: int, share: float, others: float, seconds: float = 120, seed: int = 1
) -> list[float]:
    """The simulated seconds of each request, sorted. A share of a processor below 1 is a slower one."""
    env, chance, found = simpy.Environment(), random.Random(seed), list[float]()  # noqa: S311
    balancer, database = (_station(env, others) for _ in range(2))
    each = [_station(env, share) for _ in range(servers)]

    def visit(station: tuple[simpy.Resource, float], demand: float) -> Generator[Any, Any, None]:
        resource, speed = station
        with resource.request() as turn:
            yield turn
            yield env.timeout(chance.expovariate(speed / demand) if demand else 0)

    def request(server: tuple[simpy.Resource, float]) -> Generator[Any, Any, None]:
        began = env.now
        yield from visit(balancer, demands.balancer)
        yield from visit(server, demands.server)
        yield from visit(database, demands.database)
        found.append(env.now - began)

    def arrivals() -> Generator[Any, Any, None]:
        number = 0
        while True:
            yield env.timeout(chance.expovariate(rate))
            # As Nginx does it: one after the other.
            env.process(request(each[number % servers]))
            number += 1

    env.process(arrivals())
    env.run(until=seconds)
    return sorted(found)


def _station(env: simpy.Environment, processors: float) -> tuple[simpy.Resource, float]:
    """Whole processors beside each other, or a single one that is slower; with the speed of each."""
    count = max(1, math.floor(processors))
    return simpy.Resource(env, capacity=count), min(1.0, processors)
