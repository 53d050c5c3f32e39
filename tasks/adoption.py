"""Adopt a server that was built by hand: keep its data, certificate and site, and back up what is replaced.

On a server that Slipway provisioned, none of it does anything.
"""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption import OURS
from slipway.adoption.nginx import lost_defaults, retired_files
from slipway.engine import notes
from slipway.engine.components import component, component_step, in_order
from slipway.facts.base import Output
from slipway.facts.nginx import NginxInForce
from slipway.ops.commands import Commands, ensure
from slipway.releases.artifact import COMPRESSED, MIN_COMPRESSED_BYTES
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.tasks.adoption_facts import ADOPTED, earlier, sites_by_hand
from slipway.tasks.backend_by_hand import stop_serving
from slipway.tasks.owners import ASIDE, record, record_files
from slipway.tasks.shared import take_along

# Files of an owner's that go, where the backup has others of the same names.
REMOVED = "/var/backups/slipway/removed"
# A description of what is found.
DATA = "MongoDB's data"
# What Slipway replaces or edits of any server, besides files of its own names.
REPLACED = (
    *("/etc/mongod.conf", "/lib/systemd/system/mongod.service", "/etc/systemd/system/mongod.service"),
    *("/etc/nginx", "/etc/ssh", "/etc/ufw", "/etc/default/ufw", "/etc/apt", "/etc/letsencrypt/renewal"),
    *("/etc/letsencrypt/renewal-hooks", "/etc/systemd/system/nginx.service.d", "/etc/systemd/system/mongod.service.d"),
    *("/etc/aide", "/etc/audit", "/etc/fail2ban", "/etc/logrotate.d", "/etc/systemd/journald.conf.d"),
    *("/etc/default/locale", "/etc/locale.conf", "/etc/locale.gen", "/etc/localtime", "/etc/timezone"),
    *("/etc/issue", "/etc/issue.net", "/etc/login.defs", "/etc/fstab", "/etc/hosts", "/etc/sudoers.d"),
)


def replaced(settings: Settings) -> list[str]:
    """The paths that Slipway replaces or edits."""
    return [*(f"/etc/systemd/system/{site.backend_unit}.service" for site in settings.all_sites), *REPLACED]


def found_by_hand(settings: Settings) -> list[str]:
    """Descriptions of what was on the host before Slipway."""
    data = f"""\
[ ! -f {settings.mongodb_data}/WiredTiger ] || grep -q '{OURS}' /etc/mongod.conf || echo "{DATA}\""""
    there = host.get_fact(NginxInForce) if "web" in host.groups else None
    files = [] if there is None else [server.file for server in there.others]
    of_sites = [*sites_by_hand(settings), *host.get_fact(Output, command=data).splitlines()]
    return [*of_sites, *(f"the site {file}" for file in dict.fromkeys(files))]


@component()
def adopt(settings: Settings) -> None:
    keep_aside(name="Back up the existing configuration", settings=settings)
    if "web" in host.groups and (there := host.get_fact(NginxInForce)):
        for line in lost_defaults(there, settings):
            notes.note(line)
    in_order([partial(_adopt_site, site) for site in settings.all_sites])


def _adopt_site(site: Settings) -> None:
    if "web" in host.groups:
        note_placeholder(site)
        keep_certificate(name="Keep the existing certificate", settings=site)
    if "app" in host.groups or "web" in host.groups:
        keep_site(name="Import the existing site as a release", settings=site)


@operation()
def keep_aside(settings: Settings) -> Commands:
    """Back up everything that Slipway replaces, once: by the first apply also without a site on the server, whose sshd,
    firewall and sources of apt may still be its owner's work. And what an owner has added since, before it goes."""
    paths, by_hand = " ".join(replaced(settings)), found_by_hand(settings)
    if not (by_hand or earlier(settings)):
        return
    if host.get_fact(Output, command=f"ls -d {ASIDE}"):
        if by_hand and (added := _added(settings)):
            notes.note(f"{ASIDE}: added {', '.join(added)}")
            yield f"set -e; cd /; umask 077\n{_keep_added(added)}\nsync -f {ASIDE}"
        return
    notes.note(f"{ASIDE}: {', '.join(host.get_fact(Output, command=f'ls -d {paths}').split())}")
    yield (
        # Any failed copy (a full disk) fails the backup. cp 9.1 resolves --parents from its working directory.
        f"set -e; cd /; umask 077; rm -rf {ASIDE}.new; mkdir -p {ASIDE}.new;"
        f" for path in {paths}; do [ ! -e $path ] && [ ! -L $path ] || cp -a --parents $path {ASIDE}.new; done;"
        f" sync -f {ASIDE}.new && mv -T {ASIDE}.new {ASIDE}"
    )


