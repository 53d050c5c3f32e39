"""A backend's environment as settings: the values of its variables, its secrets, and what is missing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace

from slipway.secrets.store import MONGO_URL
from slipway.starter.reading import compose
from slipway.starter.reading.project import Backend
from slipway.starter.reading.variables import Variable, production_stage

_LOGIN = "{mongo_user}:{secrets.MONGODB_BACKEND_PASSWORD:url}@{mongo_host}"
# The values of variables by role (docs/secrets.md, "Values that name a secret").
ROLES = {
    "url": "{mongo_url}",
    "host": "{mongo_host}",
    "port": "{mongo_port}",
    "user": "{mongo_user}",
    "password": "{mongo_password}",
    "database": "{mongo_database}",
    # For a URL that the application composes without a user.
    "login_host": _LOGIN,
    # For a URL to which the application appends the rest.
    "begun_url": f"mongodb://{_LOGIN}:{{mongo_port}}",
    "begun_url_slash": f"mongodb://{_LOGIN}:{{mongo_port}}/",
    "begun_url_database": f"mongodb://{_LOGIN}:{{mongo_port}}/{{mongo_database}}",
    "auth_database": "admin",
    "tls": "false",
}
SITE_URL = "https://{site_domain}"
_SITE = re.compile(
    r"((FRONT_?END|CLIENT|SITE|APP|WEB|WEBSITE|PUBLIC|BASE|BACK_?END|API|DOMAIN|SERVER)_?)+(UR[LI]|ORIGIN|HOST)(_URL)?|URL_NAME"
)
_ORIGINS = re.compile(r"\w*(CORS|ALLOWED|ALLOW)_?\w*(ORIGINS?|HOSTS_CORS)|CORS|ORIGINS?|\w*_ORIGINS|CORS_\w*URLS?")
_HOSTS = re.compile(r"\w*(ALLOWED|TRUSTED)_?HOSTS?")
_LOCAL = re.compile(r"localhost|127\.0\.0\.1|0\.0\.0\.0")
# Usual values, if the code has none.
_USUAL = {
    r"(\w+_)?ALGO(RITHM)?": "HS256",
    r"(\w+_)?ACCESS_TOKEN_EXPIRES?(_IN)?_MINUTES": "30",
    r"(\w+_)?REFRESH_TOKEN_EXPIRES?(_IN)?_DAYS": "7",
    r"(\w+_)?DEBUG": "false",
    r"LOG_LEVEL": "INFO",
}
# Placeholders in example files.
_BLANK = re.compile(
    # Not a tag of HTML, which ends another one.
    r"|<.*>|(?!.*</).*<[a-z][\w .-]*>.*|\{\{.*\}\}|x{3,}|\.{3}|change[ _-]?.*|replace[ _-]?.*|(my|your)[ _-].*"
    r"|.*[^a-z]your[ _-].*|(generate|fill|insert|enter|paste)[ _-]?(me|in|this|it|here|your|a|the)\b.*"
    r"|(example|sample|placeholder|dummy)([ _-].*)?|to-?do|none|null",
    re.IGNORECASE,
)
MAX_NAMED = 40


@dataclass
class Environment:
    """`values` and `secrets` by name, each with the place where it is read. `optional` has a line for each optional
    variable. `missing` are required ones with unknown values."""

    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    generated: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    optional_secrets: list[str] = field(default_factory=list)
    missing: list[Variable] = field(default_factory=list)
    # Variables without a default that the code also reads if they are not set.
    unset: list[Variable] = field(default_factory=list)
    # Variables that point to a server on the developer's machine, or in another container.
    elsewhere: list[Variable] = field(default_factory=list)


def environment(backend: Backend) -> Environment:
    """The settings for the variables of a backend."""
    found = Environment()
    for variable in backend.variables.found:
        _sort(variable, backend, found)
    for name, place in backend.variables.from_files:
        role = backend.mongo.roles.get(name)
        if role and name not in found.values:
            found.values[name] = (ROLES[role], str(place))
    return found


def _sort(variable: Variable, backend: Backend, found: Environment) -> None:
    name, place = variable.name, str(variable.place)
    role = backend.mongo.roles.get(name)
    if role:
        if role == "tls" and not re.fullmatch(r"(?i)true|1|yes", variable.known) and not variable.is_required:
            return
        # The service gets this one by default.
        if (name, role) != (MONGO_URL, "url"):
            found.values[name] = ("0" if role == "tls" and _is_number(variable) else ROLES[role], place)
    elif name in backend.celery:
        found.values[name] = ("{valkey_celery_url}", place)
    elif valkey_variable(backend) == name:
        found.values[name] = ("{valkey_url}", place)
    elif variable.is_own and not variable.is_required:
        return
    elif (value := _fitting(_of_the_site(variable), variable)) is not None:
        found.values[name] = (value, place)
    elif variable.is_secret:
        _secret(variable, found)
    elif (folder := _folder(variable, backend)) is not None:
        found.values[name] = (folder, place)
    elif (
        # The code does without one that is empty by default.
        (variable.default is None or (variable.is_required and not variable.default))
        and _is_value(variable.example)
        and not _is_elsewhere(variable.example or "", variable, backend)
    ):
        found.values[name] = (str(variable.example), f"{place}, as {variable.example_place} has it")
    elif variable.default is not None:
        _with_default(variable, backend, found)
    elif variable.is_own:
        return
    elif (usual := _fitting(_usual(name), variable)) is not None:
        found.values[name] = (usual, f"{place}: a usual value, as none was found")
    elif variable.is_required or variable.example is not None:
        found.missing.append(variable)
    else:
        found.optional.append(f'"{name}": "",  # {place}')
        found.unset.append(variable)


def valkey_variable(backend: Backend) -> str:
    """The variable with the URL of Redis, to be served by the site's Valkey on a Unix socket; "" for none."""
    names = [
        one.name
        for one in backend.variables.found
        if re.fullmatch(r"\w*(REDIS|VALKEY)\w*_UR[LI]|REDIS_DSN", one.name.upper())
    ]
    # Celery's own URL is another one.
    own = [name for name in names if name not in backend.celery]
    if "Redis" in backend.servers:
        return next(iter(own or names), "")
    return own[0] if own and backend.celery else ""


