"""The members of a replica set by the inventory: what is wrong with them, and which of them begins it."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from slipway.facts.files import FileState
from slipway.facts.mongodb import MongodbMember
from slipway.secrets.authority import create
from slipway.settings import members
from slipway.settings.environment import PLACEHOLDERS, text_of
from slipway.settings.members import Member, apart_problems, set_problems
from slipway.settings.peers import Peer
from slipway.tasks import mongodb_members as tasks
from slipway.tasks.firewall import rules_of_peers
from slipway.tasks.mongodb_members import Place, grow, place, place_of
from support.described import FakeHost

SECRETS = {"MONGODB_ADMIN_PASSWORD": "s3cr3t-root-0123456789", "MONGODB_BACKEND_PASSWORD": "s3cr3t-backend-0123"}
CA = create(datetime(2026, 1, 1, tzinfo=UTC))


def peer(name: str, *roles: str, here: bool = False, **given: object) -> Peer:
    """A server whose address ends as its name does, "" for one of no number."""
    number = name[1:]
    return Peer(name, roles, f"10.0.0.{number}" if number.isdigit() else "", given, here)


def db(number: int, here: bool = False, **given: object) -> Peer:
    return peer(f"d{number}", "db", here=here, **{"mongodb_member": f"mongodb-{number}.internal", **given})


@pytest.fixture
def of(settings_with, monkeypatch):
    """Settings of the server that is here, with the others."""
    for name, value in (SECRETS | CA).items():
        monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", value)

    def make(*peers: Peer, **changes: object):
        settings = settings_with(**changes)
        settings._peers = peers
        return settings

    return make


def test_three_db_hosts_with_names_of_their_own_are_a_replica_set(of):
    settings = of(db(1, here=True), db(2), db(3), peer("a4", "app"), peer("a5", "web"))
    assert apart_problems(settings, ["db"]) == set_problems(settings) == []
    assert settings.mongodb_listens == ["127.0.0.1", "10.0.0.1"]
    assert members.names(settings) == [
        ("mongodb-1.internal", "127.0.0.1"),
        ("mongodb-2.internal", "10.0.0.2"),
        ("mongodb-3.internal", "10.0.0.3"),
    ]
    assert rules_of_peers(settings) == [
        f"allow from 10.0.0.{number} to any port 27017 proto tcp" for number in (2, 3, 4)
    ]


def test_a_backend_gets_all_members_and_the_databases_of_one_server_stay_what_they_are(of):
    settings = of(db(1), db(2), db(3, mongodb_port=27018), peer("a4", "app", here=True))
    assert apart_problems(settings, ["app"]) == set_problems(settings) == []
    url = text_of(PLACEHOLDERS["mongo_url"].value(settings), {"MONGODB_BACKEND_PASSWORD": "pw"})
    assert url == (
        "mongodb://backend:%70%77@mongodb-1.internal:27017,mongodb-2.internal:27017,mongodb-3.internal:27018/codementee"
        "?authSource=admin&journal=true&replicaSet=rs0&retryWrites=true&w=majority"
        "&tls=true&tlsCAFile=/etc/slipway/tls/authority.pem"
    )
    assert [address for _, address in members.names(settings)] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert rules_of_peers(settings) == []

    alone = of(peer("d1", "web", "app", "db", here=True))
    assert alone.mongodb_listens == ["127.0.0.1"]
    url = text_of(PLACEHOLDERS["mongo_url"].value(alone), {"MONGODB_BACKEND_PASSWORD": "pw"})
    assert url == "mongodb://backend:%70%77@127.0.0.1:27017/codementee?authSource=admin&journal=true"


def test_a_database_apart_is_reached_by_its_private_address_without_a_word(of):
    app = of(peer("d1", "db"), peer("a4", "app", here=True))
    database = of(peer("d1", "db", here=True), peer("a4", "app"))
    assert apart_problems(app, ["app"]) == set_problems(app) == apart_problems(database, ["db"]) == []
    assert (app.mongodb_local, database.mongodb_local) == ("10.0.0.1", "127.0.0.1")
    assert database.mongodb_listens == ["127.0.0.1", "10.0.0.1"]
    assert members.names(app) == [("mongodb-1.internal", "10.0.0.1")]
    assert rules_of_peers(database) == ["allow from 10.0.0.4 to any port 27017 proto tcp"]


@pytest.mark.parametrize(("mode", "has", "talks"), [("on", True, True), ("allow", True, False), ("off", False, False)])
def test_mongodb_has_a_certificate_where_others_reach_it_by_the_network(of, mode, has, talks):
    app = of(peer("d1", "db"), peer("a4", "app", here=True), mongodb_tls=mode)
    database = of(peer("d1", "db", here=True), peer("a4", "app"), mongodb_tls=mode)
    assert app.has_authority is database.has_authority is members.has_certificates(database) is has
    assert ("tls=true" in text_of(PLACEHOLDERS["mongo_url"].value(app), SECRETS)) is talks
    assert members.certificate_names(database) == ["mongodb-1.internal", "10.0.0.1"]
    beside = of(peer("d1", "app", "db", here=True), peer("a4", "app"), mongodb_tls=mode)
    assert members.has_certificates(beside) is has
    assert "tls=true" not in text_of(PLACEHOLDERS["mongo_url"].value(beside), SECRETS)
    alone = of(peer("d1", "web", "app", "db", here=True), mongodb_tls=mode)
    elsewhere = of(peer("d1", "web", "app", "db", here=True), peer("w2", "web"), mongodb_tls=mode)
    assert not any(members.has_certificates(one) for one in (alone, elsewhere, of(mongodb_tls=mode)))


def test_several_hosts_without_an_authority_are_told_what_makes_one_and_what_does_without(of, monkeypatch):
    monkeypatch.delenv("SLIPWAY_SECRET_SERVERS_CA_KEY")
    peers = db(1, here=True), db(2), db(3)
    (problem,) = set_problems(of(*peers))
    assert problem.startswith("found several servers and no SERVERS_CA_KEY")
    assert "type `slipway secrets ca --print >> " in problem
    assert problem.endswith("""or set mongodb_tls = "off" where nobody else reads the servers' network""")
    assert set_problems(of(*peers, mongodb_tls="off")) == []
    # The load balancer's problem, told once.
    assert set_problems(of(*peers, peer("l9", "lb"))) == []


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        (
            [db(1, here=True), db(2, mongodb_member="mongodb-1.internal"), db(3)],
            "mongodb_member: found 'mongodb-1.internal' for d1, d2, expected a name of its own for each member:"
            ' ("d2", {"mongodb_member": "mongodb-2.internal"})',
        ),
        ([db(1, here=True), *map(db, range(2, 10))], "db: found 9 hosts, expected at most 7"),
        (
            [db(1, here=True), db(2, mongodb_replica_set=""), db(3)],
            'mongodb_replica_set: found "" on d2 with 3 db hosts',
        ),
        (
            [db(1, here=True), db(2, mongodb_replica_set="orders"), db(3)],
            "mongodb_replica_set: found 'rs0' on d1, 'orders' on d2, 'rs0' on d3, expected one name",
        ),
        (
            [db(1, here=True), db(2), peer("dx", "db", mongodb_member="mongodb-3.internal")],
            "private_address: found none for dx, expected the address that the database's other hosts know it by:",
        ),
    ],
)
def test_what_is_no_replica_set_is_told(of, peers, said):
    (problem,) = set_problems(of(*peers))
    assert problem.startswith(said)


