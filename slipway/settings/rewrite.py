"""Settings written into a file of settings, where its text leaves no doubt."""

from __future__ import annotations

import ast
import io
import tokenize
from typing import Any

from slipway.settings.doc import WIDTH, literal


def with_setting(text: str, name: str, value: Any) -> str | None:
    """`text`, a Python file, with another value for a setting, or one at its end. None where the setting is set to more
    than a literal without comments, or is used."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    named = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    found = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets == named]
    if not named:
        return f"{text.rstrip()}\n\n{assignment(name, value)}\n"
    if len(named) != 1 or not found:
        return None
    first, last = found[0].lineno, found[0].end_lineno or found[0].lineno
    try:
        ast.literal_eval(found[0].value)
    except ValueError:
        return None
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    if any(token.type == tokenize.COMMENT and first <= token.start[0] <= last for token in tokens):
        return None
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: first - 1], f"{assignment(name, value)}\n", *lines[last:]])


def assignment(name: str, value: list[str] | dict[str, str]) -> str:
    """A setting as it stands in a file, in one line where it fits and is no dictionary."""
    if isinstance(value, dict):
        items = [f"{literal(key)}: {literal(text)}" for key, text in value.items()]
        opening, closing = "{}"
    else:
        items, (opening, closing) = [literal(item) for item in value], "[]"
        line = f"{name} = [{', '.join(items)}]"
        if len(line) <= WIDTH:
            return line
    inner = "".join(f"    {item},\n" for item in items)
    return f"{name} = {opening}\n{inner}{closing}" if items else f"{name} = {opening}{closing}"
