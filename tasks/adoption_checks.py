"""Checks of a server before its adoption: they name everything that Slipway would not keep."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator
from typing import Any

from pyinfra import host

from slipway.adoption import (
    Obstacle,
    access,
    apt,
    backend,
    backend_data,
    boot,
    certificates,
    in_the_way,
    jobs,
    kernel,
    mongod,
    names,
    network,
    nginx_clashes,
    nginx_default,
    nginx_upstreams,
    own_services,
    ufw,
)
from slipway.adoption import nginx as others_nginx
from slipway.adoption.serving import holders, serving, without_repeats
from slipway.engine import run
from slipway.facts.base import Output
from slipway.facts.machine import is_container
from slipway.facts.network import IS_HERE
from slipway.facts.nginx import NginxFuture, NginxInForce
from slipway.facts.ssh import Sshd
from slipway.settings.model import Settings
from slipway.tasks import nginx, sizes
from slipway.tasks.adoption import DATA, found_by_hand
from slipway.tasks.adoption_facts import added_sites, earlier, is_adopted, mongodb_content
from slipway.tasks.auditing import rules_by_hand
from slipway.tasks.firewall import InputRules, UfwFiles, rules_of_peers
from slipway.tasks.kernel import parameters, sysctl
from slipway.tasks.ssh import host_certificates


def adoption_problems(settings: Settings, machine: dict[str, str], components: Collection[str]) -> list[str]:
    """What blocks an adoption by these components, a line each."""
    found = earlier(settings)
    there = host.get_fact(NginxInForce) if found and "nginx" in components else None
    of_sites = serving(found, there, settings) if there else []
    every = without_repeats(_obstacles(settings, machine, components), of_sites, settings.adopt_without)
    return in_the_way(every, settings.adopt_without)


def adoption_notes(settings: Settings, components: Collection[str]) -> list[str]:
    """What stays beside Slipway's and is not needed any more."""
    found = earlier(settings)
    renewals = [*certificates.remarks(found), *jobs.remarks(found)] if "tls" in components else []
    updates = apt.remarks(found) if "updates" in components else []
    there = host.get_fact(NginxInForce) if found and "nginx" in components else None
    ignored = others_nginx.ignored_names(there, settings) if there else []
    return [*renewals, *updates, *ignored, *(sizes.remarks(settings) if found else [])]


def unused_keys_of_root(settings: Settings) -> list[str]:
    """Keys that root no longer logs in with, and nobody has lately."""
    if "ssh" not in run.of(host.state).deployed:
        return []
    sshd: dict[str, list[str]] = host.get_fact(Sshd)
    return access.roots_keys(earlier(settings), sshd, settings, "unused")


def changed_parameters(settings: Settings, machine: dict[str, str]) -> list[str]:
    """Kernel parameters of the owner's that change without harm."""
    if "kernel" not in run.of(host.state).deployed or is_container(machine):
        return []
    return kernel.tuned(earlier(settings), parameters(sysctl(settings)))


def _obstacles(settings: Settings, machine: dict[str, str], components: Collection[str]) -> Iterator[Obstacle]:
    found = earlier(settings)
    if "firewall" in components:
        rules: list[str] = host.get_fact(InputRules)
        packages = found.get("packages", "").split()
        yield from network.packages(packages, rules)
        yield from network.obstacles(rules, found.get("chains", "").splitlines(), packages)
    if not found:
        there = host.get_fact(NginxInForce) if "nginx" in components else None
        yield from others_nginx.added_obstacles(there, settings) if there else ()
        return
    yield from names.obstacles(found, settings)
    if "base" in components:
        yield from names.journal(found, sizes.journal_max_mb(settings))
    if "ssh" in components:
        sshd: dict[str, list[str]] = host.get_fact(Sshd)
        yield from access.obstacles(found, sshd, settings)
        yield from access.certificates(host_certificates(sshd), settings)
    if "kernel" in components and not is_container(machine):
        yield from names.swap_file(found, sizes.swap_mb(settings))
        yield from kernel.obstacles(found, parameters(sysctl(settings)))
        yield from kernel.modules(found, settings)
        yield from kernel.uplinks(found, settings)
    if "firewall" in components:
        yield from _firewall(found, settings)
    if "fail2ban" in components:
        yield from network.bans(found, settings)
    data = mongodb_content(settings, found) if "mongodb" in components else {}
    if "mongodb" in components:
        yield from _added_data(found, data, settings) if is_adopted() else _mongodb(found, data, settings)
    if "updates" in components:
        yield from boot.obstacles(found, settings, components)
    if "auditing" in components and not is_container(machine):
        yield from rules_by_hand()
    has_sites = {*found_by_hand(settings)} - {DATA} != set()
    yield from jobs.obstacles(found, settings, data.get("state") == "open", has_sites)
    if "backend" in components:
        for site in settings.all_sites:
            yield from backend.obstacles(found, site)
            yield from backend_data.databases(found, data, site)
            yield from _beside(found, site)
    if "tls" in components:
        yield from certificates.obstacles(found, settings)
    if "nginx" in components:
        yield from _nginx(found, settings)


