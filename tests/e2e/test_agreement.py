"""Slipway's engine and pyinfra alone find the same on a host that has drifted, and make the same of it.

Sets of drifts are drawn from a seed, over all components, planned both ways, and undone by putting back exactly what
was there. SLIPWAY_TEST_THOROUGH=1 draws 200 of them, which takes some minutes.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_server
import test_system_hardening
import test_web_hardening

from support.lab_host import PROJECT, THOROUGH, LabHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="throwaway hosts need root")

SEED = 5
SETS = 200 if THOROUGH else 10
APPLIED = 3
STATUS = "/var/lib/dpkg/status"


def package_gone(name: str) -> str:
    """dpkg's own record of a package that was removed: to remove it and install it again takes too long."""
    return f"sed -i '/^Package: {name}$/,/^$/s/^Status: .*/Status: deinstall ok config-files/' {STATUS}"


# Those of the other tests, but for packages that really go; and others, so that no component is left out.
DRIFTS = {
    **{
        what: script
        for table in (test_server.DRIFTS, test_system_hardening.DRIFTS, test_web_hardening.DRIFTS)
        for what, (script, _) in table.items()
        if "apt-get remove" not in script
    },
    # A socket that is still open would be tried by whoever looks first, and fail for the other.
    "the backend masked": "systemctl stop codementee-backend.socket codementee-backend;"
    " ln -sf /dev/null /etc/systemd/system/codementee-backend.service; systemctl daemon-reload",
    "a package gone": package_gone("unattended-upgrades"),
    "one of the first packages gone": package_gone("gnupg"),
    "MongoDB's shell gone": package_gone("mongodb-mongosh"),
    "apt's settings removed": "rm /etc/apt/apt.conf.d/00-slipway",
    "MongoDB's repository removed": "rm /etc/apt/sources.list.d/mongodb.sources",
    "Nginx would start unconfigured": "rm /etc/systemd/system/nginx.service.d/unconfigured.conf",
    "the time zone's name changed": "echo Asia/Kolkata > /etc/timezone",
    "another locale": "echo LANG=de_DE.UTF-8 > /etc/default/locale",
    "the journal unlimited": "rm /etc/systemd/journald.conf.d/slipway.conf",
    "updates are not looked for": "systemctl mask --now apt-daily.timer",
    "no restart after updates": "chmod 644 /usr/local/lib/slipway/restart-updated",
    "a timer that systemd does not know": "echo '# edited' >> /etc/systemd/system/slipway-integrity.service",
    "another banner": "echo hello > /etc/issue.net",
    "the way back edited": "echo exit 0 >> /usr/local/lib/slipway/undo",
    "the way back's timer edited": "echo >> /etc/systemd/system/slipway-undo.timer",
    "no way back after a reboot": "systemctl disable slipway-undo.timer",
    "another key let in": "echo '# a key' >> /home/admin/.ssh/authorized_keys",
    "the keys readable": "chmod 644 /home/admin/.ssh/authorized_keys",
    "other rights by sudo": "echo '# edited' >> /etc/sudoers.d/admin",
    "a rule of the firewall gone": "ufw delete allow 443/tcp",
    "small primes": "echo '20120821044046 2 6 100 2047 2 DA57B18976E9C55CEAC3BFFF' >> /etc/ssh/moduli",
    "sshd's file edited": "echo '# edited' >> /etc/ssh/sshd_config.d/00-slipway.conf",
    "sshd by another file": "echo 'X11Forwarding yes' > /etc/ssh/sshd_config.d/00-before.conf",
    "the host key gone": "mv /etc/ssh/ssh_host_ed25519_key /etc/ssh/aside",
    "the data folder open": "chmod 755 /var/lib/mongodb",
    "MongoDB disabled": "systemctl disable mongod",
    "MongoDB's file touched": "sleep 3; touch /etc/mongod.conf",
    "another password for the database": "printf wrong > /etc/codementee/credentials/MONGODB_BACKEND_PASSWORD",
    "a secret gone": "rm /etc/codementee/credentials/JWT_SECRET",
    "a secret of nobody's": "cp -p /etc/codementee/credentials/JWT_SECRET /etc/codementee/credentials/OLD",
    "the site's folder open": "chmod 777 /var/www/codementee",
    "the backend's usual path gone": "rm /var/www/codementee/backend",
    "the frontend's usual path elsewhere": "ln -sfn /srv /var/www/codementee/frontend",
    "the backend's socket edited": "echo '# edited' >> /etc/systemd/system/codementee-backend.socket",
    "the backend disabled": "systemctl disable codementee-backend.service codementee-backend.socket",
    "no folder for ACME answers": "rm -r /var/www/letsencrypt",
    "the error page edited": "echo '<!-- edited -->' >> /usr/share/slipway/errors/unavailable.html",
    "no placeholder": "rm -r /etc/nginx/tls/placeholder",
    "no certificate served": "rm /etc/nginx/tls/codementee",
    "a snippet of Nginx's gone": "rm /etc/nginx/snippets/slipway-headers.conf",
    "another site of the same name": "printf 'server { server_name codementee.test; }' > /etc/nginx/conf.d/other.conf",
    "fail2ban stopped": "systemctl stop fail2ban",
}
# How many drifts there are in a set.
SIZES = (1, 1, 2, 3, 3, 4, 8)


