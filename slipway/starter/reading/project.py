"""Reads a repository: its backend and its frontend."""

from __future__ import annotations

import ast
import posixpath
import re
from dataclasses import dataclass, field

from slipway.starter.reading import compose
from slipway.starter.reading.api_url import Api, api
from slipway.starter.reading.apps import App, applications, is_poor
from slipway.starter.reading.beside import Beside, beside
from slipway.starter.reading.chosen import Chosen, chosen_of
from slipway.starter.reading.files import Place, Repository, folder_of, parents
from slipway.starter.reading.folders import Served, Written, is_served, served, written
from slipway.starter.reading.frontend import Frontend, frontends
from slipway.starter.reading.images import apt_packages
from slipway.starter.reading.mongo import Mongo, mongo
from slipway.starter.reading.needs import fixed_keys
from slipway.starter.reading.own_pages import OwnPages, own_pages
from slipway.starter.reading.packages import (
    Dependencies,
    Wanted,
    as_installed,
    by_tool,
    dependencies,
    pythons,
    version_of,
)
from slipway.starter.reading.python import Code, Module, called, dotted_of
from slipway.starter.reading.roots import code_of, common, is_within
from slipway.starter.reading.routes import Route, Routes, described, routes
from slipway.starter.reading.values import Values
from slipway.starter.reading.variables import Variables, variables
from slipway.starter.reading.workers import Unread, Worker, celery_variables, fixed_brokers, workers

# Client modules of servers other than MongoDB, by the server's name.
SERVERS = {
    "Redis": {"redis", "aioredis", "arq", "rq"},
    "Celery's broker": {"celery"},
    "PostgreSQL, MySQL or the like": {"sqlalchemy", "sqlmodel", "asyncpg", "psycopg2", "psycopg", "tortoise"},
    "RabbitMQ": {"aio_pika", "pika"},
    "Kafka": {"aiokafka", "kafka", "confluent_kafka"},
    "MinIO or S3": {"minio"},
    "Elasticsearch": {"elasticsearch", "opensearchpy"},
}
# The first FastAPI whose Starlette (0.35) routes paths with root_path in front.
BELOW_ROOT = (0, 109)
_SCHEDULERS = {"AsyncIOScheduler", "BackgroundScheduler", "repeat_every"}


@dataclass
class Backend:
    """`source` is the folder that the application is started in, and `roots` are those that it is imported from,
    relative to the repository; usually the same."""

    app: App
    others: list[App]
    source: str
    dependencies: Dependencies | None
    pythons: list[Wanted]
    modules: list[Module]
    routes: Routes
    # The paths of a committed OpenAPI file, and its name.
    described: tuple[list[str], str]
    variables: Variables
    mongo: Mongo
    written: list[Written]
    served: list[Served]
    # Servers other than MongoDB that it uses, with the place of the import.
    servers: dict[str, Place] = field(default_factory=dict)
    # Why it needs a single process, with the place.
    alone: tuple[str, Place] | None = None
    is_example: bool = False
    # Programs that run beside the application.
    workers: list[Worker] = field(default_factory=list)
    unread_workers: list[Unread] = field(default_factory=list)
    # Other programs of its containers.
    beside: list[Beside] = field(default_factory=list)
    # What its image installs with apt.
    apt: list[tuple[str, Place]] = field(default_factory=list)
    # Celery's brokers that are in the code.
    fixed_brokers: list[tuple[str, Place]] = field(default_factory=list)
    # The variables with the URL of Celery's broker, with the place.
    celery: dict[str, Place] = field(default_factory=dict)
    roots: list[str] = field(default_factory=list)
    # The names and addresses of containers.
    hosts: set[str] = field(default_factory=set)
    # The paths that their health checks request.
    checked_paths: list[tuple[str, Place]] = field(default_factory=list)
    # Where a key that signs tokens is in the code.
    fixed_keys: list[Place] = field(default_factory=list)
    # Whether it serves the build of the frontend itself.
    serves_frontend: bool = False
    # A build of pages in git that it serves at /.
    own_pages: OwnPages | None = None
    # Whether its FastAPI answers below root_path only if a proxy strips that.
    has_stripped_root: bool = False

    @property
    def root_path(self) -> str:
        """What is in front of its routes."""
        return "" if self.has_stripped_root else self.routes.root_path.rstrip("/")

    @property
    def python_path(self) -> str:
        """PYTHONPATH for a start in `source`, "" if that is where it is imported from."""
        is_usual = self.roots == [self.source]
        return "" if is_usual else ":".join(posixpath.relpath(root or ".", self.source or ".") for root in self.roots)

    @property
    def is_certain(self) -> bool:
        """Whether the choice is unambiguous."""
        rivals = [one for one in self.others if one.file != self.app.file and not one.is_wrapper and not is_poor(one)]
        weight = self.app.start.weight if self.app.start else 0
        return not any((one.start.weight if one.start else 0) >= weight for one in rivals)

    @property
    def paths(self) -> list[tuple[str, str]]:
        """Every path that it answers, with the place in the code."""
        root = self.root_path
        found = [(f"{root}{route.path}", str(route.place)) for route in self.routes.found]
        described_paths, file = self.described
        return found + [(f"{root}{path}", file) for path in described_paths]


@dataclass
class Project:
    repository: Repository
    backend: Backend | None = None
    frontend: Frontend | None = None
    other_frontends: list[Frontend] = field(default_factory=list)
    # The frontend that a build in git replaces, which the backend serves.
    replaced: Frontend | None = None
    api: Api = field(default_factory=Api)


