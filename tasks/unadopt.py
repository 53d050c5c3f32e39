"""Undo an adoption: restore the backup of tasks/adoption.py, and move Slipway's own files aside."""

from __future__ import annotations

from slipway.adoption import OURS
from slipway.settings.model import Settings
from slipway.tasks import backend_by_hand, owners
from slipway.tasks.adoption_facts import ADOPTED
from slipway.tasks.backend_by_hand import PROCESSES
from slipway.tasks.owners import ASIDE

SYSTEMD = "/etc/systemd/system"
# Restored as whole folders and files; units, mongod.conf and renewals have their own steps.
TREES = (
    *("etc/ssh", "etc/ufw", "etc/default/ufw", "etc/apt", "etc/aide", "etc/issue", "etc/issue.net"),
    *("etc/localtime", "etc/timezone", "etc/default/locale", "etc/locale.conf", "etc/locale.gen"),
    *("etc/login.defs", "etc/logrotate.d/nginx"),
)
# Backed up, and not restored: an older file could lack a disk, a name or the rights of a user that came since.
STAYS = (
    *("/etc/fstab", "/etc/hosts", "/etc/sudoers.d", "/etc/audit", "/etc/fail2ban", "/etc/systemd/journald.conf.d"),
    "/etc/letsencrypt/renewal-hooks",
)
AIDE = "/var/lib/aide/aide.db"

# `kept` is the backup of what was there before, `ours` is for Slipway's own files.
BEGIN = f"""\
set -eu; umask 022
kept={ASIDE}; ours=/var/backups/slipway/by-slipway.$(date --utc +%Y%m%d-%H%M%S)
[ -d $kept ] || {{ echo "nothing was adopted here: found no $kept" >&2; exit 1; }}
wrong() {{ echo "$1; nothing was changed" >&2; exit 1; }}
aside() {{ [ ! -e "/$1" ] && [ ! -L "/$1" ] || {{ mkdir -p "$ours/$(dirname "$1")"; mv -T "/$1" "$ours/$1"; }}; }}
back() {{
  new="/$1.by-hand"; mkdir -p "/$(dirname "$1")"; rm -rf "$new"; cp -a "$kept/$1" "$new"; aside "$1"; mv -T "$new" "/$1"
}}"""

# Check every configuration before it is restored.
CHECK = """\
if [ -d $kept/etc/nginx ]; then
  said=$(unshare --mount sh -c "mount --bind $kept/etc/nginx /etc/nginx && nginx -t -q" 2>&1) || wrong "$said"
fi
if [ -d $kept/etc/ssh ]; then
  said=$(unshare --mount sh -c "mount --bind $kept/etc/ssh /etc/ssh && /usr/sbin/sshd -t" 2>&1) || wrong "$said"
fi
if [ -f $kept/etc/mongod.conf ]; then
  said=$(mongod --config $kept/etc/mongod.conf --outputConfig 2>&1 > /dev/null) || wrong "$said"
fi"""

MONGODB = f"""\
if [ -f $kept/etc/mongod.conf ]; then
  back etc/mongod.conf; aside {SYSTEMD[1:]}/mongod.service.d/slipway.conf
  for unit in lib/systemd/system/mongod.service etc/systemd/system/mongod.service; do
    [ ! -e $kept/$unit ] || back $unit
  done
  systemctl daemon-reload; systemctl restart mongod
  port=$(sed -n 's/^.*[ {{]port: *\\([0-9]*\\).*/\\1/p' /etc/mongod.conf | head -n 1)
  for try in $(seq 300); do ! ss -Hltn sport = :${{port:-27017}} | grep -q . || break; sleep 0.1; done
fi"""

# Whatever was there before: a unit that stays enabled would fail without its release, or send alarms. Its name or mark
# tells that it is Slipway's. Transparent huge pages are a kernel parameter, and stay.
UNITS = f"""\
set --
for unit in $(cd {SYSTEMD} && {{ ls -d slipway-*.* || :; grep -lE '^# .*({OURS}|Slipway: )' *.* || :; }} 2> /dev/null |
  grep -E '[.](service|socket|timer|path)$' | grep -vx slipway-thp.service | sort -u); do
  set -- "$@" $unit
  [ ! -e {SYSTEMD}/${{unit%.*}}.timer ] || set -- "$@" ${{unit%.*}}.timer
done
[ $# = 0 ] || systemctl disable --quiet --now "$@"
for unit do aside {SYSTEMD[1:]}/$unit; done
systemctl daemon-reload"""

NGINX = f"""\
if [ -d $kept/etc/nginx ]; then
  aside {SYSTEMD[1:]}/nginx.service.d/slipway.conf; aside {SYSTEMD[1:]}/nginx.service.d/unconfigured.conf
  back etc/nginx
  # Of packages that stay.
  for link in $ours/etc/nginx/modules-enabled/*; do cp -an $link /etc/nginx/modules-enabled/; done
  systemctl daemon-reload; systemctl restart nginx
fi"""

LETSENCRYPT = "/etc/letsencrypt"
# Their renewals ended with the adoption. certbot renews only those that are due. The whole script has 300 s (Limits).
RENEW = f"""\
expired=; failed=
for file in {LETSENCRYPT}/renewal/*.conf.by-hand; do
  [ ! -e "$file" ] || {{ mv -fT "$file" "${{file%.by-hand}}"; set -- "$@" "$(basename "$file" .conf.by-hand)"; }}
done
for name do
  said=$(timeout 60 certbot renew --non-interactive --no-random-sleep-on-renew --cert-name "$name" 2>&1) ||
    failed="${{failed}}certificate $name: certbot could not renew it; all else is restored. Run \\`certbot renew \
--cert-name $name\\`, or let Nginx use another one of {LETSENCRYPT}/live:
$(printf %s "$said" | tail -n 20)
"
  openssl x509 -noout -checkend 0 -in "{LETSENCRYPT}/live/$name/cert.pem" > /dev/null || expired=yes
done"""

