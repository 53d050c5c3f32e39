"""`slipway init`."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from slipway.cli.options import examples
from slipway.engine.errors import RunFailed
from slipway.starter.detect import reading
from slipway.starter.found import Found, Reading
from slipway.starter.notes import next_steps, no_application, notes
from slipway.starter.of_server import Server
from slipway.starter.place import conflicts, free_name, is_apart, is_project
from slipway.starter.questions import LOGIN, QUESTIONS, SERVER, Question, host_and_port, parsed, problems_of
from slipway.starter.write import not_ignored, repository_of, with_comments, write


@click.command(
    epilog=examples(
        "slipway init",
        "slipway init deploy",
        "slipway init --yes --set site_domain=shop.example.org --set backend_source=api",
        "slipway init --from root@203.0.113.7   # the settings of a server that is there",
        'slipway init --set \'backend_paths=["/api/", "/docs"]\'',
    )
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Answer a question or set a setting beforehand; text as it is, other types as JSON. Repeatable.",
)
@click.option("--yes", is_flag=True, help="Ask nothing: take what was found, and fail where something is missing.")
@click.option("--from", "source", metavar="HOST", help="Write the settings that match a server: see `slipway inspect`.")
@click.option("--data", multiple=True, metavar="NAME=VALUE", help="How to connect to HOST (ssh_key, ...); repeatable.")
def init(directory: Path | None, given: tuple[str, ...], yes: bool, source: str | None, data: tuple[str, ...]) -> None:
    """Start a project in DIR: inventory, settings, deploy files and a CI workflow. Reads the repository, and overwrites
    nothing.

    DIR is the current folder, or `deploy` in it where the application has files of the same names there.
    """
    asks = not yes and sys.stdin.isatty()
    answers, wrong = parsed(given)
    if wrong:
        raise RunFailed("nothing was written:\n" + "\n".join(f"  - {problem}" for problem in wrong))
    server = Server.asked(source, data) if source else None
    here = Path.cwd()
    project = _project(here, directory, asks)
    made = _make(project)
    try:
        os.chdir(project)
        _start(here, Path.cwd(), answers, asks, server)
    except (RunFailed, click.exceptions.Abort, KeyboardInterrupt):
        for folder in made:
            folder.rmdir()
        raise
    except BrokenPipeError:
        # Who read the output has ended.
        raise
    except OSError as error:
        raise RunFailed(
            f"{error.filename or project}: {error.strerror}; choose another folder: slipway init DIR"
        ) from error


def _project(here: Path, directory: Path | None, asks: bool) -> Path:
    """The folder of the project. Raises RunFailed where it would take files of the application's for its own."""
    if directory is not None:
        if there := conflicts(here / directory):
            raise RunFailed(
                f"{directory}: found {', '.join(there)} of the application's, which would be taken for the project's;"
                f" choose another folder: slipway init {(directory / free_name(here / directory)).as_posix()}"
            )
        return here / directory
    there = conflicts(here)
    if not there:
        return here
    name = free_name(here)
    click.echo(f"This folder has {', '.join(there)} of the application's: the project gets a folder of its own.")
    while asks:
        name = click.prompt("Folder of the project (DIR)", default=name)
        if not (taken := conflicts(here / name)):
            break
        click.echo(f"{name}: found {', '.join(taken)}, expected a folder without", err=True)
    return here / name


def _make(project: Path) -> list[Path]:
    """Make a folder and those above it; returns those that were not there, the innermost first. Raises RunFailed."""
    missing = [folder for folder in (project, *project.parents) if not folder.exists()]
    try:
        project.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFailed(f"{project}: {error.strerror}; expected a folder that can be written to") from error
    if not os.access(project, os.W_OK | os.X_OK):
        raise RunFailed(f"{project}: found a folder that you may not write to")
    return missing


def _start(here: Path, project: Path, answers: dict[str, Any], asks: bool, server: Server | None) -> None:
    if is_project(project):
        click.echo("This is a project already: what is there stays as it is.")
    found = _read(here, project, answers)
    told = _told(server, found, answers)
    for one in [*told, *found.settings]:
        if one.value or not one.more:
            click.echo(with_comments(one, with_more=False))
    known = {one.setting: one.value for one in [*found.settings, *told]} | answers
    _ask(found, known, answers, asks)
    found = _with_answers(here, found, known, answers)
    found.refuse(problems_of({**known, **{one.setting: one.value for one in found.settings}}))
    known = {**{one.setting: one.value for one in [*found.settings, *told]}, **answers}
    if problems := problems_of(known):
        raise RunFailed("nothing was written:\n" + "\n".join(f"  - {problem}" for problem in problems))
    _write(here, found, known, answers, told, server)


def _told(server: Server | None, found: Reading, answers: dict[str, Any]) -> list[Found]:
    """What a server tells, where its files and the answers do not know better."""
    if server is None:
        return []
    own = found.settings
    return [one for one in server.settings(found.folder, own) if one not in own and one.setting not in answers]


