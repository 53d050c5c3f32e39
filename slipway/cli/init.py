"""`slipway init`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from slipway.cli.options import examples
from slipway.engine.errors import RunFailed
from slipway.settings.doc import literal
from slipway.starter.detect import Found, found_in
from slipway.starter.of_server import Server
from slipway.starter.questions import QUESTIONS, SERVER, Question, problems_of
from slipway.starter.write import write

NEXT = """\
Next:
  slipway secrets keygen       your key pair; its public half goes into secrets_recipients
  slipway secrets edit         values for backend_secrets, encrypted: commit the file
  slipway lock                 the backend's dependencies with hashes, if they are not locked: commit the file
  slipway secrets import .env  or all that an application's .env has; without --all it only shows what that is
  slipway plan                 what would change on {server}; changes nothing
  slipway lab up && slipway apply lab    or try it on a throwaway host of this machine first"""


@click.command(
    epilog=examples(
        "slipway init",
        "slipway init deploy",
        "slipway init --yes --set site_domain=shop.example.org --set backend_source=api",
        "slipway init --from root@203.0.113.7   # the settings of a server that is there",
    )
)
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Answer a question beforehand; repeatable.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what was found, and fail where something is missing.")
@click.option("--from", "source", metavar="HOST", help="Write the settings that match a server: see `slipway inspect`.")
@click.option("--data", multiple=True, metavar="NAME=VALUE", help="How to connect to HOST (ssh_key, ...); repeatable.")
def init(directory: Path, given: tuple[str, ...], yes: bool, source: str | None, data: tuple[str, ...]) -> None:
    """Start a project in DIR: inventory, settings, deploy files and a CI workflow. Overwrites nothing."""
    answers = _given(given)
    server = Server.asked(source, data) if source else None
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(directory)
    project = Path.cwd()
    in_project = found_in(project)
    found = [
        one for one in (server.settings(project, in_project) if server else in_project) if one.setting not in answers
    ]
    for one in found:
        click.echo(f"{one.setting} = {literal(one.value)}   ({one.where})")
    known: dict[str, Any] = {one.setting: one.value for one in found} | answers
    asks = not yes and sys.stdin.isatty()
    missing: list[str] = []
    for question in QUESTIONS:
        if question.setting not in known:
            default = question.default(known) if not _depends(question, missing) else ""
            if asks:
                known[question.setting] = _asked(question, default, known)
            elif default:
                known[question.setting] = default
            else:
                missing.append(question.setting)
    if missing:
        lines = "\n".join(f"  --set {name}=..." for name in missing)
        raise RunFailed(f"{len(missing)} answers are missing, and nothing was written; give them:\n{lines}")
    if problems := problems_of(known):
        raise RunFailed("nothing was written:\n" + "\n".join(f"  - {problem}" for problem in problems))
    _write(project, known, found, server)


def _given(items: tuple[str, ...]) -> dict[str, Any]:
    """The answers of --set. Raises RunFailed with everything that is wrong with them."""
    wrong = [item for item in items if "=" not in item]
    if wrong:
        raise RunFailed(f"--set: found {', '.join(map(repr, wrong))}, expected NAME=VALUE")
    return {name: value for name, _, value in (item.partition("=") for item in items)}


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


def _write(project: Path, known: dict[str, Any], found: list[Found], server: Server | None) -> None:
    where = {one.setting: one.where for one in found}
    named = {"site_name", "site_domain", SERVER}
    parts = [(name, value, where.get(name, "")) for name, value in known.items() if name not in named]
    values = {
        **{name: known[name] for name in named},
        "parts": parts,
        "where": where,
        **({"login": server.login} if server else {}),
    }
    written, there = write(project, values)
    for path in written:
        click.echo(f"wrote {os.path.relpath(path)}")
    for path in there:
        click.echo(f"kept {os.path.relpath(path)}, which is there already")
    for line in server.remarks if server else ():
        click.echo(f"note: {line}")
    click.echo(NEXT.format(server=known[SERVER]))
