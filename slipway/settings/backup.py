"""Settings of backups."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.types import EnvName, PlainLine, Section, Unit, Words, matching

BACKUP_PASSWORD, BACKUP_SSH_KEY = "BACKUP_PASSWORD", "BACKUP_SSH_KEY"
# A user or host that begins with - would be an option of ssh.
_PLACE = re.compile(
    r"/[\w./@+-]+|sftp:[^\s:/-][^\s:/]*:\S+|sftp://([\w.+][\w.+-]*@)?([\w.][\w.-]*|\[[\da-fA-F:]+\])(:\d+)?/\S+"
    r"|(rest|s3|b2|azure|gs|swift|rclone):\S+"
)

Name = Annotated[str, matching(r"[a-z][a-z0-9-]{0,31}", "lower-case letters, digits and -, a letter first")]
Path = Annotated[str, matching(r"(/[\w.@+-]+)+", "an absolute path")]
Count = Annotated[int, Field(ge=0, le=1000)]


class Backup(Section):
    """Backups

    Off until `backup_repositories` names a place: one on the server's own disk would be lost with it
    ([backups.md](backups.md)).
    """

    backup_repositories: Annotated[
        dict[Name, str], Words("dictionary of a name to a restic repository"), Field(max_length=8)
    ] = Field({})
    """Where backups go, each a repository of restic's by a name of yours: `{"near": "/srv/backup", "far":
    "sftp:backup@backup.example.org:shop"}`, with a port `"sftp://backup@backup.example.org:23/shop"`, or
    `"rest:https://backup.example.org/shop"`, `"s3:https://s3.example.org/shop"`. All get the same. Their password is
    the secret `BACKUP_PASSWORD`
    ([preparing a repository](https://restic.readthedocs.io/en/stable/030_preparing_a_new_repo.html))."""

    backup_secrets: list[EnvName] = Field([])
    """Further secrets that the repositories need: restic's environment variables, as `AWS_ACCESS_KEY_ID` and
    `AWS_SECRET_ACCESS_KEY`, `RESTIC_REST_USERNAME` and `RESTIC_REST_PASSWORD`; and `BACKUP_SSH_KEY`, the private key
    for SFTP, which needs one."""

    backup_known_hosts: list[PlainLine] = Field([])
    """The host keys of SFTP servers, lines of `ssh-keyscan HOST`, which you compare with what their owner says; for
    another port than 22 of `ssh-keyscan -p PORT HOST`: those begin with `[HOST]:PORT`."""

    backup_paths: list[Path] = Field([])
    """Folders and files on the server that full backups hold beside the databases. Those of `shared_paths` and
    `shared_files` of all sites, and the secrets of the sites, are in them anyway. One that is not there fails the
    backup, which is stored without it."""

    backup_time: Annotated[str, matching(r"([01]\d|2[0-3]):[0-5]\d", 'a time as "02:30"')] = "02:30"
    """When the daily full backup begins, in the server's time zone, up to 30 minutes later."""

    backup_slice_seconds: Annotated[int, Field(ge=10, le=3600), Unit("seconds")] = 50
    """How often the writes since are backed up. With the time that it takes, this is the most that is lost with the
    server: a minute."""

    backup_keep_daily: Count = 7
    """Full backups that are kept: the newest one of each of so many days,"""

    backup_keep_weekly: Count = 4
    """of so many weeks,"""

    backup_keep_monthly: Count = 6
    """and of so many months."""

    backup_keep_seconds_days: Annotated[int, Field(ge=1, le=365), Unit("days")] = 7
    """For so many days every second can be restored; of the time before, the full backups."""

    backup_prune: bool = True
    """Let the server remove what the policy gives up. False for append-only repositories, where it must not be able to
    ([pruning from elsewhere](backups.md#append-only))."""

    backup_check: Annotated[str, matching(r"[^\x00]*", 'a shell command, or "" for none')] = ""
    """A shell command that judges the restored data in the weekly drill: an exit code other than 0 fails it, with what
    the command printed last. `MONGO_URL` leads to them, without a password; `HOME` is an empty folder."""

    backup_anonymise: Annotated[str, matching(r"[^\x00]*", 'a shell command, or "" for none')] = ""
    """A shell command that takes personal data out of a copy for developers (`slipway backup pull`), before the copy
    leaves the server. `MONGO_URL` leads to the copy, without a password; `HOME` is an empty folder."""

    @field_validator("backup_repositories")
    @classmethod
    def _places(cls, value: dict[str, str]) -> dict[str, str]:
        for name, place in value.items():
            if not _PLACE.fullmatch(place):
                raise ValueError(
                    'places as "/srv/backup", "sftp:user@host:path", "sftp://user@host:port/path", "rest:https://host/"'
                    f' or "s3:https://host/bucket"; found {place!r} for {name}'
                )
            if re.search(r"://[^/@]*:[^/@]*@", place):
                raise ValueError(f"places without a password, found one in {name} (backup_secrets names it)")
        return value

    @field_validator("backup_secrets")
    @classmethod
    def _with_a_key(cls, value: list[str], info: ValidationInfo) -> list[str]:
        places = info.data.get("backup_repositories", {}).values()
        if any(place.startswith("sftp:") for place in places) and BACKUP_SSH_KEY not in value:
            raise ValueError(f"{BACKUP_SSH_KEY} among them, for the repository by SFTP")
        return value


def secret_names(repositories: object, more: object) -> list[str]:
    """The secrets that backups need."""
    return [BACKUP_PASSWORD, *more] if repositories and isinstance(more, list) else []


def content_of(name: str, value: str) -> str:
    """What the file of a secret holds: OpenSSH reads no private key without its last newline."""
    return f"{value}\n" if name == BACKUP_SSH_KEY and not value.endswith("\n") else value
