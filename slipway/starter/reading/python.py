"""A backend's modules as syntax trees: resolving names, and the modules that an application imports.

They are parsed, never imported. Statements that this Python can't parse, such as newer syntax, are skipped.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from slipway.starter.reading.files import Place, Repository

# Limits for one application: modules, characters of one and of all. Not a time limit: results must not depend on load.
MAX_MODULES = 1500
MAX_SOURCE = 200_000
MAX_CODE = 2_000_000
Function = ast.FunctionDef | ast.AsyncFunctionDef
# Stands for a relative import beyond the top-level package, which is an error.
BEYOND = "<beyond>"
# Lines that continue the statement before them.
_CONTINUES = re.compile(r"(else|elif|except|finally)\b|[\s)\]}#'\"]|$")


def parsed(text: str) -> tuple[ast.Module, int]:
    """The syntax tree of a module, and the first line that could not be parsed, 0 if there is none.

    A module with a syntax of a newer Python is parsed a statement at a time, without those that fail.
    """
    with warnings.catch_warnings():
        # Warnings about invalid escapes.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text), 0
        except SyntaxError as error:
            return _in_pieces(text), error.lineno or 1
        except (ValueError, RecursionError, MemoryError):
            return ast.Module([], []), 1


def _in_pieces(text: str) -> ast.Module:
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if not _CONTINUES.match(line)]
    statements: list[ast.stmt] = []
    begin = 0
    for here, after in zip(starts, [*starts[1:], len(lines)], strict=True):
        # A decorator, or a multi-line string.
        if here < begin:
            continue
        for end in [after, *(start for start in starts if after < start <= after + 40)]:
            try:
                tree = ast.parse("\n" * here + "\n".join(lines[here:end]))
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            statements += tree.body
            begin = end
            break
    return ast.Module(statements, [])


@dataclass
class Module:
    """A module; `name` is dotted, as the application imports it, `file` relative to the repository."""

    name: str
    file: str
    tree: ast.Module
    # The first line that could not be parsed, 0 for none.
    unread: int = 0
    # Anywhere in the module.
    import_statements: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    # Assigned values by name, in order; also within conditions, but not in functions.
    assigned: dict[str, list[ast.expr]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    # By name: the module, and the name in it; "" for the module itself.
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)

    @property
    def package(self) -> str:
        return self.name if self.file.endswith("/__init__.py") else self.name.rpartition(".")[0]

    def place(self, node: ast.AST) -> Place:
        return Place(self.file, getattr(node, "lineno", 0))

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The absolute dotted name of a `from ... import`'s module."""
        if not statement.level:
            return statement.module or ""
        parts = self.package.split(".") if self.package else []
        if statement.level > len(parts):
            return BEYOND
        kept = parts[: len(parts) - statement.level + 1]
        return ".".join([*kept, *([statement.module] if statement.module else [])])

    @cached_property
    def imported(self) -> list[str]:
        """Dotted names that are imported anywhere in the module and may be modules."""
        found: list[str] = []
        for node in self.import_statements:
            if isinstance(node, ast.Import):
                found += [name.name for name in node.names]
            else:
                source = self.absolute(node)
                found += [source, *(f"{source}.{name.name}" if source else name.name for name in node.names)]
        return list(dict.fromkeys(found))


def _index(module: Module, statements: Iterable[ast.stmt]) -> None:
    for statement in statements:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                module.functions.setdefault(statement.name, statement)
            case ast.ClassDef():
                module.classes.setdefault(statement.name, statement)
            case ast.Import(names=names):
                for name in names:
                    # `import a.b` binds a.
                    bound = name.asname or name.name.partition(".")[0]
                    module.imports[bound] = (name.name if name.asname else bound, "")
            case ast.ImportFrom(names=names):
                source = module.absolute(statement)
                for name in names:
                    if name.name == "*":
                        module.stars.append(source)
                    else:
                        module.imports[name.asname or name.name] = (source, name.name)
            case _:
                for target, value in assignments(statement):
                    module.assigned.setdefault(target, []).append(value)
                for inner in blocks(statement):
                    _index(module, inner)


