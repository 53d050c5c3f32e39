"""MongoDB on one server grows to three, under writes; its members restart in turn, and one of them dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from support.database_servers import PASSWORDS, DatabaseServers
from support.lab_host import LabHost, bring_up, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough
SLOW = "operationProfiling.slowOpThresholdMs"


def slower(milliseconds: int) -> tuple[str, str]:
    """A setting that restarts MongoDB."""
    return "--data", f'mongodb_settings={{"{SLOW}": {milliseconds}}}'


@pytest.fixture(scope="module")
def several(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServers]:
    """Three servers, of which the first has the site and its data, and the others nothing yet."""
    hosts = [server, bring_up("second"), bring_up("third")]
    yield DatabaseServers(tmp_path_factory.mktemp("project"), hosts)
    for host in hosts[1:]:
        host.remove()


def count(host: LabHost, collection: str) -> int:
    """The documents that a host has itself."""
    reads = 'db.getMongo().setReadPref("secondaryPreferred");'
    return int(host.ssh(mongosh(f'{reads} print(db.getSiblingDB("codementee").{collection}.countDocuments())')))


def connects(source: LabHost, target: LabHost) -> bool:
    shell = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{target.record.address}/27017' 2> /dev/null && echo yes || echo no"
    return source.ssh(shell) == "yes"


def grown(several: DatabaseServers) -> DatabaseServers:
    """All three are members, whichever test runs alone."""
    if len(several.members()) < len(several.hosts):
        several.must("apply", "--yes")
    wait_until("all members are well", several.are_well)
    return several


def test_one_member_becomes_three_with_its_data_and_loses_no_acknowledged_write(
    several: DatabaseServers, say: Callable[[str], None]
) -> None:
    several.start_writing("before")
    time.sleep(5)
    before = several.stop_writing("before")["acknowledged"]
    assert several.plan(count=1) == []
    several.start_writing("meanwhile")
    output = several.must("apply", "--yes")
    assert "mongodb-2.internal:27017: added without a vote" in output
    assert several.are_well()
    assert several.plan() == []
    wrote = several.stop_writing("meanwhile")
    say(f"writes while one member becomes three: {wrote['acknowledged']}, longest pause {wrote['longest']:.1f} s")
    assert wrote["acknowledged"] > 1000
    assert (wrote["lost"], wrote["errors"]) == (0, 0)
    for host in several.hosts:
        assert count(host, "before") == before
    # The same key and passwords, readable by nobody else, and none of them in a log.
    for file, mode in (
        ("/etc/mongod.keyfile", "400"),
        *((f"/etc/codementee/credentials/{p}", "600") for p in PASSWORDS),
    ):
        found = {host.ssh(f"sha256sum < {file}; stat -c %a {file}") for host in several.hosts}
        assert len(found) == 1, file
        assert found.pop().endswith(f"\n{mode}")
    key = several.first.ssh("cat /etc/mongod.keyfile")
    assert key not in output


def test_mongodb_is_open_to_the_other_members_alone(several: DatabaseServers) -> None:
    grown(several)
    first, second, third = several.hosts
    for source, target in ((first, second), (second, first), (second, third), (third, first)):
        assert connects(source, target), f"{source.name} -> {target.name}"
    assert not any(host.site().accepts(27017) for host in several.hosts)


def test_what_members_and_backends_say_is_encrypted(several: DatabaseServers) -> None:
    grown(several)
    for host in several.hosts:
        # https://www.mongodb.com/docs/v7.0/reference/command/serverStatus/#transportsecurity
        assert int(host.ssh(mongosh('print(Number(db.serverStatus().transportSecurity["1.3"]))'))) > 0, host.name
    several.must("verify")
    # Another certificate is read without a restart.
    second = several.hosts[1]
    process = "systemctl show --property=MainPID mongod"
    before = second.ssh(process)
    second.ssh("rm /etc/slipway/tls/mongodb.pem")
    assert f"{second.name}: Issue MongoDB's certificate" in several.plan()
    several.must("apply", "--yes")
    shown = f"openssl s_client -connect {second.record.address}:27017 < /dev/null 2> /dev/null"
    own, served = (
        second.ssh(f"{source} | openssl x509 -noout -serial") for source in ("cat /etc/slipway/tls/mongodb.pem", shown)
    )
    assert own == served
    assert second.ssh(process) == before
    assert several.plan() == []


def test_tls_is_left_and_taken_up_again_by_way_of_both(several: DatabaseServers) -> None:
    grown(several)
    off, both = (("--data", f"mongodb_tls={mode}") for mode in ("off", "allow"))
    refused = several.slipway("plan", *off)
    assert refused.returncode == 1
    assert 'found "off" and members of the replica set that talk by TLS' in refused.stderr
    several.start_writing("both")
    for arguments in (both, ()):
        several.must("apply", "--yes", *arguments)
        assert several.plan(*arguments) == []
    wrote = several.stop_writing("both")
    assert (wrote["lost"], wrote["errors"]) == (0, 0)


def test_members_restart_in_turn_and_writes_go_on(several: DatabaseServers, say: Callable[[str], None]) -> None:
    grown(several)
    several.start_writing("restarted")
    since = {host.name: host.ssh("date +%s") for host in several.hosts}
    several.must("apply", "--yes", *slower(120))
    assert several.plan(*slower(120)) == []
    wrote = several.stop_writing("restarted")
    say(f"writes while three members restart: {wrote['acknowledged']}, longest pause {wrote['longest']:.1f} s")
    assert (wrote["lost"], wrote["errors"]) == (0, 0)
    assert wrote["longest"] <= 15
    for host in several.hosts:
        starts = f"journalctl -u mongod -o cat --no-pager --since @{since[host.name]} | grep -c '^Starting mongod'"
        assert host.ssh(starts) == "1"


def hand_over_from(several: DatabaseServers, host: LabHost) -> None:
    """Let another member be the primary."""
    while several.primary() == host:
        several.must("db", "stepdown", "--yes")
        wait_until("all members are well", several.are_well)


def test_a_primary_hands_over_again_and_again(several: DatabaseServers, say: Callable[[str], None]) -> None:
    grown(several)
    several.start_writing("handed")
    for _ in range(10):
        before = several.primary()
        several.must("db", "stepdown", "--yes")
        assert several.primary() not in (None, before)
    wrote = several.stop_writing("handed")
    say(f"10 hand-overs: {wrote['acknowledged']} writes, longest pause {wrote['longest']:.1f} s")
    assert (wrote["lost"], wrote["errors"]) == (0, 0)
    # An election without a hand-over begins after 10 s.
    assert wrote["longest"] <= 9


def test_plain_pyinfra_restarts_them_in_turn_too(several: DatabaseServers) -> None:
    grown(several)
    several.start_writing("plain")
    several.pyinfra(*slower(130))
    wait_until("all members are well", several.are_well)
    assert several.plan(*slower(130)) == []
    wrote = several.stop_writing("plain")
    assert (wrote["lost"], wrote["errors"]) == (0, 0)


def test_a_primary_that_dies_loses_no_acknowledged_write(several: DatabaseServers, say: Callable[[str], None]) -> None:
    grown(several)
    hand_over_from(several, several.first)  # the writer's host stays
    primary = several.primary()
    assert primary
    several.start_writing("killed")
    time.sleep(5)
    primary.ssh("systemctl kill --signal KILL mongod; systemctl stop mongod")
    wait_until("there is another primary", lambda: several.primary() not in (None, primary))
    # Nobody restarts another one meanwhile.
    refused = several.slipway("apply", "--yes", "--limit", several.first.name, *slower(140))
    assert refused.returncode == 1
    assert "1 of 3 voting members would be well, which is no majority" in refused.stderr
    wrote = several.stop_writing("killed")
    say(f"primary killed: {wrote['acknowledged']} writes, {wrote['lost']} lost, paused for {wrote['longest']:.1f} s")
    assert wrote["lost"] == 0
    assert wrote["longest"] <= 15
    primary.ssh("systemctl start mongod")
    wait_until("all members are well", several.are_well)
    several.must("apply", "--yes")
    assert several.plan() == []


# Both ways of a member's port; a login is by another one.
DROP = "-p tcp --dport 27017 -j DROP"
APART = f"iptables -{{0}} INPUT ! -i lo {DROP}; iptables -{{0}} OUTPUT ! -o lo {DROP}"


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("systemctl kill --signal STOP mongod", "systemctl kill --signal CONT mongod"),
        (APART.format("I"), APART.format("D")),
    ],
    ids=["paused", "apart"],
)
def test_a_primary_that_others_do_not_hear_of_for_a_minute_loses_no_acknowledged_write(
    several: DatabaseServers, say: Callable[[str], None], begin: str, end: str
) -> None:
    grown(several)
    hand_over_from(several, several.first)  # the writer's host stays
    primary, name = several.primary(), begin.split()[0]
    assert primary
    several.start_writing(name)
    time.sleep(5)
    primary.ssh(begin)
    wait_until("there is another primary", lambda: several.primary() not in (None, primary))
    time.sleep(50)
    # No two of them at a time take writes that a majority has.
    new = several.primary()
    primary.ssh(end)
    wait_until("all members are well", several.are_well)
    assert several.primary() == new
    wrote = several.stop_writing(name)
    say(f"{begin}: {wrote['acknowledged']} writes, {wrote['lost']} lost, paused for {wrote['longest']:.1f} s")
    assert wrote["lost"] == 0
    assert several.plan() == []


def test_a_primary_whose_disk_is_full_loses_no_acknowledged_write(
    several: DatabaseServers, say: Callable[[str], None]
) -> None:
    grown(several)
    hand_over_from(several, several.first)  # the writer's host stays
    primary = several.primary()
    assert primary
    # On a small disk it gets all data anew.
    small = "mount -t tmpfs -o size=700m,uid=$(id -u mongodb),gid=$(id -g mongodb),mode=750 tmpfs /var/lib/mongodb"
    primary.ssh(f"systemctl stop mongod; {small}; systemctl start mongod")
    wait_until("all members are well", several.are_well)
    while several.primary() != primary:
        several.must("db", "stepdown", "--yes")
        wait_until("all members are well", several.are_well)
    several.start_writing("full")
    time.sleep(5)
    primary.ssh("dd if=/dev/zero of=/var/lib/mongodb/fill bs=1M 2> /dev/null || :")
    wait_until("there is another primary", lambda: several.primary() not in (None, primary))
    time.sleep(5)
    wrote = several.stop_writing("full")
    say(f"disk full: {wrote['acknowledged']} writes, {wrote['lost']} lost, paused for {wrote['longest']:.1f} s")
    assert wrote["lost"] == 0
    assert wrote["acknowledged"] > 1000
    primary.ssh("systemctl stop mongod; umount /var/lib/mongodb; systemctl reset-failed mongod; systemctl start mongod")
    wait_until("all members are well", several.are_well)
    assert several.plan() == []


def test_a_member_goes_and_comes_back(several: DatabaseServers) -> None:
    grown(several)
    third = several.hosts[2]
    hand_over_from(several, third)
    several.must("db", "remove", third.name, "--yes")
    assert [*several.members()] == [host.name for host in several.hosts[:2]]
    assert "without a vote: done" in several.must("db", "add", third.name, "--yes")
    wait_until("all members are well", several.are_well)
    assert third.name in several.must("db", "status")
    assert several.plan() == []


def test_a_dead_members_place_is_taken_by_an_empty_server(several: DatabaseServers) -> None:
    """Of the same name, and without anything of it."""
    grown(several)
    third = several.hosts[2]
    hand_over_from(several, third)
    third.ssh("systemctl stop mongod; rm -rf /var/lib/mongodb/* /etc/mongod.keyfile")
    several.must("db", "replace", third.name, "--yes")
    wait_until("all members are well", several.are_well)
    assert count(third, "meanwhile") == count(several.hosts[0], "meanwhile") > 0
    assert several.plan() == []


def test_a_host_with_data_of_its_own_is_refused_before_any_change(several: DatabaseServers) -> None:
    grown(several)
    third = several.hosts[2]
    hand_over_from(several, third)
    several.must("db", "remove", third.name, "--yes")
    own = "runuser -u mongodb -- mongod --dbpath /var/lib/mongodb"
    third.ssh(
        f"systemctl stop mongod; rm -rf /var/lib/mongodb/*; {own} --fork --logpath /tmp/log > /dev/null;"
        " mongosh --quiet --eval 'db.getSiblingDB(\"shop\").orders.insertOne({})' > /dev/null;"
        f" {own} --shutdown > /dev/null; systemctl start mongod"
    )
    refused = several.slipway("apply", "--yes")
    assert refused.returncode == 1
    assert f"{third.name} is not ready to be provisioned" in refused.stderr
    assert "MongoDB's data: found 1 collections, need none" in refused.stderr
    # The primary finds out by itself, too.
    asked = several.slipway("db", "add", third.name, "--yes")
    assert "has data of its own, 1 collections, which it would lose as a member" in asked.stderr
    third.ssh("systemctl stop mongod; rm -rf /var/lib/mongodb/*; systemctl start mongod")
    several.must("apply", "--yes")
    assert several.are_well()
