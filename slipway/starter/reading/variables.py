"""Finds the environment variables that an application reads, with the values in its example files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from slipway.settings.imported import is_secret
from slipway.starter.reading.classes import Owner
from slipway.starter.reading.files import Place, Repository, dotenv, folder_of, line_of, parents
from slipway.starter.reading.python import Module, called, dotted_of
from slipway.starter.reading.stages import in_comments, productions
from slipway.starter.reading.value import Env, Reader, Scope, envs_in
from slipway.starter.reading.values import Values

# Example files, best first; a developer's own .env comes last.
EXAMPLES = (
    ".env.production", ".env.prod", ".env.example", ".env.sample", ".env.template", ".env.dist", "env.example",
    "example.env", "sample.env", ".env.default", ".env.defaults", ".example.env", ".env.dev", ".env.development",
    ".env.exemple", ".env.exemplo", ".env.ejemplo", ".env.local.example", ".env.local", ".env",
)  # fmt: skip
# Variables that every process has, or that only scripts or other services read.
_OWN = re.compile(
    r"PATH|HOME|USER|PWD|SHELL|LANG|TZ|TMP(DIR)?|TEMP|PORT|HOST|HOSTNAME|CI|PYTHON\w*|VIRTUAL_ENV|UVICORN_\w+|GUNICORN_\w+"
    r"|WEB_CONCURRENCY|WORKERS|RELOAD|DYNO|KUBERNETES_\w+|AWS_LAMBDA_\w+|VERCEL\w*|RENDER\w*|RAILWAY_\w+|PYTEST_\w+"
    r"|API_PORT|API_HOST|APP_PORT|APP_HOST|SERVER_PORT|SERVER_HOST|BACKEND_PORT|BACKEND_HOST|CREDENTIALS_DIRECTORY"
)
# Names with a secret's word that are no secrets; URLs that usually contain a password.
_NO_SECRET = re.compile(
    r"(^|_)(MIN|MAX)_|TOKENS|_USER(NAME)?$|_EMAIL$|_HOST$|_PORT$|_REGION$|TOKEN_UR[LI]|ALLOW|USE_|REQUIRE|VALIDAT|REGEX|SCHEME"
)
_URLS = re.compile(r"(REDIS|CELERY|AMQP|RABBITMQ|CLOUDINARY|POSTGRES\w*|BROKER)\w*_UR[LI]")
# The words in names of the application's own secrets; a third party's secret contains its name.
_OWN_WORDS = {
    "APP", "JWT", "AUTH", "SESSION", "COOKIE", "CSRF", "REFRESH", "ACCESS", "TOKEN", "SECRET", "KEY", "HASH", "SIGNING",
    "FASTAPI", "BACKEND", "SITE", "USER", "RESET", "PASSWORD", "VERIFICATION", "VERIFY", "EMAIL", "SECURITY",
    "MIDDLEWARE", "SERVER", "LOGIN", "STATE", "ADMIN", "AUTHJWT",
}  # fmt: skip
_STAGE = re.compile(r"((APP|FASTAPI|API|SERVER|PYTHON|K_SERVICE)_?)?(ENV|ENVIRONMENT|STAGE|MODE)")
# Variables that may get a value from the site, even if the code does without.
_MAY_BE_SET = re.compile(r"MONGO|ATLAS|DB|DATABASE|REDIS|VALKEY|CELERY|BROKER|UR[LI]|HOST|ORIGIN|DOMAIN|DEBUG|PATH|DIR")
_FOR_DEVELOPMENT = re.compile(r"dev\w*|local\w*|debug|test\w*", re.IGNORECASE)


@dataclass(frozen=True)
class Variable:
    """`default` as in Env. `example` is the value in an example file, with its place; None if there is none."""

    name: str
    default: str | None
    is_required: bool
    place: Place
    is_secret: bool = False
    is_list: bool = False
    choices: tuple[str, ...] = ()
    # The code makes a number of it, so that no other text is valid.
    is_number: bool = False
    # Its type accepts only URLs.
    is_url: bool = False
    # Any text but an empty one is true: the code calls bool() with it.
    is_truth: bool = False
    # The names of production that the code compares it with, or has beside it.
    productions: tuple[str, ...] = ()
    example: str | None = None
    example_place: Place | None = None

    @property
    def is_own(self) -> bool:
        """Whether every process has it, or it is not needed."""
        return bool(_OWN.fullmatch(self.name.upper()))

    @property
    def is_generated(self) -> bool:
        """Whether any random text will do: the application's own key for signing or hashing."""
        words = set(self.name.upper().strip("_").split("_"))
        joined = re.sub(r"(SECRET|JWT|KEY|AUTH)", r"_\1_", self.name.upper()).strip("_")
        parts = {word for word in joined.split("_") if word}
        signs = "SECRET" in parts or {"JWT", "KEY"} <= parts or {"SIGNING", "KEY"} <= parts
        return signs and (words | parts) - {self.name.upper().strip("_")} <= _OWN_WORDS | words and parts <= _OWN_WORDS

    @property
    def known(self) -> str:
        """The value in the code or an example; "" for none."""
        return self.default or self.example or ""


