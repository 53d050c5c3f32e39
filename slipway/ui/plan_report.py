"""The report of a plan: JSON with a schema, and a self-contained HTML page.

docs/plan.schema.json is made of what is here: `python -m slipway.ui.plan_report > docs/plan.schema.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from slipway.engine.notes import Diff
from slipway.ui.diffs import diff_file, diff_lines
from slipway.ui.pages import page

if TYPE_CHECKING:
    from slipway.engine.outcome import Outcome

# Longer diffs are folded on the page.
MAX_LINES_OPEN = 24

Status = Literal["in sync", "pending", "failed"]


class Described(BaseModel):
    # Built at first use, which is slow: a plan does it while it connects.
    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_serialization_defaults_required=True, defer_build=True
    )


class PlannedChange(Described):
    """A pending operation."""

    operation: str
    """The operation's name."""
    reasons: list[str]
    """Reasons: found and expected values; empty if a diff shows them. Of secrets only that they change."""
    diffs: list[str]
    """Unified diffs of files. A file with a secret has none."""
    is_reaction: bool
    """Whether it only follows from another change, such as a restart."""


class PlannedComponent(Described):
    """The pending operations of a component."""

    name: str
    """A component, as --only takes it."""
    changes: list[PlannedChange]
    """In the order of execution."""


class PlannedHost(Described):
    """The result for a host."""

    name: str
    roles: list[str]
    """lb, web, app, db."""
    status: Status
    failure: str | None
    """The error, if the host could not be compared; then its changes are unknown."""
    components: list[PlannedComponent]
    """Those with changes, in the order of execution."""
    skipped: list[str]
    """What is skipped on this host and why, and other remarks."""


class Totals(Described):
    hosts: int
    failures: int
    """Hosts that could not be compared."""
    operations: int
    """Compared operations of all hosts."""
    changes: int
    """Pending operations, including reactions."""
    reactions: int
    skipped: int


class PlanReport(Described):
    """The result of `slipway plan`."""

    schema_version: Literal[1] = 1
    """The version of this format: removed or redefined fields make a new one, additions do not."""
    slipway_version: str
    environment: str
    when: datetime
    """UTC."""
    seconds: float
    """Duration of the comparison in seconds, without connecting."""
    status: Status
    """The exit code as a word: 0 in sync, 2 pending, 1 failed (on some host)."""
    totals: Totals
    hosts: list[PlannedHost] = Field(min_length=1)


def report_of(environment: str, roles: Mapping[str, Sequence[str]], outcome: Outcome) -> PlanReport:
    """The report of a plan, with a section for each host in `roles`."""
    hosts = [_host(name, list(its), outcome) for name, its in roles.items()]
    return PlanReport(
        slipway_version=version("slipway"),
        environment=environment,
        when=datetime.now(UTC).replace(microsecond=0),
        seconds=round(outcome.seconds, 2),
        status=_status(bool(outcome.failures), bool(outcome.changes)),
        totals=Totals(
            hosts=len(hosts),
            failures=len(outcome.failures),
            operations=outcome.operations,
            changes=len(outcome.changes),
            reactions=sum(change.is_reaction for change in outcome.changes),
            skipped=len(outcome.skipped),
        ),
        hosts=hosts,
    )


def _status(has_failed: bool, has_changes: bool) -> Status:
    return "failed" if has_failed else "pending" if has_changes else "in sync"


def _host(name: str, roles: list[str], outcome: Outcome) -> PlannedHost:
    components: dict[str, PlannedComponent] = {}
    for change in outcome.changes:
        if change.host == name:
            planned = PlannedChange(
                operation=change.operation,
                reasons=[note.text for note in change.notes if not isinstance(note, Diff)],
                diffs=[note.text for note in change.notes if isinstance(note, Diff)],
                is_reaction=change.is_reaction,
            )
            its = components.setdefault(change.component, PlannedComponent(name=change.component, changes=[]))
            its.changes.append(planned)
    failure = outcome.failures.get(name)
    return PlannedHost(
        name=name,
        roles=roles,
        status=_status(failure is not None, bool(components)),
        failure=failure,
        components=list(components.values()),
        skipped=[what for host, what in outcome.skipped if host == name],
    )


def as_json(report: PlanReport) -> str:
    return report.model_dump_json(indent=2) + "\n"


def as_html(report: PlanReport) -> str:
    """The report as a self-contained HTML page."""
    return page(
        "plan_report.html", report=report, diff_lines=diff_lines, diff_file=diff_file, most_lines_open=MAX_LINES_OPEN
    )


def prepare() -> Iterator[str]:
    """Prepare what is slow at first use, one thing at a time."""
    PlanReport.model_rebuild()
    yield PlanReport.__name__


def schema() -> str:
    """The JSON schema of a report, docs/plan.schema.json."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | PlanReport.model_json_schema(mode="serialization"), indent=2) + "\n"


if __name__ == "__main__":
    print(schema(), end="")
