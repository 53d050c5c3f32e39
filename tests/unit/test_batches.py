"""Queries are sent in batches, once, and each waiting program gets its answer or error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

import gevent
import pytest
from gevent.event import Event

from slipway.engine.batching import Batches
from slipway.engine.remote_shell import Answer, Question, Tell

A, B, C, D = (Question(command, by_sudo=False) for command in "abcd")
PATIENCE_SECONDS = 5


class Host:
    """Answers each query with its command, and records the batches."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.fails: Exception | None = None
        # So many answers come before the others.
        self.early = 0
        # A batch waits for it.
        self.goes_on = Event()
        self.goes_on.set()

    def __call__(self, questions: Sequence[Question], tell: Tell) -> list[Answer]:
        self.asked.append([question.command for question in questions])
        number = len(self.asked)
        found = {question: Answer(0, f"{question.command}{number}") for question in questions}
        for question in questions[: self.early]:
            tell(question, found[question])
        self.goes_on.wait()
        if self.fails:
            raise self.fails
        return list(found.values())


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def batches(host: Host) -> Batches:
    return Batches(host)


def answers(batches: Batches, *programs: Callable[[], object]) -> list[object]:
    """The results or errors of concurrent programs; none may hang."""

    def run(program: Callable[[], object]) -> object:
        with batches.asking():
            try:
                return program()
            except Exception as error:
                return error

    with batches.asking():
        running = [gevent.spawn(run, program) for program in programs]
        gevent.sleep(0)
    done = gevent.joinall(running, timeout=PATIENCE_SECONDS)
    assert len(done) == len(running), "somebody waits for ever"
    return [greenlet.get() for greenlet in running]


def test_one_batch_goes_out_when_all_wait(batches, host):
    found = answers(
        batches, lambda: batches.get(A).output, lambda: batches.get(B).output, lambda: batches.get(A).output
    )
    assert found == ["a1", "b1", "a1"]
    assert host.asked == [["a", "b"]]


def test_a_batch_waits_for_busy_programs(batches, host):
    def late() -> str:
        gevent.sleep(0.05)
        return batches.get(B).output

    answers(batches, lambda: batches.get(A), late)
    assert host.asked == [["a", "b"]]


def test_what_depends_on_an_answer_goes_out_with_the_next_batch(batches, host):
    def two() -> list[str]:
        return [batches.get(A).output, batches.get(B).output]

    def three() -> list[str]:
        return [batches.get(A).output, batches.get(C).output, batches.get(D).output]

    assert answers(batches, two, three) == [["a1", "b2"], ["a1", "c2", "d3"]]
    assert host.asked == [["a"], ["b", "c"], ["d"]]


def test_nothing_is_asked_twice_until_something_changes(batches, host):
    assert [batches.get(A).output, batches.get(A).output] == ["a1", "a1"]
    batches.forget()
    assert batches.get(A).output == "a2"
    assert host.asked == [["a"], ["a"]]


def test_a_failing_program_releases_the_waiting_ones(batches, host):
    def fails() -> None:
        gevent.sleep(0.05)
        raise ValueError("before it asked anything")

    found = answers(batches, lambda: batches.get(A).output, fails)
    assert found[0] == "a1"
    assert isinstance(found[1], ValueError)


def test_a_killed_program_releases_the_waiting_ones(batches, host):
    def ask() -> str:
        with batches.asking():
            return batches.get(A).output

    def hang() -> None:
        with batches.asking():
            gevent.sleep(PATIENCE_SECONDS * 2)

    with batches.asking():
        asking, hanging = gevent.spawn(ask), gevent.spawn(hang)
        gevent.sleep(0)
    hanging.kill()
    assert asking.get(timeout=PATIENCE_SECONDS) == "a1"


def test_an_error_of_a_batch_reaches_only_the_programs_that_wait_for_it(batches, host):
    assert batches.get(C).output == "c1"
    host.fails = OSError("no answer")

    def recovers() -> str:
        with pytest.raises(OSError, match="no answer"):
            batches.get(B)
        host.fails = None
        return batches.get(B).output

    found = answers(batches, lambda: batches.get(A), recovers, lambda: batches.get(C).output)
    assert found == [host.fails or found[0], "b3", "c1"]
    assert str(found[0]) == "no answer"
    assert batches.get(D).output == "d4", "it is as usable as before"


def test_a_batch_that_times_out_releases_the_waiting_programs(batches, host):
    """A time limit of one hits whoever happens to ask for all; to gevent it is no Exception."""
    host.goes_on.clear()

    def asks_for_all() -> str:
        with gevent.Timeout(0.05), batches.asking():
            gevent.sleep(0.01)
            return batches.get(B).output

    def waits() -> str:
        with batches.asking(), pytest.raises(gevent.Timeout):
            batches.get(A)
        host.goes_on.set()
        return batches.get(A).output

    with batches.asking():
        waiting, asking = gevent.spawn(waits), gevent.spawn(asks_for_all)
        gevent.sleep(0)
    assert waiting.get(timeout=PATIENCE_SECONDS) == "a2"
    with pytest.raises(gevent.Timeout):
        asking.get(timeout=PATIENCE_SECONDS)
    assert host.asked == [["a", "b"], ["a"]]


