"""The check of settings: all errors of all hosts at once. Each says where the setting is, what was found, what is
expected and, for an unknown name, which one was probably meant."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import ConnectorData

from slipway.dependencies.model import without_password
from slipway.project import SETTINGS, own_components
from slipway.secrets.store import known_names, read_secrets
from slipway.settings import alarms, environment, renamed
from slipway.settings.arguments import OPTIONS, Arguments
from slipway.settings.backend import index_secrets
from slipway.settings.backup import secret_names
from slipway.settings.model import Settings
from slipway.settings.services import Service
from slipway.settings.sites import of_another_site, own_names
from slipway.settings.types import Derived, OnThisMachine

# Where a setting is set if it is set nowhere, and what lists all of them.
FILE, LIST = SETTINGS, "`slipway settings`"
COMMAND_LINE = "--data"
# pyinfra's own data, which shares the namespace: the connection (ssh_port, ...) and global arguments (_sudo, ...).
PYINFRA_NAMES = {*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments())}
# Of these pyinfra takes any text for true.
SWITCHES: dict[str, Any] = {name: bool | None for name, its_type in all_global_arguments() if its_type is bool}
# In which file a setting was found, by its name.
Where = Callable[[str], str]
Model = TypeVar("Model", bound=BaseModel)


class SettingsError(Exception):
    """Every wrong setting at once; `str()` is what the user reads."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = len(self.problems)
        heading = "1 setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__(f"{heading}; no host was touched.\n" + "\n".join(f"  - {p}" for p in self.problems))


