"""The alarms of docs/alarms.md that test_alarms.py does not cause: many at a time, as one look finds all of them.

The timer is stopped: the tests start each look. What rings only after minutes or days is aged, on the disk or in what
the alarms remember. A container can't cause these: memory pressure, OOM kills, an oplog that is full.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from slipway.alarms.updates import REFRESHED
from support import backups, newer_packages
from support.alarms import DELAYS, MAIL, QUEUE, TOKEN, URL, age, install_takers, look, taken, told
from support.lab_host import LabHost
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

# The first would hold up the second, as it comes first in the queue.
ON = [
    *(*MAIL, *backups.ON, "--data", 'alarm_webhooks={"away": "slack", "team": "json"}'),
    *("--data", "alarm_logins=true"),
]
SECRETS = {
    "SLIPWAY_SECRET_ALARM_URL_AWAY": f"{URL}/away",
    "SLIPWAY_SECRET_ALARM_URL_TEAM": f"{URL}/{TOKEN}",
    "SLIPWAY_SECRET_BACKUP_PASSWORD": backups.PASSWORD,
}
SITE, TLS = "/etc/nginx/sites-available/codementee", "/etc/nginx/tls/codementee/fullchain.pem"
RELOAD = "systemctl reload nginx"


class Cause(NamedTuple):
    """How something breaks, what the message says, and how it is well again; in between, what the alarms remember of it
    (`aged`) or of a single event (`over`) gets older. `shows` is in the output of the message's command."""

    begin: str
    text: str
    end: str
    aged: str = ""
    over: str = ""
    shows: str = ""


def respond(answer: str) -> str:
    """Let Nginx answer otherwise to requests of the page."""
    return f"cp {SITE} /root/site; sed -i 's/location = [/] {{/& return {answer};/' {SITE}; {RELOAD}"


