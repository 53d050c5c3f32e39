"""The read-only shell scripts that query a host.

Programs that would write a file are not run: Nginx's configuration is read from its files (`nginx -T` creates log files
and a pid file), and apt runs as nobody, who can't write its cache. Values of environment variables never leave the
host, except a database's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyinfra.api import FactBase

from slipway.facts import mongodb_protocol
from slipway.facts.base import Output
from slipway.facts.machine import Listeners, Machine
from slipway.facts.ssh import Sshd
from slipway.tasks.firewall import Ufw

SYSTEM = r"""
. /etc/os-release; echo "title=$PRETTY_NAME"; echo kernel=$(uname -r); echo virtual=$(systemd-detect-virt)
echo cores=$(nproc); echo up=$(ps -o etimes= -p 1); echo hostname=$(hostname)
sed -n -E 's/^(MemTotal|SwapTotal): *([0-9]+).*/\1=\2/p' /proc/meminfo
sed -n '2,$s/^\([^ \t]*\)[ \t]*\([a-z]*\)[ \t]*\([0-9]*\).*/swap:\1=\2 \3/p' /proc/swaps
echo timezone=$(readlink /etc/localtime | sed 's,.*/zoneinfo/,,')
sed -n 's/^LANG=//p' /etc/default/locale /etc/locale.conf | tr -d '"' | sed 's/^/locale=/' | head -n 1
[ ! -e /etc/apt/apt.conf.d/00-slipway ] || echo slipway=yes
[ ! -e /run/reboot-required ] || echo reboot=yes
echo newest_kernel=$(ls /boot | sed -n 's/^vmlinuz-//p' | sort -V | tail -n 1)"""

DISKS = r"""
df -PTm -x tmpfs -x devtmpfs -x squashfs -x efivarfs | sed 1d
echo '== folders'
for folder in /home /opt /root /srv /var/backups /var/cache /var/lib/docker /var/lib/containers /var/lib/mongodb \
  /var/lib/mysql /var/lib/postgresql /var/lib/redis /var/log /var/mail /var/www; do
  [ -d $folder ] || continue
  # Where it could not look into all folders it is wrong.
  size=$(timeout 10 du -xsm $folder) || [ $(id -u) = 0 ] && echo "$size"
done"""

# Each listening process, with its control group: a systemd unit, or a container.
PORTS = r"""
ss -Hlntup
echo '== groups'
for pid in $(ss -Hlntup | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -un); do
  echo "$pid $(tail -n 1 /proc/$pid/cgroup)"
done
echo '== addresses'
ip -o addr show scope global | awk '{split($4, a, "/"); print a[1]}'"""

# The format of `nginx -T`, with the names of unreadable files; then the certificates in the files, and certbot's.
WEB = r"""
command -v nginx > /dev/null && echo "version nginx $(nginx -v 2>&1 | sed 's,.*nginx/,,')"
for program in apache2 caddy traefik haproxy; do
  ! command -v $program > /dev/null || echo "version $program"
