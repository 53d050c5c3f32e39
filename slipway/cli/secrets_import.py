"""`slipway secrets import`: the variables of an application's .env become secrets and settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from slipway import project
from slipway.cli.options import examples
from slipway.cli.secrets import FIRST, SecretsFailed, Store, in_file, parsed, secrets_group, store_of
from slipway.secrets import env_file
from slipway.secrets.committed import is_tracked, was_committed
from slipway.secrets.store import OWN
from slipway.settings.check import FILE
from slipway.settings.imported import Imported, imported
from slipway.settings.rewrite import assignment, with_setting

SETTINGS = ("backend_secrets", "backend_environment")


@secrets_group.command(
    "import",
    epilog=examples(
        "slipway secrets import ../shop/.env",
        "slipway secrets import ../shop/.env --all",
        "slipway secrets import ../shop/.env STRIPE_KEY SMTP_PASSWORD",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Import all variables, each as what is shown.")
@click.option("--env", "environment", default="production", help="The environment whose file gets the secrets.")
def import_command(file: Path, names: tuple[str, ...], everything: bool, environment: str) -> None:
    """Show what the variables of FILE, an application's .env, become. --all imports them; NAMES become secrets."""
    if names and everything:
        raise SecretsFailed("found names and --all, expected one of both")
    text = read(file)
    values = values_of(file, text)
    for name in names:
        if name not in values:
            near = get_close_matches(name, [*values], n=1)
            raise SecretsFailed(f"{file}: found no {name}; {f'did you mean {near[0]}?' if near else listed(values)}")
    found = imported(values, names)
    tell(file, found)
    for name in env_file.commented(text):
        warn(f"{file}: {name}: its value ends before ' #'; if that is part of it, quote the value")
    if was_committed(file):
        remove = f"; git rm --cached {shlex.quote(str(file))}" if is_tracked(file) else ""
        warn(f"{file} is in git, and with it its secrets: replace them where they are from{remove}")
    if names:
        found = Imported(secrets={name: value for name, value in found.secrets.items() if name in names})
    if names or everything:
        carry_out(found, environment, replaces=bool(names))
    else:
        click.echo(f"Nothing was written. To import them: slipway secrets import {shlex.quote(str(file))} --all")


def read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsFailed(f"{file}: found a file that can't be read as UTF-8 ({type(error).__name__})") from None


def values_of(file: Path, text: str) -> dict[str, str]:
    try:
        return env_file.parse(text)
    except ValueError as error:
        raise SecretsFailed("\n".join(f"{file}: {line}" for line in str(error).split("\n"))) from None


def listed(names: Mapping[str, str]) -> str:
    return f"there are: {', '.join(names)}"


def warn(text: str) -> None:
    click.echo(f"slipway: warning: {text}", err=True)


def tell(file: Path, found: Imported) -> None:
    """What variables become, without the values of those that are secret."""
    plain = [name for name in found.environment if name not in found.ours]
    rows = {
        "secret": ", ".join(found.secrets),
        "secret, without a value": ", ".join(f"{name} ({why})" for name, why in found.wanted.items()),
        "Slipway's own": ", ".join(f"{name} = {found.environment[name]}" for name in found.ours),
        "setting": ", ".join(plain),
        "left out": ", ".join(f"{name} ({why})" for name, why in found.left_out.items()),
    }
    for kind, text in rows.items():
        if text:
            click.echo(f"{kind}: {text}")
    here = [name for name in plain if "localhost" in found.environment[name] or "127.0.0.1" in found.environment[name]]
    if here:
        warn(f"{file}: {', '.join(here)}: found an address of this machine; on the server {{site_domain}} may be meant")


def carry_out(found: Imported, environment: str, replaces: bool) -> None:
    """Write the secrets, encrypted, and then the settings. `replaces` is for secrets that are there already."""
    store = store_of(environment)
    new = secrets_text(store, found.secrets, replaces)
    given = {**in_file(), **site_of(environment)}
    added = [name for name in (*found.secrets, *found.wanted) if name not in OWN]
    has = given.get("backend_environment", {})
    kept = [name for name, text in found.environment.items() if has.get(name, text) != text]
    settings: dict[str, Any] = {
        "backend_secrets": [*dict.fromkeys([*given.get("backend_secrets", []), *added])],
        "backend_environment": {n: text for n, text in {**has, **found.environment, **has}.items() if n not in added},
    }
    if new is not None:
        store.write(new)
        click.echo(f"wrote {project.shown(str(store.path))}: commit it", err=True)
    if kept:
        warn(f"{FILE}: {', '.join(kept)}: kept the value in backend_environment, which is another one")
    settings = {name: value for name, value in settings.items() if value != given.get(name, type(value)())}
    write_settings(settings, is_first_site=not site_of(environment))
    if found.wanted:
        click.echo(f"Without a value: {', '.join(found.wanted)}. Give them by slipway secrets edit, or let the server")
        click.echo(f"generate them: add them to generated_secrets in {FILE}.")


def site_of(environment: str) -> dict[str, Any]:
    """The settings of a further site of this name, {} for an environment."""
    return next((site for site in in_file().get("sites", []) if site.get("site_name") == environment), {})


def secrets_text(store: Store, secrets: Mapping[str, str], replaces: bool) -> str | None:
    """What the file of secrets is to hold, None where that is what it holds."""
    if not secrets:
        return None
    there = store.path.exists()
    before = store.read() if there else FIRST.format(names=", ".join(store.names), generated=", ".join(store.generated))
    has = parsed(store) if there else {}
    if kept := [name for name, value in secrets.items() if has.get(name, value) != value and not replaces]:
        warn(f"{store.path.name}: {', '.join(kept)}: kept the value that is there, which is another one")
    text = before
    for name, value in secrets.items():
        if name not in has or (replaces and has[name] != value):
            text = env_file.with_value(text, name, value)
    return text if text != before else None


def write_settings(settings: Mapping[str, Any], is_first_site: bool) -> None:
    """Write settings into the file that all hosts share, or show them where they must be written by hand."""
    file = project.folder() / FILE
    by_hand = []
    for name, value in settings.items():
        text = with_setting(file.read_text(), name, value) if is_first_site else None
        if text is None:
            by_hand.append(assignment(name, value))
        else:
            file.write_text(text)
            click.echo(f"wrote {name} in {FILE}", err=True)
    if by_hand:
        click.echo(f"Write these yourself, in {FILE}:")
        click.echo("\n".join(by_hand))