def parse_items(items: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """NAME=VALUE items of the command line as settings, and a problem for each item that is none.

    A text setting is taken as it is, any other as JSON, or as pyinfra's own command takes a switch: True, False.
    """
    data: dict[str, Any] = {}
    problems = []
    fields = {**Settings.model_fields, **Arguments.model_fields}
    for item in items:
        name, found, value = item.partition("=")
        if not found:
            problems.append(f"{COMMAND_LINE}: found {item!r}, expected NAME=VALUE")
            continue
        field = fields.get(renamed.NAMES.get(name, name))
        is_text = field is not None and field.annotation is str
        if value and field and any(isinstance(mark, OnThisMachine) for mark in field.metadata):
            value = str(Path(value).expanduser().absolute())
        try:
            data[name] = value if is_text else json.loads({"True": "true", "False": "false"}.get(value, value))
        except ValueError:
            data[name] = value  # what is wrong with it, the check says
    return data, problems


def check(
    data: Mapping[str, Any], origin: Mapping[str, str] | str = FILE, warn: Callable[[str], None] = lambda text: None
) -> Settings:
    """The settings of one host from its merged `data`; pyinfra's own names (ssh_port, _sudo, ...) are left alone.

    `origin` says in which file a setting was found, by its name, or for all of them. `warn` gets a line for each one
    with an old name. Raises SettingsError.
    """

    def found_in(name: str) -> str:
        return origin if isinstance(origin, str) else origin.get(name, FILE)

    current = renamed.renamed({n: value for n, value in data.items() if n not in PYINFRA_NAMES}, found_in)

    def where(name: str) -> str:
        return found_in(current.old_names.get(name, name))

    for line in current.warnings:
        warn(line)
    own, problems = current.data, current.problems
    given = {name: own.pop(name) for name in Arguments.model_fields if name in own}
    for name in [name for name in given if where(name) != COMMAND_LINE]:
        problems.append(_misplaced(where(name), name))
        del given[name]
    own = _without_own(own)
    # A further site is settings of its own, which are checked when the first one's are in order.
    has_sites = isinstance(own.get("sites"), list)
    settings, wrong = _validated(Settings, {**own, "sites": []} if has_sites else own, where, problems)
    # A run without any needs no validator of them.
    arguments, _ = _validated(Arguments, given, where, problems) if given else (Arguments.model_construct(), set())
    connection = {name: data[name] for name in data if name in ConnectorData.__annotations__ or name in SWITCHES}
    _validated(_connection(*connection), connection, where, problems)
    if not wrong & {"secrets_file", "backend_secrets", "generated_secrets", "secrets_identity"}:
        problems += _secrets_problems(own, where)
    if own.get("sites") and has_sites and settings:
        settings = _with_sites(settings, own, where, warn, problems)
    if settings:
        problems += _environment_problems(settings, where)
    if settings and arguments:
        names = [settings.site_name, *(site["site_name"] for site in settings.sites)]
        if arguments.release_site not in ("", *names):
            expected = f"'' or one of {', '.join(names)}"
            problems.append(_line(where, "release_site", repr(arguments.release_site), expected))
        settings._arguments = arguments
        if given and not problems and not settings.released.released_parts:
            expected = f'some of {", ".join(settings.released.parts)}, as frontend_source is ""'
            problems.append(_line(where, "release_parts", repr(arguments.release_parts), expected))
    if problems or not settings:
        raise SettingsError(problems)
    return settings


def _without_own(data: dict[str, Any]) -> dict[str, Any]:
    """What is not for a component of the project's own: it reads and checks settings whose names begin with its name by
    itself (host.data)."""
    if data.keys() <= Settings.model_fields.keys():
        return data
    mine = tuple(f"{name}_" for name in own_components())
    return {
        name: value for name, value in data.items() if name in Settings.model_fields or not f"{name}_".startswith(mine)
    }


def check_section(section: type[Model], data: Mapping[str, Any], file: str = FILE) -> Model:
    """The settings of one section, for what needs no others; `data` may hold these. Raises SettingsError."""
    problems: list[str] = []
    given = {name: value for name, value in data.items() if name in section.model_fields}
    found, _ = _validated(section, given, lambda name: file, problems)
    if found is None:
        raise SettingsError(problems)
    return found


def effective(given: Mapping[str, Any], name: str) -> Any:
    """The value of a setting, by what is given or else by its default."""
    return given[name] if name in given else Settings.model_fields[name].get_default()


def _without_blanks(text: str) -> str:
    if not re.fullmatch(r"[^\s-]\S*", text):
        raise ValueError("text without blanks, which begins with no -")
    return text


@cache
def _connection(*names: str) -> type[BaseModel]:
    """A model of some of pyinfra's connection data and switches, which it would check one by one, only when it
    connects, or not at all."""
    word = Annotated[str, AfterValidator(_without_blanks)]
    types = {**ConnectorData.__annotations__, **SWITCHES, "ssh_user": word, "ssh_hostname": word}
    types["ssh_strict_host_key_checking"] = Literal["yes", "accept-new", "ask", "no", "off"]
    types["ssh_port"] = Annotated[int, Field(ge=1, le=65535)]
    # pydantic has no fields whose names begin with _.
    fields: dict[str, Any] = {f"of{name}": (types[name], Field(alias=name)) for name in names}
    return create_model("Connection", __config__=ConfigDict(strict=True), **fields)


def _validated(
    model: type[Model], given: Mapping[str, Any], where: Where, problems: list[str]
) -> tuple[Model | None, set[str]]:
    """The model, None where a value is wrong; the names of those that are. `problems` get a line for each."""
    try:
        return model(**given), set()
    except ValidationError as error:
        # What a wrong value would have led to is not known, and not wrong.
        details = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]
        problems += [_problem(dict(detail), where, given) for detail in details]
        return None, {str(detail["loc"][0]) for detail in details}


def _misplaced(where: str, name: str) -> str:
    return (
        f"{where}: {name}: found an argument of one run, which is no setting; remove it, and use the option:"
        f" {OPTIONS[name]} (with plain pyinfra: --data {name}=...)"
    )


# --- Further sites ----------------------------------------------------------------------------------------------------


def _with_sites(
    first: Settings, own: Mapping[str, Any], where: Where, warn: Callable[[str], None], problems: list[str]
) -> Settings | None:
    """The settings of the first site with the further ones; None where something is wrong with these."""
    if shape := _shape_problems(own["sites"], where):
        problems += shape
        return None
    count, sites, taken = len(problems), [], _claims(first)
    for number, site in enumerate(own["sites"]):

        def at(name: str, number: int = number) -> str:
            return f"{where('sites')}: sites[{number}]"

        current = renamed.renamed(site, at)
        for line in current.warnings:
            warn(line)
        problems += current.problems
        problems += [_misplaced(at(name), name) for name in current.data if name in Arguments.model_fields]
        problems += [
            f"{at(name)}: {name}: found a setting that sites of a host share, expected one of a site's own"
            for name in current.data
            if name in Settings.model_fields and name not in own_names()
        ]
        its_own = {name: value for name, value in current.data.items() if name not in Arguments.model_fields}
        sites.append(its_own)
        its = of_another_site(own, its_own)
        found, _ = _validated(Settings, its, at, problems)
        if found is None:
            continue
        # Those of backups and alarms are the first site's.
        hosts = ("backup_repositories", "alarm_mail_to", "alarm_webhooks", "alarm_heartbeat")
        without = {name: value for name, value in its.items() if name not in hosts}
        problems += [*_secrets_problems(without, at), *_environment_problems(found, at)]
        claims = _claims(found)
        problems += [
            f"{at(what)}: {what}: found {name!r}, expected one that no other site has"
            for what, name in claims
            if (what, name) in taken
        ]
        taken |= claims
    return Settings(**{**own, "sites": sites}) if len(problems) == count else None