done
echo "active $(systemctl is-active nginx apache2 caddy traefik haproxy | tr '\n' ' ')"
for file in /etc/apache2/sites-enabled/*; do
  sed -n -E "s,^[[:space:]]*(ServerName|ServerAlias|DocumentRoot|ProxyPass)[[:space:]]+,apache $file \1 ,Ip" "$file"
done
conf=$(nginx -V 2>&1 | sed -n 's/.*--conf-path=\([^ ]*\).*/\1/p'); conf=${conf:-/etc/nginx/nginx.conf}
cd ${conf%/*} || exit; set -- $conf; seen=' '
while [ $# -gt 0 ]; do
  file=$1; shift
  case $seen in *" $file "*) continue;; esac
  seen="$seen$file "
  [ -f "$file" ] || continue
  [ -r "$file" ] || { echo "# unreadable $file:"; continue; }
  echo "# configuration file $file:"; cat "$file"; echo
  [ ! -L "$file" ] || echo "# leads to $(readlink -f "$file")"
  for pattern in $(tr ';{}' '\n\n\n' < "$file" | sed -n 's/^[[:space:]]*include[[:space:]]\+//p' | tr -d "\"'"); do
    case $pattern in /*) ;; *) pattern=$PWD/$pattern;; esac
    set -- "$@" $pattern
  done
done
echo '# certificates:'
named=$(cat $seen | tr ';{}' '\n\n\n' | sed -n 's/^[[:space:]]*ssl_certificate[[:space:]]\+//p' | tr -d "\"'" | sort -u)
for file in $named /etc/letsencrypt/live/*/fullchain.pem; do
  [ -r "$file" ] || { echo "# unreadable $file:"; continue; }
  echo "# certificate $file:"; echo "# real $(readlink -f "$file")"
  sed -n -e '/^-----BEGIN CERTIFICATE/,/^-----END CERTIFICATE/p' -e '/^-----END CERTIFICATE/q' "$file"
done"""

RENEWAL = r"""
for file in /etc/letsencrypt/renewal/*.conf; do
  [ -r "$file" ] || continue
  echo "== lineage $(basename "$file" .conf)"
  grep -E '^(authenticator|installer|server|(renew|pre|post|deploy)_hook) *=' "$file"
done
echo '== hooks'; ls -d /etc/letsencrypt/renewal-hooks/*/*
echo '== timers'
systemctl is-active certbot.timer snap.certbot.renew.timer | paste -sd ' ' -
echo '== programs'
[ ! -e /usr/bin/certbot ] || echo certbot
[ ! -e /snap/bin/certbot ] || echo snap
for home in /root /home/*; do [ ! -d $home/.acme.sh ] || echo "acme.sh $home"; done
echo '== acme.sh'
for file in /root/.acme.sh/*/*.conf /home/*/.acme.sh/*/*.conf; do
  [ ! -r "$file" ] || sed -n -E 's/^(Le_Domain|Le_RealFullChainPath|Le_RealCertPath|Le_Webroot)=/\1=/p' "$file"
done"""

# Units that no package has brought, pm2's and supervisor's programs, and containers. Of variables the names alone are
# printed, and the name of a database.
SERVICES = r"""
packaged=$(grep -hE '/systemd/system/[^/]+[.](service|timer)$' /var/lib/dpkg/info/*.list | sed 's,.*/,,' | sort -u)
units=
for file in /etc/systemd/system/*.service /usr/local/lib/systemd/system/*.service /usr/lib/systemd/system/*.service; do
  [ -f "$file" ] && [ ! -L "$file" ] || continue
  name=${file##*/}
  case $file in /usr/lib/*) ! echo "$packaged" | grep -qxF -- "$name" || continue;; esac
  case $name in
    *@.service) units="$units $(systemctl list-units --all --plain --no-legend "${name%.service}*" | cut -d' ' -f1)";;
    *) units="$units $name";;
  esac
done
echo '== units'
shown=Id,Description,FragmentPath,ExecStart,User,ActiveState,SubState,UnitFileState,WorkingDirectory,EnvironmentFiles
[ -z "$(echo $units)" ] || systemctl show -p $shown,MemoryCurrent,NRestarts $units
for unit in $units; do
  ! systemctl cat $unit | grep -q 'by Slipway' || echo "slipway $unit"
done | { echo '== slipway'; cat; }
echo '== environment'
# Assignments of a unit, a line each, without the quotes that are around some.
assignments() {
  awk '{
    word = quote = ""
    for (i = 1; i <= length($0); i++) {
      c = substr($0, i, 1)
      if (quote != "") { if (c == quote) quote = ""; else word = word c }
      else if (c == "\"" || c == "\047") quote = c
      else if (c == " " || c == "\t") { print word; word = "" }
      else word = word c
    }
    print word
  }'
}
# Of assignments, a line each: their names, and what names a database. Who may read it comes before the last @.
names() {
  sed -n -E -e "s/^([A-Za-z_][A-Za-z0-9_]*)=.*/&\nname $1 \1/" -e 't ok' -e d -e ':ok' \
    -e 'h' -e 's/.*\n//p' -e 'g' -e 's/\n.*//' -e 's#://.*@#://#' \
    -e "s#^[^=]*=[\"']?mongodb([+]srv)?://[^/]*/([A-Za-z0-9_-]+).*#database $1 \2#p" \
    -e "s/^(DB|DATABASE|MONGO|MONGO_DB|MONGODB)(_NAME|_DATABASE|_DB)?=[\"']?([A-Za-z0-9_-]+)[\"']?$/database $1 \3/p"
}
for unit in $units; do
  systemctl cat $unit | sed -n 's/^Environment=//p' | assignments | names $unit
  places=$(systemctl show --value -p EnvironmentFiles $unit | sed 's/ (ignore_errors=.*//')
  folder=$(systemctl show --value -p WorkingDirectory $unit | sed 's/^!//')
  [ -z "$folder" ] || places="$places $folder/.env"
  for place in $places; do
    [ -r "$place" ] || { [ ! -e "$place" ] || echo "unreadable $unit $place"; continue; }
    echo "file $unit $place"
    sed -E 's/^[[:space:]]*(export[[:space:]]+)?([A-Za-z0-9_]+)[[:space:]]*=[[:space:]]*/\2=/' "$place" | names $unit
  done
