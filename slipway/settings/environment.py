"""The environment of a site's services: what their values may name, and what each service gets.

A value may name what Slipway knows: "{mongo_url}", "{secrets.NAME}". One with a secret in it is a secret itself: a file
on the host, and in no unit. Where the host has generated the secret, it makes the value, too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from slipway.secrets.store import MONGO_URL, MONGODB_BACKEND
from slipway.settings import members
from slipway.settings.balancing import AUTHORITY_FILE
from slipway.settings.services import Service

if TYPE_CHECKING:
    from slipway.settings.model import Settings


class Secret(NamedTuple):
    """The place of a secret in a value; `in_url` says that each of its bytes is percent-encoded there."""

    name: str
    in_url: bool = False


Part = str | Secret
# Texts and secrets, in a row.
Value = tuple[Part, ...]


@dataclass(frozen=True)
class Placeholder:
    """What values may name as "{name}".

    `missing` says why a site has no such value, "" where it has one. `variable` is an environment variable that the
    backend gets with this value where it sets none of that name.
    """

    value: Callable[[Settings], Value]
    missing: Callable[[Settings], str] = lambda settings: ""
    variable: str = ""


def _mongo_url(settings: Settings) -> Value:
    """journal=true: MongoDB acknowledges a write when it is in the journal on disk, and no power cut loses it; without,
    it is up to 100 ms late. https://www.mongodb.com/docs/manual/reference/write-concern/#acknowledgment-behavior
    """
    if MONGO_URL in settings.backend_secrets:
        return (Secret(MONGO_URL),)
    where, options = f"{settings.mongodb_local}:{settings.mongodb_port}", "authSource=admin&journal=true"
    if members.is_several(settings):
        # Of several, any may be the primary, and a write is safe on a majority of them.
        where = ",".join(one.at for one in members.members_of(settings))
        options += f"&replicaSet={settings.mongodb_replica_set}&retryWrites=true&w=majority"
    if talks_by_tls(settings):
        options += f"&tls=true&tlsCAFile={AUTHORITY_FILE}"
    user = f"mongodb://{settings.mongodb_backend_user}:"
    return (user, Secret(MONGODB_BACKEND, in_url=True), f"@{where}/{settings.mongodb_database}?{options}")


def talks_by_tls(settings: Settings) -> bool:
    """Whether the site's MONGO_URL says so: that of a host without the only database."""
    here, is_ours = settings.here, MONGO_URL not in settings.backend_secrets
    by_network = members.is_several(settings) or bool(here and "db" not in here.roles)
    return is_ours and by_network and settings.mongodb_tls == "on" and members.is_on_several_hosts(settings)


def _mongo_place(settings: Settings) -> tuple[str, int]:
    """Where a driver begins: it asks one member for the others."""
    if members.is_several(settings):
        first = members.members_of(settings)[0]
        return first.name, first.port
    return settings.mongodb_local, settings.mongodb_port


def _elsewhere(settings: Settings) -> str:
    return (
        f"{MONGO_URL} is one of backend_secrets: the database is yours" if MONGO_URL in settings.backend_secrets else ""
    )


# A component that has something to name adds it here.
PLACEHOLDERS = {
    "mongo_url": Placeholder(_mongo_url, variable=MONGO_URL),
    "mongo_host": Placeholder(lambda settings: (_mongo_place(settings)[0],), _elsewhere),
    "mongo_port": Placeholder(lambda settings: (str(_mongo_place(settings)[1]),), _elsewhere),
    "mongo_database": Placeholder(lambda settings: (settings.mongodb_database,), _elsewhere),
    "mongo_user": Placeholder(lambda settings: (settings.mongodb_backend_user,), _elsewhere),
    "mongo_password": Placeholder(lambda settings: (Secret(MONGODB_BACKEND),), _elsewhere),
    "site_name": Placeholder(lambda settings: (settings.site_name,)),
    "site_domain": Placeholder(lambda settings: (settings.site_domain,)),
}
# A secret by its name: "{secrets.NAME}", percent-encoded for a URL "{secrets.NAME:url}".
_SECRET = re.compile(r"secrets\.(\w+)(:url)?", re.ASCII)
_NAME = r"secrets?\.\w*(?::\w*)?|[a-z][a-z0-9_]*"
# Twice in braces it is a text, as is all in braces that neither is a name of ours nor looks like one.
_PLACEHOLDER = re.compile(rf"\{{\{{({_NAME})\}}\}}|\{{({_NAME})\}}", re.ASCII)


def parsed(text: str, settings: Settings) -> Value:
    """The value that a text means. What `problems` finds wrong in it is taken as text."""
    parts: list[Part] = []
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        escaped, name = found.groups()
        if escaped and not _is_meant(escaped):
            continue
        parts += [text[end : found.start()], *((f"{{{escaped}}}",) if escaped else _meaning(name, settings))]
        end = found.end()
    return _joined([*parts, text[end:]])


def as_text(text: str) -> str:
    """The value that means this text itself."""
    return _PLACEHOLDER.sub(lambda one: f"{{{one[0]}}}" if _is_meant(one[1] or one[2]) else one[0], text)


def _meaning(name: str, settings: Settings) -> Value:
    if secret := _SECRET.fullmatch(name):
        return (Secret(secret[1], in_url=bool(secret[2])),)
    return PLACEHOLDERS[name].value(settings) if name in PLACEHOLDERS else (f"{{{name}}}",)


