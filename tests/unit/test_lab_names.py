"""Networks, names and files of the lab, without a host."""

from __future__ import annotations

import fcntl
import ipaddress
import os
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from slipway.lab import acme, network, nspawn
from slipway.lab.hosts import Host
from slipway.lab.image import DEBIAN_12, recipe_hash
from slipway.lab.instance import MAX_INTERFACE, Instance, folder_lock, write
from slipway.lab.network import Network
from slipway.lab.packages import missing
from slipway.lab.record import roles, shared_secrets
from slipway.lab.seed import known_hosts_with
from slipway.lab.steps import StepFailed
from slipway.secrets import env_file
from slipway.secrets.authority import Authority
from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND, read_authority, read_secrets
from slipway.systems import SYSTEMS


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Instance("demo")


def test_hosts_have_the_roles_that_they_are_given_and_no_others() -> None:
    assert roles("", ["a"]) == {}
    assert roles("lb=a web=b,c", ["a", "b", "c"]) == {"lb": ["a"], "web": ["b", "c"]}
    with pytest.raises(SystemExit, match="found front, d, expected ROLE=HOST"):
        roles("front=a web=d", ["a", "b"])


def test_several_hosts_share_secrets_and_an_authority_that_are_made_once(
    lab: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_LAB", lab.name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.py").touch()
    (tmp_path / "group_data").mkdir()
    settings = tmp_path / "group_data/all.py"
    settings.write_text('backend_secrets = ["JWT_SECRET"]')
    lab.state.mkdir(parents=True, exist_ok=True)
    file = shared_secrets()
    assert Path(file).stat().st_mode & 0o777 == 0o600
    names = ["JWT_SECRET", MONGODB_ADMIN, MONGODB_BACKEND]
    first = read_secrets(file, names, [], "")
    Authority.load(read_authority(file, ""))
    text = Path(file).read_text()
    assert shared_secrets() == file
    assert Path(file).read_text() == text
    # One that the project needs since is added, one that it needs no more would be refused.
    settings.write_text('backend_secrets = ["API_KEY"]')
    names[0] = "API_KEY"
    later = read_secrets(shared_secrets(), names, [], "")
    assert {name: later[name] for name in names[1:]} == {name: first[name] for name in names[1:]}
    assert read_authority(file, "").items() <= env_file.parse(text).items()


def test_connected_hosts_reach_each_other_and_others_do_not() -> None:
    link = 'iifname "br" oifname "br"'
    assert f"{link} drop;" in network.rules("table", "br", "10.213.0.0/24")
    assert f"{link} accept;" in network.rules("table", "br", "10.213.0.0/24", is_apart=False)


def test_the_network_is_the_first_free_one() -> None:
    assert network.free_subnet([]) == ipaddress.ip_network("10.213.0.0/24")
    assert network.free_subnet(["10.213.0.0/24", "192.0.2.0/24"]) == ipaddress.ip_network("10.213.1.0/24")


def test_labs_of_two_users_differ_though_one_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    first = {user: network.first_number(user) for user in (0, 1000, 1001)}
    assert len({*first.values()}) == 3
    assert network.free_subnet([], first[1000]) == ipaddress.ip_network(f"10.213.{first[1000]}.0/24")
    assert network.free_subnet([f"10.213.{number}.0/24" for number in range(128, 256)], 128) == network.free_subnet([])
    # What others use is looked for from there on.
    tried: list[int] = []

    class Free:
        def __enter__(self) -> None: ...
        def __exit__(self, *exception: object) -> None: ...

    def create(address: tuple[str, int]) -> Free:
        tried.append(address[1])
        if len(tried) == 1:
            raise OSError
        return Free()

    monkeypatch.setattr(network.socket, "create_server", create)
    assert network._in_use_on_loopback(255) == ["10.213.255.0/24"]
    assert tried[1] == network.Network(0, is_bridged=False).port("acme")


def test_a_wider_route_or_a_single_address_takes_a_network_too() -> None:
    assert network.free_subnet(["10.213.0.0/23"]) == ipaddress.ip_network("10.213.2.0/24")
    assert network.free_subnet(["10.213.0.77"]) == ipaddress.ip_network("10.213.1.0/24")


def test_a_machine_without_a_free_network_is_told_so() -> None:
    with pytest.raises(StepFailed, match=r"10\.213\.0\.0/16"):
        network.free_subnet(["10.0.0.0/8"])


def test_all_rules_are_in_one_table_that_replaces_itself() -> None:
    rules = network.rules("slipway_lab_demo", "demo-br", "10.213.0.0/24")
    assert rules.index("delete table ip slipway_lab_demo") < rules.index("table ip slipway_lab_demo {")
    assert 'ip saddr 10.213.0.0/24 oifname != "demo-br" masquerade' in rules
    assert 'iifname "demo-br" oifname "demo-br" drop' in rules


def test_a_firewall_that_drops_what_is_forwarded_lets_the_bridge_pass_once() -> None:
    drops = {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}}
    accepts = {"chain": {**drops["chain"], "table": "other", "policy": "accept"}}
    ours = {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 7, "comment": "slipway_lab_demo"}}
    theirs = {"rule": {**ours["rule"], "handle": 8, "comment": "docker"}}
    script = network.passages([drops, accepts, ours, theirs], "slipway_lab_demo", "demo-br").splitlines()
    assert script[0] == "delete rule ip filter FORWARD handle 7"
    assert [line.split(" accept")[0] for line in script[1:]] == [
        'insert rule ip filter FORWARD iifname "demo-br"',
        'insert rule ip filter FORWARD oifname "demo-br" ct state established,related',
    ]
    assert network.passages([accepts, theirs], "slipway_lab_demo", "demo-br") == ""


