"""Finds the FastAPI application to deploy in a repository, and the folder that it is imported from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from slipway.starter.reading.files import Place, Repository, folder_of, parents
from slipway.starter.reading.packages import lists_packages
from slipway.starter.reading.python import (
    BEYOND,
    Code,
    Function,
    argument,
    assignments,
    blocks,
    called,
    dotted_of,
    tree_of,
    within,
)
from slipway.starter.reading.starts import Start, in_code, nearness, starts

_GOOD_STEMS = ("main", "app", "server", "api", "asgi", "application", "wsgi", "run", "index")
_GOOD_NAMES = ("app", "application", "api", "asgi_app", "main_app", "fastapi_app", "server")
_GOOD_FOLDERS = {"backend", "api", "server", "app", "src", "service", "back", "web-api", "backend-api"}
_POOR_FOLDERS = re.compile(
    r"^(examples?|samples?|demos?|scripts?|tools?|playground|tutorials?|archive|old|legacy|docs?_.*|seed)$"
)
# ASGI applications that wrap another one.
_WRAPPERS = {"ASGIApp", "CORSMiddleware", "ProxyHeadersMiddleware", "SentryAsgiMiddleware", "WSGIMiddleware", "Mangum"}
_WRAPPERS_OF_ASGI = _WRAPPERS - {"Mangum", "WSGIMiddleware"}
# What is given an application and is none that uvicorn runs.
_NOT_ASGI = {"Mangum", "WSGIMiddleware", "TestClient", "AsyncClient", "ASGITransport", "Config", "Server", "Typer"}
MAX_PYTHON_FILES = 6000


@dataclass(frozen=True)
class App:
    """`root`: the folder that Python imports it from, relative to the repository. `start`: a start that names it."""

    file: str
    name: str
    is_factory: bool
    place: Place
    root: str = ""
    start: Start | None = None
    is_wrapper: bool = False

    @property
    def module(self) -> str:
        inner = self.file.removeprefix(f"{self.root}/") if self.root else self.file
        return inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def target(self) -> str:
        """As an argument for uvicorn; a factory with brackets."""
        return f"{self.module}:{self.name}{'()' if self.is_factory else ''}"


def applications(repository: Repository) -> list[App]:
    """All applications, the one to deploy first; those of tests, examples and scripts last."""
    files = [file for file in repository.files if file.endswith(".py") and not _is_test(file)]
    files = [file for file in files[:MAX_PYTHON_FILES] if not _is_installer(repository, file)]
    makers: dict[str, set[str]] = {}
    found: list[App] = []
    for file in files:
        if "FastAPI" in (repository.read(file) or ""):
            found += _defined_in(repository, file, makers)
    names = {name for its in makers.values() for name in its}
    if names:
        made = re.compile(rf"\b({'|'.join(map(re.escape, sorted(names)))})\b")
        for file in files:
            if made.search(repository.read(file) or ""):
                found += _made_in(repository, file, names)
    if not found:
        return []
    found = [*dict.fromkeys(found)]
    said = [*starts(repository), *(start for file in files for start in in_code(repository, file))]
    matched = [_with_start(app, said, found) for app in found]
    matched += _imported_elsewhere(repository, found, said)
    rooted = [replace(app, root=_root(repository, app)) for app in matched]
    parts = {app.file for app in rooted if _is_mounted(repository, app, rooted)}
    return sorted(rooted, key=lambda app: (app.file in parts, *_rank(app)))


def _is_mounted(repository: Repository, app: App, among: list[App]) -> bool:
    """Whether another application mounts this one, which is a part of that then."""
    others = [one for one in among if one.file != app.file and not is_poor(one)]
    for other in others if not app.start else ():
        if ".mount(" not in (repository.read(other.file) or ""):
            continue
        code = Code(repository, other.root)
        module = code.module(other.module)
        for node in ast.walk(module.tree) if module else ():
            if called(node) == "mount" and isinstance(node, ast.Call):
                mounted = argument(node, "app", 1)
                found = code.defined(module, mounted.id) if module and isinstance(mounted, ast.Name) else None
                if found and (found[0].file, found[1]) == (app.file, app.name):
                    return True
    return False


def _is_test(file: str) -> bool:
    name = file.rpartition("/")[2]
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"


def _is_installer(repository: Repository, file: str) -> bool:
    """Whether it is a setup.py of setuptools, rather than a module of the application."""
    is_called_so = file.rpartition("/")[2] == "setup.py"
    return is_called_so and bool(re.search(r"setuptools|distutils|skbuild", repository.read(file) or ""))


def _defined_in(repository: Repository, file: str, makers: dict[str, set[str]]) -> Iterator[App]:
    """The applications at the top level of a module, and factory functions. `makers` collects functions and classes
    that create one, by file."""
    tree = tree_of(repository, file)
    if not tree:
        return
    own = {"FastAPI"}
    for statement in _at_top(tree[0].body):
        match statement:
            case ast.ClassDef(name=name, bases=bases) if own & {dotted_of(base).rpartition(".")[2] for base in bases}:
                own.add(name)
                makers.setdefault(file, set()).add(name)
                if _is_made_of_nothing(statement):
                    yield App(file, name, True, Place(file, statement.lineno))
            case ast.FunctionDef() if _makes_one(statement):
                makers.setdefault(file, set()).add(statement.name)
                if _needs_nothing(statement):
                    yield App(file, statement.name, True, Place(file, statement.lineno))
            case ast.ClassDef() if _calls_fastapi(statement):
                makers.setdefault(file, set()).add(statement.name)
            case _:
                for name, value in assignments(statement):
                    if called(value) in own:
                        yield App(file, name, False, Place(file, value.lineno))
                    elif called(value) in _WRAPPERS_OF_ASGI:
                        yield App(file, name, False, Place(file, value.lineno), is_wrapper=True)
                    elif called(value) not in _NOT_ASGI and within(value, own):
                        yield App(file, name, False, Place(file, value.lineno))


def _made_in(repository: Repository, file: str, makers: set[str]) -> Iterator[App]:
    """`app = create_app()` and `app = Server().app` at the top level of a module."""
    tree = tree_of(repository, file)
    for statement in _at_top(tree[0].body) if tree else ():
        for name, value in assignments(statement):
            inner = value.value if isinstance(value, ast.Attribute) else value
            if called(inner) in makers or called(getattr(inner, "func", None) or inner) in makers:
                yield App(file, name, False, Place(file, value.lineno))


def _at_top(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for inner in blocks(statement):
                yield from _at_top(inner)


def _calls_fastapi(node: ast.AST) -> bool:
    # Ignore annotations: `FastAPI()` there is a mistake.
    body = getattr(node, "body", [])
    return any(called(inner) == "FastAPI" for statement in body for inner in ast.walk(statement))


def _makes_one(function: ast.FunctionDef) -> bool:
    returns = any(isinstance(node, ast.Return) and node.value for node in ast.walk(function))
    return returns and _calls_fastapi(function)


def _needs_nothing(function: Function) -> bool:
    """Whether it can be called without arguments."""
    given = function.args
    optional = len(given.defaults) >= len(given.posonlyargs) + len(given.args)
    return optional and all(default is not None for default in given.kw_defaults)


def _is_made_of_nothing(definition: ast.ClassDef) -> bool:
    """Whether a class can be called without arguments."""
    made = [one for one in definition.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    if not made:
        return True
    given = made[0].args
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    return required <= 1 and all(default is not None for default in given.kw_defaults)


def _matches(start: Start, app: App) -> bool:
    if start.module.endswith(".py"):
        is_there = app.file == start.module or app.file.endswith(f"/{start.module}")
        return is_there and start.attribute in ("", app.name)
    path = start.module.replace(".", "/")
    stem = app.file.removesuffix(".py").removesuffix("/__init__")
    return start.attribute == app.name and (stem == path or stem.endswith(f"/{path}"))


def _with_start(app: App, said: list[Start], found: list[App]) -> App:
    """The application with the best start that names it, unless another application is nearer to that."""
    for start in said:
        named = [one for one in found if _matches(start, one)]
        if app in named and nearness(start, app.file) == max(nearness(start, one.file) for one in named):
            return replace(app, start=start)
    return app


def _imported_elsewhere(repository: Repository, found: list[App], said: list[Start]) -> Iterator[App]:
    """Applications that a start names by a module that only imports them, such as `app:app` of a package."""
    for start in said:
        if start.module.endswith(".py") or any(_matches(start, app) for app in found):
            continue
        path = start.module.replace(".", "/")
        for file in repository.named(f"{path.rpartition('/')[2]}.py", "__init__.py"):
            stem = file.removesuffix(".py").removesuffix("/__init__")
            if (stem != path and not stem.endswith(f"/{path}")) or _is_test(file):
                continue
            root = stem[: -len(path)].rstrip("/")
            code = Code(repository, root)
            module = code.module(start.module)
            defined = code.defined(module, start.attribute) if module else None
            if module and defined and any((defined[0].file, defined[1]) == (app.file, app.name) for app in found):
                yield App(file, start.attribute, start.is_factory, start.place, root, start)


def _root(repository: Repository, app: App) -> str:
    """The folder from which most of what the application imports is found."""
    if app.root:
        return app.root
    named: str | None = None
    if app.start and not app.start.module.endswith(".py"):
        stem = app.file.removesuffix(".py").removesuffix("/__init__")
        named = stem[: len(stem) - len(app.start.module)].rstrip("/")
    best: tuple[tuple[int, ...], str] | None = None
    folders = [*parents(folder_of(app.file))]
    if app.file.endswith("/__init__.py"):
        # A package is imported from above it.
        folders = folders[1:]
    for folder in folders:
        code = Code(repository, folder)
        start = code.name_of(app.file)
        module = code.module(start)
        if module is None or BEYOND in module.imported:
            continue
        reached = code.reachable(start)
        broken = sum(BEYOND in one.imported for one in reached)
        closeness = -abs(len(folder) - len(folder_of(app.file)))
        is_package = repository.has(f"{folder}/__init__.py".lstrip("/"))
        # A package below src/, which is imported from there. https://packaging.python.org/en/latest/discussions/src-layout-vs-flat-layout/
        first = app.file.removeprefix(f"{folder}/").partition("/")[0]
        is_src = folder.rpartition("/")[2] == "src" and repository.has(f"{folder}/{first}/__init__.py")
        found = len(reached) - len(_packages(code, start)) - broken
        # A named folder counts unless imports contradict it; else a package is imported from above it.
        rank = (found, folder == named, not is_package, is_src, lists_packages(repository, folder), closeness)
        if best is None or rank > best[0]:
            best = (rank, folder)
    return best[1] if best else folder_of(app.file)


def _packages(code: Code, dotted: str) -> list[str]:
    """The packages above a module, which are always imported."""
    parts = dotted.split(".")
    return [name for count in range(1, len(parts)) if code.file_of(name := ".".join(parts[:count]))]


def is_poor(app: App) -> bool:
    """Whether it is in a folder of examples or scripts."""
    return any(_POOR_FOLDERS.match(folder) for folder in folder_of(app.file).split("/"))


def _rank(app: App) -> tuple[object, ...]:
    folders = folder_of(app.file).split("/")
    stem = app.file.rpartition("/")[2].removesuffix(".py")
    return (
        is_poor(app),
        -(app.start.weight if app.start else 0),
        app.is_factory and not (app.start and app.start.is_factory),
        not app.is_wrapper,
        -(stem in _GOOD_STEMS) - (app.name in _GOOD_NAMES),
        not any(folder in _GOOD_FOLDERS for folder in folders),
        len(folders),
        _GOOD_STEMS.index(stem) if stem in _GOOD_STEMS else len(_GOOD_STEMS),
        app.file,
    )
