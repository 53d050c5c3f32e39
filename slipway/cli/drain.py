"""`slipway drain` and `slipway undrain`."""

from __future__ import annotations

import shlex

import click

from slipway.cli.options import examples, for_people, pass_console
from slipway.cli.running import connected
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.project import INVENTORIES
from slipway.tasks.balancing import DRAINED, UPSTREAM
from slipway.ui.console import Console

FILE = f"/etc/nginx/{UPSTREAM}"


@click.command(epilog=examples("slipway drain app2", "slipway drain lab a2"))
@for_people
@click.option("--data", multiple=True, metavar="NAME=VALUE", help="Override a setting for this run; repeatable.")
@click.argument("words", metavar="[ENV] HOST", nargs=-1, required=True)
@pass_console
def drain(console: Console, data: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Take an application server out of the load balancer's rotation, until `slipway undrain`."""
    _change(console, data, words, out=True)


@click.command(epilog=examples("slipway undrain app2", "slipway undrain lab a2"))
@for_people
@click.option("--data", multiple=True, metavar="NAME=VALUE", help="Override a setting for this run; repeatable.")
@click.argument("words", metavar="[ENV] HOST", nargs=-1, required=True)
@pass_console
def undrain(console: Console, data: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Put an application server back into rotation."""
    _change(console, data, words, out=False)


def _change(console: Console, data: tuple[str, ...], words: tuple[str, ...], out: bool) -> None:
    verb = "drain" if out else "undrain"
    environment, rest = (words[0], words[1:]) if words[0] in INVENTORIES else ("production", words)
    if len(rest) != 1:
        raise click.UsageError(f"found {' '.join(rest) or 'nothing'}, expected one application server")
    (name,) = rest
    session = Session(environment, "", (), data)
    servers, balancers = _named(session, "web"), _named(session, "lb")
    if not balancers:
        raise RunFailed(f"{session.connections.inventory_file}: found no lb, expected a load balancer: lb = [...]")
    if name not in servers:
        raise RunFailed(f"found {name}, expected one of the application servers: {', '.join(servers)}")
    session = Session(environment, "", balancers, data)
    with connected(session, console):
        session.executor.carry_out(f"{verb} {name}", lambda host: script(name, out))
    console.say(f"{name} gets no requests" if out else f"{name} is in rotation")


def _named(session: Session, role: str) -> list[str]:
    return [host.name for host in session.connections.hosts() if role in host.groups]


def script(name: str, out: bool) -> str:
    """A shell script for the load balancer, which changes what `slipway apply` would write, and keeps it. It refuses to
    take the last server out."""
    line = r"\( down\)\?; # " + name.replace(".", r"\.") + "$"
    new = f"{' down' if out else ''}; # {name}"
    listed = f"echo {shlex.quote(name)}" if out else ":"
    refused = f"{name} is the last server in rotation, expected another one: slipway undrain NAME"
    return f"""\
set -eu; umask 022
cd /etc/nginx; rm -f {DRAINED}.new {FILE}.new; trap 'rm -f {DRAINED}.new {FILE}.new' EXIT
{{ grep -vxF {shlex.quote(name)} {DRAINED} 2> /dev/null || :; {listed}; }} > {DRAINED}.new
# A server that has not been applied yet is out from its first moment.
if [ ! -e {FILE} ] || ! grep -q {shlex.quote(line)} {FILE}; then mv -fT {DRAINED}.new {DRAINED}; exit; fi
sed {shlex.quote(f"s/{line}/{new}/")} {FILE} > {FILE}.new
grep '^ *server ' {FILE}.new | grep -qv ' down; ' || {{ echo {shlex.quote(refused)}; exit 1; }}
sync {DRAINED}.new {FILE}.new; mv -fT {DRAINED}.new {DRAINED}
! cmp -s {FILE}.new {FILE} || exit 0
mv -fT {FILE}.new {FILE}
nginx -t -q
systemctl reload nginx"""
