"""Programs that are built from their Go modules, each pinned by a go.mod and a go.sum in tests/support, and cached."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from slipway.lab.instance import cache_dir, folder_lock

# Of the programs' own go.mod.
MIN_GO = (1, 25)


def built(folder: str, module: str, package: str) -> Path | None:
    """A program of a module that `folder` pins; None if no Go can build it."""
    found = re.search(r"go(\d+)\.(\d+)", _output("go", "version") if shutil.which("go") else "")
    if not found or (int(found[1]), int(found[2])) < MIN_GO:
        return None
    source = Path(__file__).with_name(folder)
    version = re.findall(rf"{re.escape(module)} (\S+)", (source / "go.mod").read_text())[0]
    program = cache_dir() / package.rpartition("/")[2] / version
    program.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(program.parent):
        if not program.exists():
            new = program.with_name(f".{program.name}.{os.getpid()}")
            # go.sum pins each module by its hash; the public checksum database may be unreachable.
            environ = {
                **os.environ,
                "CGO_ENABLED": "0",
                "GOSUMDB": "off",
                "GOTOOLCHAIN": "local",
                "GOFLAGS": "-mod=readonly",
            }
            command = ["go", "build", "-trimpath", "-o", str(new), f"{module}/{package}"]
            subprocess.run(command, cwd=source, env=environ, check=True, capture_output=True)
            new.rename(program)
    return program


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
