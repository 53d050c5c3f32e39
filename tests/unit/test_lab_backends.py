"""Virtual machines, seeds and layers of the lab, without a host."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import yaml

from slipway.lab import image, packages, qemu
from slipway.lab.hosts import Kind
from slipway.lab.layers import Layers
from slipway.lab.seed import Seed
from slipway.lab.steps import Progress, StepFailed


@pytest.fixture
def seed() -> Seed:
    return Seed(
        name="one",
        user="root",
        domains=("one.test", "www.one.test"),
        address="10.0.2.15",
        network="[Match]\nName=en*\n",
        resolver="nameserver 10.0.2.3\n",
        public_key="ssh-ed25519 AAAA slipway-lab\n",
        host_keys={"ssh_host_ed25519_key": "PRIVATE\n", "ssh_host_ed25519_key.pub": "ssh-ed25519 BBBB\n"},
        authority="-----BEGIN CERTIFICATE-----\n",
        sites_authority="-----BEGIN CERTIFICATE-----\n",
    )


def test_a_seed_has_private_keys_for_their_owner_alone(seed: Seed) -> None:
    with tarfile.open(fileobj=io.BytesIO(seed.archive())) as archive:
        members = {member.name: member for member in archive}
    assert members["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
    assert members["root/.ssh/authorized_keys"].mode == 0o600
    assert members["home/lab/.ssh/authorized_keys"].uid == 1000
    assert members["etc/hosts"].mode == 0o644


def test_cloud_init_gets_the_same_keys_and_keeps_them(seed: Seed) -> None:
    text = seed.cloud_config()
    config = yaml.safe_load(text)
    assert text.startswith("#cloud-config\n")
    assert config["ssh_deletekeys"] is False
    files = {file["path"]: file for file in config["write_files"]}
    key = files["/etc/ssh/ssh_host_ed25519_key"]
    assert (base64.b64decode(key["content"]), key["permissions"]) == (b"PRIVATE\n", "0600")
    assert [user["name"] for user in config["users"]] == ["lab", "root"]


def make(layers: Layers, content: str) -> None:
    with layers.making() as new:
        (new / "disk").write_text(content)


def test_layers_stack_and_go_back(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    make(layers, "first")
    assert layers.below() == []
    layers.snapshot("a")
    make(layers, "second")
    layers.snapshot("b")
    make(layers, "third")
    assert [path.name for path in layers.below()] == ["b", "a"]
    assert layers.labels() == ["a", "b"]
    layers.restore("a")
    make(layers, "other")
    assert [path.name for path in layers.below()] == ["a"]
    assert layers.labels() == ["a", "b"], "what stands above is kept"


def test_a_snapshot_that_was_cut_off_leaves_the_layer_as_it_was(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    make(layers, "first")
    (tmp_path / "top").write_text("never-taken")  # the label is written first
    assert layers.below() == []
    assert (layers.current / "disk").read_text() == "first"


def test_a_layer_that_was_cut_off_is_none(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    with pytest.raises(KeyboardInterrupt), layers.making():
        raise KeyboardInterrupt
    assert not layers.current.exists()
    make(layers, "first")
    assert (layers.current / "disk").read_text() == "first"


def test_without_root_what_is_missing_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepFailed, match="sudo apt install no-qemu") as error:
        packages.install(Progress(), {"no-such-qemu": "no-qemu", "sh": "dash"})
    assert "dash" not in str(error.value)


@pytest.mark.parametrize(
    ("uid", "kind", "backend"),
    [
        (0, Kind(), "nspawn"),
        (1000, Kind(), "qemu"),
        (0, Kind(backend="qemu"), "qemu"),
        (0, Kind(image=Path("cloud.qcow2")), "qemu"),
        (1000, Kind(backend="nspawn"), None),
        (0, Kind(backend="nspawn", image=Path("cloud.qcow2")), None),
    ],
)
def test_auto_takes_containers_with_root_and_machines_without(
    monkeypatch: pytest.MonkeyPatch, uid: int, kind: Kind, backend: str | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if backend:
        assert kind.chosen_backend == backend
    else:
        with pytest.raises(StepFailed, match="--backend qemu"):
            _ = kind.chosen_backend


def test_kvm_is_tried_once_and_remembered_until_the_machine_reboots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, tries = tmp_path / "kvm", []
    device.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "slipway").mkdir()
    monkeypatch.setattr(qemu, "KVM", device)
    monkeypatch.setattr(qemu, "runs_a_kernel", lambda *arguments: tries.append(arguments) is None)
    kernel = image.Disk(tmp_path)
    assert [qemu.accelerator(kernel) for _ in range(3)] == ["kvm"] * 3
    assert len(tries) == 1
    memory = tmp_path / "slipway/accelerator.json"
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "boot": "another"}))
    qemu.accelerator(kernel)
    assert len(tries) == 2
    device.unlink()
    assert qemu.accelerator(kernel) == "tcg", "there is none to try"


def test_a_cloud_image_boots_from_its_own_disk_and_not_from_the_seed() -> None:
    forwards = [("127.213.0.10", 8022, 22)]
    own = qemu.boot_command(Path("d"), Path("s"), image.Disk(Path("base")), forwards, "tcg")
    cloud = qemu.boot_command(Path("d"), Path("s"), None, forwards, "kvm")
    assert "base/vmlinuz" in own
    assert "-kernel" not in cloud
    assert "virtio-blk-pci,drive=disk,bootindex=0" in cloud
    assert any("hostfwd=tcp:127.213.0.10:8022-:22" in part for part in own)
    # A guest's flush must reach the disk: the other modes would make a power cut a fiction.
    assert all(any("cache=writeback" in part for part in command) for command in (own, cloud))
