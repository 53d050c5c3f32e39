"""Finds how an application connects to MongoDB: the variables for the URL or its parts, and the database."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from slipway.starter.reading.files import Place
from slipway.starter.reading.mongo_clients import Clients
from slipway.starter.reading.python import Module, argument, called
from slipway.starter.reading.value import Env, Scope, Value, envs_in, text_of
from slipway.starter.reading.values import Values
from slipway.starter.reading.variables import Variable, Variables, production_stage

LIBRARIES = {
    "motor",
    "pymongo",
    "beanie",
    "mongoengine",
    "odmantic",
    "umongo",
    "bunnet",
    "mongoz",
    "fastapi_users_db_beanie",
}
# Drivers of relational databases, whose DATABASE_URL is not MongoDB's.
_SQL = {
    "sqlalchemy",
    "sqlmodel",
    "asyncpg",
    "psycopg2",
    "psycopg",
    "databases",
    "tortoise",
    "peewee",
    "mysql",
    "aiomysql",
}
NAME = r"[A-Za-z0-9_-]{1,63}"
_NOT_THE_SITES = {"admin", "local", "config"}
# A database of tests, by a whole word: not "contest" or "latest".
_TESTS = {"test", "tests", "testing", "testdb", "testdatabase"}
_METHODS = {
    "close", "get_database", "get_default_database", "list_database_names", "server_info", "start_session", "address",
    "drop_database", "database_names", "is_primary", "nodes", "primary", "options", "codec_options", "get_io_loop",
    "append_metadata", "aconnect", "watch", "topology_description", "delegate", "io_loop", "bulk_write",
}  # fmt: skip
_URL = re.compile(
    r"^(?P<scheme>[^:/]*)://(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<host>[^/?:]*)(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?$"
)
# Roles by the suffix of a MongoDB variable's name, longest first.
_ENDINGS = (
    ("auth_database", r"AUTH_?(SOURCE|DB|DATABASE)|AUTHENTICATION_(SOURCE|DATABASE)"),
    ("tls", r"TLS|SSL|USE_TLS|USE_SSL|TLS_ENABLED|SSL_ENABLED"),
    ("", r".*(COLLECTION|POOL|TIMEOUT|RETR|TEST|MAX|MIN|CONNECTIONS|REPLICA|TLS|SSL|CERT|CA_FILE)\w*"),
    ("url", r"UR[LI]S?|DSN|DETAILS|CONN(ECTION)?(_?STR(ING)?)?(_UR[LI])?|CONNECTION_UR[LI]|ENDPOINT|CLUSTER|STRING"),
    ("host", r"HOST(NAME)?|SERVER|ADDR(ESS)?|SERVICE"),
    ("port", r"PORT"),
    ("user", r"(ROOT_|ADMIN_|APP_)?(USER(_?NAME)?|LOGIN)"),
    ("password", r"(ROOT_|ADMIN_|APP_|USER_)?(PASSWORD|PASS(WD)?|PWD)"),
    ("database", r"(DB_?)?NAME|DB|DATABASE(_?NAME)?|INITDB_DATABASE|DBNAME"),
)
_STARTS = re.compile(r"^(?:(?:\w*_)?(MONGO(?:DB)?|ATLAS|COSMOS)|(?:APP_|BACKEND_)?(DB|DATABASE))_*(?:INITDB_)?(.*)$")
# The role of a URL's beginning, by what the code appends to it.
_BEGUN = {"/": "begun_url", "": "begun_url_slash", "?": "begun_url_database"}
# Names of other servers.
_OTHERS = re.compile(
    r"REDIS|POSTGRES|(^|_)PG|SQL|ELASTIC|KAFKA|RABBIT|CELERY|MINIO|NEO4J|CHROMA|QDRANT|VECTOR|FIREBASE|INFLUX"
)


@dataclass
class Mongo:
    """`roles` by variable name: url, host, port, user, password, database, auth_database, tls, or "login_host", the
    host in a URL that is composed without a user, or one of _BEGUN."""

    is_used: bool = False
    is_local_url: list[Place] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    databases: list[tuple[str, Place]] = field(default_factory=list)
    # The defaults or examples of variables that the code selects the database by, None if there is no such variable.
    selected: list[tuple[str, Place]] | None = None
    # Where the code selects a database that could not be followed.
    unknown_databases: list[Place] = field(default_factory=list)
    # Hard-coded hosts in URLs that the code composes.
    fixed_hosts: list[tuple[str, Place]] = field(default_factory=list)
    # Variables with a complete URL to which the code appends a text.
    appended: list[tuple[str, Place]] = field(default_factory=list)
    with_srv: list[Place] = field(default_factory=list)
    with_tls: list[Place] = field(default_factory=list)

    @property
    def database(self) -> tuple[str, Place] | None:
        """The database that a variable selects, or that the application uses most often."""
        if self.selected is not None:
            return next(iter(self.selected), None)
        names = [name for name, _ in self.databases]
        usual = [name for name in names if not _is_for_tests(name)] or names
        best = max(dict.fromkeys(usual), key=names.count, default="")
        return next(((name, place) for name, place in self.databases if name == best), None)

    @property
    def others(self) -> list[tuple[str, Place]]:
        """Other databases, which the backend's user can't access."""
        main = self.database
        is_known = main is not None or self.selected is not None
        found = {name: place for name, place in self.databases if is_known and (not main or name != main[0])}
        has_tests = main is not None and _is_for_tests(main[0])
        return [(name, place) for name, place in found.items() if has_tests or not _is_for_tests(name)]


class _Reader:
    def __init__(self, values: Values, modules: list[Module], found: Variables) -> None:
        self.values, self.modules, self.variables = values, modules, found
        self.result = Mongo()
        self.clients = Clients(values, modules)
        # The variables that the code selects a database by.
        self.selecting: set[str] = set()
        # Roles of hosts if there is neither a URL nor a user.
        self.without_user: dict[str, str] = {}

    def read(self) -> Mongo:
        imported = {name.partition(".")[0] for module in self.modules for name in module.imported}
        self.result.is_used = bool(imported & LIBRARIES)
        is_sql = bool(imported & _SQL)
        listed = self.values.nodes(self.modules)
        calls = [(self.values.expanded(node, scope), scope) for node, scope in listed if isinstance(node, ast.Call)]
        for node, scope in listed:
            self._database(node, scope)
        for call, scope in calls:
            if self.clients.makes(call, scope):
                self._client(call, scope)
        self._composed()
        for variable in self.variables.found:
            if variable.name not in self.result.roles and (role := self._by_name(variable, is_sql)):
                self.result.roles[variable.name] = role
        for name, place in self.variables.from_files:
            if role := self._by_name(Variable(name, None, True, place), is_sql):
                self.result.roles.setdefault(name, role)
        if not any(role == "user" or "url" in role for role in self.result.roles.values()):
            self.result.roles |= self.without_user
        self._names_of_variables()
        return self.result

    # --- What a client connects to ------------------------------------------------------------------------------------

    def _client(self, call: ast.Call, scope: Scope) -> None:
        is_engine = called(call) in ("connect", "register_connection")
        where = argument(call, "host", None if is_engine else 0)
        place = scope.module.place(call)
        if where is not None and not self._is_given(where, scope):
            value = self.values.of(where, scope)
            self._url(value, place, argument(call, "port", None if is_engine else 1) is not None)
            if len(value) == 1 and isinstance(value[0], Env) and self.result.roles.get(value[0].name) == "host":
                # A client also accepts a URL as the host, with its port.
                self.without_user[value[0].name] = "url"
        elif where is None and not is_engine and not call.keywords:
            self.result.is_local_url.append(place)
        for option, role in (
            ("port", "port"),
            ("username", "user"),
            ("password", "password"),
            ("authSource", "auth_database"),
            ("authsource", "auth_database"),
            ("authentication_source", "auth_database"),
            ("tls", "tls"),
            ("ssl", "tls"),
        ):
            given = argument(call, option, 1 if option == "port" and not is_engine else None)
            for env in envs_in(self.values.of(given, scope)) if given is not None else ():
                self.result.roles[env.name] = role
        for keyword in call.keywords:
            is_on = not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            if (
                re.fullmatch(r"tls\w*|ssl\w*", keyword.arg or "")
                and is_on
                and not envs_in(self.values.of(keyword.value, scope))
            ):
                self.result.with_tls.append(place)
                break
        if is_engine and (name := argument(call, "db", 0) or argument(call, "name")):
            self._name(name, scope, place)

    def _is_given(self, node: ast.expr, scope: Scope) -> bool:
        """Whether it is a field of a model that is not a settings class, so that its value comes from elsewhere."""
        owners = [self.values.classes.of(one.value, scope) for one in ast.walk(node) if isinstance(one, ast.Attribute)]
        classes = self.values.classes
        return any(classes.is_model(owner) and not classes.is_settings(owner) for owner in owners if owner)

    def _url(self, value: Value, place: Place, has_port: bool) -> None:
        """The roles of the parts of a URL."""
        match value:
            case (Env() as env,):
                looks_like_host = not re.search(r"UR[LI]|DSN|STRING|DETAILS", env.name.upper())
                self.result.roles.setdefault(env.name, "host" if has_port and looks_like_host else "url")
                return
            case (str(text),):
                if text.startswith("mongodb") or "/" not in text:
                    self.result.is_local_url.append(place)
                return
            case (Env() as env, *rest) if rest and "://" not in str(rest[0]):
                start = rest[0][:1] if isinstance(rest[0], str) else ""
                self.result.roles[env.name] = _BEGUN.get(start, "url")
                if start not in _BEGUN:
                    self.result.appended.append((env.name, place))
                return
        marks = [part if isinstance(part, str) else f"\x01{number}\x02" for number, part in enumerate(value)]
        found = _URL.match("".join(marks))
        if not found:
            return
        if "+srv" in found["scheme"] and place not in self.result.with_srv:
            self.result.with_srv.append(place)
        for role in ("user", "password", "host", "port", "database"):
            if match := re.fullmatch("\x01(\\d+)\x02", found[role] or ""):
                part = value[int(match[1])]
                if isinstance(part, Env):
                    self.result.roles[part.name] = role
                    if role == "host" and not found["user"]:
                        self.without_user[part.name] = "login_host"
            elif role == "database" and found[role] and "\x01" not in found[role]:
                self._add(found[role], place)
        if (host := found["host"] or "") and "\x01" not in host and "+srv" not in found["scheme"]:
            if not found["user"]:
                self.result.is_local_url.append(place)
            elif host not in ("localhost", "127.0.0.1"):
                self.result.fixed_hosts.append((host, place))

    def _composed(self) -> None:
        """Find URLs that are composed in the code before they reach a client."""
        inner: set[int] = set()
        texts = self.values.code.repository
        modules = [module for module in self.modules if "mongodb" in (texts.read(module.file) or "")]
        for node, scope in self.values.nodes(modules):
            if id(node) in inner or not (
                isinstance(node, ast.JoinedStr | ast.BinOp) or called(node) in ("build", "format")
            ):
                continue
            assert isinstance(node, ast.expr)
            inner |= {id(one) for one in ast.walk(node)}
            value = self.values.of(node, scope)
            if len(value) > 1 and str(value[0]).startswith("mongodb"):
                self._url(value, scope.module.place(node), has_port=False)

    # --- Databases ----------------------------------------------------------------------------------------------------

    def _database(self, node: ast.AST, scope: Scope) -> None:
        """`client["shop"]`, `client.shop`, `client.get_database("shop")`, odmantic's and beanie's."""
        match node:
            case ast.Subscript(value=value, slice=index) if self.clients.is_one(value, scope):
                self._name(index, scope, scope.module.place(node))
            case ast.Call(
                func=ast.Attribute(value=value, attr="get_database" | "get_default_database"), args=[name, *_]
            ):
                if self.clients.is_one(value, scope):
                    self._name(name, scope, scope.module.place(node))
            case ast.Call(func=ast.Name(id="getattr"), args=[value, name, *_]) if self.clients.is_one(value, scope):
                self._name(name, scope, scope.module.place(node))
            case ast.Call() if called(node) in ("AIOEngine", "SyncEngine"):
                if given := argument(node, "database", 1):
                    self._name(given, scope, scope.module.place(node))
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
                self._attribute(value, scope)
            case ast.keyword(arg="database", value=value):
                self._attribute(value, scope)
            case ast.Attribute(value=ast.Attribute() as inner) | ast.Subscript(value=ast.Attribute() as inner):
                self._attribute(inner, scope)
            case ast.Return(value=ast.Attribute() as inner):
                self._attribute(inner, scope)

    def _attribute(self, node: ast.expr, scope: Scope) -> None:
        """`client.shop`."""
        if not isinstance(node, ast.Attribute) or node.attr in _METHODS or node.attr.startswith("_"):
            return
        if not self.clients.is_attribute(node.attr) and self.clients.is_one(node.value, scope):
            self._add(node.attr, scope.module.place(node))

    def _name(self, node: ast.expr, scope: Scope, place: Place) -> None:
        value = self.values.of(node, scope)
        match value:
            case (Env() as env,) if "COLLECTION" not in env.name.upper():
                self.result.roles[env.name] = "database"
                self.selecting.add(env.name)
            case (str(text),):
                for name in self.values.branches.texts(node, scope) or [text]:
                    self._add(name, place)
            case _:
                names = self._of_subclasses(node, scope)
                for name in names:
                    self._add(name, place)
                if not names:
                    self.result.unknown_databases.append(place)

    def _of_subclasses(self, node: ast.expr, scope: Scope) -> list[str]:
        """The different names that the subclasses of a class give to `self.NAME`."""
        owner = self.values.classes.of(node.value, scope) if isinstance(node, ast.Attribute) else None
        if owner is None or not isinstance(node, ast.Attribute):
            return []
        given = [text_of(value) for value in self.values.classes.of_subclasses(owner, node.attr) if not envs_in(value)]
        return [text for text in given if text]

    def _add(self, name: str, place: Place) -> None:
        if _is_the_sites(name):
            self.result.databases.append((name, place))

    # --- By their names -----------------------------------------------------------------------------------------------

    def _by_name(self, variable: Variable, is_sql: bool) -> str:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", variable.name).upper()
        known = f"{variable.default or ''} {variable.example or ''}"
        if "mongodb://" in known or "mongodb+srv://" in known:
            return "url"
        match = _STARTS.match(name)
        is_mongos = "MONGO" in name or "ATLAS" in name
        # A module that is imported by its name may use it.
        is_used = self.result.is_used or "MONGO" in name
        if not match or not is_used or _OTHERS.search(name) or (is_sql and not is_mongos):
            return ""
        if "postgres" in known or "mysql" in known or "sqlite" in known or "redis" in known:
            return ""
        end = match[3]
        if not end:
            return "url" if match[1] else "database"
        role = next((one for one, ending in _ENDINGS if re.fullmatch(ending, end)), "")
        if role == "host" and "://" in known:
            return "url"
        return role

    def _names_of_variables(self) -> None:
        """The databases in the defaults or examples of variables."""
        if self.selecting:
            self.result.selected = []
        for name, role in self.result.roles.items():
            variable = self.variables[name]
            # Celery's results have a database of their own.
            if variable is None or _OTHERS.search(name.upper()):
                continue
            for text, place in ((variable.default, variable.place), (variable.example, variable.example_place)):
                if not text or not place:
                    continue
                if role == "database":
                    # A database for each stage.
                    found = production_stage(variable) or text.partition("?")[0]
                elif "url" in role and (url := _URL.match(text)):
                    found = url["database"] or ""
                else:
                    continue
                # The variable is set, so that the name is free.
                if re.fullmatch(NAME, found) and not _is_for_tests(found):
                    self._add(found, place)
                    if name in self.selecting and _is_the_sites(found):
                        self.result.selected = [*(self.result.selected or []), (found, place)]
                    break


def _is_the_sites(name: str) -> bool:
    return bool(re.fullmatch(NAME, name)) and name not in _NOT_THE_SITES


def _is_for_tests(name: str) -> bool:
    # The words of "shopTest" and "shop_test".
    words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return bool(_TESTS & {*words})


def mongo(values: Values, modules: list[Module], found: Variables) -> Mongo:
    """How `modules` connect to MongoDB; `found` are the variables that they read."""
    return _Reader(values, modules, found).read()
