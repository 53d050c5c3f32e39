"""Uploads: content travels on the standard input of a shell script."""

from __future__ import annotations

import base64
import io
import shlex
from collections.abc import Iterator
from pathlib import Path

from pyinfra.api import StringCommand

# Of content, to a line of base64: a multiple of 3, so that only the last line is padded.
LINE_BYTES = 3 * 2**14


class Encoded(list[str]):
    """Content as lines of base64, each encoded as it is sent: a large file is never in memory.

    A list, as pyinfra takes no other iterable for standard input.
    """

    def __init__(self, content: bytes | Path) -> None:
        super().__init__()
        self.content = content
        self.bytes = content.stat().st_size if isinstance(content, Path) else len(content)

    def __iter__(self) -> Iterator[str]:
        with self.content.open("rb") if isinstance(self.content, Path) else io.BytesIO(self.content) as file:
            while data := file.read(LINE_BYTES):
                yield base64.b64encode(data).decode() + "\n"

    def __bool__(self) -> bool:
        # pyinfra closes the standard input of a command that has one.
        return True


def with_input(script: str, content: bytes | Path) -> StringCommand:
    """`script` with `content`, or that of a file, on its standard input as base64, for `base64 -d`."""
    return StringCommand("sh", "-euc", shlex.quote(script), _stdin=Encoded(content))


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
