"""Alarms, each proven by causing it, with a mail server and webhooks on the host itself."""

from __future__ import annotations

import json
import time

import pytest

from support.alarms import MAIL, TOKEN, URL, install_takers, taken
from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

ON = [
    *(*MAIL, "--data", 'alarm_webhooks={"team": "json"}'),
    *("--data", "alarm_heartbeat=true"),
]
SECRETS = {
    "SLIPWAY_SECRET_ALARM_URL_TEAM": f"{URL}/{TOKEN}",
    "SLIPWAY_SECRET_ALARM_HEARTBEAT_URL": f"{URL}/beat",
}
# For a dead unit; checks are 30 s apart.
SECONDS = 120


@pytest.fixture(scope="module", autouse=True)
def ringing(server: LabHost) -> None:
    server.env |= SECRETS
    install_takers(server)
    server.apply(*ON)
    assert server.plan(*ON) == []
    wait_until("the host has looked at itself", lambda: "/beat" in server.ssh("cat /root/taken"))


def rings(server: LabHost, cause: str, text: str) -> float:
    """The seconds until a message with a text arrived."""
    before, began = len(taken(server)), time.monotonic()
    server.ssh(cause)
    wait_until(
        f"a message about {text}",
        lambda: any(text in line for one in taken(server)[before:] for line in one["lines"] if "resolved" not in line),
        SECONDS * 3,
    )
    return time.monotonic() - began


def test_a_message_reaches_everybody(server: LabHost) -> None:
    done = server.slipway("alarms", "test", "lab", *ON)
    assert done.returncode == 0, done.stderr
    assert "mail: sent" in done.stdout
    assert "team: sent" in done.stdout
    wait_until("the mail is there", lambda: "This is a test" in server.ssh("cat /var/mail/ops || :"))


# A file system of its own: the disk is the machine's, and other tests need it.
FILL = "mount -t tmpfs -o size=64M none /srv && fallocate -l 62M /srv/full"
FAIL_REQUESTS = """
cp -a /etc/nginx/nginx.conf /root/
sed -i 's/^http {/http { server { listen 127.0.0.1:8099; return 502; }/' /etc/nginx/nginx.conf; nginx -s reload
sleep 1; for i in $(seq 40); do curl -s 127.0.0.1:8099 > /dev/null; done
"""
ERRORS = "answers of the last 5 minutes were server errors"
# By name: the cause, its fix, and the text of the alarm.
# Errors first: the other causes make some, too.
CAUSES = {
    "errors": (FAIL_REQUESTS, "cp -a /root/nginx.conf /etc/nginx/; nginx -s reload", ERRORS),
    "a failed unit": (
        "systemd-run --quiet --unit=boom false || :",
        "systemctl reset-failed boom",
        "boom.service failed",
    ),
    "nginx": ("systemctl stop nginx", "systemctl start nginx", "nginx.service is not running"),
    "mongod": ("systemctl stop mongod", "systemctl start mongod", "mongod.service is not running"),
    "disk": (FILL, "umount /srv", "of the space of /srv is used"),
}


@pytest.mark.parametrize("what", CAUSES)
def test_what_breaks_is_reported_once_and_again_when_it_is_well(server: LabHost, what: str) -> None:
    cause, cure, text = CAUSES[what]
    seconds = rings(server, cause, text)
    assert seconds < SECONDS
    server.ssh(cure)
    lines = [line for message in taken(server) for line in message["lines"] if "resolved" not in line]
    assert len([line for line in lines if text in line]) == 1
    if text != ERRORS:  # which resolves after five minutes
        wait_until(
            "it is resolved",
            lambda: any(text in line and "resolved" in line for one in taken(server) for line in one["lines"]),
            SECONDS * 3,
        )


def test_a_disk_that_cannot_be_written_silences_nothing(server: LabHost) -> None:
    before = len(taken(server))
    server.ssh("mount -t tmpfs -o ro,mode=700 none /var/lib/slipway/alarms")
    rings(server, "systemd-run --quiet --unit=unwritten false || :", "unwritten.service failed")
    text = "the alarms can't write their state: Read-only file system"
    wait_until("that is told too", lambda: text in json.dumps(taken(server)[before:]), SECONDS * 3)
    time.sleep(70)
    assert sum(text in str(one["lines"]) for one in taken(server)[before:]) == 1
    assert "unwritten.service failed" in server.ssh("journalctl -u slipway-alarms --no-pager")
    server.ssh("umount /var/lib/slipway/alarms; systemctl reset-failed unwritten")
    wait_until("it is resolved", lambda: "resolved" in str(taken(server)[-1:]), SECONDS * 3)
    assert server.ssh("find /run/slipway-alarms -type f ! -name lock") == ""


def test_messages_wait_while_the_webhook_is_away_and_the_heart_does_not_beat_meanwhile(server: LabHost) -> None:
    server.wait_until_healthy()
    server.ssh("touch /run/refuse; systemd-run --quiet --unit=later false || :")
    wait_until("a message waits", lambda: "messages wait" in server.slipway("status", "lab", *ON).stdout, SECONDS * 3)
    beats = server.ssh("grep -c /beat /root/taken")
    time.sleep(40)
    assert server.ssh("grep -c /beat /root/taken") == beats
    assert TOKEN not in server.ssh("journalctl --no-pager; cat /proc/*/cmdline 2> /dev/null | tr '\\0' ' '")
    server.ssh("rm /run/refuse")
    wait_until("it was sent", lambda: "later.service failed" in json.dumps(taken(server)), SECONDS * 3)
    server.ssh("systemctl reset-failed later")


def test_releases_and_restarts_ring_for_nobody(server: LabHost) -> None:
    wait_until("all is well", lambda: "alarms      none" in server.slipway("status", "lab", *ON).stdout, SECONDS * 4)
    before = len(taken(server))
    for _ in range(3):
        server.release(*ON)
    server.ssh("systemctl restart mongod nginx; nginx -s reload")
    time.sleep(70)
    assert taken(server)[before:] == []


SLOW = """
const site = db.getSiblingDB("codementee");
site.setProfilingLevel(0, { slowms: 0 });
for (let n = 0; n < 200; n++) site.users.findOne({ nobody: n });
site.setProfilingLevel(0, { slowms: 100 });
"""


def test_many_slow_operations_of_mongodb_ring(server: LabHost) -> None:
    rings(server, mongosh(SLOW), "slow operations in 5 minutes")


def test_switched_off_it_is_gone(server: LabHost) -> None:
    for name in SECRETS:
        del server.env[name]
    assert "Stop alarms where nobody is told any more" in server.operations()
    server.apply()
    assert server.plan() == []
    assert server.ssh("ls /etc/systemd/system/service.d 2> /dev/null || :") == ""