done
echo '== pm2'
for file in /root/.pm2/dump.pm2 /home/*/.pm2/dump.pm2; do
  [ -r "$file" ] || continue
  echo "file $file"; grep -oE '"(name|pm_exec_path|pm_cwd)": *"[^"]*"' "$file"
done
echo '== supervisor'
grep -hsE '^(\[program:|command *=|user *=|directory *=)' /etc/supervisor/supervisord.conf /etc/supervisor/conf.d/*.conf
echo '== containers'
shown='{{.Names}}\t{{.Image}}\t{{.Status}}\t{{.Ports}}'
[ ! -S /var/run/docker.sock ] || timeout 20 docker ps -a --format "docker\t$shown"
[ ! -d /var/lib/containers/storage ] || timeout 20 podman ps -a --format "podman\t$shown"
echo '== platforms'
[ ! -e /captain ] || echo CapRover; [ ! -d /home/dokku ] || echo Dokku; [ ! -e /data/coolify ] || echo Coolify
[ ! -e /usr/local/cpanel ] || echo cPanel; [ ! -e /usr/local/psa ] || echo Plesk
! command -v k3s > /dev/null || echo k3s"""

USERS = r"""
cat /etc/passwd
echo '== groups'; grep -E '^(sudo|wheel|admin|docker|lxd):' /etc/group
echo '== passwords'; passwd -Sa | cut -d' ' -f1,2
echo '== sudoers'
for file in /etc/sudoers /etc/sudoers.d/*; do
  [ ! -r "$file" ] || sed -n -E "/^[[:space:]]*(#|\$|@|Defaults|[A-Z]+_Alias)/!s,^,$file ,p" "$file"
done
echo '== keys'
files=$(sshd -T -C user=root,host=example.org,addr=203.0.113.1 | sed -n 's/^authorizedkeysfile //p')
while IFS=: read -r name _ _ _ _ home shell; do
  case $shell in */nologin | */false | */sync | '') continue;; esac
  for file in ${files:-.ssh/authorized_keys .ssh/authorized_keys2}; do
    file=$(echo "$file" | sed "s,%h,$home,g; s,%u,$name,g")
    case $file in /*) ;; *) file=$home/$file;; esac
    if [ -d "$home" ] && { [ ! -x "$home" ] || { [ -e "${file%/*}" ] && [ ! -x "${file%/*}" ]; }; }; then
      echo "unreadable $name"
    fi
    [ -r "$file" ] || continue
    sed -n -E "/^[[:space:]]*(#|\$)/!s,^,key $name ,p" "$file"
  done
done < /etc/passwd"""

JOBS = r"""
echo '== packaged'
grep -hE '/systemd/system/[^/]+[.]timer$' /var/lib/dpkg/info/*.list | sed 's,.*/,,' | sort -u
grep -hsE '^/etc/cron[.]' /var/lib/dpkg/info/*.list
echo '== timers'; systemctl show -p Id,Unit,FragmentPath,UnitFileState,TimersCalendar,TimersMonotonic '*.timer'
echo '== cron'
for file in /etc/crontab /etc/cron.d/* /var/spool/cron/crontabs/*; do
  [ -f "$file" ] || continue
  echo "file $file"; sed -n -E '/^[[:space:]]*(#|$|[A-Za-z_]+[[:space:]]*=)/!s/^/job /p' "$file"
done
for file in /etc/cron.hourly/* /etc/cron.daily/* /etc/cron.weekly/* /etc/cron.monthly/*; do
  [ ! -f "$file" ] || echo "script $file"
done
[ -x /var/spool/cron/crontabs ] || [ ! -d /var/spool/cron/crontabs ] || echo unreadable"""

FIREWALL = r"""
iptables-save; echo '== v6'; ip6tables-save; echo '== nft'
# What iptables shows need not be shown once more.
shown=; ! iptables -V | grep -q nf_tables || shown=' filter nat mangle raw security '
nft list tables | while read -r _ family name; do
  case $family$shown in ip*\ *$name\ *) [ "$family" = inet ] || continue;; esac
  nft -j list table $family $name
done"""

# By nobody, who can't write apt's cache.
PACKAGES = r"""
. /etc/os-release; LC_ALL=C; export LC_ALL
nobody='setpriv --reuid=65534 --regid=65534 --clear-groups --'; [ $(id -u) = 0 ] || nobody=
echo '== policy'; $nobody apt-cache policy
echo '== files'; grep -sE '^(deb|URIs:|Suites:|Signed-By:)' /etc/apt/sources.list /etc/apt/sources.list.d/*
echo '== held'; dpkg-query -W -f '${db:Status-Want} ${Package}\n' | sed -n 's/^hold //p'
echo '== snaps'; [ ! -S /run/snapd.socket ] || timeout 20 snap list | awk 'NR > 1 {print $1, $2}'
echo '== elsewhere'; $nobody apt list "?installed?not(?origin($ID))" | grep /
echo '== updates'; $nobody apt list '?upgradable' | grep /
echo '== lists'; stat -c %Y /var/lib/apt/lists/*Release | sort -n | tail -n 1"""

# Appended to MongoDB's protocol (facts/mongodb_protocol.py), as a host has no module of Slipway's.
_SHOW = """
import sys

try:
    connection = Connection(sys.argv[1], int(sys.argv[2]), 10)
    said = connection.run({"hello": 1})
    print("set=" + said.get("setName", "")); print("role=" + ("primary" if said.get("isWritablePrimary") else "other"))
    print("version=" + str(connection.run({"buildInfo": 1}).get("version", "")))
    found = connection.run({"listDatabases": 1})
    print("authorization=" + ("on" if found.get("code") == UNAUTHORIZED else "off"))
    for one in found.get("databases", []):
        print("database=%s %d" % (one["name"], int(one.get("sizeOnDisk") or 0)))
except (OSError, KeyError, ValueError) as error:
    print("away=" + " ".join(str(getattr(error, "strerror", "") or error).split()))
"""


def _mongodb_program() -> str:
    return Path(mongodb_protocol.__file__).read_text() + _SHOW


MONGODB = r"""
pid=$(grep -lxs mongod /proc/[0-9]*/comm | cut -d/ -f3 | sort -n | head -n 1); config=/etc/mongod.conf
if [ -n "$pid" ]; then
  echo "running=$pid"; echo "group=$(tail -n 1 /proc/$pid/cgroup)"
  given=$(tr '\0' '\n' < /proc/$pid/cmdline | sed -n -e '/^\(--config\|-f\)$/{n;p}' -e 's/^--config=//p' | head -n 1)
  config=${given:-$config}
  tr '\0' '\n' < /proc/$pid/cmdline | sed 's/^/argument=/'
