"""`slipway restore`."""

from __future__ import annotations

import click

from slipway.cli.backup_program import run_there
from slipway.cli.options import at_some_time, examples, on_hosts, pass_console, words_of
from slipway.cli.running import confirmed, connected
from slipway.engine.session import Session
from slipway.ui.console import Console


@click.command(
    epilog=examples(
        "slipway restore --at 2026-11-29T15:00:01Z",
        "slipway restore --only shop.orders --at '2026-11-29 15:00:01'",
        "slipway restore --files --secrets     (on a new server)",
    )
)
@on_hosts
@at_some_time
@click.option("--files", is_flag=True, help="Also the folders of uploads, as of the full backup.")
@click.option("--secrets", is_flag=True, help="Also the secrets that the old server had generated, for a new one.")
@click.option("--dry-run", is_flag=True, help="Only say what would be restored.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def restore(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    files: bool,
    secrets: bool,
    dry_run: bool,
    yes: bool,
    **given: str,
) -> None:
    """Restore the databases as they were at a second. They are restored beside the present ones and compared; the site
    answers 503 while they take their place. What fails leaves the data as they are."""
    words = ["restore", *words_of(given)]
    if given["only"] and (files or secrets):
        raise click.UsageError("found --only with --files or --secrets, expected --only alone")
    words += [name for name, value in (("--files", files), ("--secrets", secrets)) if value]
    session = Session(environment, "", limit or ("db",), data)
    with connected(session, console):
        run_there(session, console, [*words, "--dry-run"])
        if not dry_run and (yes or confirmed()):
            run_there(session, console, words)
