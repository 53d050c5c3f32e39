"""Slices: what was written since the last one, for each repository, so that any second can be restored.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from slipway.backups import chain, mongo, oplog
from slipway.backups.chain import SLICE, Moment, at, moment_of, tag_of
from slipway.backups.host import Busy, Ended, Facts, Failed, alone, change_state, change_state_of, read_state, tell
from slipway.backups.parallel import at_once, limited
from slipway.backups.restic import Repository

OPLOG_FILE = "oplog.bson"
# The most that a slice holds: a repository that was away gets several, so that each one that arrives counts.
MAX_SECONDS = 600
# Longer slices that replace short ones in a restore, which needs a process for each slice.
LONG_SECONDS = 3600
# What a repository may take for its slices, and for the last one before a restore, which has closed the sites. One is
# begun again meanwhile, and both end before the unit's timeout (slipway/tasks/backup.py).
SLICE_SECONDS, LAST_SECONDS = 400, 60
# The timeout for another slice to finish, in seconds.
SLICE_PATIENCE = SLICE_SECONDS + 120
# While one repository takes long, the others get their next slices.
PAUSE_SECONDS = 40
# MongoDB may restart.
RESTART_SECONDS = 45
# What a restore changes for a while, in the state.
LEFT = {"exchanging", "closed", "stopped", "keeps_expired"}


def repositories(facts: Facts) -> list[Repository]:
    """Those on this host come first: they wait for no other host."""
    return sorted(
        (Repository(facts, name) for name in facts.repositories), key=lambda one: not one.place.startswith("/")
    )


def each(facts: Facts, task: Callable[[Repository], None]) -> None:
    """Run a task for all repositories, also if one fails. Raises Failed at the end."""
    failures: list[Failed] = []
    for repository in repositories(facts):
        try:
            task(repository)
        except Ended:
            raise
        except Failed as failure:
            failures.append(failure)
    _raise(failures)


def _raise(failures: list[Failed]) -> None:
    if failures:
        kind = Busy if all(isinstance(one, Busy) for one in failures) else Failed
        raise kind("\n".join(dict.fromkeys(map(str, failures))))


def is_new() -> bool:
    """Whether this server has neither made nor restored a backup."""
    return not {"full", "restored"} & read_state().keys()


def refuse_another(server: mongo.Server) -> None:
    """Raises Failed where MongoDB began anew since the last full backup, as with an empty disk: its backup would be the
    newest one, which a restore would use. Restored data begin anew, too."""
    state = read_state()
    if state.get("set") and not state.get("awaits") and state["set"] != server.set_id():
        raise Failed(
            "MongoDB has begun anew since the last full backup (another replica set): restore its data (slipway"
            " restore), or, if it goes on without them: slipway backup now --anyway"
        )


def take_slices(facts: Facts, waits: bool = False, only: str = "") -> None:
    """Store what was written since the last slice, for each repository, or for one."""
    state = read_state()
    if LEFT & {name for name, value in state.items() if value}:
        # Left by a restore that was killed, unless one runs. Slices may not change the site's files.
        subprocess.run(["systemctl", "start", "--no-block", "slipway-reopen.service"], check=False)
    if "since" not in state:
        change_state(since=int(time.time()))
    with alone("slice", SLICE_PATIENCE if waits else 0):
        take(facts, only)


@contextmanager
def held() -> Iterator[None]:
    """Nobody else takes slices meanwhile. The timer's are stopped, as they may wait for a repository that does not
    answer."""
    subprocess.run(["systemctl", "stop", "slipway-slice.service"], stderr=subprocess.DEVNULL, check=False)
    with alone("slice", SLICE_PATIENCE):
        yield


def take(facts: Facts, only: str = "", seconds: float = SLICE_SECONDS) -> None:
    """The same for a caller that holds the lock. Raises Failed."""
    wanted = {
        one.name: partial(_slice_within, facts, one, seconds) for one in repositories(facts) if only in ("", one.name)
    }
    if len(wanted) > 1:
        _raise(at_once(wanted, PAUSE_SECONDS))
    else:
        for slice_ in wanted.values():
            slice_()


def _slice_within(facts: Facts, repository: Repository, seconds: float) -> None:
    began = time.monotonic()
    with limited(seconds, f"repository {repository.name}"):
        server = mongo.live(facts, patience=RESTART_SECONDS)
        refuse_another(server)
        _slice(repository, server, began + seconds / 2)


def _slice(repository: Repository, server: mongo.Server, until: float) -> None:
    """Slices up to now, or those that can be begun before a time of time.monotonic."""
    state, name = read_state(), repository.name
    if state.get("awaits"):
        tell(f"{name}: no slice until the next full backup, as data were restored")
        return
    if is_new() or name not in {**state.get("reached", {}), **state.get("sliced", {}), **state.get("fulls", {})}:
        tell(f"{name}: no slice, as there is no full backup yet")
        return
    reached = state.get("reached", {}).get(name)
    if reached is None:
        found = chain.catalog(repository.snapshots())
        if not found.fulls:
            tell(f"{name}: no slice, as there is no full backup yet")
            return
        reached = tag_of(chain.reach(found.slices, found.fulls[-1].begin))
    begin, newest = moment_of(reached), server.newest()
    begun = moment_of(state.get("long", {}).get(name, reached))
    while True:
        end = _end(server, begin, newest, MAX_SECONDS)
        gap = _stored(repository, server, begin, end)
        then = int(time.time()) if end == newest else end[0]
        change_state_of(name, reached=tag_of(end), sliced=then, places=repository.place, long=tag_of(begun))
        if end[0] - begun[0] >= LONG_SECONDS:
            # What could not be stored as a long one stays in short ones.
            if end[0] - begun[0] < 2 * LONG_SECONDS:
                store(repository, server, begun, end)
            begun = end
            change_state_of(name, long=tag_of(end))
        if gap:
            change_state(gap={"begin": begin[0], "end": gap[0], "repository": name})
            subprocess.run(["systemctl", "start", "--no-block", "slipway-backup.service"], check=False)
            raise Failed(
                f"repository {name}: the oplog lacks what was written between {at(begin[0])} and {at(gap[0])}: no"
                " second between them can be restored. A full backup starts now; raise mongodb_oplog_mb to keep more"
            )
        if end == newest:
            return
        if time.monotonic() >= until:
            tell(f"{name}: stored up to {at(end[0])}; the next slices go on from there")
            return
        begin = end


def _end(server: mongo.Server, begin: Moment, newest: Moment, seconds: int) -> Moment:
    """The last moment of a slice that holds no more than so many seconds, where something was written meanwhile."""
    return newest if newest[0] - begin[0] <= seconds else min(newest, server.following((begin[0] + seconds, 0)))


def _stored(repository: Repository, server: mongo.Server, begin: Moment, end: Moment) -> Moment | None:
    """`store`, where a prune that was killed may have left its lock; those of others that run stay."""
    try:
        return store(repository, server, begin, end)
    except Busy:
        repository.unlock()
        return store(repository, server, begin, end)


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
            if writing.failure:
                # The rest of the oplog is read in vain.
                writing.end()
        last = oplog.entry(document).moment
        if last != end:
            raise Failed(f"repository {repository.name}: the oplog ends at {at(last[0])}, expected {at(end[0])}")
    writing.end()
    return first if first != begin else None
