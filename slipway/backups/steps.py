"""The scheduled steps of backups: a full backup each day, a slice of the oplog each minute, and the retention policy.

A full backup is the stream of `mongodump --archive`, and the oplog from before its start to after its end, which the
slices hold anyway: as `mongodump --oplog`, but with both moments known, so that any later second can be restored. It
is complete when its manifest is in the repository, which is written last. A failed dump never becomes a snapshot, as
restic does not see the end of its input.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import time
from contextlib import suppress
from typing import Any

from slipway.backups import chain, members, mongo, oplog
from slipway.backups.chain import FILES, FULL, ID_FORM, MANIFEST, at, tag_of
from slipway.backups.host import (
    Busy,
    Ended,
    Facts,
    Failed,
    alone,
    change_state,
    change_state_of,
    last_lines,
    read_state,
    secret,
    tell,
    text_of,
)
from slipway.backups.restic import Repository, Writing, pump
from slipway.backups.slicing import each, is_new, refuse_another, repositories, take_slices

ARCHIVE, MANIFEST_FILE = "mongodb.archive", "manifest.json"
MIB = 2**20
# A check and a prune never run at once.
TIDYING, TIDYING_PATIENCE = "check or prune", 3600


def now(facts: Facts, anyway: bool = False) -> None:
    """Make a full backup to all repositories, then apply the retention policy.

    A new server does not write to a repository with the previous server's backups: its own would be the newest ones,
    which a restore would use. The same for a MongoDB that has lost its data. Nor is a repository created where one has
    been. `anyway` overrides all.
    """
    with alone("backup"):
        if not anyway and is_new():
            each(facts, _refuse_others)
        members.hand_over(facts)
        _full(facts, anyway)
    with suppress(Busy):  # Its slice holds what this one would.
        take_slices(facts, waits=True)
    if facts.prunes:
        prune(facts)


def _refuse_others(repository: Repository) -> None:
    if repository.is_there() and (fulls := chain.catalog(repository.snapshots()).fulls):
        raise Failed(
            f"repository {repository.name}: found another server's backups, the newest of"
            f" {at(fulls[-1].end[0])}; restore them (slipway restore --files --secrets), or, if this host has the data"
            " as a member of the replica set or goes on without them: slipway backup now --anyway"
        )


def _full(facts: Facts, anyway: bool) -> None:
    failures, targets = [], []
    for repository in repositories(facts):
        try:
            was = read_state().get("places", {}).get(repository.name)
            repository.prepare(is_new=anyway or was != repository.place)
            # A prune that was killed leaves its lock.
            repository.unlock()
            targets.append(repository)
        except Failed as failure:
            failures.append(str(failure))
    if not targets:
        raise Failed("\n".join(failures))
    server = mongo.live(facts)
    if not anyway:
        refuse_another(server)
    id_ = time.strftime(ID_FORM, time.gmtime())
    began, begin = time.monotonic(), server.applied()
    written, size = _dump(facts, targets, {FULL: "", "id": id_}, failures)
    end = server.newest()
    renamed = [
        one.namespace
        for one in map(oplog.entry, server.oplog(begin, end))
        # What was written until its begin was there to be read.
        if one.command == "renameCollection" and oplog.is_applied(one) and one.moment > begin
    ]
    if renamed:
        raise Failed(
            f"{', '.join(renamed)}: renamed during the backup, which is discarded as it may have it twice or never;"
            " run it again"
        )
    paths, missing = _stored_paths(facts)
    failures += missing
    witness = server.newest()
    version = server.ask({"buildInfo": 1})["version"]
    manifest = {
        "id": id_,
        "begin": begin,
        "end": end,
        "witness": witness,
        "version": version,
        "bytes": size,
        "paths": paths,
        "collections": server.fingerprint(witness),
    }
    tags = {"id": id_, "begin": tag_of(begin), "end": tag_of(end), "witness": tag_of(witness), "version": version}
    # One after the other, so that one that takes long keeps none before it from being complete.
    for repository in written:
        try:
            repository.store_paths({FILES: "", "id": id_}, paths)
            repository.store(MANIFEST_FILE, {MANIFEST: "", **tags}, json.dumps(manifest).encode())
            change_state_of(repository.name, fulls=id_)
            if repository.name not in read_state().get("reached", {}):
                change_state_of(repository.name, reached=tag_of(begin))
            seconds = time.monotonic() - began
            tell(f"{repository.name}: backup {id_}, {size // MIB} MiB of documents, {seconds:.0f} s")
        except Ended:
            raise
        except Failed as failure:
            failures.append(str(failure))
    change_state(awaits=False, set=server.set_id(), full={"id": id_, "time": int(time.time()), "failures": failures})
    if failures:
        raise Failed("\n".join(failures))


def _stored_paths(facts: Facts) -> tuple[list[str], list[str]]:
    """The folders and files of a backup, and what is wrong. Uploads that are not mounted are left out: a restore would
    put an empty folder in their place."""
    absent = {folder: root for folder, root in facts.uploads.items() if not is_there(folder, root)}
    failures = [
        f"{folder}: found {'nothing mounted' if root else 'no folder'} there, expected the uploads, which this"
        " backup is without: mount it again, then slipway backup now"
        for folder, root in absent.items()
    ]
    # restic passes over what is not there.
    missing = [path for path in facts.named if not os.path.exists(path)]
    failures += [
        f"{path}: found nothing there, expected a folder or file, which this backup is without: make it, or take it out"
        " of backup_paths"
        for path in missing
    ]
    left_out = [*absent, *missing]
    there = [path for path in facts.paths if not any(f"{path}/".startswith(f"{one}/") for one in left_out)]
    # Of a link restic stores where it leads to, and not what is there.
    return [os.path.realpath(path) if os.path.islink(path) else path for path in there], failures


def is_there(folder: str, root: str) -> bool:
    """Whether a folder is there, and has files or is in what is mounted below `root`, unless that is ""."""
    if not os.path.isdir(f"{folder}/.") or not root:
        return os.path.isdir(folder)
    place = folder
    while place != root and subprocess.run(["mountpoint", "-q", place], check=False).returncode:
        place = os.path.dirname(place)
    return place != root or bool(os.listdir(folder))


def _dump(
    facts: Facts, targets: list[Repository], tags: dict[str, str], failures: list[str]
) -> tuple[list[Repository], int]:
    """Dump to the targets. Returns the repositories that succeeded, and the size in bytes."""
    size = 0

    def count(more: int) -> None:
        nonlocal size
        size += more

    writing: list[Writing] = [target.storing(ARCHIVE, tags) for target in targets]
    try:
        with mongo.login_file(facts) as login:
            words = mongo.dump_command(login)
            dump = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            assert dump.stdout
            assert dump.stderr
            try:
                pump(dump.stdout, writing, count)
                said = dump.stderr.read().decode(errors="replace")
                if dump.wait():
                    raise Failed(f"mongodump ended with {dump.returncode}: {last_lines(said)}")
            finally:
                dump.kill()
                dump.wait()
    except BaseException:
        # Kill restic before its input ends: it would store that as a complete dump.
        for one in writing:
            one.abandon()
        raise
    for one in writing:
        one.close()
    written = []
    for target, one in zip(targets, writing, strict=True):
        try:
            one.end()
            written.append(target)
        except Failed as failure:
            failures.append(str(failure))
    return written, size


def prune(facts: Facts) -> None:
    """Delete snapshots by the retention policy, and free their space."""

    def tidy(repository: Repository) -> None:
        found = chain.catalog(repository.snapshots())
        gone = chain.to_forget(found, int(time.time()), facts.daily, facts.weekly, facts.monthly, facts.days)
        if gone:
            repository.unlock()
            # The length of a command line is limited.
            for first in range(0, len(gone), 500):
                repository.run_alone("forget", "--quiet", *gone[first : first + 500])
            # restic 0.17 and later succeed where a repository removes nothing.
            if left := {*gone} & {one["id"] for one in repository.snapshots()}:
                raise Failed(
                    f"repository {repository.name}: {len(left)} of {len(gone)} snapshots were not removed; for an"
                    " append-only repository set backup_prune = False (docs/backups.md)"
                )
            change_state(pruning=int(time.time()))
            try:
                repository.run_alone("prune", "--quiet", "--max-unused", "10%")
            finally:
                change_state(pruning=None)
        tell(f"{repository.name}: {len(gone)} snapshots forgotten")

    with alone(TIDYING, TIDYING_PATIENCE):
        each(facts, tidy)


def check(facts: Facts) -> None:
    """Check the repositories, reading a seventh of their data each day, and report gaps."""
    part = f"{int(time.strftime('%u'))}/7"

    def look(repository: Repository) -> None:
        repository.unlock()
        # Without restic's lock, which would block slices: what they add meanwhile does no harm.
        repository.run("check", "--quiet", "--no-lock", f"--read-data-subset={part}")
        found = chain.catalog(repository.snapshots())
        missing = chain.gaps(found)
        for gap in missing:
            tell(f"{repository.name}: {gap}")
        if found.fulls and any(gap.end > found.fulls[-1].begin for gap in missing):
            raise Failed(f"repository {repository.name}: {missing[-1]}, since the last full backup: slipway backup now")
        tell(
            f"{repository.name}: no errors; newest second {chain.newest_of(found) or 'none yet'}, gaps: {len(missing)}"
        )

    with alone(TIDYING, TIDYING_PATIENCE):
        each(facts, look)


def listed(facts: Facts) -> None:
    """Print what can be restored, as JSON; of a repository that fails, why. Raises Failed if all do."""
    answer: dict[str, dict[str, Any]] = {}
    for repository in repositories(facts):
        try:
            found = chain.catalog(repository.snapshots())
        except Ended:
            raise
        except Failed as failure:
            answer[repository.name] = {"backups": [], "newest": "", "slices": 0, "gaps": [], "error": str(failure)}
            continue
        answer[repository.name] = {
            "backups": [{"id": one.id, "since": at(one.since), "mongodb": one.version} for one in found.fulls],
            "newest": chain.newest_of(found),
            "slices": len(found.slices),
            "gaps": [{"begin": at(one.begin[0]), "end": at(one.end[0])} for one in chain.gaps(found)],
        }
    if all("error" in its for its in answer.values()):
        raise Failed("\n".join(its["error"] for its in answer.values()))
    tell(json.dumps(answer, indent=2))


def sizes(facts: Facts) -> None:
    """Print the oldest and the newest full backup of a repository that answers, as JSON: each with its time and the
    bytes of its documents."""
    for repository in repositories(facts):
        with suppress(Failed):
            if fulls := chain.catalog(repository.snapshots()).fulls:
                ends = [fulls[0], fulls[-1]]
                manifests = [json.loads(repository.read(one.manifest, MANIFEST_FILE)) for one in ends]
                tell(json.dumps([[one.end[0], its["bytes"]] for one, its in zip(ends, manifests, strict=True)]))
                return


def signed(facts: Facts, report: dict[str, Any]) -> dict[str, Any]:
    """A report with its HMAC-SHA256 by the repositories' password: it can't be forged without that."""
    text = json.dumps(report, sort_keys=True).encode()
    key = text_of(secret(facts, "BACKUP_PASSWORD")).encode()
    return {**report, "signature": hmac.digest(key, text, hashlib.sha256).hex()}
