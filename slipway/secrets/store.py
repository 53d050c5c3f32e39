"""The secrets that a user gives: from the process's environment, and from a file that is encrypted with age or plain.

No value is ever in an error, a note or a representation: a problem names the secret, and says what to do.
https://age-encryption.org/v1
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyrage

from slipway import project
from slipway.secrets import env_file

# Those that Slipway itself needs, beside the backend's own: of MongoDB's two users.
MONGODB_ADMIN, MONGODB_BACKEND = "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"
# A component with a secret of its own adds it here.
OWN = [MONGODB_ADMIN, MONGODB_BACKEND]
# The key and the certificate of the servers' own certificate authority (authority.py), which several servers need.
AUTHORITY = ("SERVERS_CA_KEY", "SERVERS_CA_CERTIFICATE")
# What the backend reaches its database by; Slipway makes it of MONGODB_BACKEND.
MONGO_URL = "MONGO_URL"
# A secret of this name in the environment wins over the file's.
PREFIX = "SLIPWAY_SECRET_"
IDENTITY_VARIABLE = "SLIPWAY_AGE_IDENTITY"
ENCRYPTED = ".age"
# How bytes that are no UTF-8 are in a text: https://peps.python.org/pep-0383/
RAW = "surrogateescape"
PUBLIC_KEY = "a public key of age's as age1... (slipway secrets keygen shows yours)"
# What people write where a secret is to come.
PLACEHOLDER = re.compile(
    r"<.*>|\{\{.*\}\}|x+|\*+|\.+|\?+|change[ _-]?(me|this|it).*|replace[ _-]?(me|this).*|your[ _-].*|to-?do|tbd|fixme"
    r"|placeholder|example|secret|password|passwort|passw0rd|admin|test|dummy|default|none|null|undefined|1234*5*6*7*8*9*0*",
    re.IGNORECASE,
)


def known_names(backend_secrets: Iterable[str], more: Iterable[str] = ()) -> list[str]:
    """Every secret that has a use: the backend's, MongoDB's two, and `more` that other settings need."""
    return [*dict.fromkeys([*backend_secrets, *OWN, *more])]


def read_secrets(file: str, names: Iterable[str], generated: Iterable[str], identity: str) -> dict[str, str]:
    """The values that are given for `names`, by name; those of `generated` may be absent.

    `file` is a file of NAME=value lines, encrypted where its name ends in .age, or "" for none. `identity` is the file
    of the age identity. Raises ValueError with one line per problem.
    """
    names, generated = list(names), set(generated)
    values = {name: os.environ[PREFIX + name] for name in names if PREFIX + name in os.environ}
    problems = [
        _unknown(f"{name} in the environment", name.removeprefix(PREFIX), names)
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in (*names, *AUTHORITY)
    ]
    if absent := [name for name in names if name not in values]:
        try:
            found = _from_file(file, [name for name in absent if name not in generated], identity)
        except ValueError as error:
            raise ValueError("\n".join([*problems, *str(error).split("\n")])) from None
        problems += unknown_names(found, names)
        values = {**{name: found[name] for name in absent if name in found}, **values}
    problems += [
        f"found no value for {name}, expected one: {how_to_give(name, file)}"
        for name in names
        if not values.get(name) and (name not in generated or name in values)
    ]
    problems += value_problems(values)
    if problems:
        raise ValueError("\n".join(problems))
    return {name: values[name] for name in names if values.get(name)}


def read_authority(file: str, identity: str) -> dict[str, str]:
    """The secrets of AUTHORITY that are given, by name. Raises ValueError where the file can't be read."""
    found = {name: os.environ[PREFIX + name] for name in AUTHORITY if PREFIX + name in os.environ}
    known = _from_file(file, [], identity) if len(found) < len(AUTHORITY) else {}
    return {name: known[name] for name in AUTHORITY if known.get(name)} | {n: its for n, its in found.items() if its}


def read_as_before(file: str, identity: str) -> dict[str, str]:
    """What the file holds as Slipway 0.1 read it, by name, without what the environment has; {} if it can't be read."""
    try:
        found = env_file.parse_as_before(_text_of(file, identity) or "")
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if PREFIX + name not in os.environ}


def how_to_give(name: str, file: str) -> str:
    how = (
        "type `slipway secrets edit`" if file.endswith(ENCRYPTED) else f"a line {name}=... in {file or 'secrets_file'}"
    )
    return f"{how}, or set {PREFIX}{name} in the environment"


def _from_file(file: str, required: list[str], identity: str) -> dict[str, str]:
    """What the file holds. It may be missing where nothing is `required`. Raises ValueError where it can't be read."""
    text = _text_of(file, identity)
    if text is not None:
        return env_file.parse(text)
    if required:
        found = f"found no such file, expected one with {', '.join(required)}" if file else "found no file's name"
        raise ValueError(f"{found} ({_how_to_create(file)})")
    return {}


def _text_of(file: str, identity: str) -> str | None:
    """None where there is no such file."""
    path = project.path(file)
    if not file or not path.exists():
        return None
    return decrypt(path, identity) if file.endswith(ENCRYPTED) else _read_plain(path)


