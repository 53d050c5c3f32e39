"""The lab's guarantees for virtual machines, snapshots and other systems, in a lab of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.lab import hosts, image, record, snapshots
from slipway.lab.instance import Instance
from slipway.lab.qemu import KVM_TRY_SECONDS, runs_a_kernel
from slipway.systems import SYSTEMS
from support import cloud_image
from support.lab_commands import OWN_LAB, addresses_of, cli, on, output, own_lab, reachable, traces
from support.lab_host import PROJECT
from support.waiting import wait_until

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def lab() -> Iterator[Instance]:
    with own_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def both(lab: Instance) -> list[hosts.Host]:
    """A container and a virtual machine in one lab."""
    for name, backend in (("box", "nspawn"), ("vm", "qemu")):
        done = cli("up", "--name", name, "--backend", backend)
        assert done.returncode == 0, done.stderr
    return hosts.status()


@pytest.fixture
def vm(both: list[hosts.Host]) -> hosts.Host:
    return hosts.find("vm")


def test_a_machine_has_the_distributions_kernel_over_a_forwarded_port(vm: hosts.Host, lab: Instance) -> None:
    assert on(vm, "uname -r").stdout.strip().endswith("-cloud-amd64")
    assert on(vm, "systemd-detect-virt --container").stdout == "none\n"
    assert vm.address.startswith("127.")
    assert "Linux version" in lab.log_end("host/vm"), "the kernel's log is not kept"


def test_a_machine_has_all_of_its_disk_and_gets_out(vm: hosts.Host) -> None:
    assert int(on(vm, "df --output=size -BG / | tail -1").stdout.strip(" G\n")) >= vm.disk_gb - 1
    result = on(vm, "apt-get update -q --error-on=any", timeout=300)
    assert result.returncode == 0, result.stderr
    assert trusts_the_acme_directory(vm)


def trusts_the_acme_directory(host: hosts.Host) -> bool:
    server = record.pyinfra_data(host)["tls_acme_server"].removeprefix("https://").removesuffix("/dir")
    check = f"-brief -verify_return_error -verify_ip {server.split(':')[0]} < /dev/null"
    return on(host, f"openssl s_client -connect {server} {check}").returncode == 0


def test_a_power_cut_loses_only_what_had_not_reached_the_disk(vm: hosts.Host) -> None:
    before = on(vm, "cat /proc/sys/kernel/random/boot_id").stdout
    # Without the kernel's own writes, after 30 s: on a busy machine it takes as long until the power is cut.
    on(vm, "sysctl -q vm.dirty_writeback_centisecs=0; echo kept > /root/kept; sync; echo lost > /root/lost")
    assert cli("crash", "--name", "vm").returncode == 0
    assert hosts.find("vm").state == "stopped"
    done = cli("up", "--name", "vm")
    assert done.returncode == 0, done.stderr
    assert on(vm, "cat /proc/sys/kernel/random/boot_id").stdout != before
    assert on(vm, "cat /root/kept; [ -s /root/lost ] || echo gone").stdout == "kept\ngone\n"


@pytest.mark.parametrize("name", ["box", "vm"])
def test_a_host_goes_back_to_its_snapshot(both: list[hosts.Host], name: str) -> None:
    running = cli("snapshot", "clean", "--name", name)
    assert running.returncode == 1
    assert f"it is running; type: slipway lab stop --name {name}" in running.stderr
    assert cli("stop", "--name", name).returncode == 0
    assert cli("snapshot", "clean", "--name", name).returncode == 0
    again = cli("snapshot", "clean", "--name", name)
    assert "this label exists already" in again.stderr
    assert cli("up", "--name", name).returncode == 0
    host = hosts.find(name)
    assert host.snapshots == ("clean",)
    on(host, "touch /root/later; rm /etc/motd; mkdir /etc/later; sync")
    unknown = cli("restore", "nosuch", "--name", name)
    assert "there is no such snapshot; there are: clean" in unknown.stderr
    assert reachable(host), "a snapshot that is not there cost the host its power"
    done = cli("restore", "clean", "--name", name)
    assert done.returncode == 0, done.stderr
    assert on(host, "ls -d /root/later /etc/later /etc/motd 2>/dev/null").stdout == "/etc/motd\n"


def test_a_copy_is_a_separate_host_and_the_original_keeps_its_domain(
    both: list[hosts.Host],
    lab: Instance,
) -> None:
    box = snapshot_of_box()
    done = cli("up", "--name", "copy", "--from", "box:kept")
    assert done.returncode == 0, done.stderr
    copy = hosts.find("copy")
    assert on(copy, "hostname; ls /root/of-box").stdout == "copy\n/root/of-box\n"
    assert (copy.domain, copy.copy_of) == (box.domain, "box:kept")
    identity = "cat /etc/ssh/ssh_host_*_key.pub | cut -d ' ' -f 2"
    assert not set(on(copy, identity).stdout.split()) & set(on(box, identity).stdout.split())
    assert addresses_of(lab, box.domain) == [box.address]
    again = cli("up", "--name", "copy", "--from", "box:kept")
    assert "copy is up already" in again.stderr
    assert cli("down", "--name", "copy").returncode == 0
    assert addresses_of(lab, box.domain) == [box.address]


def snapshot_of_box() -> hosts.Host:
    """The container, running, with a snapshot "kept"."""
    box = hosts.find("box")
    if "kept" not in box.snapshots:
        on(box, "touch /root/of-box")
        hosts.stop("box")
        snapshots.take("kept", "box")
        hosts.up(["box"])
    return box


@pytest.mark.parametrize("seconds", [1, 3, 6])
def test_a_snapshot_disk_whose_conversion_was_killed_is_built_again(both: list[hosts.Host], seconds: float) -> None:
    box = snapshot_of_box()
    snapshot = Instance().hosts_dir / "box/snapshots/kept"
    shutil.rmtree(snapshot / "machine", ignore_errors=True)
    up = [sys.executable, "-m", "slipway.lab", "up", "--name", "killed", "--from", "box:kept", "--backend", "qemu"]
    process = subprocess.Popen(up, cwd=PROJECT, stderr=subprocess.DEVNULL)
    wait_until("the disk is being made", (snapshot / "machine.new").exists, pause=0.05)
    time.sleep(seconds)
    process.kill()
    process.wait()
    assert f"{snapshot}/machine.new" not in Path("/proc/self/mountinfo").read_text()
    snapshots.copy("kept", box, ["killed"], backend="qemu")
    assert sorted(path.name for path in (snapshot / "machine").iterdir()) == ["disk.img", "initrd.img", "vmlinuz"]
    assert not (snapshot / "machine.new").exists()
    assert [line for line in Instance().processes().values() if line.startswith("convert/")] == []
    assert output(["/usr/sbin/e2fsck", "-fn", str(snapshot / "machine/disk.img")])
    assert cli("down", "--name", "killed").returncode == 0


def test_a_boot_that_fails_shows_what_the_kernel_said(lab: Instance, both: list[hosts.Host], tmp_path: Path) -> None:
    """Of a machine with an empty disk."""
    real = image.disk(SYSTEMS["debian-12"], hosts.Progress())
    for file in (real.kernel, real.initrd):
        shutil.copy(file, tmp_path)
    with (tmp_path / "disk.img").open("wb") as disk:
        disk.write(real.disk.read_bytes()[:2048])
        disk.truncate(2**30)
    # It need not have booted before.
    up = [sys.executable, "-m", "slipway.lab", "up", "--name", "broken", "--backend", "qemu", "--disk", "1"]
    process = subprocess.Popen(up, cwd=PROJECT, stderr=subprocess.DEVNULL)
    wait_until("it runs", lambda: lab.processes("host/broken"))
    process.kill()
    process.wait()
    assert cli("crash", "--name", "broken").returncode == 0
    (lab.hosts_dir / "broken/base").write_text(str(tmp_path))
    shutil.rmtree(lab.hosts_dir / "broken/layer")
    done = cli("up", "--name", "broken")
    assert done.returncode == 1
    assert "boot failed; the end of its console:" in done.stderr
    assert "/dev/vda" in done.stderr
    assert cli("down", "--name", "broken").returncode == 0


@pytest.mark.parametrize("seconds", [0.5, 2, 8])
def test_up_of_a_machine_may_be_killed_at_any_point(both: list[hosts.Host], seconds: float) -> None:
    up = [sys.executable, "-m", "slipway.lab", "up", "--name", "killed", "--backend", "qemu"]
    process = subprocess.Popen(up, cwd=PROJECT, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if seconds == 2:
        done = cli("up", "--name", "killed")
        assert done.returncode == 0, done.stderr
        assert reachable(hosts.find("killed"))
    assert cli("down", "--name", "killed").returncode == 0
    assert [host.name for host in hosts.status()] == ["box", "vm"]


def test_an_accelerator_is_used_only_if_it_runs_a_kernel(both: list[hosts.Host]) -> None:
    kernel = image.disk(SYSTEMS["debian-12"], hosts.Progress())
    assert runs_a_kernel("tcg", kernel, seconds=120)
    assert not runs_a_kernel("xen", kernel)
    began = time.monotonic()
    assert not runs_a_kernel("tcg", kernel, seconds=0.5), "one that says nothing in time does not count"
    assert time.monotonic() - began < KVM_TRY_SECONDS


def test_what_is_no_image_or_too_large_is_reported(both: list[hosts.Host], tmp_path: Path) -> None:
    text, large = tmp_path / "text.qcow2", tmp_path / "large.qcow2"
    text.write_text("not an image\n")
    output(["qemu-img", "create", "-q", "-f", "qcow2", str(large), "20G"])
    for arguments, told in (
        (("--image", str(text)), "text.qcow2 is not a disk image; expected qcow2"),
        (("--image", str(large)), "found a disk of 10 GiB, need 20 GiB for the system itself (--disk 20)"),
        (("--image", str(tmp_path / "nosuch")), "does not exist"),
        (("--image", str(large), "--backend", "nspawn"), "--image is for virtual machines; expected --backend qemu"),
    ):
        done = cli("up", "--name", "none", *arguments)
        assert done.returncode != 0
        assert told in done.stderr
        assert "Traceback" not in done.stderr
    assert [host.name for host in hosts.status()] == ["box", "vm"]


def test_two_labs_come_up_at_once(both: list[hosts.Host]) -> None:
    other = f"{OWN_LAB}y"
    up = [sys.executable, "-m", "slipway.lab", "up", "--name", "twin"]
    started = [
        subprocess.Popen(up, cwd=PROJECT, env={**os.environ, "SLIPWAY_LAB": name}, stderr=subprocess.PIPE, text=True)
        for name in (OWN_LAB, other)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    twins = [next(host for host in hosts.status(Instance(name)) if host.name == "twin") for name in (OWN_LAB, other)]
    assert [reachable(twin) for twin in twins] == [True, True]
    assert twins[0].address.split(".")[:3] != twins[1].address.split(".")[:3]
    assert cli("down", "--all", env={"SLIPWAY_LAB": other}).returncode == 0
    assert cli("down", "--name", "twin").returncode == 0
    assert traces(Instance(other)) == []


def test_a_cloud_image_becomes_a_host_by_cloud_init(both: list[hosts.Host], tmp_path: Path) -> None:
    file = cloud_image.build(tmp_path)
    done = cli("up", "--name", "cloud", "--image", str(file), timeout=900)
    assert done.returncode == 0, done.stderr
    host = hosts.find("cloud")
    on(host, "cloud-init status --wait", timeout=600)
    assert trusts_the_acme_directory(host)
    assert int(on(host, "df --output=size -BG / | tail -1").stdout.strip(" G\n")) >= host.disk_gb - 1
    assert on(host, "hostname; id -un").stdout == "cloud\nroot\n"
    assert on(host, "getent ahostsv4 cloud.test").stdout.split()[0] == "10.0.2.15"
    assert cli("up", "--name", "cloud", "--user", "admin").returncode == 0
    assert on(hosts.find("cloud"), "sudo -n id -un").stdout == "root\n"
    assert cli("down", "--name", "cloud").returncode == 0


def test_debian_13_shows_what_mongodb_offers_for_it(both: list[hosts.Host]) -> None:
    done = cli("up", "--name", "trixie", "--os", "debian-13")
    assert done.returncode == 0, done.stderr
    assert 'VERSION_ID="13"' in on(hosts.find("trixie"), "cat /etc/os-release").stdout
    plan = [sys.executable, "-m", "slipway", "plan", "lab"]
    environ = {**os.environ, "SLIPWAY_LAB_HOSTS": "trixie"}
    # The official repository from a list, any other by a request.
    for arguments, told in (
        (["--data", "mongodb_apt_url=https://repo.mongodb.org/apt"], "for Debian 12 MongoDB has 7.0, 8.0"),
        (["--data", "mongodb_version=5.0"], "for Debian 12 MongoDB has nothing of it at http://"),
        (["--data", "mongodb_apt_suite="], 'need mongodb_apt_suite = "bookworm" (Debian 12\'s packages'),
    ):
        done = subprocess.run(
            [*plan, *arguments], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert told in done.stderr
    assert cli("down", "--name", "trixie").returncode == 0


@pytest.mark.parametrize(("system", "title"), [("debian-13", "Debian 13"), ("ubuntu-24.04", "Ubuntu 24.04")])
def test_an_archive_out_of_reach_is_one_clear_error(lab: Instance, tmp_path: Path, system: str, title: str) -> None:
    """In its own network namespace, without a route."""
    command = ["unshare", "--net", sys.executable, "-m", "slipway.lab", "up", "--name", "none", "--os", system]
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert f"the archive of {title} can't be reached from this machine" in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4


USER = "slipway-test"


@pytest.fixture
def somebody() -> Iterator[Path]:
    """The home of an unprivileged user, with this project and its libraries; removed at the end."""
    cloud_image.install("uidmap")
    # The remains of a killed run.
    subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)
    cloud_image.run("useradd", "--create-home", "--shell", "/bin/sh", USER)
    home = Path(pwd.getpwnam(USER).pw_dir)
    libraries = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    script = f"""
        mkdir {home}/slipway; cp -r {PROJECT}/lab {PROJECT}/slipway {home}/slipway
        /usr/bin/python3 -m venv --without-pip {home}/venv
        site=$(echo {home}/venv/lib/python3*/site-packages)
        cp -r {libraries}/. $site/; rm -rf $site/__editable__*
        mkdir -p {home}/.cache/slipway; cp -r ~/.cache/slipway/mirror {home}/.cache/slipway/ 2>/dev/null || :
        chown -R {USER}: {home}
    """
    cloud_image.run("sh", "-euc", script)
    yield home
    subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or not Path("/usr/bin/python3.11").exists(), reason="wants Debian 12's Python"
)
def test_without_root_a_machine_starts_and_is_removed_completely(both: list[hosts.Host], somebody: Path) -> None:
    def slipway(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = " ".join(["cd ~/slipway; exec ~/venv/bin/python -m slipway.lab", *arguments])
        return subprocess.run(
            ["su", "-", USER, "-c", command], capture_output=True, text=True, timeout=900, check=False
        )

    done = slipway("up", "--name", "theirs")
    assert done.returncode == 0, done.stderr
    assert slipway("ssh", "--name", "theirs", "--", "hostname").stdout == "theirs\n"
    refused = slipway("up", "--name", "box", "--backend", "nspawn")
    assert "containers need root" in refused.stderr
    assert slipway("down", "--all").returncode == 0
    assert not list((somebody / ".local/state/slipway").iterdir())
    # Except zombies that process 1 has yet to reap, and what logind keeps of a login for a while.
    left = subprocess.run(["ps", "-u", USER, "-o", "stat=,args="], check=False, capture_output=True, text=True).stdout
    logins = ("/systemd --user", "(sd-pam)")
    assert [line for line in left.splitlines() if not line.startswith("Z") and not line.endswith(logins)] == []


def test_down_removes_hosts_of_both_kinds_completely(both: list[hosts.Host], lab: Instance) -> None:
    assert traces(lab), "the precondition does not hold"
    done = cli("down", "--all")
    assert done.returncode == 0, done.stderr
    assert traces(lab) == []