def _beside(found: dict[str, str], site: Settings) -> Iterator[Obstacle]:
    """What uses the previous backend beside Nginx."""
    there = host.get_fact(NginxInForce)
    proxied = others_nginx.named_ports(there) if there else ()
    files: list[str] = host.get_fact(UfwFiles)
    rules: list[str] = host.get_fact(InputRules)
    lines = ufw.affected(files, found, rules)
    yield from backend.programs(found, site)
    yield from backend.callers(found, site, ufw.open_ports(lines), proxied)


def _firewall(found: dict[str, str], settings: Settings) -> Iterator[Obstacle]:
    yield from network.others(found)
    files: list[str] = host.get_fact(UfwFiles)
    rules: list[str] = host.get_fact(InputRules)
    lines, before = ufw.affected(files, found, rules), found.get("before", "").splitlines()
    ssh_ports = host.get_fact(Sshd).get("port", [])
    ours = {*map(int, ssh_ports), settings.mongodb_port}
    ours |= {*settings.web_ports} if {"lb", "web"} & {*host.groups} else set()
    has_tailscale = ufw.has_tailscale(rules)
    for protocol, sockets in (("tcp", network.listeners(found)), ("udp", network.datagrams(found))):
        is_open, kept = ufw.open_ports(lines, protocol, to_all=True), ufw.kept_ports(before, protocol)
        sockets = network.by_unit(sockets, found)
        yield from network.closed(sockets, is_open, settings, ours, kept, has_tailscale=has_tailscale)
    yield from mongod.reached(found, ufw.open_ports(lines), settings)
    yield from network.restarted(found, ours)
    yield from network.protocols(found, lines)
    yield from ufw.ssh(files, found, settings, ssh_ports, rules)
    yield from ufw.lost_rules(lines, settings, ssh_ports, rules_of_peers(settings))


def _mongodb(found: dict[str, str], data: dict[str, Any], settings: Settings) -> Iterator[Obstacle]:
    yield from mongod.obstacles(found, data, settings)
    yield from names.dropins(found, mongod.UNIT)
    folder = settings.mongodb_data
    real = host.get_fact(Output, command=f"readlink -f {folder}")
    if real and real != folder:
        yield Obstacle(folder, f"a link to {real}", f'mongodb_data = "{real}"', may_go=False)
    owner = host.get_fact(Output, command=f"stat -c %U {folder}/WiredTiger")
    if owner and owner != "mongodb":
        need = f"the owner mongodb: systemctl stop mongod; chown -R mongodb:mongodb {folder}"
        yield Obstacle(f"{folder}/WiredTiger", f"the owner {owner}", need, may_go=False)


def _added_data(found: dict[str, str], data: dict[str, Any], settings: Settings) -> Iterator[Obstacle]:
    """Data of a site that is new on an adopted server, in Slipway's MongoDB."""
    if data.get("login") == "accepted":
        added = [site.mongodb_database for site in added_sites(settings)]
        yield from mongod.data_obstacles(data, found.get("credentials", "").split(), settings, added)


def _foreign_holders(found: dict[str, str]) -> Iterator[Obstacle]:
    """An Nginx on ports 80 and 443 that is not the host's: in a container with the host's network."""
    for one in network.listeners(found):
        if one.port in (80, 443) and one.program == "nginx" and one.unit != "nginx.service":
            found_now = "an Nginx of a container or of another unit"
            yield Obstacle(
                f"port {one.port}",
                found_now,
                "it on another port, behind a server block of the host's Nginx",
                may_go=False,
            )


