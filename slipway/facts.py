"""What Slipway asks of a server beyond pyinfra's own facts. Each fact is one read-only command.

A fact never fails where its subject is absent (a program not installed yet, a missing file): a plan of a fresh host
asks all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, TypeVar

from cryptography import x509
from pyinfra.api import FactBase

from slipway import mongodb_login
from slipway.limits import SHIPPED
from slipway.shell import with_subjects

# dpkg's word for them is an error flag, dpkg-query(1).
BROKEN_PACKAGES = "dpkg-query -W -f '${db:Status-Eflag}=${Package}\\n' | grep ^reinstreq="


def key_values(lines: Iterable[str]) -> dict[str, str]:
    """`key=value` lines as a dictionary."""
    return dict(line.split("=", 1) for line in lines if "=" in line)


T = TypeVar("T")


class Fact(FactBase[T]):
    """A fact whose command holds no secret: what a run asks may be kept in a file, for the next one to ask at once."""

    may_be_remembered = True


class OfSubjects(Fact[T]):
    """A fact about some of the arguments of its `script`, which a batch runs once for all who ask: each picks its own
    from the answer."""

    script: ClassVar[str]

    def _about(self, *subjects: str) -> str:
        self._subjects = subjects
        return with_subjects(self.script, " ".join(map(shlex.quote, subjects)))


class _Files(OfSubjects[T]):
    # A link is shown as "link -> target".
    script = """\
QUOTING_STYLE=literal stat --printf '%F\\t%U\\t%G\\t%a\\t%N\\n' "$@" 2>/dev/null
for path do
  if [ -f "$path" ] && [ ! -L "$path" ]; then set -- "$@" "$path"; fi; shift
