"""The secrets of a site's services on the host: one file each in /etc/<site>/credentials, passed on by systemd.

Provided secrets are written as they are; the others are generated on the host, once, and never leave it. An environment
value that contains a secret (slipway/settings/environment.py) is such a file too; the host composes it if only the host
knows the secret.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.uploads import with_input
from slipway.facts.base import Output, key_values
from slipway.facts.files import FileStates
from slipway.ops.commands import Commands
from slipway.ops.files import is_in_place, tar, write_script
from slipway.ops.templates import render
from slipway.secrets.store import OWN
from slipway.settings import environment
from slipway.settings.backup import content_of
from slipway.settings.environment import PLACEHOLDERS, Part, Value
from slipway.settings.model import Settings

# The reason for a change if only the parser of secrets_file has changed.
READ_OTHERWISE = (
    "; nobody changed it: secrets_file is read as python-dotenv reads it now. To keep the old value, put it in single"
    " quotes (slipway help secrets)"
)


def credential_files(settings: Settings) -> list[str]:
    """The files in credentials_folder that a site's services use."""
    return [*dict.fromkeys([*settings.backend_secrets, *environment.composed(settings), *_needed(settings)])]


def _composed_there(settings: Settings) -> dict[str, Value]:
    """The values, by file, that the host composes, as only the host knows a secret in them."""
    found = environment.composed(settings).items()
    return {file: value for file, value in found if not environment.is_known(value, settings.secrets)}


def _needed(settings: Settings) -> list[str]:
    """Provided secrets that the host composes values from, besides backend_secrets."""
    names = {name for value in _composed_there(settings).values() for name in environment.names_in(value)}
    return sorted(names & settings.secrets.keys() - {*settings.backend_secrets})


def _of_others(settings: Settings) -> set[str]:
    """Secrets that other components install: MongoDB's, and those that values can be composed of."""
    made = (one.value(settings) for one in PLACEHOLDERS.values() if not one.missing(settings))
    logins = (name for index in settings.indexes for name, _ in index.login)
    return {*OWN, *settings.host_secrets, *logins}.union(*map(environment.names_in, made))


def given(settings: Settings) -> dict[str, str]:
    """The contents of the files that are known on the controller; only the host knows the others."""
    known = settings.secrets
    values = {name: known[name] for name in (*settings.backend_secrets, *_needed(settings)) if name in known}
    return values | {
        file: environment.text_of(value, known)
        for file, value in environment.composed(settings).items()
        if environment.is_known(value, known)
    }


def _values(settings: Settings, only_new: bool = False) -> dict[str, object]:
    known, composed = given(settings), _composed_there(settings)
    files = credential_files(settings)
    return {
        "settings": settings,
        "only_new": only_new,
        "folder": settings.credentials_folder,
        "made_up": [name for name in files if name not in known and name not in composed],
        "composed": {file: "; ".join(map(_printed, value)) for file, value in composed.items()},
        "needed": {file: sorted(environment.names_in(value)) for file, value in composed.items()},
        "kept": sorted({*files} | _of_others(settings)),
    }


def _printed(part: Part) -> str:
    """A shell command that prints one part of a value."""
    if isinstance(part, str):
        return f"printf %s {shlex.quote(part)}"
    return f'{"percent_encode" if part.in_url else "cat"} "$(newest {part.name})"'


def differences(shown: str, settings: Settings, only_new: bool = False) -> list[str]:
    """Descriptions of the changes, from the output of templates/backend/show-credentials. `only_new` ignores existing
    files."""
    found = key_values(shown.splitlines())
    # As sha256sum prints them; "NAME, now" is what the host would compose now.
    digests = {name: digest for digest, _, name in (line.partition("  ") for line in shown.splitlines()) if name}
    folder, known, composed = settings.credentials_folder, given(settings), _composed_there(settings)

    def changes(name: str) -> bool:
        """Whether a secret, or a value composed of secrets, changes."""
        if name in known:
            return digests.get(name) != hashlib.sha256(known[name].encode()).hexdigest()
        if name in composed and not any(map(changes, environment.names_in(composed[name]))):
            return digests.get(name) != digests.get(f"{name}, now", "unknown yet")
        return name in composed or name not in digests

    lines = []
    if not only_new and (mode := found.get(".", "")) != "root:root 700":
        lines.append(f"{folder}: {mode or 'nothing'} -> root:root 700")
    for name in credential_files(settings):
        state = found.get(name, "")
        if not state:
            is_made_up = name not in known and name not in composed
            lines.append(f"{folder}/{name}: new{', generated on the host' if is_made_up else ''}")
        elif only_new:
            continue
        elif changes(name):
            reason = READ_OTHERWISE if settings.is_read_otherwise(name, digests.get(name, "")) else ""
            lines.append(f"{folder}/{name}: contents change (secret, not shown){reason}")
        elif state != "root:root 600":
            lines.append(f"{folder}/{name}: {state} -> root:root 600")
    return lines


@operation()
def sync_credentials(settings: Settings, only_new: bool = False) -> Commands:
    """Make sure that the secrets exist, readable only by root. `only_new` leaves existing ones unchanged."""
    lines = differences(host.get_fact(Output, command=show_credentials(settings)), settings, only_new)
    if not lines:
        return
    notes.note("\n".join(lines))
    yield with_input(write_credentials(settings, only_new), tar(given(settings)))


def show_credentials(settings: Settings) -> str:
    """The shell script that prints the state of the files, for `differences`."""
    return render("backend/show-credentials", **_values(settings)).rstrip()


def write_credentials(settings: Settings, only_new: bool = False) -> str:
    """The shell script that writes the secrets; its standard input is a tar of the `given` ones."""
    return render("backend/write-credentials", **_values(settings, only_new))


@operation()
def remove_unused(settings: Settings) -> Commands:
    """Remove unused secrets, after the services run with their new units: the old units need the old secrets."""
    folder, kept = settings.credentials_folder, {*credential_files(settings)} | _of_others(settings)
    command = f"ls -A {folder}; ls {settings.environment_file}"
    found = host.get_fact(Output, command=command).splitlines()
    gone = [path if path.startswith("/") else f"{folder}/{path}" for path in found if path not in kept]
    if not gone:
        return
    notes.note("\n".join(f"{path}: removed" for path in gone))
    yield f"rm -rf {' '.join(map(shlex.quote, gone))}"


@operation()
def host_secrets(settings: Settings, names: Sequence[str]) -> Commands:
    """Make sure that the secrets of host-wide components (backups, alarms, package indexes) exist, for root alone."""
    folder = settings.credentials_folder
    wanted = {f"{folder}/{name}": content_of(name, settings.secrets[name]) for name in names}
    found = host.get_fact(FileStates, paths=tuple(wanted)) if wanted else {}
    for path, value in wanted.items():
        if not is_in_place(found.get(path, {}), value.encode(), "600", "root", "root"):
            notes.note(f"{path}: {'contents or mode change' if found.get(path) else 'new'} (secret, not shown)")
            yield with_input(write_script(path, "600", "root", "root", check=None), value.encode())