def _here(hosts: list[str]) -> list[str]:
    """Those that are this server."""
    if not hosts:
        return []
    named = " ".join(map(shlex.quote, hosts))
    script = f"{IS_HERE}\nfor one in {named}; do ! is_here $one || echo $one; done"
    return host.get_fact(Output, command=script).split()


def _named(port: int | str) -> str:
    return f"port {port}" if isinstance(port, int) else f"the socket {port}"


def _nginx(found: dict[str, str], settings: Settings) -> Iterator[Obstacle]:
    process = dict(line.split("=", 1) for line in found.get("nginx", "").splitlines() if "=" in line)
    yield from names.dropins(found, "nginx.service")
    if process.get("exe", "/usr/sbin/nginx") != "/usr/sbin/nginx":
        yield Obstacle("Nginx", f"{process['exe']} running", "the system's own package, or none", may_go=False)
    elif process.get("exe") and process.get("unit") != "nginx.service":
        found_now = f"it run by {process.get('unit') or 'no unit'}"
        need = "nginx.service: stop this one, systemctl start nginx"
        yield Obstacle("Nginx", found_now, need, may_go=False)
    else:
        yield from _foreign_holders(found)
    if process.get("unpackaged"):
        need = "the system's own package: move it and its unit away, apt-get install nginx"
        yield Obstacle(process["unpackaged"], "a program of no package, which apt would replace", need, may_go=False)
    if process.get("nginx") == "installed" and process.get("nginx-common") != "installed":
        need = "the system's own, which Slipway's modules are built for (apt-get remove nginx)"
        yield Obstacle("package nginx", "a package of another repository", need, may_go=False)
    if other := re.search(r" -[cp] \S+", process.get("command", "")):
        yield Obstacle("Nginx", f"the option{other[0]}", f"{others_nginx.MAIN}, as the package has it", may_go=False)
    for unit in found.get("stopped", "").split():
        found_now = "a stopped web server that takes port 80 at boot"
        yield Obstacle(unit, found_now, f"systemctl disable {unit}")
    if process.get("FragmentPath", "").startswith("/etc/"):
        need = "the package's unit: move this one away, systemctl daemon-reload"
        yield Obstacle(process["FragmentPath"], "a custom unit for Nginx", need, may_go=False)
    there = host.get_fact(NginxInForce)
    if there is None:
        return
    yield from others_nginx.obstacles(there, settings)
    yield from nginx_default.obstacles(there, found, settings)
    for site in settings.all_sites:
        yield from nginx_upstreams.obstacles(there, site, _here(nginx_upstreams.foreign_hosts(there, site)))
    changed = {*others_nginx.retired_files(there, settings), *others_nginx.replaced_files(settings)}
    for path in found.get("immutable", "").split():
        if path in changed - {others_nginx.MAIN}:
            yield names.is_immutable(path)
    own = own_services(settings)
    replaced = {port: holder for port, holder in holders(found).items() if holder in own}
    for server, port in others_nginx.others_at_ports(there, settings, replaced):
        found_now = f"it proxying to {_named(port)} of {replaced[port]}, which Slipway replaces"
        domain = next((site.site_domain for site in settings.all_sites if server in there.of_site(site)), "")
        # By a pattern, or as the default server.
        need = f"server_name {domain}" if domain else "its names in site_aliases"
        need += ", or its program in a unit of another name"
        yield Obstacle(str(server), found_now, need)
    if there.error or there.is_ours(others_nginx.MAIN):
        return
    taken = others_nginx.taken_defaults(there, settings)
    files = nginx.configuration(settings, taken, rejects=nginx.rejects_handshakes())
    clashes = [*nginx_clashes.clashes(there, files, settings)]
    yield from clashes
    tree, error = host.get_fact(
        NginxFuture,
        files=files,
        links=nginx.links(settings),
        removed=tuple(others_nginx.retired_files(there, settings)),
    )
    # Nginx names the first of the clashes, if there are any.
    if error and not clashes:
        found_now = f"{error!r} with Slipway's configuration added"
        yield Obstacle(
            "Nginx", found_now, "files that work with it: change or remove what the error names", may_go=False
        )
    elif tree.files:
        yield from others_nginx.lost_files(there, tree, settings)
        yield from others_nginx.gained_files(there, tree, settings)
        yield from nginx_clashes.taken_variables(tree)
