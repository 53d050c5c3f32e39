"""`slipway alarms`."""

from __future__ import annotations

import click

from slipway.cli.options import examples, on_hosts, pass_console
from slipway.cli.running import connected, end_with_failures
from slipway.engine.session import Session
from slipway.tasks.alarms import PROGRAM
from slipway.ui.console import Console, escape, plain

OFF = "alarms are off on this host: set alarm_mail_to or alarm_webhooks, and run `slipway apply` (slipway help alarms)"


@click.group("alarms")
def alarms_group() -> None:
    """Look at the alarms of the hosts, and try whether they reach you."""


@alarms_group.command("test", epilog=examples("slipway alarms test", "slipway alarms test lab"))
@on_hosts
@pass_console
def test_command(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...]) -> None:
    """Send a message to everybody who is told of alarms, and show what the mail server and the webhooks answer."""
    _ask(console, Session(environment, "", limit, data), "test")


@alarms_group.command("list", epilog=examples("slipway alarms list"))
@on_hosts
@pass_console
def list_command(console: Console, environment: str, limit: tuple[str, ...], data: tuple[str, ...]) -> None:
    """Show what each host has told of, and when it looked."""
    _ask(console, Session(environment, "", limit, data), "tell")


def _ask(console: Console, session: Session, step: str) -> None:
    with connected(session, console):
        for connector, answer in session.connections.by_root(
            f"[ -x {PROGRAM} ] || {{ echo '{OFF}'; exit 1; }}; {PROGRAM} {step}"
        ):
            name, lines = connector.host.name, answer.output.strip().splitlines()
            for line in lines if not answer.code else lines[:-1]:
                console.say(escape(plain(line)), f"{name}: ")
            if answer.code:
                session.connections.fail(connector.host, f"[{name}] {lines[-1] if lines else 'no answer'}")
    end_with_failures(session.connections.failures)
