"""A failure on a server is reported once, with its cause and what fixes it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest

from support.lab_host import PENDING, LabHost

FOREIGN = """
echo 'deb http://dead.invalid/debian x main' > /etc/apt/sources.list.d/dead.list
echo 'deb http://deb.debian.org/debian gone main' > /etc/apt/sources.list.d/gone.list
echo 'deb [signed-by=/none.gpg] http://deb.debian.org/debian bookworm-backports main' \\
  > /etc/apt/sources.list.d/nokey.list
"""
CONFLICT = """
for key in a b; do
  echo "deb [signed-by=/usr/share/keyrings/$key.gpg] http://dead.invalid/debian x main" \\
    > /etc/apt/sources.list.d/$key.list
done
"""
# One of our packages is missing, and the package lists are old.
MISSING = "apt-get -y -qq purge logrotate > /dev/null 2>&1; rm -f /var/lib/apt/lists/slipway-refreshed"


@pytest.fixture
def sources(server: LabHost) -> Iterator[LabHost]:
    """The server with a package missing; the test may break its apt sources."""
    server.ssh(f"{MISSING}; cp /etc/apt/sources.list /var/tmp")
    yield server
    server.ssh("rm -f /etc/apt/sources.list.d/*.list; cp /var/tmp/sources.list /etc/apt")
    server.apply()


@pytest.mark.thorough
def test_somebody_else_s_sources_that_fail_keep_nothing_from_being_installed(sources):
    sources.ssh(FOREIGN)
    planned = sources.slipway("plan", "lab")
    assert planned.returncode == PENDING, planned.stderr
    for name, reason in (("dead", "Could not resolve 'dead.invalid'"), ("gone", "404"), ("nokey", "NO_PUBKEY")):
        line = next(line for line in planned.stdout.splitlines() if f"sources.list.d/{name}.list:1: left out" in line)
        assert reason in line
    sources.apply()
    assert sources.plan() == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("script", "file"),
    [
        (CONFLICT, "in /etc/apt/sources.list.d/a.list and /etc/apt/sources.list.d/b.list (remove it from one)"),
        ("echo 'deb http://dead.invalid' > /etc/apt/sources.list.d/bad.list", "/etc/apt/sources.list.d/bad.list"),
        ("echo 'deb http://deb.debian.org/debian gone main' >> /etc/apt/sources.list", "/etc/apt/sources.list:4"),
    ],
    ids=["two keys", "half a line", "the system's own"],
)
def test_sources_that_let_nothing_be_installed_are_named_before_any_change(sources, script, file):
    sources.ssh(script)
    done = sources.slipway("apply", "lab", "--yes")
    assert done.returncode == 1
    assert "no package can be installed; nothing was changed" in done.stderr
    assert file in done.stderr
    assert done.stderr.count(file) == 1


HOLDER = "import fcntl, time; lock = open({path!r}, 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); time.sleep(300)"


@pytest.mark.thorough
@pytest.mark.parametrize("path", ["/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock"])
def test_who_holds_a_lock_of_apt_s_is_reported_once(sources, path):
    sources.ssh(f'systemd-run --quiet --unit=holder python3 -c "{HOLDER.format(path=path)}"; sleep 1')
    done = sources.slipway("apply", "lab", "--yes", "--data", "apt_lock_timeout=3")
    sources.ssh("systemctl stop holder")
    assert done.returncode == 1
    assert done.stderr.count(f"Could not get lock {path}. It is held by process ") == 1
    assert "another program is at work on packages" in done.stderr


@pytest.mark.thorough
def test_what_a_configuration_is_refused_for_is_reported_by_its_final_name(server):
    server.ssh("echo 'nonsense on;' > /etc/nginx/conf.d/broken.conf; echo '#' >> /etc/nginx/nginx.conf")
    done = server.slipway("apply", "lab", "--yes")
    server.ssh("rm /etc/nginx/conf.d/broken.conf")
    assert 'unknown directive "nonsense" in /etc/nginx/conf.d/broken.conf:1' in done.stderr
    assert "/etc/nginx/nginx.conf test failed" in done.stderr
    assert "slipway-new" not in done.stderr
    told = server.slipway("apply", "lab", "--yes", "--data", 'sshd_settings={"Nonsense": "yes"}').stderr
    assert "/etc/ssh/sshd_config.d/00-slipway.conf: line 3: Bad configuration option: Nonsense" in told
    assert "the line comes from sshd_settings" in told
    assert "slipway-new" not in told
    server.apply()


@pytest.mark.thorough
def test_why_a_challenge_has_failed_is_reported_with_what_to_do(server, owned_domain):
    # A new account has no validation that the ACME server could reuse.
    gone = "rm -rf /etc/letsencrypt/live /etc/letsencrypt/renewal /etc/letsencrypt/archive /etc/letsencrypt/accounts"
    server.ssh(f"{gone}; iptables -I INPUT -p tcp --dport 80 -j REJECT")
    # A plan would refuse it.
    rule = "iptables -A INPUT -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable"
    done = server.slipway("apply", "lab", "--yes", "--data", f"adopt_without={json.dumps([rule])}")
    server.ssh("iptables -D INPUT 1")
    assert done.returncode == 1
    assert f"{owned_domain}: connection: " in done.stderr
    assert "open port 80 to the Internet, in the provider's firewall too" in done.stderr
    assert "from this machine: no connection" in done.stderr
    server.apply()


SLOW = (
    "mv /usr/bin/chown /usr/bin/chown.away; printf '#!/bin/sh\nsleep 60\n' > /usr/bin/chown; chmod 755 /usr/bin/chown"
)


@pytest.mark.thorough
@pytest.mark.parametrize("is_silent", [False, True], ids=["a host that answers", "one that has fallen silent"])
def test_an_interruption_takes_three_seconds_at_most_and_says_what_goes_on(server, is_silent):
    server.ssh(f"rm -f $(readlink -f /etc/default/locale); {SLOW}")
    apply = server.start("apply", "lab", "--yes")
    apply.wait_for_text(" to change of ")
    time.sleep(3)
    if is_silent:
        # Delayed: this command's connection is cut as well.
        drop = "INPUT -p tcp --dport 22 -j DROP"
        later = "systemd-run --quiet --timer-property=AccuracySec=100ms"
        server.ssh(f"{later} --on-active=1 iptables -I {drop}; {later} --on-active=25 iptables -D {drop}")
        time.sleep(3)
    began = time.monotonic()
    apply.process.send_signal(signal.SIGINT)
    code, _, errors = apply.end()
    assert time.monotonic() - began < 3
    assert code == 130
    assert f"[{server.name}] may go on with: Set the locale" in errors
    assert "Traceback" not in errors
    if is_silent:
        time.sleep(30)
    else:
        assert '"result": "interrupted"' in server.ssh("tail -n 1 /var/log/slipway.log")
    server.ssh("mv /usr/bin/chown.away /usr/bin/chown; pkill -f 'sleep 6[0]'", check=False)
    server.apply()
    assert server.plan() == []