def test_all_that_is_wrong_is_told_at_once(of, monkeypatch):
    for name in SECRETS:
        monkeypatch.delenv(f"SLIPWAY_SECRET_{name}")
    settings = of(db(1, here=True), peer("dx", "db"), mongodb_bind="127.0.0.1")
    admin, backend, *others = set_problems(settings)
    assert admin.startswith("found 2 db hosts and no value for MONGODB_ADMIN_PASSWORD, expected one")
    assert "no value for MONGODB_BACKEND_PASSWORD" in backend
    assert [problem.partition(":")[0] for problem in others] == ["mongodb_member", "private_address"]
    (bind,) = apart_problems(settings, ["db"])
    assert bind.startswith("mongodb_bind: found '127.0.0.1' with several db hosts")


# --- Who begins -------------------------------------------------------------------------------------------------------

MEMBERS = ["mongodb-1.internal:27017", "mongodb-2.internal:27017", "mongodb-3.internal:27017"]
NEW = {"state": "new", "set": "", "collections": "0"}
AWAY = {"state": "away"}


def in_set(*names: str, its_id: str = "a1", state: str = "secondary") -> dict[str, str]:
    found = {"state": state, "set": "rs0", "id": its_id, "collections": "3"}
    return {**found, **{f"member {name}": "1" for name in names}}


def placed(here: int, *looks: dict[str, str] | None):
    """The place of one of three hosts."""
    three = [
        Member(f"d{n}", f"mongodb-{n}.internal", 27017, f"10.0.0.{n}", "127.0.0.1", n == here) for n in range(1, 4)
    ]
    return place_of(three, {f"d{n}": look for n, look in enumerate(looks, start=1) if look is not None})


