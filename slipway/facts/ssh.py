"""sshd's configuration, host keys, and the port of this connection."""

from __future__ import annotations

import shlex

from slipway.facts.base import Fact


class Sshd(Fact[dict[str, list[str]]]):
    """sshd's effective configuration for a login as root from outside (sshd -T): values by keyword, in lower case; `{}`
    if sshd reports an error."""

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


class HostCertificates(Fact[dict[str, tuple[str, int]]]):
    """By the file of each host certificate (HostCertificate in sshd_config(5)), the one of `host_keys` that it is for,
    "" for none, and the bits of its key."""

    @staticmethod
    def default() -> dict[str, tuple[str, int]]:
        return {}

    def command(self, files: tuple[str, ...], host_keys: tuple[str, ...]) -> str:
        # A certificate has the fingerprint of its key. sshd ignores a file that is none.
        return f"""\
exec 2> /dev/null; print() {{ ssh-keygen -lf "$1" | cut -d' ' -f1,2; }}
for file in {" ".join(map(shlex.quote, files))}; do
  of=; print=$(print "$file"); [ -n "$print" ] || continue
  for key in {" ".join(map(shlex.quote, host_keys))}; do [ "$(print "$key.pub")" != "$print" ] || of=$key; done
  echo "${{print%% *}} $file $of"
done"""

    def process(self, output: list[str]) -> dict[str, tuple[str, int]]:
        lines = [line.split(" ", 2) for line in output]
        return {file: (key, int(bits)) for bits, file, key in lines}


class SshPort(Fact[str]):
    """The server's port of this ssh connection. Needs `_sudo=False`: sudo drops the variable."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self) -> str:
        return "echo ${SSH_CONNECTION##* }"

    def process(self, output: list[str]) -> str:
        return "".join(output).strip()
