"""A released version of Slipway, run from its own tree against a host of this version's lab."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.lab_host import PROJECT, LabHost, Running, run


@dataclass(frozen=True)
class Version:
    """A release of Slipway. `renamed` has its names of settings, by their current names."""

    name: str
    commit: str
    renamed: dict[str, str] = field(default_factory=dict)


class OldVersion:
    """A user's clone of a version. It runs in the virtual environment of the tests."""

    def __init__(self, version: Version, tree: Path) -> None:
        """Extract the version to the folder `tree`. Skips the test where git does not have its commit."""
        self.version, self.tree = version, tree
        if not shutil.which("git"):
            pytest.skip("needs git: apt-get install git")
        archive = ["git", "-C", str(PROJECT), "archive", version.commit]
        done = subprocess.run(archive, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(
                f"needs commit {version.commit[:7]} (version {version.name}) of this repository; in a shallow clone"
                f" type: git fetch --unshallow (git: {done.stderr.decode().strip()})"
            )
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
            files.extractall(tree, filter="data")
        # The virtual environment has another version installed.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY")}
        self.env = {**inherited, "PYTHONPATH": str(tree)}

    def write_inventory(self, host: LabHost, settings: dict[str, Any]) -> None:
        """Make a lab host the clone's server; `settings` are the user's, in addition to those that the lab needs."""
        # The version has no setting for it, and always uses the system's Python.
        given = {name: value for name, value in host.data.items() if name != "python_version"} | settings
        data = {self.version.renamed.get(name, name): value for name, value in given.items()}
        (self.tree / "inventory.py").write_text(f"web = app = db = [({host.name!r}, {data!r})]\n")

    def slipway(self, *arguments: str) -> None:
        """The version's `slipway ARGUMENTS`, which must succeed."""
        done = run([sys.executable, "-m", "slipway", *arguments], self.env, cwd=self.tree)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *arguments: str) -> Running:
        """Start the version's `slipway ARGUMENTS` and go on."""
        return Running([sys.executable, "-m", "slipway", *arguments], self.env, self.tree)
