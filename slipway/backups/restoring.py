"""Restores: rebuild the data of a second in a separate folder, compare them, then exchange the folders.

A private mongod rebuilds the data. Until the exchange nothing of the site is changed, and a power cut during it leaves
the old or the new data (exchange.py).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from slipway.backups import chain, members, mongo, oplog, replacing
from slipway.backups.chain import DRILL, Moment, at
from slipway.backups.exchange import exchange
from slipway.backups.host import (
    RUN,
    STATE,
    Facts,
    Failed,
    alone,
    last_lines,
    place_of,
    read_state,
    run,
    run_command,
    tell,
    write,
)
from slipway.backups.replacing import Found
from slipway.backups.restic import Repository
from slipway.backups.slicing import OPLOG_FILE, held, repositories, take_slices
from slipway.backups.steps import ARCHIVE, MANIFEST_FILE, signed
from slipway.facts.mongodb_set import begin

# The size of a restored folder relative to the dump: it also has indexes and the journal.
ROOM = 1.5
# After so many bytes of the oplog the room is looked at again.
ROOM_STEP = 64 * replacing.MIB


def find(facts: Facts, second: int | None, id_: str, name: str = "", until: Moment | None = None) -> Found:
    """The first repository that can restore it; backup `id_` up to a moment. Raises Failed with the reason of each."""
    said = []
    for repository in repositories(facts):
        if name and repository.name != name:
            continue
        try:
            there = chain.catalog(repository.snapshots())
            chosen = chain.choose(there, second, id_, until)
            if second is None and not id_ and chosen.full != there.fulls[-1]:
                tell(f"The newest backup, {there.fulls[-1].id}, lacks slices and can't be restored: an earlier one can")
            manifest = json.loads(repository.read(chosen.full.manifest, MANIFEST_FILE))
            return Found(repository, chosen, manifest)
        except (Failed, ValueError, chain.Gap) as error:
            said.append(str(error) if isinstance(error, Failed) else f"repository {repository.name}: {error}")
    if not said:
        raise Failed(f"--from: found {name}, expected one of this host's repositories: {', '.join(facts.repositories)}")
    raise Failed("\n".join(said))


def check(found: Found, folder: str) -> None:
    """Raises Failed where a backup can't be rebuilt in a folder of this host."""
    full, version = found.chosen.full, run(["mongod", "--version"]).split()[2].lstrip("v")
    if full.version.split(".")[:2] != version.split(".")[:2]:
        raise Failed(
            f"backup {full.id} is of MongoDB {full.version}, this host has {version}: restore it with the same series"
            f" (mongodb_version), then upgrade"
        )
    replacing.check_room(os.path.dirname(folder), found.manifest["bytes"] * ROOM)


@contextmanager
def rebuilt(facts: Facts, found: Found, folder: str) -> Iterator[mongo.Scratch]:
    """A private mongod with the data of the time, compared with the backup's record. Raises Failed."""
    check(found, folder)
    full = found.chosen.full
    os.makedirs(RUN, mode=0o711, exist_ok=True)
    os.chmod(RUN, 0o711)  # noqa: S103  mongod finds its socket below it
    # The oplog of a busy day is too large for the memory, which RUN is in.
    place, beside = place_of(folder), replacing.oplog_folder(folder)
    for one in (place, beside):
        shutil.rmtree(one, ignore_errors=True)
        os.mkdir(one, mode=0o700)
    scratch = mongo.Scratch(facts, folder, place)
    try:
        scratch.start()
        tell(f"Restoring backup {full.id} from {found.repository.name}")
        _load(scratch, found, f"{place}/errors")
        witness = full.witness if full.end <= full.witness <= found.chosen.until else None
        tell(f"Applying the oplog up to {at(found.chosen.until[0])}")
        parts = _parts(found, beside, [*([witness] if witness else []), found.chosen.until])
        if witness:
            for file in parts.pop(0):
                scratch.replay(file)
            _compare(found.manifest["collections"], scratch.fingerprint())
        for file in parts[0]:
            scratch.replay(file)
        yield scratch
    finally:
        with suppress(AttributeError):
            scratch.stop()
        for one in (place, beside):
            shutil.rmtree(one, ignore_errors=True)