@pytest.mark.parametrize(
    ("wanted", "modes", "hinders"),
    [
        ("on", ["disabled", "disabled", "disabled"], "d1, d2, d3"),
        ("on", ["allowTLS", "preferTLS", "allowTLS"], ""),
        ("on", ["disabled"], ""),
        ("allow", ["disabled", "preferTLS", "allowTLS"], ""),
        ("off", ["allowTLS", "preferTLS", "disabled"], "d2"),
        ("off", ["allowTLS", "allowTLS", "disabled"], ""),
    ],
)
def test_members_that_could_not_talk_to_each_other_are_not_restarted_in_turn(of, monkeypatch, wanted, modes, hinders):
    settings = of(db(1, here=True), db(2), db(3), mongodb_tls=wanted)
    looks = {f"d{n}": {**in_set(*MEMBERS), "tls": mode} for n, mode in enumerate(modes, start=1)}
    looks |= {f"d{n}": NEW for n in range(len(looks) + 1, 4)}
    if len(modes) == 1:
        looks["d1"] = {**in_set(MEMBERS[0], state="primary"), "tls": modes[0]}
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", FakeHost(("db",)))
    monkeypatch.setattr("slipway.engine.across.facts", lambda host, hosts, asked: looks)
    problems = place(settings).problems
    assert [problem for problem in problems if hinders not in problem or 'need "allow"' not in problem] == []
    assert bool(problems) is bool(hinders)


def test_of_fresh_hosts_the_first_begins_the_set_and_the_others_join_it():
    first, *others = (placed(here, {}, AWAY, NEW) for here in (1, 2, 3))
    assert first.is_founder
    assert [(one.is_founder, one.key_of, one.problems) for one in others] == [(False, "d1", ())] * 2


def test_the_host_with_the_set_keeps_it_wherever_it_is_in_the_inventory():
    looks = {}, in_set(MEMBERS[1], state="primary"), NEW
    assert placed(2, *looks).is_founder
    assert [(placed(here, *looks).is_founder, placed(here, *looks).key_of) for here in (1, 3)] == [(False, "d2")] * 2


def test_a_database_without_a_replica_set_begins_it_with_its_data():
    looks = AWAY, {"state": "alone"}, AWAY
    assert placed(2, *looks).is_founder
    assert placed(1, *looks).key_of == "d2"


def test_nobody_begins_a_set_while_a_host_is_not_asked():
    for look in (NEW, AWAY):
        (problem,) = placed(1, look, look, None).problems
        assert "found no member of it, and d3 not in this run" in problem
    # That there is one, a single host can tell.
    assert placed(2, in_set(MEMBERS[0], state="primary"), NEW, None).problems == ()


def test_a_host_with_data_of_its_own_is_no_member():
    founder = in_set(MEMBERS[0], state="primary")
    own_set = in_set("mongodb-1.internal:27017", its_id="b2", state="primary")
    for look, said in (
        (own_set, "those of another replica set, rs0 with mongodb-1.internal:27017"),
        ({"state": "alone"}, "those of a MongoDB without a replica set"),
        ({**NEW, "collections": "5"}, "5 collections"),
    ):
        (problem,) = placed(2, founder, look, NEW).problems
        assert f"MongoDB's data: found {said}" in problem
    # Two of them have none of a set.
    assert placed(2, {"state": "alone"}, {"state": "alone"}, AWAY).problems
    assert not placed(1, {"state": "alone"}, {"state": "alone"}, AWAY).problems


def test_members_know_that_they_are_also_one_that_was_taken_out_or_has_another_key():
    all_there = in_set(*MEMBERS, state="primary"), in_set(*MEMBERS), in_set(*MEMBERS)
    for here in (1, 2, 3):
        assert placed(here, *all_there).is_member
        assert placed(here, *all_there).problems == ()
    taken_out = {**in_set(*MEMBERS), "state": "new"}
    assert placed(3, in_set(*MEMBERS[:2], state="primary"), in_set(*MEMBERS[:2]), taken_out).problems == ()
    rejected = {"state": "secondary", "set": "rs0", **{f"member {name}": "1" for name in MEMBERS}}
    assert placed(3, *all_there[:2], rejected).key_of == "d1"
    assert placed(3, *all_there[:2], rejected).problems == ()


def test_a_member_of_another_name_an_arbiter_and_a_stranger_are_told():
    other = {**in_set("db.internal:27017", state="primary"), "me": "db.internal:27017"}
    (problem,) = placed(1, other, NEW, NEW).problems
    assert problem.startswith("mongodb_member: found mongodb-1.internal:27017, which the replica set rs0 calls db.inte")
    with_arbiter = {**in_set(MEMBERS[0], state="primary"), "arbiter mongodb-9.internal:27017": "1"}
    (problem,) = placed(1, with_arbiter, NEW, NEW).problems
    assert "found the arbiter mongodb-9.internal:27017" in problem
    four = [*MEMBERS, "mongodb-9.internal:27017"]
    (problem,) = placed(1, in_set(*four, state="primary"), in_set(*four), in_set(*four)).problems
    assert "found the member mongodb-9.internal:27017, which is no db host of the inventory" in problem
    assert problem.endswith("slipway db remove mongodb-9.internal")


