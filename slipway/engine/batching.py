"""What a run asks one host: questions are collected, asked together, and never twice.

Whoever needs an answer waits until all who could ask something wait: then their questions go out as one batch. Any
change on any host makes all answers old (`forget`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gevent.event import AsyncResult

from slipway.engine.remote_shell import Answer, Question

Ask = Callable[[Sequence[Question]], list[Answer]]


@dataclass
class _Wanted:
    """A question of the next batch, and how many wait for its answer."""

    result: AsyncResult[Answer] = field(default_factory=AsyncResult)
    waiting: int = 0


class Batches:
    """The questions to one host; `ask` answers some of them in their order, or raises."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[Question, Answer] = {}
        # Set to whether the answer has come.
        self._on_the_way: dict[Question, AsyncResult[bool]] = {}
        self._wanted: dict[Question, _Wanted] = {}
        # How many are at work who may change something at any time.
        self._knowing_nothing = 0
        # How many could still ask something before the batch must go.
        self._busy = 0
        # What will be needed soon, and is asked along with a single question.
        self.ahead: Callable[[], Iterable[Question]] = tuple

    def forget(self) -> None:
        """Something has changed: nothing that was answered counts, nor what is being answered now."""
        # New ones, as a batch under way writes into those that it began with.
        self._known, self._on_the_way = {}, {}

    @contextmanager
    def knowing_nothing(self) -> Iterator[None]:
        """For the time that somebody may change something unseen: each answer is old as soon as it is there."""
        self._knowing_nothing += 1
        try:
            yield
        finally:
            self._knowing_nothing -= 1
            self.forget()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """For the time that somebody may ask: a batch waits for all who do, and for nobody who has failed."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._send_if_all_wait()

    def get(self, question: Question) -> Answer:
        """The answer, by the next batch if need be. Raises what asking did."""
        if self._knowing_nothing:
            return self._ask([question])[0]
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
        """Ask at once what is likely to be needed; who needs it waits for it. Raises what asking did."""
        new = [question for question in questions if question not in self._known]
        if not new:
            return
        coming: AsyncResult[bool] = AsyncResult()
        on_the_way = self._on_the_way
        on_the_way |= dict.fromkeys(new, coming)
        try:
            self._fetch(new)
        finally:
            # Where that has failed it is asked by those who need it, and they are told why.
            for question in new:
                on_the_way.pop(question, None)
            coming.set(True)

    def _fetch(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        known, asked = self._known, dict.fromkeys(questions)
        new = [question for question in asked if question not in known]
        answers = dict(zip(new, self._ask(new), strict=True)) if new else {}
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
        # All who have waited can ask again before the first of them does.
        self._busy += sum(one.waiting for one in wanted.values())
        for question, one in wanted.items():
            one.result.set(answers[question])