def production_stage(variable: Variable) -> str:
    """The name of production for a variable with the environment's name; "" for others."""
    if not _STAGE.fullmatch(variable.name.upper()):
        return ""
    production = next((one for one in variable.choices if one.lower().startswith("prod")), "")
    is_usual = variable.default is None or _FOR_DEVELOPMENT.fullmatch(variable.known)
    compared = variable.productions[0] if variable.productions else "production"
    return production or (compared if not variable.choices and is_usual else "")


def is_secret_name(name: str) -> bool:
    return (is_secret(name, "") and not _NO_SECRET.search(name.upper())) or bool(_URLS.fullmatch(name.upper()))


@dataclass
class Variables:
    found: list[Variable]
    # Values read only from files, not from the environment: `dotenv_values(".env")["X"]`.
    from_files: list[tuple[str, Place]]
    # Where the prefix of variables' names could not be followed.
    unknown_prefixes: list[Place] = field(default_factory=list)

    def __getitem__(self, name: str) -> Variable | None:
        return next((one for one in self.found if one.name == name), None)

    def on_server(self, env: Env) -> str | None:
        """What the code reads there, "" for a variable that is not set; None if that is not known."""
        variable = self[env.name]
        if variable is None:
            return None
        if stage := production_stage(variable):
            return stage
        is_set = variable.is_required or variable.example or variable.is_own or variable.is_secret
        # An empty default may be one that could not be followed.
        return None if is_set or _MAY_BE_SET.search(env.name.upper()) or env.default == "" else env.default or ""


def variables(values: Values, modules: list[Module], repository: Repository, folders: list[str]) -> Variables:
    """The variables that `modules` read, with the examples in `folders` and their parents."""
    find_readers(values, modules)
    envs: list[Env] = []
    from_files: list[tuple[str, Place]] = []
    numbers: set[str] = set()
    truths: set[str] = set()
    required: set[str] = set()
    inside: set[int] = set()
    settings: dict[tuple[str, str], Owner] = {}
    for node, scope in values.nodes(modules):
        if isinstance(node, ast.ClassDef):
            owner = Owner(scope.module, node)
            if values.classes.is_settings(owner):
                settings[owner.key] = owner
                # The values of its fields are defaults.
                fields = [one for one in node.body if isinstance(one, ast.Assign | ast.AnnAssign)]
                inside |= {id(inner) for statement in fields for inner in ast.walk(statement)}
        elif isinstance(node, ast.If):
            asked = [values.of(one, scope) for one in _refused(node)]
            required |= {
                one.name for value in asked if len(value) == 1 for one in envs_in(value) if one.default is None
            }
        elif isinstance(node, ast.Call | ast.Subscript) and id(node) not in inside:
            if isinstance(node, ast.Subscript) and (name := _from_file(values, node, scope)):
                from_files.append((name, scope.module.place(node)))
            elif env := values.env(node, scope):
                envs.append(env)
            elif called(node) == "bool" and isinstance(node, ast.Call) and node.args:
                direct = values.env(node.args[0], scope)
                truths |= {direct.name} if direct else set()
            elif called(node) == "int" and isinstance(node, ast.Call) and node.args:
                numbers |= {one.name for one in envs_in(values.of(node.args[0], scope))}
    envs += [env for module in modules if module.unread for env in _in_text(module, repository.read(module.file) or "")]
    bases = {base.key for owner in settings.values() for base in [*values.classes.bases(owner)][1:]}
    made = {called(node) for node, _ in values.nodes(modules) if isinstance(node, ast.Call)}
    for owner in settings.values():
        if owner.key not in bases or owner.definition.name in made:
            envs += _fields(values, owner)
    merged = [
        replace(
            one,
            is_number=one.is_number or one.name in numbers,
            is_truth=one.name in truths,
            is_required=one.is_required or (one.name in required and one.default is None),
        )
        for one in _merged(envs)
    ]
    stages = {one.name: one.place for one in merged if _STAGE.fullmatch(one.name.upper())}
    named = productions(values, modules, repository, stages)
    merged = [replace(one, productions=named.get(one.name, ())) for one in merged]
    return Variables(_with_examples(merged, repository, folders), from_files, [*values.prefixes.unknown])


