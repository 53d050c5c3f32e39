"""When problems are reported: one message when something breaks, one when it is resolved. And how they are sent.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from slipway.alarms import storage
from slipway.alarms.host import Facts, Host, secret
from slipway.alarms.problems import Problem

# A single detection may be a restart: a problem opens or is resolved after so many runs in a row.
LOOKS = 2
# Undelivered messages are dropped after this.
QUEUE_SECONDS, QUEUE_FILES = 3 * 86400, 500
SECONDS = 10.0
QUEUE = "queue"
# After a second failure in a row, a recipient is asked again after a minute, then after twice the time, up to this.
FIRST_DELAY, MAX_DELAY = 60, 900
# When each channel is asked again, and how often it has failed.
DELAYS = "delays.json"
# Discord refuses a text of more than 2000 characters.
MAX_TEXT = 1900
# Statuses of a webhook that say that it will never take this message; others are about its URL, or about now.
REFUSED = (400, 413, 415, 422)
# SMTP's answer to MAIL FROM for a message that is too big; other ones of 500 and above are about the sender.
TOO_BIG = 552


class Refused(OSError):
    """A recipient will never take this message, and may take the others."""


# The e-mail addresses that a mail server has refused while it took the message for others, with its code and text.
Refusals = Mapping[str, tuple[int, bytes]]


def changes(state: dict[str, Any], seen: Mapping[str, Problem], now: float) -> tuple[list[str], list[str]]:
    """The new problems, each with what to type, and the resolved ones since the last run; `state` keeps the open
    ones."""
    opened: dict[str, dict[str, Any]] = state.setdefault("open", {})
    broken, well = [], []
    for key, problem in seen.items():
        its = opened.setdefault(key, {"since": now, "looks": 0, "told": False})
        its.update(text=problem.text, looks=its["looks"] + 1, missed=0)
        if not its["told"] and (problem.at_once or its["looks"] >= LOOKS):
            its["told"] = True
            broken.append(
                f"{problem.text} (since {at(its['since'])})\n  means: {problem.meaning}\n  type:  {problem.command}"
            )
    for key in [key for key in opened if key not in seen]:
        its = opened[key]
        its["missed"] = its.get("missed", 0) + 1
        its["looks"] = 0
        if its["missed"] >= LOOKS or not its["told"]:
            del opened[key]
            if its["told"]:
                well.append(f"{its['text']} (since {at(its['since'])}): resolved")
    return broken, well


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def queue(facts: Facts, subject: str, lines: list[str], now: float) -> None:
    """Queue a message for each recipient: it is retried until it is delivered. Raises OSError."""
    channels = [*(["mail"] if facts.mail_to else []), *facts.webhooks]
    for channel in channels:
        message = {"channel": channel, "time": now, "subject": subject, "lines": lines}
        storage.store(f"{QUEUE}/{now:.3f}-{channel}.json", json.dumps(message))


def waiting() -> list[str]:
    """The names of queued messages, oldest first."""
    return [name for name in storage.names(QUEUE) if storage.read(name)]


def send(facts: Facts, host: Host) -> list[str]:
    """Send queued messages; failed ones are retried later. Returns the failures of this run, a line per channel, and
    what was refused."""
    lines: list[str] = []
    before, now = _read_object(DELAYS), host.now()
    delays = {**before}
    asleep = {channel for channel, its in delays.items() if _sleeps(its, now)}
    names = waiting()
    with suppress(OSError):
        # And what could not be removed before.
        for name in {*storage.names(QUEUE)} - {*names[-QUEUE_FILES:]}:
            storage.remove(name)
    for name in names[-QUEUE_FILES:]:
        message = _read_object(name)
        channel = message.get("channel", "")
        is_gone = not _recipients(facts, message) if channel == "mail" else channel not in facts.webhooks
        if is_gone or now - message["time"] > QUEUE_SECONDS:
            storage.remove(name)
        elif channel not in asleep and not _sleeps(message, now):
            try:
                lines += _sent(name, message, post(facts, message), now)
                delays.pop(channel, None)
            except Refused as error:
                storage.remove(name)
                lines.append(f"{channel}: refused, will not be retried: {_without_urls(error)}")
            except (OSError, ValueError) as error:
                asleep.add(channel)
                delays[channel] = _delayed(delays.get(channel, {}), now)
                lines.append(f"{channel}: not sent, will be retried: {_without_urls(error)}")
    if delays != before:
        with suppress(OSError):
            storage.store(DELAYS, json.dumps(delays))
    return lines


def _sent(name: str, message: dict[str, Any], refusals: Refusals, now: float) -> list[str]:
    """Take a message that was sent from the queue, but for the addresses that may take it later. Returns a line for
    each refusal."""
    later = [address for address, (code, _) in refusals.items() if code < 500]
    if later:
        storage.store(name, json.dumps({**_delayed(message, now), "to": later}))
    else:
        storage.remove(name)
    return [f"mail: {line}" for line in in_words(refusals)]


def in_words(refusals: Refusals) -> list[str]:
    return [
        f"{address}: {'not taken yet, will be retried' if code < 500 else 'refused, will not be retried'}:"
        f" {code} {one_line(text)}"
        for address, (code, text) in refusals.items()
    ]


def _recipients(facts: Facts, message: Mapping[str, Any]) -> list[str]:
    """Those of an e-mail that have not got it yet."""
    return [address for address in message.get("to", facts.mail_to) if address in facts.mail_to]


def _delayed(its: dict[str, Any], now: float) -> dict[str, Any]:
    """The next run asks again at once: most failures are over by then."""
    failures = its.get("failures", 0) + 1
    delay = min(FIRST_DELAY * 2 ** (failures - 2), MAX_DELAY) if failures > 1 else 0
    return {**its, "failures": failures, "after": now + delay}


def _sleeps(its: Mapping[str, Any], now: float) -> bool:
    # A clock that was set back must not silence it.
    return bool(0 < its.get("after", 0) - now <= MAX_DELAY)


def _read_object(name: str) -> dict[str, Any]:
    try:
        found = json.loads(storage.read(name))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _without_urls(error: Exception) -> str:
    """The error's text without URLs, which are secrets here."""
    said = " ".join(str(error).split()) or type(error).__name__
    return " ".join(word if "://" not in word else "(URL)" for word in said.split())


