"""A server built by hand is taken over: its data, its certificate and its site stay, what is replaced is kept aside.

Nothing here has anything to do on a server that Slipway made.
"""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.components import component, component_step
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.releases.artifact import COMPRESSED, MIN_COMPRESSED_BYTES
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.tasks.shared import take_along

ASIDE = "/var/backups/slipway/by-hand"
# What Slipway's own files have in them.
OURS = "by Slipway"


def replaced(settings: Settings) -> list[str]:
    """What Slipway puts its own in place of."""
    return [
        *(f"/etc/systemd/system/{settings.backend_unit}.service", "/etc/mongod.conf"),
        *("/lib/systemd/system/mongod.service", "/etc/systemd/system/mongod.service"),
        *("/etc/nginx", "/etc/ssh", "/etc/ufw", "/etc/default/ufw"),
    ]


def found_by_hand(settings: Settings) -> list[str]:
    """What somebody has built on the host before Slipway came, in words."""
    unit = f"/etc/systemd/system/{settings.backend_unit}.service"
    script = f"""\
[ ! -f {unit} ] || grep -q '{OURS}' {unit} || echo 'the service {settings.backend_unit}'
for part in backend frontend; do
  [ ! -d {settings.site_root}/$part ] || [ -L {settings.site_root}/$part ] || echo "{settings.site_root}/$part"
done
[ ! -f /var/lib/mongodb/WiredTiger ] || grep -q '{OURS}' /etc/mongod.conf || echo "MongoDB's data\""""
    sites = host.get_fact(Output, command=_others_sites(settings)).split()
    return [*host.get_fact(Output, command=script).splitlines(), *(f"the site {file}" for file in sites)]


def _others_sites(settings: Settings) -> str:
    """A command that prints the configuration files of Nginx, not ours, that serve the site's names."""
    names = "|".join(domain.replace(".", "[.]") for domain in settings.domains)
    return (
        f"others=$(grep -l -E '^[^#]*server_name[^;]*({names})' /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf"
        f" 2>/dev/null); [ -z \"$others\" ] || grep -L '{OURS}' $others"
    )


@component()
def adopt(settings: Settings) -> None:
    keep_aside(name="Back up the existing configuration", settings=settings)
    if "web" in host.groups:
        keep_certificate(name="Keep the existing certificate", settings=settings)
    if "app" in host.groups or "web" in host.groups:
        keep_site(name="Import the existing site as a release", settings=settings)


@operation()
def keep_aside(settings: Settings) -> Commands:
    """A copy of all that Slipway replaces, once."""
    if not found_by_hand(settings) or host.get_fact(Output, command=f"ls -d {ASIDE}"):
        return
    notes.note(f"{ASIDE}: {', '.join(replaced(settings))}")
    paths = " ".join(replaced(settings))
    yield (
        # One copy that fails, on a full disk say, and nothing is complete. cp 9.1 looks for parents in its folder.
        f"set -e; cd /; umask 077; rm -rf {ASIDE}.new; mkdir -p {ASIDE}.new;"
        f" for path in {paths}; do [ ! -e $path ] || cp -a --parents $path {ASIDE}.new; done;"
        # With it an Nginx that is there may go on, see templates/nginx/unconfigured.conf.
        f" if [ -e /usr/sbin/nginx ]; then mkdir -p -m 755 {TLS_FOLDER}; fi"
        f" && sync -f {ASIDE}.new && mv -T {ASIDE}.new {ASIDE}"
    )


@operation()
def keep_certificate(settings: Settings) -> Commands:
    """The certificate by which the site is served now is served on until certbot has got another."""
    served, kept = settings.tls_folder, f"{TLS_FOLDER}/by-hand"
    script = f"""\
[ -e {served} ] || for file in $({_others_sites(settings)}); do
  certificate=$(sed -n -E 's/^[^#]*ssl_certificate[[:space:]]+([^;]+);.*/\\1/p' $file | head -n 1)
  key=$(sed -n -E 's/^[^#]*ssl_certificate_key[[:space:]]+([^;]+);.*/\\1/p' $file | head -n 1)
  [ -f "$key" ] && openssl x509 -noout -checkend 0 -in "$certificate" > /dev/null &&
    openssl x509 -noout -checkhost {settings.site_domain} -in "$certificate" | grep -q 'does match' &&
    echo "$certificate $key" && break
done"""
    found = host.get_fact(Output, command=script).split()
    if len(found) != 2:
        return
    certificate, key = found
    notes.note(f"{served} -> {certificate}")
    yield (
        f"umask 077; mkdir -p -m 755 {TLS_FOLDER}; mkdir -p {kept}; cp -L {certificate} {kept}/fullchain.pem"
        f" && cp -L {key} {kept}/privkey.pem && sync -f {kept}"
        f" && ln -sfn by-hand {served}.new && mv -fT {served}.new {served}"
    )


