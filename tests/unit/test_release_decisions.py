"""The decisions of a release: take over, roll back, discard, settle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.releases.checks import RIGHT_ANSWERS
from slipway.releases.host import NO_ANSWER, Answer
from slipway.releases.program import HOOKS
from support.release_model import SOCKET, Model

SERVICES = [
    {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/well", "health_seconds": 2},
    {"name": "mailer", "command": "python -m mailer"},
]
KINDS = {"one service": {}, "several": {"services": SERVICES}, "by TCP": {"backend_listen": "127.0.0.1:8001"}}
BACKEND, NEXT, MAILER = "codementee-backend.service", "codementee-backend-next.service", "codementee-mailer.service"
UNWELL = Answer(500, "unwell")


@pytest.fixture
def model_of(settings_with) -> Callable[..., Model]:
    """A host where release 1 is live and release 2 is shipped."""

    def model_of(kind: str = "one service", **changes: object) -> Model:
        settings = settings_with(**{"backend_health_seconds": 2, "release_drain_seconds": 3, **KINDS[kind], **changes})
        return Model.serving(settings, "1", "2")

    return model_of


def release(model: Model) -> None:
    assert model.step("begin", "2", "discard")
    assert model.step("switch", "2")


def assert_at_rest(model: Model, release: str) -> None:
    """Release `release` is live in the services themselves, without remains of another."""
    assert model.active == model.own_units(release)
    assert set(model.served().values()) == {release}
    assert "next" not in model.links()
    assert not [path for path in model.files if path.endswith(("/next.sock", ".new"))]


# --- A release that works


@pytest.mark.parametrize("kind", KINDS)
def test_visitors_are_served_by_the_release_before_then_the_next_one_then_the_service_itself(model_of, kind):
    model = model_of(kind)
    assert model.step("begin", "2", "discard")
    assert set(model.served().values()) == {"1"}
    assert model.step("switch", "2")
    # By TCP Nginx is led to one address: the service serves release 1 until it restarts.
    assert set(model.served().values()) == {"1" if kind == "by TCP" else "2"}
    assert model.own_units("1").items() <= model.active.items()
    assert model.step("take_over")
    assert_at_rest(model, "2")
    assert model.links() == {"current": "releases/2", "previous": "releases/1"}
    assert model.errors == []


@pytest.mark.parametrize("kind", KINDS)
def test_settle_without_an_interrupted_release_changes_nothing(model_of, kind):
    model = model_of(kind)
    assert model.step("settle")
    assert_at_rest(model, "1")
    assert {line.split()[0] for line in model.told} == {"stop", "reset-failed"}
    assert not [line for line in model.told if "-next" not in line]


def test_a_service_restarts_only_when_nobody_is_connected_to_it_or_the_time_is_up(model_of):
    model = model_of()
    release(model)
    model.connections[model.facts.services[0].listen] = 1
    began = model.clock
    assert model.step("take_over")
    assert model.clock - began == model.facts.drain_seconds + RIGHT_ANSWERS
    assert_at_rest(model, "2")
    # Where nobody is, and to the next release's socket too.
    for connections, seconds in (({}, 0), ({model.facts.services[0].next_socket: 2}, model.facts.drain_seconds)):
        model = model_of()
        release(model)
        model.connections, began = connections, model.clock
        assert model.step("take_over")
        assert model.clock - began == seconds + RIGHT_ANSWERS


def test_workers_restart_after_the_services_and_what_described_them_before_is_forgotten(model_of):
    model = model_of("several")
    release(model)
    for unit in (BACKEND, MAILER):
        model.files[f"{model.facts.backups}/{unit}/paths"] = f"/etc/systemd/system/{unit}\n"
        model.files[f"{model.facts.backups}/{unit}/etc/systemd/system/{unit}"] = "before"
    model.told.clear()
    assert model.step("take_over")
    restarts = [line.split()[1] for line in model.told if line.startswith("restart")]
    assert restarts == [BACKEND, "codementee-auth.service", MAILER]
    assert model.names(model.facts.backups) == []


# --- A next release that does not work


@pytest.mark.parametrize("then", ["discard", "keep"])
@pytest.mark.parametrize("broken", ["auth", "backend"])
def test_one_service_that_is_not_healthy_discards_the_release_of_all(model_of, broken, then):
    model = model_of("several")
    unit = f"codementee-{broken}-next.service"
    model.says[unit] = UNWELL
    assert not model.step("begin", "2", then)
    assert f"the last words of {unit}\n{unit}: not healthy after 2 s; " in model.error()
    assert "answered: unwell 500; on a slow host raise " in model.error()
    assert model.errors[-1] == "release 2 was not activated; releases/1 is still live"
    assert_at_rest(model, "1")
    assert model.releases() == (["1"] if then == "discard" else ["1", "2"])


def test_the_setting_that_gives_a_service_more_time_is_named(model_of):
    model = model_of("several")
    model.says |= {NEXT: UNWELL}
    model.step("begin", "2", "keep")
    assert "/api/health answered: unwell 500; on a slow host raise backend_health_seconds" in model.error()
    model.says = {"codementee-auth-next.service": NO_ANSWER}
    model.step("begin", "2", "keep")
    assert "/well answered: nothing; on a slow host raise health_seconds of the service auth" in model.error()


def test_one_that_crashes_is_not_waited_for(model_of):
    model = model_of()
    model.says[NEXT] = NO_ANSWER
    model.crashing.add(NEXT)
    assert not model.step("begin", "2", "discard")
    assert f"{NEXT}: exited unexpectedly" in model.error()
    assert model.clock == 0
    assert_at_rest(model, "1")


@pytest.mark.parametrize("broken", [NEXT, NEXT.replace(".service", ".socket")])
def test_one_that_does_not_start_is_not_waited_for(model_of, broken):
    model = model_of()
    model.broken.add(broken)
    assert not model.step("begin", "2", "discard")
    assert f"{NEXT}: failed to start" in model.error()
    assert (model.clock, model.releases()) == (0, ["1"])
    assert_at_rest(model, "1")


def test_a_hook_that_takes_too_long_is_reported_with_the_setting_of_its_time(model_of):
    model = model_of()
    model.broken.add("codementee-backend-before.service")
    model.results["codementee-backend-before.service"] = "timeout"
    assert not model.step("hook", "before", "2", "discard")
    assert "did not finish within 300 s; if it needs longer, raise release_hook_seconds" in model.error()


@pytest.mark.parametrize(("when", "left"), [("before", ["1"]), ("after", ["1", "2"])])
def test_a_hook_that_fails_discards_a_release_that_no_visitor_has_seen(model_of, when, left):
    model = model_of()
    unit = f"codementee-backend-{when}.service"
    model.broken.add(unit)
    assert not model.step("hook", when, "2", "discard")
    assert f"the last words of {unit}\n{unit}: {HOOKS[when]} failed" in model.error()
    assert (model.releases(), model.links()) == (left, {"current": "releases/1"})
    assert ("was not activated" in model.error()) is (when == "before")


def test_a_hook_runs_in_the_next_release(model_of):
    model = model_of()
    assert model.step("hook", "before", "2", "discard")
    assert model.links()["next"] == "releases/2"
    assert model.step("hook", "after", "2", "keep")
    assert "next" not in model.links()
    starts = [line for line in model.told if line.startswith("start")]
    assert starts == [f"start codementee-backend-{when}.service" for when in ("before", "after")]


# --- A release that works in the next units, but not in place


BROKEN_IN_PLACE: dict[str, Callable[[Model], object]] = {
    "does not start": lambda model: model.broken.add(f"2:{BACKEND}"),
    "is not healthy": lambda model: model.says.update({f"2:{BACKEND}": UNWELL}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", BROKEN_IN_PLACE)
def test_a_service_that_fails_to_start_with_it_is_rolled_back(model_of, kind, how):
    model = model_of(kind)
    release(model)
    BROKEN_IN_PLACE[how](model)
    assert not model.step("take_over")
    assert "rolling back to releases/1" in model.errors
    assert_at_rest(model, "1")
    assert model.links() == {"current": "releases/1"}


@pytest.mark.parametrize("how", ["broken", "crashing"])
def test_a_worker_that_fails_to_start_with_it_rolls_back_all_services(model_of, how):
    model = model_of("several")
    release(model)
    getattr(model, how).add(f"2:{MAILER}" if how == "broken" else MAILER)
    assert not model.step("take_over")
    assert f"{MAILER}: {'failed to start' if how == 'broken' else 'exited unexpectedly'}" in model.error()
    # One that crashes with the release before too does not let visitors wait.
    assert_at_rest(model, "1")


@pytest.mark.parametrize("was_there", [True, False])
def test_the_previous_unit_files_are_restored_with_the_previous_release(model_of, was_there):
    model = model_of("several")
    release(model)
    unit_file, backup = f"/etc/systemd/system/{MAILER}", f"{model.facts.backups}/{MAILER}"
    # The last line was being written: what it would name was not replaced.
    model.files |= {unit_file: "after", f"{backup}/paths": f"{unit_file}\n/etc/systemd/system/ng"}
    if was_there:
        model.files[f"{backup}{unit_file}"] = "before"
    model.files["/etc/systemd/system/ng"] = "of another"
    BROKEN_IN_PLACE["does not start"](model)
    model.told.clear()
    assert not model.step("take_over")
    assert model.files.get(unit_file) == ("before" if was_there else None)
    assert model.files["/etc/systemd/system/ng"] == "of another"
    assert not model.exists(backup)
    told = [line for line in model.told if line in ("daemon-reload", f"restart {BACKEND}")]
    assert told == ["daemon-reload", f"restart {BACKEND}"] * 2


def test_without_a_release_before_it_is_reported_and_nothing_is_left_of_the_next_one(model_of):
    model = model_of()
    release(model)
    del model.files[f"{model.facts.root}/previous"]
    BROKEN_IN_PLACE["does not start"](model)
    assert not model.step("take_over")
    assert "rolling back" not in model.error()
    assert (model.links(), NEXT in model.active) == ({"current": "releases/2"}, False)


def test_if_the_previous_release_fails_too_the_next_one_serves_on(model_of):
    model = model_of()
    release(model)
    model.broken.add(BACKEND)
    assert not model.step("take_over")
    assert model.served() == {"backend": "2"}
    # Nor does the next run stop the only one that works.
    assert not model.step("settle")
    assert model.errors[-1] == "releases/1 failed to start; releases/2 is still live"
    assert model.served() == {"backend": "2"}
    model.broken.clear()
    assert model.step("settle")
    assert_at_rest(model, "1")


# --- A restart without a release


def test_a_second_instance_serves_while_a_service_restarts(model_of):
    model = model_of("several")
    assert model.step("cover", "backend")
    assert (model.active[NEXT], model.links()["next"]) == ("1", "current")
    backend = model.facts.services[0]
    assert model.readlink(backend.link) == backend.next_socket
    # The service may go now.
    del model.active[BACKEND]
    assert set(model.served().values()) == {"1"}
    model.active[BACKEND] = "1"
    assert model.step("uncover", "backend")
    assert_at_rest(model, "1")
    assert [line for line in model.told if "auth" in line and "restart" in line] == []
    assert model.errors == []


def test_a_second_instance_that_fails_to_start_leaves_the_service_unchanged(model_of):
    model = model_of()
    model.says[NEXT] = UNWELL
    assert not model.step("cover", "backend")
    assert f"the last words of {NEXT}" in model.error()
    assert model.errors[-1] == f"{BACKEND} was not restarted and is still live"
    assert_at_rest(model, "1")


@pytest.mark.parametrize("how", ["away", "not healthy", "by TCP", "not described"])
def test_where_a_restart_costs_nothing_or_nothing_can_be_done_nothing_covers_for_it(model_of, monkeypatch, how):
    model = model_of("by TCP" if how == "by TCP" else "one service")
    if how == "away":
        del model.active[BACKEND]
        # systemd starts what is asked.
        monkeypatch.setattr(model, "answers", None, raising=False)
    if how == "not healthy":
        model.says[BACKEND] = UNWELL
    if how == "not described":
        del model.files[f"/etc/systemd/system/{NEXT}"]
    assert model.step("cover", "backend")
    assert model.step("uncover", "backend")
    assert (NEXT in model.active, model.links()) == (False, {"current": "releases/1"})


def test_a_service_that_does_not_come_up_again_is_covered_for_until_it_does(model_of):
    model = model_of()
    assert model.step("cover", "backend")
    model.says[BACKEND] = UNWELL
    for step in (("uncover", "backend"), ("settle",), ("begin", "2", "discard"), ("hook", "before", "2", "keep")):
        assert not model.step(*step)
        assert f"{BACKEND}: not healthy after 2 s; " in model.errors[-1]
        assert (model.active[NEXT], model.links()) == ("1", {"current": "releases/1", "next": "current"})
    # The next restart needs nothing more.
    assert model.step("cover", "backend")
    del model.says[BACKEND]
    assert model.step("uncover", "backend")
    assert_at_rest(model, "1")


# --- Settling an interrupted release


def test_where_the_next_release_serves_the_service_takes_over_from_it(model_of):
    model = model_of()
    release(model)
    assert model.step("settle")
    assert_at_rest(model, "2")


def test_a_next_release_that_was_never_live_is_stopped(model_of):
    model = model_of()
    assert model.step("begin", "2", "discard")
    assert model.step("settle")
    assert_at_rest(model, "1")
    assert model.releases() == ["1", "2"]


def test_a_next_release_that_has_ended_meanwhile_leaves_visitors_to_the_services(model_of):
    model = model_of("several")
    release(model)
    del model.active["codementee-auth-next.service"]
    assert model.step("settle")
    assert set(model.served()) == {"backend", "auth"}
    # `slipway apply` restarts services that are older than `current`.
    assert model.active == model.own_units("1")


def test_a_service_that_is_new_with_the_release_is_not_led_to_before_it_has_a_socket(model_of):
    model = model_of("several")
    auth = model.facts.services[1]
    del model.files[auth.listen], model.files[auth.link]
    release(model)
    assert model.step("settle")
    assert model.readlink(auth.link) == auth.next_socket
    model.files[auth.listen] = SOCKET
    assert model.step("settle")
    assert model.readlink(auth.link) == auth.listen


@pytest.mark.parametrize(("words", "target"), [(["1"], "releases/1"), ([""], None)])
def test_the_release_that_a_rollback_activates_can_be_named(model_of, words, target):
    model = model_of()
    release(model)
    assert model.step("take_over")
    assert model.step("remember", *words)
    assert model.links().get("previous") == target
    assert_at_rest(model, "2")
