"""Copies of a lab's hosts, without a host."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from slipway.lab import convert, hosts, snapshots
from slipway.lab.cli import lab as cli
from slipway.lab.hosts import addresses
from slipway.lab.instance import Instance
from slipway.lab.layers import Layers
from slipway.lab.record import Host, recorded_hosts
from slipway.lab.seed import Seed
from slipway.lab.steps import StepFailed
from slipway.systems import SYSTEMS

HOST = Host(
    name="one",
    address="10.213.0.10",
    ssh_port=22,
    user="root",
    key_file="/key",
    known_hosts_file="/known",
    backend="nspawn",
    system="debian-12",
    domain="one.test",
    state="stopped",
)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """A lab that knows a container with two snapshots, one on the other, and a virtual machine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("SLIPWAY_LAB", "demo")
    lab = Instance()
    lab.state.mkdir(parents=True)
    (lab.state / "network.json").write_text('{"subnet": "10.213.0.0/24"}')
    for host in (HOST, replace(HOST, name="vm", backend="qemu", address="127.213.0.11")):
        folder = lab.hosts_dir / host.name
        folder.mkdir(parents=True)
        (folder / "host.json").write_text(json.dumps(asdict(host)))
        (folder / "base").write_text(str(tmp_path))
    layers = Layers(lab.hosts_dir / "one")
    for label in ("bare", "provisioned"):
        with layers.making():
            pass
        layers.snapshot(label)
    return lab


def copied(lab: Instance, name: str) -> Host:
    return next(host for host in recorded_hosts(lab) if host.name == name)


def test_a_copy_has_an_address_of_its_own_and_the_originals_domain(lab: Instance) -> None:
    snapshots.copy("provisioned", HOST, ["two", "three"])
    two, three = copied(lab, "two"), copied(lab, "three")
    assert (two.address, three.address) == ("10.213.0.12", "10.213.0.13")
    assert (two.copy_of, two.backend, two.domain) == ("one:provisioned", "nspawn", "one.test")
    below = Layers(lab.hosts_dir / "two").below()
    assert [path.resolve().relative_to(lab.hosts_dir / "one/snapshots").name for path in below] == [
        "provisioned",
        "bare",
    ]


def test_a_copy_as_a_virtual_machine_stands_on_the_disk_made_of_the_snapshot(
    lab: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(convert, "machine", lambda *arguments: made.append(arguments) or Path("/converted"))
    monkeypatch.setattr(hosts.packages, "install", lambda *arguments: None)
    snapshots.copy("provisioned", HOST, ["two"], backend="qemu")
    two = copied(lab, "two")
    assert (two.backend, two.address, two.domain) == ("qemu", "127.213.0.12", "one.test")
    assert (lab.hosts_dir / "two/base").read_text() == "/converted"
    assert Layers(lab.hosts_dir / "two").below() == []
    assert [layer.name for layer in made[0][1]] == ["provisioned", "bare"]


def test_a_copy_that_is_there_stays_and_a_name_that_is_taken_is_reported(lab: Instance) -> None:
    snapshots.copy("provisioned", HOST, ["two"])
    snapshots.copy("provisioned", HOST, ["two", "three"])
    assert copied(lab, "two").address == "10.213.0.12"
    for label, name in (("bare", "two"), ("provisioned", "vm"), ("provisioned", "one")):
        with pytest.raises(StepFailed, match=f"the name {name} is taken.*slipway lab down --name {name}"):
            snapshots.copy(label, HOST, ["four", name])
    assert "four" not in {host.name for host in recorded_hosts(lab)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "none:provisioned"], "there is no such host; existing: one, vm"),
        (["--from", "one:nosuch"], "Copy one:nosuch: there is no such snapshot; there are: bare, provisioned"),
        (["--from", "vm:provisioned"], "vm is a virtual machine; only a container can be copied"),
        (["--from", "one"], "found --from one, expected HOST:LABEL"),
        (["--from", "one:bare", "--name", "Two"], "found 'Two', expected at most 15"),
        (["--from", "one:bare", "--os", "debian-12", "--disk", "5"], "--os, --disk can't be combined with --from"),
    ],
)
def test_what_can_not_be_copied_is_reported(lab: Instance, arguments: list[str], told: str) -> None:
    name = [] if "--name" in arguments else ["--name", "two"]
    done = CliRunner().invoke(cli, ["up", *name, *arguments])
    assert told in (done.output if done.exit_code == 2 else str(done.exception))
    assert {host.name for host in recorded_hosts(lab)} == {"one", "vm"}


def test_a_copy_needs_a_name(lab: Instance) -> None:
    done = CliRunner().invoke(cli, ["up", "--from", "one:bare"])
    assert "--from needs the name of the new host: --name NEW" in done.output


def test_a_domain_leads_to_the_original_and_to_a_copy_when_that_is_gone() -> None:
    copy = replace(HOST, name="zebra", address="10.213.0.12", copy_of="one:provisioned")
    both = {"one.test": "10.213.0.10", "www.one.test": "10.213.0.10"}
    assert addresses([HOST, copy]) == addresses([copy, HOST]) == both
    assert addresses([copy])["one.test"] == "10.213.0.12"


def test_the_seed_of_a_copy_leaves_its_users_and_its_trust_alone() -> None:
    seed = Seed(
        name="two",
        user="admin",
        domains=("one.test", "www.one.test"),
        address="10.0.2.15",
        network="[Match]\n",
        resolver="nameserver 10.0.2.3\n",
        public_key="ssh-ed25519 AAAA slipway-lab\n",
        host_keys={"ssh_host_ed25519_key": "PRIVATE\n"},
        authority="-----BEGIN CERTIFICATE-----\n",
        sites_authority="-----BEGIN CERTIFICATE-----\n",
        is_copy=True,
    )
    with tarfile.open(fileobj=io.BytesIO(seed.archive())) as archive:
        members = {member.name: member.size for member in archive}
    assert {"etc/hostname", "etc/hosts", "etc/systemd/network/10-lab.network"} < set(members)
    assert "etc/ssh/ssh_host_ed25519_key" in members
    assert not [name for name in members if "authorized_keys" in name or "ca-certificates" in name]
    assert members["usr/local/sbin/slipway-lab-furnish"] == 0


def test_a_conversion_installs_a_kernel_starts_nothing_and_leaves_the_disk_alone() -> None:
    script = convert.script(Path("/new"), [Path("/b/upper"), Path("/a/upper"), Path("/tree")], SYSTEMS["debian-12"], 6)
    assert "lowerdir=/b/upper:/a/upper:/tree,upperdir=/new/upper,workdir=/new/work" in script
    steps = ["policy-rc.d; chmod 755", "linux-image-cloud-amd64", "rm root/usr/sbin/policy-rc.d", "mkfs.ext4", "rm -rf"]
    assert sorted(steps, key=script.index) == steps
    assert "disk.img 6144M" in script
