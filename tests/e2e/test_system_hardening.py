"""The system's hardening on a real host: drifts, bans of addresses that flood a login, and updates."""

from __future__ import annotations

import socket
import subprocess

import pytest

from support.lab_host import LabHost
from support.waiting import wait_until


@pytest.mark.thorough
def test_a_configuration_that_fail2ban_refuses_never_replaces_the_one_in_force(server):
    server.ssh("printf '[broken]\\nenabled = true\\nfilter = nowhere\\n' > /etc/fail2ban/jail.d/broken.local")
    done = server.slipway("apply", "lab", "--yes", "--data", "fail2ban_minutes=11")
    server.ssh("rm /etc/fail2ban/jail.d/broken.local")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "bantime = 10m" in server.ssh("cat /etc/fail2ban/jail.d/slipway.local")
    assert server.plan() == []


class Stranger:
    """A client with its own address: another one of this machine, on the lab's bridge."""

    def __init__(self, server: LabHost) -> None:
        self.target = server.record.address
        self.address = self.target.rpartition(".")[0] + ".253"
        route = subprocess.run(["ip", "-o", "route", "get", self.target], capture_output=True, text=True, check=True)
        self.bridge = route.stdout.split(" dev ")[1].split()[0]
        subprocess.run(["ip", "addr", "add", f"{self.address}/32", "dev", self.bridge], check=True)

    def reaches_ssh(self) -> bool:
        try:
            socket.create_connection((self.target, 22), timeout=2, source_address=(self.address, 0)).close()
        except OSError:
            return False
        return True

    def fails_to_log_in(self, user: str) -> str:
        """Log in without a key; returns ssh's error."""
        options = ("-F", "none", "-b", self.address, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no")
        nobody = ("-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=2", "-o", "PubkeyAuthentication=no")
        command = ["ssh", *options, *nobody, f"{user}@{self.target}", "true"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr

    def go(self) -> None:
        subprocess.run(["ip", "addr", "del", f"{self.address}/32", "dev", self.bridge], check=True)


@pytest.fixture
def stranger(server):
    somebody = Stranger(server)
    yield somebody
    somebody.go()
    server.ssh("fail2ban-client unban --all")


def wait_until_banned(somebody: Stranger) -> None:
    wait_until(f"{somebody.address} is banned", lambda: not somebody.reaches_ssh(), pause=0.5)


def test_a_flood_of_failed_logins_bans_its_address_alone_also_after_a_restart(server, stranger):
    assert stranger.reaches_ssh()
    for _ in range(10):
        assert "Permission denied" in stranger.fails_to_log_in("root")
    wait_until_banned(stranger)
    assert stranger.address in server.ssh("fail2ban-client get sshd banip")
    assert server.may_log_in()
    server.ssh("systemctl restart fail2ban; until fail2ban-client status sshd; do sleep 0.2; done")
    wait_until_banned(stranger)
    assert server.may_log_in()
    server.ssh("ufw reload")
    assert not stranger.reaches_ssh()


@pytest.mark.thorough
def test_successful_logins_and_keys_refused_before_them_ban_nobody(server, tmp_path):
    keys = []
    for n in range(3):
        file = tmp_path / f"key{n}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
        keys += ["-i", str(file)]
    for _ in range(12):
        # The lab's key comes last: the others are offered before it.
        assert server.may_log_in("admin", 22, *keys)
    assert server.ssh("fail2ban-client get sshd banip") == ""


def test_a_flood_that_nginx_rejects_is_banned_over_ipv4_and_ipv6(server):
    line = '[error] 7#7: *1 limiting requests, excess: 5.1 by zone "login", client: {}, server: codementee.test'
    for address in ("198.51.100.9", "2001:db8::9"):
        text = line.format(address)
        server.ssh(
            f"for n in $(seq 30); do echo \"$(date '+%Y/%m/%d %H:%M:%S') {text}\"; done".replace(
                '"login"', '\\"login\\"'
            )
            + " >> /var/log/nginx/error.log"
        )
    banned = "nft list ruleset | grep -c -e 198.51.100.9 -e 2001:db8::9"
    server.ssh(f"timeout 120 sh -c 'until [ \"$({banned})\" -ge 2 ]; do sleep 0.5; done'")
    server.ssh("fail2ban-client unban --all; truncate --size 0 /var/log/nginx/error.log")


@pytest.mark.thorough
def test_services_with_an_old_library_restart_after_an_update(server):
    main = "systemctl show --property=MainPID --value nginx"
    script = "sh /usr/local/lib/slipway/restart-updated"
    before = server.ssh(main)
    server.ssh(script)
    assert server.ssh(main) == before, "nothing was updated"
    library = server.ssh(f"awk '/libpcre|libssl/ {{print $6}}' /proc/{before}/maps | head -n 1")
    server.ssh(f"cp -a {library} {library}.new && mv -f {library}.new {library} && {script}")
    assert server.ssh(main) != before
    assert server.plan() == []


@pytest.mark.thorough
def test_a_change_is_reported_by_the_next_comparison_of_files(server):
    server.ssh("systemctl start slipway-integrity; touch /etc/cron.d/intruder; systemctl start slipway-integrity")
    told = server.ssh("journalctl -u slipway-integrity --no-pager")
    server.ssh("rm /etc/cron.d/intruder")
    assert "/etc/cron.d/intruder" in told
    assert server.ssh("systemctl is-failed slipway-integrity", check=False) != "failed"


@pytest.mark.thorough
def test_lynis_reaches_the_index_of_a_container(server):
    done = server.slipway("verify", "lab", "--audit")
    assert "hardening index, in a container" in done.stdout
    assert "FAILED tests/server/test_lynis" not in done.stdout, done.stdout
