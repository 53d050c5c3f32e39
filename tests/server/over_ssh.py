"""A testinfra backend that connects by OpenSSH."""

from __future__ import annotations

import secrets
import shlex
from typing import Any

from testinfra.backend.base import CommandResult
from testinfra.backend.ssh import SshBackend

from slipway.engine import environment
from slipway.engine.openssh import Way


class OverSsh(SshBackend):
    """testinfra's ssh backend, with a clean environment and without the login's output."""

    def __init__(self, way: Way, sudo: bool, **options: Any) -> None:
        """`options` are those of testinfra."""
        *words, target = way.words
        words += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
        words += ["-o", "IdentitiesOnly=yes"] if way.identities_only else []
        super().__init__("host", ssh_extra_args=shlex.join(words), sudo=sudo, **options)
        # Set directly, as testinfra would parse a port from it.
        self.host.name = self.hostname = target
        self._needs_terminal = False

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        said = self.get_command(command, *args)
        done = self._run(environment.with_terminal(said) if self._needs_terminal else said)
        if environment.NEEDS_TERMINAL in done.stderr and not self._needs_terminal:
            self._needs_terminal = True
            return self._run(environment.with_terminal(said))
        return done

    def _run(self, command: str) -> CommandResult:
        mark = secrets.token_hex(12)
        done = self.run_ssh(environment.marked(command, mark))
        its_own, found, output = done.stdout_bytes.partition(f"{mark}\n".encode())
        if not found:
            raise RuntimeError(f"the login ran no command; it printed: {its_own.decode(errors='replace').strip()}")
        errors = done.stderr_bytes.partition(f"{mark}\n".encode())[2]
        return self.result(done.rc, self.encode(command), output, errors)

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        user = f"-u {shlex.quote(sudo_user)} " if sudo_user else ""
        return f"sudo -H -n {user}/bin/sh -c {shlex.quote(f'{environment.inside()} {command}')}"