def drawn(count: int, names: list[str]) -> list[list[str]]:
    """Sets of drifts. All have had their turn before one comes again."""
    chance, deck = random.Random(SEED), []
    sets = []
    for _ in range(count):
        size = chance.choice(SIZES)
        if len(deck) < size:
            deck = chance.sample(names, len(names))
        sets.append([deck.pop() for _ in range(size)])
    return sets


class Drifting:
    """The server, and what is done to it over one connection after the other, without Slipway."""

    def __init__(self, server: LabHost) -> None:
        self.server, state = server, server.lab_host()
        self.ssh = [
            *("ssh", "-F", "none", "-i", state["key_file"], "-o", "IdentitiesOnly=yes"),
            *("-o", f"UserKnownHostsFile={state['known_hosts_file']}", f"admin@{state['address']}"),
        ]
        program = (PROJECT / "tests/support/host_state.py").read_text()
        self.run("cat > /root/host_state.py", program)

    def run(self, script: str, given: str = "") -> str:
        command = [*self.ssh, f"sudo -n sh -c {shlex.quote(script)}"]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state(self, verb: str) -> str:
        return self.run(f"python3 /root/host_state.py {verb}")

    def break_by(self, drifts: list[str]) -> None:
        # One may be in the way of another.
        self.run("; ".join(f"( {DRIFTS[drift]}\n) > /dev/null 2>&1 < /dev/null" for drift in drifts) + "; true")

    def fingerprint(self) -> dict[str, str]:
        return dict(json.loads(self.state("fingerprint")))


@pytest.fixture
def drifting(server: LabHost) -> Iterator[Drifting]:
    host = Drifting(server)
    host.state("keep")
    yield host
    host.state("restore")
    # What an apply has told MongoDB is in none of the files.
    server.apply()
    assert server.plan() == []


@pytest.fixture
def planners(server: LabHost) -> Iterator[dict[str, subprocess.Popen[str]]]:
    program = str(PROJECT / "tests/support/plan_worker.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = {
        way: subprocess.Popen([sys.executable, program, way], env=server.env, cwd=PROJECT, **pipes)
        for way in ("pyinfra", "slipway")
    }
    yield running
    for planner in running.values():
        planner.communicate(timeout=60)


def plan_both_ways(planners: dict[str, subprocess.Popen[str]]) -> dict[str, list[str]]:
    """What is pending, by who says so; both look at the same time."""
    for planner in planners.values():
        assert planner.stdin
        planner.stdin.write("plan\n")
        planner.stdin.flush()
    found = {}
    for way, planner in planners.items():
        assert planner.stdout
        assert planner.stderr
        line = planner.stdout.readline()
        found[way] = json.loads(line) if line else [planner.stderr.read()]
    return found


def test_both_ways_find_the_same_pending(drifting, planners, capsys):
    sets = drawn(SETS, sorted(DRIFTS))
    assert plan_both_ways(planners) == {"pyinfra": [], "slipway": []}
    differences, pending = [], set()
    for number, drifts in enumerate(sets):
        drifting.break_by(drifts)
        found = plan_both_ways(planners)
        drifting.state("restore")
        pending |= {*found["slipway"]}
        if found["pyinfra"] != found["slipway"] or not found["slipway"]:
            differences.append((drifts, found))
        with capsys.disabled():
            print(f"\r  {number + 1} of {SETS} sets, {len(differences)} differ", end="", flush=True)
    assert differences == []
    assert plan_both_ways(planners) == {"pyinfra": [], "slipway": []}, "not all was put back"
    with capsys.disabled():
        print(f"\n  {len(pending)} operations were pending in some of them", flush=True)


def by_slipway(server: LabHost) -> None:
    server.apply()


def by_pyinfra(server: LabHost) -> None:
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", "lab/inventory.py", "deploy.py"]
    done = subprocess.run(command, cwd=PROJECT, env=server.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


WAYS: list[Callable[[LabHost], None]] = [by_slipway, by_pyinfra]


@pytest.mark.parametrize("number", range(APPLIED))
def test_both_ways_make_the_same_of_it(server, drifting, number):
    # All that is drifted at some time, dealt out; what dpkg was told is not true can't be mended by it.
    names = [name for name in sorted(DRIFTS) if STATUS not in DRIFTS[name]]
    drifts = random.Random(SEED).sample(names, len(names))[number::APPLIED][:12]
    before = drifting.fingerprint()
    made = []
    for apply in WAYS:
        drifting.state("restore")
        drifting.break_by(drifts)
        apply(server)
        made.append(drifting.fingerprint())
    by_slipway, by_pyinfra = made
    assert differences(by_slipway, by_pyinfra) == {}, drifts
    assert differences(by_slipway, before) == {}, drifts


def differences(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {what: (one.get(what), other.get(what)) for what in {*one, *other} if one.get(what) != other.get(what)}