def _read(here: Path, project: Path, answers: dict[str, Any]) -> Reading:
    """What is found where the user stands, if the project is of what is there; else around the project. If that is
    nothing, what is around the backend that the user names."""
    near = here if project.is_relative_to(here) and not is_apart(project, here) else project
    found = reading(near, project, answers)
    top = repository_of(near)
    if top and top != near and not found.project.backend:
        found = reading(top, project, answers)
    source = (project / Path(str(answers.get("backend_source") or ".")).expanduser()).resolve()
    if not found.project.backend and not found.project.frontend and not source.is_relative_to(found.repository.top):
        return reading(repository_of(source) or source, project, answers)
    return found


def _ask(found: Reading, known: dict[str, Any], answers: dict[str, Any], asks: bool) -> None:
    """Complete what is known by questions, or by their defaults. Raises RunFailed with all that is missing."""
    missing: list[str] = []
    backend = found.project.backend
    for question in QUESTIONS:
        is_open = question.setting not in known
        choice = question.setting == "backend_app" and asks and backend and not backend.is_certain
        if choice and "backend_app" not in answers:
            assert backend is not None
            names = [backend.app, *backend.others]
            click.echo(
                "Applications: " + ", ".join(f"{one.target} ({one.file})" for one in names if not one.is_wrapper)
            )
            answers["backend_app"] = known["backend_app"] = _asked(question, str(known["backend_app"]), known)
        elif is_open:
            default = question.default(known) if not _depends(question, missing) else ""
            if asks:
                answers[question.setting] = known[question.setting] = _asked(question, default, known)
            elif default:
                answers[question.setting] = known[question.setting] = default
            else:
                missing.append(question.setting)
    if missing:
        lines = "\n".join(f"  --set {name}=..." for name in missing)
        count = "1 answer is" if len(missing) == 1 else f"{len(missing)} answers are"
        where = f"{no_application(found)}; " if "backend_source" in missing else ""
        wrong = "".join(f"\n  - {problem}" for problem in problems_of(answers))
        also = f"\nand what was given is wrong:{wrong}" if wrong else ""
        raise RunFailed(f"{where}{count} missing, and nothing was written; give:\n{lines}{also}")


def _with_answers(here: Path, found: Reading, known: dict[str, Any], answers: dict[str, Any]) -> Reading:
    """The same with what follows from the answers; read again if another application was chosen."""
    backend = found.project.backend
    if backend and answers.get("backend_app", backend.app.target) == backend.app.target:
        return replace(found, answers={**answers}, refused={})
    again = _read(here, found.folder, answers)
    if not again.project.backend and "backend_source" in known:
        answers["backend_source"] = known["backend_source"]
    if "backend_source" not in answers:
        known.pop("backend_source", None)
    return replace(again, answers={**answers})


def _depends(question: Question, missing: list[str]) -> bool:
    return question.setting in (SERVER, "site_name") and "site_domain" in missing


def _asked(question: Question, default: str, known: dict[str, Any]) -> str:
    while True:
        answer: str = click.prompt(f"{question.text} ({question.setting})", default=default or None)
        mark = f"{question.setting}: "
        problems = [text for text in problems_of({**known, question.setting: answer}) if text.startswith(mark)]
        if not problems:
            return answer
        click.echo("\n".join(problems), err=True)


def _write(
    here: Path,
    found: Reading,
    known: dict[str, Any],
    answers: dict[str, Any],
    told: list[Found],
    server: Server | None,
) -> None:
    named = {"site_name", "site_domain", SERVER}
    first = [Found(name, value, "") for name, value in answers.items()] + told
    names = {one.setting for one in first}
    settings = [one for one in first if one.setting not in named]
    settings += [one for one in found.settings if one.setting not in names]
    name, port = host_and_port(str(known[SERVER]))
    login = server.login if server else LOGIN
    if port:
        login = re.sub(r'(, "ssh_port": \d+)?\}$', f', "ssh_port": {port}}}', login)
    site = {name: known[name] for name in named} | {"where": {one.setting: one.where for one in told}}
    written, there = write(found.folder, site | {SERVER: name, "login": login}, settings)
    for path in written:
        click.echo(f"wrote {os.path.relpath(path, here)}")
    for path in there:
        click.echo(f"kept {os.path.relpath(path, here)}, which is there already")
    for line in server.remarks if server else ():
        click.echo(f"note: {line}")
    if lines := not_ignored(found.folder):
        click.echo(
            "add to .gitignore, so that no plain file of secrets gets into git:\n  " + "\n  ".join(lines), err=True
        )
    if to_fix := notes(found):
        click.echo("\nTo look at before the first apply:\n" + "\n".join(f"  - {line}" for line in to_fix))
    place = os.path.relpath(found.folder, here)
    click.echo("\nNext" + ("" if place == "." else f", in {place}") + ":")
    click.echo("\n".join(f"  {command:28} {what}" for command, what in next_steps(found, name)))