def _load(scratch: mongo.Scratch, found: Found, said: str) -> None:
    """Restore the full backup; `said` is a file for restic's errors."""
    with open(said, "w+b") as errors:
        try:
            scratch.load(found.repository.reading(found.chosen.full.dump, ARCHIVE, errors))
        except Failed as failure:
            errors.seek(0)
            why = found.repository.explained(last_lines(errors.read().decode(errors="replace")))
            raise Failed(f"repository {found.repository.name}: {failure}\n{why}".strip()) from None


def _parts(found: Found, folder: str, ends: list[Moment]) -> list[list[str]]:
    """Files with the oplog entries up to each of the moments `ends`, each entry once. mongorestore makes indexes at its
    end, for the collection's name of then: where one is renamed after it got an index, another file begins. Raises
    Failed where the disk has no room: MongoDB, which may be on it, stops when it is full."""
    files: list[list[str]] = [[] for _ in ends]
    reached: Moment = (0, 0)
    unchecked, has_index = ROOM_STEP, False
    with ExitStack() as stack:
        for piece in found.chosen.slices:
            with found.repository.streaming(piece.snapshot, OPLOG_FILE) as source:
                for document in oplog.documents(source):
                    one = oplog.entry(document)
                    # The full backup has what was written until its begin: a rename could not be done again.
                    if one.moment <= max(reached, found.chosen.full.begin):
                        continue
                    reached = one.moment
                    part = next((number for number, end in enumerate(ends) if reached <= end), None)
                    if part is None or not oplog.is_applied(one):
                        continue
                    if not files[part] or (has_index and one.command == "renameCollection"):
                        files[part].append(f"{folder}/oplog-{part}-{len(files[part])}.bson")
                        stack.close()
                        writing = stack.enter_context(open(files[part][-1], "wb"))
                        has_index = False
                    has_index = has_index or one.command in oplog.INDEXING
                    writing.write(document)
                    unchecked += len(document)
                    if unchecked >= ROOM_STEP:
                        replacing.check_room(folder, 0)
                        unchecked = 0
    return files


def _compare(recorded: dict[str, list[Any]], found: dict[str, list[Any]], what: str = "the backup's record") -> None:
    if lines := mongo.difference(recorded, found):
        raise Failed("\n".join([f"the restored data differ from {what}:", *lines]))
    hashed = sum(one[0] for one in recorded.values())
    tell(f"Compared {len(recorded)} collections, {hashed} documents: equal to {what}")


# --- A restore -------------------------------------------------------------------------------------------------------


def restore(facts: Facts, found: Found, only: str, with_files: bool, with_secrets: bool) -> None:
    """Restore the databases. Raises Failed, with the site's data unchanged."""
    with alone("restore"):
        replacing.finish(facts)
        try:
            several = bool(facts.replica_set) and members.is_one_of_several(mongo.live(facts).ask({"hello": 1}))
        except Failed as failure:
            raise Failed(f"{failure}; a restore needs one that runs, with any data (docs/runbooks.md)") from None
        folder = f"{facts.data}.restore"
        if not only and not several and os.path.ismount(facts.data):
            raise Failed(
                f"{facts.data} is a mount point, which can't be exchanged: move mongodb_data to a folder below it"
            )
        try:
            with rebuilt(facts, found, folder) as scratch:
                if only:
                    _put_back(facts, scratch, only)
                    return
                if several:
                    _put_back_all(facts, found, scratch, with_files, with_secrets)
                else:
                    scratch.take_users(mongo.live(facts))
                    restored = scratch.fingerprint()
            if not several:
                with replacing.in_place(facts, found, with_files, with_secrets, drops=False):
                    _exchange_data(facts, folder, restored)
        finally:
            # Until the data in their place are accepted, this folder has those of before.
            if not replacing.is_marked(facts.data):
                shutil.rmtree(folder, ignore_errors=True)
            replacing.back_up_anew()
    kept = "are in the backups" if several else f"are in {facts.data}.{replacing.BEFORE}"
    tell(f"Restored: the data of {at(found.chosen.until[0])}. The previous data {kept}")


def reopen(facts: Facts) -> None:
    """Undo what a killed restore has left, and open the sites. Raises Busy, Failed."""
    with alone("restore"):
        replacing.finish(facts)