def _how_to_create(file: str) -> str:
    if file.endswith(ENCRYPTED):
        return "create it: slipway secrets edit; or name a plain file, mode 0600, with secrets_file"
    return f"create it: install -m 600 /dev/null {file}" if file else f"name one, or set {PREFIX}NAME for each secret"


def _read_plain(path: Path) -> str:
    if not path.is_file():
        raise ValueError("found something that is no file, expected a file of NAME=value lines")
    if others_can_read(path):
        raise ValueError(f"found a file that others can read, expected mode 0600 (run: chmod 600 {path})")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        raise ValueError("found a file that is not UTF-8 text, expected NAME=value lines") from None
    except OSError as error:
        raise ValueError(f"found a file that can't be read: {error.strerror} (run: chown $USER {path})") from None


def others_can_read(path: Path) -> bool:
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


# --- What is in a file -----------------------------------------------------------------------------------------------


def unknown_names(found: Iterable[str], names: list[str]) -> list[str]:
    return [_unknown(name, name, names) for name in found if name not in (*names, *AUTHORITY)]


def _unknown(label: str, name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}; backend_secrets names further ones"
    return f"found {label}, which is no secret of this site; {hint}"


def value_problems(values: Mapping[str, str]) -> list[str]:
    """What can't be a secret, or can't be handed over, a line each."""
    problems = []
    for name, value in values.items():
        if value and (PLACEHOLDER.fullmatch(value.strip()) or value.strip().lower() == name.lower() or value.isspace()):
            problems.append(f"found a placeholder for {name}, expected the secret itself (openssl rand -hex 32)")
        if "\0" in value:
            problems.append(f"found a NUL character in {name}, expected text")
        # Others must be prepared first (SASLprep, RFC 4013), which not every driver does.
        if name in (MONGODB_ADMIN, MONGODB_BACKEND) and not re.fullmatch(r"[ -~]*", value):
            problems.append(f"found other than printable ASCII characters in {name}, expected those alone")
    return problems


# --- age -------------------------------------------------------------------------------------------------------------


def decrypt(path: Path, identity: str, errors: str = "strict") -> str:
    """The text of an encrypted file; `errors` is as of `bytes.decode`. Raises ValueError with one line that says what
    to do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"found a file that can't be read: {error.strerror}") from None
    keys, origin = _identities(identity)
    try:
        return pyrage.decrypt(data, keys).decode(errors=errors)
    except (pyrage.DecryptError, UnicodeDecodeError) as error:
        if "No matching keys" in str(error):
            raise ValueError(
                f"found a file that is not encrypted to the identity of {origin}"
                " (who can read it adds its public key to secrets_recipients and types: slipway secrets rotate)"
            ) from None
        raise ValueError(f"found a damaged file, expected one by age (restore it: git checkout {path})") from None


def encrypt(text: str, recipients: Iterable[str]) -> bytes:
    """`text` for the recipients. Raises ValueError where there is none, or one is not a public key of age's."""
    keys = [recipient(line) for line in recipients]
    if not keys:
        raise ValueError(f"secrets_recipients: found [], expected {PUBLIC_KEY}")
    # An edit that is no UTF-8 is kept as it is.
    return pyrage.encrypt(text.encode(errors=RAW), keys)


def recipient(line: str) -> pyrage.x25519.Recipient:
    """Raises ValueError for what is no public key."""
    try:
        return pyrage.x25519.Recipient.from_str(line.strip())
    except pyrage.RecipientError:
        if line.strip().upper().startswith("AGE-SECRET-KEY-"):
            raise ValueError(f"{PUBLIC_KEY}; this is a private one, which never leaves your machine") from None
        raise ValueError(PUBLIC_KEY) from None


def _identities(setting: str) -> tuple[list[pyrage.x25519.Identity], str]:
    """The identities, and where they are from. The environment variable holds a key itself or the name of a file."""
    given = os.environ.get(IDENTITY_VARIABLE, "").strip()
    # Also with the lines around it that `secrets keygen` writes: it is in no message.
    if "AGE-SECRET-KEY-" in given.upper() or "\n" in given:
        return _parse_identities(given, IDENTITY_VARIABLE), IDENTITY_VARIABLE
    path = Path(given).expanduser() if given else project.path(setting)
    origin = f"{path}" + (f" ({IDENTITY_VARIABLE})" if given else "")
    if not path.is_file():
        raise ValueError(
            f"found no age identity at {origin}, need one to decrypt"
            f" (make one: slipway secrets keygen; or set {IDENTITY_VARIABLE})"
        )
    if others_can_read(path):
        raise ValueError(f"found an age identity that others can read, expected mode 0600 (run: chmod 600 {path})")
    try:
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"found an age identity at {origin} that can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        text = ""
    return _parse_identities(text, origin), origin


def _parse_identities(text: str, origin: str) -> list[pyrage.x25519.Identity]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise ValueError(f"found no age identity in {origin}, expected a line AGE-SECRET-KEY-1...")
    return found
