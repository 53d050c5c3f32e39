"""A release killed before each of its changes in turn, then `settle` killed likewise, then run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from slipway.releases.host import Answer
from support.release_model import Killed, Model

SERVICES = [
    {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/well"},
    {"name": "mailer", "command": "python -m mailer"},
]
KINDS = {"one service": {}, "several": {"services": SERVICES}, "by TCP": {"backend_listen": "127.0.0.1:8001"}}
BACKEND, AUTH, MAILER = (f"codementee-{name}.service" for name in ("backend", "auth", "mailer"))
UNIT_FILE = f"/etc/systemd/system/{MAILER}"
STEPS = [
    ("hook", "before", "2", "discard"),
    ("begin", "2", "discard"),
    ("switch", "2"),
    ("take_over",),
    ("hook", "after", "2", "keep"),
    ("prune",),
]
# What is wrong with release 2.
FAULTS: dict[str, Callable[[Model], object]] = {
    "nothing": lambda model: None,
    "the migration": lambda model: model.broken.add("codementee-backend-before.service"),
    "the next does not start": lambda model: model.broken.add("2:codementee-backend-next.service"),
    "the next is not healthy": lambda model: model.says.update({"codementee-backend-next.service": Answer(500, "")}),
    "the service does not start": lambda model: model.broken.add(f"2:{BACKEND}"),
    "another service does not start": lambda model: model.broken.add(f"2:{AUTH}"),
    "the worker does not start": lambda model: model.broken.add(f"2:{MAILER}"),
    "the service is not healthy": lambda model: model.says.update({f"2:{BACKEND}": Answer(500, "")}),
}


CASES = [
    (kind, fault)
    for kind in KINDS
    for fault in FAULTS
    if kind == "several" or fault not in ("another service does not start", "the worker does not start")
]


def killed_at_each_change(start: Model, run: Callable[[Model, int], object]) -> Iterator[tuple[Model, bool]]:
    """Copies of a host on which `run` was killed before its first change, its second, and so on; the last one was not.
    Beside each, whether it was killed."""
    for kill_at in count(1):
        model = start.copy_of_all()
        try:
            run(model, kill_at)
        except Killed:
            yield model, True
        else:
            yield model, False
            return


def run_release(model: Model, kill_at: int) -> None:
    """A release as tasks/release.py runs it: up to the first step that fails."""
    before = 0
    for name, *words in STEPS:
        if name == "take_over":
            # Its units are written before, and those that they replace are kept.
            for path, text in {UNIT_FILE: "after", f"{backup(model)}{UNIT_FILE}": "before"}.items():
                model.files[path] = text
            model.files[f"{backup(model)}/paths"] = f"{UNIT_FILE}\n"
        if not model.step(name, *words, kill_at=max(kill_at - before, 0)):
            return
        before += model.changes


def backup(model: Model) -> str:
    return f"{model.facts.backups}/{MAILER}"


def assert_served(model: Model) -> None:
    """Visitors are served, and nothing partial could be mistaken for complete."""
    # By TCP there is nowhere else to lead them: they wait in the socket while a service comes up.
    waits = [one.name for one in model.facts.services if not one.link and f"2:{BACKEND}" in model.broken]
    assert not [name for name, release in model.served().items() if not release and name not in waits], model.served()
    root = model.facts.root
    assert model.readlink(f"{root}/current").removeprefix("releases/") in model.releases()
    for release in (name for name in model.releases() if not name.endswith(".new")):
        files = [path for path in model.files if path.startswith(f"{root}/releases/{release}/")]
        assert len(files) == 3, (release, files)
    for venv in model.names(f"{root}/venvs"):
        if f"{root}/venvs/{venv}/.complete" in model.files:
            assert f"{root}/venvs/{venv}/python" in model.files, venv
    if model.files.get(f"{backup(model)}/paths"):
        assert f"{backup(model)}{UNIT_FILE}" in model.files
    assert model.files.get(UNIT_FILE) in ("before", "after")


def assert_settled(model: Model, fault: str) -> None:
    """The services themselves serve one existing release, without remains of a next one."""
    live = model.readlink(f"{model.facts.root}/current").removeprefix("releases/")
    assert "next" not in model.links()
    assert not [unit for unit in model.active if "-next" in unit]
    units = model.own_units(live)
    for name in model.facts.workers if fault != "nothing" else ():
        # `slipway apply`, which settles, starts it.
        del units[f"{model.facts.site}-{name}.service"]
    assert units.keys() <= model.active.keys()
    # It also restarts what is older than `current`: in a roll-back that was cut off that may be one of several.
    assert fault != "nothing" or len({*model.active.values()}) == 1, model.active
    for service in model.facts.services:
        assert not service.link or model.readlink(service.link) == service.listen


@pytest.mark.parametrize(("kind", "fault"), CASES)
def test_wherever_a_release_and_then_settle_are_killed_visitors_are_served_and_settle_completes(
    settings_with, kind, fault
):
    settings = settings_with(backend_health_seconds=2, release_drain_seconds=1, keep_releases=2, **KINDS[kind])
    start = Model.serving(settings, "1", "0", "2")
    start.files[UNIT_FILE] = "before"
    FAULTS[fault](start)
    states, ends = 0, set()
    for killed, _ in killed_at_each_change(start, run_release):
        assert_served(killed)
        for again, was_killed in killed_at_each_change(killed, lambda model, at: model.step("settle", kill_at=at)):
            states += 1
            assert_served(again)
            if was_killed:
                again.step("settle")
            assert_served(again)
            assert_settled(again, fault)
            ends.add((killed.last_step, again.links()["current"]))
            assert again.step("prune")
            assert not [name for name in again.releases() if name.endswith(".new")]
    assert states > 20, "too few interruptions to prove anything"
    if fault == "nothing":
        # Once Nginx may be led to the next release, it is the one that stays.
        assert {end for step, end in ends if step == "begin"} == {"releases/1"}
        either = {"releases/1", "releases/2"} if kind != "by TCP" else {"releases/1"}
        assert {end for step, end in ends if step == "switch"} == either
        assert {end for step, end in ends if step == "take_over"} == {"releases/2"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_that_follows_one_that_was_killed_anywhere_leaves_visitors_served(settings_with, kind):
    """`slipway release` again, without an apply in between: an activated release is settled first."""
    settings = settings_with(backend_health_seconds=2, release_drain_seconds=1, keep_releases=2, **KINDS[kind])
    start = Model.serving(settings, "1", "0", "2", "3")
    start.files[UNIT_FILE] = "before"
    states = 0
    for killed, _ in killed_at_each_change(start, run_release):
        again = [("hook", "before", "3", "discard"), ("begin", "3", "discard")]
        for words in (again, again[1:]):
            model = killed.copy_of_all()
            for name, *arguments in words:
                for state, _ in killed_at_each_change(
                    model, lambda m, at, n=name, a=arguments: m.step(n, *a, kill_at=at)
                ):
                    states += 1
                    assert_served(state)
                    assert "3" not in state.served().values(), "it is not activated yet"
                assert model.step(name, *arguments)
    assert states > 20


@pytest.mark.parametrize("comes_up", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_a_restart_is_killed_visitors_are_served_and_settle_or_a_release_ends_it(
    settings_with, kind, comes_up
):
    settings = settings_with(backend_health_seconds=2, release_drain_seconds=1, **KINDS[kind])
    start = Model.serving(settings, "1", "2")
    start.files[UNIT_FILE] = "before"

    def restart(model: Model, kill_at: int) -> None:
        before = 0
        for name, *words in (("cover", "backend"), ("restart",), ("uncover", "backend")):
            if name == "restart":
                # As `slipway apply` does it, with a configuration that may not work.
                del model.active[BACKEND]
                if not comes_up:
                    model.says[BACKEND] = Answer(500, "")
                model.active[BACKEND] = "1"
            elif not model.step(name, *words, kill_at=max(kill_at - before, 0)):
                return
            else:
                before += model.changes

    states = 0
    for killed, _ in killed_at_each_change(start, restart):
        assert_served(killed)
        # The configuration is another by then.
        killed.says.clear()
        for again, was_killed in killed_at_each_change(killed, lambda model, at: model.step("settle", kill_at=at)):
            states += 1
            assert_served(again)
            if was_killed:
                assert again.step("settle")
            assert_settled(again, "nothing")
        for again, _ in killed_at_each_change(killed, lambda model, at: model.step("begin", "2", "keep", kill_at=at)):
            states += 1
            assert_served(again)
            assert "2" not in again.served().values()
    assert states > (3 if kind == "by TCP" else 20), "too few interruptions to prove anything"