@operation()
def keep_site(settings: Settings) -> Commands:
    """The code and the pages that are there become the first release: what visitors get stays what it is."""
    root = settings.site_root
    parts = [part for part in settings.parts if {"backend": "app", "frontend": "web"}[part] in host.groups]
    script = f"cd {root} && for part in {' '.join(parts)}; do [ ! -d $part ] || [ -L $part ] || echo $part; done"
    found = host.get_fact(Output, command=script).split()
    if not found:
        return
    for part in found:
        notes.note(f"{root}/{part}: kept as {root}/{part}.by-hand, served as a release")
    stays = "".join(f"{line}\n" for line in take_along(settings, f"{root}/backend") if "backend" in found)
    yield f"""set -eu; cd {root}; umask 022; mkdir -p releases venvs; rm -rf releases/*.new
{stays}release=$(date --utc +%Y%m%d-%H%M%S)-by-hand; new=releases/$release.new; mkdir $new
for part in {" ".join(found)}; do cp -a $part $new/$part; done
chown -R root:root $new; chmod -R go-w,a+rX $new
# Its secrets belong into secrets_file; the backend's own user does not read them here.
find $new -name '.env*' -exec chmod 600 {{}} +
{_compress("$new/frontend")}
if [ -d $new/backend ] && [ ! -e $new/backend/.venv ]; then
  {_environment_by_hand("$new/backend")}
fi
sync -f $new; mv -T $new releases/$release
[ -e current/. ] || {{ ln -sfn releases/$release current.new; mv -fT current.new current; }}
for part in {" ".join(found)}; do
  rm -rf $part.by-hand; mv -T $part $part.by-hand; ln -s current/$part $part
done"""


def _compress(folder: str) -> str:
    """A command that lays a compressed file beside each one that gains by it, as a release of ours has them."""
    names = " -o ".join(f"-name '*{suffix}'" for suffix in sorted(COMPRESSED))
    return (
        f"[ ! -d {folder} ] || find {folder} -type f -size +{MIN_COMPRESSED_BYTES}c \\( {names} \\)"
        " -exec gzip --keep --force --no-name --best {} +"
    )


def _environment_by_hand(folder: str) -> str:
    """A Python environment that has what was installed for the whole system, or in a folder of the site's own."""
    return (
        f"venv=$(ls -d {folder}/venv {folder}/env 2>/dev/null | head -n 1);"
        f' if [ -n "$venv" ]; then ln -s $(basename $venv) {folder}/.venv;'
        f" else python3 -m venv --without-pip --system-site-packages {folder}/.venv; fi"
    )


@component_step(before="nginx")
def retire_sites(settings: Settings) -> None:
    """Before Nginx gets Slipway's configuration: of two for the same names one wins by its file's name."""
    retire(name="Disable other configurations of the site", settings=settings)
    retire_ours(name="Disable sites that are no longer configured", settings=settings)


@operation()
def retire(settings: Settings) -> Commands:
    own = f"/etc/nginx/sites-enabled/{settings.site_name}"
    others = [file for file in host.get_fact(Output, command=_others_sites(settings)).split() if file != own]
    if others:
        notes.note("\n".join(f"{file}: removed" for file in others))
        yield f"rm -f {' '.join(others)}"


@operation()
def retire_ours(settings: Settings) -> Commands:
    """Sites of `sites` that were taken out: Nginx forgets them; their folders, database and certificate stay."""
    wanted = {"default", *(site.site_name for site in settings.all_sites)}
    command = f"cd /etc/nginx/sites-enabled && grep -l -s '^# .*, {OURS}: changes made here' *"
    gone = sorted({*host.get_fact(Output, command=command).split()} - wanted)
    if gone:
        files = [f"/etc/nginx/sites-enabled/{name}" for name in gone]
        notes.note("\n".join(f"{file}: removed" for file in files))
        yield f"rm -f {' '.join(files)}; ! systemctl is-active --quiet nginx || systemctl reload nginx"