def post(facts: Facts, message: dict[str, Any]) -> Refusals:
    """Send one message. Returns the addresses that did not get it. Raises OSError, Refused among them."""
    if message["channel"] == "mail":
        return mail(facts, message)
    text = "\n".join([message["subject"], *message["lines"]])
    body: dict[str, Any] = {"text": text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."}
    if facts.webhooks[message["channel"]] == "json":
        body = {"host": facts.host, "time": at(message["time"]), **{key: message[key] for key in ("subject", "lines")}}
    ask(secret(facts, f"ALARM_URL_{message['channel'].upper()}"), json.dumps(body).encode())
    return {}


def ask(url: str, body: bytes | None = None) -> None:
    """Request a URL, by POST if there is a body. Raises OSError, Refused among them."""
    import http.client
    import urllib.error
    import urllib.request

    if not url.startswith(("https://", "http://")):
        raise OSError("its secret is not an http or https URL")
    headers = {"Content-Type": "application/json", "User-Agent": "slipway-alarms"}
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            answer.read(1024)
    except urllib.error.HTTPError as error:
        raise (Refused if error.code in REFUSED else OSError)(f"HTTP status {error.code}") from None
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from None


def mail(facts: Facts, message: dict[str, Any]) -> Refusals:
    """Send an e-mail through the mail server. Returns the addresses that it refuses. Raises OSError, Refused among
    them."""
    import smtplib
    import ssl
    from email.message import EmailMessage
    from email.utils import formatdate, make_msgid

    recipients = _recipients(facts, message)
    letter = EmailMessage()
    letter["From"], letter["To"] = facts.mail_from, ", ".join(facts.mail_to)
    letter["Subject"], letter["Message-ID"] = message["subject"], make_msgid(domain=facts.mail_from.rpartition("@")[2])
    letter["Date"] = formatdate(message["time"], usegmt=True)
    letter.set_content("\n\n".join(message["lines"]) + "\n")
    name, _, port = facts.smtp.rpartition(":")
    context = ssl.create_default_context()
    if facts.smtp_security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(name, int(port), timeout=SECONDS, context=context)
    else:
        server = smtplib.SMTP(name, int(port), timeout=SECONDS)
    with server:
        if facts.smtp_security == "starttls":
            server.starttls(context=context)
        if facts.smtp_user:
            server.login(facts.smtp_user, secret(facts, "ALARM_SMTP_PASSWORD"))
        try:
            return server.send_message(letter, to_addrs=recipients)
        except smtplib.SMTPRecipientsRefused as error:
            # A server that closes the connection meanwhile has taken it for none of them.
            return {address: error.recipients.get(address, (421, b"")) for address in recipients}
        except smtplib.SMTPResponseException as error:
            is_about_it = isinstance(error, smtplib.SMTPDataError) or error.smtp_code == TOO_BIG
            failure = Refused if is_about_it and error.smtp_code >= 500 else OSError
            raise failure(f"{error.smtp_code} {one_line(error.smtp_error)}") from None


def one_line(answer: bytes | str) -> str:
    text = answer if isinstance(answer, str) else answer.decode(errors="replace")
    return " ".join(text.split())