def _joined(parts: list[Part]) -> Value:
    """Without empty texts, and with one in place of several in a row; () is the empty value."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        elif part:
            found.append(part)
    return tuple(found)


def _is_meant(name: str) -> bool:
    """Whether a name in braces is one of ours, or a misspelt one, and no text."""
    prefixes = {f"{one.partition('_')[0]}_" for one in PLACEHOLDERS} | {"secret.", "secrets."}
    return name.startswith((*prefixes,)) or bool(_near(name, PLACEHOLDERS))


def _near(name: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, [*names], n=1, cutoff=0.8)), "")


def problems(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the values of a site: the setting, the place in it, and what was found and is expected."""
    ours = settings.backend_environment
    yield from _problems_in("backend_environment", "", ours, settings)
    if MONGO_URL in ours and not is_secret(parsed(ours[MONGO_URL], settings)):
        yield (
            "backend_environment",
            f"[{MONGO_URL!r}]",
            "found a URL in plain, expected one with '{mongo_url}' or '{secrets.NAME}' in it. Without any, the backend"
            f" gets the site's own; for a database elsewhere name {MONGO_URL} in backend_secrets",
        )
    for number, service in enumerate(settings.services):
        at = f"[{number}]['environment']"
        yield from _problems_in("services", at, service.environment, settings)
        for name in sorted({*service.environment} & {*secrets_of(settings, service)}):
            said = "found a secret of this name, too; leave it out here, or set the service's secrets without it"
            yield "services", f"{at}[{name!r}]", said


def _problems_in(
    setting: str, at: str, environment: Mapping[str, str], settings: Settings
) -> Iterator[tuple[str, str, str]]:
    for variable, text in environment.items():
        for found in _PLACEHOLDER.finditer(text):
            if found[2] and (said := _problem(found[2], settings)):
                yield setting, f"{at}[{variable!r}]", f"found {found[0]}, {said}"


def _problem(name: str, settings: Settings) -> str:
    """What is wrong with a name, "" where nothing is, or where it is a text."""
    if name in PLACEHOLDERS:
        missing = PLACEHOLDERS[name].missing(settings)
        return f"which this site does not have: {missing}" if missing else ""
    if not _is_meant(name):
        return ""
    literal = f" (for the text itself write {{{{{name}}}}})"
    if not name.startswith(("secret.", "secrets.")):
        return f"which Slipway does not know; {_guess(_near(name, PLACEHOLDERS), PLACEHOLDERS)}{literal}"
    names = [*dict.fromkeys([*settings.backend_secrets, MONGODB_BACKEND])]
    found = _SECRET.fullmatch(name)
    if found and found[1] in names:
        return ""
    near = _near(name.partition(".")[2].partition(":")[0], names)
    return (
        "which is no secret of this site;"
        f" {_guess(near and f'secrets.{near}', [f'secrets.{one}' for one in names])}{literal}"
    )


def _guess(near: str, names: Iterable[str]) -> str:
    return f"did you mean {{{near}}}?" if near else f"there are: {', '.join(f'{{{name}}}' for name in names)}"


# --- What a service gets ----------------------------------------------------------------------------------------------


def made_variables(settings: Settings) -> dict[str, Value]:
    """The variables that Slipway hands over where nobody sets them, such as MONGO_URL."""
    return {
        one.variable: one.value(settings)
        for one in PLACEHOLDERS.values()
        if one.variable and one.variable not in settings.backend_secrets and not one.missing(settings)
    }


def environment_of(settings: Settings, service: Service) -> dict[str, Value]:
    """All variables of a service but the secrets of `secrets_of`: the backend's, and over them its own.

    One with `secrets` of its own gets no value of the backend's with a secret that these do not hold.
    """
    made = made_variables(settings)
    common = {**made, **{name: parsed(text, settings) for name, text in settings.backend_environment.items()}}
    if service.secrets is not None:
        granted = {*service.secrets}.union(*(names_in(made.get(name, ())) for name in service.secrets))
        common = {
            name: value
            for name, value in common.items()
            if names_in(value) <= granted and (name in service.secrets or name not in made)
        }
    return common | {name: parsed(text, settings) for name, text in service.environment.items()}


def secrets_of(settings: Settings, service: Service) -> list[str]:
    """Those of backend_secrets that a service gets."""
    return [name for name in settings.backend_secrets if service.secrets is None or name in service.secrets]


def is_secret(value: Value) -> bool:
    return bool(names_in(value))


def names_in(value: Value) -> set[str]:
    """The secrets in a value."""
    return {part.name for part in value if isinstance(part, Secret)}


def plain_of(settings: Settings, service: Service) -> dict[str, str]:
    """The variables of a service that anybody may see."""
    found = environment_of(settings, service).items()
    return {name: text_of(value, {}) for name, value in found if not is_secret(value)}


def credentials_of(settings: Settings, service: Service) -> dict[str, str]:
    """The file in credentials_folder of each variable of a service that is a secret."""
    ours = environment_of(settings, settings.backend)
    found = {name: name for name in secrets_of(settings, service)}
    for name, value in environment_of(settings, service).items():
        if is_secret(value):
            found[name] = name if ours.get(name) == value else f"{service.name}.{name}"
    return found


def composed(settings: Settings) -> dict[str, Value]:
    """The values with a secret in them of all services, by their files in credentials_folder."""
    found: dict[str, Value] = {}
    for service in settings.all_services:
        values, files = environment_of(settings, service), credentials_of(settings, service)
        found |= {file: values[name] for name, file in files.items() if name in values}
    return found


def text_of(value: Value, secrets: Mapping[str, str]) -> str:
    """The value where all its secrets are known."""
    return "".join(part if isinstance(part, str) else _given(part, secrets[part.name]) for part in value)


def _given(secret: Secret, text: str) -> str:
    # Every byte, as the host's shell does it: none can end a part of the URL.
    return "".join(f"%{byte:02x}" for byte in text.encode()) if secret.in_url else text


def is_known(value: Value, secrets: Mapping[str, str]) -> bool:
    return names_in(value) <= secrets.keys()
