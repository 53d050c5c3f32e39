"""The steps that change a replica set's members, with a fake MongoDB, and what keeps a host from being one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slipway.cli import db
from slipway.engine.outcome import Outcome
from slipway.facts import mongodb_members
from slipway.facts.mongodb_members import Refused, main
from slipway.tasks import mongodb_members as tasks

NAMES = ["a.internal:27017", "b.internal:27017", "c.internal:27017"]
PRIMARY, SECONDARY, DOWN = 1, 2, 8
NEW = {"isreplicaset": True}


class Set:
    """A replica set, and servers that are no members yet. `down` members do not answer."""

    def __init__(self, *members: str, voteless: tuple[str, ...] = (), down: tuple[str, ...] = ()) -> None:
        self.config = {
            "_id": "rs0",
            "version": 4,
            "term": 7,
            "members": [self.member(number, name, name not in voteless) for number, name in enumerate(members)],
            "settings": {"replicaSetId": b"0123456789ab"},
        }
        self.down, self.primary, self.steps, self.busy = {*down}, members[0], [], 0
        # What a server that is no member has: documents, the configuration of another set, another key.
        self.collections: dict[str, int] = {}
        self.foreign: dict[str, dict] = {}
        self.rejects: set[str] = set()
        # Who may become primary, whatever it did a moment ago.
        self.thawed: set[str] = set()

    @staticmethod
    def member(number: int, name: str, votes: bool = True) -> dict:
        return {"_id": number, "host": name, "votes": int(votes), "priority": int(votes)}

    @property
    def names(self) -> list[str]:
        return [one["host"] for one in self.config["members"]]

    def votes(self) -> dict[str, int]:
        return {one["host"]: one["votes"] for one in self.config["members"]}


class Connection:
    """To one of them, by its name or as 127.0.0.1 to the one that the program runs at."""

    def __init__(self, its: Set, here: str, address: str, port: int) -> None:
        self.its, self.name = its, here if address == "127.0.0.1" else f"{address}:{port}"
        if self.name in its.down:
            raise OSError("refused")

    def logs_in(self, user: str, password: str, database: str) -> bool:
        assert (user, password, database) == ("__system", "thekey", "local")
        return self.name not in self.its.rejects

    def run(self, command: dict, database: str = "admin") -> dict:
        its, name = self.its, next(iter(command))
        if name == "hello":
            if self.name not in its.names:
                return {"setName": "own", "hosts": [self.name]} if self.name == "own.internal:27017" else NEW
            is_primary = self.name == its.primary
            known = {"setName": "rs0", "me": self.name, "primary": its.primary, "hosts": its.names}
            return {**known, "isWritablePrimary": is_primary, "secondary": not is_primary}
        if name == "find":
            found = its.config if self.name in its.names else its.foreign.get(self.name)
            return {"ok": 1, "cursor": {"firstBatch": [found] if found else []}}
        if name == "serverStatus":
            return {"ok": 1, "catalogStats": {"collections": its.collections.get(self.name, 0)}}
        if name == "replSetGetConfig":
            return {"ok": 1, "config": {**its.config, "members": [dict(one) for one in its.config["members"]]}}
        if name == "replSetGetStatus":
            states = {
                one: PRIMARY if one == its.primary else DOWN if one in its.down else SECONDARY for one in its.names
            }
            members = [{"name": one, "state": state, "health": int(state != DOWN)} for one, state in states.items()]
            return {"ok": 1, "members": members}
        if name == "getParameter":
            return {"ok": 1, "tlsMode": "preferTLS"}
        if name == "rotateCertificates":
            its.steps.append("rotate")
        if name == "replSetFreeze":
            assert (self.name != its.primary, command[name]) == (True, 0)
            its.thawed.add(self.name)
        if name == "replSetStepDown":
            assert its.thawed == {*its.names} - {its.primary} - its.down
            its.primary = next(one for one in its.names if one not in {*its.down, its.primary})
            its.steps.append("step down")
        if name in ("replSetReconfig", "replSetStepDown", "replSetResizeOplog"):
            # More than what the step itself waits for.
            assert command["maxTimeMS"] == 11_000
        if name == "replSetReconfig":
            assert "force" not in command
            if its.busy:
                its.busy -= 1
                return {"ok": 0, "code": 109, "errmsg": "in progress"}
            new = command["replSetReconfig"]
            assert new["version"] == its.config["version"] + 1
            before = its.votes()
            its.config = {**new, "settings": {"replicaSetId": bytes(new["settings"]["replicaSetId"])}}
            changed = [one for one in {*before, *its.votes()} if before.get(one, 0) != its.votes().get(one, 0)]
            assert len(changed) <= 1, "one voting member a step"
            its.steps.append(its.votes())
        return {"ok": 1}


@pytest.fixture
def step(monkeypatch, tmp_path, capsys):
    """Runs a step on the primary's host, or on another one; what it prints."""
    (tmp_path / "key").write_text("the\nkey\n")

    def run(its: Set, name: str, *arguments: str, here: str = "") -> str:
        here = here or its.primary
        monkeypatch.setattr(
            mongodb_members, "Connection", lambda address, port, seconds: Connection(its, here, address, port)
        )
        main(name, "127.0.0.1", "27017", "1", str(tmp_path / "key"), *arguments)
        return str(capsys.readouterr().out)

    return run


