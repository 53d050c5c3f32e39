"""Every server, whatever its role."""

from __future__ import annotations

import pytest


def test_it_runs_a_supported_system_under_systemd(server):
    assert (server.host.system_info.distribution, server.host.system_info.release.split(".")[0]) == ("debian", "12")
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


def test_kernel_settings_are_in_force_where_the_kernel_is_the_hosts_own(server):
    if server.host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container has its host's kernel")
    assert server.host.check_output("sysctl -n vm.swappiness") == "1"
    assert server.host.check_output("sysctl -n vm.max_map_count") == "262144"
