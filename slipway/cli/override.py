"""`slipway override`."""

from __future__ import annotations

import os

import click

from slipway import project
from slipway.cli.options import examples
from slipway.engine.errors import RunFailed
from slipway.starter.versions import OVERRIDABLE


@click.command(epilog=examples("slipway override", "slipway override templates/nginx/site"))
@click.argument("name", required=False)
def override(name: str | None) -> None:
    """Copy a template or a component of Slipway's into the project, to be used instead; without NAME list them."""
    shipped = {
        str(file.relative_to(project.PACKAGE)): file
        for kind in OVERRIDABLE
        for file in sorted((project.PACKAGE / kind).rglob("*"))
        if file.is_file() and file.suffix != ".pyc" and file.name != "__init__.py"
    }
    if name is None:
        click.echo("\n".join(shipped))
        return
    if name not in shipped:
        raise RunFailed(f"{name}: found no such file of Slipway's; `slipway override` lists them")
    copy = project.folder() / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            file.write(shipped[name].read_bytes())
    except FileExistsError:
        raise RunFailed(f"{name}: the project has its own already; nothing was changed") from None
    click.echo(f"wrote {name}; `slipway upgrade-project` says when Slipway's own has changed")
