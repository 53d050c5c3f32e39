"""Backups that go elsewhere: a copy for a developer's machine, and the repositories of another host.

The copy has no users and is changed by the site's own command first: personal data leave the server only where that is
asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from slipway.backups import members
from slipway.backups.host import RUN, Facts, Failed, alone, private_folder, run, run_command, tell, write
from slipway.backups.restoring import Found, rebuilt

# Where `slipway restore --to` puts what it knows of the other host's repositories, with their secrets.
SOURCE = f"{RUN}/source.json"


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
                if only:
                    # mongodump would write an empty archive.
                    members.of([*members.present(scratch), *members.not_copied(scratch, only.partition(".")[0])], only)
                # Their names and passwords stay on the server.
                scratch.forget_users()
                if not is_raw:
                    run_command("backup_anonymise", facts.anonymise, scratch.uri)
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


@contextmanager
def of_another_host(facts: Facts) -> Iterator[Facts]:
    """The configuration to read another host's repositories with, from SOURCE, which is removed first. Whatever is
    written is written with the host's own."""
    try:
        with open(SOURCE, encoding="utf-8") as file:
            its = json.load(file)
        os.remove(SOURCE)
    except FileNotFoundError:
        raise Failed("found no repositories of another host; run `slipway restore --to` again") from None
    with private_folder() as folder:
        for name, text in {**its["secrets"], "known_hosts": its["known_hosts"]}.items():
            write(f"{folder}/{name}", text)
        yield facts._replace(
            repositories=its["repositories"],
            variables=its["variables"],
            credentials=folder,
            known_hosts=f"{folder}/known_hosts",
        )
