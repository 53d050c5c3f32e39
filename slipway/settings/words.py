"""The types of settings in words, for docs/settings.md and for errors."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from slipway.settings.types import Check, Unit, Words


def type_of(field: FieldInfo) -> str:
    """The type of a setting, as in "integer from 0 to 65536"."""
    return _in_words(field.annotation, list(field.metadata))


def unit_of(field: FieldInfo) -> str:
    """What the number counts; "" for none."""
    return next((str(mark) for mark in field.metadata if isinstance(mark, Unit)), "")


def _in_words(kind: Any, marks: list[Any]) -> str:
    for mark in reversed(marks):
        if isinstance(mark, Words):
            return str(mark)
        if isinstance(mark, Check):
            return mark.expected
    if get_origin(kind) is Literal:
        return " or ".join(json.dumps(value) for value in get_args(kind))
    if get_origin(kind) is list:
        return f"list; each item: {_item_in_words(get_args(kind)[0])}"
    if kind in (int, float):
        return " ".join(["integer" if kind is int else "number", *_range_in_words(marks)])
    return {bool: "True or False", str: "text"}[kind]


def _item_in_words(kind: Any) -> str:
    if hasattr(kind, "__metadata__"):
        return _in_words(kind.__origin__, list(kind.__metadata__))
    return _in_words(kind, []) if get_origin(kind) else f"a {kind.__name__.lower()}"


def _range_in_words(marks: list[Any]) -> list[str]:
    from_to: list[str] = []
    for mark in marks:
        # pydantic's Field inside an Annotated has its own marks.
        inner = mark.metadata if isinstance(mark, FieldInfo) else [mark]
        from_to += [f"from {one.ge}" for one in inner if isinstance(one, Ge)]
        from_to += [f"to {one.le}" for one in inner if isinstance(one, Le)]
    return from_to
