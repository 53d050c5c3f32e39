"""`slipway lab`: throwaway hosts on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from slipway.lab import hosts, snapshots
from slipway.lab.steps import Progress
from slipway.systems import SYSTEMS


@click.group()
def lab() -> None:
    """Manage throwaway hosts on this machine: a real distribution with systemd, removed without a trace."""


ONE_HOST = click.option("--name", help="Name of the host; optional if there is only one.")


@lab.command()
@click.option("--name", "names", multiple=True, help=f"Name of a host; repeatable.  [default: {hosts.DEFAULT_NAME}]")
@click.option(
    "--user",
    type=click.Choice(["root", "admin"]),
    default="root",
    show_default=True,
    help="The initial user of a new host.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", *hosts.BACKENDS]),
    default="auto",
    help="nspawn: a container, in seconds; qemu: a virtual machine with a kernel of its own.  "
    "[default: nspawn with root, else qemu]",
)
@click.option(
    "--os",
    "system",
    type=click.Choice(list(SYSTEMS)),
    default=hosts.DEFAULT_SYSTEM,
    envvar="SLIPWAY_LAB_OS",
    show_default=True,
    show_envvar=True,
    help="The system of a new host.",
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A cloud image with cloud-init (qcow2 or raw) instead of --os; a virtual machine.",
)
@click.option(
    "--disk",
    "disk_gb",
    type=click.IntRange(1, 1024),
    default=hosts.DEFAULT_DISK_GB,
    show_default=True,
    help="A virtual machine's disk in GiB.",
)
@click.option("--from", "source", metavar="HOST:LABEL", help="Copy a container's snapshot instead.")
@click.pass_context
def up(
    context: click.Context,
    names: tuple[str, ...],
    user: str,
    backend: str,
    system: str,
    image: Path | None,
    disk_gb: int,
    source: str | None,
) -> None:
    """Start hosts. A running host stays as it is; a stopped or crashed one boots again.

    --backend, --os, --image, --disk and --from apply to new hosts only.
    """
    progress = Progress()
    if source:
        _check_copy(context, names)
        original, label = snapshots.source(source)
        snapshots.copy(label, original, names, backend, progress)
        hosts.up(names, progress=progress)
    else:
        names = names or (hosts.DEFAULT_NAME,)
        hosts.up(names, user, hosts.Kind(system, image, backend, disk_gb), progress)
    for host in hosts.status():
        if host.name in names:
            progress.say(f"{host.name} is up at {host.address}; log in with: slipway lab ssh --name {host.name}")
    progress.total("In all")


def _check_copy(context: click.Context, names: tuple[str, ...]) -> None:
    """Refuse options that can't be combined with --from."""
    if not names:
        raise click.UsageError("--from needs the name of the new host: --name NEW")
    options = {"user": "--user", "system": "--os", "image": "--image", "disk_gb": "--disk"}
    given = [
        option for name, option in options.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} can't be combined with --from: a copy has those of the original")


@lab.command()
@click.option("--name", "names", multiple=True, help="Name of a host; repeatable.  [default: all]")
def connect(names: tuple[str, ...]) -> None:
    """Let hosts reach each other, as servers of one inventory do. By default they are isolated."""
    hosts.connect(names)


@lab.command()
@ONE_HOST
def stop(name: str | None) -> None:
    """Shut a host down; `up` boots it again."""
    hosts.stop(name)


@lab.command()
@ONE_HOST
def crash(name: str | None) -> None:
    """Cut the power of a host; `up` boots it again with the data on its disk."""
    hosts.crash(name)


@lab.command()
@ONE_HOST
@click.argument("label")
def snapshot(name: str | None, label: str) -> None:
    """Take a snapshot LABEL of a stopped host's disk."""
    snapshots.take(label, name)


@lab.command()
@ONE_HOST
@click.argument("label")
def restore(name: str | None, label: str) -> None:
    """Restore the snapshot LABEL and boot the host; later changes are lost."""
    snapshots.restore(label, name)


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(as_json: bool) -> None:
    """Show the hosts."""
    found = [asdict(host) for host in hosts.status()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    # Fits a terminal of 80 columns; `site` shows the domain.
    table = Table("name", "address", "user", "backend", "system", "state", "snapshots", box=SIMPLE)
    for host in found:
        host["snapshots"] = ", ".join(host["snapshots"])
        table.add_row(*(str(host[str(column.header)]) for column in table.columns))
    Console().print(table if found else "no host; start one with: slipway lab up")


@lab.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", help="Name of the host.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str | None, command: tuple[str, ...]) -> None:
    """Log in to a host as root, or run a command there, through the lab's own account."""
    argv = hosts.find(name).ssh_argv(*command)
    os.execvp(argv[0], argv)  # noqa: S606  the terminal belongs to ssh from here on


@lab.command()
@click.option("--name", "names", multiple=True, help="Name of a host; repeatable.")
@click.option("--all", "everything", is_flag=True, help="All hosts, and everything the lab created on this machine.")
def down(names: tuple[str, ...], everything: bool) -> None:
    """Remove hosts and their disks; with the last one also the lab's bridge, rules and processes."""
    hosts.down(names or (() if everything else (hosts.DEFAULT_NAME,)), everything)


@lab.command()
@click.option("--name", help="Name of the host.")
def site(name: str | None) -> None:
    """Show the address of a host's site, how to open it, and how to log in."""
    host = hosts.find(name)
    roots, port = hosts.trusted_roots(), 443 + host.port_offset
    # Without root, port 443 of this machine is not available: the site is on another port.
    suffix = "" if port == 443 else f":{port}"
    click.echo(
        f"""
  https://{host.domain}/ is at {host.address}{suffix}, a name that only this lab knows.

  curl --cacert {roots} --connect-to {host.domain}:443:{host.address}:{port} https://{host.domain}/
  chromium --host-resolver-rules="MAP {host.domain}:443 {host.address}:{port}" --ignore-certificate-errors https://{host.domain}/

  On the host:   slipway lab ssh --name {host.name}
  Its secrets:   slipway lab ssh --name {host.name} 'head /etc/*/credentials/*'
  Remove it all: slipway lab down --all
"""
    )
