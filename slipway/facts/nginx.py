"""Nginx's configuration: the present one, and the one after an apply."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from slipway.adoption import OURS
from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import FILE, Tree
from slipway.facts.base import Fact

# The packages' configuration files that are unmodified.
STOCK = """\
dpkg-query -W -f '${Conffiles}\\n' nginx nginx-common 2> /dev/null | while read -r file sum _; do
  case $file in /etc/nginx/*) [ "$(md5sum < "$file")" != "$sum  -" ] || echo "stock=$file" ;; esac
done"""

# Which of the configuration's paths, and of the first links in its folders, lead to places that a sandbox hides.
BEHIND = """\
printf '%s' "$dump" | grep -oE '/[^][:space:];{}"$'"'"']+' | sort -u | while read -r path; do
  [ -e "$path" ] && { echo "${path%/}"; [ ! -d "$path" ] || find "${path%/}/" -maxdepth 1 -type l | head -n 100; }
done | while read -r path; do
  real=$(readlink -f "$path")
  case $real in "$path") ;; /home/* | /root/* | /run/user/* | /tmp/* | /var/tmp/*) echo "link=$path=$real" ;; esac
done"""


class NginxInForce(Fact[Found | None]):
    """Nginx's configuration if some of it is not Slipway's, otherwise None."""

    @staticmethod
    def default() -> Found | None:
        return None

    def command(self) -> str:
        return f"""\
cd /etc/nginx 2> /dev/null && [ -x /usr/sbin/nginx ] || exit 0
[ -n "$(grep -L '{OURS}' nginx.conf sites-enabled/* conf.d/*.conf 2> /dev/null)" ] || exit 0
{STOCK}
for link in sites-enabled/* conf.d/*; do [ ! -L $link ] || echo "link=/etc/nginx/$link=$(readlink -f $link)"; done
dump=$(/usr/sbin/nginx -T -q 2>&1)
{BEHIND}
printf '%s\\n' "$dump"
"""

    def process(self, output: list[str]) -> Found | None:
        if not output:
            return None
        begin = next((number for number, line in enumerate(output) if FILE.fullmatch(line)), len(output))
        head, dump = output[:begin], "\n".join(output[begin:])
        links = (line.removeprefix("link=").split("=", 1) for line in head if line.startswith("link="))
        return Found(
            Tree(dump),
            error_in(output),
            frozenset(line.removeprefix("stock=") for line in head if line.startswith("stock=")),
            {name: target for name, target in links},
        )


class NginxFuture(Fact[tuple[Tree, str]]):
    """The configuration as it would be with some files and links added and others removed, and why it would be
    invalid, "" if it is valid or can't be tested.

    `nginx -T` runs in a mount namespace with a copy of /etc/nginx in memory, and none of the logs, which it would
    create: its output has the real paths, and no file of the host is written. A folder that is a link may lead out of
    the copy: nothing is tested then.
    """

    @staticmethod
    def default() -> tuple[Tree, str]:
        return Tree(""), ""

    def command(self, files: Mapping[str, str], links: Mapping[str, str], removed: tuple[str, ...]) -> str:
        """`files` and `links` by their names below /etc/nginx, `removed` are absolute paths."""
        gone = [shlex.quote(file.removeprefix("/etc/nginx/")) for file in removed]
        changed = " ".join([*gone, *files, *links])
        steps = [f"rm -f {name}" for name in gone]
        for name, text in files.items():
            steps.append(f"mkdir -p $(dirname {name}); rm -f {name}; printf %s {shlex.quote(text)} > {name}")
        steps += [f"mkdir -p $(dirname {name}); ln -sfn {target} {name}" for name, target in links.items()]
        lines = "\n".join(steps)
        inner = f"""\
# The folder itself is below the mount from then on, and stays the working directory.
cd /etc/nginx && mount -t tmpfs none /etc/nginx && cp -a . /etc/nginx && cd /etc/nginx || exit 0
for name in {changed}; do
  folder=$(dirname "$name"); [ "$(realpath -m "$folder")" = "$(realpath -ms "$folder")" ] || exit 0
done
{lines}
# Not installed yet: a module and certificates.
ls modules-enabled/*brotli* > /dev/null 2>&1 || sed -i '/brotli_static/d' sites-available/*
for site in sites-available/*; do
  folder=$(sed -n 's,^ *ssl_certificate \\(/etc/nginx/tls/[^/]*\\)/.*,\\1,p' $site | head -n 1)
  [ -z "$folder" ] || [ -e $folder/fullchain.pem ] || {{ mkdir -p $folder && openssl req -x509 -newkey ec \\
    -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=trial -keyout $folder/privkey.pem \\
    -out $folder/fullchain.pem 2> /dev/null || exit 0; }}
done
folders=$(find /var/log/nginx -type d); mount -t tmpfs none /var/log/nginx && mkdir -p $folders
/usr/sbin/nginx -T -q 2>&1"""
        return f"unshare --mount sh -c {shlex.quote(inner)} 2> /dev/null || true"

    def process(self, output: list[str]) -> tuple[Tree, str]:
        begin = next((number for number, line in enumerate(output) if FILE.fullmatch(line)), len(output))
        return Tree("\n".join(output[begin:])), error_in(output)


def error_in(output: list[str]) -> str:
    """Nginx's error about an invalid configuration, without its time and process; "" if there is none."""
    found = (re.match(r"(?:nginx:|[\d/]+ [\d:]+) \[emerg\] (?:\d+#\d+: )?(.*)", line) for line in output)
    return next((one[1] for one in found if one), "")