def _exchange_data(facts: Facts, folder: str, restored: dict[str, list[Any]]) -> None:
    run(["systemctl", "stop", "mongod.service"])
    replacing.mark(folder)
    try:
        run(["sync", "-f", folder])
        exchange(facts.data, folder)
        try:
            _start(facts)
            server = mongo.live(facts)
            with members.without_expiry(facts, server):
                lines = mongo.difference(restored, server.fingerprint())
            if lines:
                raise Failed("\n".join(["the restored data differ after the exchange:", *lines]))
        except BaseException:
            # Also a connection that breaks.
            subprocess.run(["systemctl", "stop", "mongod.service"], check=False)
            exchange(facts.data, folder)
            raise
    finally:
        subprocess.run(["systemctl", "start", "mongod.service"], check=False)
    replacing.accept(facts.data)
    replacing.keep(facts.data, folder)


def _start(facts: Facts) -> None:
    run(["systemctl", "start", "mongod.service"])
    if facts.replica_set:
        password = f"{facts.credentials}/{mongo.ADMIN_PASSWORD}"
        where = (facts.address, str(facts.port), str(facts.seconds))
        problem = begin(*where, facts.replica_set, facts.member, "0", facts.admin, password)
        if problem:
            raise Failed(problem)


def _put_back(facts: Facts, scratch: mongo.Scratch, only: str) -> None:
    """Let one database or collection take its place in the running MongoDB. Newer collections are kept."""
    wanted = members.of(members.present(scratch), only)
    if left_out := members.not_copied(scratch, only):
        tell(f"{', '.join(left_out)}: left out, as MongoDB can't copy time series and views beside the present ones")
    members.copy_beside(facts, scratch, wanted)
    with held():
        replacing.save(facts, must=False)
    members.replace_each(facts, wanted)
    tell(f"{', '.join(wanted)}: restored")


def _put_back_all(facts: Facts, found: Found, scratch: mongo.Scratch, with_files: bool, with_secrets: bool) -> None:
    """Let all databases take their place in a replica set of several members. Newer collections go."""
    members.check_kinds(scratch)
    replacing.check_room(facts.data, found.manifest["bytes"])
    wanted = members.present(scratch)
    members.copy_beside(facts, scratch, wanted)
    with replacing.in_place(facts, found, with_files, with_secrets, drops=True):
        members.replace_all(facts, wanted)
        server = members.primary(facts).server
        members.replace_views(server, scratch)
        # The next backup reads this member.
        members.catch_up(mongo.live(facts), server)


# --- The drill -------------------------------------------------------------------------------------------------------


def drill(facts: Facts) -> None:
    """Prove that a second can be restored: hash the present data, restore the same moment next to them, and compare.
    The timer starts it at a random second. Writes a report, and raises Failed if the drill failed."""
    began, repository = time.time(), random.choice(sorted(facts.repositories))  # noqa: S311
    report: dict[str, Any] = {"time": at(int(began)), "repository": repository}
    try:
        with alone("drill"):
            report |= _drill(facts, repository)
        report["result"] = "passed"
    except Failed as failure:
        report |= {"result": "failed", "why": str(failure)}
    report["seconds"] = round(time.time() - began, 1)
    report = signed(facts, report)
    # Only systemd's units create it, and a drill may be the first step here.
    os.makedirs(STATE, mode=0o700, exist_ok=True)
    write(f"{STATE}/drill.json", json.dumps(report, indent=2))
    if report["result"] == "passed":
        Repository(facts, repository).store("drill.json", {DRILL: ""}, json.dumps(report).encode())
        tell(f"The drill passed: {report['documents']} documents of {report['until']} in {report['seconds']} s")
        return
    raise Failed(f"the drill failed: {report['why']}")


def _drill(facts: Facts, repository: str) -> dict[str, Any]:
    if read_state().get("awaits"):
        # Data were restored: the backups of before end there.
        run(["systemctl", "start", "slipway-backup.service"])
    # A full backup that is made meanwhile would be newer than what is compared.
    full = find(facts, None, "", repository).chosen.full.id
    server = mongo.live(facts)
    moment = server.newest()
    recorded = server.fingerprint(moment)
    take_slices(facts, waits=True, only=repository)
    found = find(facts, None, full, repository, moment)
    folder = f"{facts.data}.drill"
    try:
        with rebuilt(facts, found, folder) as scratch:
            _compare(recorded, scratch.fingerprint(), f"the present data of {at(moment[0])}")
            if facts.check:
                run_command("backup_check", facts.check, scratch.uri)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    documents = sum(max(one[0], 0) for one in recorded.values())
    return {
        "backup": found.chosen.full.id,
        "until": at(moment[0]),
        "slices": len(found.chosen.slices),
        "collections": recorded,
        "documents": documents,
    }
