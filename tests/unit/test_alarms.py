"""The alarms' checks and messages, on a fake host."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from slipway.alarms import checks, messages, program, storage
from slipway.alarms import host as alarms_host
from slipway.alarms.host import Host
from slipway.alarms.problems import Problem
from slipway.settings.check import SettingsError
from support.made_up import SITE, MadeUp, facts, found


@pytest.fixture
def host(tmp_path, monkeypatch) -> MadeUp:
    monkeypatch.setattr(storage, "STATE", f"{tmp_path}/state")
    monkeypatch.setattr(storage, "RUN", f"{tmp_path}/run")
    return MadeUp()


def test_any_failed_unit_is_reported(host):
    host.commands["systemctl list-units"] = (0, "backup-of-mine.service loaded failed failed Mine\n")
    assert found(checks.units, host) == {"unit backup-of-mine.service": "backup-of-mine.service failed"}


def test_a_stopped_unit_is_reported_unless_the_site_is_in_maintenance(host):
    host.commands["systemctl show"] = (0, "Id=nginx.service\nActiveState=inactive\nNRestarts=0\nLoadState=loaded\n")
    assert found(checks.units, host) == {"unit nginx.service": "nginx.service is not running"}
    host.times[SITE.maintenance] = host.time
    assert found(checks.units, host) == {}


@pytest.mark.parametrize(("code", "expected"), [(0, {}), (3, {"unit ssh.service": "ssh.service is not running"})])
def test_a_unit_that_waits_for_its_socket_is_well(host, code, expected):
    properties = ("Id=ssh.service", "ActiveState=inactive", "NRestarts=0", "LoadState=loaded", "TriggeredBy=ssh.socket")
    host.commands["systemctl show"] = (0, "\n".join(properties))
    host.commands["systemctl is-active"] = (code, "")
    assert found(checks.units, host) == expected


def test_backups_that_are_late_say_why_and_other_tests_of_health_say_nothing(host):
    host.commands["systemctl is-active"] = (0, "active\n")
    host.commands["sh -c"] = (1, "the last slice in repository far\nis 8 minutes old\n")
    health = {"slipway-slice.timer": "fresh slice", "nginx.service": "curl"}
    assert found(checks.health, host, health=health) == {
        "health slipway-slice.timer": "slipway-slice.timer is running but unhealthy: the last slice in repository far"
        " is 8 minutes old",
        "health nginx.service": "nginx.service is running but unhealthy",
    }


def test_a_crash_looping_unit_is_reported(host):
    memory: dict[str, Any] = {}
    seen = []
    for count in (0, 1, 2, 3, 3):
        shown = f"Id=nginx.service\nActiveState=activating\nNRestarts={count}\nLoadState=loaded\n"
        host.commands["systemctl show"] = (0, shown)
        seen.append(found(checks.units, host, memory))
        host.time += 30
    assert seen[:3] == [{}] * 3
    assert seen[3] == {"unit nginx.service": "nginx.service is crash-looping"}
    host.time += checks.RESTART_SECONDS
    assert found(checks.units, host, memory) == {}


@pytest.mark.parametrize(("path", "status"), [("/", 0), ("/", 502), ("/api/health", 503)])
def test_a_site_that_does_not_answer_is_reported_with_its_path(host, path, status):
    host.answers[path] = status
    (said,) = found(checks.sites, host).values()
    assert f"shop.example{path} " in said
    host.times[SITE.maintenance] = host.time
    assert found(checks.sites, host) == {}


def test_server_errors_are_reported_above_their_rate_in_new_lines(host):
    def log(ok: int, failed: int) -> None:
        lines = ['1.2.3.4 - - [29/Nov/2026:15:00:00 +0000] "GET / HTTP/2.0" 200 5 "-" "x"\n'] * ok
        lines += ['1.2.3.4 - - [29/Nov/2026:15:00:00 +0000] "GET /a HTTP/2.0" 502 5 "-" "x"\n'] * failed
        host.files[checks.ACCESS_LOG] = host.files.get(checks.ACCESS_LOG, "") + "".join(lines)

    memory: dict[str, Any] = {}
    log(0, 500)  # from before the first check
    assert found(checks.errors, host, memory) == {}
    log(5, 5)
    assert found(checks.errors, host, memory) == {}, "too few to be a rate"
    log(90, 0)
    assert found(checks.errors, host, memory) == {}
    log(0, 2)
    assert [*found(checks.errors, host, memory).values()] == [
        "7 of 102 answers of the last 5 minutes were server errors"
    ]
    host.time += checks.ERROR_SECONDS
    assert found(checks.errors, host, memory) == {}


def test_a_site_in_maintenance_hides_no_errors_of_another(host):
    other = SITE._replace(domain="other.example", maintenance="/var/www/other/maintenance")
    memory: dict[str, Any] = {"log_end": 0}

    def seen(*statuses: int) -> list[str]:
        line = '1.2.3.4 - - [29/Nov/2026:15:00:00 +0000] "GET / HTTP/2.0" {} 5 "-" "x"\n'
        host.files[checks.ACCESS_LOG] = host.files.get(checks.ACCESS_LOG, "") + "".join(map(line.format, statuses))
        return [*found(checks.errors, host, memory, sites=[SITE, other])]

    host.times[SITE.maintenance] = host.time
    assert seen(*[503] * 50) == []
    del host.times[SITE.maintenance]
    assert seen(*[503] * 50) == [], "from before it was opened"
    host.times[SITE.maintenance] = host.time
    assert seen(*[503] * 50, *[502] * 20) == ["errors"]


@pytest.mark.parametrize(
    ("lifetime", "left", "rings"), [(90, 31, False), (90, 23, False), (90, 22, True), (6, 2, False), (6, 1.4, True)]
)
def test_a_certificate_is_reported_when_its_renewals_fail(host, lifetime, left, rings):
    def date(days: float) -> str:
        then = datetime.fromtimestamp(host.time + days * checks.DAY, UTC)
        return then.strftime("%b %d %H:%M:%S %Y GMT")

    text = f"notBefore={date(left - lifetime)}\nnotAfter={date(left)}\n"
    host.commands["openssl"] = (0, text)
    assert bool(found(checks.certificates, host)) is rings
    assert bool(found(checks.certificates, host, sites=[])) is False
    of_server = found(checks.certificates, host, sites=[], server_certificates={"this server": "server.pem"})
    assert [*of_server] == ["certificate this server"] * rings


def test_a_renewed_certificate_that_nginx_does_not_serve_is_reported(host):
    import ssl

    host.files[f"{SITE.certificate}/fullchain.pem"] = ssl.DER_cert_to_PEM_cert(b"new") + ssl.DER_cert_to_PEM_cert(b"ca")
    memory: dict[str, Any] = {}
    host.served_certificate = b"new"
    assert found(checks.certificates, host, memory) == {}
    host.served_certificate = b"old"
    assert found(checks.certificates, host, memory) == {}, "it may be about to reload"
    host.time += checks.RELOAD_SECONDS
    assert found(checks.certificates, host, memory) == {
        "served shop.example": "Nginx does not serve the certificate of shop.example that is on the disk"
    }
    host.served_certificate = b"new"
    assert found(checks.certificates, host, memory) == {}


def test_the_disks_of_the_data_are_watched_and_one_that_does_not_answer_holds_up_nothing(host, monkeypatch):
    host.used = {"/": (1, 10.0, 10.0), "/data/db": (2, 95.0, 10.0)}
    assert [*found(checks.disks, host, folders=["/data/db"]).values()] == ["95 % of the space of /data/db is used"]
    release = threading.Event()
    monkeypatch.setattr(alarms_host.os, "statvfs", lambda path: release.wait())
    monkeypatch.setattr(host, "usage", lambda path: Host().usage(path, 0.1))
    assert "the file system of / does not answer" in found(checks.disks, host).values()
    release.set()


def test_a_full_disk_is_reported_once_for_all_of_its_folders(host):
    host.used = {"/": (1, 95.0, 10.0), "/var": (1, 95.0, 10.0), "/srv": (2, 1.0, 99.0)}
    assert [*found(checks.disks, host).values()] == [
        "95 % of the space of / is used",
        "99 % of the inodes of /srv is used",
    ]


def test_memory_pressure_and_oom_kills_are_reported(host):
    memory: dict[str, Any] = {}
    host.files["/proc/pressure/memory"] = "some avg10=0.00 avg60=0.00 avg300=34.10 total=1\nfull avg10=0.00"
    host.files["/sys/fs/cgroup/system.slice/memory.events"] = "low 0\noom_kill 3\n"
    assert [*found(checks.memory_pressure, host, memory)] == ["memory"]
    host.files["/sys/fs/cgroup/system.slice/memory.events"] = "low 0\noom_kill 4\n"
    assert [*found(checks.memory_pressure, host, memory)] == ["memory", "oom"]
    host.time += checks.EVENT_SECONDS
    assert [*found(checks.memory_pressure, host, memory)] == ["memory"]


def test_a_login_from_a_new_address_is_reported(host):
    memory: dict[str, Any] = {}
    host.commands["journalctl"] = (0, "Accepted publickey for admin from 192.0.2.1 port 1 ssh2\n")
    assert found(checks.logins, host, memory) == {}
    host.commands["journalctl"] = (0, "Accepted publickey for admin from 198.51.100.7 port 1 ssh2\n")
    host.time += 30
    (said,) = found(checks.logins, host, memory).values()
    assert said == "admin logged in from the new address 198.51.100.7"


# --- Messages


def problem(text: str = "nginx.service is not running", at_once: bool = False) -> Problem:
    return Problem(text, "the site is down", "systemctl start nginx", at_once)


def test_a_problem_is_reported_once_at_its_second_detection_and_resolved_after_two_checks():
    state: dict[str, Any] = {}
    told = [messages.changes(state, seen, 0) for seen in ({"a": problem()},) * 4 + ({},) * 4]
    assert [len(broken) for broken, _ in told] == [0, 1, 0, 0, 0, 0, 0, 0]
    assert [len(well) for _, well in told] == [0, 0, 0, 0, 0, 1, 0, 0]
    assert "type:  systemctl start nginx" in told[1][0][0]


def test_a_problem_that_is_gone_at_the_second_check_is_not_reported():
    state: dict[str, Any] = {}
    for seen in ({"a": problem()}, {}) * 5:
        assert messages.changes(state, seen, 0) == ([], [])


def test_a_clear_failure_is_reported_at_once_and_flapping_only_once():
    state: dict[str, Any] = {}
    looks = ({"a": problem(at_once=True)}, {}) * 4
    assert [len(messages.changes(state, seen, 0)[0]) for seen in looks] == [1] + [0] * 7


class Hook:
    """A server for webhooks, which can be told to refuse them."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.status = 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status == 200:
                    outer.bodies.append(json.loads(body))
                self.send_response(outer.status)
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/services/secret-token"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()