def _usual(name: str) -> str | None:
    return next((value for pattern, value in _USUAL.items() if re.fullmatch(pattern, name.upper())), None)


def _is_number(variable: Variable) -> bool:
    """Whether the code makes a number of it, or knows it as one."""
    return variable.is_number or variable.known.isdigit()


def _fitting(value: str | None, variable: Variable) -> str | None:
    """A value as the code reads it: as a number if it makes one of it; None if it can't be one."""
    if value == "false" and variable.is_truth:
        return ""
    if value == "false" and _is_number(variable):
        return "0"
    return None if value is not None and variable.is_number and not value.isdigit() else value


def _is_value(example: str | None) -> bool:
    """Whether an example's value can be used as it is."""
    return bool(example) and not _BLANK.fullmatch(example or "") and not _LOCAL.search(example or "")


def _secret(variable: Variable, found: Environment) -> None:
    name, place = variable.name, str(variable.place)
    # A secret in the code is known to everybody with access to it.
    has_default = bool(variable.default)
    if variable.default is None or has_default or variable.is_generated:
        found.secrets[name] = place
        if variable.is_generated:
            found.generated.append(name)
    elif len(found.optional_secrets) < MAX_NAMED:
        found.optional_secrets.append(f'"{name}",  # {place}')


def _is_elsewhere(value: str, variable: Variable, backend: Backend) -> bool:
    """Whether a value is the address of a container or of a single machine, rather than of a service."""
    host = re.fullmatch(r"(?:[\w+]+://)?(?:[^@/\s]*@)?(\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?(?:/.*)?", value)
    if host or _LOCAL.search(value):
        return True
    # A name alone may be anything: a user, a bucket, a queue.
    is_address = re.search(r"[:/]", value) or re.search(r"HOST|SERVER|ADDR|UR[LI]$|ENDPOINT", variable.name.upper())
    return bool(is_address) and compose.is_at(value, backend.hosts)


def _with_default(variable: Variable, backend: Backend, found: Environment) -> None:
    default = variable.default or ""
    if _is_elsewhere(default, variable, backend) and not re.fullmatch(r"\[.*\]", default):
        found.elsewhere.append(variable)
    elif len(found.optional) < MAX_NAMED:
        value = default or (variable.example if _is_value(variable.example) else "")
        found.optional.append(f"{json.dumps(variable.name)}: {json.dumps(value)},  # {variable.place}")


def _of_the_site(variable: Variable) -> str | None:
    """A value that follows from the site: its address, or the environment's name. None for others."""
    name, known = re.sub(r"^(VITE|REACT_APP|NEXT_PUBLIC)_", "", variable.name.upper()), variable.known
    if _ORIGINS.fullmatch(name) and not re.search(r"REGEX|METHOD|HEADER|CREDENTIAL", name):
        if known and not _LOCAL.search(known):
            return None
        return json.dumps([SITE_URL]) if variable.is_list or known.startswith("[") else SITE_URL
    if _HOSTS.fullmatch(name) and (variable.is_required or _LOCAL.search(known)):
        return '["{site_domain}"]' if variable.is_list or known.startswith("[") else "{site_domain}"
    if re.fullmatch(r"\w*CORS\w*(METHODS|HEADERS)", name) and variable.is_required and variable.is_list:
        return '["*"]'
    if _SITE.fullmatch(name) and (not known or _LOCAL.search(known)) and not re.search(r"REDIS|MONGO|DATABASE", name):
        if variable.default is not None and not _LOCAL.search(known):
            return None
        path = re.sub(r"^\w+://[^/]*", "", known) if "://" in known else ""
        is_host = name.endswith("HOST") and "://" not in known and not variable.is_url
        return "{site_domain}" if is_host else f"{SITE_URL}{path.rstrip('/')}"
    if stage := production_stage(replace(variable, name=name)):
        return stage
    if name in ("DEBUG", "APP_DEBUG", "FASTAPI_DEBUG") and known.lower() in ("true", "1"):
        return "false"
    return None


def _folder(variable: Variable, backend: Backend) -> str | None:
    """A shared folder for a variable with an absolute path of the developer's machine or a container."""
    for one in backend.written:
        if one.env == variable.name and one.path.startswith("/"):
            inner = kept_name(one.path)
            known = variable.known.rstrip("/")
            return f"{inner}/{known.rpartition('/')[2]}" if one.file and known.endswith(one.file) else inner
    return None


def kept_name(path: str) -> str:
    """The name of a shared folder for an absolute path of the developer's machine or a container."""
    return re.sub(r"[^\w.-]", "-", path.rstrip("/").rpartition("/")[2]) or "data"
