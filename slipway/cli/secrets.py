"""`slipway secrets`: look at, edit and rotate the secrets of an environment, which are in git, encrypted with age."""

from __future__ import annotations

import os
import re
import runpy
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pyrage

from slipway import project
from slipway.secrets.store import decrypt, encrypt, known_names, parse_dotenv, unknown_names, value_problems
from slipway.settings.check import FILE, check_section
from slipway.settings.secrets import Secrets

FIRST = """\
# NAME=value, one a line; a value in quotes may go over several, and nothing is escaped. Lines that begin with # count
# for nothing. The secrets of this site: {names}.
# The server makes up itself, where they are not here: {generated}.
"""


class SecretsFailed(click.ClickException):
    """A mistake of the user's; the message is what he reads."""


@dataclass(frozen=True)
class Store:
    """The encrypted file of an environment, and its settings."""

    path: Path
    identity: str
    recipients: list[str]
    names: list[str]
    generated: list[str]

    @property
    def draft(self) -> Path:
        """What was edited and is not in order yet, encrypted; not in git."""
        return self.path.with_name(f".{self.path.name}.draft")

    def read(self, path: Path | None = None) -> str:
        path = path or self.path
        if not path.exists():
            raise SecretsFailed(f"{path}: there is no such file; make it: slipway secrets edit {self.path.stem}")
        try:
            return decrypt(path, self.identity)
        except ValueError as error:
            raise SecretsFailed(f"{path}: {error}") from None

    def write(self, text: str, path: Path | None = None) -> None:
        """Encrypt to all recipients, in one step: whoever reads meanwhile has the old file or the new one."""
        path = path or self.path
        try:
            data = encrypt(text, self.recipients)
        except ValueError as error:
            raise SecretsFailed(f"{FILE}: {error}") from None
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(new).replace(path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def problems(self, text: str) -> list[str]:
        """What is wrong with the file's text, a line each."""
        try:
            values = parse_dotenv(text)
        except ValueError as error:
            return [str(error)]
        return [*unknown_names(values, self.names), *value_problems(values)]


def in_file() -> dict[str, Any]:
    """What group_data/all.py sets. The secrets are of the project, and of no host."""
    file = project.folder() / FILE
    try:
        return runpy.run_path(str(file))
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}"
        raise SecretsFailed(f"{FILE}: {said} (slipway plan shows the line)") from None


def store_of(environment: str) -> Store:
    """Of an environment, or of a further site by its name."""
    data = in_file()
    for site in data.get("sites", []):
        if site.get("site_name") == environment:
            data |= site
    settings = check_section(Secrets, data)
    return Store(
        project.folder() / f"secrets/{environment}.age",
        settings.secrets_identity,
        settings.secrets_recipients,
        known_names(settings.backend_secrets),
        settings.generated_secrets,
    )


@click.group("secrets")
def secrets_group() -> None:
    """Secrets in git, encrypted with age."""


on_environment = click.argument("environment", metavar="[ENV]", default="production")


@secrets_group.command()
def keygen() -> None:
    """Make you an age identity, if there is none, and show its public key."""
    data = in_file()
    # The recipients may be wrong: this is what makes one.
    only = {name: data[name] for name in ("secrets_identity",) if name in data}
    path = Path(check_section(Secrets, only).secrets_identity).expanduser()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = pyrage.x25519.Identity.generate()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"# public key: {identity.to_public()}\n{identity}\n")
        click.echo(f"made {path}; keep a copy of it elsewhere: without it the secrets can't be read", err=True)
    found = re.findall(r"^AGE-SECRET-KEY-\S+", path.read_text(), re.MULTILINE)
    if not found:
        raise SecretsFailed(f"{path}: found no age identity, expected a line AGE-SECRET-KEY-1...")
    click.echo(str(pyrage.x25519.Identity.from_str(found[0]).to_public()))
    click.echo(f"add it to secrets_recipients in {FILE}", err=True)


@secrets_group.command()
@on_environment
@click.argument("name", required=False)
@click.option("--reveal", is_flag=True, help="Show all values.")
def show(environment: str, name: str | None, reveal: bool) -> None:
    """Show the names of the secrets, or the value of NAME."""
    values = _parsed(store_of(environment))
    if name and name not in values:
        raise SecretsFailed(f"found no {name}; there are: {', '.join(values)}")
    for one, value in values.items():
        if name is None:
            click.echo(f"{one}={value}" if reveal else one)
        elif one == name:
            click.echo(value)


@secrets_group.command()
@on_environment
def edit(environment: str) -> None:
    """Open the secrets in $EDITOR, and encrypt what it leaves."""
    store = store_of(environment)
    first = FIRST.format(names=", ".join(store.names), generated=", ".join(store.generated))
    source = store.draft if store.draft.exists() else store.path
    before = store.read(source) if source.exists() else first
    store.write(before, store.draft)  # whether it can be encrypted is known before anybody types
    try:
        after = edited(before)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        if source != store.draft:
            store.draft.unlink()
        raise SecretsFailed(f"the editor failed ({type(error).__name__}); the secrets are as they were") from None
    if problems := store.problems(after):
        store.write(after, store.draft)
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SecretsFailed(
            f"the secrets are as they were; what you typed is kept, encrypted; the next edit begins with it:\n{lines}"
        )
    if after != before or source == store.draft:
        store.write(after)
        click.echo(f"wrote {project.shown(str(store.path))}", err=True)
    else:
        click.echo("nothing has changed", err=True)
    store.draft.unlink()


@secrets_group.command()
@on_environment
@click.argument("names", nargs=-1)
def rotate(environment: str, names: tuple[str, ...]) -> None:
    """Give NAMES new random values, and encrypt the file to those who are in secrets_recipients now."""
    store = store_of(environment)
    text = store.read()
    values = _parsed(store)
    for name in names:
        if name not in values:
            kept = f"; the server keeps one that it has made up: remove {name} in its folder credentials, then apply"
            raise SecretsFailed(f"found no {name} in {store.path.name}{kept if name in store.generated else ''}")
        text = with_value(text, name, secrets.token_hex(32))
    store.write(text)
    said = f"new: {', '.join(names)}; put them in force: slipway apply" if names else "the values are as they were"
    click.echo(f"encrypted to {len(store.recipients)} recipients; {said}", err=True)


def _parsed(store: Store) -> dict[str, str]:
    try:
        return parse_dotenv(store.read())
    except ValueError as error:
        raise SecretsFailed(f"{store.path}: {error}") from None


def with_value(text: str, name: str, value: str) -> str:
    """`text` with another value for `name`, which is in it; one in quotes may go over several lines."""
    quoted = r"""(?:"(?:[^\n]|\n)*?"|'(?:[^\n]|\n)*?')[ \t]*$"""
    pattern = rf"^([ \t]*(?:export )?{name}[ \t]*=)[ \t]*(?:{quoted}|[^\n]*$)"
    return re.sub(pattern, lambda found: f"{found[1]}{value}", text, flags=re.MULTILINE)


def edited(text: str) -> str:
    """What the user's editor makes of `text`. Raises CalledProcessError where it fails."""
    with private_folder() as folder:
        file = folder / "secrets.env"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(text)
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        subprocess.run([*shlex.split(editor), str(file)], check=True)
        return file.read_text()


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder of this user's alone, in memory where there is such a place; wiped at the end."""
    memory = Path("/dev/shm")  # noqa: S108  the folder in it is ours alone
    place = str(memory) if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="slipway-", dir=place))
    try:
        yield folder
    finally:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with file.open("r+b") as opened:
                    opened.write(b"\0" * file.stat().st_size)
        shutil.rmtree(folder)
