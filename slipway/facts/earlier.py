"""What is on a server until Slipway's first apply has completed, collected by one command."""

from __future__ import annotations

import re
import shlex

from slipway.adoption import OURS
from slipway.facts import acme_clients, boot, certificate_users, earlier_backend, network, site_programs
from slipway.facts.base import Fact
from slipway.facts.mongodb import program
from slipway.settings.system import PROTOCOL_MODULES

SECTION = re.compile(r"=== (\S.*)")
# Nginx's folders in which Slipway writes and removes files.
NGINX_FOLDERS = "/etc/nginx/sites-available /etc/nginx/sites-enabled /etc/nginx/conf.d /etc/nginx/snippets"
# Paths that Slipway changes.
FIXED = (
    f"/etc/nginx {NGINX_FOLDERS} /etc/nginx/nginx.conf /etc/mongod.conf /etc/ssh /etc/ssh/sshd_config /etc/ssh/moduli"
    " /etc/systemd/system /etc/ufw /etc/hosts /etc/passwd /etc/shadow /etc/group /etc/gshadow /etc/sudoers.d /etc/apt"
    " /etc/apt/sources.list.d /etc/default/ufw /etc/login.defs /etc/fstab /etc/timezone /etc/issue /etc/issue.net"
    " /etc/apt/apt.conf.d /etc/sysctl.d /etc/modprobe.d /etc/security/limits.d /etc/profile.d /etc/fail2ban/jail.d"
    " /etc/letsencrypt/renewal /etc/ufw/*.rules"
)
# Server blocks, of which only those of the sites are changed (adoption.nginx).
VHOSTS = "/etc/nginx/sites-available/* /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*"
FIREWALLS = "iptables-persistent netfilter-persistent firewalld shorewall ferm arno-iptables-firewall apf-firewall"
# How long ago a login by a key shows that somebody needs it.
USED_DAYS = 30
# Web servers that take Nginx's ports at boot, unless configured for others.
WEB_SERVERS = "apache2 lighttpd caddy haproxy traefik varnish openresty angie lshttpd lsws h2o hiawatha"
# Of stopped containers that Docker starts again at boot, the name and the host's ports: "shop 80 443".
RESTARTED = (
    '{{if eq .HostConfig.RestartPolicy.Name "always"}}{{slice .Name 1}}'
    "{{range .HostConfig.PortBindings}}{{range .}} {{.HostPort}}{{end}}{{end}}{{end}}"
)
# Folders of Slipway's own.
FOLDERS = "/var/www /var/www/letsencrypt /etc/nginx/tls /var/lib/slipway /usr/lib/slipway /usr/share/slipway"
# Jobs that use a program or path that Slipway changes.
TOUCHED = r"certbot|acme[.]sh|dehydrated|letsencrypt|mongo(d|sh|dump|export|restore)?\b|nginx|\bufw\b|iptables|nft\b"

# In sudo's file, the line by which it reads its folder.
INCLUDES = "^[#@]includedir[[:space:]]*[/]etc[/]sudoers[.]d"

# Files of logs that logrotate's files of packages match; their patterns do not reach into folders below.
ROTATED = r"^[^#]*/var/log/((nginx|letsencrypt|unattended-upgrades|aide)/|ufw|fail2ban)[^/]*([[:space:]{]|$)"
# Where cron(8) and its like name commands.
CRONTABS = "/etc/crontab /etc/anacrontab /etc/cron.d/* /var/spool/cron/crontabs/* /etc/cron.*ly/* /etc/rc.local"
# Of /var/www/html: how many files are looked at, and the pages that packages put there.
MAX_PAGES, PACKAGED_PAGES = 20, "<title>(Apache2 (Debian|Ubuntu) Default Page|Welcome to nginx)"
MAX_SCRIPTS, MAX_SCRIPT_BYTES, MAX_SCRIPT_LINES = 50, 65536, 50


