"""Finds the paths of an application: its routers and their prefixes, without importing them."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field, replace

from slipway.starter.reading.classes import Owner
from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.python import Function, Module, argument, called, dotted_of, within
from slipway.starter.reading.value import Scope, local, parameters, text_of
from slipway.starter.reading.values import Values

METHODS = {"get", "post", "put", "delete", "patch", "head", "options", "trace", "api_route", "route"}
SOCKETS = {"websocket", "websocket_route"}
ADDERS = {
    "add_api_route": "get",
    "add_route": "get",
    "add_websocket_route": "websocket",
    "add_api_websocket_route": "websocket",
}
# A router: the file and name of its definition.
Key = tuple[str, str]
MAX_ROUTES = 3000
HEALTH = re.compile(
    r"/(?:[\w.-]+/)*(?:_?health(?:[_-]?check)?z?|healthz|ping|livez?|liveness|readyz?|readiness|status|alive|heartbeat|up|ht)/?",
    re.IGNORECASE,
)
# Best first.
_HEALTH_WORDS = ("health", "ready", "readi", "live", "alive", "heartbeat", "status", "ping", "up", "ht")
_LOGIN = re.compile(r"/(?:[\w.-]+/)*(?:log-?in|sign-?in|token|access-token|authenticate|jwt/login)/?", re.IGNORECASE)


@dataclass(frozen=True)
class Route:
    """`kind` is the method, "websocket", or "below" for all paths with this prefix. `is_open`: needs no login, as far
    as its parameters tell."""

    path: str
    kind: str
    place: Place
    is_open: bool = True
    takes_form: bool = False
    # The folder that a mount serves, as an expression.
    folder: ast.expr | None = field(default=None, compare=False)
    scope: Scope | None = field(default=None, compare=False)


@dataclass
class Routes:
    found: list[Route] = field(default_factory=list)
    # What could not be followed.
    unknown: list[Place] = field(default_factory=list)
    root_path: str = ""
    # Where FastAPI's own pages are, as far as the application says.
    docs: list[Route] = field(default_factory=list)
    # The path of the description that they load, "" if there is none.
    openapi: str = ""

    @property
    def websockets(self) -> list[Route]:
        return [route for route in self.found if route.kind == "websocket"]

    def get(self, path: str) -> Route | None:
        """The route of a path that needs no login."""
        fitting = [one for one in self.found if one.kind in ("get", "api_route", "head") and one.is_open]
        same = [one for one in fitting if one.path == path]
        return next(iter([*same, *(one for one in fitting if one.path.rstrip("/") == path.rstrip("/"))]), None)

    def health(self) -> Route | None:
        """The health path."""
        fitting = [
            route
            for route in self.found
            if route.kind in ("get", "api_route", "head") and route.is_open and HEALTH.fullmatch(route.path)
        ]

        def rank(route: Route) -> tuple[int, int]:
            last = route.path.rstrip("/").rpartition("/")[2].lower()
            return next(n for n, word in enumerate((*_HEALTH_WORDS, "")) if word in last), route.path.count("/")

        return min(fitting, key=rank, default=None)

    def login(self) -> Route | None:
        """The login path, to which a password is posted."""
        fitting = [route for route in self.found if route.kind == "post" and _LOGIN.fullmatch(route.path)]
        return min(
            fitting,
            key=lambda route: (not route.takes_form, "refresh" in route.path, route.path.count("/")),
            default=None,
        )


class _Reader:
    def __init__(self, values: Values, modules: list[Module], application: Key) -> None:
        self.values, self.modules, self.application = values, modules, application
        # By router: its routes, and the included routers with their prefixes.
        self.prefixes: dict[Key, str] = {}
        self.routes: dict[Key, list[Route]] = {}
        self.includes: dict[Key, list[tuple[str, Key]]] = {}
        # Routers whose routes all require a login.
        self.guarded: set[Key] = set()
        self.result = Routes()

    def read(self) -> Routes:
        listed = self.values.nodes(self.modules)
        for node, scope in listed:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                self._definition(node, scope)
        self._find_application()
        for node, scope in listed:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self._decorated(node, scope)
            elif isinstance(node, ast.Call):
                self._call(node, scope)
        self._collect(self.application, "", set())
        return self.result

    def _find_application(self) -> None:
        """Find the application if its module imports it from another one."""
        file, name = self.application
        for module in self.modules:
            if self.application not in self.prefixes and module.file == file:
                self.application = self._router(ast.Name(name, ast.Load()), Scope(module)) or self.application

    def _definition(self, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        is_router = node.value is not None and called(node.value) == "APIRouter"
        made = node.value if is_router else within(node.value, {"FastAPI"})
        if not isinstance(made, ast.Call):
            return
        for target in targets:
            name = dotted_of(target).rpartition(".")[2]
            if not name:
                continue
            key = (scope.module.file, name)
            if not is_router:
                is_reached = self.values.branches.is_reached(node.value, scope) is not False if node.value else True
                if (key == self.application or scope.function) and is_reached:
                    self.result.root_path = self._text(argument(made, "root_path"), scope) or self.result.root_path
                    self._docs(made, scope)
                if scope.function:
                    # In a factory it is the only one.
                    key = self.application
                self.prefixes.setdefault(key, "")
            else:
                self.prefixes[key] = self._text(argument(made, "prefix"), scope) or ""
            if _asks_who(argument(made, "dependencies")):
                self.guarded.add(key)

    def _docs(self, made: ast.Call, scope: Scope) -> None:
        given = argument(made, "openapi_url")
        self.result.openapi = (self._text(given, scope) or "") if given is not None else "/openapi.json"
        for option, usual in (("docs_url", "/docs"), ("redoc_url", "/redoc")) if self.result.openapi else ():
            given = argument(made, option)
            if path := self._text(given, scope) if given is not None else usual:
                self.result.docs.append(Route(path, option, scope.module.place(made)))

    def _text(self, node: ast.expr | None, scope: Scope) -> str | None:
        return text_of(self.values.of(node, scope)) if node is not None else None

    def _add(self, owner: ast.expr, scope: Scope, route: Route) -> None:
        for key in self._keys(owner, scope):
            self.routes.setdefault(key, []).append(route)

    def _keys(self, node: ast.expr, scope: Scope) -> list[Key]:
        """The routers of an expression: those that the calls give to a parameter; the application if it is unknown."""
        function = scope.function
        if isinstance(node, ast.Name) and function and node.id in (annotations := parameters(function)):
            if given := self.values.calls.arguments(node.id, scope):
                with self.values.calls.resolving(node.id, scope):
                    return [*dict.fromkeys(key for one in given for key in self._keys(*one))]
            is_other = any(name == node.id for _, name in self.prefixes.keys() - {self.application})
            is_named = "FastAPI" in dotted_of(annotations[node.id] or ast.Constant(None))
            if is_other and not is_named and (scope.module.file, node.id) not in self.prefixes:
                if (place := scope.module.place(function)) not in self.result.unknown:
                    self.result.unknown.append(place)
                return []
        return [self._router(node, scope) or self.application]

    def _router(self, node: ast.expr, scope: Scope) -> Key | None:
        if isinstance(node, ast.Name):
            for made in local(scope, node.id):
                if isinstance(made, ast.Attribute) and (other := self._router(made, scope)):
                    return other
            if (scope.module.file, node.id) in self.prefixes:
                return scope.module.file, node.id
            found = self.values.code.defined(scope.module, node.id)
        elif isinstance(node, ast.Attribute):
            module = self.values.module_of(node.value, scope)
            found = self.values.code.defined(module, node.attr) if module else None
            if not module:
                files = [owner.module.file for owner in self._classes(node.value, scope)]
                return next(((file, node.attr) for file in files if (file, node.attr) in self.prefixes), None)
        else:
            return None
        if not found:
            return None
        if not found[1]:
            # A module given instead of its router.
            return next((key for key in self.prefixes if key[0] == found[0].file), None)
        key = (found[0].file, found[1])
        if key in self.prefixes:
            return key
        # An alias.
        for made in found[0].assigned.get(found[1], ()):
            if isinstance(made, ast.Name | ast.Attribute) and (other := self._router(made, Scope(found[0]))):
                return other
        return None

    def _classes(self, node: ast.expr, scope: Scope) -> list[Owner]:
        """The class of an object, or those that the calls give to a parameter."""
        if owner := self.values.classes.of(node, scope):
            return [owner]
        if not isinstance(node, ast.Name) or not (given := self.values.calls.arguments(node.id, scope)):
            return []
        with self.values.calls.resolving(node.id, scope):
            return [owner for one in given for owner in self._classes(*one)]

    def _decorated(self, function: Function, scope: Scope) -> None:
        for decorator in function.decorator_list:
            if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Attribute):
                continue
            method = decorator.func.attr
            if method not in METHODS | SOCKETS:
                continue
            path = self._text(argument(decorator, "path", 0), scope)
            if path is None or (path and not path.startswith("/")):
                continue
            kind = "websocket" if method in SOCKETS else method
            guarded = _asks_who(decorator) or _asks_who(function.args)
            form = any("OAuth2PasswordRequestForm" in ast.dump(one) for one in [function.args])
            route = Route(path, kind, scope.module.place(decorator), not guarded, form)
            self._add(decorator.func.value, scope, route)

    def _call(self, node: ast.Call, scope: Scope) -> None:
        if not isinstance(node.func, ast.Attribute):
            return
        name, owner = node.func.attr, node.func.value
        if name == "include_router":
            prefix = self._text(argument(node, "prefix"), scope)
            if argument(node, "prefix") is not None and prefix is None:
                self.result.unknown.append(scope.module.place(node))
            for parent in self._keys(owner, scope):
                for router in self._each(argument(node, "router", 0), scope):
                    self._include(parent, router, prefix or "", node, scope)
        elif name in ADDERS:
            path = self._text(argument(node, "path", 0), scope)
            if path is not None:
                self._add(owner, scope, Route(path, ADDERS[name], scope.module.place(node)))
        elif name == "mount":
            path, mounted = self._text(argument(node, "path", 0), scope), argument(node, "app", 1)
            if path is None or mounted is None:
                return
            inner = self._router(mounted, scope)
            if inner and inner != self.application:
                for key in self._keys(owner, scope):
                    self.includes.setdefault(key, []).append((path, inner))
                return
            files = (
                argument(mounted, "directory", 0) if isinstance(mounted, ast.Call) and serves_files(mounted) else None
            )
            self._add(owner, scope, Route(path, "below", scope.module.place(node), folder=files, scope=scope))

    def _each(self, node: ast.expr | None, scope: Scope) -> list[tuple[ast.expr, Scope]]:
        """An argument, or each of its values if it is the variable of a loop over a list."""
        if not isinstance(node, ast.Name | ast.Attribute):
            return [(node, scope)] if node is not None else []
        if isinstance(node, ast.Name) and (given := self.values.calls.arguments(node.id, scope)):
            return given
        name = dotted_of(node).partition(".")[0]
        within: ast.AST = scope.function or scope.module.tree
        for loop in ast.walk(within):
            if isinstance(loop, ast.For) and name in {
                one.id for one in ast.walk(loop.target) if isinstance(one, ast.Name)
            }:
                return self._elements(loop, name, node, scope)
        return [(node, scope)]

    def _elements(self, loop: ast.For, name: str, node: ast.expr, scope: Scope) -> list[tuple[ast.expr, Scope]]:
        listed, there = loop.iter, scope
        if isinstance(listed, ast.Name | ast.Attribute):
            found = (
                self.values.code.defined(scope.module, listed.id)
                if isinstance(listed, ast.Name)
                else ((its, listed.attr) if (its := self.values.module_of(listed.value, scope)) else None)
            )
            made = found[0].assigned.get(found[1], []) if found else []
            listed, there = (made[0], Scope(found[0])) if found and made else (listed, scope)
        if not isinstance(listed, ast.List | ast.Tuple):
            return [(node, scope)]
        found_here: list[tuple[ast.expr, Scope]] = []
        for element in listed.elts:
            parts = element.elts if isinstance(element, ast.Tuple) else [element]
            for part in parts:
                inner = ast.Attribute(part, node.attr, ast.Load()) if isinstance(node, ast.Attribute) else part
                if self._router(inner, there):
                    found_here.append((inner, there))
                    break
        return found_here or [(node, scope)]

    def _include(self, parent: Key, router: tuple[ast.expr, Scope], prefix: str, node: ast.Call, scope: Scope) -> None:
        child = self._router(*router)
        if child and _asks_who(argument(node, "dependencies")):
            self.guarded.add(child)
        if child and child != parent:
            self.includes.setdefault(parent, []).append((prefix, child))
        elif prefix:
            # A library's router.
            self.routes.setdefault(parent, []).append(Route(prefix, "below", scope.module.place(node)))
        else:
            self.result.unknown.append(scope.module.place(node))

    def _collect(self, key: Key, prefix: str, above: set[Key], is_guarded: bool = False) -> None:
        own = prefix + self.prefixes.get(key, "").rstrip("/")
        is_guarded = is_guarded or key in self.guarded
        for route in self.routes.get(key, ()):
            if len(self.result.found) < MAX_ROUTES:
                path = re.sub(r"/{2,}", "/", own + route.path) or "/"
                is_open = route.is_open and not is_guarded
                self.result.found.append(replace(route, path=path, is_open=is_open))
        for inner, child in self.includes.get(key, ()):
            if child not in above:
                self._collect(child, own + inner.rstrip("/"), above | {key}, is_guarded)


def serves_files(node: ast.Call) -> bool:
    """Whether it makes StaticFiles, or a class of its own that is named after it, as SPAStaticFiles."""
    return (called(node) or "").endswith("StaticFiles")


def _asks_who(node: ast.AST | None) -> bool:
    """Whether a route depends on the current user."""
    return any(
        isinstance(inner, ast.Name | ast.Attribute)
        and re.search(
            r"user|auth|token|bearer|credential|api_?key|admin", dotted_of(inner).rpartition(".")[2], re.IGNORECASE
        )
        for depends in (ast.walk(node) if node is not None else ())
        if isinstance(depends, ast.Call) and called(depends) in ("Depends", "Security")
        for inner in depends.args
    )


def routes(values: Values, modules: list[Module], application: Key) -> Routes:
    """All routes of an application, from `modules`."""
    return _Reader(values, modules, application).read()


def described(repository: Repository, folder: str) -> tuple[list[str], str]:
    """The paths in a committed openapi.json below a folder, and the file; ([], "") if there is none."""
    for file in repository.named("openapi.json", "swagger.json"):
        if file.startswith(f"{folder}/" if folder else ""):
            try:
                paths = json.loads(repository.read(file) or "").get("paths", {})
            except (ValueError, AttributeError, RecursionError):
                continue
            if isinstance(paths, dict) and paths:
                return [str(path) for path in paths], file
    return [], ""
