"""The kernel of an existing server: parameters, routes and modules."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import kernel
from slipway.engine import run
from slipway.facts.earlier import Earlier
from slipway.facts.ssh import Sshd
from slipway.tasks.kernel import OTHER_FILES, blocked_modules, parameters, sysctl
from support.described import described, run_deploy
from support.obstacles import SERVICE, told


@pytest.mark.parametrize(
    ("line", "is_named"),
    [
        ("net.ipv4.conf.all.rp_filter = 0", True),
        ("-net/ipv4/conf/all/rp_filter=2", True),
        ("net.ipv4.conf.all.rp_filter=1", False),
        ("# net.ipv4.conf.all.rp_filter=0", False),
        ("net.ipv4.ip_forward=1", False),
    ],
)
def test_a_kernel_parameter_that_slipway_would_change_is_named(settings_with, line, is_named):
    wanted = parameters(sysctl(settings_with()))
    found = told(kernel.obstacles({"file /etc/sysctl.d/99-own.conf": line}, wanted))
    assert found == (["/etc/sysctl.d/99-own.conf: net.ipv4.conf.all.rp_filter"] if is_named else [])


@pytest.mark.parametrize(
    ("line", "name", "told_too"),
    [
        ("vm.swappiness=10", None, ["vm.swappiness = 10 becomes 1"]),
        ("net.ipv4.conf.all.log_martians = 0", None, ["net.ipv4.conf.all.log_martians = 0 becomes 1"]),
        ("net.ipv4.tcp_keepalive_time = 600", None, ["net.ipv4.tcp_keepalive_time = 600 becomes 120"]),
        ("vm.max_map_count = 524288", None, []),
        ("vm.max_map_count = 65530", None, ["vm.max_map_count = 65530 becomes 262144"]),
        ("net.core.somaxconn=65535", None, []),
        ("kernel.yama.ptrace_scope=0", "kernel.yama.ptrace_scope", []),
        ("kernel.yama.ptrace_scope=2", None, []),
        ("kernel.perf_event_paranoid=4", None, []),
        ("kernel.perf_event_paranoid=1", "kernel.perf_event_paranoid", []),
        ("kernel.sysrq=1", "kernel.sysrq", []),
    ],
)
def test_tuning_is_told_and_a_larger_limit_stays(settings_with, line, name, told_too):
    wanted = parameters(sysctl(settings_with()))
    files = {"file /etc/sysctl.d/99-own.conf": line}
    assert told(kernel.obstacles(files, wanted)) == ([f"/etc/sysctl.d/99-own.conf: {name}"] if name else [])
    assert kernel.tuned(files, wanted) == told_too


def test_a_plan_notes_tuning_that_changes(settings_with):
    with described(settings_with()) as (_, host):
        sshd = {"port": ["22"], "authorizedkeysfile": [".ssh/authorized_keys"]}
        host.answers = {Earlier: {"file /etc/sysctl.d/99-own.conf": "vm.swappiness = 10"}, Sshd: sshd}
        run_deploy()
    notes = [one.text for one in run.of(host.state).notes[host.name, None]]
    assert "kernel parameters: vm.swappiness = 10 becomes 1" in notes


def test_the_larger_of_two_limits_is_written_whatever_the_order(settings_with, tmp_path):
    folder = tmp_path / "etc/sysctl.d"
    folder.mkdir(parents=True)
    (folder / "10-own.conf").write_text("vm/max_map_count=1048576\n# net.core.somaxconn = 65535\n")
    (folder / "99-own.conf").write_text("vm.max_map_count = 524288\nnet.core.somaxconn = 128\nvm.swappiness = 90\n")
    (folder / "zz-slipway.conf").write_text("net.core.somaxconn = 9999\n")
    command = OTHER_FILES.replace("/etc/", f"{tmp_path}/etc/").replace("/run/", "/x/").replace("/usr/", "/x/")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    written = parameters(sysctl(settings_with(), kernel.larger(done.stdout)))
    own = parameters(sysctl(settings_with()))
    assert (own["vm.max_map_count"], own["net.core.somaxconn"]) == ("262144", "4096")
    assert written == {**own, "vm.max_map_count": "1048576"}


@pytest.mark.parametrize(("system", "level"), [("debian", "3"), ("ubuntu", "4")])
def test_no_parameter_is_below_what_the_systems_kernel_begins_with(settings_with, system, level):
    written = parameters(sysctl(settings_with(), kernel.larger("", system)))
    assert written["kernel.perf_event_paranoid"] == level


# As its package has it.
UFWS = """\
#net/ipv4/ip_forward=1
net/ipv4/conf/all/accept_redirects=0
net/ipv4/icmp_echo_ignore_broadcasts=1
net/ipv4/icmp_echo_ignore_all=0
net/ipv4/conf/all/log_martians=0
"""


@pytest.mark.parametrize(
    ("text", "others", "name"),
    [
        (UFWS, "", None),
        (UFWS.replace("#net/ipv4/ip", "net/ipv4/ip"), "", "net.ipv4.ip_forward"),
        (UFWS.replace("#net/ipv4/ip", "net/ipv4/ip"), "net.ipv4.ip_forward = 1", None),
        (UFWS.replace("ignore_all=0", "ignore_all=1"), "", "net.ipv4.icmp_echo_ignore_all"),
        ("net/ipv4/conf/all/rp_filter=2", "", "net.ipv4.conf.all.rp_filter"),
        ("net/ipv4/conf/all/rp_filter=1", "", None),
    ],
)
def test_a_kernel_parameter_that_ufw_would_no_longer_load_is_named(settings_with, text, others, name):
    files = {"file /etc/ufw/sysctl.conf": text, "file /etc/sysctl.d/99-own.conf": others}
    found = told(kernel.obstacles(files, parameters(sysctl(settings_with()))))
    assert found == ([f"/etc/ufw/sysctl.conf: {name}"] if name else [])


@pytest.mark.parametrize(
    ("uplinks", "rp_filter", "is_named"),
    [
        ("eth0 0 0", 1, False),
        ("eth0 0 0\neth1 0 0", 1, True),
        ("eth0 0 1\neth1 0 2", 1, True),
        ("eth0 1 0\neth1 1 0", 1, False),
        ("eth0 2 2\neth1 2 2", 2, False),
        ("", 1, False),
    ],
)
def test_several_default_routes_are_named_with_the_setting_that_keeps_them_open(
    settings_with, uplinks, rp_filter, is_named
):
    settings = settings_with(rp_filter=rp_filter)
    found = [*kernel.uplinks({"uplinks": uplinks}, settings)]
    assert [one.need for one in found] == (["rp_filter = 2"] if is_named else [])
    assert parameters(sysctl(settings))["net.ipv4.conf.all.rp_filter"] == str(rp_filter)


def test_the_devices_of_default_routes_are_found(tmp_path):
    routes = (
        "default via 10.0.0.1 dev eth0 metric 100\ndefault proto static \\\\ nexthop dev eth1 \\\\ nexthop dev eth0"
    )
    (tmp_path / "ip").write_text(f"#!/bin/sh\nprintf '{routes}\\n'\n")
    (tmp_path / "ip").chmod(0o755)
    for name, value in (("all", 0), ("eth0", 2), ("eth1", 0)):
        (tmp_path / f"conf/{name}").mkdir(parents=True)
        (tmp_path / f"conf/{name}/rp_filter").write_text(f"{value}\n")
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s uplinks;") : command.index("s modules;")]
    script = script.replace("/proc/sys/net/ipv4", str(tmp_path))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["eth0 0 2", "eth1 0 0"]


def test_a_module_in_use_is_named_with_the_setting_that_leaves_it_loadable(settings_with):
    earlier = {"modules": "sctp\nusb-storage\nuas\nusb-storage\nuas"}
    (one,) = kernel.modules(earlier, settings_with(loadable_modules=["uas"]))
    assert one.need == 'loadable_modules = ["uas", "sctp", "usb-storage"]'
    settings = settings_with(loadable_modules=["uas", "sctp", "usb-storage"])
    assert told(kernel.modules(earlier, settings)) == []
    text = blocked_modules(settings).splitlines()
    assert "install uas /bin/false" not in text
    assert "install dccp /bin/false" in text


def test_a_disk_on_usb_counts_only_where_it_is_mounted(tmp_path):
    (tmp_path / "modules").write_text("sctp 400 2 - Live 0x0\ntipc 1 0 - Live 0x0\nusb_storage 8 1 uas, Live 0x0\n")
    lsblk = 'case "$*" in *TRAN) echo "sda sata"; echo "sdb usb" ;; */dev/sdb) echo; echo $MOUNT ;; esac'
    (tmp_path / "lsblk").write_text(f"#!/bin/sh\n{lsblk}\n")
    (tmp_path / "lsblk").chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s modules;") : command.index("s credentials;")].replace("/proc", str(tmp_path))
    for mount, found in (("/mnt/backup", ["sctp", "usb-storage", "uas"]), ("", ["sctp"])):
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MOUNT": mount}
        done = subprocess.run(
            ["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == found
