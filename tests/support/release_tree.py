"""A site's folder and a simulated host around it, in which the program with the steps of a release runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from slipway.ops.backup import KEPT
from slipway.releases import program as release_program
from slipway.settings.model import Settings
from slipway.tasks.owners import ASIDE
from slipway.tasks.release_steps import FOLDER, MODULES, PROGRAM, as_json, facts, facts_file, place_of, text_of

Done = subprocess.CompletedProcess[str]
# A unit is active where it has a file in active/, which names the release that it has loaded, and does not start where
# it has one in broken/. With one in slow/ it starts once that file is gone.
SYSTEMCTL = """\
#!/bin/sh
cd {folder}
case $1 in
  is-active) [ -e active/$3 ] || exit 3 ;;
  start | restart)
    case $2 in *-next.service) release=next ;; *) release=current ;; esac
    release=$(readlink site/$release); release=${release#releases/}
    rm -f active/$2
    echo "$*" >> told
    while [ -e slow/$2 ]; do sleep 0.02; done
    [ ! -e broken/$2 ] && [ ! -e broken/$release:$2 ] || { echo "Job for $2 failed." >&2; exit 1; }
    echo $release > active/$2 ;;
  stop) shift; for unit; do rm -f active/$unit; done ;;
  show) case $2 in *NRestarts*) echo NRestarts=0 ;; esac; case $2 in *SubState*) echo SubState=running ;; esac ;;
esac
"""
JOURNALCTL = """\
#!/bin/sh
for line in $(seq 80); do echo "line $line of $2"; done
"""


class Tree:
    """The folder of a site, and a simulated host around it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings, self.root = folder, settings, folder / "site"
        names = (
            "site/releases",
            "site/venvs",
            "active",
            "broken",
            "slow",
            "run/codementee-backend",
            "kept",
            "bin",
            "lib",
        )
        for name in names:
            (folder / name).mkdir(parents=True)
        for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
            (folder / "bin" / name).write_text(text.replace("{folder}", str(folder)))
            (folder / "bin" / name).chmod(0o755)
        self.program = self.installed(PROGRAM, text_of(release_program))
        for module in MODULES:
            self.installed(place_of(module), text_of(module))
        self.own, self.next = (folder / f"run/codementee-backend/{name}.sock" for name in ("backend", "next"))
        self.link = folder / "run/codementee-backend.sock"

    def installed(self, path: str, text: str) -> Path:
        file = self.folder / "lib" / path.removeprefix(f"{FOLDER}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def here(self, text: str) -> str:
        """A text with a host's paths replaced by this folder's."""
        for there, here in (
            (self.settings.site_root, self.root),
            ("/run/", f"{self.folder}/run/"),
            (KEPT, self.folder / "kept"),
            (ASIDE, self.folder / "aside"),
        ):
            text = text.replace(there, str(here))
        return text

    def sh(self, script: str, given: str = "") -> Done:
        """Run a shell script that is meant for a host."""
        return subprocess.run(
            ["sh", "-c", f"sync() {{ :; }}; {self.here(script)}"],
            env=self.environment(),
            check=False,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
        )

    def environment(self) -> Mapping[str, str]:
        return {"PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

    def command(self, *words: str, parts: Collection[str] = ("frontend",)) -> list[str]:
        """A step as a host runs it, on the Python of the tests."""
        text = as_json(facts(self.settings, parts)._replace(poll_seconds=0.01))
        self.installed(facts_file(self.settings), self.here(text))
        (options,) = self.program.read_text().partition("\n")[0].split()[1:]
        return [sys.executable, options, str(self.program), self.settings.site_name, *words]

    def step(self, *words: str, parts: Collection[str] = ("frontend",)) -> Done:
        command = self.command(*words, parts=parts)
        return subprocess.run(command, env=self.environment(), check=False, capture_output=True, text=True)

    def add(self, *names: str, environment: str = "") -> None:
        """Releases; with an environment their backends have it."""
        for name in names:
            (self.root / "releases" / name / "frontend/build").mkdir(parents=True)
            if environment:
                (self.root / "venvs" / environment).mkdir(exist_ok=True)
                (self.root / "releases" / name / "backend").mkdir()
                (self.root / "releases" / name / "backend/.venv").symlink_to(self.root / "venvs" / environment)

    def lead(self, **links: str) -> None:
        for name, identifier in links.items():
            (self.root / name).symlink_to(f"releases/{identifier}")

    def links(self) -> dict[str, str]:
        return {path.name: str(path.readlink()) for path in self.root.iterdir() if path.is_symlink()}

    def there(self, folder: str = "releases") -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir())

    def active(self) -> dict[str, str]:
        """The release that each running unit has loaded."""
        return {path.name: path.read_text().strip() for path in (self.folder / "active").iterdir()}

    def told(self) -> list[str]:
        """The units that systemd was told to start, in order."""
        file = self.folder / "told"
        return file.read_text().splitlines() if file.exists() else []