def read(repository: Repository, chosen: Chosen, site: str | None) -> Project:
    """Read a repository: the most likely application and frontend, or those that the user names. `site` is the folder
    of a frontend, which is built even if the application serves a build of its own."""
    for file in [*compose.dockerfiles(repository)]:
        repository.add_folder_of(file)
    found = Project(repository)
    candidates = applications(repository)
    sites = sorted(frontends(repository), key=lambda one: one.folder != site)
    if app := chosen_of(repository, candidates, chosen):
        others = [one for one in candidates if (one.file, one.name) != (app.file, app.name)]
        found.backend = _backend(repository, app, others, [one for one in sites if not one.server], chosen.source)
    own = found.backend.own_pages if found.backend else None
    if sites and own and own.other and site is None:
        found.replaced = sites[0]
    elif sites:
        found.frontend, found.other_frontends = sites[0], sites[1:]
        found.api = api(repository, sites[0])
    return found


def _backend(repository: Repository, app: App, others: list[App], sites: list[Frontend], named: str | None) -> Backend:
    """`sites` are the frontends that are files, the main one first; `named` is the folder that the user starts it in,
    None for any."""
    # The folder in the repository that the frontend's build is written to, "" for none.
    target = sites[0].target if sites else ""
    code = code_of(repository, app)
    modules = code.reachable(app.module)
    queues, unread = workers(repository, code)
    # A worker may read more than the application does.
    known = {module.file for module in modules}
    of_workers = [module for worker in queues for module in code.reachable(_module_of(code, worker.module))]
    modules += [*{one.file: one for one in of_workers if one.file not in known}.values()]
    values = Values(code, modules)
    near = [file for file in repository.files if folder_of(file) in parents(app.root) and _installs(file)]
    starts = [app.start.place.file] if app.start else []
    listed = as_installed(repository, dependencies(repository, app.file, app.root), [*starts, *near], app.root)
    listed = by_tool(repository, listed, [*starts, *near])
    folders = [app.root, *([listed.folder] if listed else [])]
    read_variables = variables(values, modules, repository, folders)
    values.branches.variables = read_variables
    inner = next((one for one in others if not one.is_wrapper and one.file == app.file), app) if app.is_wrapper else app
    answered = routes(values, modules, (inner.file, inner.name))
    mounted = {module.file for module in modules} - {app.file}
    roots = [app.root, *code.others]
    source = common(roots)
    serves = bool(target) and is_served(values, modules, answered, app.root, target)
    if serves and not is_within(target, source):
        source = common([source, target])
    if named is not None and is_within(source, named):
        source = named
    found = Backend(
        app,
        # A mounted application is a part of this one.
        [one for one in others if one.file not in mounted or one.start],
        source,
        listed,
        pythons(repository, folders),
        modules,
        answered,
        described(repository, app.root),
        read_variables,
        mongo(values, modules, read_variables),
        written(values, modules, source),
        served(values, answered, source),
        is_example=is_poor(app),
        roots=roots,
        serves_frontend=serves,
        hosts=compose.hosts(repository),
        fixed_keys=[*fixed_keys(values, modules)],
        checked_paths=[*compose.checked_paths(repository)],
    )
    found.servers, found.workers, found.unread_workers = _servers(modules), queues, unread
    version = version_of(repository, listed, "fastapi")
    found.has_stripped_root = bool(answered.root_path.strip("/")) and () < version < BELOW_ROOT
    found.celery = celery_variables(values, modules, read_variables)
    found.fixed_brokers, found.beside = fixed_brokers(values, modules), beside(repository, app, code)
    if sites and sites[0].manager and not serves:
        found.own_pages = own_pages(repository, values, modules, answered, app.root, {one.target for one in sites})
    found.apt = [*apt_packages(repository, app)]
    found.alone = _alone(values, modules, answered, found.servers)
    if sockets := _socket_io(values, modules):
        answered.found.append(sockets)
    return found


def _installs(file: str) -> bool:
    """Whether it is a file that tells how an application is installed, by its name."""
    name = file.rpartition("/")[2].lower()
    return "dockerfile" in name and not re.search(r"dev|test|local|front|web", name)


def _module_of(code: Code, dotted: str) -> str:
    """The module of "app.tasks.celery", which may be a name in it."""
    return dotted if code.file_of(dotted) else dotted.rpartition(".")[0]


def _servers(modules: list[Module]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for module in modules:
        for node in module.import_statements:
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            else:
                names = [] if node.level else [node.module or ""]
            heads = {name.partition(".")[0] for name in names}
            for server, packages in SERVERS.items():
                if heads & packages:
                    found.setdefault(server, module.place(node))
    return found


def _alone(
    values: Values, modules: list[Module], answered: Routes, servers: dict[str, Place]
) -> tuple[str, Place] | None:
    """What several worker processes would do twice, or could not share."""
    for node, scope in values.nodes(modules):
        if isinstance(node, ast.Call) and called(node) in _SCHEDULERS:
            return f"each worker would run the jobs of {called(node)}", scope.module.place(node)
    if answered.websockets and not {"Redis", "RabbitMQ", "Kafka"} & servers.keys():
        return "a worker can't reach the WebSockets of another", answered.websockets[0].place
    return None


def _socket_io(values: Values, modules: list[Module]) -> Route | None:
    for node, scope in values.nodes(modules):
        if isinstance(node, ast.Call) and called(node) == "ASGIApp" and "socketio" in dotted_of(node.func):
            return Route("/socket.io/", "below", scope.module.place(node))
    return None