def test_what_is_answered_while_something_changes_is_not_kept(batches, host):
    host.goes_on.clear()
    asking = gevent.spawn(batches.get, A)
    gevent.sleep(0)
    assert host.asked == [["a"]]
    batches.forget()
    host.goes_on.set()
    assert asking.get(timeout=PATIENCE_SECONDS).output == "a1"
    assert batches.get(A).output == "a2"


def test_a_single_question_takes_along_what_will_be_asked_next(batches, host):
    batches.ahead = lambda: [B, C, A]
    assert batches.get(A).output == "a1"
    assert [batches.get(C).output, batches.get(B).output] == ["c1", "b1"]
    assert host.asked == [["a", "b", "c"]]


def test_what_was_taken_along_is_asked_again_after_a_change(batches, host):
    batches.ahead = lambda: [B]
    batches.get(A)
    batches.forget()
    batches.ahead = lambda: [B, C]
    assert batches.get(B).output == "b2"
    assert host.asked == [["a", "b"], ["b", "c"]]


def test_a_query_in_flight_is_awaited(batches, host):
    host.goes_on.clear()
    fetching = gevent.spawn(batches.fetch, [A, B])
    gevent.sleep(0)
    asking = gevent.spawn(answers, batches, lambda: batches.get(A).output, lambda: batches.get(C).output)
    gevent.sleep(0.05)
    host.goes_on.set()
    fetching.get(timeout=PATIENCE_SECONDS)
    assert asking.get(timeout=PATIENCE_SECONDS) == ["a1", "c2"]
    assert host.asked == [["a", "b"], ["c"]]


def test_a_failed_query_in_flight_is_repeated_by_the_program_that_needs_it(batches, host):
    host.goes_on.clear()
    host.fails = OSError("no answer")
    fetching = gevent.spawn(batches.fetch, [A, B])
    gevent.sleep(0)
    asking = gevent.spawn(batches.get, A)
    gevent.sleep(0)
    host.goes_on.set()
    with pytest.raises(OSError, match="no answer"):
        fetching.get(timeout=PATIENCE_SECONDS)
    with pytest.raises(OSError, match="no answer"):
        asking.get(timeout=PATIENCE_SECONDS)
    host.fails = None
    assert batches.get(A).output == "a3"
    assert host.asked == [["a", "b"], ["a"], ["a"]]


def test_a_query_in_flight_during_a_change_is_repeated(batches, host):
    host.goes_on.clear()
    fetching = gevent.spawn(batches.fetch, [A])
    gevent.sleep(0)
    waiting = gevent.spawn(batches.get, A)
    gevent.sleep(0)
    batches.forget()
    host.goes_on.set()
    fetching.get(timeout=PATIENCE_SECONDS)
    assert waiting.get(timeout=PATIENCE_SECONDS).output == "a2"
    assert batches.get(A).output == "a2"


def test_an_answer_that_has_come_waits_for_no_other_one(batches, host):
    host.goes_on.clear()
    host.early = 1
    fetching = gevent.spawn(batches.fetch, [A, B])
    gevent.sleep(0)
    assert gevent.spawn(batches.get, A).get(timeout=PATIENCE_SECONDS).output == "a1"
    last = gevent.spawn(batches.get, B)
    gevent.sleep(0)
    assert not last.ready()
    host.goes_on.set()
    fetching.get(timeout=PATIENCE_SECONDS)
    assert last.get(timeout=PATIENCE_SECONDS).output == "b1"
    assert host.asked == [["a", "b"]]


def test_an_answer_that_came_before_a_failure_is_kept_and_one_before_a_change_is_not(batches, host):
    host.goes_on.clear()
    host.early, host.fails = 1, OSError("no answer")
    fetching = gevent.spawn(batches.fetch, [A, B])
    gevent.sleep(0)
    host.goes_on.set()
    with pytest.raises(OSError, match="no answer"):
        fetching.get(timeout=PATIENCE_SECONDS)
    host.fails = None
    assert [batches.get(one).output for one in (A, B)] == ["a1", "b2"]
    host.goes_on.clear()
    fetching = gevent.spawn(batches.fetch, [C, D])
    gevent.sleep(0)
    batches.forget()
    host.goes_on.set()
    fetching.get(timeout=PATIENCE_SECONDS)
    assert batches.get(C).output == "c4"


def test_two_hosts_may_ask_each_other_while_each_waits_for_its_own_batch():
    """A host's plan asks the other ones, whose plans ask it: each is one of those that its own batch waits for."""
    one, other = Host(), Host()
    batches = Batches(one), Batches(other)

    def plan(own: Batches, others: Batches) -> list[str]:
        with own.asking():
            with own.elsewhere(), others.asking():
                found = others.get(A)
            return [str(found.output)[0], str(own.get(B).output)[0]]

    running = [gevent.spawn(plan, *pair) for pair in (batches, batches[::-1])]
    assert len(gevent.joinall(running, timeout=PATIENCE_SECONDS)) == 2, "each waits for the other"
    assert [greenlet.get() for greenlet in running] == [["a", "b"], ["a", "b"]]


def test_who_is_in_no_batch_may_wait_for_another_host(host, batches):
    with batches.elsewhere():
        assert batches.get(A).output == "a1"
    assert batches.get(B).output == "b2"
