"""The components that deploy.py names, and the modules that they are in."""

from __future__ import annotations

import ast
import difflib
import pkgutil
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

from pyinfra.api.exceptions import PyinfraError

from slipway.engine.components import Component, registry
from slipway.engine.traces import in_one_line
from slipway.project import folder, own_components

DEPLOY = "deploy.py"
NO_COMPONENTS = (
    f'{DEPLOY}: found no components, expected a call as server("base", "nginx"), with'
    " `from slipway.deploy import server` above it; `slipway init` writes one where there is none"
)
# They come before all others on every host.
FIXED = ("adoption", "packages")
TASKS = "slipway.tasks"


def load(names: Sequence[str]) -> list[Component]:
    """The components of these names, in order. Raises PyinfraError where one is not there, or misses another."""
    found: list[Component] = []
    for name in names:
        if name in FIXED or not _is_there(name):
            if name in own_components():
                expected = f"a function {name} with the decorator @component()"
                raise PyinfraError(f"tasks/{name}.py: found no component, expected {expected}")
            raise PyinfraError(f"{DEPLOY}: found {name!r}, expected the name of a component{_instead_of(name)}")
        one = registry[name]
        if missing := [need for need in one.needs if need not in {before.name for before in found}]:
            raise PyinfraError(f"{DEPLOY}: found {name!r} without {', '.join(missing)}, expected it before {name!r}")
        found.append(one)
    return found


def deployed() -> list[Component]:
    """The components that deploy.py names, loaded. Raises PyinfraError."""
    return load(named())


def fixed() -> list[Component]:
    """Those that come before all others."""
    return [registry[name] for name in FIXED if _is_there(name)]


def named() -> tuple[str, ...]:
    """The names of the components in the project's deploy.py, in order. Raises PyinfraError, NoProject."""
    return named_in(folder() / DEPLOY)


@cache
def named_in(file: Path) -> tuple[str, ...]:
    """The names in a deploy file's call of `server`, in order. It is read, not run: outside of a plan there is nothing
    to run it for. Raises PyinfraError where they are no plain texts."""
    if not file.is_file():
        raise PyinfraError(
            f"{file.name}: there is no such file in {file.parent}; restore it (git checkout {file.name})"
        )
    text = file.read_text()
    try:
        tree = ast.parse(text, file.name)
    except SyntaxError as error:
        raise PyinfraError(in_one_line(error)) from None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_server(node)]
    names = [argument for call in calls for argument in call.args]
    found: dict[str, None] = {}
    for argument in names:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            said = ast.get_source_segment(text, argument)
            raise PyinfraError(f'{file.name}, line {argument.lineno}: found {said}, expected a name as "nginx"')
        found[argument.value] = None
    if not names:
        raise PyinfraError(NO_COMPONENTS)
    return tuple(found)


def _is_server(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "server"


def modules() -> Iterator[str]:
    """The names of all modules of tasks, Slipway's own and the project's."""
    yield from (module.name for module in pkgutil.iter_modules(import_module(TASKS).__path__))


def _is_there(name: str) -> bool:
    """Whether it is a component; its module is loaded then. Raises PyinfraError where the module can't be."""
    if name not in registry and name in modules():
        try:
            import_module(f"{TASKS}.{name}")
        except PyinfraError:
            raise
        except Exception as error:
            raise PyinfraError(f"component {name!r} can't be loaded: {in_one_line(error)}") from error
    return name in registry


def _instead_of(name: str) -> str:
    """What an error says of the names that there are."""
    there = sorted(one for one in modules() if one not in FIXED and _is_there(one))
    near = difflib.get_close_matches(name, there, n=1)
    return f"{f'; did you mean {near[0]!r}?' if near else ''}; there are: {', '.join(there)}"
