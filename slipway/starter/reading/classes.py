"""The settings classes of an application: pydantic's BaseSettings of both versions, and plain ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from slipway.starter.reading.python import Function, Module, argument, called, dotted_of
from slipway.starter.reading.value import MAX_DEPTH, UNKNOWN, Env, Scope, Value, local, text_of, without_places

if TYPE_CHECKING:
    from slipway.starter.reading.values import Values

# Attributes of a model that are not fields.
_NO_FIELDS = {"model_config", "Config"}
# pydantic's types of addresses with a scheme.
_URLS = {"AnyUrl", "AnyHttpUrl", "HttpUrl", "AnyWebsocketUrl", "WebsocketUrl"}


@dataclass(frozen=True)
class Owner:
    """A class and its module."""

    module: Module
    definition: ast.ClassDef

    @property
    def key(self) -> tuple[str, str]:
        return self.module.file, self.definition.name


class Classes:
    """Finds classes and the values of their fields."""

    def __init__(self, values: Values) -> None:
        self.values = values

    # --- Which class --------------------------------------------------------------------------------------------------

    def named(self, node: ast.expr | None, module: Module) -> Owner | None:
        """The class that an expression names: `Settings`, `config.Settings`, `Optional[Settings]`, "Settings"."""
        match node:
            case ast.Constant(value=str(text)):
                node = ast.Name(text.rpartition(".")[2], ast.Load())
            case ast.Subscript(slice=ast.expr() as inner):
                options = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return next((found for one in options if (found := self.named(one, module))), None)
            case ast.BinOp(left=left, right=right):
                return self.named(left, module) or self.named(right, module)
        if isinstance(node, ast.Name):
            there = self.values.code.defined(module, node.id)
        elif isinstance(node, ast.Attribute) and (its := self.values.module_of(node.value, Scope(module))):
            there = self.values.code.defined(its, node.attr)
        else:
            return None
        definition = there[0].classes.get(there[1]) if there else None
        return Owner(there[0], definition) if there and definition else None

    def of(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> Owner | None:
        """The class of an expression's object, or the class itself if the expression names one."""
        if node is None or depth > MAX_DEPTH:
            return None
        deeper = depth + 1
        match node:
            case ast.Name(id="self" | "cls") if scope.owner:
                return Owner(*scope.owner)
            case ast.Name(id=name):
                for expression in local(scope, name):
                    if found := self.of(expression, scope, deeper):
                        return found
                if scope.function and (owner := self._of_parameter(name, scope.function, scope, deeper)):
                    return owner
                if owner := self.named(node, scope.module):
                    return owner
                defined = self.values.code.defined(scope.module, name)
                if not defined:
                    return None
                made = defined[0].assigned.get(defined[1], ())
                return next((found for one in made if (found := self.of(one, Scope(defined[0]), deeper))), None)
            case ast.Call(func=function, args=args):
                if owner := self.named(function, scope.module):
                    return owner
                if called(node) in ("Depends", "lru_cache", "cache") and args:
                    return self._returned_by(args[0], scope, deeper)
                return self._returned_by(function, scope, deeper)
            case ast.Attribute(value=inner, attr=name):
                if owner := self.of(inner, scope, deeper):
                    return self._of_field(owner, name, deeper)
                if module := self.values.module_of(inner, scope):
                    return self.of(ast.Name(name, ast.Load()), Scope(module), deeper)
            case ast.Await(value=inner):
                return self.of(inner, scope, deeper)
        return None

    def _of_parameter(self, name: str, function: Function, scope: Scope, depth: int) -> Owner | None:
        for parameter in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            if parameter.arg == name and parameter.annotation:
                return self.named(parameter.annotation, scope.module)
        return None

    def _returned_by(self, function: ast.expr, scope: Scope, depth: int) -> Owner | None:
        found = self.values.function(function, scope)
        if not found:
            return None
        module, definition = found
        if owner := self.named(definition.returns, module):
            return owner
        for node in ast.walk(definition):
            if isinstance(node, ast.Return) and (owner := self.of(node.value, Scope(module, definition), depth + 1)):
                return owner
        return None

    def _of_field(self, owner: Owner, name: str, depth: int) -> Owner | None:
        for its, field, annotation, default in self.fields(owner):
            if field == name:
                return self.named(annotation, its.module) or self.of(default, Scope(its.module), depth + 1)
        return None

    # --- Its fields ---------------------------------------------------------------------------------------------------

    def bases(self, owner: Owner, depth: int = 0) -> Iterator[Owner]:
        """The class and its base classes in the application, itself first."""
        yield owner
        if depth < 6:
            for base in owner.definition.bases:
                found = self.named(base, owner.module)
                if found and found.key != owner.key:
                    yield from self.bases(found, depth + 1)

    def is_settings(self, owner: Owner) -> bool:
        """Whether it is a pydantic BaseSettings, or a model created from the whole environment."""
        if "BaseSettings" in self._names_of_bases(owner):
            return True
        is_named_so = re.search(r"settings|config|env", owner.definition.name, re.IGNORECASE)
        return bool(is_named_so) and self.is_model(owner) and self._reads_all(owner.module)

    def is_model(self, owner: Owner) -> bool:
        """Whether it is a model, so that the values in the code are defaults."""
        decorators = [dotted_of(getattr(one, "func", one)) for one in owner.definition.decorator_list]
        return "BaseModel" in self._names_of_bases(owner) or any(one.endswith("dataclass") for one in decorators)

    def _names_of_bases(self, owner: Owner) -> set[str]:
        return {dotted_of(base).rpartition(".")[2] for one in self.bases(owner) for base in one.definition.bases}

    def _reads_all(self, module: Module) -> bool:
        """Whether a module uses the environment as a whole, as in `Settings(**os.environ)`."""
        text = self.values.code.repository.read(module.file) or ""
        return bool(re.search(r"(?<!\bin )\bos\.environ\b(?!\s*[\[.])", text))

    def is_version_1(self, owner: Owner) -> bool:
        """Whether it uses pydantic 1's BaseSettings, where Optional implies the default None."""
        return any(one.module.imports.get("BaseSettings", ("",))[0] == "pydantic" for one in self.bases(owner))

    def fields(self, owner: Owner) -> Iterator[tuple[Owner, str, ast.expr | None, ast.expr | None]]:
        """Each field once: its class, name, annotation and default."""
        seen: set[str] = set()
        for one in self.bases(owner):
            for statement in one.definition.body:
                name, annotation, default = _field(statement)
                is_field = bool(name) and name not in _NO_FIELDS and not name.startswith("__")
                if is_field and name not in seen and "ClassVar" not in _names_in(annotation):
                    seen.add(name)
                    yield one, name, annotation, default

    def option(self, owner: Owner, name: str) -> ast.expr | None:
        """An option in a model's model_config, or in its inner class Config."""
        for one in self.bases(owner):
            for statement in one.definition.body:
                match statement:
                    case (
                        ast.Assign(targets=[ast.Name(id="model_config")], value=ast.Call() as call)
                        | ast.AnnAssign(target=ast.Name(id="model_config"), value=ast.Call() as call)
                    ):
                        if (found := argument(call, name)) is not None:
                            return found
                    case ast.Assign(targets=[ast.Name(id="model_config")], value=ast.Dict(keys=keys, values=values)):
                        for key, value in zip(keys, values, strict=True):
                            if isinstance(key, ast.Constant) and key.value == name:
                                return value
                    case ast.ClassDef(name="Config", body=body):
                        for inner in body:
                            if isinstance(inner, ast.Assign) and name in map(dotted_of, inner.targets):
                                return inner.value
        return None

    def text_option(self, owner: Owner, name: str) -> str:
        found = self.option(owner, name)
        return text_of(self.values.of(found, Scope(owner.module))) or "" if found is not None else ""

    def field(self, owner: Owner, name: str, depth: int = 0) -> Value:
        """The value of a field, a property or a plain class attribute; that of its subclasses if they agree and it has
        none itself."""
        found = self._own_field(owner, name, depth)
        given = self.of_subclasses(owner, name, depth) if found == UNKNOWN else []
        return given[0] if len(given) == 1 else found

    def of_subclasses(self, owner: Owner, name: str, depth: int = 0) -> list[Value]:
        """The different known values that the subclasses of a class give to its attribute. The objects of a model are
        its own."""
        if self.is_model(owner) or self.is_settings(owner):
            return []
        given = [self._own_field(one, name, depth + 1) for one in self._subclasses(owner)]
        return [*{without_places(value): value for value in given if None not in value}.values()]

    def _subclasses(self, owner: Owner) -> list[Owner]:
        return [one for one in self._all if owner.key in [base.key for base in [*self.bases(one)][1:]]]

    @cached_property
    def _all(self) -> list[Owner]:
        """The classes with a base."""
        nodes = self.values.nodes(self.values.calls.modules)
        return [Owner(scope.module, node) for node, scope in nodes if isinstance(node, ast.ClassDef) and node.bases]

    def _own_field(self, owner: Owner, name: str, depth: int) -> Value:
        for one, field, annotation, default in self.fields(owner):
            if field == name:
                if self.is_settings(owner):
                    return (self.env_of(owner, one, name, annotation, default),)
                return self.values.of(default, Scope(one.module, owner=(owner.module, owner.definition)), depth + 1)
        for one in self.bases(owner):
            for statement in one.definition.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == name:
                    scope = Scope(one.module, statement, (owner.module, owner.definition))
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Return) and node.value:
                            return self.values.of(node.value, scope, depth + 1)
                # `self.x = ...` in a method.
                if isinstance(statement, ast.FunctionDef):
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Assign) and f"self.{name}" in map(dotted_of, node.targets):
                            scope = Scope(one.module, statement, (owner.module, owner.definition))
                            return self.values.of(node.value, scope, depth + 1)
        return UNKNOWN

    def env_of(
        self, owner: Owner, holder: Owner, name: str, annotation: ast.expr | None, default: ast.expr | None
    ) -> Env:
        """The variable of a BaseSettings field. `holder` is the class of `owner` that defines it."""
        scope = Scope(holder.module)
        call = default if isinstance(default, ast.Call) and called(default) == "Field" else _annotated(annotation)
        variable = self._alias(call, scope) if call else ""
        if not variable:
            variable = self._alias_in_config(owner, name, scope) or f"{self.text_option(owner, 'env_prefix')}{name}"
        sensitive = self.option(owner, "case_sensitive")
        is_exact = isinstance(sensitive, ast.Constant) and bool(sensitive.value)
        if "BaseSettings" not in self._names_of_bases(owner):
            text = self.values.code.repository.read(owner.module.file) or ""
            is_exact = ".upper()" not in text and ".lower()" not in text
        if not is_exact:
            variable = variable.upper()
        if call is default and call is not None:
            default = argument(call, "default", 0)
            factory = argument(call, "default_factory")
            default = factory.body if isinstance(factory, ast.Lambda) else default
        else:
            factory = None
        is_given = factory is not None or (
            default is not None and not (isinstance(default, ast.Constant) and default.value is Ellipsis)
        )
        is_optional = self.is_version_1(owner) and bool({"Optional", "None"} & _names_in(annotation))
        value = self.values.of(default, scope) if default is not None else ()
        known: str | None = "" if default is None else text_of(value) or self.values.default_text(default, scope, 0)
        names = _names_in(annotation)
        is_secret = bool({"SecretStr", "SecretBytes"} & names)
        is_list = bool({"list", "List", "set", "Set", "tuple", "Tuple"} & names) and "str" not in _union_of(annotation)
        choices = self._choices(annotation, holder.module)
        match value:
            # A default that reads a variable itself: that is the one to set.
            case (Env() as inner,):
                return replace(inner, is_secret=inner.is_secret or is_secret, is_list=is_list, choices=choices)
        return Env(
            variable,
            (known or "") if is_given or is_optional else None,
            not (is_given or is_optional),
            scope.module.place(_field_node(holder, name)),
            is_secret,
            is_list,
            choices,
            is_number="int" in names and not {"bool", "str"} & names,
            is_url=bool(_URLS & names) and "str" not in names,
        )

    def _alias(self, call: ast.Call, scope: Scope) -> str:
        for option in ("validation_alias", "alias", "env"):
            given = argument(call, option)
            if isinstance(given, ast.Call):
                given = given.args[0] if given.args else None
            if isinstance(given, ast.List | ast.Tuple):
                given = given.elts[0] if given.elts else None
            if given is not None and (text := text_of(self.values.of(given, scope))):
                return text
        return ""

    def _alias_in_config(self, owner: Owner, name: str, scope: Scope) -> str:
        """pydantic 1: class Config: fields = {"name": {"env": "NAME"}}."""
        fields = self.option(owner, "fields")
        if isinstance(fields, ast.Dict):
            for key, value in zip(fields.keys, fields.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name and isinstance(value, ast.Dict):
                    given = [one for one in value.values if isinstance(one, ast.Constant)]
                    return str(given[0].value) if given else ""
        return ""

    def _choices(self, annotation: ast.expr | None, module: Module) -> tuple[str, ...]:
        match annotation:
            case ast.Subscript(value=value, slice=inner) if dotted_of(value).endswith("Literal"):
                options = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return tuple(str(one.value) for one in options if isinstance(one, ast.Constant))
        found = self.named(annotation, module)
        if found and any("Enum" in dotted_of(base) for base in found.definition.bases):
            body = [one.value for one in found.definition.body if isinstance(one, ast.Assign)]
            return tuple(str(one.value) for one in body if isinstance(one, ast.Constant))
        return ()


def _field(statement: ast.stmt) -> tuple[str, ast.expr | None, ast.expr | None]:
    """Name, annotation and default of a statement that defines a field; the name is "" for other statements."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.annotation, statement.value
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, None, statement.value
    return "", None, None


def _names_in(node: ast.expr | None) -> set[str]:
    """Names in an annotation: of types, and "None"."""
    found = set()
    for inner in ast.walk(node) if node is not None else ():
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            found.add(inner.attr)
        elif isinstance(inner, ast.Constant):
            found.add(str(inner.value))
    return found


def _union_of(annotation: ast.expr | None) -> set[str]:
    """The type names of a top-level union: `list[str] | str` accepts plain text too."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return _union_of(left) | _union_of(right)
        case ast.Subscript(value=value, slice=ast.Tuple(elts=elts)) if dotted_of(value).endswith("Union"):
            return {name for one in elts for name in _union_of(one)}
        case ast.Name(id=name):
            return {name}
    return set()


def _annotated(annotation: ast.expr | None) -> ast.Call | None:
    """The Field(...) in an Annotated."""
    for node in ast.walk(annotation) if annotation is not None else ():
        if isinstance(node, ast.Call) and called(node) == "Field":
            return node
    return None


def _field_node(owner: Owner, name: str) -> ast.AST:
    for statement in owner.definition.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return statement
    return owner.definition
