"""The live release of another application server, for one that has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.tasks import backend, release_copy
from support.described import FakeHost


@pytest.fixture
def answers(monkeypatch) -> dict[str, str]:
    """What the other server says to a command."""
    said: dict[str, str] = {}

    def facts(_: object, names: list[str], question: Callable) -> dict[str, str]:
        command = question(None)[1]["command"]
        return {name: next((text for part, text in said.items() if part in command), "") for name in names}

    for module in (release_copy, backend):
        monkeypatch.setattr(module, "host", FakeHost(("web", "app")))
    monkeypatch.setattr("slipway.engine.across.facts", facts)
    monkeypatch.setattr(backend, "imported", lambda settings: [])
    monkeypatch.setattr(backend, "shipped", lambda settings: [])
    monkeypatch.setattr(backend.python_environment, "problems", lambda settings: [])
    return said


def test_a_new_server_is_refused_while_the_site_is_live_as_it_was_adopted(answers, balanced_with, monkeypatch):
    settings = balanced_with("two")
    answers["readlink"] = "releases/20260101-000000-by-hand\n"
    (problem,) = backend.problems_of_first_release(settings)
    assert "found 20260101-000000-by-hand live on one" in problem
    assert "`slipway release`, and add it then" in problem
    # One that has a release gets none.
    monkeypatch.setattr(backend, "shipped", lambda settings: ["20260102-000000-abcdef"])
    assert backend.problems_of_first_release(settings) == []


def test_a_new_server_gets_a_release_with_its_locked_packages(answers, balanced_with):
    assert release_copy.problems(balanced_with("two")) == []
    answers["readlink"] = "releases/20260102-000000-abcdef\n"
    answers["/releases/20260102-000000-abcdef/backend/.requirements.lock"] = "there"
    assert release_copy.problems(balanced_with("two")) == []


def test_a_single_server_asks_nobody(answers, settings_with):
    answers["readlink"] = "releases/20260101-000000-by-hand\n"
    assert release_copy.problems(settings_with()) == []
