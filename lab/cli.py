"""`slipway lab`: throwaway hosts on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from lab import hosts
from lab.steps import Progress


@click.group()
def lab() -> None:
    """Throwaway hosts on this machine: real Debian, real systemd, removed without a trace."""


@lab.command()
@click.option("--name", "names", multiple=True, help=f"Name of a host; repeatable.  [default: {hosts.DEFAULT_NAME}]")
@click.option("--user", type=click.Choice(["root", "admin"]), help="Who logs in; admin uses sudo.  [default: root]")
def up(names: tuple[str, ...], user: str | None) -> None:
    """Start hosts; one that is up stays as it is, one that was cut off boots again."""
    progress = Progress()
    names = names or (hosts.DEFAULT_NAME,)
    hosts.up(names, user=user, progress=progress)
    for host in hosts.status():
        if host.name in names:
            progress.say(f"{host.name} answers at {host.address}; log in with: slipway lab ssh --name {host.name}")
    progress.total("In all")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Show the hosts."""
    found = [asdict(host) for host in hosts.status()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table("name", "address", "user", "backend", "system", "domain", "state")
    for host in found:
        table.add_row(*(str(host[str(column.header)]) for column in table.columns))
    Console().print(table if found else "no host; start one with: slipway lab up")


@lab.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", help="Name of the host.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str | None, command: tuple[str, ...]) -> None:
    """Log in to a host, or run a command there."""
    argv = hosts.find(name).ssh_argv(*command)
    os.execvp(argv[0], argv)  # noqa: S606  the terminal belongs to ssh from here on


@lab.command()
@click.option("--name", "names", multiple=True, help="Name of a host; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Every host, and all that the lab put on this machine.")
def down(names: tuple[str, ...], everything: bool) -> None:
    """Remove hosts with their disks; with the last one the lab's bridge, rules and processes go too."""
    hosts.down(names or (() if everything else (hosts.DEFAULT_NAME,)), everything)


@lab.command()
@click.option("--name", help="Name of the host.")
def site(name: str | None) -> None:
    """Say where a host's site is, how to look at it, and who may log in."""
    host = hosts.find(name)
    roots = hosts.trusted_roots()
    click.echo(
        f"""
  https://{host.domain}/ is at {host.address}, a name that only this lab knows.

  curl --cacert {roots} --resolve {host.domain}:443:{host.address} https://{host.domain}/
  chromium --host-resolver-rules="MAP {host.domain} {host.address}" --ignore-certificate-errors https://{host.domain}/

  Log in there as admin@codementee.io with ADMIN_PASSWORD of {hosts.secrets_file(host)}
  On the host:   slipway lab ssh --name {host.name}
  Remove it all: slipway lab down --all
"""
    )
