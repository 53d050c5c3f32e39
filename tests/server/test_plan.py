"""What an apply would change: whatever these tests do not see, a plan does."""

from __future__ import annotations

from functools import cache

from slipway.engine.outcome import Outcome
from slipway.engine.session import Session


@cache
def planned(config) -> Outcome:
    """The plan of all servers, once for a run."""
    session = Session(
        config.getoption("--environment"), "deploy.py", config.getoption("--limit"), config.getoption("--data")
    )
    session.connections.begin()
    with session:
        return session.plan()


def test_an_apply_would_change_nothing(server, pytestconfig):
    found = planned(pytestconfig)
    assert found.failures.get(server.name, "") == ""
    pending = [change.operation for change in found.changes if change.host == server.name]
    assert not pending, f"slipway apply would change: {', '.join(pending)}"