def test_members_are_added_without_a_vote_and_get_one_each_when_they_have_the_data(step):
    its = Set(NAMES[0])
    its.busy = 1
    step(its, "grow", "5", *NAMES[1:])
    a, b, c = NAMES
    assert its.steps == [{a: 1, b: 0}, {a: 1, b: 0, c: 0}, {a: 1, b: 1, c: 0}, {a: 1, b: 1, c: 1}]
    assert "is a member" in step(its, "grow", "5", *NAMES[1:])
    assert len(its.steps) == 4


def test_what_an_interrupted_growth_has_left_is_finished(step):
    its = Set(*NAMES, voteless=(NAMES[2],))
    step(its, "grow", "5", *NAMES[1:])
    assert its.steps == [dict.fromkeys(NAMES, 1)]


@pytest.mark.parametrize("kind", [{"hidden": True}, {"secondaryDelaySecs": 3600}])
def test_a_member_that_was_set_aside_by_hand_stays_without_a_vote(step, kind):
    its = Set(*NAMES, voteless=NAMES[1:])
    its.config["members"][2] |= kind
    assert f"aside {NAMES[2]}={'hidden' if 'hidden' in kind else 'delayed'}" in step(its, "look").splitlines()
    step(its, "grow", "5", *NAMES[1:])
    assert its.steps == [dict.fromkeys(NAMES[:2], 1) | {NAMES[2]: 0}]


def test_only_the_primary_changes_its_set(step):
    its = Set(*NAMES[:2])
    assert step(its, "grow", "5", NAMES[2], here=NAMES[1]) == ""
    assert step(its, "remove", NAMES[0], here=NAMES[1]) == ""
    assert its.steps == []


def test_a_server_with_data_of_its_own_or_of_another_set_is_not_added(step):
    for its_own, said in (
        ({"collections": {NAMES[1]: 3}}, "has data of its own, 3 collections"),
        (
            {"foreign": {NAMES[1]: {"_id": "old", "settings": {"replicaSetId": b"another-one!"}}}},
            "of another replica set",
        ),
        ({"rejects": {NAMES[1]}}, "has another key than this member"),
        ({"down": {NAMES[1]}}, "does not answer from here"),
    ):
        its = Set(NAMES[0])
        vars(its).update(its_own)
        with pytest.raises(SystemExit, match=said):
            step(its, "grow", "5", NAMES[1])
        assert its.steps == []
    with pytest.raises(SystemExit, match=r"is in a replica set of its own, 'own' with own\.internal:27017"):
        step(Set(NAMES[0]), "grow", "5", "own.internal:27017")
    # One that was a member before has the data of this set.
    its = Set(NAMES[0])
    its.foreign, its.collections = {NAMES[1]: its.config}, {NAMES[1]: 3}
    step(its, "grow", "5", NAMES[1])
    assert its.votes() == dict.fromkeys(NAMES[:2], 1)


def test_a_step_that_would_lose_the_majority_is_refused(step):
    lame = Set(*NAMES, down=(NAMES[1],))
    with pytest.raises(
        SystemExit, match=r"remove c.internal:27017: 1 of 2 voting members would be well.*not well: b\."
    ):
        step(lame, "remove", NAMES[2])
    with pytest.raises(SystemExit, match="restart: 1 of 3 voting members would be well"):
        step(lame, "leave")
    with pytest.raises(SystemExit, match="restart: 1 of 3 voting members would be well"):
        step(lame, "leave", here=NAMES[2])
    assert lame.steps == []
    # The dead one may go.
    step(lame, "remove", NAMES[1])
    assert lame.names == [NAMES[0], NAMES[2]]


