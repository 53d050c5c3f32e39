"""What the variables of an application's .env become: secrets, settings, or what Slipway itself knows."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from slipway.secrets.store import value_problems
from slipway.settings.environment import as_text
from slipway.settings.types import ENV_NAME, ENV_TEXT

# Words of a name that is a secret's, ends of such words, and words beside them that say it is not.
_SECRET_WORDS = {
    *("SECRET", "SECRETS", "PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD", "TOKEN", "KEY", "APIKEY", "CREDENTIAL"),
    *("CREDENTIALS", "PRIVATE", "SALT", "PEPPER", "DSN", "WEBHOOK", "SIGNATURE", "KEYS"),
}
_SECRET_ENDS = ("SECRET", "PASSWORD", "PASSWD", "PASS", "PWD", "TOKEN", "APIKEY", "SECRETKEY", "PW", "AUTH")
_PLAIN_WORDS = {
    *("PUBLIC", "PUBLISHABLE", "ALGORITHM", "ALG", "EXPIRE", "EXPIRES", "EXPIRY", "EXPIRATION", "TTL", "LIFETIME"),
    *("MINUTES", "SECONDS", "HOURS", "DAYS", "LENGTH", "TYPE", "HEADER", "ISSUER", "AUDIENCE", "PREFIX", "ENABLED"),
    *("NAME", "FILE", "PATH", "COOKIE", "ROUNDS"),
}
# How providers begin theirs: Stripe, OpenAI, GitHub, Slack, AWS, Google, SendGrid, Resend, Razorpay.
_SECRET_VALUE = re.compile(
    r"(sk|rk|whsec|ghp|gho|github_pat|xox[a-z]|re|rzp_live|rzp_test)[_-]\w|AKIA[A-Z0-9]{12}|AIza\w{20}|SG\.\w"
)
# Within a value: a key in a file of a service account, a connection string as Azure's.
_SECRET_PART = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:AccountKey|SharedAccessKey|Password|Pwd)=[^;\s]")
_URL_WITH_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
# A text of one word without meaning is so mixed: bits per character.
_MIN_ENTROPY, _MIN_RANDOM_LENGTH = 3.5, 20
_MONGODB_URL = re.compile(r"mongodb(?:\+srv)?://(?:[^@/]*@)?([^/?\s]+)", re.IGNORECASE)
# Of the parts of the database's place: the last words of their names.
_PARTS = {
    "{mongo_host}": ("HOST", "HOSTNAME", "SERVER", "ADDRESS"),
    "{mongo_port}": ("PORT",),
    "{mongo_user}": ("USER", "USERNAME"),
    "{mongo_password}": ("PASSWORD", "PASSWD", "PASS", "PWD"),
    "{mongo_database}": ("NAME", "DB", "DATABASE", "DBNAME"),
}


@dataclass
class Imported:
    """Variables by their names. `environment` has texts for backend_environment, `ours` names of those in it that
    Slipway replaces; `left_out` says why one becomes nothing, without its value."""

    secrets: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    ours: list[str] = field(default_factory=list)
    # Secrets without a value that could be one, and what is wrong with it.
    wanted: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def imported(values: Mapping[str, str], chosen: Collection[str] = ()) -> Imported:
    """What `values` become; those that are `chosen` are secrets, whatever they look like."""
    found = Imported()
    has_own_mongodb = _has_own_mongodb(values)
    for name, value in values.items():
        if not re.fullmatch(ENV_NAME, name):
            found.left_out[name] = "no name that an environment variable may have here"
        elif "_INITDB_" in name:
            found.left_out[name] = "of MongoDB's container, for which Slipway installs MongoDB"
        elif name not in chosen and has_own_mongodb and (text := _mongodbs(name, value)):
            found.environment[name] = text
            found.ours.append(name)
        elif name in chosen or is_secret(name, value):
            if value and not value_problems({name: value}):
                found.secrets[name] = value
            else:
                found.wanted[name] = "a placeholder" if value else "nothing"
        elif not re.fullmatch(ENV_TEXT, value):
            found.left_out[name] = "a control character, which no variable may have"
        else:
            found.environment[name] = as_text(value)
    return found


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a secret."""
    words = {*re.split(r"[^A-Z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).upper())}
    if _URL_WITH_PASSWORD.search(value) or _SECRET_VALUE.match(value) or _SECRET_PART.search(value):
        return True
    if re.match(r"https?://", value):
        return any(map(_looks_random, re.split(r"[/?&=]", value)))
    is_named_so = (bool(words & _SECRET_WORDS) and not words & _PLAIN_WORDS) or _ends_as_secret(name)
    if re.fullmatch(r"-?[0-9.]{1,3}|true|false|yes|no|on|off", value, re.IGNORECASE):
        return False
    return is_named_so or _looks_random(value)


def _ends_as_secret(name: str) -> bool:
    """By its last word: COOKIE_SECRET, PGPASSWORD; not SECRET_NAME, and not PUBLIC_TOKEN."""
    *others, last = re.split(r"[^A-Z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).upper())
    return last.endswith(_SECRET_ENDS) and not {*others} & {"PUBLIC", "PUBLISHABLE"}


def _looks_random(value: str) -> bool:
    if not re.fullmatch(rf"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_-]{{{_MIN_RANDOM_LENGTH},}}", value):
        return False
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= _MIN_ENTROPY


# --- The database -----------------------------------------------------------------------------------------------------


def _has_own_mongodb(values: Mapping[str, str]) -> bool:
    """Whether the application's database is on the machine that the .env is of, and on the server Slipway's."""
    hosts = [found[1] for value in values.values() if (found := _MONGODB_URL.match(value))]
    named = {name.upper(): value for name, value in values.items() if "MONGO" in name.upper()}
    hosts += [value for name, value in named.items() if name.endswith(_PARTS["{mongo_host}"])]
    return bool(hosts or named) and all(map(_is_local, hosts))


def _is_local(hosts: str) -> bool:
    """Whether each is a loopback address, or the name of a container, which has no dot."""
    names = [re.sub(r":\d+$", "", host).strip("[]") for host in hosts.split(",")]
    return all(re.fullmatch(r"127\.[\d.]+|0\.0\.0\.0|::1|[\w-]*", name) for name in names)


def _mongodbs(name: str, value: str) -> str:
    """What a variable is that is of the database, "" for another one."""
    if _MONGODB_URL.match(value):
        return "{mongo_url}"
    *first, last = name.upper().split("_")
    if not first or not {*first} <= {"MONGO", "MONGODB", "DB", "DATABASE"}:
        return ""
    found = next((text for text, ends in _PARTS.items() if last in ends), "")
    is_ours = {"{mongo_host}": _is_local(value), "{mongo_port}": value == "27017"}
    return found if is_ours.get(found, True) else ""
