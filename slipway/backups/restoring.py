"""Restores: rebuild the data of a second in a separate folder, compare them, then exchange the folders.

A private mongod rebuilds the data. Until the exchange nothing of the site is changed, and a power cut during it leaves
the old or the new data (exchange.py).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from slipway.backups import chain, mongo, oplog
from slipway.backups.chain import DRILL, Chosen, Moment, at
from slipway.backups.exchange import exchange
from slipway.backups.host import RUN, STATE, Facts, Failed, alone, change_state, run, tell, write
from slipway.backups.restic import Repository
from slipway.backups.steps import ARCHIVE, MANIFEST_FILE, OPLOG_FILE, SLICE_PATIENCE, repositories, signed, take_slices
from slipway.facts.mongodb_set import begin

# The size of a restored folder relative to the dump: it also has indexes and the journal.
ROOM = 1.5


class Found:
    """The input of a restore, and its repository."""

    def __init__(self, repository: Repository, chosen: Chosen, manifest: dict[str, Any]) -> None:
        self.repository, self.chosen, self.manifest = repository, chosen, manifest


def find(facts: Facts, second: int | None, id_: str, name: str = "") -> Found:
    """The first repository that can restore it. Raises Failed with the reason of each."""
    said = []
    for repository in repositories(facts):
        if name and repository.name != name:
            continue
        try:
            chosen = chain.choose(chain.catalog(repository.snapshots()), second, id_)
            manifest = json.loads(repository.read(chosen.full.manifest, MANIFEST_FILE))
            return Found(repository, chosen, manifest)
        except (Failed, ValueError, chain.Gap) as error:
            said.append(str(error) if isinstance(error, Failed) else f"repository {repository.name}: {error}")
    raise Failed("\n".join(said) or f"found no repository {name}")


@contextmanager
def rebuilt(facts: Facts, found: Found, folder: str) -> Iterator[mongo.Scratch]:
    """A private mongod with the data of the time, compared with the backup's record. Raises Failed."""
    full, version = found.chosen.full, run(["mongod", "--version"]).split()[2].lstrip("v")
    if full.version.split(".")[:2] != version.split(".")[:2]:
        raise Failed(
            f"backup {full.id} is of MongoDB {full.version}, this host has {version}: restore it with the same series"
            f" (mongodb_version), then upgrade"
        )
    parent = os.path.dirname(folder)
    free, need = shutil.disk_usage(parent).free, int(found.manifest["bytes"] * ROOM) + 300 * 2**20
    if free < need:
        raise Failed(f"{parent}: found {free // 2**20} MiB free, need {need // 2**20} MiB to restore next to the data")
    os.makedirs(RUN, mode=0o711, exist_ok=True)
    os.chmod(RUN, 0o711)  # noqa: S103  mongod finds its socket below it
    place = tempfile.mkdtemp(dir=RUN)
    scratch = mongo.Scratch(facts, folder, place)
    try:
        scratch.start()
        tell(f"Restoring backup {full.id} from {found.repository.name}")
        with open(f"{place}/errors", "wb") as errors:
            scratch.load(found.repository.reading(full.dump, ARCHIVE, errors))
        witness = full.witness if full.end <= full.witness <= found.chosen.until else None
        tell(f"Applying the oplog up to {at(found.chosen.until[0])}")
        parts = _parts(found, place, [*([witness] if witness else []), found.chosen.until])
        if witness:
            scratch.replay(parts.pop(0))
            _compare(found.manifest["collections"], scratch.fingerprint())
        scratch.replay(parts[0])
        yield scratch
    finally:
        with suppress(AttributeError):
            scratch.stop()
        shutil.rmtree(place, ignore_errors=True)


def _parts(found: Found, place: str, ends: list[Moment]) -> list[str]:
    """Files with the oplog entries up to each of the moments `ends`, each entry once."""
    files = [f"{place}/oplog-{number}.bson" for number in range(len(ends))]
    reached: Moment = (0, 0)
    with ExitStack() as stack:
        writing = [stack.enter_context(open(file, "wb")) for file in files]
        for piece in found.chosen.slices:
            for document in oplog.documents(found.repository.read(piece.snapshot, OPLOG_FILE)):
                one = oplog.entry(document)
                if one.moment <= reached or one.moment < found.chosen.full.begin:
                    continue
                reached = one.moment
                part = next((number for number, end in enumerate(ends) if reached <= end), None)
                if part is not None and oplog.is_applied(one):
                    writing[part].write(document)
    return files


