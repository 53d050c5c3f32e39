"""Finds by which name an application knows production: what it compares the environment's name with."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.python import Module, called
from slipway.starter.reading.value import TOP, Env, Scope, Value, envs_in, text_of
from slipway.starter.reading.values import Values

_PRODUCTION = re.compile(r"prod\w*", re.IGNORECASE)
# Where nothing is compared, "product" is no name of an environment.
_ALONE = re.compile(r"prod(uction)?", re.IGNORECASE)


def productions(
    values: Values, modules: list[Module], repository: Repository, names: Mapping[str, Place]
) -> dict[str, tuple[str, ...]]:
    """The names of production by variable, of the variables `names`, each with the place that reads it: of files that
    the code opens by them, as `f"config.{ENV}.yaml"`, which must exist, and then those that the code compares with;
    with neither, the only one that the module has as a text."""
    files: dict[str, list[str]] = {}
    compared: dict[str, list[str]] = {}
    # Texts that a variable is compared with.
    known: set[int] = set()
    for node, scope in values.nodes(modules) if names else ():
        if isinstance(node, ast.JoinedStr | ast.BinOp):
            name, found = _of_files(values.of(node, scope), repository)
            files.setdefault(name, []).extend(found)
            continue
        for asked, others in _compared(values, node, scope):
            # Most of what code compares is no text.
            texts = [text for other in others for text in _texts(values, other, scope) if _PRODUCTION.fullmatch(text)]
            env = envs_in(values.of(asked, scope)) if texts else []
            known |= {id(other) for other in others} if env else set()
            if len(env) == 1:
                compared.setdefault(env[0].name, []).extend(texts)
    result = {name: tuple(dict.fromkeys([*files.get(name, ()), *compared.get(name, ())])) for name in names}
    return {name: its or _only_text(modules, names[name], known) for name, its in result.items()}


def _only_text(modules: list[Module], place: Place, known: set[int]) -> tuple[str, ...]:
    """The only name of production among the texts of a module, which may compare in a loop over its classes. `known`
    are texts that another variable is compared with."""
    nodes = [node for module in modules if module.file == place.file for node in ast.walk(module.tree)]
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in known
    ]
    return _only(text for text in texts if _ALONE.fullmatch(text))


def in_comments(text: str, line: int) -> tuple[str, ...]:
    """The only name of production in the comments of a line of an example file and of those right above it."""
    lines = text.split("\n")
    comments = [lines[line - 1].partition("#")[2]] if 0 < line <= len(lines) else []
    for above in reversed(lines[: max(line - 1, 0)]):
        if not above.lstrip().startswith("#"):
            break
        comments.append(above)
    words = [match[0] for one in comments for match in re.finditer(rf"\b{_ALONE.pattern}\b", one, re.IGNORECASE)]
    # A word at the start of a sentence is prose.
    return _only(word for word in words if not word.istitle())


def _only(names: Iterable[str]) -> tuple[str, ...]:
    found = {*names}
    return (*found,) if len(found) == 1 else ()


def _compared(values: Values, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.expr, list[ast.expr]]]:
    """What is compared, and with what: by an operator, by `match`, or as a key."""
    match node:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            yield left, [right]
            yield right, [left]
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn()], comparators=[right]):
            made = [right, *values.assigned(right, scope)]
            yield left, [one for its in made if isinstance(its, ast.List | ast.Tuple | ast.Set) for one in its.elts]
        case ast.Match(subject=subject, cases=cases):
            patterns = [one for case in cases for one in ast.walk(case.pattern)]
            yield subject, [one.value for one in patterns if isinstance(one, ast.MatchValue)]
        case ast.Subscript(value=table, slice=key):
            yield key, _keys(values, table, scope)
        case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[key, *_]):
            yield key, _keys(values, table, scope)


def _keys(values: Values, table: ast.expr, scope: Scope) -> list[ast.expr]:
    """The keys of a dictionary in the code."""
    found: list[ast.expr] = []
    for made in [table, *values.assigned(table, scope)]:
        if isinstance(made, ast.Dict):
            found += [key for key in made.keys if key]
        elif isinstance(made, ast.Call) and called(made) == "dict":
            found += [ast.Constant(keyword.arg) for keyword in made.keywords if keyword.arg]
    return found


def _texts(values: Values, node: ast.expr, scope: Scope) -> list[str]:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if not isinstance(node, ast.Name | ast.Attribute):
        return []
    value = values.of(node, scope)
    text = None if envs_in(value) else text_of(value)
    return [text] if text else []


def _of_files(value: Value, repository: Repository) -> tuple[str, list[str]]:
    """The variable in a file's name, and the names of production for which there is such a file."""
    at = next((n for n, part in enumerate(value) if isinstance(part, Env)), None)
    env = value[at] if at is not None else None
    if at is None or not isinstance(env, Env) or sum(isinstance(part, Env) for part in value) > 1:
        return "", []
    before = "".join(part if isinstance(part, str) else "\0" for part in value[:at]).removeprefix(TOP)
    after = "".join(part if isinstance(part, str) else "\0" for part in value[at + 1 :])
    begin = before.rpartition("\0")[2].lstrip("./") if "/" in before or "\0" in before else before
    if "\0" in after or not re.search(r"\w", begin + after):
        return "", []
    pattern = re.compile(rf"(?:.*/)?{re.escape(begin)}(prod\w*){re.escape(after)}")
    found = [match[1] for file in repository.files if (match := pattern.fullmatch(file))]
    return env.name, found