class Earlier(Fact[dict[str, str]]):
    """What was set up on the server before Slipway, a text for each section.

    activated           "ADDRESS:PORT TYPE UNIT" of sockets that systemd listens on
    accounts, groups    lines of getent(1)
    before              the rules in /etc/ufw/before.rules and before6.rules
    boot                "login - PORT PROTOCOL PROGRAM", "user NAME ...", "unit NAME ..." of sockets that a reboot
                        would end
    callers ROOT        "PORT at ADDRESS:PORT" of a port of the backend's unit, "PORT from ADDRESS" of a client on
                        another host, "PORT by NAME" of a unit, program or file that uses it
    chains              nftables input chains that drop or reject
    chosen              ports of the kernel's own sockets that a configuration names (WireGuard, NFS)
    clients             ACME clients other than Debian's certbot
    plugins             packages of certbot's plugins
    containers          "NAME PORT ..." of stopped containers that Docker starts again at boot
    stopped             web servers that are enabled and not running
    connected           "PROGRAM UNIT" of MongoDB's clients
    credentials         files with MongoDB passwords that Slipway has written
    databases ROOT      "VARIABLE HOSTS FAR DATABASE" of variables that name a MongoDB, or a database: FAR are the hosts
                        other than this server, and a part that a variable does not have is "-"
    datagrams           "ADDRESS:PORT PROGRAM UNIT" of UDP sockets; without a program they are the kernel's
    later datagrams     the same at the end of this command
    environment ROOT    names of variables in the site's .env and in the files that its unit reads
    file PATH           the text of a file: apt's sources, mongod.conf, certbot's options and renewals, drop-ins, kernel
                        parameters
    flushes             nftables.service, if it is enabled: its file flushes all rules at boot
    folder ROOT         content of the site's folder: "entry NAME", "NAME -> TARGET" of a link
    ignored             "JAIL WORDS" of what fail2ban never bans, or DEFAULT for all jails, the last one last
    immutable, links    paths that Slipway changes and that are immutable (chattr(1)), or links
    forwarded           rules by which the server forwards traffic, if UFW is off and its default would deny it
    hooks               "FILE:LINE" of certbot's hooks that name Nginx
    jobs                "FILE:LINE" of jobs that use what Slipway changes
    journal             its size in MiB, unless Slipway has limited it
    interfaces          "DEVICE NETWORK" of global addresses
    keys                the administrator's authorized_keys
    legacy, redirects   iptables rules: of iptables-legacy for input, and those that redirect ports 80 and 443
    lineages            "lineage FOLDER" and the certificate in it
    login               what may prevent the administrator's login by key: "home OWNER MODE PATH", "shell", "expired",
                        "password", "locked" (its password), "nologin" (the file)
    listeners, local    "ADDRESS:PORT PROGRAM UNIT", "SOCKET PROGRAM UNIT"
    matched             "FILE:LINE" of what sshd allows within a Match, and Slipway's sshd does not
    mongod, nginx       "NAME=VALUE" of the process, the program and the unit
    programs ROOT       "UNIT PROGRAM" of what runs in the site's folders, or is to, and is not the backend's own unit
    protocols           "NUMBER PROGRAM" of IP protocols other than TCP and UDP that programs and tunnels receive, and
                        "open NAME" of those that /etc/ufw/before.rules accept
    modules             kernel modules in use that Slipway would block
    mounts              folders of mounts that nothing mounts at boot
    origins             what unattended-upgrades installs, in its own words
    packages            installed firewalls other than UFW
    pages               files in the folder of Nginx's own default server, without the pages of packages
    passwords           lines of getent(1) of users with a password and no key
    peers               addresses of MongoDB's clients on other hosts and in containers
    reboots             "true" if unattended-upgrades reboots the server
    roots               "used KEY", "unused KEY": root's authorized_keys, by whether somebody has lately logged in with
                        it, other than with this run's
    rotated             logrotate(8) files about logs of packages that Slipway installs
    scripts             "FILE:LINE" of scripts that jobs name by an absolute path: what in them is as in `jobs`
    size ROOT           of the site's parts, in MiB
    sftp                users with a password and without a shell whom sshd gives SFTP
    socket              where ssh.socket listens, if sshd's configuration does not say so
    sudoers             "FILE:LINE" of later rules than the administrator's for sudo that ask for a password, and
                        "/etc/sudoers" if it does not include the folder
    stores ROOT         "REASON PATH" of places outside of the site that the backend may write to. The reason is a
                        variable, or "code" that names it, "open" by its processes, "newer" than their start
    swapfile            its size in bytes
    taken               paths of Slipway's folders and links that are occupied by something else
    timezone            the server's
    local times         what of an owner's goes by it: "cron jobs and timers", "containers"
    services            units of the owner's own
    unit NAME           the text of a unit that Slipway did not write
    unrestarted         running containers that Docker does not start at boot
    uplinks             "DEVICE ALL OWN" of default routes, with the values of rp_filter
    used                "FILE:FOLDER" of certbot's folders that programs other than Nginx, their links, certbot's hooks,
                        scripts or containers refer to
    written ROOT        a file of each folder that the backend seems to write to next to its code, and its databases
    """

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(
        self,
        users: tuple[str, ...],
        groups: tuple[str, ...],
        units: tuple[str, ...],
        roots: tuple[str, ...],
        mongodb_port: int,
    ) -> str:
        """`users` starts with the administrator, `units` are names with a suffix, `roots` the folders of the sites."""
        user = shlex.quote(users[0])
        variables = " ".join(f"{shlex.quote(root)}/*/.env*" for root in roots)
        touched = "|".join([TOUCHED, *(one.replace(".", "[.]") for one in (*units, *roots))])
        return f"""\
exec 2> /dev/null
s() {{ printf '\\n=== %s\\n' "$1"; }}
f() {{ for file do [ ! -f "$file" ] || {{ s "file $file"; cat "$file"; }}; done; }}
unit_of() {{ sed -nE 's,.*/([^/]*([.]service|-by-hand[.]scope)).*,\\1,p' /proc/$1/cgroup | head -n 1; }}
process() {{
  # By the first process of its unit, or else by the oldest one. A minimal image has no pgrep.
  for pid in $(systemctl show --property=MainPID --value "$1.service") \
    $(grep -lxs "$1" /proc/[0-9]*/comm | cut -d/ -f3 | sort -n); do
    # Skip processes of containers, and a wrapper of the program.
    [ "$(cat /proc/$pid/comm)" = "$1" ] && [ $(readlink /proc/$pid/ns/pid) = $(readlink /proc/1/ns/pid) ] || continue
    echo "exe=$(readlink /proc/$pid/exe | sed 's/ (deleted)$//')"; echo "unit=$(unit_of $pid)"
    echo "user=$(stat -c %U /proc/$pid)"; echo "command=$(tr '\\0' ' ' < /proc/$pid/cmdline)"; break
  done
  systemctl show --property=FragmentPath,DropInPaths "$1.service"
}}
sockets() {{
  while read -r where users; do
    name=${{users#*'"'}}; pid=${{users#*pid=}}; pid=${{pid%%,*}}
    # Skip processes that have exited, and Slipway's own query (facts.mongodb.program).
    [ -z "$pid" ] || [ -d /proc/$pid ] || continue
    case "$(tr '\\0' ' ' < /proc/$pid/cmdline)" in
      # One that is about to exit has no command line any more.
      "" | "python3 -ISc "*) continue ;;
      "sshd: "*"[listener]"*) ;;
      # By its title the process of a login, which listens for a reverse tunnel (ssh -R).
      "sshd: "* | "sshd-session: "*) name=sshd-session ;;
    esac
    echo "$where ${{name%%'"'*}} $(unit_of $pid)"
  done
}}
peers() {{
  # Clients of a port that are not on this host.
  ss -Htn state established "sport = :$1" | awk '{{print $4}}' | sed -E 's/:[0-9]+$//; s/^\\[(::ffff:)?//; s/\\]$//' |
    grep -vE '^(127[.]|::1$)' | grep -vxF "$(ip -o addr show | awk '{{sub("/.*", "", $4); print $4}}')" | sort -u
}}
s listeners; ss -Hltnp | awk '{{print $4, $6}}' | sockets
s activated; systemctl list-sockets --show-types --plain --no-legend | awk '$1 ~ /:[0-9]+$/ {{print $1, $2, $3}}'
s local; ss -Hlxp | awk '$5 ~ "^/" {{print $5, $NF}}' | sockets
s datagrams; ss -Hlunp | awk '{{print $4, $6}}' | sockets
s connected; ss -Htnp state established "dport = :{mongodb_port}" | awk '{{print "-", $5}}' | sockets | cut -d' ' -f2-
s peers; peers {mongodb_port}
{network.SECTIONS}
s accounts; getent passwd {_quoted(users)}
s groups; getent group {_quoted(groups)}
f /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources
grep -qs '{OURS}' /etc/mongod.conf || f /etc/mongod.conf
s mongod; process mongod
data=$(awk '$1 == "dbPath:" {{print $2}}' /etc/mongod.conf | tr -d \\'\\" | head -n 1)
[ -z "$data" ] || echo "data=$(readlink -m "$data")"
! [ -x /usr/bin/mongod ] || /usr/bin/mongod --version | sed -n 's/^db version v/version=/p'
s nginx; process nginx; dpkg-query -W -f '${{Package}}=${{db:Status-Status}}\n' nginx nginx-common
[ ! -e /usr/sbin/nginx ] || dpkg -S /usr/sbin/nginx > /dev/null || echo unpackaged=/usr/sbin/nginx
s pages; find /var/www/html -type f ! -name index.nginx-debian.html ! -path '*/.well-known/*' | head -n {MAX_PAGES} |
  while read -r file; do grep -qE '{PACKAGED_PAGES}' "$file" || echo "$file"; done
f /etc/letsencrypt/cli.ini /etc/letsencrypt/renewal/*.conf
s lineages; for folder in /etc/letsencrypt/live/*/; do echo "lineage $folder"; cat "$folder/cert.pem"; done
{certificate_users.SECTION}
{acme_clients.SECTION}
s plugins; dpkg-query -W -f '${{db:Status-Status}} ${{Package}}\\n' 'python3-certbot-*' | sed -n 's/^installed //p'
s stopped; for unit in {WEB_SERVERS}; do
  systemctl is-active --quiet $unit || ! systemctl is-enabled --quiet $unit || echo $unit.service
done
s containers; [ ! -S /var/run/docker.sock ] || docker ps -aq --filter status=exited --filter status=created |
  xargs -r docker inspect -f {shlex.quote(RESTARTED)} | grep ' '
for unit in mongod nginx; do f /etc/systemd/system/$unit.service.d/*.conf; done
s hooks; for hook in /etc/letsencrypt/renewal-hooks/*/*; do grep -q '{OURS}' $hook || grep -HE nginx $hook; done
s jobs
grep -IHE '{touched}' {CRONTABS} |
  grep -vE '^[^:]*:[[:space:]]*#|^/etc/cron.d/certbot:.*! -d /run/systemd/system'
for file in /etc/network/interfaces /etc/network/interfaces.d/* /etc/network/if-*.d/* /etc/networkd-dispatcher/*/*; do
  [ ! -f "$file" ] || dpkg -S "$file" > /dev/null || grep -IHE '^[^#]*(iptables|nft )' "$file"
done
for unit in /etc/systemd/system/*.service /etc/systemd/system/certbot.service.d/*.conf; do
  [ -L $unit ] || grep -q '{OURS}' $unit || grep -IHE '^Exec.*({touched})' $unit
done
s scripts
{{
  grep -IhvE '^[[:space:]]*#' {CRONTABS}
  for unit in /etc/systemd/system/*.service; do
    case " {" ".join(units)} mongod.service nginx.service " in *" ${{unit##*/}} "*) continue ;; esac
    [ -L $unit ] || grep -q '{OURS}' $unit || grep -Ih '^Exec' $unit
  done
}} | grep -oE '/[A-Za-z0-9_./@+-]+' | sort -u | while read -r file; do
  # Those of packages are no job of the owner's; what a job writes or reads is no script.
  case $file in /usr/local/*) ;; /usr/* | /bin/* | /sbin/* | /lib/* | /etc/init.d/* | /dev/*) continue ;; esac
  [ -f "$file" ] && ! grep -q '{OURS}' "$file" || continue
  [ ! -x "$file" ] && [ "${{file%.sh}}" = "$file" ] && [ "$(head -c 2 "$file")" != '#!' ] || echo "$file"
done | head -n {MAX_SCRIPTS} | while read -r file; do
  head -c {MAX_SCRIPT_BYTES} "$file" | grep -IHE -m {MAX_SCRIPT_LINES} --label="$file" '{touched}|mongodb([+]srv)?://'
done | grep -vE '^[^:]*:[[:space:]]*#'
s timezone; zone=$(readlink -f /etc/localtime | sed -n 's,^/usr/share/zoneinfo/,,p')
[ -n "$zone" ] || [ ! -f /etc/localtime ] || zone=$(cat /etc/timezone); echo "$zone"
s 'local times'
for file in {CRONTABS} /var/spool/cron/atjobs/* \
  $(grep -lE '^OnCalendar=.*[^C]$' /etc/systemd/*/*.timer /home/*/.config/systemd/user/*.timer \
    /root/.config/systemd/user/*.timer); do
  [ -f "$file" ] && [ ! -L "$file" ] && ! grep -q '{OURS}' "$file" || continue
  case $file in
    # Jobs besides those that run the other folders.
    /etc/crontab) ! grep -E '^[0-9*@]' "$file" | grep -qvE 'run-parts|anacron' || echo 'cron jobs and timers' ;;
    /etc/anacrontab | /etc/rc.local | */.placeholder | */.SEQ) ;;
    *) dpkg -S "$file" > /dev/null || echo 'cron jobs and timers' ;;
  esac
done | sort -u
[ ! -S /var/run/docker.sock ] || [ -z "$(docker ps -q)" ] || echo containers
s services; for unit in /etc/systemd/system/*.service; do
  [ ! -f $unit ] || [ -L $unit ] || grep -q '{OURS}' $unit || dpkg -S $unit > /dev/null || echo ${{unit##*/}}
done
s rotated; grep -lE '{ROTATED}' /etc/logrotate.d/*
s origins; for list in Origins-Pattern Allowed-Origins; do
  apt-config dump Unattended-Upgrade::$list | sed -n 's/^[^ ]*:: "\\(.*\\)";$/\\1/p'
done
for root in {_quoted(roots)}; do
  s "folder $root"; [ ! -L $root ] || echo "link $(readlink $root)"; ls -A $root | sed 's/^/entry /'
  for link in current backend frontend; do [ ! -L $root/$link ] || echo "$link -> $(readlink $root/$link)"; done
  s "size $root"; du -smc $root/backend $root/frontend | tail -n 1 | cut -f1
done
for unit in {_quoted(units)}; do
  s "unit $unit"
  for file in /etc/systemd/system/$unit /lib/systemd/system/$unit $(systemctl show -p FragmentPath --value $unit); do
    # Read at once: an interrupted apply may still remove a unit of its own.
    if text=$(cat $file) && ! printf '%s\\n' "$text" | grep -q '{OURS}'; then
      printf 'path=%s\\n%s\\n' "$file" "$text"; break
    fi
  done
  f /etc/systemd/system/$unit.d/*.conf
done
{program(earlier_backend, *roots)} || {{
  # 127: without Python there is no such backend.
  [ $? = 127 ] || exit 1
  for root in {_quoted(roots)}; do
    for name in written environment databases stores; do s "$name $root"; done
  done
}}
{site_programs.sections(units, _quoted(roots), CRONTABS)}
s passwords; awk -F: '$2 ~ /^[$]/ {{print $1}}' /etc/shadow | while read -r user; do
  home=$(getent passwd $user | cut -d: -f6); [ -s $home/.ssh/authorized_keys ] || getent passwd $user
done
# sshd itself serves them, without the user's shell.
s sftp; awk -F: '$2 ~ /^[$]/ {{print $1}}' /etc/shadow | while read -r user; do
  case $(getent passwd $user) in */nologin | */false) ;; *) continue ;; esac
  sshd -T -C user=$user,host=example.org,addr=203.0.113.1 | awk -v user=$user '
    $1 == "forcecommand" && $2 == "internal-sftp" {{is_forced = 1}}
    $1 == "subsystem" && $3 == "internal-sftp" {{is_internal = 1}}
    $1 == "chrootdirectory" && $2 != "none" {{is_confined = 1}}
    END {{if (is_forced || (is_internal && is_confined)) print user}}'
done
home=$(getent passwd {user} | cut -d: -f6); shell=$(getent passwd {user} | cut -d: -f7)
s immutable; lsattr -d {FIXED} {VHOSTS} {variables} "$home/.ssh" "$home/.ssh/authorized_keys" /etc/sudoers.d/{user} |
  grep '^....i' | cut -d' ' -f2
s links; for path in {FIXED}; do [ ! -L $path ] || echo $path; done
find {NGINX_FOLDERS} -mindepth 1 -type l -xtype d
s packages; dpkg-query -W -f '${{db:Status-Status}} ${{Package}}\\n' {FIREWALLS} | sed -n 's/^installed //p'
f /etc/sysctl.conf
! grep -q '^IPT_SYSCTL=/etc/ufw/sysctl.conf' /etc/default/ufw || f /etc/ufw/sysctl.conf
for file in /etc/sysctl.d/*.conf; do
  [ -L $file ] || grep -q '{OURS}' $file || dpkg -S $file > /dev/null || f $file
done
s uplinks; ip -4 -o route show default | grep -oE 'dev [^ ]+' | sort -u | while read -r _ name; do
  echo "$name" $(cat /proc/sys/net/ipv4/conf/all/rp_filter "/proc/sys/net/ipv4/conf/$name/rp_filter")
done
s modules; awk '$1 ~ /^({"|".join(PROTOCOL_MODULES)})$/ && $3 > 0 {{print $1}}' /proc/modules
for disk in $(lsblk -dnro NAME,TRAN | awk '$2 == "usb" {{print $1}}'); do
  # A virtual drive of the machine's remote console is mounted by nobody.
  ! lsblk -nro MOUNTPOINT /dev/$disk | grep -q . || printf 'usb-storage\\nuas\\n'
done
s credentials; ls -d /etc/*/credentials/MONGODB_*
s taken; for folder in {FOLDERS}; do
  if [ -L $folder ] || {{ [ -e $folder ] && [ ! -d $folder ]; }}; then echo $folder; fi
done
for root in {_quoted(roots)}; do
  tls=/etc/nginx/tls/${{root##*/}}; [ ! -e $tls ] || [ -L $tls ] || echo $tls
done
s swapfile; stat -c %s /swapfile
s journal; [ -e /etc/systemd/journald.conf.d/slipway.conf ] ||
  du -sm "/var/log/journal/$(cat /etc/machine-id)" | cut -f1
s keys; cat "$home/.ssh/authorized_keys"
s roots
if [ -s /root/.ssh/authorized_keys ]; then
  # sudo drops the variable, and keeps it in the process that it starts from.
  pid=$$; while [ -z "$SSH_CONNECTION" ] && [ "${{pid:-0}}" -gt 1 ]; do
    SSH_CONNECTION=$(tr '\\0' '\\n' < /proc/$pid/environ | sed -n 's/^SSH_CONNECTION=//p')
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$pid/status)
  done
  set -- $SSH_CONNECTION
  logins=$({{ timeout 10 journalctl --quiet --since=-{USED_DAYS}days -t sshd -t sshd-session -o cat
    cat /var/log/auth.log /var/log/auth.log.1; }} | grep -aF 'Accepted publickey for ')
  own=$(printf %s "$logins" | grep -F " from $1 port $2 ssh2: " | grep -o 'SHA256:.*' | head -n 1)
  used=$(printf %s "$logins" | grep -F ' for root from ' | grep -o 'SHA256:.*' | grep -vxF "${{own:-none}}" | sort -u)
  grep -vE '^[[:space:]]*(#|$)' /root/.ssh/authorized_keys | while read -r key; do
    print=$(printf '%s\\n' "$key" | ssh-keygen -lf - | cut -d' ' -f2)
    if printf '%s\\n' "$used" | grep -qxF "${{print:-none}}"; then echo "used $key"; else echo "unused $key"; fi
  done
fi
s socket; [ -e /usr/lib/systemd/system-generators/sshd-socket-generator ] || ! systemctl is-active --quiet ssh.socket ||
  systemctl show --property=Listen --value ssh.socket
s matched; awk 'FNR == 1 {{m = 0}} tolower($1) == "match" {{m = 1}} {{line = tolower($1 " " $2)}}
  m && line ~ /^(permitrootlogin [^n]|permitemptypasswords y|[a-z]*(password|interactive|response)authentication y)/ {{
    print FILENAME ":" $1 " " $2}}' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf
s sudoers; groups=$(id -Gn {user} | tr ' ' '|'); rule="^\\s*({user}|ALL|%($groups))\\s.*[):=[:space:]]ALL\\s*$"
{{
  for file in /etc/sudoers.d/*; do
    case ${{file##*/}} in *.* | *~) continue ;; esac
    [ ! "${{file##*/}}" \\> {user} ] || grep -HE "$rule" "$file"
  done
  # Rules below its includedir come after all of those files.
  sed '0,/{INCLUDES}/d' /etc/sudoers | grep -HE --label=/etc/sudoers "$rule"
}} | grep -v NOPASSWD
[ ! -f /etc/sudoers ] || grep -q '{INCLUDES}' /etc/sudoers || echo /etc/sudoers
s login; [ ! -e /etc/nologin ] || echo nologin
[ -z "$home" ] || stat -c 'home %U %a %n' "$home" "$home/.ssh"
[ -z "$shell" ] || [ -x "$shell" ] || echo "shell $shell"
awk -F: -v day=$(($(date +%s) / 86400)) '$1 == "{user}" && $8 != "" && $8 <= day {{print "expired"}}
  $1 == "{user}" && $2 ~ /^!/ {{print "locked"}}
  $1 == "{user}" && ($3 == "0" || ($3 != "" && $5 != "" && $3 + $5 < day)) {{print "password"}}' /etc/shadow
{boot.SECTIONS}
s 'later datagrams'; ss -Hlunp | awk '{{print $4, $6}}' | sockets
true"""

    def process(self, output: list[str]) -> dict[str, str]:
        found: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if start := SECTION.fullmatch(line):
                lines = found.setdefault(start[1], [])
            else:
                lines.append(line)
        return {name: "\n".join(text).strip("\n") for name, text in found.items()}


def _quoted(words: tuple[str, ...]) -> str:
    return " ".join(map(shlex.quote, words))


def files(earlier: dict[str, str], folder: str) -> dict[str, str]:
    """The texts of the files below a folder, by their paths."""
    names = (name.removeprefix("file ") for name in earlier if name.startswith("file "))
    return {name: earlier[f"file {name}"] for name in names if name.startswith(folder)}