def _compare(recorded: dict[str, list[Any]], found: dict[str, list[Any]]) -> None:
    if lines := mongo.difference(recorded, found):
        raise Failed("\n".join(["the restored data differ from the backup's record:", *lines]))
    hashed = sum(one[0] for one in recorded.values())
    tell(f"Compared {len(recorded)} collections, {hashed} documents: equal to the backup's record")


# --- A restore -------------------------------------------------------------------------------------------------------


def restore(facts: Facts, found: Found, only: str, with_files: bool, with_secrets: bool) -> None:
    """Restore the databases. Raises Failed, with the site's data unchanged."""
    with alone("restore"):
        if facts.replica_set:
            _check_members(mongo.live(facts).ask({"hello": 1}), only)
        folder = f"{facts.data}.restore"
        if not only and os.path.ismount(facts.data):
            raise Failed(
                f"{facts.data} is a mount point, which can't be exchanged: move mongodb_data to a folder below it"
            )
        try:
            with rebuilt(facts, found, folder) as scratch:
                if only:
                    _put_back(facts, scratch, only)
                    return
                scratch.take_users(mongo.live(facts))
                restored = scratch.fingerprint()
            with _in_maintenance(facts):
                with suppress(Failed):
                    # So that the replaced data can be restored too.
                    take_slices(facts, waits=True)
                with alone("slice", SLICE_PATIENCE):
                    if with_files:
                        _files(found, facts)
                    if with_secrets:
                        _secrets(found, facts)
                    _exchange_data(facts, folder, restored)
                    change_state(awaits=True, reached={}, long={})
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    change_state(restored={"time": int(time.time()), "until": at(found.chosen.until[0])})
    tell(f"Restored: the data of {at(found.chosen.until[0])}. The previous data are in {facts.data}.before-restore")
    # A new full backup for the restored data.
    subprocess.run(["systemctl", "start", "--no-block", "slipway-backup.service"], check=False)


def _check_members(hello: dict[str, Any], only: str) -> None:
    """Of several members this one may be a secondary, and the others keep their data. Raises Failed."""
    others = [name for name in (*hello.get("hosts", []), *hello.get("passives", [])) if name != hello.get("me")]
    if others and not only:
        raise Failed(
            f"the replica set has further members, {', '.join(others)}, whose data would stay: take them out one by one"
            " (slipway db remove), restore, and let them join anew (docs/scale.md)"
        )
    if others and not hello.get("isWritablePrimary"):
        raise Failed(f"the primary is {hello.get('primary')}: let it hand over to this host (slipway db stepdown)")


@contextmanager
def _in_maintenance(facts: Facts) -> Iterator[None]:
    """Put the sites in maintenance (503), and ignore signals."""
    flags = [flag for flag in facts.flags if os.path.isdir(os.path.dirname(flag)) and not os.path.exists(flag)]
    old = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    for flag in flags:
        with open(flag, "w", encoding="utf-8"):
            pass
    try:
        yield
    finally:
        for flag in flags:
            with suppress(FileNotFoundError):
                os.remove(flag)
        for one, handler in old.items():
            signal.signal(one, handler)


def _exchange_data(facts: Facts, folder: str, restored: dict[str, list[Any]]) -> None:
    run(["systemctl", "stop", "mongod.service"])
    try:
        run(["sync", "-f", folder])
        exchange(facts.data, folder)
        try:
            _start(facts)
            if lines := mongo.difference(restored, mongo.live(facts).fingerprint()):
                raise Failed("\n".join(["the restored data differ after the exchange:", *lines]))
        except Failed:
            subprocess.run(["systemctl", "stop", "mongod.service"], check=False)
            exchange(facts.data, folder)
            raise
    finally:
        subprocess.run(["systemctl", "start", "mongod.service"], check=False)
    kept = f"{facts.data}.before-restore"
    shutil.rmtree(kept, ignore_errors=True)
    os.rename(folder, kept)
    # Restart clients: their drivers know the previous replica set.
    units = [unit for unit in facts.units if _is_active(unit)]
    if units:
        run(["systemctl", "restart", *units])


