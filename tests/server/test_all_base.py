"""Every server, whatever its role."""

from __future__ import annotations

from slipway.facts.base import key_values
from slipway.ops.templates import render
from slipway.systems import system_of
from slipway.tasks.kernel import parameters


def test_it_runs_a_supported_system_under_systemd(server):
    lines = server.host.check_output("sed -n 's/\"//g; s/^ID=/os=/p; s/^VERSION_ID=/release=/p' /etc/os-release")
    assert system_of(key_values(lines.splitlines())) is not None
    assert server.host.file("/proc/1/comm").content_string == "systemd\n"


def test_no_unit_has_failed(server):
    assert server.host.check_output("systemctl list-units --state=failed --plain --no-legend") == ""


def test_time_zone_and_locale_are_as_set(server):
    assert server.host.check_output("readlink /etc/localtime") == f"/usr/share/zoneinfo/{server.settings.timezone}"
    assert server.host.file("/etc/default/locale").content_string == f"LANG={server.settings.locale}\n"


def test_the_journal_is_limited_in_size(server):
    shown = server.host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert f"SystemMaxUse={server.settings.journal_max_mb}M" in shown


def test_security_updates_come_by_themselves(server):
    assert server.host.package("unattended-upgrades").is_installed
    shown = server.host.check_output("apt-config dump APT::Periodic::Unattended-Upgrade")
    assert shown == 'APT::Periodic::Unattended-Upgrade "1";'


def test_apt_waits_for_its_lock(server):
    shown = server.host.check_output("apt-config dump DPkg::Lock::Timeout")
    assert shown == f'DPkg::Lock::Timeout "{server.settings.apt_lock_timeout}";'


def test_the_firewall_denies_what_is_not_allowed(server):
    status = server.host.check_output("ufw status verbose")
    assert "Status: active" in status
    assert "Default: deny (incoming), allow (outgoing)" in status


def test_the_firewall_opens_what_is_set_and_nothing_else(server):
    added = server.host.check_output("ufw show added")
    rules = {line.removeprefix("ufw ") for line in added.splitlines() if line.startswith("ufw ")}
    sshd = server.host.check_output("sshd -T").splitlines()
    ssh = {f"allow {line.split()[1]}/tcp" for line in sshd if line.startswith("port ")}
    web = {"allow 80/tcp", "allow 443/tcp"} if "web" in server.groups else set()
    assert rules == ssh | web | {f"allow {port}" for port in server.settings.firewall_allow}


def test_kernel_parameters_are_in_force(server, own_kernel):
    wanted = parameters(render("kernel/sysctl.conf"))
    in_force = server.host.check_output(f"sysctl -n {' '.join(wanted)}").splitlines()
    assert dict(zip(wanted, in_force, strict=True)) == wanted


def test_the_swap_file_is_in_use_at_its_size(server, own_kernel):
    shown = server.host.check_output("swapon --show=NAME,SIZE --bytes --noheadings").splitlines()
    sizes = dict(line.split() for line in shown)
    # The first page is the header, mkswap(8).
    expected = str(server.settings.swap_mb * 2**20 - 4096) if server.settings.swap_mb else None
    assert sizes.get("/swapfile") == expected


def test_the_clock_is_kept_in_time(server, own_kernel):
    active = server.host.run("systemctl is-active systemd-timesyncd chrony ntpsec ntp").stdout.split()
    assert "active" in active
