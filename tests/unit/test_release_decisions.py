"""What a release decides on a host: to take over, to go back, to discard, to settle."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from slipway.settings.model import Settings
from support.release_tree import Done, Tree
from tasks.release import PARTS

SERVICES = [
    {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/well", "health_seconds": 2},
    {"name": "mailer", "command": "python -m mailer"},
]
KINDS = {"one service": {}, "several": {"services": SERVICES}, "by TCP": {"backend_listen": "127.0.0.1:8001"}}
BACKEND, NEXT = "codementee-backend.service", "codementee-backend-next.service"
WELL = '{"status":"ok"} 200'


@pytest.fixture
def tree_of(tmp_path, settings_with) -> Callable[..., Tree]:
    """A host where release 1 serves and release 2 is shipped."""

    def tree_of(kind: str = "one service") -> Tree:
        return Tree.serving(
            tmp_path, settings_with(backend_health_seconds=2, release_drain_seconds=3, **KINDS[kind]), "1", "2"
        )

    return tree_of


def step(tree: Tree, *words: str, cut: int | None = None) -> Done:
    return tree.step(*words, parts=tuple(PARTS), cut=cut)


def release(tree: Tree, *words: str) -> None:
    for words in (("begin", "2", "discard"), ("switch", "2")):
        assert step(tree, *words).returncode == 0


def all_own(settings: Settings, release: str) -> dict[str, str]:
    return {f"{settings.unit(service)}.service": release for service in settings.all_services}


def assert_at_rest(tree: Tree, release: str) -> None:
    """Release `release` serves, by the services themselves, and nothing is left of another."""
    assert tree.active() == all_own(tree.settings, release)
    assert set(tree.served().values()) == {release}
    assert "next" not in tree.links()


# --- The way of a release that works


@pytest.mark.parametrize("kind", KINDS)
def test_visitors_are_served_by_the_release_before_then_the_next_one_then_the_service_itself(tree_of, kind):
    tree = tree_of(kind)
    assert step(tree, "begin", "2", "discard").returncode == 0
    assert set(tree.served().values()) == {"1"}
    assert step(tree, "switch", "2").returncode == 0
    # By TCP Nginx is led to one address: the service serves release 1 until it restarts.
    assert set(tree.served().values()) == {"1" if kind == "by TCP" else "2"}
    assert all_own(tree.settings, "1").items() <= tree.active().items()
    assert step(tree, "take_over").returncode == 0
    assert_at_rest(tree, "2")
    assert tree.links() == {"current": "releases/2", "previous": "releases/1"}


@pytest.mark.parametrize("kind", KINDS)
def test_to_settle_where_nothing_was_begun_changes_nothing_that_runs(tree_of, kind):
    tree = tree_of(kind)
    assert step(tree, "settle").returncode == 0
    assert_at_rest(tree, "1")
    assert [line for line in tree.told() if not line.startswith("stop codementee-")] == []


def test_a_service_restarts_only_when_nobody_is_connected_to_it_or_the_time_is_up(tree_of):
    tree = tree_of()
    release(tree)
    path = tree.here(tree.own(tree.settings.backend))
    (tree.folder / "net-unix").write_text(f"0: 00000003 0 0 0001 03 9 {path}\n0: 00000002 0 0 0001 01 8 {path}\n")
    began = int((tree.folder / "clock").read_text())
    assert step(tree, "take_over").returncode == 0
    assert int((tree.folder / "clock").read_text()) - began >= tree.settings.release_drain_seconds
    assert_at_rest(tree, "2")


def test_workers_restart_after_the_services_and_what_described_them_before_is_forgotten(tree_of):
    tree = tree_of("several")
    release(tree)
    for unit in (BACKEND, "codementee-mailer.service"):
        (tree.folder / "kept" / unit).mkdir()
    (tree.folder / "told").write_text("")
    assert step(tree, "take_over").returncode == 0
    restarts = [line.split()[1] for line in tree.told() if line.startswith("restart")]
    assert restarts == [BACKEND, "codementee-auth.service", "codementee-mailer.service"]
    assert [*(tree.folder / "kept").iterdir()] == []


# --- A next release that does not work


@pytest.mark.parametrize("then", ["discard", "keep"])
@pytest.mark.parametrize("broken", ["auth", "backend"])
def test_one_service_that_is_not_healthy_takes_back_the_release_of_all(tree_of, broken, then):
    tree = tree_of("several")
    tree.says("unwell 500", f"codementee-{broken}-next.service")
    done = step(tree, "begin", "2", then)
    assert done.returncode == 1
    assert f"codementee-{broken}-next.service: not healthy after 2 s" in done.stderr
    assert_at_rest(tree, "1")
    assert tree.there() == (["1"] if then == "discard" else ["1", "2"])


def test_one_that_crashes_is_not_waited_for(tree_of):
    tree = tree_of()
    tree.says("", NEXT)
    (tree.folder / "crashing" / NEXT).touch()
    done = step(tree, "begin", "2", "discard")
    assert f"{NEXT}: it ended" in done.stderr
    assert_at_rest(tree, "1")


def test_an_answer_must_have_the_body_and_the_status_that_are_set(tmp_path, settings_with):
    settings = settings_with(backend_health_body="it's *well*", backend_health_status=204, backend_health_seconds=2)
    tree = Tree.serving(tmp_path, settings, "1", "2")
    for answer, is_healthy in (("it's *well* 204", True), ("it's well 204", False), ("it's *well* 200", False)):
        tree.says(answer)
        assert (step(tree, "begin", "2", "keep").returncode == 0) is is_healthy, answer


def test_the_next_release_is_healthy_only_after_five_rounds_in_a_row(tree_of):
    tree = tree_of()
    tree.asks_once = False
    began = int((tree.folder / "clock").read_text())
    assert step(tree, "begin", "2", "discard").returncode == 0
    assert int((tree.folder / "clock").read_text()) - began == 5


# --- A release that works beside the old one, and not in its place


BROKEN_IN_PLACE = {
    "does not start": lambda tree, unit: (tree.folder / f"broken/2:{unit}").touch(),
    "is not healthy": lambda tree, unit: tree.says("unwell 500", unit, "2"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", BROKEN_IN_PLACE)
def test_a_service_that_does_not_come_up_with_it_goes_back_to_the_release_before(tree_of, kind, how):
    tree = tree_of(kind)
    release(tree)
    BROKEN_IN_PLACE[how](tree, BACKEND)
    done = step(tree, "take_over")
    assert done.returncode == 1
    assert "back to the release before" in done.stderr
    assert_at_rest(tree, "1")
    assert tree.links() == {"current": "releases/1", "previous": "releases/2"}


@pytest.mark.parametrize("how", ["broken", "crashing"])
def test_a_worker_that_does_not_come_up_with_it_takes_all_services_back(tree_of, how):
    tree = tree_of("several")
    release(tree)
    name = "2:codementee-mailer.service" if how == "broken" else "codementee-mailer.service"
    (tree.folder / how / name).touch()
    done = step(tree, "take_over")
    assert done.returncode == 1
    assert f"codementee-mailer.service: it {'did not start' if how == 'broken' else 'ended'}" in done.stderr
    # One that crashes with the release before too does not let visitors wait.
    assert_at_rest(tree, "1")


def test_what_described_the_services_before_comes_back_with_the_release_before(tree_of):
    tree = tree_of("several")
    release(tree)
    unit_file = tree.folder / "codementee-mailer.service"
    kept = tree.folder / "kept/codementee-mailer.service"
    copy = kept / str(unit_file).lstrip("/")
    copy.parent.mkdir(parents=True)
    copy.write_text("before")
    (kept / "paths").write_text(f"{unit_file}\n")
    unit_file.write_text("after")
    BROKEN_IN_PLACE["does not start"](tree, BACKEND)
    (tree.folder / "told").write_text("")
    assert step(tree, "take_over").returncode == 1
    assert (unit_file.read_text(), kept.exists()) == ("before", False)
    told = [line for line in tree.told() if line in ("daemon-reload", f"restart {BACKEND}")]
    assert told == ["daemon-reload", f"restart {BACKEND}"] * 2


def test_without_a_release_before_it_is_told_and_nothing_is_left_of_the_next_one(tree_of):
    tree = tree_of()
    release(tree)
    (tree.root / "previous").unlink()
    BROKEN_IN_PLACE["does not start"](tree, BACKEND)
    done = step(tree, "take_over")
    assert done.returncode == 1
    assert "back to the release before" not in done.stderr
    assert (tree.links(), NEXT in tree.active()) == ({"current": "releases/2"}, False)


def test_where_the_release_before_does_not_come_up_either_the_next_one_serves_on(tree_of):
    tree = tree_of()
    release(tree)
    (tree.folder / "broken" / BACKEND).touch()
    assert step(tree, "take_over").returncode == 1
    assert tree.served() == {"backend": "2"}
    # Nor does the next run stop the only one that works.
    settled = step(tree, "settle")
    assert settled.returncode == 1
    assert "releases/2 is still live" in settled.stderr
    assert tree.served() == {"backend": "2"}
    (tree.folder / "broken" / BACKEND).unlink()
    assert step(tree, "settle").returncode == 0
    assert_at_rest(tree, "1")


# --- To settle what was cut off


def test_where_the_next_release_serves_the_service_takes_over_from_it(tree_of):
    tree = tree_of()
    release(tree)
    assert step(tree, "settle").returncode == 0
    assert_at_rest(tree, "2")


def test_where_visitors_have_not_seen_the_next_release_it_goes(tree_of):
    tree = tree_of()
    assert step(tree, "begin", "2", "discard").returncode == 0
    assert step(tree, "settle").returncode == 0
    assert_at_rest(tree, "1")
    assert tree.there() == ["1", "2"]


def test_a_next_release_that_has_ended_meanwhile_leaves_visitors_to_the_services(tree_of):
    tree = tree_of("several")
    release(tree)
    (tree.folder / "active/codementee-auth-next.service").unlink()
    assert step(tree, "settle").returncode == 0
    assert set(tree.served()) == {"backend", "auth"}
    # `slipway apply` restarts services that are older than `current`.
    assert tree.active() == all_own(tree.settings, "1")


def test_a_service_that_is_new_with_the_release_is_not_led_to_before_it_has_a_socket(tree_of):
    tree = tree_of("several")
    auth = next(service for service in tree.settings.services if service.name == "auth")
    (tree.folder / f"run/{tree.own(auth).removeprefix('/run/')}").unlink()
    link = tree.folder / "run/codementee-auth.sock"
    link.unlink()
    release(tree)
    assert step(tree, "settle").returncode == 0
    assert link.readlink() == tree.folder / "run/codementee-auth/next.sock"


@pytest.mark.parametrize("kind", ["several", "by TCP"])
def test_wherever_a_release_is_cut_off_visitors_are_served_and_to_settle_ends_it(tmp_path, settings_with, kind):
    """It is killed before each command in turn that changes something."""
    settings = settings_with(backend_health_seconds=2, release_drain_seconds=1, **KINDS[kind])
    ends = set()
    for cut in range(1, 100):
        tree = Tree.serving(tmp_path / str(cut), settings, "1", "2")
        for words in (("begin", "2", "discard"), ("switch", "2"), ("take_over",)):
            done = step(tree, *words, cut=cut)
            if done.returncode != 0:
                break
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert "" not in tree.served().values(), f"cut {cut}, in {words[0]}: {tree.served()}"
        assert step(tree, "settle").returncode == 0
        served = set(tree.served().values())
        assert len(served) == 1, f"cut {cut}, in {words[0]}: {tree.served()}"
        assert_at_rest(tree, served.pop())
        ends.add((words[0], tree.links()["current"]))
    assert cut > 10, "this test would not notice anything"
    ends_of_switch = {"releases/1", "releases/2"} if kind != "by TCP" else {"releases/1"}
    assert {end for words, end in ends if words == "switch"} == ends_of_switch
    assert ends >= {("begin", "releases/1"), ("take_over", "releases/2")}
