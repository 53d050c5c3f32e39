"""What Slipway asks of a server beyond pyinfra's own facts. Each fact is one read-only command.

A fact never fails where its subject is absent (a program not installed yet, a missing file): a plan of a fresh host
asks all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pyinfra.api import FactBase

from slipway import mongodb_login

# dpkg's word for them is an error flag, dpkg-query(1).
BROKEN_PACKAGES = "dpkg-query -W -f '${db:Status-Eflag}=${Package}\\n' | grep ^reinstreq="


def key_values(lines: Iterable[str]) -> dict[str, str]:
    """`key=value` lines as a dictionary."""
    return dict(line.split("=", 1) for line in lines if "=" in line)


T = TypeVar("T")


class Fact(FactBase[T]):
    """A fact whose command holds no secret: what a run asks may be kept in a file, for the next one to ask at once."""

    may_be_remembered = True


class FileState(Fact[dict[str, str]]):
    """What is at `path`, not following a link: kind, owner, group, mode (octal), and sha256 of a file or the target
    of a link; `{}` where nothing is."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str) -> str:
        quoted = shlex.quote(path)
        return (
            f"if [ -e {quoted} ] || [ -L {quoted} ]; then"
            f" stat --printf 'kind=%F\\nowner=%U\\ngroup=%G\\nmode=%a\\n' {quoted};"
            f" if [ -L {quoted} ]; then echo target=$(readlink {quoted});"
            f" elif [ -f {quoted} ]; then echo sha256=$(sha256sum < {quoted} | cut -d' ' -f1); fi; fi"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        state = key_values(output)
        if state:
            state["kind"] = state["kind"].replace("regular empty file", "regular file")
        return state


class FileStates(Fact[dict[str, dict[str, str]]]):
    """FileState of each of `paths`, by path, in one command."""

    @staticmethod
    def default() -> dict[str, dict[str, str]]:
        return {}

    def command(self, paths: tuple[str, ...]) -> str:
        return "; ".join(f"echo path={shlex.quote(path)}; {FileState().command(path)}" for path in paths)

    def process(self, output: list[str]) -> dict[str, dict[str, str]]:
        blocks: dict[str, list[str]] = {}
        path = ""
        for line in output:
            if line.startswith("path="):
                path = line.removeprefix("path=")
            blocks.setdefault(path, []).append(line)
        return {path: FileState().process(lines[1:]) for path, lines in blocks.items()}


class FileText(Fact[str]):
    """The text of a file, "" where there is none. For diffs: never asked of a file that holds a secret."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "".join(f"{line}\n" for line in output)


class Packages(Fact[dict[str, set[str]]]):
    """What dpkg says: which of `packages` are "installed", fully; and which of all are "broken", as after a power cut
    while they were being unpacked: they must be installed again before anything else can be."""

    @staticmethod
    def default() -> dict[str, set[str]]:
        return {"installed": set(), "broken": set()}

    def command(self, packages: tuple[str, ...]) -> str:
        names = " ".join(map(shlex.quote, packages))
        states = f"dpkg-query -W -f '${{db:Status-Status}}=${{Package}}\\n' {names} 2>/dev/null"
        return f"{states}; {BROKEN_PACKAGES} || true"

    def process(self, output: list[str]) -> dict[str, set[str]]:
        pairs = [line.split("=", 1) for line in output]
        return {
            "installed": {name for state, name in pairs if state == "installed"},
            "broken": {name for state, name in pairs if state == "reinstreq"},
        }


class Unit(Fact[dict[str, str]]):
    """ActiveState, SubState, UnitFileState and NRestarts of a systemd unit, as `systemctl show` names them."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, unit: str) -> str:
        wanted = "ActiveState,SubState,UnitFileState,NRestarts"
        return f"systemctl show --property={wanted} {shlex.quote(unit)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class Staleness(Fact[int]):
    """By how many seconds the newest of `files` is younger than the process that read them; 0 or less if none is.

    The process is the unit's main one, or with `reloads` its newest child: a reload leaves the main one and starts
    new workers. Of a link both ages count, its own and its target's.
    """

    @staticmethod
    def default() -> int:
        return 0

    def command(self, unit: str, files: tuple[str, ...], reloads: bool) -> str:
        names = " ".join(map(shlex.quote, files))
        worker = "pid=$(pgrep -n -P $pid);" if reloads else ""
        return (
            f"pid=$(systemctl show --property=MainPID --value {shlex.quote(unit)} 2>/dev/null);"
            f' if [ "${{pid:-0}}" != 0 ]; then {worker}'
            f" newest=$({{ stat -c %Y {names}; stat -Lc %Y {names}; }} 2>/dev/null | sort -n | tail -n 1);"
            " echo $(( ${newest:-0} - $(date +%s) + $(ps -o etimes= -p $pid) )); fi"
        )

    def process(self, output: list[str]) -> int:
        return int(output[-1])


class Output(Fact[str]):
    """The output of a read-only `command`, whatever its exit code."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, command: str) -> str:
        return f"{{ {command}; }} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class Machine(Fact[dict[str, str]]):
    """What preflight and the tasks want to know of the machine, asked in one command.

    uid, os (ID of os-release), release (VERSION_ID), codename, arch (dpkg's word), container ("none" or its kind),
    memory_mb, avx (yes/no), clock (seconds since the epoch), sshd_ports, addresses (space separated, global ones),
    and for each of `DISK_FOLDERS` disk:FOLDER: the mount point it is or will be on, the MiB free there ("/var 900").
    """

    DISK_FOLDERS = ("/", "/usr", "/var/lib", "/var/cache", "/var/www")

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self) -> str:
        return (
            ". /etc/os-release;"
            " echo uid=$(id -u); echo os=$ID; echo release=$VERSION_ID; echo codename=$VERSION_CODENAME;"
            " echo arch=$(dpkg --print-architecture 2>/dev/null || uname -m);"
            " echo container=$(systemd-detect-virt --container 2>/dev/null);"
            " echo init=$(cat /proc/1/comm);"
            " echo memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo);"
            " if grep -qw avx /proc/cpuinfo; then echo avx=yes; else echo avx=no; fi;"
            f" for folder in {' '.join(self.DISK_FOLDERS)}; do there=$folder; [ -d $there ] || there=$(dirname $there);"
            " echo disk:$folder=$(df -Pm $there | awk 'NR == 2 {print $6, $4}'); done;"
            " echo clock=$(date +%s);"
            ' echo sshd_ports=$(/usr/sbin/sshd -T 2>/dev/null | awk \'$1 == "port" {printf "%s ", $2}\');'
            " echo addresses=$(ip -o addr show scope global 2>/dev/null"
            ' | awk \'{split($4, a, "/"); printf "%s ", a[1]}\')'
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class Sshd(Fact[dict[str, list[str]]]):
    """What sshd would do for root from outside (sshd -T): values by keyword, in lower case; `{}` where sshd is at a
    loss."""

    @staticmethod
    def default() -> dict[str, list[str]]:
        return {}

    def command(self) -> str:
        return "sshd -T -C user=root,host=example.org,addr=203.0.113.1 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in output:
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
        return found


class HostKeys(Fact[list[str]]):
    """The public halves of the host keys in `files`, as lines "ssh-ed25519 AAAA..."."""

    @staticmethod
    def default() -> list[str]:
        return []

    def command(self, files: tuple[str, ...]) -> str:
        return f"cut -d' ' -f1,2 {' '.join(f'{shlex.quote(file)}.pub' for file in files)}"

    def process(self, output: list[str]) -> list[str]:
        return output


class SshPort(Fact[str]):
    """The server's port of this ssh connection. Asked without sudo, which drops the variable."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self) -> str:
        return "echo $SSH_CONNECTION | cut -d' ' -f4"

    def process(self, output: list[str]) -> str:
        return "".join(output).strip()


class Listeners(Fact[dict[int, str]]):
    """Process names by the TCP port they listen on; "" where the name can't be seen."""

    @staticmethod
    def default() -> dict[int, str]:
        return {}

    def command(self) -> str:
        return "ss -Hltnp 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[int, str]:
        listeners = {}
        for line in output:
            fields = line.split()
            name = line.partition('(("')[2].partition('"')[0]
            listeners[int(fields[3].rpartition(":")[2])] = name
        return listeners


class MongodbUsers(Fact[dict[str, str]]):
    """What MongoDB says to `users`, pairs of a name and the file of its password, as slipway/mongodb_login.py prints
    it; `{}` where the host has no Python."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, address: str, port: int, users: tuple[tuple[str, str], ...]) -> str:
        program = Path(mongodb_login.__file__).read_text()
        arguments = " ".join(shlex.quote(f"{user}={file}") for user, file in users)
        return f"python3 -c {shlex.quote(program)} {address} {port} {arguments} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class Certificate(Fact[dict[str, str]]):
    """The certificate at `path`: names (space separated), end (seconds since the epoch), issuer; `{}` where none is.

    `lineage` names certbot's renewal configuration, whose ACME server is given as server.
    """

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str, lineage: str) -> str:
        renewal = shlex.quote(f"/etc/letsencrypt/renewal/{lineage}.conf")
        quoted = shlex.quote(path)
        return (
            # One that is empty, as a power cut may leave it, is none.
            f"if openssl x509 -noout -in {quoted} 2>/dev/null; then"
            f' echo end=$(date -d "$(openssl x509 -noout -enddate -in {quoted} | cut -d= -f2)" +%s);'
            f" echo names=$(openssl x509 -noout -ext subjectAltName -in {quoted} | grep -o 'DNS:[^,]*' | cut -d: -f2);"
            f" echo server=$(sed -n 's/^server = //p' {renewal} 2>/dev/null); fi"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class Condition(Fact[dict[str, str]]):
    """What `slipway status` tells of a host, asked in one command.

    system, kernel, up (seconds), reboot ("yes" where an update wants one), mongodb and nginx (versions), unit:NAME
    (LoadState, ActiveState and SubState, systemd's words), end of the certificate that is served (seconds since the
    epoch) and placeholder ("yes" where it is but one), disk:MOUNT (MiB free, MiB in all), release and released (its
    time, seconds since the epoch), and apply: the last one's line in the host's log. What is not there is left out.
    """

    DISK_FOLDERS = "/ /var /var/lib /var/www"

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, units: tuple[str, ...], served: str, site_root: str, log: str) -> str:
        current, folder = shlex.quote(f"{site_root}/current"), shlex.quote(served)
        return (
            'echo "system=$(. /etc/os-release; echo $PRETTY_NAME)"; echo kernel=$(uname -r);'
            " echo up=$(ps -o etimes= -p 1); [ ! -e /run/reboot-required ] || echo reboot=yes;"
            " mongod --version 2>/dev/null | sed -n 's/^db version v/mongodb=/p';"
            " nginx -v 2>&1 | sed -n 's/^nginx version: nginx./nginx=/p';"
            f" for unit in {' '.join(map(shlex.quote, units))}; do echo unit:$unit=$("
            "systemctl show --value --property=LoadState,ActiveState,SubState $unit); done 2>/dev/null;"
            f" if openssl x509 -noout -in {folder}/fullchain.pem 2>/dev/null; then"
            f' echo end=$(date -d "$(openssl x509 -noout -enddate -in {folder}/fullchain.pem | cut -d= -f2)" +%s);'
            f' [ "$(readlink {folder})" != placeholder ] || echo placeholder=yes; fi;'
            f' df -Pm {self.DISK_FOLDERS} 2>/dev/null | awk \'NR > 1 {{print "disk:" $6 "=" $4, $2}}\';'
            f" if [ -e {current}/. ]; then echo release=$(basename $(realpath {current}));"
            f" echo released=$(stat -c %Y {current}); fi;"
            f" grep '\"verb\": *\"apply\"' {log} 2>/dev/null | tail -n 1 | sed 's/^/apply=/'"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


def is_container(machine: dict[str, str]) -> bool:
    """Whether the host shares a kernel that it can't set (nspawn, LXC, OpenVZ)."""
    return machine.get("container", "none") not in ("none", "")
