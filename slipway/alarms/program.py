#!/usr/bin/python3
"""Checks the host and reports new and resolved problems. Run by slipway-alarms.timer, and when a unit fails.

usage: alarms look      (check once, report changes, send queued messages)
       alarms test      (send a test message to all recipients, and print the results)
       alarms tell      (print a line for `slipway status`)

Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from slipway.alarms import messages, storage
from slipway.alarms.checks import CHECKS
from slipway.alarms.host import Facts, Host, load, secret
from slipway.alarms.problems import Problem

# Services that start at boot need this long: before, what is down is no problem yet.
BOOT_SECONDS = 110
STATE_FILE = "state.json"


def look(facts: Facts, host: Host) -> list[str]:
    """Run all checks once. Returns the messages that could not be sent."""
    state = read_state()
    seen: dict[str, Problem] = {}
    if unsaved := state.pop("unsaved", ""):
        text = f"the alarms can't write their state: {unsaved}"
        meaning = "the disk is full or read-only: what writes to it fails"
        seen["state"] = Problem(
            text, meaning, f"df -h {storage.STATE}; df -i {storage.STATE}; journalctl -k -n 50", at_once=True
        )
    for check in CHECKS:
        try:
            seen.update(check(facts, host, state.setdefault("memory", {})))
        except Exception as error:
            text = f"the check of {check.__name__} failed: {type(error).__name__}: {error}"
            seen[f"check {check.__name__}"] = Problem(text, "it can't detect problems", "journalctl -u slipway-alarms")
    now = host.now()
    broken, well = messages.changes(state, seen, now)
    # Queue first, then save the state: an interruption in between repeats a message, but loses none.
    if broken or well:
        subject = f"{facts.host}: {_headline(broken, well)}"
        messages.queue(facts, subject, [*broken, *well], now)
        print(subject, flush=True)
    unsaved = save({**state, "looked": now})
    failures = messages.send(facts, host)
    if facts.heartbeat and not (seen or unsaved or failures or messages.waiting()):
        try:
            messages.ask(secret(facts, "ALARM_HEARTBEAT_URL"))
        except (OSError, ValueError) as error:
            failures.append(f"heartbeat: {type(error).__name__}")
    return failures


def _headline(broken: list[str], well: list[str]) -> str:
    lines = broken or well
    more = len(broken) + len(well) - 1
    return (
        lines[0].partition(" (since ")[0]
        + (": resolved" if not broken else "")
        + (f", and {more} more" if more else "")
    )


def save(state: dict[str, Any]) -> str:
    """Write the state, and why it could not be written on the disk, which the next look reports. Returns that reason.
    Raises OSError."""
    if error := storage.store(STATE_FILE, json.dumps(state, indent=1)):
        storage.store(STATE_FILE, json.dumps({**state, "unsaved": error}, indent=1))
    return error


def read_state() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(storage.read(STATE_FILE))
        return found
    except ValueError:
        return {}


def tell() -> str:
    state = read_state()
    if "looked" not in state:
        return "not checked yet"
    told = [its["text"] for its in state.get("open", {}).values() if its["told"]]
    unsent = f"; {len(messages.waiting())} messages wait" if messages.waiting() else ""
    return f"{'; '.join(told) or 'none'} ({messages.at(state['looked'])}{unsent})"


def test(facts: Facts, host: Host) -> int:
    text = "This is a test: nothing is wrong."
    # Last, as `slipway alarms test` takes the last line as the reason. Nobody retries a test.
    failures = []
    for channel in [*(["mail"] if facts.mail_to else []), *facts.webhooks]:
        message = {"channel": channel, "time": host.now(), "subject": f"{facts.host}: test", "lines": [text]}
        try:
            refusals = messages.post(facts, message)
            failures += [
                f"{channel}: {address}: not sent: {code} {messages.one_line(answer)}"
                for address, (code, answer) in refusals.items()
            ]
            if channel != "mail" or len(refusals) < len(facts.mail_to):
                print(f"{channel}: sent")
        except (OSError, ValueError) as error:
            failures.append(f"{channel}: not sent: {error}")
    for failure in failures:
        print(failure)
    return int(bool(failures))


def main(step: str = "--help") -> int:
    host = Host()
    if step == "tell":
        print(tell())
        return 0
    if step not in ("look", "test"):
        print(__doc__)
        return 0 if step == "--help" else 2
    os.umask(0o077)
    facts = load(os.path.dirname(os.path.realpath(__file__)))
    if step == "test":
        return test(facts, host)
    if host.uptime() < BOOT_SECONDS:
        return 0
    with alone():
        # Log unsent messages; they are no failure of the unit.
        for failure in look(facts, host):
            print(failure, file=sys.stderr, flush=True)
    return 0


@contextmanager
def alone() -> Iterator[None]:
    """One look at a time; without a lock where there can be none, as a message told twice is better than none."""
    with ExitStack() as stack:
        with suppress(OSError):
            os.makedirs(storage.RUN, mode=0o700, exist_ok=True)
            lock = stack.enter_context(open(f"{storage.RUN}/lock", "w", encoding="utf-8"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
