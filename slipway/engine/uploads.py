"""Uploads: content travels on the standard input of a shell script."""

from __future__ import annotations

import base64
import shlex

from pyinfra.api import StringCommand


def with_input(script: str, content: bytes) -> StringCommand:
    """`script` with `content` on its standard input as base64, for `base64 -d`."""
    return StringCommand("sh", "-euc", shlex.quote(script), _stdin=base64.encodebytes(content).decode())


def upload_script(path: str) -> str:
    """A shell script that writes its standard input to `path`, keeping owner and mode."""
    return "; ".join(
        [
            f'path=$(readlink -f {shlex.quote(path)}); umask 077; new=$(mktemp "$path.XXXXXX")',
            "trap 'rm -f \"$new\"' EXIT",
            'base64 -d > "$new"',
            'if [ -e "$path" ]; then chown --reference="$path" "$new"; chmod --reference="$path" "$new"',
            'else chmod 644 "$new"; fi',
            'sync "$new"; mv -fT "$new" "$path"',
        ]
    )
