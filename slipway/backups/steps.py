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
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from slipway.backups import chain, members, mongo, oplog
from slipway.backups.chain import FILES, FULL, ID_FORM, MANIFEST, SLICE, Moment, at, moment_of, tag_of
from slipway.backups.host import Busy, Facts, Failed, alone, change_state, last_lines, read_state, secret, tell, text_of
from slipway.backups.restic import Repository, Writing, pump

ARCHIVE, MANIFEST_FILE, OPLOG_FILE = "mongodb.archive", "manifest.json", "oplog.bson"
# Longer slices that replace short ones in a restore, which needs a process for each slice.
LONG_SECONDS = 3600
MIB = 2**20
# The timeout for another slice to finish, in seconds.
SLICE_PATIENCE = 120
# MongoDB may restart.
RESTART_SECONDS = 45
# What a restore changes for a while, in the state.
LEFT = {"exchanging", "closed", "stopped", "keeps_expired"}
# A check and a prune never run at once.
TIDYING, TIDYING_PATIENCE = "check or prune", 3600


def repositories(facts: Facts) -> list[Repository]:
    return [Repository(facts, name) for name in facts.repositories]


def each(facts: Facts, task: Callable[[Repository], None]) -> None:
    """Run a task for all repositories, also if one fails. Raises Failed at the end."""
    failures = []
    for repository in repositories(facts):
        try:
            task(repository)
        except Failed as failure:
            failures.append(failure)
    if failures:
        kind = Busy if all(isinstance(one, Busy) for one in failures) else Failed
        raise kind("\n".join(map(str, failures)))


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


def is_new() -> bool:
    """Whether this server has neither made nor restored a backup."""
    return not {"full", "restored"} & read_state().keys()


def _refuse_others(repository: Repository) -> None:
    if repository.is_there() and (fulls := chain.catalog(repository.snapshots()).fulls):
        raise Failed(
            f"repository {repository.name}: found another server's backups, the newest of"
            f" {at(fulls[-1].end[0])}; restore them (slipway restore --files --secrets), or, if this host has the data"
            " as a member of the replica set or goes on without them: slipway backup now --anyway"
        )


def refuse_another(server: mongo.Server) -> None:
    """Raises Failed where MongoDB began anew since the last full backup, as with an empty disk: its backup would be the
    newest one, which a restore would use. Restored data begin anew, too."""
    state = read_state()
    if state.get("set") and not state.get("awaits") and state["set"] != server.set_id():
        raise Failed(
            "MongoDB has begun anew since the last full backup (another replica set): restore its data (slipway"
            " restore), or, if it goes on without them: slipway backup now --anyway"
        )


def _full(facts: Facts, anyway: bool) -> None:
    failures, targets = [], []
    for repository in repositories(facts):
        try:
            was = read_state().get("places", {}).get(repository.name)
            repository.prepare(is_new=anyway or was != repository.place)
            # A prune that was killed leaves its lock.
            repository.run("unlock")
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
        if one.command == "renameCollection" and oplog.is_applied(one)
    ]
    if renamed:
        raise Failed(
            f"{', '.join(renamed)}: renamed during the backup, which is discarded as it may have it twice or never;"
            " run it again"
        )
    paths, missing = _stored_paths(facts)
    failures += missing
    for repository in written[:]:
        try:
            repository.store_paths({FILES: "", "id": id_}, paths)
        except Failed as failure:
            failures.append(str(failure))
            written.remove(repository)
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
    for repository in written:
        try:
            repository.store(MANIFEST_FILE, {MANIFEST: "", **tags}, json.dumps(manifest).encode())
            reached = read_state().get("reached", {})
            if repository.name not in reached:
                change_state(reached={**reached, repository.name: tag_of(begin)})
            seconds = time.monotonic() - began
            tell(f"{repository.name}: backup {id_}, {size // MIB} MiB of documents, {seconds:.0f} s")
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
    there = [path for path in facts.paths if not any(f"{path}/".startswith(f"{one}/") for one in absent)]
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
    written = []
    for target, one in zip(targets, writing, strict=True):
        try:
            one.end()
            written.append(target)
        except Failed as failure:
            failures.append(str(failure))
    return written, size


def take_slices(facts: Facts, waits: bool = False, only: str = "") -> None:
    """Store what was written since the last slice, for each repository, or for one."""
    if LEFT & {name for name, value in read_state().items() if value}:
        # Left by a restore that was killed, unless one runs. Slices may not change the site's files.
        subprocess.run(["systemctl", "start", "--no-block", "slipway-reopen.service"], check=False)
    with alone("slice", SLICE_PATIENCE if waits else 0):
        server = mongo.live(facts, patience=RESTART_SECONDS)
        refuse_another(server)
        each(facts, lambda repository: None if only not in ("", repository.name) else _slice(repository, server))