def _added(settings: Settings) -> list[str]:
    """The files that go and are not in the backup as they are now."""
    units = [f"/etc/systemd/system/{site.backend_unit}.service" for site in settings.all_sites]
    there = host.get_fact(NginxInForce) if "web" in host.groups else None
    retired = retired_files(there, settings) if there else []
    # What a link leads to stays, unless `unadopt` puts back the whole folder.
    targets = [there.links.get(file, file) for file in retired] if there else []
    paths = dict.fromkeys([*units, *retired, *(file for file in targets if file.startswith("/etc/nginx/"))])
    script = f"""\
for path in {" ".join(map(shlex.quote, paths))}; do
  [ ! -f "$path" ] || grep -q '{OURS}' "$path" || cmp -s "$path" "{ASIDE}$path" || echo "$path"
done"""
    return host.get_fact(Output, command=script).splitlines()


def _keep_added(paths: list[str]) -> str:
    """A command that copies files to the backup, or beside it where it has another one of that name."""
    return f"""\
for path in {" ".join(map(shlex.quote, paths))}; do
  if [ -e "{ASIDE}$path" ]; then mkdir -p {REMOVED}; cp -aL --parents --backup=numbered "$path" {REMOVED}
  else cp -a --parents "$path" {ASIDE}; fi
done"""


def certificates_by_hand(settings: Settings) -> list[tuple[str, str]]:
    """The files of the site's certificates and keys that Nginx serves; none on Slipway's server."""
    there = host.get_fact(NginxInForce)
    servers = there.of_site(settings) if there else []
    return [*dict.fromkeys(pair for one in servers for pair in there.tree.certificates(one))] if there else []


def valid_certificate(settings: Settings) -> list[str]:
    """Files of the certificate and the key that visitors get, if they are valid for the site and nothing of Slipway's
    is served yet."""
    words = " ".join(shlex.quote(file) for pair in certificates_by_hand(settings) for file in pair)
    if not words:
        return []
    script = f"""\
[ -e {settings.tls_folder} ] || printf '%s\\n' {words} | while read -r certificate && read -r key; do
  [ -f "$key" ] && openssl x509 -noout -checkend 0 -in "$certificate" > /dev/null &&
    openssl x509 -noout -checkhost {settings.site_domain} -in "$certificate" | grep -q 'does match' &&
    printf '%s\\n' "$certificate" "$key" && break
done"""
    return host.get_fact(Output, command=script).splitlines()


def note_placeholder(settings: Settings) -> None:
    """Note that visitors will get a self-signed certificate, where the site has one that can't be kept."""
    files = ", ".join(certificate for certificate, _ in certificates_by_hand(settings))
    served = settings.tls_folder
    if files and not valid_certificate(settings) and not host.get_fact(Output, command=f"ls -d {served}"):
        notes.note(
            f"{settings.site_domain}: found no valid certificate in {files}; until certbot gets one, visitors get a"
            " self-signed certificate"
        )


@operation()
def keep_certificate(settings: Settings) -> Commands:
    """Keep serving the site's existing certificate until certbot has obtained one."""
    served, name = settings.tls_folder, f"{settings.site_name}-by-hand"
    kept = f"{TLS_FOLDER}/{name}"
    if not (found := valid_certificate(settings)):
        return
    certificate, key = map(shlex.quote, found)
    notes.note(f"{served} -> {found[0]}")
    yield (
        f"umask 077; mkdir -p -m 755 {TLS_FOLDER}; mkdir -p {kept}; cp -L {certificate} {kept}/fullchain.pem"
        f" && cp -L {key} {kept}/privkey.pem && sync -f {kept}"
        f" && ln -sfn {name} {served}.new && mv -fT {served}.new {served}"
    )


@operation()
def keep_site(settings: Settings) -> Commands:
    """Copy the existing code and pages as the first release, so that visitors see no change."""
    root = settings.site_root
    found = by_hand(settings)
    if not found or host.get_fact(Output, command=f"ls -d {root}/releases/*-by-hand"):
        return
    stays = "".join(f"{line}\n" for line in take_along(settings, f"{root}/backend") if "backend" in found)
    if not imported(settings):
        notes.note(f"only {root}/{found[0]} is there: the first release is built from your files")
        if stays:
            yield f"set -eu; umask 022\n{stays}"
        return
    for part in found:
        notes.note(f"{root}/{part}: copied as a release")
    yield f"""set -eu; cd {root}; umask 022; mkdir -p releases venvs; rm -rf releases/*.new
{stays}release=$(date --utc +%Y%m%d-%H%M%S)-by-hand; new=releases/$release.new; mkdir $new
for part in {" ".join(found)}; do cp -a $part $new/$part; done
chown -R root:root $new; chmod -R go-w,a+rX $new
# Secrets belong in secrets_file: the backend's user must not read them here.
find $new -name '.env*' -exec chmod 600 {{}} +
{_compress("$new/frontend")}
if [ -d $new/backend ] && [ ! -e $new/backend/.venv ]; then
  {_environment_by_hand("$new/backend")}
fi
sync -f $new; mv -T $new releases/$release
[ -e current/. ] || {{ ln -sfn releases/$release current.new; mv -fT current.new current; }}"""


