"""`slipway help`: the documentation of the version that is installed."""

from __future__ import annotations

from difflib import get_close_matches

import click
from click.shell_completion import CompletionItem

from slipway import project
from slipway.cli.options import examples, pass_console
from slipway.engine.errors import RunFailed
from slipway.ui.console import Console


def topics() -> dict[str, str]:
    """The text of each page, in Markdown, by its name without a suffix."""
    return {page.stem: page.read_text(encoding="utf-8") for page in sorted((project.PACKAGE / "docs").glob("*.md"))}


def _completed(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in topics() if name.startswith(begun)]


@click.command(name="help", epilog=examples("slipway help", "slipway help releases"))
@click.argument("topic", required=False, shell_complete=_completed)
@pass_console
def help_command(console: Console, topic: str | None) -> None:
    """Show a page of the documentation; without TOPIC list them."""
    pages = topics()
    if topic is None:
        width = max(map(len, pages))
        for name, text in pages.items():
            click.echo(f"{name:{width}}  {text.splitlines()[0].lstrip('# ')}")
        return
    if topic not in pages:
        near = get_close_matches(topic, pages, n=1)
        fix = f"did you mean {near[0]}?" if near else "`slipway help` lists them"
        raise RunFailed(f"{topic}: there is no such page; {fix}")
    if not console.output.is_terminal:
        click.echo(pages[topic], nl=False)
        return
    from rich.markdown import Markdown

    with console.output.pager(styles=True):
        console.output.print(Markdown(pages[topic], hyperlinks=False))
