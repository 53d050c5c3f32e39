"""Notes about what will not work: where it was found, and how to fix it."""

from __future__ import annotations

import ast
import posixpath
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path

from slipway.dependencies.indexes import login_names
from slipway.secrets.committed import env_files
from slipway.secrets.store import MONGO_URL
from slipway.settings.imported import is_secret
from slipway.starter.detect import holds_code, is_inside, is_of_frontend, python_indexes, python_version
from slipway.starter.detect_frontend import stripped
from slipway.starter.environment import valkey_variable
from slipway.starter.found import Reading
from slipway.starter.notes_frontend import MAX_NAMES, MAX_NOTES, about_frontend, about_handlers, about_own_pages
from slipway.starter.reading.files import Place, dotenv
from slipway.starter.reading.folders import Written
from slipway.starter.reading.mongo import LIBRARIES
from slipway.starter.reading.needs import PROGRAMS, brings, missing
from slipway.starter.reading.packages import for_production
from slipway.starter.reading.project import Backend
from slipway.starter.reading.python import Module, dotted_of, tree_of

# Packages that include uvicorn.
_WITH_UVICORN = {"uvicorn", "uvicorn[standard]", "fastapi[standard]", "fastapi[all]", "fastapi-cli"}


def notes(of: Reading) -> list[str]:
    """The notes, a line each; those about the start of the backend first."""
    found = [f"{problem}; set it in group_data/all.py" for problem in of.refused.values()]
    if backend := of.project.backend:
        kinds = [
            _about_app(of, backend),
            _about_mongo(backend),
            _about_variables(of, backend),
            _about_files(of, backend),
        ]
        kinds.append(_about_routes(of, backend))
        found += [line for kind in kinds for line in kind]
    elif of.answers.get("backend_app"):
        found.append(
            f"{no_application(of)}: nothing was read of the backend; set what it needs: backend_environment,"
            " backend_secrets, shared_paths"
        )
    found += [
        *about_own_pages(of),
        *about_handlers(of),
        *about_frontend(of),
        *_about_repository(of),
        *_about_access(of),
    ]
    return list(dict.fromkeys(found))


def no_application(of: Reading) -> str:
    """That no application was found, and the files that can't be read and may have one."""
    repository = of.repository
    if named := str(of.answers.get("backend_app", "")):
        source = (of.folder / Path(str(of.answers.get("backend_source") or repository.top)).expanduser()).resolve()
        if not source.is_relative_to(repository.top.resolve()):
            return f"backend_source: {source} is outside of {repository.top}, which was read"
        return f"backend_app: found no module of {named!r} in {source}"
    broken = [
        f"{file}:{tree[1]}"
        for file in repository.files
        if file.endswith(".py") and "FastAPI" in (repository.read(file) or "")
        if (tree := tree_of(repository, file)) and tree[1]
    ]
    said = f" (invalid syntax: {', '.join(broken[:MAX_NOTES])})" if broken else ""
    return f"found no FastAPI application in {repository.top}{said}"


def next_steps(of: Reading, server: str) -> list[tuple[str, str]]:
    """What to type next, and what it does."""
    backend = of.project.backend
    secrets = [name for name in of.environment.secrets if name not in of.environment.generated]
    files = [of.relative(name) for name in (_beside(backend) if backend else []) if of.repository.has(name)]
    steps = []
    if secrets or not backend:
        steps.append(("slipway secrets keygen", "your key pair; its public half goes into secrets_recipients"))
        how = f"values for {', '.join(secrets[:3])}{', ...' if secrets[3:] else ''}" if secrets else "values of secrets"
        steps.append(("slipway secrets edit", f"{how}, encrypted: commit the file"))
    if files:
        steps.append(
            (
                f"slipway secrets import {shlex.quote(files[0])}",
                "or from the application's .env; --all imports all of it",
            )
        )
    listed = backend.dependencies if backend else None
    if listed and listed.can_be_locked and not listed.is_locked:
        command = listed.own_lock or "slipway lock"
        steps.append((command, f"{listed.file} with versions and hashes: commit the file"))
    steps.append(("slipway plan", f"what would change on {server}; changes nothing"))
    return [*steps, ("slipway lab up", "or try it on a throwaway host of this machine first: slipway apply lab")]


