"""A copy of a backup's databases for a developer's machine, without users, and changed by the site's own command first.

Personal data leave the server only where that is asked for.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from slipway.backups import mongo
from slipway.backups.host import Facts, Failed, alone, run, tell
from slipway.backups.restoring import Found, rebuilt


def archive_of(data: str) -> str:
    """Where the copy is, by MongoDB's folder; readable only by root."""
    return f"{data}.pull.gz"


def pull(facts: Facts, found: Found, only: str, is_raw: bool) -> None:
    """Write the copy. Raises Failed."""
    if not is_raw and not facts.anonymise:
        raise Failed(
            "backup_anonymise is empty: set a command that anonymises, or pull the data as they are with --raw"
        )
    archive, folder = archive_of(facts.data), f"{facts.data}.pull"
    with alone("restore"):
        remove(facts.data)
        try:
            with rebuilt(facts, found, folder) as scratch:
                _forget_users(scratch)
                if not is_raw:
                    tell("Anonymising")
                    run(["sh", "-euc", facts.anonymise], {"MONGO_URL": scratch.uri})
                database, _, collection = only.partition(".")
                words = [
                    *(["--db", database] if database else []),
                    *(["--collection", collection] if collection else []),
                ]
                run(["mongodump", "--quiet", "--uri", scratch.uri, "--gzip", f"--archive={archive}.new", *words])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        os.replace(f"{archive}.new", archive)
    tell(f"{os.path.getsize(archive)} bytes")


def remove(data: str) -> None:
    """Remove the copy, and what an interrupted run has left."""
    for file in (archive_of(data), f"{archive_of(data)}.new"):
        with suppress(FileNotFoundError):
            os.remove(file)


def _forget_users(scratch: mongo.Scratch) -> None:
    """Names and passwords of MongoDB's users stay on the server."""
    for collection in ("system.users", "system.roles"):
        scratch.ask({"delete": collection, "deletes": [{"q": {}, "limit": 0}]})
