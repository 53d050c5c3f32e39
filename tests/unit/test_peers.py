"""Which other servers a server of the inventory knows."""

from __future__ import annotations

from types import SimpleNamespace

from pyinfra.api import Inventory

from slipway.settings.of_host import shared_repositories
from slipway.settings.peers import peers_of


def test_a_server_knows_those_of_the_inventory_with_their_roles_and_addresses():
    named = ("one.invalid", {"private_address": "10.0.0.1", "ssh_hostname": "192.0.2.1"})
    connected, addressed, unknown = (
        ("two.invalid", {"ssh_hostname": "192.0.2.2"}),
        ("192.0.2.3", {}),
        ("four.invalid", {}),
    )
    inventory = Inventory(
        ([named, connected, addressed, unknown], {}),
        web=([named], {}),
        app=([connected, addressed], {"mongodb_port": 27018}),
        db=([named, unknown], {}),
        backups=(["five.invalid"], {}),
    )

    peers = peers_of(inventory.get_host("two.invalid"))

    assert [(peer.name, peer.roles, peer.address) for peer in peers] == [
        ("one.invalid", ("web", "db"), "10.0.0.1"),
        ("two.invalid", ("app",), "192.0.2.2"),
        ("192.0.2.3", ("app",), "192.0.2.3"),
        ("four.invalid", ("db",), ""),
    ]
    assert [peer.given.get("mongodb_port") for peer in peers] == [None, 27018, 27018, None]


def test_a_whole_server_with_a_domain_of_its_own_stands_in_the_inventory_alone():
    own = [("one.invalid", {"site_domain": "one.example"}), ("two.invalid", {"site_domain": "two.example"})]
    part = ("three.invalid", {"site_domain": "two.example"})
    inventory = Inventory(([*own, part], {}), web=([*own], {}), app=([*own, part], {}), db=([*own], {}))

    known = {
        name: [peer.name for peer in peers_of(inventory.get_host(name))]
        for name in ("one.invalid", "two.invalid", "three.invalid")
    }

    assert known == {
        "one.invalid": ["one.invalid"],
        "two.invalid": ["two.invalid", "three.invalid"],
        "three.invalid": ["two.invalid", "three.invalid"],
    }


def test_servers_of_two_sets_have_no_repository_in_common():
    places = {"near": "/srv/backup", "far": "rest:https://backup.example/shop"}
    own = [
        ("one.invalid", {"site_domain": "one.example", "backup_repositories": places}),
        ("two.invalid", {"site_domain": "two.example", "backup_repositories": dict(places)}),
        ("off.invalid", {"site_domain": "three.example"}),
    ]
    inventory = Inventory((own, {}), web=(own, {}), app=(own, {}), db=(own, {}))

    def problems(name: str) -> list[str]:
        host = inventory.get_host(name)
        given = SimpleNamespace(backup_repositories=places, peers=peers_of(host))
        return shared_repositories(given, host)

    (problem,) = problems("one.invalid")
    assert problem.startswith(
        "backup_repositories: found rest:https://backup.example/shop of two.invalid here, too, need"
    )
    given = Inventory((own, {}), web=(own, {}), app=(own, {}), db=(own, {}), override_data={"backup_repositories": {}})
    assert (
        shared_repositories(SimpleNamespace(backup_repositories=places, peers=()), given.get_host("one.invalid")) == []
    )
    # The members of a set have the same.
    for _, data in own:
        data["site_domain"] = "one.example"
    inventory = Inventory((own, {}), web=(own, {}), app=(own, {}), db=(own, {}))
    assert problems("one.invalid") == []