LOGIN = """
[ -e /root/own ] || ssh-keygen -q -t ed25519 -N '' -f /root/own; keys=/home/admin/.ssh/authorized_keys
cp -a $keys /root/keys; cat /root/own.pub >> $keys
ssh -i /root/own -o StrictHostKeyChecking=no -o BatchMode=yes -b 127.0.0.9 admin@127.0.0.1 true; cp -a /root/keys $keys
"""
# Of 90 days ten are left, as where its renewals have failed.
OLD_CERTIFICATE = f"""
cp -L {TLS} /root/fullchain.pem
faketime -f -80d openssl req -x509 -key {TLS.replace("fullchain", "privkey")} -days 90 -subj /CN=old -out /root/old.pem
cat /root/old.pem > {TLS}
"""
LATE_BACKUPS = f"""
mv {backups.PLACE} /srv/away; systemctl start slipway-slice 2> /dev/null || :
python3 - <<'END'
import json
state = json.load(open("{backups.STATE}"))
state["sliced"]["near"] -= 600
state["full"]["time"] -= 27 * 3600
json.dump(state, open("{backups.STATE}", "w"))
END
"""
FIRST = [
    Cause(
        "for n in 1 2 3; do systemctl kill -s KILL codementee-backend; sleep 4; done",
        "codementee-backend.service is crash-looping",
        "systemctl restart codementee-backend",
        shows="code=killed, status=9/KILL",
    ),
    Cause(
        "mount -t tmpfs -o nr_inodes=50,mode=755 none /boot; touch /boot/file$(seq -s ' /boot/file' 46)",
        "94 % of the inodes of /boot is used",
        "umount /boot",
        shows="47\t/boot",
    ),
    Cause(
        ":",  # offered before
        "1 security updates pending for more than 3 days: hostname",
        "unattended-upgrade",
        aged='memory["updates"]["hostname"] -= 3 * DAY',
        shows="/srv/newer/./hostname_",
    ),
    Cause(
        f"touch -d '-4 days' {REFRESHED}",
        "apt's lists were not refreshed for 4 days",
        "apt-get -q update",
        aged='memory["lists_since"] -= 5 * DAY',
        shows="Reading package lists...",
    ),
    Cause(
        "touch -d '-4 days' /run/reboot-required",
        "a reboot has been required for more than 3 days",
        "rm /run/reboot-required",
    ),
    Cause(
        LOGIN,
        "admin logged in from the new address 127.0.0.9",
        ":",
        over='memory["addresses"]["127.0.0.9"][1] -= HOUR',
        shows="ED25519 SHA256:",
    ),
    Cause("fail2ban-client stop sshd", "fail2ban.service is running but unhealthy", "systemctl restart fail2ban"),
    Cause(respond("500"), "the site DOMAIN/ answers 500", f"cp /root/site {SITE}; {RELOAD}", shows="HTTP/2 500"),
    Cause(
        OLD_CERTIFICATE, "the certificate of DOMAIN expires in 10 days", f"cat /root/fullchain.pem > {TLS}; {RELOAD}"
    ),
    Cause(
        ":",  # the certificate above
        "Nginx does not serve the certificate of DOMAIN that is on the disk",
        ":",
        aged='memory["not_served"] = {name: then - 10 * MINUTE for name, then in memory["not_served"].items()}',
        shows="test is successful",
    ),
    Cause(
        LATE_BACKUPS,
        "slipway-slice.service failed",
        f"mv /srv/away {backups.PLACE}; systemctl start slipway-backup slipway-slice",
        shows="unable to open config file",
    ),
    Cause(
        ":",
        r"slipway-slice.timer is running but unhealthy: the last slice in repository near is \d+ minutes old",
        ":",
        shows="unable to open config file",
    ),
    Cause(":", "slipway-backup.timer is running but unhealthy: the last full backup is 27 hours old", ":"),
]
UNSYNCHRONIZED = Cause(
    # In a container the alarms don't look at the clock.
    "printf '#!/bin/sh\\nexit 1\\n' > /usr/local/bin/systemd-detect-virt; chmod +x /usr/local/bin/systemd-detect-virt",
    "the clock has not been synchronized for 15 minutes",
    "rm /usr/local/bin/systemd-detect-virt",
    aged='memory["clock_since"] -= 16 * MINUTE',
)
CUT_FROM_MONGODB = """
systemctl stop slipway-slice.timer; systemctl stop slipway-slice.service
nft add table inet cut; nft add chain inet cut out '{ type filter hook output priority 0; }'
nft add rule inet cut out tcp dport 27017 reject with tcp reset
"""
UNPACK = """
mkdir -p /root/broken/DEBIAN; cat > /root/broken/DEBIAN/control <<END
Package: wants-nothing-there-is
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a package that can't be installed
Depends: nothing-there-is
END
dpkg-deb --build /root/broken /root/broken.deb > /dev/null; dpkg --unpack /root/broken.deb > /dev/null
"""
SECOND = [
    Cause(
        CUT_FROM_MONGODB, "the backend DOMAIN/api/health answers 503", "nft delete table inet cut", shows="HTTP/2 503"
    ),
    Cause(":", "slipway-slice.timer is not running", "systemctl start slipway-slice.timer"),
    Cause(
        respond("444"), r"the site DOMAIN/ does not answer \(.+\)", f"cp /root/site {SITE}; {RELOAD}", shows="curl: ("
    ),
    Cause(
        UNPACK,
        "apt has not been able to compute updates for an hour",
        "dpkg --purge wants-nothing-there-is",
        aged='memory["updates_failing"] -= HOUR + 1',
        shows="wants-nothing-there-is : Depends: nothing-there-is but it is not installable",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def ringing(server: LabHost) -> None:
    server.env |= SECRETS
    install_takers(server)
    server.ssh("apt-get install -y -q faketime > /dev/null")
    server.apply(*ON)
    wait_until(
        "there is a full backup", lambda: "full" in backups.state(server) and not backups.state(server)["awaits"]
    )
    server.ssh("systemctl stop slipway-alarms.timer")
    look(server)
    assert taken(server) == []


def told_and_resolved(server: LabHost, causes: Sequence[Cause]) -> None:
    """Cause problems, each of which must be told once, and nothing else; end them, and all must be resolved."""
    before = len(taken(server))
    server.ssh("\n".join(cause.begin for cause in causes))
    # They are computed once an hour.
    age(server, 'memory["updates_time"] = 0')
    look(server, 1)
    age(server, "\n".join(cause.aged for cause in causes))
    look(server, 3)
    said = told(taken(server)[before:])
    patterns = {cause.text.replace("DOMAIN", re.escape(server.record.domain)): cause for cause in causes}
    assert [text for text in said.broken if not any(re.fullmatch(pattern, text) for pattern in patterns)] == []
    assert len(said.broken) == len(causes), said.broken
    for pattern, cause in patterns.items():
        ((_, command),) = [one for one in said.broken.items() if re.fullmatch(pattern, one[0])]
        if cause.shows:
            assert cause.shows in on_the_host(server, command), command
    count = len(taken(server))
    server.ssh("\n".join(cause.end for cause in causes))
    server.wait_until_healthy()
    age(server, "\n".join(cause.over for cause in causes))
    look(server, 3)
    well = told(taken(server)[count:])
    assert well.broken == {}
    assert [text for text in patterns if not any(re.fullmatch(text, one) for one in well.well)] == []
    assert server.ssh("/usr/lib/slipway/alarms tell").startswith("none ")


def on_the_host(server: LabHost, command: str) -> str:
    """The output of the parts of a command that don't need Slipway, whatever their exit codes."""
    parts = [part for part in command.split("; ") if not part.startswith("slipway ")]
    script = "\n".join(["export SYSTEMD_PAGER=cat", *parts])
    done = subprocess.run(server.record.ssh_argv(script), capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


def test_each_problem_of_a_host_is_told_once_with_a_command_that_helps_and_resolved(server: LabHost) -> None:
    version = "99.0"
    newer_packages.offer(server, "hostname", version)
    newer_packages.call_security(server)
    # As the machine that the lab runs on has it.
    is_synchronized = server.ssh("timedatectl show --property=NTPSynchronized --value") == "yes"
    told_and_resolved(server, FIRST if is_synchronized else [*FIRST, UNSYNCHRONIZED])
    assert server.ssh("dpkg-query -W -f '${Version}' hostname") == version
    newer_packages.withdraw(server)


def test_each_problem_of_a_site_and_of_apt_is_told_once_with_a_command_that_helps_and_resolved(server: LabHost) -> None:
    told_and_resolved(server, SECOND)


def test_many_units_that_fail_at_the_same_time_are_all_told_and_stop_no_look(server: LabHost) -> None:
    before = len(taken(server))
    server.ssh("for n in $(seq 12); do systemd-run --quiet --unit=many$n false; sleep 0.5; done")
    look(server, 1)
    assert server.ssh("systemctl is-failed slipway-alarms || :") != "failed"
    # No look warns of anything of its own.
    assert server.ssh("journalctl --quiet --no-pager -o cat -p warning -u slipway-alarms") == ""
    assert {*told(taken(server)[before:]).broken} == {f"many{n}.service failed" for n in range(1, 13)}
    server.ssh("systemctl reset-failed 'many*'")
    look(server)
    assert len(told(taken(server)[before:]).well) == 12


def test_a_webhook_that_hangs_and_a_mail_server_that_takes_nothing_yet_hold_nobody_up(server: LabHost) -> None:
    server.ssh("touch /run/hang; postconf -e 'smtpd_recipient_restrictions = defer'; systemctl reload postfix")
    before, began = len(taken(server)), time.monotonic()
    server.ssh("systemd-run --quiet --unit=held false")
    wait_until("the other webhook has it", lambda: "held.service failed" in str(taken(server)[before:]), 60)
    look(server, 2)
    assert time.monotonic() - began < 90
    said = server.ssh("journalctl -u slipway-alarms -n 50 -o cat --no-pager")
    assert "away: not sent, will be retried: timed out" in said
    assert "mail: ops@localhost: not taken yet, will be retried: 45" in said
    assert "held.service" not in server.ssh("cat /var/mail/ops")
    assert "held.service" not in str(taken(server, "away"))
    assert "2 messages wait" in server.ssh("/usr/lib/slipway/alarms tell")
    assert len(told(taken(server)[before:]).broken) == 1
    server.ssh("rm /run/hang; postconf -e 'smtpd_recipient_restrictions ='; systemctl reload postfix")
    # As if the minutes until the next attempt had passed.
    server.ssh(f'sed -i -E \'s/"after": [0-9.]+/"after": 0/g\' {QUEUE}/*.json {DELAYS}')
    look(server)
    wait_until("the mail is there", lambda: "held.service failed" in server.ssh("cat /var/mail/ops"), 60)
    assert "held.service failed" in str(taken(server, "away"))
    assert "messages wait" not in server.ssh("/usr/lib/slipway/alarms tell")
    server.ssh("systemctl reset-failed held")
    look(server)
