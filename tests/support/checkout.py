"""A copy of the checkout, as it is in the working tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def copy_checkout(folder: Path) -> None:
    """Make `folder` what a fresh clone would be, a git repository with one commit; its .venv is ours.

    Imports must be told to come from it, by PYTHONPATH: the virtual environment has the original installed.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file() or (PROJECT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name, follow_symlinks=False)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    identity = ["-c", "user.name=copy", "-c", "user.email=copy@localhost", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "The checkout"]):
        subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True)
