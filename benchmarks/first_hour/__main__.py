"""python -m benchmarks.first_hour: from the clone of a project to its first response on a throwaway host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console

from benchmarks import PROJECT
from benchmarks.first_hour.results import FirstHour, Step, table
from benchmarks.first_hour.typing import Stuck, typed
from slipway.lab import hosts, packages
from slipway.lab.steps import Progress, StepFailed

PROJECTS = PROJECT / "tests/projects"
# The packages of a project that lists none.
PACKAGES = PROJECT / "examples/codementee/backend/requirements.txt"
NAME = "first"
# What only the user knows.
ANSWERS = {"site_domain": "shop.example.org"}
T = TypeVar("T")
COMMIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "all")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--project", "names", multiple=True, default=("parts",), show_default=True, help="A project of tests/projects."
)
@click.option("--url", default="/health", show_default=True, help="The path that answers 200.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to it.")
def main(names: tuple[str, ...], url: str, file: Path | None) -> None:
    """Clone a tiny project, set it up by `slipway init` at a terminal, and deploy it to a throwaway host. Ends with an
    error if a question had no answer or an aim was missed."""
    os.chdir(PROJECT)
    os.environ.setdefault("SLIPWAY_LAB", "slipwayhour")
    try:
        packages.need_root()
        found = [measured(name, url, Progress()) for name in names]
    except (StepFailed, Stuck) as error:
        raise click.ClickException(str(error)[-3000:]) from None
    console = Console(highlight=False, width=120)
    console.print(table(found))
    if file:
        file.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    if missed := [line for one in found for line in one.missed]:
        raise click.ClickException("\n".join(missed))


class _User:
    """A user who types in a clone: each step is timed, and the questions are counted."""

    def __init__(self, clone: Path, progress: Progress) -> None:
        self.clone, self.progress = clone, progress
        self.steps: list[Step] = []
        self.questions = 0
        self.env = {**os.environ, "PYTHONPATH": str(PROJECT), "SLIPWAY_LAB_HOSTS": NAME, "TERM": "dumb"}

    def slipway(self, *arguments: str) -> str:
        """The output of `slipway ARGUMENTS`. Raises Stuck."""
        command = [sys.executable, "-m", "slipway", *arguments]
        said, asked = self._timed("slipway", arguments, lambda: typed(command, self.clone, self.env, ANSWERS))
        self.questions += len(asked)
        return said

    def git_clone(self, origin: Path) -> None:
        command = ["git", "clone", "--quiet", str(origin), str(self.clone)]
        self._timed("git", ("clone",), lambda: subprocess.run(command, check=True))

    def _timed(self, program: str, arguments: Sequence[str], work: Callable[[], T]) -> T:
        shown, began = " ".join([program, *arguments]), time.monotonic()
        with self.progress.step(shown):
            result = work()
        self.steps.append(Step(shown, time.monotonic() - began))
        return result


def measured(name: str, url: str, progress: Progress) -> FirstHour:
    """The first hour of one project. Its host is always removed. Raises Stuck, StepFailed."""
    with tempfile.TemporaryDirectory(prefix="slipway-first-hour-") as folder:
        origin, user = Path(folder) / "origin", _User(Path(folder) / name, progress)
        _commit(name, origin)
        try:
            user.git_clone(origin)
            said = user.slipway("init")
            user.slipway("lab", "up", "--name", NAME)
            if "slipway lock " in said:
                user.slipway("lock", "lab")
            user.slipway("apply", "lab", "--yes")
            answer = hosts.site(hosts.find(NAME)).get(url)
            if answer.status_code != 200:
                raise Stuck(f"{url} answers {answer.status_code}: {answer.text[:500]}")
        finally:
            if any(host.name == NAME for host in hosts.status()):
                hosts.down([NAME], progress=Progress(Console(quiet=True)))
    return FirstHour(name, user.steps, user.questions)


def _commit(name: str, origin: Path) -> None:
    """The project as a repository of its own."""
    shutil.copytree(PROJECTS / name, origin)
    if not any(origin.rglob("*.py")):
        shutil.copy(PROJECTS / "main.py", origin)
    if not any(origin.glob("*.txt")) and not any(origin.glob("*.toml")):
        shutil.copy(PACKAGES, origin)
    for command in (("git", "init", "--quiet"), ("git", "add", "-A"), COMMIT):
        subprocess.run(command, cwd=origin, check=True)


if __name__ == "__main__":
    main()