fi
mongod --version | sed -n 's/^db version v/installed=/p'
echo "package=$(dpkg-query -W -f '${Package} ${Version}' mongodb-org-server mongodb-server 2> /dev/null)"
echo "config=$config"
[ -e "$config" ] || exit
[ -r "$config" ] || { echo unreadable=$config; exit; }
grep -q 'by Slipway' $config && echo slipway=yes
value() {
  tr '{},' '\n\n\n' < "$config" | sed -n -E "s/^[[:space:]]*$1:[[:space:]]*[\"']?([^\"'[:space:]#]+).*/\1/p" | head -n 1
}
folder=$(value dbPath); port=$(value port); at=$(value bindIp)
[ ! -L "$folder" ] || { folder=$(readlink -f "$folder"); echo "behind=$folder"; }
case $at in '' | 0.0.0.0 | :: | *[!0-9.]*) at=127.0.0.1;; esac
size=$(timeout 20 du -sm "${folder:-/data/db}") || [ $(id -u) = 0 ] && echo "data=${size%%[!0-9]*}"
[ -z "$pid" ] || python3 -ISc "$program" $at ${port:-27017}
echo '== text'; sed 's/#.*//' "$config" """

DATABASES = r"""
echo '== postgresql'; pg_lsclusters -h
runuser -u postgres -- timeout 10 psql -XAt -F ' ' -c \
  "select 'database', datname, pg_database_size(datname) from pg_database where not datistemplate"
