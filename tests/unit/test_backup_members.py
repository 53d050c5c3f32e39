"""Backups and restores where MongoDB has several members: by a set of the test's own, which knows its collections by
name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from slipway.backups import host, members, mongo, restoring
from slipway.backups.host import Facts, Failed, read_state
from slipway.backups.oplog import ARRAY
from slipway.facts.mongodb_protocol import Typed, encode

HERE, OTHER = "mongodb-1.internal:27017", "mongodb-2.internal:27017"


class Set:
    """What all members have: documents by collection; and who is the primary."""

    def __init__(self, primary: str = HERE, fails_at: str = "", **data: str) -> None:
        self.primary, self.fails_at = primary, fails_at
        self.data = {name.replace("__", "."): what for name, what in data.items()}
        self.asked: list[str] = []

    def ask(self, command, database="admin"):
        verb = next(iter(command))
        self.asked.append(verb)
        if verb == "hello":
            return {"setName": "rs0", "hosts": [HERE, OTHER], "me": HERE, **self.as_seen()}
        if verb == "replSetStepDown":
            if self.fails_at == verb:
                raise Failed("no electable secondaries caught up")
            self.primary = OTHER
        if verb == "renameCollection":
            if command["to"] == self.fails_at:
                self.fails_at = ""
                raise Failed("not primary")
            self.data[command["to"]] = self.data.pop(command["renameCollection"])
        if verb == "drop":
            del self.data[f"{database}.{command['drop']}"]
        return {"ok": 1}

    def as_seen(self):
        return {"primary": self.primary, "isWritablePrimary": self.primary == HERE}

    def collections(self):
        return [tuple(name.split(".", 1)) for name in self.data]


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    monkeypatch.setattr(host, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(host, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(members, "PATIENCE_SECONDS", 0)
    return Facts(**dict.fromkeys(Facts._fields, ""))._replace(admin="admin", address="127.0.0.1", port=27017)


def live(monkeypatch, found: Set) -> Set:
    monkeypatch.setattr(mongo, "live", lambda facts, member=None, patience=0: found)
    return found


def restored(**more: str) -> Set:
    """A set beside whose collections copies of three are complete."""
    present = {"shop__orders": "new orders", "shop__carts": "new carts", "blog__posts": "new posts"}
    copies = {"shop__orders.slipway_restored": "orders", "shop__users.slipway_restored": "users"}
    return Set(**{**present, **copies, **more})


def test_restored_collections_take_the_place_of_all_others(facts, monkeypatch):
    found = live(monkeypatch, restored())
    members.replace_all(facts, ["shop.orders", "shop.users"])
    assert found.data == {"shop.orders": "orders", "shop.users": "users"}
    assert not read_state()["exchanging"]


@pytest.mark.parametrize("where", ["shop.carts.slipway_replaced", "shop.orders", "shop.users"])
def test_an_exchange_that_fails_anywhere_leaves_the_data_as_they_were(facts, monkeypatch, where):
    found = live(monkeypatch, restored())
    before = {name: what for name, what in found.data.items() if not name.endswith("_restored")}
    found.fails_at = where
    with pytest.raises(Failed, match="not primary"):
        members.replace_all(facts, ["shop.orders", "shop.users"])
    assert found.data == before
    assert not read_state()["exchanging"]


def test_a_killed_exchange_is_taken_back(facts, monkeypatch):
    moved = Set(
        **{"shop__orders": "orders", "shop__orders.slipway_replaced": "new orders", "shop__users": "users"},
        **{"shop__carts.slipway_replaced": "new carts"},
    )
    found = live(monkeypatch, moved)
    host.change_state(exchanging={"is_done": False, "new": ["shop.users"]})
    restoring.reopen(facts)
    assert found.data == {"shop.orders": "new orders", "shop.carts": "new carts"}
    # One that was done is completed.
    found.data |= {"shop.carts.slipway_replaced": "old"}
    host.change_state(exchanging={"is_done": True, "new": []})
    restoring.reopen(facts)
    assert found.data == {"shop.orders": "new orders", "shop.carts": "new carts"}


class Expiring(Set):
    """One that removes expired documents; its copies lack one where it does."""

    def __init__(self, **data):
        super().__init__(**data)
        self.removes = True

    def ask(self, command, database="admin"):
        if "getParameter" in command:
            return {"ttlMonitorEnabled": self.removes}
        if "setParameter" in command:
            self.removes = command["ttlMonitorEnabled"]
            return {"ok": 1}
        return super().ask(command, database)

    def hashed(self, database, name):
        return [1, self.data[f"{database}.{name}"] + (" but one" if self.removes else "")]


def test_copies_are_compared_before_mongodb_removes_what_has_expired(facts, monkeypatch):
    found = live(monkeypatch, Expiring(shop__orders="new"))

    def copy(facts, place, scratch, name):
        found.data[f"{name}.slipway_restored"] = "old"

    monkeypatch.setattr(members, "_copy", copy)
    scratch = SimpleNamespace(hashed=lambda database, name: [1, "old"])
    members.copy_beside(facts, scratch, ["shop.orders"])
    assert (found.removes, read_state()["keeps_expired"]) == (True, None)
    # An owner who has switched it off finds it so.
    found.removes = False
    members.copy_beside(facts, scratch, ["shop.orders"])
    assert not found.removes


def test_mongodb_removes_expired_documents_again_after_a_restore_that_was_killed(facts, monkeypatch):
    found = live(monkeypatch, Expiring(shop__orders="new"))
    found.removes = False
    host.change_state(keeps_expired={"member": ["mongodb-2.internal", 27017]})
    restoring.reopen(facts)
    assert (found.removes, read_state()["keeps_expired"]) == (True, None)


def test_a_collection_is_named_whole_and_a_database_names_all_of_its_own():
    there = ["shop.orders", "shop.orders.items", "shops.carts"]
    assert members.of(there, "shop.orders") == ["shop.orders"]
    assert members.of(there, "shop") == ["shop.orders", "shop.orders.items"]
    with pytest.raises(Failed, match=r"found no shop\.order in the backup; available: shop\.orders, "):
        members.of(there, "shop.order")
    assert members.not_copied(Listing(shop={"heat": {"kind": "timeseries", "options": {}}}), "shop") == ["shop.heat"]
    assert members.not_copied(Listing(shop={"same": view("a")}), "shop.orders") == []


def test_a_backup_leaves_the_primary_where_another_member_can_take_over(facts, monkeypatch, capsys):
    found = live(monkeypatch, Set())
    members.hand_over(facts)
    assert found.primary == OTHER
    found.asked.clear()
    members.hand_over(facts)
    assert "replSetStepDown" not in found.asked
    found.primary, found.fails_at = HERE, "replSetStepDown"
    capsys.readouterr()
    members.hand_over(facts)
    assert capsys.readouterr().out == "The backup reads the primary: no electable secondaries caught up\n"


def test_a_restore_writes_to_the_primary_by_tls_where_members_have_certificates(facts, monkeypatch):
    reached: list[object] = []

    def logged_in(facts, member=None):
        reached.append(member)
        return Set(primary=OTHER)

    monkeypatch.setattr(mongo, "live", logged_in)
    assert members.primary(facts).uri == f"mongodb://admin@{OTHER}/?authSource=admin&directConnection=true"
    place = members.primary(facts._replace(authority="/etc/slipway/ca.pem"))
    assert place.uri.endswith("&tls=true&tlsCAFile=%2Fetc%2Fslipway%2Fca.pem")
    assert reached[-1] == ("mongodb-2.internal", 27017)
    monkeypatch.setattr(mongo, "live", lambda facts, member=None: Set())
    assert members.primary(facts).uri.startswith("mongodb://admin@127.0.0.1:27017/?")
    monkeypatch.setattr(mongo, "live", lambda facts, member=None: Set(primary=""))
    with pytest.raises(Failed, match="has no primary"):
        members.primary(facts)


class Listing(Set):
    """A server with views or time series, by database."""

    def __init__(self, **listed: dict[str, dict]) -> None:
        super().__init__()
        self.listed, self.commands = listed, []
        self.connection = SimpleNamespace(answer=self.answer)

    def ask(self, command, database="admin"):
        if "listDatabases" in command:
            return {"databases": [{"name": name} for name in ("admin", *self.listed)]}
        self.commands.append((database, command))
        return {"ok": 1}

    def answer(self, command, database):
        found = self.listed.get(database, {})
        batch = [
            {"name": name, "type": options["kind"], "options": options["options"]}
            for name, options in found.items()
            if options["kind"] == command["filter"]["type"]
        ]
        return encode({"cursor": {"id": 0, "firstBatch": batch}, "ok": 1.0})


def view(of: str) -> dict:
    return {"kind": "view", "options": {"viewOn": of, "pipeline": [{"$match": {"n": 1}}]}}


def test_views_are_those_of_the_backup():
    server = Listing(shop={"same": view("a"), "other": view("a"), "newer": view("a")})
    members.replace_views(server, Listing(shop={"same": view("a"), "other": view("b"), "older": view("c")}))
    assert [(database, *next(iter(command.items()))) for database, command in server.commands] == [
        *(("shop", "drop", name) for name in ("other", "newer")),
        *(("shop", "create", name) for name in ("other", "older")),
    ]
    made = server.commands[-1][1]
    assert encode({"viewOn": made["viewOn"], "pipeline": made["pipeline"]}) == encode(view("c")["options"])
    assert (made["pipeline"].kind, isinstance(made["viewOn"], Typed)) == (ARRAY, True)


def test_time_series_are_refused_before_anything_changes():
    with pytest.raises(Failed, match=r"shop\.heat: time series, which MongoDB does not rename"):
        members.check_kinds(Listing(shop={"heat": {"kind": "timeseries", "options": {}}}))
    members.check_kinds(Listing(shop={"same": view("a")}))
