"""What a restore replaces: the sites are in maintenance meanwhile, and what a killed restore has left is undone.

The data of MongoDB take their place first, then the uploads, then the secrets: each at once, and none before MongoDB's
data have been compared. `undo` runs before MongoDB starts, `finish` after it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from slipway.backups import members, mongo
from slipway.backups.chain import Chosen, at, moment_of
from slipway.backups.exchange import exchange, settle
from slipway.backups.host import RUN, Busy, Facts, Failed, alone, change_state, place_of, read_state, run, tell, write
from slipway.backups.restic import Repository
from slipway.backups.slicing import LAST_SECONDS, held, take
from slipway.backups.steps import is_there

# In restored data of MongoDB until they have been accepted.
MARK = ".slipway-restored"
MIB, SPARE_MIB = 2**20, 300
BEFORE, BESIDE = "before-restore", ".slipway-restore-"


class Found:
    """The input of a restore, and its repository."""

    def __init__(self, repository: Repository, chosen: Chosen, manifest: dict[str, Any]) -> None:
        self.repository, self.chosen, self.manifest = repository, chosen, manifest


@contextmanager
def in_place(facts: Facts, found: Found, with_files: bool, with_secrets: bool, drops: bool) -> Iterator[None]:
    """The sites in maintenance, with a slice of what is replaced. Uploads and secrets are fetched before, and take
    their place after the databases. `drops`: collections are exchanged, and those of before dropped, instead of the
    data folder. Raises Failed."""
    with _uploads_beside(facts, found, with_files) as uploads:
        secrets = _secrets(facts, found) if with_secrets else {}
        # An exchange of folders stops MongoDB.
        with held(), _in_maintenance(facts, stops=not drops):
            save(facts, drops)
            yield
            until = at(found.chosen.until[0])
            change_state(awaits=True, reached={}, long={}, restored={"time": int(time.time()), "until": until})
            for path, new in uploads.items():
                _take_place(path, new)
                tell(f"{path}: restored as of {at(found.chosen.full.end[0])}")
            for file, text in secrets.items():
                write(file, text)
                tell(f"{file}: restored")
            if secrets:
                _restart_clients(facts)


def save(facts: Facts, must: bool) -> None:
    """Take a slice of what is replaced, so that it can be restored too; the caller holds slices. Raises Failed if it
    must be in a repository and is in none."""
    newest = mongo.live(facts).newest()
    try:
        take(facts, seconds=LAST_SECONDS)
    except Failed as failure:
        tell(f"Without the last slice of the present data: {failure}")
    if must and not any(moment_of(tag) >= newest for tag in read_state().get("reached", {}).values()):
        raise Failed(
            "the present data are in no backup up to now, and a replica set does not keep what a restore replaces:"
            " make one (slipway backup now), then restore"
        )


@contextmanager
def _in_maintenance(facts: Facts, stops: bool) -> Iterator[None]:
    """Put the sites in maintenance (503), and ignore signals. `stops`: also their units, as workers and scheduled jobs
    would write into restored data before these have been compared. Raises Failed where one does not start again."""
    flags = [flag for flag in facts.flags if os.path.isdir(os.path.dirname(flag)) and not os.path.exists(flag)]
    jobs = [f"{timer.removesuffix('.timer')}.service" for timer in facts.timers]
    units = [unit for unit in [*facts.timers, *facts.units, *jobs] if _is_active(unit)] if stops else []
    old = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    # Before: a restore that is killed must not leave them so.
    change_state(closed=flags, stopped=[unit for unit in units if unit not in jobs])
    for flag in flags:
        with open(flag, "w", encoding="utf-8"):
            pass
    try:
        if units:
            run(["systemctl", "stop", *units])
        yield
    finally:
        problem = _start(read_state()["stopped"])
        _open(flags)
        for one, handler in old.items():
            signal.signal(one, handler)
    if problem:
        raise Failed(problem)


def _start(units: list[str]) -> str:
    """Start units that were stopped; returns what is wrong, "" for nothing."""
    try:
        if units:
            run(["systemctl", "start", *units])
    except Failed as failure:
        return str(failure)
    return ""


def _open(flags: list[str]) -> None:
    for flag in flags:
        with suppress(FileNotFoundError):
            os.remove(flag)
    change_state(closed=[], stopped=[])


def back_up_anew() -> None:
    """Start a full backup of restored data: slices wait for it."""
    if read_state().get("awaits"):
        subprocess.run(["systemctl", "start", "--no-block", "slipway-backup.service"], check=False)


def _restart_clients(facts: Facts) -> None:
    """Those that run have read the previous secrets."""
    units = [unit for unit in facts.units if _is_active(unit)]
    if units:
        run(["systemctl", "restart", *units])


def _is_active(unit: str) -> bool:
    """Whether it runs, or is about to: a job that runs once is activating until its end."""
    asked = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True, check=False)
    return not asked.returncode or asked.stdout.strip() in ("activating", "reloading")


# --- A restore that was killed ---------------------------------------------------------------------------------------


def is_marked(folder: str) -> bool:
    """Whether a folder has restored data that are not accepted."""
    return os.path.exists(f"{folder}/{MARK}")


def oplog_folder(folder: str) -> str:
    """Where the oplog is that a restore applies, by the folder of the rebuilt data."""
    return f"{folder}-oplog"


def mark(folder: str) -> None:
    """Mark restored data, which are about to take their place."""
    with open(f"{folder}/{MARK}", "w", encoding="utf-8"):
        pass


def accept(data: str) -> None:
    """Keep restored data, which are in their place and have been compared there."""
    os.remove(f"{data}/{MARK}")


def undo(facts: Facts) -> bool:
    """Exchange MongoDB's data again that a killed restore has not accepted; MongoDB is stopped. Returns whether there
    were some."""
    with suppress(Busy), alone("restore"):
        if is_marked(facts.data):
            _exchange_again(facts.data)
            return True
    return False


def _exchange_again(data: str) -> None:
    if os.path.isdir(f"{data}.restore"):
        exchange(data, f"{data}.restore")
    else:
        accept(data)


def finish(facts: Facts) -> None:
    """Undo what a killed restore has left, and open the sites. The caller is the only restore. Raises Failed."""
    closed, stopped = read_state().get("closed"), read_state().get("stopped") or []
    if is_marked(facts.data):
        run(["systemctl", "stop", "mongod.service"])
        _exchange_again(facts.data)
        tell("The exchange of MongoDB's data was taken back: they are as before")
    if closed or stopped:
        run(["systemctl", "start", "mongod.service"])
    members.settle(facts)
    for folder in (place_of(f"{facts.data}.restore"), oplog_folder(f"{facts.data}.restore")):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (os.path.realpath(path) for path in facts.paths if os.path.islink(path)):
        settle(path)
    for folder in {os.path.dirname(place) for path in facts.paths for place in (path, os.path.realpath(path))}:
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name.startswith(BESIDE):
                shutil.rmtree(f"{folder}/{name}")
    if closed or stopped:
        _restart_clients(facts)
        problem = _start(stopped)
        _open(closed or [])
        back_up_anew()
        tell("A restore was killed; the sites are open again")
        if problem:
            raise Failed(problem)
    members.let_expire(facts)


# --- Uploads and secrets ---------------------------------------------------------------------------------------------


@contextmanager
def _uploads_beside(facts: Facts, found: Found, wanted: bool) -> Iterator[dict[str, str]]:
    """By the path of each upload folder or file, what the full backup has of it, restored beside it. What a new server
    does not have keeps the owners of the backup. Raises Failed."""
    beside: list[str] = []
    uploads = {}
    paths = _uploads_in(found) if wanted else []
    if absent := [folder for folder, root in facts.uploads.items() if folder in paths and not is_there(folder, root)]:
        raise Failed(f"{', '.join(absent)}: found nothing there, expected the uploads' folder: mount it first")
    try:
        _check_room_for(found, paths)
        for path in paths:
            above = os.path.dirname(path)
            if not os.path.isdir(above):
                os.makedirs(above, mode=0o755)
            folder = tempfile.mkdtemp(dir=above, prefix=BESIDE)
            beside.append(folder)
            _fetch(found, path, folder)
            if os.path.islink(new := f"{folder}{path}"):
                tell(f"{path}: not restored, as the backup has no more than a link to {os.readlink(new)}")
            elif os.path.exists(new):
                if os.path.exists(path):
                    run(["chown", "-R", f"--reference={path}", new])
                uploads[path] = new
            else:
                tell(f"{path}: found nothing in backup {found.chosen.full.id}; it stays as it is")
        yield uploads
    finally:
        for folder in beside:
            shutil.rmtree(folder, ignore_errors=True)


def _uploads_in(found: Found) -> list[str]:
    """The same as `uploads_of`; tells what is not restored: what configures the host, which `slipway apply` does."""
    if not found.chosen.full.files:
        tell(f"backup {found.chosen.full.id} has no uploads")
        return []
    for path in found.manifest["paths"]:
        if path.startswith("/etc/") and not path.endswith("/credentials"):
            tell(
                f"{path}: not restored, as it is below /etc; it is in snapshot {found.chosen.full.files} of repository"
                f" {found.repository.name} (restic restore)"
            )
    return uploads_of(found)


def uploads_of(found: Found) -> list[str]:
    """The paths that `--files` restores."""
    its = found.manifest["paths"] if found.chosen.full.files else []
    return [path for path in its if not path.startswith("/etc/")]


def _check_room_for(found: Found, paths: list[str]) -> None:
    """Raises Failed where uploads have no room beside the present ones, if all are on one disk."""
    there = [next(one for one in _above(path) if os.path.isdir(one)) for path in paths]
    if len({os.stat(one).st_dev for one in there}) == 1:
        said = found.repository.run("stats", "--no-lock", "--json", "--mode", "restore-size", found.chosen.full.files)
        check_room(there[0], json.loads(said)["total_size"])


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def check_room(folder: str, size: float) -> None:
    """Raises Failed where there is no room for so many bytes."""
    free, need = shutil.disk_usage(folder).free // MIB, int(size) // MIB + SPARE_MIB
    if free < need:
        raise Failed(f"{folder}: found {free} MiB free, need {need} MiB to restore next to the data")


def _fetch(found: Found, path: str, folder: str) -> None:
    found.repository.run("restore", "--no-lock", found.chosen.full.files, "--target", folder, "--include", path)


def _take_place(path: str, new: str) -> None:
    """Exchange an upload folder or file with a restored one, and keep what was there."""
    if not os.path.lexists(path):
        os.rename(new, path)
    elif os.path.isdir(new):
        exchange(path, new)
        keep(path, new)
    else:
        shutil.copy2(path, f"{path}.{BEFORE}")
        os.replace(new, path)


def keep(path: str, replaced: str) -> None:
    """Keep what was at a path until the next restore."""
    shutil.rmtree(f"{path}.{BEFORE}", ignore_errors=True)
    os.rename(replaced, f"{path}.{BEFORE}")


def _secrets(facts: Facts, found: Found) -> dict[str, str]:
    """The generated secrets of the backup, for a new server: by file."""
    texts = {}
    with tempfile.TemporaryDirectory(dir=RUN) as folder:
        for file in facts.secrets:
            _fetch(found, file, folder)
            if os.path.exists(f"{folder}{file}"):
                with open(f"{folder}{file}", encoding="utf-8", newline="") as opened:
                    texts[file] = opened.read()
            else:
                tell(f"{file}: found none in backup {found.chosen.full.id}; the present one stays")
    return texts