echo '== mysql'
for program in mariadbd mysqld; do
  ! command -v $program > /dev/null || { echo "version $($program --version)"; break; }
done
systemctl is-active mariadb mysql | sort -u | paste -sd ' ' - | sed 's/^/active /'
[ ! -d /var/lib/mysql ] || timeout 10 du -sm /var/lib/mysql | sed 's/^/data /'
echo '== redis'
for program in redis-server valkey-server; do
  ! command -v $program > /dev/null || echo "version $($program --version)"
done
systemctl is-active redis-server valkey-server | sort -u | paste -sd ' ' - | sed 's/^/active /'"""


def _with_program(script: str) -> str:
    quoted = _mongodb_program().replace("'", "'\\''")
    return f"program='{quoted}'\n{script}"


def _output(command: str) -> tuple[type[FactBase[Any]], dict[str, Any]]:
    # A subshell, so that an exit ends only this script. A user's PATH may lack the sbin folders.
    return Output, {"command": f"( PATH=$PATH:/usr/sbin:/sbin\n{command}\n)"}


def questions() -> dict[str, tuple[type[FactBase[Any]], dict[str, Any]]]:
    """Facts and their arguments, by subject."""
    texts = {
        "packages": PACKAGES,
        "system": SYSTEM,
        "services": SERVICES,
        "disks": DISKS,
        "web": WEB,
        "ports": PORTS,
        "mongodb": _with_program(MONGODB),
        "databases": DATABASES,
        "renewal": RENEWAL,
        "users": USERS,
        "jobs": JOBS,
        "firewall": FIREWALL,
    }
    facts: dict[str, tuple[type[FactBase[Any]], dict[str, Any]]] = {
        "machine": (Machine, {}),
        "listeners": (Listeners, {}),
        "sshd": (Sshd, {}),
        "ufw": (Ufw, {}),
    }
    return facts | {name: _output(text) for name, text in texts.items()}


def parts(text: str) -> dict[str, list[str]]:
    """The lines of an answer by part; a line "== NAME" begins a part, and "" is the first."""
    found: dict[str, list[str]] = {"": []}
    lines = found[""]
    for line in text.split("\n"):
        if line.startswith("== "):
            lines = found.setdefault(line[3:], [])
        elif line:
            lines.append(line)
    return found
