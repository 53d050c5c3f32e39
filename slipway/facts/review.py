"""What `slipway report` asks a host."""

from __future__ import annotations

import shlex
from pathlib import Path

from slipway.facts import mongodb_usage, requests_log
from slipway.facts.base import Fact
from slipway.facts.mongodb import program

FOLDERS = ("/var/log", "/var/cache", "/var/lib/mongodb.before-restore", "/var/lib/slipway")

# Of one part, in seconds: a host that says nothing for longer counts as gone.
MAX_SECONDS = 100


class Review(Fact[dict[str, list[str]]]):
    """Lines by part: system (key=value), updates (as apt lists them), disks (mount, MiB used, MiB in all), folders
    (MiB, path), requests, mongodb and backups (JSON of the programs). Only reads, and gives everything else on the host
    priority."""

    @staticmethod
    def default() -> dict[str, list[str]]:
        return {}

    def command(
        self,
        days: int,
        log: str,
        folders: tuple[str, ...],
        mongodb: tuple[str, int, int, str, str] | None,
        backup: str = "",
    ) -> str:
        """`mongodb` are its address, port, seconds for an answer, administrator, and the file with the password; None
        where there is none. `backup` is the program of backups, "" where there are none."""
        text = Path(requests_log.__file__).read_text()
        summary = f"timeout {MAX_SECONDS} python3 -ISc {shlex.quote(text)} {shlex.quote(log)} {days}"
        log_of_mongodb = f"journalctl --unit=mongod --output=cat --quiet --since=-{days}d --grep='\"id\":51803'"
        usage = (
            f"{{ timeout {MAX_SECONDS} {log_of_mongodb}; :; }} | {program(mongodb_usage, *mongodb)}" if mongodb else ":"
        )
        places = " ".join(map(shlex.quote, dict.fromkeys([*folders, *FOLDERS])))
        # By nobody, who can't write apt's cache.
        return f"""\
{{ renice -n 19 $$; }} > /dev/null
echo '== system'; . /etc/os-release; echo "title=$PRETTY_NAME"; echo "id=$ID-$VERSION_ID"
[ ! -e /run/reboot-required ] || echo reboot=yes
echo lists=$(stat -c %Y /var/lib/apt/lists/*Release | sort -n | tail -n 1)
echo '== updates'; runuser -u nobody -- apt list '?upgradable' | grep /
echo '== disks'; df -Pm / /var {places} | awk 'NR > 1 {{print $6, $3, $2}}' | sort -u
echo '== folders'; timeout {MAX_SECONDS} du -smx {places}
echo '== requests'; [ ! -e {log} ] || {summary}
echo '== mongodb'; {usage}
echo '== backups'; {f"timeout {MAX_SECONDS} {backup} sizes" if backup else ":"}"""

    def process(self, output: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in output:
            if line.startswith("== "):
                lines = found.setdefault(line[3:], [])
            else:
                lines.append(line)
        return found