done
[ $# = 0 ] || sha256sum "$@" 2>/dev/null || true"""

    @staticmethod
    def _state(path: str, output: list[str]) -> dict[str, str]:
        state = {}
        for line in (line for line in output if path in line):
            kind, *fields = line.split("\t", 4)
            if not fields:
                digest, _, name = line.partition("  ")
                if name == path:
                    state["sha256"] = digest
                continue
            owner, group, mode, name = fields
            name, _, target = name.partition(" -> ") if kind == "symbolic link" else (name, "", "")
            if name == path:
                kind = kind.replace("regular empty file", "regular file")
                state |= {"kind": kind, "owner": owner, "group": group, "mode": mode}
                state |= {"target": target} if target else {}
        return state


class FileState(_Files[dict[str, str]]):
    """What is at `path`, not following a link: kind, owner, group, mode (octal), and sha256 of a file or the target
    of a link; `{}` where nothing is."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str) -> str:
        return self._about(path)

    def process(self, output: list[str]) -> dict[str, str]:
        return self._state(self._subjects[0], output)


class FileStates(_Files[dict[str, dict[str, str]]]):
    """FileState of each of `paths`, by path."""

    @staticmethod
    def default() -> dict[str, dict[str, str]]:
        return {}

    def command(self, paths: tuple[str, ...]) -> str:
        return self._about(*paths)

    def process(self, output: list[str]) -> dict[str, dict[str, str]]:
        return {path: self._state(path, output) for path in self._subjects}


class Modified(OfSubjects[int]):
    """When the newest of `paths` changed, in seconds since the epoch; 0 where none is there. Of a link its own time and
    its target's count."""

    script = """stat -c '%Y %n' "$@" 2>/dev/null; stat -Lc '%Y %n' "$@" 2>/dev/null || true"""

    @staticmethod
    def default() -> int:
        return 0

    def command(self, paths: tuple[str, ...]) -> str:
        return self._about(*paths)

    def process(self, output: list[str]) -> int:
        times = (line.split(" ", 1) for line in output)
        return max((int(time) for time, path in times if path in self._subjects), default=0)


class FileText(Fact[str]):
    """The text of a file, "" where there is none. For diffs: never asked of a file that holds a secret."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "".join(f"{line}\n" for line in output)


class Packages(OfSubjects[dict[str, set[str]]]):
    """What dpkg says: which of `packages` are "installed", fully; and which of all are "broken", as after a power cut
    while they were being unpacked: they must be installed again before anything else can be."""

    script = """\
for package do set -- "$@" -e "ok=installed=$package"; shift; done
dpkg-query -W -f '${db:Status-Eflag}=${db:Status-Status}=${Package}\\n' 2>/dev/null |
  grep -x -e 'reinstreq=.*' "$@" || true"""

    @staticmethod
    def default() -> dict[str, set[str]]:
        return {"installed": set(), "broken": set()}

    def command(self, packages: tuple[str, ...]) -> str:
        return self._about(*packages)

    def process(self, output: list[str]) -> dict[str, set[str]]:
        found = [line.split("=") for line in output]
        return {
            "installed": {name for flag, state, name in found if state == "installed"} & {*self._subjects},
            "broken": {name for flag, state, name in found if flag == "reinstreq"},
        }


class Unit(OfSubjects[dict[str, str]]):
    """A systemd unit, as `systemctl show` tells of it: ActiveState, SubState, UnitFileState, NRestarts,
    NeedDaemonReload; and when, in seconds since the epoch, what runs began: its main process (Began), and the newest
    child of that (ChildBegan): a reload leaves the main one, and starts new workers."""

    # A process's age is that of this shell, which has just begun, less the difference of what proc(5) tells of the two
    # in hundredths of a second; `ps` would do the same, and have to be started for each.
    script = """\
wanted=Names,ActiveState,SubState,UnitFileState,NRestarts,NeedDaemonReload,MainPID
systemctl show --property=$wanted "$@" 2>/dev/null | {
  ticks() { ticks=; read -r stat < /proc/$1/stat && set -- ${stat##*) } && ticks=${20}; }
  began() { [ -z "$ticks" ] || echo "$1=$((now - (own - ticks) / 100))"; }
  now=$(date +%s); ticks self; own=$ticks
  while read -r line; do
    echo "$line"
    case $line in MainPID=[1-9]*)
      main=${line#*=}; ticks $main; began Began
      newest=; children=; read -r children < /proc/$main/task/$main/children
      for child in $children; do ticks $child; [ "${ticks:-0}" -le "${newest:-0}" ] || newest=$ticks; done
      ticks=$newest; began ChildBegan
    esac
  done
}"""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, unit: str) -> str:
        return self._about(unit)

    def process(self, output: list[str]) -> dict[str, str]:
        blocks = [key_values(block.split("\n")) for block in "\n".join(output).split("\n\n")]
        return next((block for block in blocks if self._subjects[0] in block.get("Names", "").split()), {})


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
    memory_mb, avx (yes/no), clock (seconds since the epoch), addresses (space separated, global ones),
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
            # Where systemd itself has written it down there is no need to find it out anew.
            " read -r container 2>/dev/null < /run/systemd/container"
            " || container=$(systemd-detect-virt --container 2>/dev/null); echo container=$container;"
            " read -r init < /proc/1/comm; echo init=$init;"
            " read -r _ kilobytes _ < /proc/meminfo; echo memory_mb=$((kilobytes / 1024));"
            " if grep -qw avx /proc/cpuinfo; then echo avx=yes; else echo avx=no; fi;"
            " echo clock=$(date +%s);"
            " echo addresses=$(ip -o addr show scope global 2>/dev/null"
            ' | awk \'{split($4, a, "/"); printf "%s ", a[1]}\');'
            f" set --; for folder in {' '.join(self.DISK_FOLDERS)}; do"
            ' [ -d $folder ] || folder=${folder%/*}; set -- "$@" $folder; done;'
            ' df -m --output=target,avail "$@"'
        )

    def process(self, output: list[str]) -> dict[str, str]:
        disks = [" ".join(line.split()) for line in output[-len(self.DISK_FOLDERS) :]]
        return key_values(output) | {f"disk:{name}": disk for name, disk in zip(self.DISK_FOLDERS, disks, strict=True)}


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
        return "echo ${SSH_CONNECTION##* }"

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

    def command(
        self, address: str, port: int, users: tuple[tuple[str, str], ...], seconds: int = SHIPPED.mongodb_answer
    ) -> str:
        program = Path(mongodb_login.__file__).read_text()
        arguments = " ".join(shlex.quote(f"{user}={file}") for user, file in users)
        return f"python3 -ISc {shlex.quote(program)} {address} {port} {seconds} {arguments} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


class Certificate(Fact[dict[str, str]]):
    """The certificate at `path`: names (space separated), end (seconds since the epoch); `{}` where none is that can be
    read. `lineage` names certbot's renewal configuration, whose ACME server is given as server."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str, lineage: str = "") -> str:
        # It is read here: openssl takes a host longer than all that a plan asks of systemd.
        files = [path, *([f"/etc/letsencrypt/renewal/{lineage}.conf"] if lineage else [])]
        lines = "-e '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' -e 's/^server = /server=/p'"
        return f"sed -n {lines} {' '.join(map(shlex.quote, files))} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        try:
            certificate = x509.load_pem_x509_certificate("\n".join(output).encode())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = x509.SubjectAlternativeName([])
        except ValueError:
            # One that is empty, as a power cut may leave it, is none.
            return {}
        found = {key: value for key, value in key_values(output).items() if key == "server"}
        end = str(int(certificate.not_valid_after_utc.timestamp()))
        return {**found, "end": end, "names": " ".join(names.get_values_for_type(x509.DNSName))}


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

    def command(
        self,
        units: tuple[str, ...],
        served: str,
        site_root: str,
        log: str,
        others: tuple[tuple[str, str, str], ...] = (),
    ) -> str:
        """`served` is the folder of a certificate, `site_root` that of a site; `others` are a name and the two of each
        further site, whose keys have ":NAME" at their end."""
        return (
            'echo "system=$(. /etc/os-release; echo $PRETTY_NAME)"; echo kernel=$(uname -r);'
            " echo up=$(ps -o etimes= -p 1); [ ! -e /run/reboot-required ] || echo reboot=yes;"
            " mongod --version 2>/dev/null | sed -n 's/^db version v/mongodb=/p';"
            " nginx -v 2>&1 | sed -n 's/^nginx version: nginx./nginx=/p';"
            f" for unit in {' '.join(map(shlex.quote, units))}; do echo unit:$unit=$("
            "systemctl show --value --property=LoadState,ActiveState,SubState $unit); done 2>/dev/null;"
            f" {self._of_site('', served, site_root)}"
            f"{''.join(self._of_site(f':{name}', *places) for name, *places in others)}"
            f' df -Pm {self.DISK_FOLDERS} 2>/dev/null | awk \'NR > 1 {{print "disk:" $6 "=" $4, $2}}\';'
            f" grep '\"verb\": *\"apply\"' {log} 2>/dev/null | tail -n 1 | sed 's/^/apply=/'"
        )

    @staticmethod
    def _of_site(suffix: str, served: str, site_root: str) -> str:
        current, folder = shlex.quote(f"{site_root}/current"), shlex.quote(served)
        return (
            f" if openssl x509 -noout -in {folder}/fullchain.pem 2>/dev/null; then"
            f" end=$(openssl x509 -noout -enddate -in {folder}/fullchain.pem | cut -d= -f2);"
            f' echo end{suffix}=$(date -d "$end" +%s);'
            f' [ "$(readlink {folder})" != placeholder ] || echo placeholder{suffix}=yes; fi;'
            f" if [ -e {current}/. ]; then echo release{suffix}=$(basename $(realpath {current}));"
            f" echo released{suffix}=$(stat -c %Y {current}); fi;"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return key_values(output)


def is_container(machine: dict[str, str]) -> bool:
    """Whether the host shares a kernel that it can't set (nspawn, LXC, OpenVZ)."""
    return machine.get("container", "none") not in ("none", "")
