"""`slipway settings`."""

from __future__ import annotations

import textwrap

import click

from slipway.cli.options import HELP_WIDTH, examples
from slipway.engine.errors import RunFailed
from slipway.settings.doc import entries, sections


@click.command("settings", epilog=examples("slipway settings", "slipway settings backend", "slipway settings swap_mb"))
@click.argument("words", nargs=-1, metavar="[NAME|PART]...")
def settings_command(words: tuple[str, ...]) -> None:
    """List the settings, or those whose names contain a PART, with type, default and meaning."""
    found = [
        (name, facts, meaning)
        for section in sections()
        for name, facts, meaning in entries(section)
        if not words or any(word in name for word in words)
    ]
    if not found:
        raise RunFailed(f"{' '.join(words)}: found no setting with such a name; `slipway settings` lists all of them")
    for name, facts, meaning in found:
        click.echo(click.style(name, bold=True))
        for text in (facts, meaning):
            click.echo(textwrap.indent(textwrap.fill(" ".join(text.split()), HELP_WIDTH - 4), "    "))
