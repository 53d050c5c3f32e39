"""Batches the queries to one host: collected, sent together, and never repeated.

Whoever needs an answer waits until all who could ask something wait: then their questions go out as one batch. Any
change on any host makes all answers old (`forget`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gevent.event import AsyncResult

from slipway.engine.remote_shell import Answer, Question, Tell

Ask = Callable[[Sequence[Question], Tell], list[Answer]]


@dataclass
class _Wanted:
    """A query of the next batch, and the number of its waiters."""

    result: AsyncResult[Answer] = field(default_factory=AsyncResult)
    waiting: int = 0


class Batches:
    """The queries to one host; `ask` answers a list of them in order, or raises, and tells each answer as it comes."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[Question, Answer] = {}
        # Set when the answer has arrived or failed.
        self._on_the_way: dict[Question, AsyncResult[bool]] = {}
        self._wanted: dict[Question, _Wanted] = {}
        # The number of tasks that may change something at any time.
        self._knowing_nothing = 0
        # The number of tasks that may still add to the batch before it is sent.
        self._busy = 0
        # Queries that will be needed soon, sent along with a single one.
        self.ahead: Callable[[], Iterable[Question]] = tuple

    def forget(self) -> None:
        """Discard all answers, including those under way: something has changed."""
        # New dictionaries: a batch under way still writes into the old ones.
        self._known, self._on_the_way = {}, {}

    @contextmanager
    def knowing_nothing(self) -> Iterator[None]:
        """During the block no answer is kept: something may change unseen."""
        self._knowing_nothing += 1
        try:
            yield
        finally:
            self._knowing_nothing -= 1
            self.forget()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Register an asker during the block: a batch waits until all askers wait or have finished."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._send_if_all_wait()

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Within a block of `asking`: its asker waits for something else, and the batch need not wait for it."""
        if not self._busy:
            yield
            return
        self._busy -= 1
        self._send_if_all_wait()
        try:
            yield
        finally:
            self._busy += 1

    def get(self, question: Question) -> Answer:
        """The answer, from the next batch if necessary. Raises what `ask` raised."""
        if self._knowing_nothing:
            return self._ask([question], lambda *_: None)[0]
        on_the_way = self._on_the_way.get(question)
        if on_the_way:
            on_the_way.get()
        if question in self._known:
            return self._known[question]
        if not self._busy:
            return self._fetch([question, *self.ahead()])[question]
        wanted = self._wanted.setdefault(question, _Wanted())
        wanted.waiting += 1
        self._busy -= 1
        self._send_if_all_wait()
        return wanted.result.get()

    def fetch(self, questions: Iterable[Question]) -> None:
        """Send likely queries at once; those who need an answer wait for it. Raises what `ask` raised."""
        new = dict.fromkeys(question for question in questions if question not in self._known)
        if not new:
            return
        known, on_the_way = self._known, self._on_the_way
        coming: dict[Question, AsyncResult[bool]] = {question: AsyncResult() for question in new}
        on_the_way |= coming

        def arrived(question: Question, answer: Answer) -> None:
            # Who waits for it need not wait for the others.
            known[question] = answer
            coming[question].set(True)

        try:
            self._fetch(new, arrived)
        finally:
            # If that failed, those who need an answer ask again and get the error.
            for question, result in coming.items():
                on_the_way.pop(question, None)
                result.set(True)

    def _fetch(self, questions: Iterable[Question], tell: Tell = lambda *_: None) -> dict[Question, Answer]:
        known, asked = self._known, dict.fromkeys(questions)
        new = [question for question in asked if question not in known]
        answers = dict(zip(new, self._ask(new, tell), strict=True)) if new else {}
        answers |= {question: known[question] for question in asked if question in known}
        known |= answers
        return answers

    def _send_if_all_wait(self) -> None:
        if self._busy or not self._wanted:
            return
        wanted, self._wanted = self._wanted, {}
        try:
            answers = self._fetch(wanted)
        except BaseException as error:
            self._busy += sum(one.waiting for one in wanted.values())
            for one in wanted.values():
                one.result.set_exception(error)
            if not isinstance(error, Exception):
                raise  # it is about whoever asks for all: a time limit, say
            return
        # Counts all waiters as askers again before the first of them resumes.
        self._busy += sum(one.waiting for one in wanted.values())
        for question, one in wanted.items():
            one.result.set(answers[question])