# The firewall comes last, so that the session that runs this stays connected.
REST = f"""\
for tree in {" ".join(TREES)}; do [ ! -e $kept/$tree ] && [ ! -L $kept/$tree ] || back $tree; done
# It reads the time zone when it starts.
systemctl try-restart cron 2> /dev/null || :
[ ! -e {AIDE}.by-hand ] || mv -fT {AIDE}.by-hand {AIDE}
systemctl daemon-reload; [ ! -d $kept/etc/ssh ] || systemctl reload ssh
if [ -d $kept/etc/ufw ] && grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; then ufw reload > /dev/null
elif command -v ufw > /dev/null; then ufw --force disable > /dev/null; fi
aside {ADOPTED[1:]}
stays=; for path in {" ".join(STAYS)}; do
  [ ! -e $kept$path ] || diff -qr $kept$path $path > /dev/null 2>&1 || stays="$stays $path"
done
mv -T $kept $ours/by-hand
echo "Slipway's files are in $ours, and the site's releases in by-slipway in its folder"
[ -z "$stays" ] || echo "not restored, as they were before in $ours/by-hand:$stays"
[ -z "$failed" ] || {{ printf %s "$failed" >&2; exit 1; }}"""


def script(settings: Settings) -> str:
    """A shell script for root. If a backed-up configuration is no longer valid, it prints why and changes nothing."""
    sites = settings.all_sites
    return "\n".join(
        [
            BEGIN,
            PROCESSES,
            CHECK,
            MONGODB,
            UNITS,
            *(_by_hand(site) for site in sites),
            *(_backend(site) for site in sites),
            NGINX,
            "set --",
            *(_same_renewal(site) for site in sites),
            RENEW,
            *(_site(site) for site in sites),
            REST,
        ]
    )


def _by_hand(site: Settings) -> str:
    """Stop the previous backend that an interrupted adoption keeps running: it has the port of its unit."""
    dropin = f"/run/systemd/system/{site.backend_unit}.service.d/by-hand.conf"
    return f"set +e; rm -f {dropin}; {backend_by_hand.stop_command(site)}; set -e"


def _backend(site: Settings) -> str:
    """Restore the previous folders and unit, and start the unit."""
    unit, root = f"{site.backend_unit}.service", site.site_root
    return f"""\
cd {root} 2> /dev/null && for part in backend frontend; do
  if [ -d $part.by-hand ] && [ ! -L $part.by-hand ] && [ -L $part ]; then rm $part; mv -T $part.by-hand $part; fi
done
{owners.restore(root, "$kept")}
[ ! -e $kept{SYSTEMD}/{unit} ] || back {SYSTEMD[1:]}/{unit}
systemctl daemon-reload
{_own_new_files(site)}
# A unit in another folder is in force again.
if systemctl cat {unit} > /dev/null 2>&1; then
  systemctl enable --quiet --now {unit}
  # Its port is that of the server that leads to it; a start is a matter of seconds.
  for try in $(seq 100); do
    pids=$(processes {unit} | tr '\\n' '|')
    ! ss -Hltnxp | grep -qE "pid=(${{pids%|}})," || break; sleep 0.2
  done
fi"""


def _own_new_files(site: Settings) -> str:
    """Give the shared files of Slipway's backend to the previous one's user or, without a unit, as what is there is."""
    ours = site.backend_unit
    whole = {path: f"{site.site_root}/shared-files" for path in site.shared_files}
    pairs = [(whole.get(path, place), place) for path, place in site.shared_places.items()]
    return "\n".join(
        [
            f"user=$(systemctl show --property=User --value {ours}.service)",
            *(
                f"! id {ours} > /dev/null 2>&1 || [ ! -e {place} ] ||"
                f' find {folder} -user {ours} -exec chown -h "${{user:-$(stat -c %u {place})}}" {{}} +'
                for folder, place in pairs
            ),
        ]
    )


def _same_renewal(site: Settings) -> str:
    """Restore the renewal of a certificate that had the name of Slipway's."""
    renewal, name = f"{LETSENCRYPT}/renewal/{site.site_name}.conf", site.site_name
    live = f"{LETSENCRYPT}/live/{name}"
    return f"""\
if [ -e $kept{renewal} ] && [ -e {live} ]; then back {renewal[1:]}; set -- "$@" {name}; fi"""


def _site(site: Settings) -> str:
    """Once Nginx no longer serves them: move Slipway's releases aside and, if the previous certificates are valid,
    disable the renewal of its own."""
    renewal = f"{LETSENCRYPT}/renewal/{site.site_name}.conf"
    return f"""\
if [ ! -L {site.site_root}/backend ] && [ ! -L {site.site_root}/frontend ]; then
  mkdir -p {site.site_root}/by-slipway; cd {site.site_root}
  for part in current previous next releases venvs; do
    [ ! -e $part ] && [ ! -L $part ] || {{ rm -rf by-slipway/$part; mv -T $part by-slipway/$part; }}
  done
fi
if [ -z "$expired" ] && [ -e $kept/etc/nginx ] && [ ! -e $kept{renewal} ] && [ -e {renewal} ]; then
  mv -fT {renewal} {renewal}.by-slipway
fi"""
