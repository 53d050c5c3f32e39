"""Firewalls on a server, and what passes them: sections of facts.Earlier."""

from __future__ import annotations

from slipway.adoption import OURS

MAX_LOOKUP_SECONDS = 5
# `is_here HOST:PORT`: it is this server.
IS_HERE = f"""\
own_addresses=" $(ip -o addr show | awk '{{sub("/.*", "", $4); print $4}}' | tr '\\n' ' ') "
is_here() {{
  case $1 in "["*) host=${{1#"["}}; host=${{host%%"]"*}} ;; *) host=${{1%%:*}} ;; esac
  case $host in localhost | 127.* | ::1 | 0.0.0.0 | host.docker.internal | %2[fF]*) return 0 ;; esac
  for address in $(timeout {MAX_LOOKUP_SECONDS} getent ahosts "$host" | cut -d' ' -f1 | sort -u); do
    case $address in 127.* | ::1) return 0 ;; esac
    case $own_addresses in *" $address "*) return 0 ;; esac
  done
  return 1
}}"""
# Uses `s` and `sockets` of facts.Earlier.
SECTIONS = f"""\
s protocols; ss -Hlnwp | awk '{{print $4, $6}}' | sockets | sed -nE 's/^[^ ]*:([0-9]+) ([^ ]*) .*/\\1 \\2/p'
for type in sit:41 gre:47 gretap:47 ipip:4; do
  ip -o link show type ${{type%:*}} up | sed -nE "s/^[0-9]+: ([^:@]+).*/${{type#*:}} \\1/p"
done
! ip xfrm state | grep -q 'proto esp' || ip xfrm state | grep -q espinudp || echo 50 IPsec
grep -hE '^-A ufw6?-before-input .*-j ACCEPT' /etc/ufw/before.rules /etc/ufw/before6.rules |
  sed -nE 's/.* -p ([a-z0-9]+) .*/open \\1/p' | sort -u
s flushes; ! systemctl is-enabled --quiet nftables || echo nftables.service
s before; grep -hE '^-A ufw6?-before-input ' /etc/ufw/before.rules /etc/ufw/before6.rules
s interfaces; ip -o addr show scope global | awk '{{print $2, $4}}'
# The kernel's own sockets say nothing of who has chosen their ports.
s chosen; sed -nE 's/^[[:space:]]*listen-?port[[:space:]]*=[[:space:]]*([0-9]+).*/\\1/Ip' /etc/wireguard/*.conf \
  /etc/systemd/network/*.netdev /run/systemd/network/*.netdev /etc/NetworkManager/system-connections/*
cat /proc/sys/fs/nfs/nlm_tcpport /proc/sys/fs/nfs/nlm_udpport
s chains; nft list chains | awk '$1 == "table" {{t = $2 " " $3}} $1 == "chain" {{c = $2}} /hook input/ {{print t, c}}' |
while read -r family table chain; do
  case "$family $table $chain" in
    "ip filter INPUT" | "ip6 filter INPUT" | *f2b* | *sshguard* | *crowdsec*) continue ;;
  esac
  ! nft list chain $family $table $chain | grep -qE 'drop|reject' || echo "$family $table $chain"
done
s legacy; iptables-legacy-save -t filter | grep '^-A INPUT '; ip6tables-legacy-save -t filter | grep '^-A INPUT '
# Chains that incoming traffic comes to. Docker's rules for a loopback address are for the host's own programs.
s redirects; for save in iptables-save ip6tables-save; do $save -t nat | awk '
  $1 == "-A" {{rule[++n] = $0; of[n] = $2; for (i = 3; i < NF; i++) if ($i ~ /^-[jg]$/) to[n] = $(i + 1)}}
  END {{
    led["PREROUTING"]
    do {{
      more = 0; for (i = 1; i <= n; i++) if (of[i] in led && !(to[i] in led)) {{led[to[i]]; more = 1}}
    }} while (more)
    for (i = 1; i <= n; i++)
      if (of[i] in led && to[i] ~ /^(REDIRECT|DNAT)$/ && rule[i] !~ / -d 127[.]/ &&
        rule[i] ~ /--dports? ([0-9:]+,)*(80|443)[, ]/) print rule[i]
  }}'
done
s forwarded
if [ "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 ] && ! grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf &&
  ! grep -qs '^DEFAULT_FORWARD_POLICY="ACCEPT"' /etc/default/ufw &&
  ! iptables-save -t filter | grep -qE '^:FORWARD DROP|^-A (DOCKER-)?FORWARD .*-j ACCEPT'; then
  iptables-save -t nat | grep -E '^-A .*-j (MASQUERADE|SNAT)' | sed 's/^/iptables -t nat /'
  nft list tables | grep -xE 'table inet (incus|lxd)' | sed 's/^table/nft/'
fi
# In the order that fail2ban reads them. A line that is indented more than an option continues its value (configparser).
s ignored
for file in /etc/fail2ban/jail.conf /etc/fail2ban/jail.d/*.conf /etc/fail2ban/jail.local \
  /etc/fail2ban/jail.d/*.local; do
  [ ! -f "$file" ] || grep -q '{OURS}' "$file" || {{ cat "$file"; echo; }}
done | awk '
  {{gsub(/\\r/, ""); sub(/[ \\t][;#].*/, "")}}
  /^[ \\t]*([#;]|$)/ {{next}}
  {{match($0, /[^ \\t]/)}}
  option != "" && RSTART > start {{value = value " " $0; next}}
  {{if (option == "ignoreip") print section, value; option = ""; start = RSTART}}
  /^[ \\t]*[[]/ {{section = $0; gsub(/^[ \\t]*[[]|[]].*/, "", section); next}}
  {{option = tolower($0); sub(/[ \\t]*[=:].*/, "", option); sub(/^[ \\t]+/, "", option)}}
  {{value = $0; sub(/^[^=:]*[=:]/, "", value)}}
  END {{if (option == "ignoreip") print section, value}}' | tr , ' '"""