def test_the_primary_hands_over_before_it_leaves_and_a_secondary_just_leaves(step):
    its = Set(*NAMES)
    assert step(its, "leave", here=NAMES[1]) == ""
    assert its.steps == []
    assert "primary: a.internal:27017 -> b.internal:27017" in step(its, "leave", here=NAMES[0])
    assert its.primary == NAMES[1]
    # There is nobody to hand over to.
    alone = Set(NAMES[0])
    assert step(alone, "leave") == ""
    assert step(Set(*NAMES[:2], voteless=(NAMES[1],)), "leave") == ""


def test_the_primary_itself_is_not_removed(step):
    with pytest.raises(SystemExit, match="is the primary: hand over first"):
        step(Set(*NAMES), "remove", NAMES[0])


def test_a_member_that_is_down_is_missed_by_nobody_and_tells_so(step):
    its = Set(*NAMES, down=(NAMES[1],))
    assert step(its, "look", here=NAMES[1]) == step(its, "leave", here=NAMES[1]) == "state=away\n"
    with pytest.raises(SystemExit, match="MongoDB does not answer"):
        step(its, "grow", "5", NAMES[2], here=NAMES[1])


def test_it_looks_at_the_set_and_its_data(step):
    found = step(Set(*NAMES, voteless=(NAMES[2],)), "look")
    assert {
        "state=primary",
        "set=rs0",
        "tls=preferTLS",
        f"me={NAMES[0]}",
        f"member {NAMES[1]}=1",
        f"member {NAMES[2]}=0",
    } <= {*found.splitlines()}
    assert f"id={b'0123456789ab'.hex()}" in found
    assert step(Set(NAMES[0]), "look", here=NAMES[1]).startswith("state=new\nset=\n")
    # One without access control accepts no key, and tells what it has.
    its = Set(NAMES[0])
    its.rejects, its.collections = {NAMES[0]}, {NAMES[0]: 5}
    assert "collections=5\n" in step(its, "look")


def test_each_change_has_a_time_limit_of_mongodbs_own(step):
    its = Set(*NAMES)
    step(its, "resize", "990")
    step(its, "stepdown")
    step(its, "remove", NAMES[2], here=its.primary)
    assert its.steps[0] == "step down"
    assert len(its.steps) == 2


def test_it_reads_its_certificate_anew(step):
    its = Set(*NAMES)
    step(its, "rotate", here=NAMES[1])
    assert its.steps == ["rotate"]


def test_a_member_is_ready_as_primary_secondary_or_in_no_set():
    class Member:
        state = "waiting"
        connection = None

        def log_in(self):
            pass

    member = Member()
    for state in ("primary", "secondary", "new"):
        member.state = state
        mongodb_members.check_ready(member)
    member.state = "waiting"
    member.connection = type("Asked", (), {"run": lambda self, command, database: {"ok": 1}})()
    with pytest.raises(Refused, match="MongoDB is waiting in its replica set"):
        mongodb_members.check_ready(member)
    # It gets its data.
    member.connection = type("Asked", (), {"run": lambda self, command, database: {"ok": 1, "initialSyncStatus": {}}})()
    mongodb_members.check_ready(member)


def test_an_address_that_the_host_does_not_have_is_refused_before_anything_changes(settings_with, monkeypatch):
    monkeypatch.setattr(tasks, "host", SimpleNamespace(get_fact=lambda fact: {"addresses": "192.0.2.1 10.0.0.1"}))
    monkeypatch.setattr(tasks, "place", lambda settings: tasks.Place())
    assert tasks.problems(settings_with(mongodb_bind="203.0.113.9")) == [
        "mongodb_bind: found 203.0.113.9, which this host does not have, need one that MongoDB can listen on:"
        " 192.0.2.1, 10.0.0.1"
    ]
    for address in ("127.0.0.1", "0.0.0.0", "10.0.0.1"):
        assert tasks.problems(settings_with(mongodb_bind=address)) == []


def test_a_replaced_members_new_address_reaches_all_hosts(run, monkeypatch):
    """Those with a backend have it in /etc/hosts."""
    done: list[object] = []
    monkeypatch.setattr(db, "_remove", lambda console, host, *rest: done.append(host))
    monkeypatch.setattr(db, "apply", lambda **given: done.append((given["environment"], given["limit"])))
    run(Outcome([], [], 0, 0.0), "db", "replace", "db3", "lab", "--yes")
    assert done == ["db3", ("lab", ())]