def _about_app(of: Reading, backend: Backend) -> Iterator[str]:
    if backend.is_example:
        yield f"{backend.app.file}: looks like an example or a script; if it is not your application, set backend_app"
    if not backend.is_certain:
        others = [one for one in backend.others if one.file != backend.app.file and not one.is_wrapper]
        names = ", ".join(f"{one.target} ({one.place})" for one in others[:MAX_NOTES])
        several = " (slipway help sites, Several programs, runs all of them)" if others else ""
        yield (
            f"{backend.app.file}: other applications: {names}; backend_source and backend_app name the one to"
            f" run{several}"
        )
    for module in backend.modules:
        for line, what in runs_at_import(module):
            yield (
                f"{module.file}:{line}: {what} when it is imported, so that the import never returns; move it below"
                ' `if __name__ == "__main__":`'
            )
    unread = [module for module in backend.modules if module.unread]
    version = python_version(of)
    for module in unread[:MAX_NOTES] if not version or version.value == "3.11" else ():
        yield (
            f"{module.file}:{module.unread}: invalid syntax in Python 3.11, ignored this statement; if it is valid in"
            " a newer Python, set python_version"
        )
    if backend.dependencies is None:
        yield f"{backend.app.file}: no list of Python packages; write requirements.txt, or set backend_requirements"
    elif not backend.dependencies.can_be_locked:
        yield (
            f"{backend.dependencies.file}: not a list that pip reads; write requirements.txt, as `pip list"
            " --format=freeze` prints it"
        )
    elif not _WITH_UVICORN & backend.dependencies.names:
        yield f"{backend.dependencies.file}: uvicorn is missing, which runs the backend; add it"
    listed = backend.dependencies
    if listed and listed.can_be_locked:
        for place, name, package in missing(of.repository, backend.roots, backend.modules, listed):
            yield f"{place}: {name} needs {package}, which {listed.file} does not list; add it"
    if listed and (other := for_production(of.repository, listed)):
        yield f"{listed.file}: {other} is beside it; backend_requirements names the list to install"
    for name, program in PROGRAMS.items() if listed else ():
        if listed and name in listed.names:
            yield f"{listed.file}: {name} needs {program}"
    yield from _about_image(of, backend)
    if private := python_indexes(of):
        for name, url in private.value.items():
            logins = " and ".join(login_names(name))
            yield f"{private.details[name]}: {url}: give the login to it, if it needs one, as the secrets {logins}"
    for module in backend.modules if valkey_variable(backend) else ():
        if module.imports.get("RedisDsn", ("", ""))[1] == "RedisDsn":
            yield f"{module.file}: RedisDsn accepts no unix socket, which Valkey's URL names; use the type str"
    for server, place in backend.servers.items():
        if server == "Redis":
            if not valkey_variable(backend):
                yield f"{place}: connects to Redis by host name, Valkey has a Unix socket; read a URL from REDIS_URL"
            continue
        if server == "Celery's broker":
            if not backend.celery and not backend.fixed_brokers:
                yield (
                    f"{place}: found no variable with the URL of Celery's broker in Redis; to use the site's Valkey,"
                    " set valkey = True, and the variable to {valkey_celery_url} in backend_environment"
                )
            continue
        yield f"{place}: uses {server}, which Slipway does not install; set its variables to a reachable one"
    for address, place in backend.fixed_brokers[:MAX_NOTES]:
        other = "" if address.startswith("redis") else " (RabbitMQ, which Slipway does not install)"
        yield (
            f'{place}: Celery\'s broker is in the code: {address!r}{other}; read os.environ["CELERY_BROKER_URL"]; to'
            " use the site's Valkey, set valkey = True, and that variable to {valkey_celery_url} in backend_environment"
        )
    for one in backend.beside[:MAX_NOTES]:
        if one.is_first:
            yield f"{one.place}: runs before the backend: `{one.command}`; if a release needs it, set pre_activate"
        else:
            yield f"{one.place}: a container runs it beside the backend: `{one.command}`; add it to services"
    for worker in backend.unread_workers[:MAX_NOTES]:
        if not worker.is_broker:
            yield f"{worker.place}: not understood: `{worker.command}`; add what it runs to services"
        elif not backend.celery:
            yield (
                f"{worker.place}: an option names Celery's broker: `{worker.command}`; to use the site's Valkey, set"
                " valkey = True, and CELERY_BROKER_URL, which Celery reads itself, to {valkey_celery_url}"
            )


def _about_image(of: Reading, backend: Backend) -> Iterator[str]:
    """What the application's image installs with apt, and extra_packages does not."""
    known = [*of.answers.get("extra_packages", ())]
    known += [name for one in of.settings if one.setting == "extra_packages" for name in one.value]
    more: dict[str, Place] = {}
    for name, place in backend.apt:
        if not brings(known, name):
            more.setdefault(name, place)
    if more:
        listed = ", ".join([*more][:MAX_NAMES]) + (", ..." if len(more) > MAX_NAMES else "")
        yield (
            f"{next(iter(more.values()))}: the image installs {listed} with apt; add to extra_packages what the backend"
            " needs at run time, by its name in the server's release"
        )


