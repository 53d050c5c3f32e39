"""Files of NAME=value lines, as python-dotenv reads them: quotes, escapes, comments, `export`, values of several lines.

Two rules are ours. "${NAME}" stands for the value of a line above, never for a variable of the machine that reads the
file, and where no line above has the name, for itself. In single quotes it always stands for itself, as in a shell. So
a dollar in a secret stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from io import StringIO

from dotenv.parser import Binding, parse_stream
from dotenv.variables import Literal, Variable, parse_variables

_BEFORE_NAME = r"\s*(?:export[^\S\n]+)?"
_NAME = r"(?:'[^'\n]+'|[^=#\s]+)"
_SINGLE_QUOTED = re.compile(rf"{_BEFORE_NAME}{_NAME}[^\S\n]*=[^\S\n]*'")
_UNQUOTED_COMMENT = re.compile(rf"{_BEFORE_NAME}{_NAME}[^\S\n]*=[^\S\n]*[^\s'\"#][^\n]*?\s#")
# What needs no quotes.
_SIMPLE = re.compile(r"[\w@%+=:,./~^!-]+", re.ASCII)


def parse(text: str) -> dict[str, str]:
    """The values by name; of a name that is there twice the last one. Raises ValueError with a line per problem."""
    values: dict[str, str] = {}
    problems = []
    for binding in _bindings(text):
        if binding.error or (binding.key and binding.value is None):
            problems.append(_problem(binding))
        elif binding.key:
            value = binding.value or ""
            is_literal = _SINGLE_QUOTED.match(binding.original.string)
            values[binding.key] = value if is_literal else _expanded(value, values)
    if problems:
        raise ValueError("\n".join(problems))
    return values


def _bindings(text: str) -> Iterator[Binding]:
    # As a text file is read: a value over several lines has the line ends of this machine.
    return parse_stream(StringIO(text.replace("\r\n", "\n")))


def _expanded(value: str, known: Mapping[str, str]) -> str:
    return "".join(
        atom.value if isinstance(atom, Literal) else _of_variable(atom, known) for atom in parse_variables(value)
    )


def _of_variable(variable: object, known: Mapping[str, str]) -> str:
    assert isinstance(variable, Variable)
    as_it_stands = f"${{{variable.name}}}" if variable.default is None else variable.default
    return known.get(variable.name, as_it_stands)


def _problem(binding: Binding) -> str:
    """What is wrong with a line, without its value."""
    text = binding.original.string
    line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
    if found := re.match(rf"{_BEFORE_NAME}([A-Za-z_]\w*)[^\S\n]*=[^\S\n]*(['\"])", text, re.ASCII):
        name, quote = found.groups()
        return (
            f"found {name} (line {line}) with a value that begins with {quote} and does not end with it, expected"
            f" {quote} at its end and at most a comment after it; within the value write \\{quote}"
        )
    # It may be a part of a secret.
    return (
        f"found line {line} without NAME=, expected NAME=value; # begins a comment, and a value of several lines is in"
        " quotes"
    )


def commented(text: str) -> list[str]:
    """Names whose value, without quotes, ends before a " #", in case that was meant to be a part of it."""
    return [one.key for one in _bindings(text) if one.key and _UNQUOTED_COMMENT.match(one.original.string)]


def line(name: str, value: str) -> str:
    """A line, or some, that `parse` reads as this value."""
    if _SIMPLE.fullmatch(value):
        return f"{name}={value}\n"
    if "\r" not in value:
        return f"{name}='{_escaped(value, chr(39))}'\n"
    return f'{name}="{_escaped(value, chr(34))}"\n'.replace("\r", "\\r")


def _escaped(value: str, quote: str) -> str:
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}")


def with_value(text: str, name: str, value: str) -> str:
    """`text` with another value for `name`, or one at its end."""
    found = []
    is_new = True
    for binding in _bindings(text):
        if binding.key == name:
            start = re.match(_BEFORE_NAME, binding.original.string)
            found.append(f"{start[0] if start else ''}{line(name, value)}")
            is_new = False
        else:
            found.append(binding.original.string)
    whole = "".join(found)
    if not is_new:
        return whole
    return f"{whole}{'' if whole.endswith(chr(10)) or not whole else chr(10)}{line(name, value)}"


def parse_as_before(text: str) -> dict[str, str]:
    """As Slipway 0.1 read a file, to tell whose value is another one now: no comments after values, no escapes."""
    values: dict[str, str] = {}
    lines = iter(text.splitlines())
    for one in lines:
        name, found, value = one.strip().removeprefix("export ").partition("=")
        if not found or name.startswith("#"):
            continue
        name, value = name.strip(), value.strip()
        quote = value[:1] if value[:1] in ("'", '"') else ""
        while quote and (len(value) < 2 or not value.endswith(quote)):
            following = next(lines, None)
            if following is None:
                return values
            value += f"\n{following.rstrip()}"
        values[name] = value[1:-1] if quote else value
    return values