def _slice(repository: Repository, server: mongo.Server) -> None:
    state, name = read_state(), repository.name
    if state.get("awaits"):
        tell(f"{name}: no slice until the next full backup, as data were restored")
        return
    if is_new():
        tell(f"{name}: no slice, as there is no full backup yet")
        return
    reached = state.get("reached", {}).get(name)
    if reached is None:
        found = chain.catalog(repository.snapshots())
        if not found.fulls:
            tell(f"{name}: no slice, as there is no full backup yet")
            return
        reached = tag_of(chain.reach(found.slices, found.fulls[-1].begin))
    begin, end = moment_of(reached), server.newest()
    begun = state.get("long", {}).get(name, reached)
    is_long = end[0] - moment_of(begun)[0] >= LONG_SECONDS
    try:
        gap = store(repository, server, begin, end)
    except Busy:
        # A prune that was killed leaves its lock; those of others that run stay.
        repository.run("unlock")
        gap = store(repository, server, begin, end)
    state = read_state()
    changes: dict[str, Any] = {"reached": {**state.get("reached", {}), name: tag_of(end)}}
    changes["sliced"] = {**state.get("sliced", {}), name: int(time.time())}
    changes["places"] = {**state.get("places", {}), name: repository.place}
    changes["long"] = {**state.get("long", {}), name: begun}
    change_state(**changes)
    if is_long:
        store(repository, server, moment_of(begun), end)
        change_state(long={**read_state().get("long", {}), name: tag_of(end)})
    if gap:
        change_state(gap={"begin": begin[0], "end": gap[0], "repository": name})
        subprocess.run(["systemctl", "start", "--no-block", "slipway-backup.service"], check=False)
        raise Failed(
            f"repository {name}: the oplog lacks what was written between {at(begin[0])} and {at(gap[0])}: no"
            " second between them can be restored. A full backup starts now; raise mongodb_oplog_mb to keep more"
        )


def store(repository: Repository, server: mongo.Server, begin: Moment, end: Moment) -> Moment | None:
    """Store a slice between two moments. Returns the moment of its first entry if the oplog lacks `begin`."""
    if end <= begin:
        return None
    entries = server.oplog(begin, end)
    document = next(entries)
    first = last = oplog.entry(document).moment
    tags = {SLICE: "", "begin": tag_of(first), "end": tag_of(end)}
    with repository.storing(OPLOG_FILE, tags) as writing:
        writing.write(document)
        for document in entries:
            writing.write(document)
        last = oplog.entry(document).moment
        if last != end:
            raise Failed(f"repository {repository.name}: the oplog ends at {at(last[0])}, expected {at(end[0])}")
    writing.end()
    return first if first != begin else None


def prune(facts: Facts) -> None:
    """Delete snapshots by the retention policy, and free their space."""

    def tidy(repository: Repository) -> None:
        found = chain.catalog(repository.snapshots())
        gone = chain.to_forget(found, int(time.time()), facts.daily, facts.weekly, facts.monthly, facts.days)
        if gone:
            repository.run("unlock")
            # The length of a command line is limited.
            for first in range(0, len(gone), 500):
                repository.run_alone("forget", "--quiet", *gone[first : first + 500])
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
        repository.run("unlock")
        # Without restic's lock, which would block slices: what they add meanwhile does no harm.
        repository.run("check", "--quiet", "--no-lock", f"--read-data-subset={part}")
        found = chain.catalog(repository.snapshots())
        missing = chain.gaps(found)
        for gap in missing:
            tell(f"{repository.name}: {gap}")
        if found.fulls and any(gap.end > found.fulls[-1].begin for gap in missing):
            raise Failed(f"repository {repository.name}: {missing[-1]}, since the last full backup: slipway backup now")
        newest = at(chain.reach(found.slices, found.fulls[-1].begin)[0]) if found.fulls else "none"
        tell(f"{repository.name}: no errors; newest second {newest}, gaps: {len(missing)}")

    with alone(TIDYING, TIDYING_PATIENCE):
        each(facts, look)


def listed(facts: Facts) -> None:
    """Print what can be restored, as JSON."""
    answer = {}
    for repository in repositories(facts):
        found = chain.catalog(repository.snapshots())
        newest = chain.reach(found.slices, found.fulls[-1].begin) if found.fulls else (0, 0)
        answer[repository.name] = {
            "backups": [{"id": one.id, "since": at(one.since), "mongodb": one.version} for one in found.fulls],
            "newest": at(newest[0]) if found.fulls else "",
            "slices": len(found.slices),
            "gaps": [{"begin": at(one.begin[0]), "end": at(one.end[0])} for one in chain.gaps(found)],
        }
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
