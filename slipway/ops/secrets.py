"""Secrets that are generated on a host and never leave it."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.facts.files import FileState
from slipway.ops.commands import Commands

NOTHING = hashlib.sha256(b"").hexdigest()


@operation()
def generate(path: str) -> Commands:
    """Make sure that a secret is at `path`, readable only by root. If there is none, the host generates 64 random
    hexadecimal digits."""
    state = host.get_fact(FileState, path=path)
    file = shlex.quote(path)
    if state.get("kind") != "regular file" or state.get("sha256") == NOTHING:
        notes.note(f"{path}: new, generated on the host")
        folder = shlex.quote(str(Path(path).parent))
        yield (
            f"[ -d {folder} ] || install -d -m 700 {folder}; umask 077; rm -rf {file}"
            f" && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' > {file}.new"
            # Sync before anything relies on it.
            f" && sync {file}.new && mv -fT {file}.new {file}"
        )
    elif (found := f"{state['owner']}:{state['group']} {state['mode']}") != "root:root 600":
        notes.note(f"{path}: {found} -> root:root 600")
        yield f"chown root:root {file} && chmod 600 {file}"
