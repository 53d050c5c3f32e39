"""One server becomes several as docs/scale.md has it, under visitors and writes: a load balancer, two application
servers and three database servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from slipway.site import Site
from support.growing import Growing
from support.lab_host import LabHost, bring_up
from support.releases import Visits
from support.waiting import wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def growing(server: LabHost, owned_domain: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Growing]:
    others = [bring_up(name) for name in ("grow2", "grow3", "growlb")]
    found = Growing(tmp_path_factory.mktemp("project"), [server, *others[:2]], others[2], owned_domain)
    found.lead(owned_domain, server)
    yield found
    for host in others:
        host.remove()


def is_open(host: LabHost) -> bool:
    """Whether visitors reach the host itself."""
    return host.site().accepts(443)


def failures(visits: Visits) -> dict[str, dict[str, int]]:
    noticed = visits.noticed()
    assert all(its["requests"] >= 50 for its in noticed.values()), "too few to notice anything"
    return {habit: its["failed"] for habit, its in noticed.items() if its["failed"]}


def test_one_server_becomes_several_under_visitors(
    growing: Growing, visiting: Callable[[Site], Visits], say: Callable[[str], None]
) -> None:
    first, second, balancer = growing.first, growing.hosts[1], growing.balancer
    assert growing.plan() == []
    live = first.current_release()
    # Another server takes the place of the one with the data.
    growing.stage = "moved"
    refused = growing.slipway("plan")
    assert refused.returncode == 1
    assert f"MongoDB's data on {first.name}: found " in refused.stderr

    growing.start_writing("meanwhile")
    visits = visiting(first.site())
    time.sleep(2)

    # The new servers, while the DNS leads to the one that is there.
    growing.stage = "both"
    growing.must("apply", "--yes")
    assert growing.plan() == []
    assert second.current_release() == live
    assert growing.are_well()
    assert is_open(first)
    # MongoDB has restarted once.
    visits.the_api_waits(20)

    # The DNS leads to the load balancer, for more and more visitors.
    earlier, later = visiting(first.site()), visiting(balancer.site(growing.domain))
    growing.lead(growing.domain, balancer)
    time.sleep(15)
    assert growing.plan() == []
    assert (found := failures(earlier)) == {}, found

    growing.stage = "several"
    growing.must("apply", "--yes")
    assert growing.plan() == []
    assert not is_open(first)
    growing.must("verify")
    assert (found := failures(later)) == {}, found

    wrote = growing.stop_writing("meanwhile")
    say(f"one server becomes several: {wrote['acknowledged']} writes, longest pause {wrote['longest']:.1f} s")
    assert wrote["acknowledged"] > 1000
    assert (wrote["lost"], wrote["errors"]) == (0, 0)


def test_a_release_goes_to_all_of_them(growing: Growing, visiting: Callable[[Site], Visits]) -> None:
    if growing.stage != "several":
        pytest.skip("the test before has not come so far")
    visits = visiting(growing.balancer.site(growing.domain))
    growing.must("release", "--yes")
    servers = [host.current_release() for host in growing.hosts[:2]]
    assert len({*servers}) == 1
    wait_until("all members are well", growing.are_well)
    assert (found := failures(visits)) == {}, found


def test_the_first_server_leaves_its_data_to_the_others(growing: Growing, visiting: Callable[[Site], Visits]) -> None:
    if growing.stage != "several":
        pytest.skip("the first test has not come so far")
    first, second = growing.first, growing.hosts[1]
    visits = visiting(growing.balancer.site(growing.domain))
    if growing.primary() is first:
        growing.must("db", "stepdown", "--yes")
    growing.must("db", "remove", first.name, "--yes")
    growing.stage = "apart"
    growing.must("apply", "--yes")
    assert growing.plan() == []
    first.ssh("systemctl disable --now mongod")
    assert growing.plan() == []
    growing.must("verify")
    members = growing.members(second)
    assert sorted(one["state"] for one in members.values()) == ["PRIMARY", "SECONDARY"]
    assert first.name not in members
    visits.the_api_waits(20)
    # The backend that has no database on its host any more has the same data.
    health = "curl -sf --unix-socket /run/codementee-backend.sock http://localhost/api/health"
    assert first.ssh(f"{health} && echo yes").endswith("yes")
