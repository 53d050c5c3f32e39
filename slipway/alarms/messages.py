"""When problems are reported: one message when something breaks, one when it is resolved. And how they are sent.

Installed on the host next to the program. Standard library only, Python 3.11 or later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from slipway.alarms.checks import Problem
from slipway.alarms.host import STATE, Facts, Host, secret, write

# A single detection may be a restart: a problem opens or is resolved after so many runs in a row.
LOOKS = 2
# Undelivered messages are dropped after this.
QUEUE_SECONDS, QUEUE_FILES = 3 * 86400, 500
SECONDS = 10.0
QUEUE = f"{STATE}/queue"
# Discord refuses a text of more than 2000 characters.
MAX_TEXT = 1900
# Statuses of a webhook that say that it will never take this message; others are about its URL, or about now.
REFUSED = (400, 413, 415, 422)


class Refused(OSError):
    """A recipient will never take this message, and may take the others."""


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
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def queue(facts: Facts, subject: str, lines: list[str], now: float) -> None:
    """Queue a message on the disk for each recipient: it is retried until it is delivered."""
    channels = [*(["mail"] if facts.mail_to else []), *facts.webhooks]
    for channel in channels:
        message = {"channel": channel, "time": now, "subject": subject, "lines": lines}
        write(f"{QUEUE}/{now:.3f}-{channel}.json", json.dumps(message))


def waiting() -> list[str]:
    """The files of queued messages, oldest first."""
    try:
        return sorted(name for name in os.listdir(QUEUE) if name.endswith(".json"))
    except OSError:
        return []


def send(facts: Facts, host: Host) -> list[str]:
    """Send queued messages; failed ones are retried in the next run. Returns the failures, a line per channel."""
    failures: dict[str, str] = {}
    refused = []
    names = waiting()
    for name in names[:-QUEUE_FILES]:
        os.unlink(f"{QUEUE}/{name}")
    for name in names[-QUEUE_FILES:]:
        try:
            message = json.loads(host.read(f"{QUEUE}/{name}"))
        except ValueError:
            os.unlink(f"{QUEUE}/{name}")
            continue
        channel = message["channel"]
        is_gone = (channel != "mail" and channel not in facts.webhooks) or (channel == "mail" and not facts.mail_to)
        if is_gone or host.now() - message["time"] > QUEUE_SECONDS:
            os.unlink(f"{QUEUE}/{name}")
        elif channel not in failures:
            try:
                post(facts, message)
                os.unlink(f"{QUEUE}/{name}")
            except Refused as error:
                os.unlink(f"{QUEUE}/{name}")
                refused.append(f"{channel}: refused, will not be retried: {error}")
            except (OSError, ValueError) as error:
                failures[channel] = f"{channel}: not sent, will be retried: {_without_urls(error)}"
    return [*failures.values(), *refused]


def _without_urls(error: Exception) -> str:
    """The error's text without URLs, which are secrets here."""
    said = " ".join(str(error).split()) or type(error).__name__
    return " ".join(word if "://" not in word else "(URL)" for word in said.split())


def post(facts: Facts, message: dict[str, Any]) -> None:
    """Send one message. Raises OSError."""
    if message["channel"] == "mail":
        mail(facts, message)
        return
    text = "\n".join([message["subject"], *message["lines"]])
    body: dict[str, Any] = {"text": text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."}
    if facts.webhooks[message["channel"]] == "json":
        body = {"host": facts.host, "time": at(message["time"]), **{key: message[key] for key in ("subject", "lines")}}
    ask(secret(facts, f"ALARM_URL_{message['channel'].upper()}"), json.dumps(body).encode())


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


def mail(facts: Facts, message: dict[str, Any]) -> None:
    """Send an e-mail through the mail server. Raises OSError."""
    import smtplib
    import ssl
    from email.message import EmailMessage
    from email.utils import format_datetime, make_msgid

    letter = EmailMessage()
    letter["From"], letter["To"] = facts.mail_from, ", ".join(facts.mail_to)
    letter["Subject"], letter["Message-ID"] = message["subject"], make_msgid(domain=facts.mail_from.rpartition("@")[2])
    letter["Date"] = format_datetime(datetime.fromtimestamp(message["time"], UTC))
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
        server.send_message(letter)