def test_a_message_is_retried_and_no_error_shows_the_secret(host, hook, tmp_path, monkeypatch):
    (tmp_path / "ALARM_URL_TEAM").write_text(hook.url + "\n")
    here = facts(mail_to=[], webhooks={"team": "slack"}, credentials=str(tmp_path), sites=[], units=[])
    monkeypatch.setattr(program, "CHECKS", (lambda *_: iter([("a", problem(at_once=True))]),))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    hook.status = 500
    (failure,) = program.look(here, host)
    assert "secret-token" not in failure
    assert program.tell().startswith("nginx.service is not running (")
    assert "1 messages wait" in program.tell()
    hook.status = 200
    assert program.look(here, host) == []
    assert messages.waiting() == []
    (body,) = hook.bodies
    assert body["text"].startswith("shop.example: nginx.service is not running\n")


@pytest.mark.parametrize(("status", "is_kept"), [(400, False), (413, False), (404, True), (429, True), (503, True)])
def test_a_message_that_a_webhook_refuses_does_not_hold_up_the_others(
    host, hook, tmp_path, monkeypatch, status, is_kept
):
    (tmp_path / "ALARM_URL_TEAM").write_text(hook.url)
    here = facts(mail_to=[], webhooks={"team": "slack"}, credentials=str(tmp_path))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for number in (1, 2):
        messages.queue(here, f"{number}", ["x" * 3000], host.time + number)
    hook.status = status
    assert len(messages.send(here, host)) == (1 if is_kept else 2)
    hook.status = 200
    messages.send(here, host)
    assert [body["text"][0] for body in hook.bodies] == (["1", "2"] if is_kept else [])
    assert all(len(body["text"]) < 2000 for body in hook.bodies)
    assert messages.waiting() == []


