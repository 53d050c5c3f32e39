"""The backend's secrets on the host: one file each in /etc/<site>/credentials, which systemd hands to the service.

Those that are given are written as they are; the others are made up there, once, and never leave the host.
"""

from __future__ import annotations

import hashlib

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.uploads import with_input
from slipway.facts.base import Output, key_values
from slipway.ops.commands import Commands
from slipway.ops.files import tar
from slipway.ops.templates import render
from slipway.secrets.store import MONGO_URL, MONGODB_ADMIN, MONGODB_BACKEND
from slipway.settings.model import Settings


def credential_names(settings: Settings) -> list[str]:
    """The secrets that the backend gets, by name."""
    return list(dict.fromkeys([*settings.backend_secrets, MONGO_URL]))


def given(settings: Settings) -> dict[str, str]:
    """The values of those that are known here; the others are for the host to know."""
    values = {name: settings.secrets[name] for name in settings.backend_secrets if name in settings.secrets}
    if MONGO_URL not in values and MONGODB_BACKEND in settings.secrets:
        values[MONGO_URL] = mongo_url(settings, settings.secrets[MONGODB_BACKEND])
    return values


def mongo_url(settings: Settings, password: str) -> str:
    """Where the backend finds its database. Every byte of the password is percent-encoded, as the host's shell does.

    journal=true: MongoDB acknowledges a write when it is in the journal on disk, and no power cut loses it; without, it
    is up to 100 ms late. https://www.mongodb.com/docs/manual/reference/write-concern/#acknowledgment-behavior
    """
    encoded = "".join(f"%{byte:02x}" for byte in password.encode())
    return f"mongodb://{settings.mongodb_backend_user}:{encoded}@{_rest_of_url(settings)}"


def _rest_of_url(settings: Settings) -> str:
    where = f"{settings.mongodb_local}:{settings.mongodb_port}/{settings.mongodb_database}"
    return f"{where}?authSource=admin&journal=true"


def _values(settings: Settings) -> dict[str, object]:
    known = given(settings)
    return {
        "settings": settings,
        "folder": settings.credentials_folder,
        "environment": settings.environment_file,
        "names": credential_names(settings),
        "made_up": [name for name in credential_names(settings) if name not in known and name != MONGO_URL],
        "composes_url": MONGO_URL not in known,
        "password": MONGODB_BACKEND,
        "rest_of_url": _rest_of_url(settings),
        "kept": [*credential_names(settings), MONGODB_ADMIN, MONGODB_BACKEND],
    }


def differences(shown: str, settings: Settings) -> list[str]:
    """What is to change, in words, by what the host printed (templates/backend/show-credentials)."""
    found = key_values(shown.splitlines())
    # As sha256sum prints them: what it reads from a pipe is named "-".
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in shown.splitlines()) if name}
    folder, known = settings.credentials_folder, given(settings)
    lines = []
    if (mode := found.pop(".", "")) != "root:root 700":
        lines.append(f"{folder}: {mode or 'nothing'} -> root:root 700")
    environment = found.pop("environment", "")
    for name in credential_names(settings):
        state, digest = found.pop(name, ""), digests.get(name, "")
        wanted = hashlib.sha256(known[name].encode()).hexdigest() if name in known else ""
        if name == MONGO_URL and not wanted:
            wanted = digests.get("-", "unknown yet")
        if not state:
            lines.append(
                f"{folder}/{name}: new" + ("" if name in known or name == MONGO_URL else ", generated on the host")
            )
        elif wanted and digest != wanted:
            lines.append(f"{folder}/{name}: contents change (secret, not shown)")
        elif state != "root:root 600":
            lines.append(f"{folder}/{name}: {state} -> root:root 600")
    lines += [f"{folder}/{name}: removed" for name in found if name not in (MONGODB_ADMIN, MONGODB_BACKEND)]
    wants_environment = settings.backend_secrets_delivery == "environment"
    if wants_environment and environment != "right":
        lines.append(f"{settings.environment_file}: contents change (secret, not shown)")
    if not wants_environment and environment:
        lines.append(f"{settings.environment_file}: removed")
    return lines


@operation()
def sync_credentials(settings: Settings) -> Commands:
    """Make sure that the secrets are there, for root alone, and nothing else beside them."""
    lines = differences(host.get_fact(Output, command=show_credentials(settings)), settings)
    if not lines:
        return
    notes.note("\n".join(lines))
    yield with_input(write_credentials(settings), tar(given(settings)))


def show_credentials(settings: Settings) -> str:
    """The shell script that prints what is there, for `differences`."""
    return render("backend/show-credentials", **_values(settings)).rstrip()


def write_credentials(settings: Settings) -> str:
    """The shell script that writes the secrets, with those that are `given` in a tar on its standard input."""
    return render("backend/write-credentials", **_values(settings))
