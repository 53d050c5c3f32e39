"""`slipway db`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
from pyinfra.api.host import Host

from slipway.cli.apply import apply
from slipway.cli.options import examples, for_people, pass_console
from slipway.cli.running import confirmed, connected, end_with_failures
from slipway.engine.errors import RunFailed
from slipway.engine.remote_shell import Answer
from slipway.engine.session import Session
from slipway.facts import mongodb_members as program_of_members
from slipway.facts.mongodb import program
from slipway.project import INVENTORIES
from slipway.settings.members import members_of
from slipway.settings.model import Settings
from slipway.tasks.mongodb_members import KEYFILE
from slipway.ui.console import Console, escape, plain

ENVIRONMENT = click.argument("environment", metavar="[ENV]", type=click.Choice(list(INVENTORIES)), default="production")
DATA = click.option("--data", multiple=True, metavar="NAME=VALUE", help="Override a setting for this run; repeatable.")
YES = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def on_set(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a verb that speaks to all db hosts."""
    for option in (for_people, DATA, ENVIRONMENT):
        command = option(command)
    return command


@click.group("db")
def db_group() -> None:
    """Look at the members of MongoDB's replica set, and change one at a time."""


@db_group.command("status", epilog=examples("slipway db status"))
@on_set
@pass_console
def status(console: Console, environment: str, data: tuple[str, ...]) -> None:
    """Show each member of the replica set: its host, what it is, and how far behind. Read-only."""
    session = Session(environment, "", ["db"], data)
    with connected(session, console):
        found = session.connections.by_root(lambda host: _script(session, host, "status"))
        answers = [(connector.host, answer) for connector, answer in found]
        lines = next((answer.output.splitlines() for _, answer in answers if not answer.code), [])
        _show(console, session, [json.loads(line) for line in lines])
    failed = {host.name: f"[{host.name}] {_last(answer)}" for host, answer in answers if answer.code}
    end_with_failures({**session.connections.failures, **failed})


@db_group.command("stepdown", epilog=examples("slipway db stepdown"))
@on_set
@YES
@pass_console
def stepdown(console: Console, environment: str, data: tuple[str, ...], yes: bool) -> None:
    """Let the primary hand over to another member, as before work on its host."""
    _change(console, Session(environment, "", ["db"], data), "hand over to another primary", yes, "stepdown")


@db_group.command("add", epilog=examples("slipway db add db3.example.org"))
@click.argument("host")
@on_set
@YES
@pass_console
def add(console: Console, host: str, environment: str, data: tuple[str, ...], yes: bool) -> None:
    """Make a host that `slipway apply` has provisioned a voting member again, after `remove`."""
    session = Session(environment, "", ["db"], data)
    settings = next(iter(session.connections.settings.values()))
    sync = settings.limits.initial_sync
    _change(console, session, f"add {host}", yes, "grow", sync, _member(session, host))


@db_group.command(
    "remove", epilog=examples("slipway db remove db3.example.org", "slipway db remove mongodb-3.internal")
)
@click.argument("host")
@on_set
@YES
@pass_console
def remove(console: Console, host: str, environment: str, data: tuple[str, ...], yes: bool) -> None:
    """Take a member out of the replica set, dead or alive, unless the rest would have no majority. Its data stay on its
    host. Take the host out of the inventory, too: the next apply adds what is there."""
    _remove(console, host, environment, data, yes)


@db_group.command("replace", epilog=examples("slipway db replace db3.example.org"))
@click.argument("host")
@on_set
@YES
@pass_console
@click.pass_context
def replace(
    context: click.Context, console: Console, host: str, environment: str, data: tuple[str, ...], yes: bool
) -> None:
    """Take a dead member out, and apply to all hosts, which get its new address: the new server of this name in the
    inventory becomes the member. Nothing of the old one is needed."""
    _remove(console, host, environment, data, yes)
    # All hosts: backends know the members by /etc/hosts, a load balancer a server that has a backend, too.
    context.invoke(apply, environment=environment, limit=(), data=data, only=(), yes=yes)


def _remove(console: Console, host: str, environment: str, data: tuple[str, ...], yes: bool) -> None:
    everybody = Session(environment, "", ["db"], data)
    member = _member(everybody, host)
    # Of the member itself nothing is asked: it may be dead.
    others = [one.name for one in everybody.connections.hosts() if one.name != host and _own(everybody, one) != member]
    if not others:
        raise RunFailed(f"found no other db host than {host}, expected one that keeps the data")
    _change(console, Session(environment, "", others, data), f"remove {member}", yes, "remove", member)


def _own(session: Session, host: Host) -> str:
    settings = session.connections.settings[host.name]
    return f"{settings.mongodb_member}:{settings.mongodb_port}"


def _member(session: Session, host: str) -> str:
    """The member of a host of the inventory, or one that is given by its name in the set. Raises RunFailed."""
    settings: Settings = next(iter(session.connections.settings.values()))
    members = members_of(settings)
    for one in members:
        if host in (one.host, one.name, one.at):
            return one.at
    if "." in host:
        return host if ":" in host else f"{host}:{settings.mongodb_port}"
    known = ", ".join(f"{one.host} ({one.name})" for one in members)
    raise RunFailed(f"found no db host {host}, expected one of {known}, or a member's name as mongodb-3.internal")


def _change(console: Console, session: Session, what: str, yes: bool, step: str, *arguments: object) -> None:
    """Take a step on the primary, whichever host that is, and show what the set is then. Raises RunFailed."""
    if not yes:
        click.echo(f"MongoDB's replica set: {what}")
        if not confirmed():
            return
    with connected(session, console):
        with session.executor.locked(f"db {step}"), console.doing(f"MongoDB's replica set: {what}"):
            said, failed = _on_primary(session, step, *arguments)
        for line in said:
            console.say(escape(plain(line)))
    if said:
        return
    end_with_failures({**session.connections.failures, **failed})
    names = ", ".join(host.name for host in session.connections.hosts())
    raise RunFailed(
        f"found no primary on {names}, so nothing was changed (slipway db status); one that is to go must hand over"
        " before: slipway db stepdown"
    )


def _on_primary(session: Session, step: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """What was done, and why it was not by host: one host after the other, as the next may become the primary."""
    failed = {}
    for connector in session.connections.connectors():
        answer = connector.by_root(_script(session, connector.host, step, *arguments))
        if answer.code:
            failed[connector.host.name] = f"[{connector.host.name}] {_last(answer)}"
        elif lines := answer.output.strip().splitlines():
            return lines, {}
    return [], failed


def _script(session: Session, host: Host, step: str, *arguments: object) -> str:
    settings = session.connections.settings[host.name]
    where = (settings.mongodb_local, settings.mongodb_port, settings.limits.ready, KEYFILE)
    return f"exec 2>&1; {program(program_of_members, step, *where, *arguments)}"


def _last(answer: Answer) -> str:
    return (answer.output.strip().splitlines() or ["no answer"])[-1]


def _show(console: Console, session: Session, members: list[dict[str, Any]]) -> None:
    hosts = {_own(session, host): host.name for host in session.connections.hosts()}
    for one in members:
        parts = [one["state"].lower() if one["health"] else "away"]
        if one["behind"]:
            parts.append(f"{one['behind']} s behind")
        if not one["votes"]:
            parts.append("without a vote")
        if one["said"] and not one["health"]:
            parts.append(one["said"])
        where = hosts.get(one["name"], "no host of the inventory")
        console.say(escape(plain(f"{where}: {', '.join(parts)}")), f"{one['name']}  ")