def _refused(statement: ast.If) -> Iterator[ast.expr]:
    """What the code does not go on without: `if not X: raise`, `if X is None: sys.exit()`."""
    if not any(
        isinstance(one, ast.Raise) or (isinstance(one, ast.Expr) and called(one.value) == "exit")
        for one in statement.body
    ):
        return
    tests = statement.test.values if isinstance(statement.test, ast.BoolOp) else [statement.test]
    for test in tests if not isinstance(getattr(statement.test, "op", None), ast.And) else ():
        match test:
            case ast.UnaryOp(
                op=ast.Not(), operand=ast.Call(func=ast.Name(id="all"), args=[ast.List() | ast.Tuple() as all_])
            ):
                yield from all_.elts
            case ast.UnaryOp(op=ast.Not(), operand=ast.BoolOp(op=ast.And(), values=values)):
                yield from values
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield operand
            case ast.Compare(left=left, ops=[ast.Is() | ast.Eq()], comparators=[ast.Constant(value=None | "")]):
                yield left


def _in_text(module: Module, text: str) -> Iterator[Env]:
    """The variables that the unparsed part of a module reads."""
    for match in re.finditer(r"^[^#\n]*?\b(?:getenv\(|environ\.get\(|environ\[)\s*['\"](\w+)['\"]", text, re.MULTILINE):
        yield Env(match[1], None, False, Place(module.file, line_of(text, match.start(1))))


def _fields(values: Values, owner: Owner, prefix: str = "") -> list[Env]:
    """The variables of a settings class's fields, and of nested models if a delimiter joins their names."""
    delimiter = values.classes.text_option(owner, "env_nested_delimiter")
    found = []
    for holder, name, annotation, default in values.classes.fields(owner):
        if name.startswith("_"):
            continue
        if annotation is None and isinstance(default, ast.Call) and called(default) != "Field":
            # The field's type is that of the result, not of the variable.
            if env := values.env(default, Scope(holder.module)):
                found.append(env)
            continue
        env = values.classes.env_of(owner, holder, name, annotation, default)
        inner = values.classes.named(annotation, holder.module)
        is_enumeration = bool(env.choices) or (
            inner and any("Enum" in dotted_of(one) for one in inner.definition.bases)
        )
        if inner and not is_enumeration:
            if delimiter and not values.classes.is_settings(inner):
                for its, field, its_annotation, its_default in values.classes.fields(inner):
                    nested = values.classes.env_of(inner, its, field, its_annotation, its_default)
                    found.append(replace(nested, name=f"{env.name}{delimiter}{nested.name}".upper()))
            continue
        found.append(env)
    return found