def by_hand(settings: Settings) -> list[str]:
    """The site's parts that are real folders where Slipway has links."""
    script = f"cd {settings.site_root} && for part in {' '.join(_parts_here(settings))}; do"
    return host.get_fact(Output, command=f"{script} [ ! -d $part ] || [ -L $part ] || echo $part; done").split()


def imported(settings: Settings) -> list[str]:
    """The parts that become the first release: without one of them, elsewhere on the server, it would not run."""
    found = by_hand(settings)
    return found if found == _parts_here(settings) else []


def _parts_here(settings: Settings) -> list[str]:
    return [part for part in settings.parts if {"backend": "app", "frontend": "web"}[part] in host.groups]


@component_step(after="nginx")
def leave_behind(settings: Settings) -> None:
    """Remove the previous site once Nginx serves Slipway's: until then visitors get the previous one."""
    in_order([partial(_leave_site, site) for site in settings.all_sites])


@component_step(before="fail2ban")
def leave_behind_of_others(settings: Settings) -> None:
    """The same on a host without Nginx, after the hosts with it."""
    if "web" not in host.groups:
        in_order([partial(_leave_site, site) for site in settings.all_sites])


@component_step()
def finish(settings: Settings) -> None:
    """Mark the adoption as complete, as the last component: later differences are drift."""
    ensure(
        name="Note that the server is adopted",
        check=f"[ -e {ADOPTED} ]",
        command=f"mkdir -p -m 755 {PurePosixPath(ADOPTED).parent} && touch {ADOPTED}",
    )


def _leave_site(site: Settings) -> None:
    if "app" in host.groups:
        stop_serving(name="Stop the previous backend", settings=site)
        if earlier(site):
            ensure(
                name="Hide the previous backend's variables from other users",
                check=f"! {readable_variables(site)} | grep -q .",
                command=hide_variables(site),
                note="the previous backend's variables: no longer readable by other users",
            )
    if "app" in host.groups or "web" in host.groups:
        move_aside(name="Move the previous site aside", settings=site)


def readable_variables(settings: Settings) -> str:
    """A command that prints the files with the previous backend's variables that others may read, by its unit or by the
    backup of it."""
    unit = f"systemd/system/{settings.backend_unit}.service"
    return f"""{{
  echo {settings.site_root}/.env
  for unit in {ASIDE}/etc/{unit} /etc/{unit} /lib/{unit}; do
    [ ! -f $unit ] || grep -q '{OURS}' $unit ||
      sed -nE 's/^EnvironmentFile=-?//p; s,^WorkingDirectory=[-!]?(/.*),\\1/.env,p' $unit
  done
}} | tr -d '"' | grep -vx /etc/environment | while read -r file; do
  find -L $file -maxdepth 0 -type f -perm /o=r 2> /dev/null
done | sort -u"""


def hide_variables(settings: Settings) -> str:
    """A command that closes them to others: they may be secrets that Slipway's backend uses too."""
    files = readable_variables(settings)
    return f"{{ {record_files(f'{settings.site_root}/variables', files)}; }} && {files} | xargs -d '\\n' chmod o-rwx"


@operation()
def move_aside(settings: Settings) -> Commands:
    """Make the previous paths links to the current release, and move the old folders aside."""
    root, found = settings.site_root, by_hand(settings)
    if not found:
        return
    for part in found:
        notes.note(f"{root}/{part}: moved to {root}/{part}.by-hand, now a link to current/{part}")
    # These files may hold secrets that Slipway's backend uses too.
    files = "$kept -name '.env*' -type f"
    close = f"{record(f'{root}/$part', files)}\n  find {files} -exec chmod 600 {{}} +"
    # Atomic, by renameat2(2), for which no shell command exists; overlay file systems may refuse it.
    exchange = "perl -e 'exit(syscall(316, -100, $ARGV[0], -100, $ARGV[1], 2) != 0)'"
    yield f"""set -eu; cd {root}
for part in {" ".join(found)}; do
  kept=$part.by-hand; rm -f $kept 2> /dev/null || mv -T $kept $kept.$(date --utc +%s)
  ln -s current/$part $kept
  {exchange} $part $kept || {{ rm $kept; mv -T $part $kept; ln -s current/$part $part; }}
  {close}
done"""


def _compress(folder: str) -> str:
    """A command that adds a compressed copy to each file worth it, as Slipway's releases do."""
    names = " -o ".join(f"-name '*{suffix}'" for suffix in sorted(COMPRESSED))
    return (
        f"[ ! -d {folder} ] || find {folder} -type f -size +{MIN_COMPRESSED_BYTES}c \\( {names} \\)"
        " -exec gzip --keep --force --no-name --best {} +"
    )


def _environment_by_hand(folder: str) -> str:
    """A virtual environment with the packages of the whole system, or of the site's own virtual environment."""
    return (
        f"venv=$(ls -d {folder}/venv {folder}/env 2>/dev/null | head -n 1);"
        f' if [ -n "$venv" ]; then ln -s $(basename $venv) {folder}/.venv;'
        f" else python3 -m venv --without-pip --system-site-packages {folder}/.venv; fi"
    )
