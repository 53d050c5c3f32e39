"""What keeps a host from becoming the server is reported all at once, before any change. No provisioned host."""

from __future__ import annotations

import pytest

from slipway.tasks.tls import addresses_command
from support.lab_host import LAB, PENDING, LabHost, bring_up


@pytest.fixture(scope="module")
def bare() -> LabHost:
    """A fresh host with an administrator who has sudo."""
    return bring_up("bare", "--user", "admin")


# Everything that preflight checks is wrong on this server.
IN_THE_WAY = """
sed 's/^MemTotal:.*/MemTotal: 524288 kB/' /proc/meminfo > /root/meminfo; mount --bind /root/meminfo /proc/meminfo
sed 's/^VERSION_ID=.*/VERSION_ID="11"/' /etc/os-release > /root/release; mount --bind /root/release /etc/os-release
mount -t tmpfs -o size=100m tmpfs /var/cache
cp /etc/hosts /root/hosts; sed -i 's/^10[0-9.]*/10.99.99.7/' /etc/hosts
ip route save > /root/routes; ip route del default
systemd-run --quiet --unit=stranger python3 -c 'import socket; socket.create_server(("", 80)).accept()'
until ss -Hltn sport = :80 | grep -q .; do sleep 0.1; done
touch /root/before
"""
OUT_OF_THE_WAY = """
systemctl stop stranger; ip route restore < /root/routes 2>/dev/null || :; cat /root/hosts > /etc/hosts
umount /var/cache /etc/os-release /proc/meminfo
"""


def test_all_problems_of_a_host_are_reported_at_once_and_nothing_is_changed(bare: LabHost) -> None:
    bare.ssh(IN_THE_WAY)
    done = bare.slipway("apply", "lab", "--yes")
    changed = bare.ssh("find /etc /usr /var/lib/dpkg -newer /root/before")
    bare.ssh(OUT_OF_THE_WAY)
    assert done.returncode == 1
    for problem in (
        "operating system: found debian 11, need one of: Debian 12, ",
        "memory: found 512 MiB, need 900 MiB",
        "free disk space on /var/cache: found ",
        "network: found no connection to ",
        "port 80: found 'python3' listening, need it for nginx",
        "site_domain: found bare.test at 10.99.99.7, need this host's",
    ):
        assert f"  - {problem}" in done.stderr
    assert "Traceback" not in done.stderr
    assert changed == ""


def test_sudo_that_requires_a_password_is_reported_before_anything_else(bare: LabHost) -> None:
    bare.ssh("sed -i 's/NOPASSWD: //' /etc/sudoers.d/admin")
    done = bare.slipway("plan", "lab")
    bare.ssh("sed -i 's/ALL$/NOPASSWD: ALL/' /etc/sudoers.d/admin")
    assert done.returncode == 1
    assert "NOPASSWD" in done.stderr


def test_a_user_without_root_or_sudo_is_reported(bare: LabHost) -> None:
    done = bare.slipway("plan", "lab", "--data", "_sudo=false")
    assert done.returncode == 1
    assert "rights: found a user that is not root, need root or sudo" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_servers_name_in_its_hosts_file_is_not_a_wrong_address(bare: LabHost) -> None:
    bare.ssh("cp /etc/hosts /root/hosts; sed -i 's/^127.0.0.1.*/& bare.test/' /etc/hosts")
    done = bare.slipway("plan", "lab")
    bare.ssh("cat /root/hosts > /etc/hosts")
    assert done.returncode == PENDING, done.stderr


def test_a_hosts_file_with_the_loopback_address_alone_makes_it_query_the_dns(bare: LabHost) -> None:
    name = "deb.debian.org"  # resolvable by every host that can install packages
    bare.ssh(f"cp /etc/hosts /root/hosts; echo 127.0.1.1 {name} >> /etc/hosts")
    seen = bare.ssh(f"getent ahosts {name} | cut -d' ' -f1 | sort -u")
    found = bare.ssh(addresses_command(name))
    bare.ssh("cat /root/hosts > /etc/hosts")
    assert seen == "127.0.1.1", "the precondition does not hold"
    assert found
    assert "127.0.1.1" not in found.split()


def test_what_several_hosts_lack_is_reported_at_once(bare: LabHost) -> None:
    other = bring_up("other", "--user", "admin")
    both = LabHost(f"{bare.name},{other.name}", LAB)
    wrong = ("--data", "mongodb_version=4.4", "--data", "mongodb_apt_url=https://repo.mongodb.org/apt")
    done = both.slipway("plan", "lab", *wrong)
    assert done.returncode == 1
    for host in (bare, other):
        assert f"{host.name} is not ready to be provisioned" in done.stderr
    assert done.stderr.count("for Debian 12 MongoDB has 7.0, 8.0") == 2
    assert "nothing was changed" in done.stderr
