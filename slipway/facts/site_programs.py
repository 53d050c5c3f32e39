"""The programs that use a previous site beside its own unit, as sections of facts.Earlier."""

from __future__ import annotations

from slipway.adoption import OURS

# What people and jobs run in any folder, for a while.
PASSING = (
    "bash|sh|dash|zsh|fish|su|sudo|ssh|sshd*|sftp-server|scp|rsync|tmux*|screen|vi|vim*|nano|emacs*|mc|less|more|man"
    "|tail|cat|watch|top|htop|git|find|grep|rg|du|tar|gzip|cp|mv|rm"
)
# What people are logged in with.
SHELLS = "(ba|da|z|fi)?sh|su|sudo|tmux.*|screen|vim?.*|nano|sftp-server"
# Folders of a remote editor's own programs.
EDITORS = "*.vscode-server* | *.cursor-server* | *.windsurf-server*"
# Of a container, its name and the host's folders in it.
MOUNTS = "docker.service {{slice .Name 1}}:{{range .Mounts}} {{.Source}}{{end}}"


def sections(units: tuple[str, ...], roots: str, crontabs: str) -> str:
    """A shell script for facts.Earlier, with its functions. `units` are the sites' own."""
    own = " ".join([*units, *(one.replace(".service", "-by-hand.service") for one in units), "nginx.service"])
    return f"""\
own() {{ case " {own} " in *" $1 "*) return 0 ;; esac; grep -qs '{OURS}' "/etc/systemd/system/$1"; }}
others_units() {{
  for file in /etc/systemd/system/*.service; do
    unit=${{file##*/}}; [ ! -L "$file" ] && ! own "$unit" && grep -qE "$1" "$file" || continue
    ! systemctl is-enabled --quiet "$unit" && ! systemctl is-active --quiet "$unit" || echo "$unit"
  done
}}
others_programs() {{
  # Of processes: "UNIT PROGRAM", "- PROGRAM".
  cut -d/ -f3 | sort -u | while read -r pid; do
    name=$(cat /proc/$pid/comm) && [ $(readlink /proc/$pid/ns/pid) = $(readlink /proc/1/ns/pid) ] || continue
    case $name in {PASSING}) continue ;; esac
    # This script names folders and ports, too.
    case "$(tr '\\0' ' ' < /proc/$pid/cmdline)" in *'=== %s'* | {EDITORS}) continue ;; esac
    unit=$(unit_of $pid); [ "${{unit%.scope}}" = "$unit" ] && ! own "${{unit:--}}" || continue
    echo "${{unit:--}} $name"
  done
}}
for root in {roots}; do
  s "programs $root"
  for folder in $root/backend $root/frontend; do
    [ -d $folder ] && [ ! -L $folder ] || continue
    {{
      find /proc/[0-9]*/cwd /proc/[0-9]*/exe -maxdepth 0 \\( -lname $folder -o -lname "$folder/*" \\)
      grep -lsaF "$folder/" /proc/[0-9]*/cmdline
    }} | others_programs
    others_units "^(WorkingDirectory|EnvironmentFile)=[-!\\"]*$folder(/|\\"?\\$)" | sed 's/$/ it/'
    [ ! -S /var/run/docker.sock ] || docker ps -q |
      xargs -r docker inspect -f '{MOUNTS}' | grep -E " $folder(/| |\\$)" | cut -d: -f1
  done | sort -u
  s "callers $root"; unit=${{root##*/}}-backend.service
  folder=$(systemctl show -p WorkingDirectory --value $unit); folder=${{folder#!}}
  ss -Hltnp | awk '{{print $4, $6}}' | sockets | awk -v unit=$unit '$3 == unit {{print $1}}' | sort -u |
  while read -r where; do
    port=${{where##*:}}; echo "$port at $where"; peers $port | sed "s/^/$port from /"
    called="(127[.]0[.]0[.]1|localhost|::1\\]):$port([^0-9]|\\$)"
    {{
      {{
        ss -Htnp state established "dport = :$port" | awk '$4 ~ /^(127[.]|.::1.|.::ffff:127[.])/ {{print $5}}' |
          sed -nE 's,.*pid=([0-9]+).*,/proc/\\1,p'
        grep -lsaE "$called" /proc/[0-9]*/environ /proc/[0-9]*/cmdline
      }} | others_programs | sed -E 's/^- //; s/ .*//'
      others_units "^[^#]*$called"
      grep -IHE "$called" {crontabs} | grep -vE '^[^:]*:[[:space:]]*#' | cut -d: -f1
      grep -LsxE '{SHELLS}' /proc/[0-9]*/comm | sed 's/comm$/cwd/' | xargs readlink | sort -u |
        grep -vE "^($root|${{folder:-$root}})(/|\\$)" | while read -r used; do
        [ "$used" = / ] || grep -lsE "^[^#]*$called" "$used"/.env*
      done
    }} | sort -u | sed "s/^/$port by /"
  done
done"""