def test_the_bridge_has_a_fixed_address_of_its_own() -> None:
    assert network.bridge_mac("demo-br") == network.bridge_mac("demo-br") != network.bridge_mac("other-br")
    first = int(network.bridge_mac("demo-br").split(":")[0], 16)
    assert first & 0b11 == 0b10, "locally administered, one station"


@pytest.mark.parametrize("name", ["a", "codementee", "abcdef-ghijklm", "fifteen-letters"])
def test_interface_names_fit_the_kernel(lab: Instance, name: str) -> None:
    machine = nspawn.machine_name(lab, name)
    assert len(nspawn.port_name(machine)) <= MAX_INTERFACE
    assert "--" not in machine, "not a host name"
    assert len(Instance("twelveletter").bridge) <= MAX_INTERFACE


def test_two_labs_may_have_a_host_of_the_same_name(lab: Instance) -> None:
    assert nspawn.machine_name(lab, "codementee") != nspawn.machine_name(Instance("other"), "codementee")


@pytest.mark.parametrize("name", ["Upper", "with space", "../up", "thirteenletters"])
def test_a_lab_with_an_unusable_name_is_refused(name: str) -> None:
    with pytest.raises(StepFailed, match="SLIPWAY_LAB"):
        Instance(name)


def test_the_recipe_hash_changes_with_all_that_goes_into_the_tree() -> None:
    usual = recipe_hash(DEBIAN_12, {})
    assert usual == recipe_hash(DEBIAN_12, {})
    changed = [
        recipe_hash(replace(DEBIAN_12, packages=(*DEBIAN_12.packages, "nano")), {}),
        recipe_hash(replace(DEBIAN_12, setup="true"), {}),
        recipe_hash(replace(DEBIAN_12, system=SYSTEMS["debian-13"]), {}),
        recipe_hash(DEBIAN_12, {"office.crt": "certificate"}),
    ]
    assert len({usual, *changed}) == 5


def test_nspawn_gives_process_1_the_mark_and_the_bridge() -> None:
    argv = nspawn.boot_command(Path("/tree"), "one-1234", "demo-br", "/state:host/one")
    assert argv[0] == "systemd-nspawn"
    assert {"--network-bridge=demo-br", "--setenv=SLIPWAY_LAB_MARK=/state:host/one", "--machine=one-1234"} <= {*argv}


def test_known_hosts_forgets_the_former_keys_of_an_address_only() -> None:
    before = "10.213.0.10 ssh-ed25519 OLD\n10.213.0.1 ssh-ed25519 OTHER\n"
    after = known_hosts_with(before, "10.213.0.10", 22, ["ssh-ed25519 NEW root@one\n", "ssh-rsa RSA root@one\n"])
    assert after == "10.213.0.1 ssh-ed25519 OTHER\n10.213.0.10 ssh-ed25519 NEW\n10.213.0.10 ssh-rsa RSA\n"
    forwarded = known_hosts_with(after, "127.213.0.10", 8022, ["ssh-ed25519 NEW root@one\n"])
    assert forwarded == f"{after}[127.213.0.10]:8022 ssh-ed25519 NEW\n", "as sshd(8) has it for other ports"


def test_ssh_checks_the_host_key_and_offers_one_key_only(lab: Instance) -> None:
    host = Host(
        name="one",
        address="10.213.0.10",
        ssh_port=22,
        user="admin",
        key_file="/key",
        known_hosts_file="/known",
        backend="nspawn",
        system="debian-12",
        domain="one.test",
        state="running",
    )
    argv = host.ssh_argv("id -un")
    assert argv[-2:] == ["lab@10.213.0.10", "sudo -n sh -c 'id -un'"]
    assert {"StrictHostKeyChecking=yes", "UserKnownHostsFile=/known", "IdentitiesOnly=yes"} <= {*argv}
    assert host.domains == ["one.test", "www.one.test"]
    assert host.number == 10


def test_pebble_listens_on_the_bridge_alone_and_issues_for_90_days() -> None:
    bridged = Network(0, is_bridged=True)
    pebble = acme.pebble_config(Path("/acme"), bridged)["pebble"]
    assert isinstance(pebble, dict)
    assert {pebble["listenAddress"], pebble["managementListenAddress"]} == {"10.213.0.1:14000", "10.213.0.1:15000"}
    assert (pebble["httpPort"], pebble["certificateValidityPeriod"]) == (80, 7776000)
    addresses = [word for word in acme.dns_command(bridged) if ":" in word]
    assert addresses
    assert all(address.startswith("10.213.0.1:") for address in addresses)


def test_a_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "file", "first")
    write(tmp_path / "file", "second")
    assert (tmp_path / "file").read_text() == "second"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_lock_names_the_folder_it_holds(tmp_path: Path) -> None:
    with folder_lock(tmp_path) as inode:
        assert inode == tmp_path.stat().st_ino


def test_a_missing_command_is_named_by_its_package() -> None:
    assert missing({"sh": "dash", "no-such-command": "some-package"}) == ["some-package"]


def test_a_folders_lock_is_free_at_once(tmp_path: Path) -> None:
    """Under gevent too, whose own close of the folder comes later: who waits meanwhile must not wait for ever."""
    gevent.get_hub()  # from its first use on it puts closes off
    with folder_lock(tmp_path):
        pass
    another = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(another)


def test_labs_without_root_share_loopback_by_ports_of_their_own() -> None:
    labs = [Network(number, is_bridged=False) for number in range(256)]
    ports = [lab.port(service) for lab in labs for service in network.SERVICES]
    assert len(set(ports)) == len(ports)
    # Above what needs root, below what the kernel gives to clients (ip_local_port_range).
    assert min(ports) >= 1024
    assert max(ports) < 32768
    assert {lab.listen for lab in labs} == {"127.0.0.1"}
