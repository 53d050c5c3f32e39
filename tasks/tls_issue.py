"""The issuance of a certificate, and a report of why it failed: the authority's errors, DNS and port 80."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

from pyinfra import logger
from pyinfra.api import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

# What to do, by the error types of RFC 8555, section 6.7.
HINTS = {
    "dns": "check the A and AAAA records of the name, and DNSSEC at its registrar",
    "connection": "open port 80 to the Internet, in the provider's firewall too; over IPv6 too with an AAAA record",
    "unauthorized": "another server has answered: point the A and AAAA records to this host, without a proxy",
    "caa": 'add the authority to the CAA record of the name or of its parent (0 issue "letsencrypt.org"), or remove it',
    "rateLimited": "wait until then",
    "tls": "the redirect to https goes to another server: point the A and AAAA records to this host",
}
# certbot replaces no certificate with one for tests.
TEST = '; test with tls_acme_server = "letsencrypt-staging"'
REPORTED = re.compile(r"^\s*(Domain|Type|Detail):\s*(.*)")
LIMITED = re.compile(r"too many |rate.?limit", re.IGNORECASE)
# certbot's lines that do not name the cause.
USUAL = re.compile(r"^(Saving debug|Account regist|Requesting a cert|Renewing an exist|Ask for help|Hint:|Some chall)")
CONNECT_SECONDS = 5


def addresses_command(domain: str) -> str:
    """A command that prints the addresses of a name as the host resolves it, except the loopback one that providers
    write into /etc/hosts for a server's own name: if that is the only one, the DNS is queried instead."""
    theirs = "awk '$1 !~ /^127[.]|^::1$/ && !seen[$1]++ {print $1; found = 1} END {exit !found}'"
    return f"getent ahosts {domain} | {theirs} || getent -s hosts:dns ahosts {domain} | {theirs}"


def issue(state: State, host: Host, command: str, domains: Sequence[str], is_first: bool) -> bool:
    """Run certbot's `command` on the host, for a certificate of `domains`, the first one or another; if it fails, log
    why."""
    sudo = bool(host.data.get("_sudo"))
    done, output = host.run_shell_command(StringCommand(command), _sudo=sudo)
    if done:
        return True
    addresses = {}
    for domain in domains:
        looked, found = host.run_shell_command(StringCommand(addresses_command(domain)), _sudo=sudo)
        addresses[domain] = [*dict.fromkeys(found.stdout_lines)] if looked else []
    ports = {address: port_80(address) for its in addresses.values() for address in its}
    logger.error(host.print_prefix + "\n".join(explain(output.output_lines, addresses, ports, is_first)))
    return False


def port_80(address: str) -> str:
    """The state of port 80 of an address, as seen from this machine."""
    try:
        with closing(socket.create_connection((address, 80), CONNECT_SECONDS)):
            return "open"
    except OSError as error:
        return f"no connection ({error.strerror or error})"


def explain(
    said: Sequence[str], addresses: Mapping[str, Sequence[str]], ports: Mapping[str, str], is_first: bool = True
) -> Iterator[str]:
    """The lines of an error. `said` is certbot's output, `addresses` those of each domain by the host's resolver, and
    `ports` their port_80()."""
    hints = {**HINTS, "rateLimited": HINTS["rateLimited"] + TEST * is_first}
    problems = [*reported(said)]
    if problems:
        yield "the ACME server refused the certificate:"
    for domain, kind, detail in problems:
        yield f"  {domain}: {kind}: {detail}"
        if kind in hints:
            yield f"    {hints[kind]}"
    if not problems:
        yield "certbot got no certificate:"
        for line in dict.fromkeys(line.strip() for line in said):
            if line and not USUAL.match(line):
                yield f"  {line}"
        if any(LIMITED.search(line) for line in said):
            yield f"    {hints['rateLimited']}"
    yield "checks:"
    for domain, its in addresses.items():
        for kind, found in (
            ("A", [one for one in its if ":" not in one]),
            ("AAAA", [one for one in its if ":" in one]),
        ):
            yield f"  {kind} of {domain}: {', '.join(found) or 'none'}"
    for address, state in ports.items():
        yield f"  port 80 of {address} from this machine: {state}"
    yield "details: /var/log/letsencrypt/letsencrypt.log on the host"


def reported(said: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Domain, type and detail of each of the authority's errors in certbot's output."""
    found: dict[str, str] = {}
    for line in said:
        if match := REPORTED.match(line):
            found[match[1]] = match[2].strip()
            if match[1] == "Detail":
                yield found.get("Domain", "?"), found.get("Type", "?").rpartition(":")[2], found["Detail"]
                found = {}
