"""The dependencies that setup.cfg and setup.py list, read without running a line of them.

https://setuptools.pypa.io/en/latest/userguide/dependency_management.html
"""

from __future__ import annotations

import ast
import configparser
from typing import Any


def of_configuration(text: str) -> dict[str, Any]:
    """What setup.cfg lists, in the form of pyproject.toml's table "project"; {} for nothing."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    if not parser.has_option("options", "install_requires"):
        return {}
    extras = parser.items("options.extras_require") if parser.has_section("options.extras_require") else []
    return _table(_lines(parser.get("options", "install_requires")), {name: _lines(its) for name, its in extras})


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def of_program(text: str) -> dict[str, Any]:
    """The same of setup.py; {} where only running it would tell."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    known = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setup", "setuptools.setup"):
            given = {one.arg: _literal(one.value, known) for one in node.keywords if one.arg}
            needed, extras = given.get("install_requires"), given.get("extras_require")
            if isinstance(needed, list | tuple):
                return _table(needed, extras if isinstance(extras, dict) else {})
    return {}


def _literal(node: ast.expr, known: dict[str, ast.expr]) -> Any:
    """The value of an expression without anything to run, or of the name of one; None for others."""
    if isinstance(node, ast.Name):
        node = known.get(node.id, node)
    try:
        return ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError):
        return None


def _table(needed: Any, extras: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": [*map(str, needed)], "optional-dependencies": extras}
