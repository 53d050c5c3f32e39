"""Rollbacks, by the user and automatic ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from slipway.releases.checks import RECORD
from support.release_model import LINK, Killed, Model

SERVICES = [
    {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/well"},
    {"name": "mailer", "command": "python -m mailer"},
]
BACKEND, MAILER = "codementee-backend.service", "codementee-mailer.service"


@pytest.fixture
def model_of(settings_with) -> Callable[..., Model]:
    """A host where release 1 is live and release 2 is shipped."""
    return lambda *services: Model.serving(settings_with(release_drain_seconds=3, services=[*services]), "1", "2")


def release(model: Model) -> None:
    assert model.step("begin", "2", "discard")
    assert model.step("switch", "2")


@pytest.mark.parametrize("is_interrupted", [True, False])
@pytest.mark.parametrize(("is_there", "target"), [(True, "releases/0"), (False, None)])
def test_after_an_automatic_rollback_the_previous_release_is_that_of_before(model_of, is_interrupted, is_there, target):
    model = model_of()
    model.files[f"{model.facts.root}/previous"] = f"{LINK}releases/0"
    if is_there:
        model.files[f"{model.facts.root}/releases/0/backend/server.py"] = "0"
    assert model.step("begin", "2", "discard")
    with suppress(Killed):
        # Between the two links, the previous and the current release.
        model.step("switch", "2", kill_at=5 if is_interrupted else 0)
    assert model.links()["current"] == ("releases/1" if is_interrupted else "releases/2")
    assert model.step("switch", "2")
    assert model.links()["previous"] == "releases/1"
    model.broken.add(f"2:{BACKEND}")
    assert not model.step("take_over")
    assert (model.links()["current"], model.links().get("previous")) == ("releases/1", target)


@pytest.mark.parametrize("how", ["broken", "crashing"])
def test_a_rollback_goes_on_without_a_worker_that_the_older_code_does_not_start(model_of, how):
    model = model_of(*SERVICES)
    release(model)
    assert model.step("take_over")
    getattr(model, how).add(f"1:{MAILER}" if how == "broken" else MAILER)
    assert [model.step(*step) for step in (("begin", "1", "keep"), ("switch", "1"), ("take_over",))] == [True] * 3
    assert f"{MAILER}: {'failed to start' if how == 'broken' else 'exited unexpectedly'}" in model.error()
    assert set(model.served().values()) == {"1"}
    assert model.links()["current"] == "releases/1"


@pytest.mark.parametrize("record", ["", "{", "[]", "7", "{}", '{"services": null}'])
def test_a_release_whose_services_are_not_recorded_counts_as_having_all(model_of, record):
    model = model_of(*SERVICES)
    model.files[f"{model.facts.root}/releases/2/{RECORD}"] = record
    release(model)
    assert model.step("take_over")
    assert model.active == model.own_units("2")


@pytest.mark.parametrize("is_automatic", [True, False])
def test_a_service_that_a_later_release_has_added_is_not_started_with_an_older_one(model_of, is_automatic):
    model = model_of(*SERVICES)
    for name, services in (("1", ["backend"]), ("2", ["backend", "auth", "mailer"])):
        model.files[f"{model.facts.root}/releases/{name}/{RECORD}"] = json.dumps({"services": services})
    model.broken |= {"1:codementee-auth-next.service", "1:codementee-auth.service", f"1:{MAILER}"}
    release(model)
    if is_automatic:
        model.broken.add(f"2:{BACKEND}")
        assert not model.step("take_over")
    else:
        assert model.step("take_over")
        assert model.step("begin", "1", "keep")
        assert model.step("switch", "1")
        # Also where it is interrupted now.
        assert model.step("settle")
    assert (model.active[BACKEND], model.links().get("next")) == ("1", None)
    assert f"stopped, as releases/1 lacks it: {MAILER}" in model.errors
    assert MAILER not in model.active
    model.broken.clear()
    release(model)
    assert model.step("take_over")
    assert model.active == model.own_units("2")