def test_a_check_that_fails_is_reported_and_hides_no_other(host, monkeypatch):
    def broken(*_: object) -> Iterator[tuple[str, Problem]]:
        raise KeyError("x")

    monkeypatch.setattr(program, "CHECKS", (broken, lambda *_: iter([("a", problem(at_once=True))])))
    program.look(facts(smtp="127.0.0.1:1"), host)
    host.time += 30
    program.look(facts(smtp="127.0.0.1:1"), host)
    state = program.read_state()
    assert {key for key, its in state["open"].items() if its["told"]} == {"a", "check broken"}
    assert len(messages.waiting()) == 2


def test_a_message_is_dropped_after_days(host):
    here = facts(smtp="127.0.0.1:1")
    messages.queue(here, "shop.example: x", ["x"], host.time)
    assert len(messages.send(here, host)) == 1
    host.time += messages.QUEUE_SECONDS + 1
    assert messages.send(here, host) == []
    assert messages.waiting() == []


def test_addresses_without_a_mail_server_are_one_error_that_names_the_setting(settings_with):
    with pytest.raises(SettingsError) as caught:
        settings_with(alarm_mail_to=["ops@shop.example"], alarm_webhooks={"team": "json"}, alarm_heartbeat=True)
    about_mail = [line for line in caught.value.problems if "a mail server" in line]
    assert len(about_mail) == 1
    assert "alarm_smtp: found" in about_mail[0]


