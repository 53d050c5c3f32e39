"""Evaluates expressions of unknown code statically, as far as possible.

It follows names through modules, attributes of settings objects, f-strings, paths and small functions.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import replace

from slipway.starter.reading.branches import Branches
from slipway.starter.reading.calls import Calls
from slipway.starter.reading.classes import Classes
from slipway.starter.reading.prefixes import Prefixes
from slipway.starter.reading.python import Code, Function, Module, argument, called, dotted_of
from slipway.starter.reading.value import (
    MAX_DEPTH,
    TOP,
    UNKNOWN,
    Env,
    Reader,
    Scope,
    Value,
    beginning_of,
    best_of,
    envs_in,
    is_none,
    joined,
    local,
    parent_of,
    text_of,
    walk,
    without_places,
)

# Calls that return their first argument as a string.
_SAME = {
    "str", "Path", "PurePath", "PosixPath", "quote_plus", "quote", "abspath", "realpath", "normpath", "expanduser",
    "Secret", "SecretStr", "DatabaseURL", "URL", "AnyUrl", "AnyHttpUrl", "HttpUrl", "MongoDsn", "fspath", "int",
    "parse_uri", "unquote", "make_url",
}  # fmt: skip
# Methods that return their object, more or less.
_SAME_METHODS = {
    "strip", "rstrip", "lstrip", "resolve", "absolute", "expanduser", "get_secret_value", "unicode_string", "as_posix",
    "lower", "upper", "encode", "decode", "removesuffix", "render_as_string", "human_repr", "__str__",
}  # fmt: skip
ENV_TYPES = {"str", "int", "bool", "float", "list", "json", "url", "path", "db", "db_url", "secret", "dict", "enum"}


class Values:
    """Resolves expressions of the modules of `code`. Parameters have the values that the calls in `modules` give."""

    def __init__(self, code: Code, modules: Sequence[Module] = ()) -> None:
        self.code = code
        self.calls = Calls(self, [*modules])
        self.classes = Classes(self)
        self.prefixes = Prefixes(self)
        self.branches = Branches(self)
        # Functions that read the variable named by an argument.
        self.readers: dict[str, Reader] = {}
        self._open: set[tuple[int, str]] = set()
        self._nodes: dict[str, list[tuple[ast.AST, Scope]]] = {}

    def nodes(self, modules: list[Module]) -> list[tuple[ast.AST, Scope]]:
        """The nodes of the modules with their scopes; not below `if __name__ ...`."""
        found = []
        for module in modules:
            if module.file not in self._nodes:
                self._nodes[module.file] = [*walk(module.tree, Scope(module))]
            found += self._nodes[module.file]
        return found

    def of(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> Value:
        """The value of an expression."""
        if node is None or depth > MAX_DEPTH:
            return UNKNOWN
        if env := self.env(node, scope, depth):
            return (env,)
        deeper = depth + 1
        match node:
            case ast.Constant(value=None):
                return UNKNOWN
            case ast.Constant(value=constant):
                return (constant if isinstance(constant, str) else str(constant),)
            case ast.JoinedStr(values=values):
                return joined(*(self.of(one, scope, deeper) for one in values))
            case ast.FormattedValue(value=value) | ast.Await(value=value) | ast.NamedExpr(value=value):
                return self.of(value, scope, deeper)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return joined(self.of(left, scope, deeper), self.of(right, scope, deeper))
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return joined(self.of(left, scope, deeper), ("/",), self.of(right, scope, deeper))
            case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod(), right=right):
                items = right.elts if isinstance(right, ast.Tuple) else [right]
                return self._filled(re.split(r"%[sd]", text), items, scope, deeper)
            case ast.BoolOp(op=ast.Or(), values=values):
                return self._either([self.of(one, scope, deeper) for one in values])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._chosen(test, [body, orelse], scope, deeper)
            case ast.Name(id="__file__"):
                return (f"{TOP}/{scope.module.file}",)
            case ast.Name(id=name):
                return self._named(name, scope, deeper)
            case ast.Attribute(value=inner, attr="parent"):
                return parent_of(self.of(inner, scope, deeper))
            case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(count))):
                path = self.of(inner, scope, deeper)
                for _ in range(count + 1):
                    path = parent_of(path)
                return path
            case ast.Attribute():
                return self._attribute(node, scope, deeper)
            case ast.Call():
                return self._call(node, scope, deeper)
        return UNKNOWN

    def _either(self, values: list[Value]) -> Value:
        """`os.getenv("X") or "y"`: a variable with a default; else the first known value."""
        match values[0]:
            case (Env() as env,) if env.default is None and len(values) > 1:
                return (replace(env, default=text_of(values[1]), is_required=False),)
        return best_of(values)

    def _chosen(self, test: ast.expr, nodes: list[ast.expr], scope: Scope, depth: int) -> Value:
        """`x if TEST else y`: where both are texts, the one that the condition chooses on the server."""
        values = [self.of(node, scope, depth) for node in nodes]
        is_text = not any(None in value or envs_in(value) for value in values)
        held = self.branches.holds(test, scope, depth) if is_text else None
        return self._either(values) if held is None else values[not held]

    def _filled(self, texts: list[str], items: list[ast.expr], scope: Scope, depth: int) -> Value:
        values: list[Value] = [(texts[0],)]
        for item, text in zip(items, texts[1:], strict=False):
            values += [self.of(item, scope, depth), (text,)]
        return joined(*values)

    def _named(self, name: str, scope: Scope, depth: int) -> Value:
        here = UNKNOWN
        # A name that its own value has, `x = x.strip()`, would be asked for again and again.
        if (key := (id(scope.function or scope.owner), name)) not in self._open:
            self._open.add(key)
            here = best_of(self._reached(local(scope, name), scope, depth))
            self._open.discard(key)
        if here != UNKNOWN and envs_in(here):
            return here
        if given := self.calls.arguments(name, scope):
            with self.calls.resolving(name, scope):
                passed = self._agreed(given, depth)
            # What the calls give comes before a parameter's default.
            here = passed if here == UNKNOWN or (None not in passed and envs_in(passed)) else here
        if given or here != UNKNOWN:
            return here
        if not (found := self.code.defined(scope.module, name)):
            return UNKNOWN
        module, its_name = found
        return best_of(self._reached(module.assigned.get(its_name, []), Scope(module), depth))

    def _reached(self, nodes: list[ast.expr], scope: Scope, depth: int) -> list[Value]:
        return self.branches.reached(nodes, scope, [self.of(one, scope, depth) for one in nodes])

    def _agreed(self, given: list[tuple[ast.expr, Scope]], depth: int) -> Value:
        """The value of all of some expressions, unknown if they differ."""
        found = UNKNOWN
        for node, scope in given:
            # Each may lead to several more: fewer steps than from a name to its value.
            value = self.of(node, scope, depth + 2)
            if value == UNKNOWN or (found != UNKNOWN and without_places(value) != without_places(found)):
                return UNKNOWN
            found = value
        return found

    def _attribute(self, node: ast.Attribute, scope: Scope, depth: int) -> Value:
        if owner := self.classes.of(node.value, scope, depth):
            return self.classes.field(owner, node.attr, depth)
        if module := self.module_of(node.value, scope):
            return self._named(node.attr, Scope(module), depth)
        return UNKNOWN

    def module_of(self, node: ast.expr, scope: Scope) -> Module | None:
        """The module that an expression such as `app.config` names."""
        dotted = dotted_of(node)
        if not dotted:
            return None
        head, *rest = dotted.split(".")
        found = self.code.defined(scope.module, head)
        if not found or found[1]:
            return None
        module: Module | None = found[0]
        for name in rest:
            inner = self.code.defined(module, name) if module else None
            module = (
                inner[0] if inner and not inner[1] else self.code.module(f"{module.name}.{name}") if module else None
            )
        return module

    def _call(self, node: ast.Call, scope: Scope, depth: int) -> Value:
        name, function = called(node), node.func
        first = node.args[0] if node.args else None
        if isinstance(function, ast.Attribute):
            if name == "join" and dotted_of(function).endswith("path.join"):
                parts = [self.of(one, scope, depth) for one in node.args]
                return joined(*[piece for part in parts for piece in (("/",), part)][1:])
            if name == "joinpath":
                parts = [self.of(one, scope, depth) for one in (function.value, *node.args)]
                return joined(*[piece for part in parts for piece in (("/",), part)][1:])
            if name == "format" and isinstance(function.value, ast.Constant):
                return self._formatted(str(function.value.value), node, scope, depth)
            if name == "build":
                return self._built(node, scope, depth)
            if name == "replace" and len(node.args) == 2:
                return self.of(function.value, scope, depth)
            if name in _SAME_METHODS and not dotted_of(function).startswith("os."):
                return self.of(function.value, scope, depth)
        if name == "dirname":
            return parent_of(self.of(first, scope, depth))
        if name in ("getcwd", "cwd"):
            return (f"{TOP}/{self.code.root}".rstrip("/"),)
        if name in _SAME and first is not None:
            return self.of(first, scope, depth)
        if name in ("Field", "field"):
            made = argument(node, "default_factory")
            return self.of(made.body if isinstance(made, ast.Lambda) else argument(node, "default", 0), scope, depth)
        return self._returned(function, scope, depth)

    def _returned(self, function: ast.expr, scope: Scope, depth: int) -> Value:
        """The value that a small function of the application returns."""
        found = self.function(function, scope)
        if not found:
            return UNKNOWN
        module, definition = found
        for node in ast.walk(definition):
            if isinstance(node, ast.Return) and node.value:
                value = self.of(node.value, Scope(module, definition), depth + 2)
                if value != UNKNOWN:
                    return value
        return UNKNOWN

    def function(self, node: ast.expr, scope: Scope) -> tuple[Module, Function] | None:
        """The function that an expression names."""
        if isinstance(node, ast.Name):
            found = self.code.defined(scope.module, node.id)
        elif isinstance(node, ast.Attribute) and (module := self.module_of(node.value, scope)):
            found = self.code.defined(module, node.attr)
        else:
            return None
        definition = found[0].functions.get(found[1]) if found else None
        return (found[0], definition) if found and definition else None

    def _formatted(self, text: str, node: ast.Call, scope: Scope, depth: int) -> Value:
        values: list[Value] = []
        positions = iter(node.args)
        for piece in re.split(r"(\{\w*\})", text):
            if not re.fullmatch(r"\{\w*\}", piece):
                values.append((piece,))
                continue
            name = piece[1:-1]
            given = argument(node, name) if name and not name.isdigit() else next(positions, None)
            values.append(self.of(given, scope, depth))
        return joined(*values)

    def _built(self, node: ast.Call, scope: Scope, depth: int) -> Value:
        """pydantic's MongoDsn.build(scheme=..., host=..., ...), v1's user and v2's username."""

        def part(*names: str) -> Value | None:
            given = next((one for name in names if (one := argument(node, name)) is not None), None)
            return None if given is None or is_none(given) else self.of(given, scope, depth)

        scheme, host = part("scheme"), part("host")
        if scheme is None or host is None:
            return UNKNOWN
        user, password, port, path = part("username", "user"), part("password"), part("port"), part("path")
        query = part("query")
        pieces: list[Value] = [scheme, ("://",)]
        if user:
            pieces += [user, *([(":",), password] if password else []), ("@",)]
        pieces.append(host)
        pieces += [(":",), port] if port else []
        if path:
            pieces += [*([] if beginning_of(path).startswith("/") else [("/",)]), path]
        pieces += [("?",), query] if query else []
        return joined(*pieces)

    # --- Variables ----------------------------------------------------------------------------------------------------

    def env(self, node: ast.expr, scope: Scope, depth: int = 0) -> Env | None:
        """The environment variable that an expression reads directly."""
        if isinstance(node, ast.Subscript) and self._is_environment(node.value, scope):
            name = self._name(node.slice, scope, depth)
            return Env(name, None, True, scope.module.place(node)) if name else None
        if not isinstance(node, ast.Call):
            return None
        dotted = dotted_of(node.func)
        owner, _, method = dotted.rpartition(".")
        if method == "getenv" or (
            method in ("get", "setdefault", "pop")
            and isinstance(node.func, ast.Attribute)
            and self._is_environment(node.func.value, scope)
        ):
            return self._read(node, scope, depth, 0, 1, is_required=False)
        if dotted and (default := self._reader(owner or method, method if owner else "", scope)):
            found = self._read(node, scope, depth, 0, default, is_required=True)
            return self.prefixes.added(found, node, scope) if found else None
        if method in self.readers and method in (*scope.module.functions, *scope.module.imports):
            reader = self.readers[method]
            found = self._read(node, scope, depth, reader.position, reader.fallback, is_required=False)
            return replace(found, name=reader.name_of(found.name)) if found else None
        return None

    def _read(
        self, node: ast.Call, scope: Scope, depth: int, position: int, default: int | None, is_required: bool
    ) -> Env | None:
        """The variable that a call reads, with name and default at these positions."""
        name = self._name(argument(node, "key", position), scope, depth)
        if not name:
            return None
        given, cast = argument(node, "default", default), argument(node, "cast")
        text = None if given is None else self.default_text(given, scope, depth)
        is_secret = cast is not None and dotted_of(cast).endswith("Secret")
        is_number = (cast is not None and dotted_of(cast) == "int") or dotted_of(node.func).endswith(".int")
        return Env(name, text, is_required and given is None, scope.module.place(node), is_secret, is_number=is_number)

    def default_text(self, node: ast.expr, scope: Scope, depth: int) -> str:
        """A default as text: "" for None and for unknown."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            parts = [text_of(self.of(one, scope, depth + 1)) for one in node.elts]
            return json.dumps([part for part in parts if part is not None])
        return "" if is_none(node) else text_of(self.of(node, scope, depth + 1)) or ""

    def _name(self, node: ast.expr | None, scope: Scope, depth: int) -> str:
        # A function that is given a variable's name is found as a reader.
        with self.calls.ignored():
            name = text_of(self.of(node, scope, depth + 1)) if node is not None else None
        return name if name and re.fullmatch(r"[A-Za-z_]\w*", name) else ""

    def _is_environment(self, node: ast.expr, scope: Scope) -> bool:
        dotted = dotted_of(node)
        if dotted in ("os.environ", "environ"):
            return True
        return bool(dotted) and any(dotted_of(one) in ("os.environ", "environ") for one in self.assigned(node, scope))

    def _reader(self, owner: str, method: str, scope: Scope) -> int:
        """The position of the default in a call that reads a variable: `config("X")` of python-decouple or starlette,
        `env("X")` and `env.str("X")` of environs; 0 for other calls. `config` may be one of a module."""
        if method == "config" and (module := self.module_of(ast.Name(owner, ast.Load()), scope)):
            return self._reader(method, "", Scope(module))
        if method == "config" and scope.module.imports.get(owner) == ("decouple", ""):
            return 1
        if method and method not in ENV_TYPES:
            return 0
        if not method and scope.module.imports.get(owner, ("",))[0] == "decouple":
            return 1
        defined = self.code.defined(scope.module, owner)
        module = defined[0] if defined else scope.module
        for made in self.assigned(ast.Name(owner, ast.Load()), scope):
            if called(made) == "Env":
                return 1
            if called(made) in ("Config", "AutoConfig") and not method:
                return 2 if module.imports.get("Config", ("",))[0].startswith("starlette") else 1
        return 0

    def expanded(self, call: ast.Call, scope: Scope) -> ast.Call:
        """The call with the arguments that `**options` gives it, if that is a dictionary in the code."""
        keywords = []
        for keyword in call.keywords:
            its = keyword.value if keyword.arg is None else None
            made = [its] if isinstance(its, ast.Dict) else self.assigned(its, scope) if its else []
            for one in made:
                if isinstance(one, ast.Dict):
                    names = [key.value if isinstance(key, ast.Constant) else None for key in one.keys]
                    keywords += [ast.keyword(str(n), v) for n, v in zip(names, one.values, strict=True) if n]
        return (
            ast.copy_location(ast.Call(call.func, call.args, [*call.keywords, *keywords]), call) if keywords else call
        )

    def assigned(self, node: ast.expr, scope: Scope) -> list[ast.expr]:
        """The values assigned to a name, wherever it is defined."""
        if not isinstance(node, ast.Name):
            return []
        if found := local(scope, node.id):
            return found
        defined = self.code.defined(scope.module, node.id)
        return defined[0].assigned.get(defined[1], []) if defined else []