_ENDLESS = ("uvicorn.run", "hypercorn.run", "asyncio.run")


def runs_at_import(module: Module) -> Iterator[tuple[int, str]]:
    """The lines where an import of a module does not return, with the reason."""
    for statement in module.tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test):
            continue
        if isinstance(statement, ast.While) and _is_endless(statement):
            yield statement.lineno, "loops"
        for node in ast.walk(statement):
            if not isinstance(node, ast.Call):
                continue
            function = module.functions.get(dotted_of(node.func))
            inner = [one for one in ast.walk(function) if isinstance(one, ast.Call)] if function else []
            if any(dotted_of(one.func) in _ENDLESS for one in (node, *inner)):
                yield node.lineno, "starts a server"
            elif dotted_of(node.func) == "input":
                yield node.lineno, "asks for input"


def _is_endless(loop: ast.While) -> bool:
    is_true = isinstance(loop.test, ast.Constant) and bool(loop.test.value)
    return is_true and not any(isinstance(node, ast.Break | ast.Raise) for node in ast.walk(loop))


def _about_mongo(backend: Backend) -> Iterator[str]:
    mongo = backend.mongo
    for place in mongo.is_local_url[:MAX_NOTES]:
        yield f'{place}: MongoDB\'s address is in the code, without a password; read os.environ["{MONGO_URL}"] instead'
    for place in mongo.with_srv[:MAX_NOTES]:
        yield f"{place}: mongodb+srv:// is for clusters with DNS records; read {MONGO_URL} instead"
    for place in mongo.with_tls[:MAX_NOTES]:
        yield f"{place}: connects by TLS, which the site's local MongoDB does not use; leave that to the URL"
    # If a variable has the whole URL, a composed one is only a fallback.
    for name, place in mongo.fixed_hosts[:MAX_NOTES] if "url" not in mongo.roles.values() else ():
        yield f"{place}: MongoDB's host is {name!r} in the code; read a variable, set to {{mongo_host}}"
    is_found = mongo.roles or mongo.is_local_url or mongo.with_srv or mongo.fixed_hosts
    if mongo.is_used and not is_found and (first := _import_of(backend, LIBRARIES)):
        yield f'{first}: found no variable with MongoDB\'s address; read os.environ["{MONGO_URL}"]'
    for name, place in mongo.appended[:MAX_NOTES]:
        yield f"{place}: appends to {name}, which already has a database and options; use it as it is"
    for name, place in mongo.others[:MAX_NOTES]:
        main = mongo.database[0] if mongo.database else ""
        the_main = f"mongodb_database ({main!r})" if main else "mongodb_database"
        yield f"{place}: a second database, {name!r}; the backend's user may use only {the_main}"
    is_named = mongo.databases or "database" in mongo.roles.values()
    for place in mongo.unknown_databases[:1] if not is_named else ():
        yield (
            f"{place}: found no name of this database; the backend's user may use only mongodb_database: set it to that"
            " name, or set the variable with the name to {mongo_database} in backend_environment"
        )


def _import_of(backend: Backend, packages: Collection[str]) -> Place | None:
    """Where the backend first imports one of some packages."""
    for module in backend.modules:
        for node in module.import_statements:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.partition(".")[0] for name in names} & {*packages}:
                return module.place(node)
    return None


def _about_variables(of: Reading, backend: Backend) -> Iterator[str]:
    for name, place in backend.variables.from_files[:MAX_NOTES]:
        fix = '{**dotenv_values(".env"), **os.environ}'
        yield f"{place}: {name} is read only from a .env file, which the server does not have; read {fix}"
    for where in backend.variables.unknown_prefixes[:1]:
        yield f"{where}: found no prefix of the variables below it; set them in backend_environment or backend_secrets"
    for where in backend.fixed_keys[:1]:
        yield (
            f"{where}: hard-coded signing key: anybody who can read the code can forge a login;"
            ' read os.environ["JWT_SECRET"], and list it in backend_secrets and generated_secrets'
        )
    if missing := of.environment.missing:
        names = ", ".join(one.name for one in missing)
        yield f"{missing[0].place}: variables with unknown values: {names}; set them in backend_environment"
    if unset := of.environment.unset:
        names = ", ".join(one.name for one in unset)
        yield f"{unset[0].place}: variables without a default: {names}; set the needed ones in backend_environment"
    for one in of.environment.elsewhere:
        yield f"{one.place}: {one.name} is {one.default!r} by default; set it in backend_environment if it is used"
    if to_give := [name for name in of.environment.secrets if name not in of.environment.generated]:
        file = next((name for name in _beside(backend) if of.repository.has(name)), "")
        how = f"slipway secrets import {of.relative(file)}" if file else "slipway secrets edit"
        yield f"{', '.join(to_give)}: secrets without a value; {how}"