def _from_file(values: Values, node: ast.Subscript, scope: Scope) -> str:
    """The name in `config["X"]` if config is only the result of dotenv_values."""
    if not isinstance(node.slice, ast.Constant) or not isinstance(node.slice.value, str):
        return ""
    return node.slice.value if any(called(one) == "dotenv_values" for one in values.assigned(node.value, scope)) else ""


def find_readers(values: Values, modules: list[Module]) -> None:
    """Record the application's functions that read the variable named by an argument."""
    for node, scope in values.nodes(modules):
        function = scope.function
        if function is None or not isinstance(node, ast.Call | ast.Subscript):
            continue
        dotted = dotted_of(node.func if isinstance(node, ast.Call) else node.value)
        if not re.search(r"(^|\.)(getenv|environ|environ\.get)$", dotted):
            continue
        key = node.slice if isinstance(node, ast.Subscript) else (node.args[0] if node.args else None)
        parameters = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        if key is not None and (reader := _reader(values, key, parameters, scope)):
            values.readers[function.name] = reader


def _reader(values: Values, key: ast.expr, parameters: list[str], scope: Scope) -> Reader | None:
    """How a function reads the variable `key`, if one of its parameters is the name, as it is or in f"SHOP_{name}"."""
    names = [node.id for node in ast.walk(key) if isinstance(node, ast.Name) and node.id in parameters]
    with values.calls.ignored():
        value = (None,) if isinstance(key, ast.Name) else values.of(key, scope)
    parts = [part for part in value if isinstance(part, str)]
    if len(names) != 1 or len(parts) != len(value) - 1 or None not in value:
        return None
    at = value.index(None)
    fallback = next((n for n, one in enumerate(parameters) if "default" in one or "fallback" in one), None)
    is_upper = any(isinstance(node, ast.Attribute) and node.attr == "upper" for node in ast.walk(key))
    return Reader(parameters.index(names[0]), fallback, "".join(parts[:at]), "".join(parts[at:]), is_upper)


def _merged(envs: Iterable[Env]) -> list[Variable]:
    found: dict[str, Variable] = {}
    for env in envs:
        # A boolean or a number is no secret, whatever its name.
        is_plain = bool(re.fullmatch(r"(?i)true|false|\d{1,6}(\.\d+)?", env.default or ""))
        secret = env.is_secret or (is_secret_name(env.name) and not is_plain)
        new = Variable(
            env.name,
            env.default,
            env.is_required,
            env.place,
            secret,
            env.is_list,
            env.choices,
            env.is_number,
            env.is_url,
        )
        old = found.get(env.name)
        if old is None:
            found[env.name] = new
            continue
        found[env.name] = replace(
            old,
            default=old.default if old.default is not None else new.default,
            is_required=old.is_required or new.is_required,
            place=new.place if new.is_required and not old.is_required else old.place,
            is_secret=old.is_secret or new.is_secret,
            is_number=old.is_number or new.is_number,
            is_url=old.is_url or new.is_url,
        )
    return [*found.values()]


def examples(repository: Repository, folders: list[str]) -> list[tuple[str, dict[str, tuple[str, int]]]]:
    """The example files in folders and their parents, best first, with their values."""
    places = dict.fromkeys(above for folder in folders for above in parents(folder))
    files = [f"{place}/{name}" if place else name for place in places for name in EXAMPLES]
    others = [file for file in repository.files if folder_of(file).endswith(".envs")]
    known = [file for file in (*files, *others) if repository.has(file)]
    return [(file, dotenv(repository.read(file) or "")) for file in known]


def _with_examples(found: list[Variable], repository: Repository, folders: list[str]) -> list[Variable]:
    listed = examples(repository, folders)
    result = []
    for variable in found:
        for file, names in listed:
            upper = {name.upper(): its for name, its in names.items()}
            if its := names.get(variable.name) or upper.get(variable.name.upper()):
                # A developer's own file: only the names tell which values are secret.
                variable = replace(variable, example=its[0], example_place=Place(file, its[1]))
                if not variable.productions and _STAGE.fullmatch(variable.name.upper()):
                    told = in_comments(repository.read(file) or "", its[1])
                    variable = replace(variable, productions=told)
                break
        result.append(variable)
    return result
