"""The size of modules: each can be read at one sitting."""

from __future__ import annotations

import subprocess

from support.checkout import PROJECT

MAX_LINES = 400


def test_no_module_is_longer_than_400_lines():
    command = ["git", "ls-files", "-z", "*.py"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
    # A link is a folder.
    lines = {name: len((PROJECT / name).read_bytes().splitlines()) for name in listed if (PROJECT / name).is_file()}
    assert len(lines) > 100
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}