def _is_active(unit: str) -> bool:
    return not subprocess.run(["systemctl", "is-active", "-q", unit], check=False).returncode


def _start(facts: Facts) -> None:
    run(["systemctl", "start", "mongod.service"])
    if facts.replica_set:
        password = f"{facts.credentials}/{mongo.ADMIN_PASSWORD}"
        where = (facts.address, str(facts.port), str(facts.seconds))
        problem = begin(*where, facts.replica_set, facts.member, "0", facts.admin, password)
        if problem:
            raise Failed(problem)


def _put_back(facts: Facts, scratch: mongo.Scratch, only: str) -> None:
    """Copy one database or collection into the running MongoDB: under another name first, renamed when complete.
    Newer collections are kept."""
    server, mine = mongo.live(facts), scratch.fingerprint()
    wanted = [name for name in mine if name == only or name.startswith(f"{only}.")]
    if not wanted:
        raise Failed(f"found no {only} in the backup; available: {', '.join(mine)}")
    for name in wanted:
        database, _, collection = name.partition(".")
        beside = f"{collection}.slipway_restored"
        server.ask({"drop": beside}, database) if (database, beside) in server.collections() else None
        with mongo.login_file(facts) as login:
            words = ["mongodump", "--quiet", "--uri", scratch.uri, "--archive", "--db", database]
            dump = subprocess.Popen([*words, "--collection", collection], stdout=subprocess.PIPE)
            into = ["--nsFrom", name, "--nsTo", f"{database}.{beside}", "--stopOnError"]
            done = subprocess.run(
                ["mongorestore", "--quiet", "--config", login, "--archive", *into],
                stdin=dump.stdout,
                capture_output=True,
                text=True,
                check=False,
            )
            if dump.wait() or done.returncode:
                raise Failed(f"copying {name} failed: {done.stderr.strip()[-300:]}")
        copied = server.fingerprint().get(f"{database}.{beside}")
        if copied != mine[name]:
            server.ask({"drop": beside}, database)
            raise Failed(f"{name}: the copy differs from the restored data; nothing was changed")
        move = {"renameCollection": f"{database}.{beside}", "to": name, "dropTarget": True}
        server.ask(move)
        tell(f"{name}: {mine[name][0]} documents restored")


def _files(found: Found, facts: Facts) -> None:
    """Restore the folders of uploads from the full backup, each by an exchange."""
    snapshot = found.chosen.full.files
    if not snapshot:
        return
    for path in found.manifest["paths"]:
        if path.startswith("/etc/") or not os.path.exists(path):
            continue
        with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix=".slipway-restore-") as beside:
            found.repository.run("restore", "--no-lock", snapshot, "--target", beside, "--include", path)
            new = f"{beside}{path}"
            if not os.path.exists(new):
                continue
            run(["chown", "-R", f"--reference={path}", new])
            if os.path.isdir(new):
                exchange(path, new)
            else:
                os.replace(new, path)
        tell(f"{path}: restored as of {at(found.chosen.full.end[0])}")


def _secrets(found: Found, facts: Facts) -> None:
    """Restore generated secrets, on a new server."""
    with tempfile.TemporaryDirectory(dir=RUN) as beside:
        for file in facts.secrets:
            found.repository.run("restore", "--no-lock", found.chosen.full.files, "--target", beside, "--include", file)
            if os.path.exists(f"{beside}{file}"):
                with open(f"{beside}{file}", encoding="utf-8", newline="") as opened:
                    write(file, opened.read())
                tell(f"{file}: restored")


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
    server = mongo.live(facts)
    moment = server.newest()
    recorded = server.fingerprint(moment)
    take_slices(facts, waits=True)
    found = find(facts, None, "", repository)
    found = Found(found.repository, found.chosen._replace(until=moment), found.manifest)
    folder = f"{facts.data}.drill"
    try:
        with rebuilt(facts, found, folder) as scratch:
            _compare(recorded, scratch.fingerprint())
            if facts.check:
                run(["sh", "-euc", facts.check], {"MONGO_URL": scratch.uri})
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