@pytest.mark.parametrize(
    ("looks", "is_refused"),
    [
        # As after one of three was removed.
        ((in_set(*MEMBERS[:2], state="primary"), in_set(*MEMBERS[:2])), False),
        ((in_set(*MEMBERS[:2], state="primary"),), False),
        # What the set has more is to be removed, and is told.
        ((in_set(*MEMBERS, state="primary"), in_set(*MEMBERS)), False),
        ((NEW, NEW), True),
        ((in_set(MEMBERS[0], state="primary"), NEW), True),
    ],
)
def test_an_even_number_of_members_is_refused_where_none_has_it(of, monkeypatch, looks, is_refused):
    settings = of(db(1, here=True), db(2))
    host = FakeHost(("db",))
    host.name = "d1"
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", host)
    monkeypatch.setattr(
        "slipway.engine.across.facts", lambda host, hosts, asked: {f"d{n}": one for n, one in enumerate(looks, start=1)}
    )
    monkeypatch.setattr("slipway.engine.notes.note", lambda text: None)
    said = [problem for problem in place(settings).problems if problem.startswith("db: found 2 hosts, expected an odd")]
    assert bool(said) is is_refused


def test_the_primary_waits_for_no_member_that_the_run_does_not_reach(of, monkeypatch):
    settings = of(db(1, here=True), db(2), db(3))
    own = {**in_set(MEMBERS[0], MEMBERS[2], state="primary"), f"member {MEMBERS[2]}": "0"}
    host, noted = FakeHost(("db",)), []
    host.answers = {MongodbMember: own}
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", host)
    monkeypatch.setattr("slipway.engine.notes.note", noted.append)
    reached = ["d3"]
    monkeypatch.setattr(
        "slipway.engine.across.of_run",
        lambda host, names: [SimpleNamespace(name=name) for name in names if name in reached],
    )
    (command,) = grow._inner(settings)
    assert command.endswith(f" {MEMBERS[2]}")
    assert f"replica set rs0: {MEMBERS[1]}: left out, as this run does not reach it" in noted
    reached.clear()
    assert [*grow._inner(settings)] == []


def test_a_member_that_was_hidden_by_hand_gets_no_vote(of, monkeypatch):
    settings = of(db(1, here=True), db(2), db(3))
    own = in_set(*MEMBERS, state="primary") | {f"member {MEMBERS[2]}": "0", f"aside {MEMBERS[2]}": "hidden"}
    host, noted = FakeHost(("db",)), []
    host.answers = {MongodbMember: own}
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", host)
    monkeypatch.setattr("slipway.engine.notes.note", noted.append)
    monkeypatch.setattr("slipway.engine.across.of_run", lambda host, names: [])
    assert [*grow._inner(settings)] == []
    assert noted == [f"replica set rs0: {MEMBERS[2]}: hidden by hand; gets no vote"]


def test_the_last_db_host_of_several_waits_until_the_others_are_out_of_the_set(of, monkeypatch):
    host = FakeHost(("db",))
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", host)
    settings = of(db(1, here=True))
    assert place(settings).problems == ()
    host.answers = {FileState: {"kind": "regular file"}, MongodbMember: in_set(*MEMBERS[:2])}
    (problem,) = place(settings).problems
    assert problem.endswith("slipway db remove mongodb-2.internal")
    host.answers[MongodbMember] = in_set(MEMBERS[0], state="primary")
    assert place(settings).problems == ()


@pytest.mark.parametrize(
    ("others", "tls", "said"),
    [
        ((db(2), db(3)), "on", 'need it adopted by itself before: db = ["box"]'),
        ((db(2), db(3)), "off", 'need it adopted by itself before: db = ["box"]'),
        ((peer("a4", "app"),), "on", 'need "allow" until'),
        ((peer("a4", "app"),), "allow", ""),
        ((), "on", ""),
    ],
)
def test_an_open_mongodb_is_adopted_before_others_need_its_key_or_tls(of, monkeypatch, others, tls, said):
    settings = of(db(1, here=True), *others, mongodb_tls=tls)
    monkeypatch.setattr("slipway.tasks.mongodb_members.host", FakeHost(("db",)))
    monkeypatch.setattr("slipway.tasks.mongodb_members.place", lambda settings: Place())
    monkeypatch.setattr("slipway.tasks.mongodb_members.earlier_mongodb", lambda settings: {"state": "open"})
    problems = [one for one in tasks.problems(settings) if "access control" in one]
    assert [said in one for one in problems] == ([True] if said else [])
    # A closed one has been restarted with its password before, and a fresh host has none.
    for state in ({"state": "closed"}, {}):
        monkeypatch.setattr("slipway.tasks.mongodb_members.earlier_mongodb", lambda settings, state=state: state)
        assert [one for one in tasks.problems(settings) if "access control" in one] == []