def test_a_webhook_of_the_name_of_the_mail_is_refused(settings_with):
    with pytest.raises(SettingsError) as caught:
        settings_with(alarm_webhooks={"mail": "slack"})
    (problem,) = [line for line in caught.value.problems if "alarm_webhooks" in line]
    assert 'not "mail"' in problem


def test_the_heartbeat_beats_only_where_nothing_is_wrong_and_all_was_told(host, hook, tmp_path, monkeypatch):
    beats: list[str] = []
    monkeypatch.setattr(messages, "ask", lambda url, body=None: beats.append(url))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "ALARM_HEARTBEAT_URL").write_text("https://beats.example/secret-token")
    seen: dict[str, Problem] = {}
    monkeypatch.setattr(program, "CHECKS", (lambda *_: iter(seen.items()),))
    here = facts(mail_to=[], credentials=str(tmp_path), heartbeat=True)
    program.look(here, host)
    assert beats == ["https://beats.example/secret-token"]
    # Also while it is not told yet: it may be the last look.
    seen["a"] = problem()
    program.look(here, host)
    assert len(beats) == 1
    seen.clear()
    unsent = here._replace(mail_to=["ops@shop.example"], smtp="127.0.0.1:1")
    messages.queue(unsent, "shop.example: x", ["x"], host.time)
    assert len(program.look(unsent, host)) == 1
    for _ in range(3):
        program.look(unsent, host)
    assert len(beats) == 1