def _beside(backend: Backend) -> list[str]:
    """The local files that may have the application's values."""
    listed = [backend.dependencies.folder] if backend.dependencies else []
    folders = dict.fromkeys((backend.source, *listed, ""))
    return [f"{folder}/{name}".lstrip("/") for folder in folders for name in (".env", ".env.production", ".env.local")]


def _about_files(of: Reading, backend: Backend) -> Iterator[str]:
    found = [line for one in backend.written if (line := _about_written(of, backend, one))]
    yield from found[:MAX_NOTES]
    for its in backend.served:
        if its.path != "." and not is_inside(its.path) and not is_of_frontend(of, its.path):
            yield f"{its.place}: serves {its.path}, outside of backend_source; leave it to Nginx and frontend_source"


def _about_written(of: Reading, backend: Backend, one: Written) -> str:
    path = one.path or one.file
    if "\\" in path:
        return f"{one.place}: writes to {path}, a path of Windows; write it with /, and add its folder to shared_paths"
    if not path:
        return f"{one.place}: writes to the backend's folder, which is read-only; write to a folder in shared_paths"
    if path.startswith("/") and not one.env:
        return f"{one.place}: writes to {path}, which the server does not have; write to a folder in shared_paths"
    if not path.startswith("/") and not is_inside(path):
        return f"{one.place}: writes to {path}, outside of backend_source; write to a folder in shared_paths"
    if one.path and holds_code(of, one.path):
        fix = "" if one.file else "; write to a separate folder, and add it to shared_paths"
        return f"{one.place}: writes to {path}, which contains code{fix}"
    if one.path and of.repository.has_files(posixpath.join(backend.source, one.path)):
        return (
            f"{one.place}: writes to {path}, which has files in git; only those of the first release are copied there"
        )
    return ""


def _about_routes(of: Reading, backend: Backend) -> Iterator[str]:
    frontend = of.project.frontend
    if not frontend or backend.serves_frontend:
        return
    for place in backend.routes.unknown[:MAX_NOTES]:
        yield f"{place}: found a router that could not be followed; add its paths to backend_paths if they are missing"
    if not backend.paths:
        yield f'{backend.app.file}: found no route; set backend_paths (default: ["/api/"])'
    taken = frontend.assets.strip("/").partition("/")[0]
    firsts: dict[str, str] = {}
    for path, where in backend.paths:
        first = path.strip("/").partition("/")[0]
        firsts.setdefault(first, where)
        if "{" in first:
            yield f"{where}: {path} matches any path, but unknown paths go to the frontend; give it a prefix"
        elif first and first == taken:
            yield f"{where}: {path} is the path of the frontend's files; change the route's path"
    # That of a build in git has a note of its own.
    own = str(backend.own_pages.place) if backend.own_pages else ""
    if firsts.get("", own) != own and not stripped(of):
        yield f"{firsts['']}: / goes to the frontend; change the route's path if visitors need it"
    pages = [(name, place) for name, place in of.project.api.pages.items() if name in firsts and name != "api"]
    for name, place in pages if not stripped(of) else ():
        yield f"{place}: /{name} is both a page and a path of the backend ({firsts[name]}), which answers a reload"


def _about_access(of: Reading) -> Iterator[str]:
    known = {*of.answers, *(one.setting for one in of.settings)}
    if "admin_keys" not in known and not (Path.home() / ".ssh/id_ed25519.pub").is_file():
        yield "~/.ssh/id_ed25519.pub: found no ssh key; run ssh-keygen -t ed25519, or name another one in admin_keys"


def _about_repository(of: Reading) -> Iterator[str]:
    repository = of.repository
    for file in env_files(repository.top):
        values = dotenv(repository.read(file) or "")
        if names := [name for name, (value, _) in values.items() if value and is_secret(name, value)]:
            listed = ", ".join(names[:MAX_NOTES])
            yield f"{file}: in git, with {listed}; run git rm --cached {shlex.quote(file)}, and change them"
    for folder in repository.cut[:MAX_NOTES]:
        if not folder or "/" not in folder:
            yield f"{folder or '.'}: too many files, not all were read"
