"""`slipway report`."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from pydantic import ValidationError
from pyinfra.api.host import Host

from slipway.cli.options import examples, on_hosts, pass_console, report_to
from slipway.cli.running import connected, end_with_failures, names_of
from slipway.engine.errors import RunFailed
from slipway.engine.session import Session
from slipway.facts import review as facts
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings.model import Settings
from slipway.tasks.backup import PROGRAM
from slipway.tasks.nginx import REQUESTS_LOG
from slipway.ui.console import Console

if TYPE_CHECKING:
    from slipway.upkeep.review import Review


@click.command(
    epilog=examples(
        "slipway report",
        "slipway report --html report.html --json 2026-q4.json",
        "slipway report --against 2026-q3.json     # what has grown since",
    )
)
@on_hosts
@click.option("--days", type=click.IntRange(1, 400), default=92, show_default=True, help="How far back logs are read.")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="An earlier report's JSON: also show what has grown since.",
)
@report_to("json", "the report as JSON")
@report_to("html", "the report as an HTML page")
@pass_console
def report(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    days: int,
    against: Path | None,
    json_file: IO[str] | None,
    html_file: IO[str] | None,
) -> None:
    """Report what deserves a look each quarter: slow queries, indexes that are unused or missing, growth of data and
    disk, response times and errors by route, pending updates, and the end of support. Read-only."""
    from slipway.ui.review import as_html, show
    from slipway.upkeep.review import review_of

    earlier = _earlier(against) if against else None
    session = Session(environment, "", limit, data)

    def question(host: Host) -> tuple[type[facts.Review], dict[str, Any]]:
        return facts.Review, {**_asked(session.connections.settings[host.name], host.groups), "days": days}

    with connected(session, console), console.doing(f"Asking {names_of(session)}"):
        found = session.connections.ask(question)
    roles, failures = session.connections.roles(), session.connections.failures
    settings = next(iter(session.connections.settings.values()))
    members = [peer.name for peer in settings.peers_with("db")]
    review = review_of(environment, roles, found, failures, days, earlier, members)
    if json_file:
        json_file.write(review.model_dump_json(indent=2) + "\n")
    if html_file:
        html_file.write(as_html(review))
    if console.level >= 0:
        show(review, console)
    end_with_failures(session.connections.failures)


def _earlier(file: Path) -> Review:
    from slipway.upkeep.review import Review

    try:
        return Review.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError):
        raise RunFailed(f"--against {file}: found no report, expected the file of `slipway report --json`") from None


def _asked(settings: Settings, groups: list[str]) -> dict[str, Any]:
    """The arguments of facts.Review for a host of these groups."""
    is_db = "db" in groups
    password = f"{settings.admin_credentials_folder}/{MONGODB_ADMIN}"
    where = (settings.mongodb_local, settings.mongodb_port, settings.limits.mongodb_answer)
    sites = [site.site_root for site in settings.all_sites] if {"web", "app"} & {*groups} else []
    return {
        "log": REQUESTS_LOG,
        "folders": (*sites, *([settings.mongodb_data] if is_db else [])),
        "mongodb": (*where, settings.mongodb_admin_user, password) if is_db else None,
        "backup": PROGRAM if is_db and settings.backup_repositories else "",
    }
