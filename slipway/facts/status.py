"""What `slipway status` shows of a host."""

from __future__ import annotations

import shlex

from slipway.facts.base import Fact, key_values


class Condition(Fact[dict[str, str]]):
    """What `slipway status` shows of a host, collected by one command.

    system, kernel, up (seconds), reboot ("yes" if required), version:TITLE, unit:NAME (systemd's LoadState, ActiveState
    and SubState), report:TITLE, health:UNIT ("yes" or "no"), start and end of the certificate that is served (seconds
    since the epoch) and placeholder ("yes" if it is self-signed), disk:MOUNT (MiB free, MiB in all),
    release and released (its time, seconds since the epoch), and apply: the last one's line in the host's log. Missing
    values are left out.
    """

    DISK_FOLDERS = "/ /var /var/lib /var/www"

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(
        self,
        units: tuple[str, ...],
        versions: tuple[tuple[str, str], ...],
        health: tuple[tuple[str, str], ...],
        served: str,
        site_root: str,
        log: str,
        others: tuple[tuple[str, str, str], ...] = (),
        reports: tuple[tuple[str, str], ...] = (),
        folders: tuple[str, ...] = (),
    ) -> str:
        """`versions` and `reports` are titles with a command that prints a version or a line, `health` are units with a
        shell test. `served` is the folder of a certificate, `site_root` that of a site; `others` are the name and these
        two folders of each further site, whose keys end in ":NAME". `folders` are those of data, whose disks are told
        beside the system's."""
        said = [f'its=$({command}); [ -z "$its" ] || echo "version:{title}=$its";' for title, command in versions]
        told = [f'echo "report:{title}=$({{ {command}; }} 2> /dev/null)";' for title, command in reports]
        well = [f"{{ {test}; }} > /dev/null 2>&1 && its=yes || its=no; echo health:{of}=$its;" for of, test in health]
        return (
            'echo "system=$(. /etc/os-release; echo $PRETTY_NAME)"; echo kernel=$(uname -r);'
            " echo up=$(ps -o etimes= -p 1); [ ! -e /run/reboot-required ] || echo reboot=yes;"
            f" {' '.join(said)}"
            f" for unit in {' '.join(map(shlex.quote, units))}; do echo unit:$unit=$("
            "systemctl show --value --property=LoadState,ActiveState,SubState $unit); done 2>/dev/null;"
            f" {' '.join([*told, *well])}"
            f" {self._of_site('', served, site_root)}"
            f"{''.join(self._of_site(f':{name}', *places) for name, *places in others)}"
            f" timeout 10 df -Pm {self.DISK_FOLDERS} {shlex.join(folders)} 2>/dev/null |"
            ' awk \'NR > 1 {print "disk:" $6 "=" $4, $2}\';'
            f" grep '\"verb\": *\"apply\"' {log} 2>/dev/null | tail -n 1 | sed 's/^/apply=/'"
        )

    @staticmethod
    def _of_site(suffix: str, served: str, site_root: str) -> str:
        current, folder = shlex.quote(f"{site_root}/current"), shlex.quote(served)
        return (
            f" if openssl x509 -noout -in {folder}/fullchain.pem 2>/dev/null; then"
            f" for what in start end; do its=$(openssl x509 -noout -${{what}}date -in {folder}/fullchain.pem);"
            f' echo $what{suffix}=$(date -d "${{its#*=}}" +%s); done;'
            f' [ "$(readlink {folder})" != placeholder ] || echo placeholder{suffix}=yes; fi;'
            f" if [ -e {current}/. ]; then echo release{suffix}=$(basename $(realpath {current}));"
            f" echo released{suffix}=$(stat -c %Y {current}); fi;"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)
