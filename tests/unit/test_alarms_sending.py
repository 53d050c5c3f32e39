"""The alarms where the disk can't be written, and what a mail server refuses, on a fake host."""

from __future__ import annotations

import os
import smtplib
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from slipway.alarms import messages, program, storage
from slipway.alarms.problems import Problem
from support.made_up import MadeUp, facts

PROBLEM = Problem("nginx.service failed", "the site is down", "journalctl -u nginx", at_once=True)


@pytest.fixture
def host(tmp_path, monkeypatch) -> MadeUp:
    monkeypatch.setattr(storage, "STATE", f"{tmp_path}/state")
    monkeypatch.setattr(storage, "RUN", f"{tmp_path}/run")
    monkeypatch.setattr(program, "CHECKS", ())
    return MadeUp()


class Relay:
    """A mail server whose answers a test sets: its own, and those to addresses."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str]] = []
        self.tries = 0
        self.fails: Exception | None = None
        self.refuses: dict[str, tuple[int, bytes]] = {}

    def __call__(self, *_: object, **__: object) -> Relay:
        self.tries += 1
        return self

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send_message(self, letter: Any, to_addrs: list[str]) -> dict[str, tuple[int, bytes]]:
        if self.fails:
            raise self.fails
        refused = {address: self.refuses[address] for address in to_addrs if address in self.refuses}
        if len(refused) == len(to_addrs):
            raise smtplib.SMTPRecipientsRefused(refused)
        self.taken += [(letter["Subject"], address) for address in to_addrs if address not in refused]
        return refused


@pytest.fixture
def relay(monkeypatch) -> Relay:
    made = Relay()
    monkeypatch.setattr(smtplib, "SMTP", made)
    return made


@pytest.fixture
def disk(monkeypatch):
    """A disk that a test makes read-only."""
    real = {name: getattr(os, name) for name in ("makedirs", "unlink", "replace", "open")}
    wrong: list[OSError] = []

    def guarded(name: str) -> Any:
        def call(path: Any, *more: Any, **options: Any) -> Any:
            writes = name != "open" or more[0] & (os.O_WRONLY | os.O_RDWR)
            if wrong and writes and str(path).startswith(storage.STATE):
                raise wrong[0]
            return real[name](path, *more, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, guarded(name))
    return wrong


def look(host: MadeUp, times: int = 1, **more: Any) -> list[str]:
    lines = []
    for _ in range(times):
        lines += program.look(facts(**more), host)
        host.time += 30
    return lines


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), OSError(28, "No space left on device")])
def test_a_disk_that_cannot_be_written_silences_no_alarm_and_is_told_once(host, relay, disk, monkeypatch, error):
    look(host)
    disk.append(error)
    monkeypatch.setattr(program, "CHECKS", (lambda *_: iter([("a", PROBLEM)]),))
    look(host, 6)
    subjects = [subject for subject, _ in relay.taken]
    assert subjects == [
        "shop.example: nginx.service failed",
        f"shop.example: the alarms can't write their state: {error.strerror}",
    ]
    assert "nginx.service failed; the alarms can't write" in program.tell()
    disk.clear()
    look(host, 4)
    assert [subject for subject, _ in relay.taken][2:] == [f"{subjects[1]}: resolved"]
    assert messages.waiting() == []
    assert [path.name for path in Path(storage.RUN).rglob("*") if path.is_file()] == []


def test_a_message_that_was_sent_from_a_disk_that_became_read_only_is_not_sent_again(host, relay, disk):
    messages.queue(facts(), "shop.example: x", ["x"], host.time)
    disk.append(OSError(30, "Read-only file system"))
    look(host, 3)
    assert relay.taken[0] == ("shop.example: x", "ops@shop.example")
    assert len([one for one in relay.taken if one == relay.taken[0]]) == 1
    disk.clear()
    look(host, 2)
    assert storage.names(messages.QUEUE) == []


def test_a_message_that_the_mail_server_refuses_for_good_does_not_hold_up_the_others(host, relay):
    messages.queue(facts(), "first", ["x"], host.time - 2)
    relay.fails = smtplib.SMTPDataError(554, b"5.7.1 Message rejected as spam")
    assert look(host) == ["mail: refused, will not be retried: 554 5.7.1 Message rejected as spam"]
    relay.fails = None
    messages.queue(facts(), "second", ["x"], host.time)
    look(host)
    assert relay.taken == [("second", "ops@shop.example")]


@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPAuthenticationError(535, b"5.7.8 Bad credentials"),
        smtplib.SMTPSenderRefused(550, b"not your address", "slipway@shop.example"),
        smtplib.SMTPDataError(451, b"try later"),
        ConnectionRefusedError(111, "Connection refused"),
    ],
)
def test_a_mail_server_that_takes_nothing_is_asked_less_often_and_gets_all_in_the_end(host, relay, error):
    for number in range(3):
        messages.queue(facts(), f"{number}", ["x"], host.time + number)
    relay.fails = error
    lines = look(host, 120)
    # An hour: at once, after 30 s, 1, 2, 4, 8 and then every 15 minutes.
    assert relay.tries == len(lines) == 8
    relay.fails = None
    look(host, 31)
    assert [subject for subject, _ in relay.taken] == ["0", "1", "2"]


def test_addresses_that_are_not_taken_yet_get_the_message_later_and_alone(host, relay):
    more = {"mail_to": ["a@shop.example", "b@shop.example", "c@shop.example"]}
    relay.refuses = {"b@shop.example": (450, b"4.2.0 Greylisted"), "c@shop.example": (550, b"5.1.1 No such user")}
    messages.queue(facts(**more), "x", ["x"], host.time)
    assert look(host, **more) == [
        "mail: b@shop.example: not taken yet, will be retried: 450 4.2.0 Greylisted",
        "mail: c@shop.example: refused, will not be retried: 550 5.1.1 No such user",
    ]
    assert look(host, 20, **more) == ["mail: b@shop.example: not taken yet, will be retried: 450 4.2.0 Greylisted"] * 4
    relay.refuses = {}
    assert look(host, 31, **more) == []
    assert [address for _, address in relay.taken] == ["a@shop.example", "b@shop.example"]
    assert messages.waiting() == []


def test_a_test_message_names_the_addresses_that_did_not_get_it(host, relay, capsys):
    here = facts(mail_to=["a@shop.example", "b@shop.example"])
    relay.refuses = {"b@shop.example": (550, b"5.1.1 No such\r\nuser")}
    assert program.test(here, host) == 1
    assert capsys.readouterr().out.splitlines() == [
        "mail: sent",
        "mail: b@shop.example: not sent: 550 5.1.1 No such user",
    ]
    relay.refuses = {}
    assert program.test(here, host) == 0


def test_services_may_start_for_two_minutes_after_a_boot(host, monkeypatch, tmp_path):
    looks: list[float] = []
    monkeypatch.setattr(program, "look", lambda facts, host: looks.append(host.uptime()) or [])
    monkeypatch.setattr(program, "load", lambda folder: facts())
    monkeypatch.setattr(program, "Host", lambda: host)
    monkeypatch.setattr(os, "umask", lambda mask: 0)
    for seconds in (20.0, 121.0):
        monkeypatch.setattr(host, "uptime", lambda seconds=seconds: seconds)
        assert program.main("look") == 0
    assert looks == [121.0]


@pytest.mark.parametrize(
    ("security", "steps"),
    [("none", ["login", "send"]), ("starttls", ["starttls", "login", "send"]), ("tls", ["tls", "login", "send"])],
)
def test_a_mail_servers_password_is_sent_as_the_connection_is_set(tmp_path, monkeypatch, security, steps):
    done: list[str] = []

    class Server:
        def __init__(self, *_: object, **options: Any) -> None:
            done.extend(["tls"] if "context" in options else [])

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def starttls(self, context: Any) -> None:
            assert context.verify_mode.name == "CERT_REQUIRED"
            done.append("starttls")

        def login(self, user: str, password: str) -> None:
            assert (user, password) == ("shop", "of-the-relay")
            done.append("login")

        def send_message(self, letter: Any, to_addrs: list[str]) -> dict[str, tuple[int, bytes]]:
            assert letter["To"] == "ops@shop.example"
            assert to_addrs == ["ops@shop.example"]
            done.append("send")
            return {}

    monkeypatch.setattr(smtplib, "SMTP", Server)
    monkeypatch.setattr(smtplib, "SMTP_SSL", Server)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    (tmp_path / "ALARM_SMTP_PASSWORD").write_text("of-the-relay\n")
    here = facts(credentials=str(tmp_path), smtp_security=security, smtp_user="shop")
    messages.mail(here, {"time": 0, "subject": "x", "lines": ["x"]})
    assert done == steps


def test_a_webhook_that_hangs_is_given_up_and_its_message_waits(host, tmp_path, monkeypatch):
    assert messages.SECONDS == 10
    monkeypatch.setattr(messages, "SECONDS", 0.3)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    here = facts(mail_to=[], webhooks={"team": "slack"}, credentials=str(tmp_path))
    messages.queue(here, "down", ["nginx"], host.time)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "ALARM_URL_TEAM").write_text(f"http://127.0.0.1:{silent.getsockname()[1]}/secret-token")
        begun = time.monotonic()
        (failure,) = messages.send(here, host)
    assert time.monotonic() - begun < 5
    assert failure == "team: not sent, will be retried: timed out"
    assert len(messages.waiting()) == 1