def assignments(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement assigns to, with the values."""
    match statement:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, value
                elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    for one, its in zip(target.elts, value.elts, strict=False):
                        if isinstance(one, ast.Name):
                            yield one.id, its
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value
        case ast.If(test=test):
            for inner in ast.walk(test):
                if isinstance(inner, ast.NamedExpr):
                    yield inner.target.id, inner.value


def blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The statements inside a compound statement other than a function or class; not below `if __name__ ...`."""
    if isinstance(statement, ast.If) and is_main(statement):
        return
    for name in ("body", "orelse", "finalbody"):
        if inner := getattr(statement, name, None):
            yield inner
    for handler in getattr(statement, "handlers", ()):
        yield handler.body


def is_main(statement: ast.If) -> bool:
    """Whether it is `if __name__ == "__main__":`."""
    test = statement.test
    sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else []
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


Tree = tuple[ast.Module, int, list[ast.Import | ast.ImportFrom]]


def tree_of(repository: Repository, file: str) -> Tree | None:
    """A file as `parsed`, with its imports; None if it is missing or generated. Each file is parsed once."""
    if file not in repository.trees:
        text = repository.read(file)
        if text is None or len(text) > MAX_SOURCE:
            return None
        tree, unread = parsed(text)
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        repository.trees[file] = tree, unread, imports
    return repository.trees[file]


class Code:
    """The modules below `root`, a folder of the repository that Python imports from; "" is the top. `others` are
    further such folders."""

    def __init__(self, repository: Repository, root: str, others: Sequence[str] = ()) -> None:
        self.repository, self.root, self.others = repository, root, others
        self._modules: dict[str, Module | None] = {}

    def file_of(self, dotted: str) -> str:
        """The file of a module or a package, "" if there is none."""
        for root in (self.root, *self.others):
            base = "/".join([*([root] if root else []), *dotted.split(".")])
            for file in (f"{base}.py", f"{base}/__init__.py"):
                if self.repository.has(file) or (self.repository.top / file).is_file():
                    return file
        return ""

    def name_of(self, file: str) -> str:
        """The dotted name of a file below `root`."""
        inner = file.removeprefix(f"{self.root}/") if self.root else file
        return inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def module(self, dotted: str) -> Module | None:
        if dotted not in self._modules:
            # Set first, as it may import itself.
            self._modules[dotted] = None
            file = self.file_of(dotted) if re.fullmatch(r"\w+(\.\w+)*", dotted) else ""
            if file and (found := tree_of(self.repository, file)):
                module = Module(dotted, file, *found)
                _index(module, module.tree.body)
                self._modules[dotted] = module
        return self._modules[dotted]

    def reachable(self, start: str) -> list[Module]:
        """The modules that an application imports, itself first; all submodules, if imported dynamically."""
        found: dict[str, Module] = {}
        waiting, size = [start], 0
        while waiting and len(found) < MAX_MODULES and size < MAX_CODE:
            dotted = waiting.pop(0)
            module = self.module(dotted)
            if module is None or module.file in found:
                continue
            found[module.file] = module
            size += len(self.repository.read(module.file) or "")
            parts = dotted.split(".")
            waiting += [".".join(parts[:count]) for count in range(1, len(parts))]
            waiting += module.imported
            if re.search(r"import_module\(|iter_modules|walk_packages", self.repository.read(module.file) or ""):
                waiting += self._below(module.package)
        return [*found.values()]

    def _below(self, package: str) -> list[str]:
        folder = "/".join([*([self.root] if self.root else []), *(package.split(".") if package else [])])
        return [self.name_of(file) for file in self.repository.below(folder) if file.endswith(".py")]

    def defined(self, module: Module, name: str, depth: int = 0) -> tuple[Module, str] | None:
        """The module that defines a name, and its name there; ("" for a name: the module itself)."""
        if name in module.assigned or name in module.functions or name in module.classes:
            return module, name
        if depth > 8:
            return None
        if name in module.imports:
            source, inner = module.imports[name]
            if not inner:
                found = self.module(source)
                return (found, "") if found else None
            # A submodule, or a name in the package.
            if (package := self.module(source)) and (found_there := self.defined(package, inner, depth + 1)):
                return found_there
            submodule = self.module(f"{source}.{inner}" if source else inner)
            return (submodule, "") if submodule else None
        for source in module.stars:
            if (star := self.module(source)) and (found_there := self.defined(star, name, depth + 1)):
                return found_there
        return None


def dotted_of(node: ast.AST) -> str:
    """ "a.b.c" for names and attributes; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted_of(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def called(call: ast.AST) -> str:
    """The last name of a call: "FastAPI" for fastapi.FastAPI(...); "" if it is not a call."""
    if not isinstance(call, ast.Call):
        return ""
    return call.func.attr if isinstance(call.func, ast.Attribute) else dotted_of(call.func)


def within(value: ast.expr | None, names: Collection[str]) -> ast.Call | None:
    """The call of one of `names`, itself or among the arguments of another call, as in `wrap(FastAPI())`."""
    if not isinstance(value, ast.Call):
        return None
    given = [value, *value.args, *(keyword.value for keyword in value.keywords)]
    return next((one for one in given if isinstance(one, ast.Call) and called(one) in names), None)


def argument(call: ast.Call, name: str, position: int | None = None) -> ast.expr | None:
    """An argument of a call by name or position."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    if position is not None and position < len(call.args):
        found = call.args[position]
        return None if isinstance(found, ast.Starred) else found
    return None
