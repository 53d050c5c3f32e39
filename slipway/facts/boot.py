"""What runs on a server now, and would not run after a reboot: sections of facts.Earlier."""

from __future__ import annotations

# Of running containers, what may start them at boot: "shop no project /srv/shop/". Those of an orchestrator have
# labels that say so, and --rm removes one that has ended.
CONTAINER = (
    "{{slice .Name 1}} {{.HostConfig.RestartPolicy.Name}}{{.HostConfig.AutoRemove}}"
    ' {{with index .Config.Labels "com.docker.compose.project"}}{{.}}{{else}}?none?{{end}}'
    ' {{with index .Config.Labels "com.docker.compose.project.working_dir"}}{{.}}{{else}}?none?{{end}}'
    ' {{with index .Config.Labels "com.docker.swarm.service.id"}}other{{end}}'
    '{{with index .Config.Labels "io.kubernetes.pod.uid"}}other{{end}}'
    '{{with index .Config.Labels "com.amazonaws.ecs.task-arn"}}other{{end}}'
)
# File systems of disks and of other servers.
DISKS = "ext[234]|xfs|btrfs|f2fs|jfs|vfat|exfat|ntfs3?|nfs4?|cifs"
MAX_SCRIPT_BYTES = 65536

# Uses `s` and `unit_of` of facts.Earlier.
SECTIONS = f"""\
s reboots; apt-config dump Unattended-Upgrade::Automatic-Reboot | sed -n 's/.*"\\(.*\\)";$/\\1/p'
# A line for each job of the boot, each script that one names, and each enabled unit. `at_boot PATTERN WORD ...`: a line
# that matches has one of these words.
at_boot=$({{
    grep -hE '^@reboot' /etc/crontab /etc/cron.d/* /var/spool/cron/crontabs/*
    tr '\\n' ' ' < /etc/rc.local; echo
  }} | while read -r line; do
    echo "$line"
    for word in $(printf %s "$line" | grep -oE '/[A-Za-z0-9_./@+-]+'); do
      case $word in /bin/* | /sbin/* | /usr/bin/* | /usr/sbin/* | /dev/*) continue ;; esac
      [ ! -f "$word" ] || echo "$(head -c {MAX_SCRIPT_BYTES} "$word" | tr -d '\\0' | tr '\\n' ' ')"
    done
  done
  for unit in /etc/systemd/system/*.wants/* /etc/systemd/system/*.requires/*; do
    echo "${{unit##*/}} $(grep -hE '^(Exec|WorkingDirectory)' "$unit" | tr '\\n' ' ')"
  done)
at_boot() {{
  of=$1; shift
  for word do ! printf '%s\\n' "$at_boot" | grep -E "$of" | grep -qwF -e "$word" || return 0; done; return 1
}}
by_pm2() {{
  # PM2 runs in the session that it was first started in, until its unit starts it at the next boot.
  ancestor=$1
  while [ "${{ancestor:-0}}" -gt 1 ]; do
    title=$(tr '\\0' ' ' < /proc/$ancestor/cmdline)
    case $title in
      "PM2 "*"("*")"*)
        saved=${{title##*"("}}; saved=${{saved%%")"*}}
        [ -s "$saved/dump.pm2" ] && systemctl is-enabled --quiet "pm2-$(stat -c %U /proc/$ancestor)"; return ;;
    esac
    ancestor=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$ancestor/status)
  done
  return 1
}}
in_login() {{
  # cd's and programs' paths, of two parts at least.
  paths=$({{ readlink /proc/$1/cwd; tr '\\0' '\\n' < /proc/$1/cmdline; }} | grep -E '^/[^/]+/.' |
    grep -vE '^(/usr)?/s?bin/')
  by_pm2 $1 || at_boot . $paths || echo "login - $2"
}}
s boot; ss -Hltunp | awk '{{start = $1 " " $5; sub(/.*users:/, ""); print start, $0}}' |
while read -r protocol where users; do
  program=${{users#*'"'}}; program=${{program%%'"'*}}; pid=${{users#*pid=}}; pid=${{pid%%,*}}
  # Skip sockets of the kernel and of systemd, and processes of containers.
  [ "${{pid:-1}}" -gt 1 ] && [ "$(readlink /proc/$pid/ns/pid)" = "$(readlink /proc/1/ns/pid)" ] || continue
  port="${{where##*:}} $protocol $program"
  cgroup=$(sed -nE 's/^(0:|[0-9]+:name=systemd)://p' /proc/$pid/cgroup | head -n 1)
  case $cgroup in
    */tmux-spawn-*.scope) in_login $pid "$port" ;;
    */session-*.scope)
      session=${{cgroup##*/session-}}; session=${{session%%.scope*}}
      # By su(1) a job or a service starts a session, too.
      case $(loginctl show-session "$session" --property=Service --value):$session in
        su:* | su-l:* | runuser*:* | cron*:* | atd:* | systemd-user:* | :c*) ;;
        *) in_login $pid "$port" ;;
      esac ;;
    */user@*.service/*)
      user=$(stat -c %U /proc/$pid); [ -e "/var/lib/systemd/linger/$user" ] || echo "user $user $port" ;;
    # Without libpam-systemd there are no sessions.
    */ssh.service | */sshd.service | */ssh@*.service) case $program in sshd*) ;; *) in_login $pid "$port" ;; esac ;;
    *.service*)
      unit=$(unit_of $pid)
      state=$(systemctl show --property=UnitFileState --value "$unit")
      case $state in disabled | masked | linked) ;; *) continue ;; esac
      by=$(systemctl show --property=WantedBy,RequiredBy,BoundBy,UpheldBy,BusName --value "$unit" | tr -d '\\n')
      triggers=$(systemctl show --property=TriggeredBy --value "$unit")
      [ -n "$by" ] || {{ [ -n "$triggers" ] && systemctl is-enabled --quiet $triggers; }} || echo "unit $unit $port" ;;
  esac
done | sort -u
s unrestarted; [ ! -S /var/run/docker.sock ] || docker ps -q | xargs -r docker inspect -f '{CONTAINER}' |
while read -r name policy project folder other; do
  case $policy$other in nofalse | false) ;; *) continue ;; esac
  at_boot 'docker|podman|compose' "$name" "$project" "$folder" || echo "$name"
done
# A container's mounts are its host's.
s mounts; systemd-detect-virt --container --quiet ||
systemctl show --property=Where,Type,FragmentPath,ActiveState '*.mount' | awk -v RS= -F '\\n' '{{
  split("", has); for (i = 1; i <= NF; i++) {{at = index($i, "="); has[substr($i, 1, at - 1)] = substr($i, at + 1)}}
  if (has["ActiveState"] == "active" && has["FragmentPath"] == "" && has["Type"] ~ /^({DISKS})$/) print has["Where"]
}}' | while read -r where; do
  case $where in
    / | /boot* | /efi | /run/* | /media/* | /snap/* | /var/lib/docker/* | /var/lib/containers/*) continue ;;
    # Azure's agent mounts it.
    /var/lib/kubelet/* | /var/snap/* | /var/lib/lxd/* | /var/lib/incus/* | /mnt/resource) continue ;;
  esac
  # systemd has not read fstab since it was edited, or autofs(8) mounts it.
  ! awk '{{print $2}}' /etc/fstab | grep -qxF -e "$where" && ! at_boot . "$where" || continue
  ! findmnt -rno TARGET -t autofs | grep -v ^/proc | while read -r map; do
    case $where in "$map"/*) echo "$map" ;; esac
  done | grep -q . || continue
  echo "$where"
done"""
