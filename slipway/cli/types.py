"""Arguments that can be judged here, before a host is asked: what the host would refuse, and nothing else."""

from __future__ import annotations

import re
import warnings
from typing import Any

import click

from slipway.backups.chain import seconds_of

# https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
NAMESPACE = re.compile(r'[^/\\. "$\0]+(\.[^.$\0][^$\0]*)?')
# Forms of systemd.time(7): each has a digit, or is one of these words; a span of time has one of these units.
WORDS = re.compile(r"\d|\b(now|today|yesterday|tomorrow)\b")
SPAN = re.compile(r"[+-]?\s*(?:\d+(?:\.\d+)?\s*[^\W\d_]+\s*)+?(?:(?:ago|left)\s*)?")
UNIT = re.compile(
    r"nsec|ns|usec|[uµμ]s|msec|ms|seconds?|sec|s|minutes?|min|m|hours?|hr|h|days?|d|weeks?|w|months?|M|years?|y|ago|left"
)
# What Perl's regular expressions have and Python's read otherwise.
PERL = re.compile(r"\(\?|\(\*|\[\[|\\(?![dDwWsSbB\W_])")


class Judged(click.ParamType):
    """A text; an empty one is left to the option's callback."""

    def problem(self, text: str) -> str:
        """What is wrong with it, "" where nothing is."""
        raise NotImplementedError

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        if value and (problem := self.problem(str(value))):
            self.fail(problem, parameter, context)
        return str(value)


class Second(Judged):
    name = "TIME"

    def problem(self, text: str) -> str:
        try:
            seconds_of(text)
        except ValueError as error:
            return str(error)
        return ""


class Namespace(Judged):
    name = "DB[.COLLECTION]"

    def problem(self, text: str) -> str:
        return (
            "" if NAMESPACE.fullmatch(text) else f"found {text!r}, expected a database or a collection, as shop.orders"
        )


class JournalTime(Judged):
    name = "TIME"

    def problem(self, text: str) -> str:
        units = re.findall(r"[^\W\d_]+", text) if SPAN.fullmatch(text.strip()) else []
        wrong = [unit for unit in units if not UNIT.fullmatch(unit)]
        if WORDS.search(text) and not wrong:
            return ""
        found = wrong[0] if wrong else repr(text)
        return f'found {found}, expected a time as -1h, "2 hours ago", yesterday, "2026-11-29 15:00"'


class Regex(Judged):
    name = "REGEX"

    def problem(self, text: str) -> str:
        if PERL.search(text):
            return ""
        try:
            with warnings.catch_warnings(action="ignore"):
                re.compile(text)
        except re.error as error:
            return f"found {text!r}, expected a regular expression: {error}"
        return ""
