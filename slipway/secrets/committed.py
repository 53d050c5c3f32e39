"""Files with secrets that git has, so that everybody who has the repository has them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

# A part of the names of those that hold no secret: a copy to fill in.
EXAMPLES = {"example", "exemple", "exemplo", "ejemplo", "sample", "template", "dist", "defaults"}


def was_committed(file: Path) -> bool:
    """Whether a file is in git, or was in any commit that is there."""
    return bool(_git(file.parent, "log", "--all", "--format=%h", "-n", "1", "--", file.name)) or is_tracked(file)


def is_tracked(file: Path) -> bool:
    return bool(_git(file.parent, "ls-files", "--", file.name))


def is_ignored(file: Path) -> bool:
    """Whether git leaves a file out of commits."""
    return bool(_git(file.parent, "check-ignore", "--", file.name))


@cache
def env_files(folder: Path) -> list[str]:
    """The .env files below a folder that git tracks, by their paths in it; those of containers, such as db.env, too."""
    found = _git(folder, "ls-files", "-z", "--", *(f":(glob)**/{name}" for name in (".env", ".env.*", "*.env"))).split(
        "\0"
    )
    return [name for name in found if name and not EXAMPLES & {*name.rpartition("/")[2].split(".")}]


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; "" where it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip("\n") if done.returncode == 0 else ""