def _claims(site: Settings) -> dict[tuple[str, str], None]:
    """What no other site of the host may have."""
    claims = [("site_name", site.site_name), ("mongodb_backend_user", site.mongodb_backend_user)]
    claims += [("mongodb_database", site.mongodb_database), ("backend_listen", site.backend_listen)]
    claims += [("host name", domain) for domain in site.domains]
    claims += [("port of a service", str(port)) for service in site.services for port in service.ports]
    return dict.fromkeys([*claims, *(("unit", site.unit(service)) for service in site.all_services)])


def _shape_problems(sites: list[Any], where: Where) -> list[str]:
    expected = "settings of another site as {'site_name': ..., 'site_domain': ...}"
    return [
        _line(where, f"sites[{number}]", repr(site), expected, "sites")
        for number, site in enumerate(sites)
        if not (isinstance(site, dict) and all(isinstance(name, str) for name in site))
    ]


# --- Lines ------------------------------------------------------------------------------------------------------------


def _secrets_problems(given: Mapping[str, Any], where: Where) -> list[str]:
    """A line for each secret that is missing, wrong or can't be read; no value is in any."""
    file, backend_secrets = effective(given, "secrets_file"), effective(given, "backend_secrets")
    generated, identity = effective(given, "generated_secrets"), effective(given, "secrets_identity")
    try:
        more = secret_names(given.get("backup_repositories"), given.get("backup_secrets", []))
        more += alarms.secret_names(lambda name: effective(given, name))
        of_indexes = index_secrets(given.get("python_indexes"))
        names = known_names(backend_secrets, [*more, *of_indexes])
        read_secrets(file, names, [*generated, *of_indexes], identity)
    except ValueError as error:
        return [f"{where('secrets_file')}: secrets_file = {file!r}: {line}" for line in str(error).split("\n")]
    return []


def _environment_problems(settings: Settings, where: Where) -> list[str]:
    return [f"{where(name)}: {name}{at}: {said}" for name, at, said in environment.problems(settings)]


def _problem(detail: Mapping[str, Any], where: Where, given: Mapping[str, Any]) -> str:
    """One line from one of pydantic's error dictionaries."""
    name = str(detail["loc"][0])
    at = "".join(f"[{part!r}]" for part in detail["loc"][1:] if part != "[key]")
    field = Settings.model_fields.get(name)
    if detail["type"] == "extra_forbidden":
        return f"{where(name)}: {name}{at}: {_unknown(name, at)}"
    if detail["type"] == "missing":
        from slipway.settings.words import type_of

        expected = type_of(field) if field and not at else "a value"
        return f"{where(name)}: {name}{at}: found nothing, expected {expected}"
    found = repr(detail["input"])
    if name not in given and field:
        derived = field.default_factory
        found = (
            f"{found}, derived from {', '.join(derived.sources)}"
            if isinstance(derived, Derived)
            else f"the default {found}"
        )
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "string_type":
        value = detail["input"]
        expected = f"text, as {json.dumps(value)!r}" if isinstance(value, list | dict | int | float) else "text"
    return _line(where, name + at, found, expected, name)


def _unknown(name: str, at: str) -> str:
    """What to say of a name that there is not: `at` is its place in the setting `name`, "" for a setting."""
    if at:
        return f"there is no such key; expected some of {', '.join(Service.model_fields)}"
    near = difflib.get_close_matches(name, [*Settings.model_fields, *Arguments.model_fields, *PYINFRA_NAMES], n=1)
    return f"there is no such setting; {f'did you mean {near[0]!r}?' if near else f'{LIST} lists every setting'}"


def _line(where: Where, label: str, found: str, expected: str, name: str | None = None) -> str:
    # A URL may have somebody's password.
    return f"{where(name or label)}: {label}: found {without_password(found)}, expected {expected}"
