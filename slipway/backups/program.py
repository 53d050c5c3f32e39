#!/usr/bin/python3
"""Backups of a host, and restores. Run by systemd timers and by `slipway backup` and `slipway restore`.

usage: backup now | slice | list | sizes | check | prune | drill | fresh now|slice|drill | tell backup|drill
       backup restore [--at TIME | --id ID] [--only DB[.COLLECTION]] [--from NAME] [--files] [--secrets] [--dry-run]
                      [--of-another-host]   (with the repositories of copying.SOURCE)

       backup pull [--at TIME | --id ID] [--only DB[.COLLECTION]] [--from NAME] [--raw]
       backup anyway (as now, also with another server's backups in a repository)
       backup settle (before MongoDB starts: roll back an interrupted restore)
       backup reopen (roll back an interrupted restore, and open the sites)

TIME is in UTC, as 2026-11-29T15:00:01Z: the data at the end of this second; the default is the newest data.
Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial

from slipway.backups import copying, members, mongo, replacing, restoring, slicing, steps
from slipway.backups.chain import at, seconds_of
from slipway.backups.exchange import settle
from slipway.backups.host import Busy, Ended, Facts, Failed, be_nice, end_on_signals, load, read_drill, read_state, tell

# Older ones are overdue: a daily backup, a slice per minute, a weekly drill.
FULL_SECONDS, SLICE_SECONDS, DRILL_SECONDS = 26 * 3600, 300, 8 * 86400
# A time further ahead is of a clock that was wrong.
CLOCK_SECONDS = 300
# After a restore, slices wait for the full backup that it starts; a prune keeps them waiting, too.
AWAITED_SECONDS = 6 * 3600
STEPS: dict[str, Callable[[Facts], None]] = {
    "now": steps.now,
    "anyway": partial(steps.now, anyway=True),
    "slice": slicing.take_slices,
    "list": steps.listed,
    "sizes": steps.sizes,
    "check": steps.check,
    "prune": steps.prune,
    "drill": restoring.drill,
    "reopen": restoring.reopen,
}


def why_late(step: str, facts: Facts) -> str:
    """Why the backups of a scheduled step are none to rely on; "" where they are, or may still come."""
    state, now = read_state(), time.time()
    begun = state.get("since", now)
    if step == "now":
        full = state.get("full")
        if not full:
            is_due = now - begun > FULL_SECONDS
            return f"there is no full backup, since backups are on ({at(int(begun))})" if is_due else ""
        failures = "; ".join(" ".join(one.split()) for one in full["failures"])
        late = _why_old(full["time"], now, FULL_SECONDS)
        return (
            f"the last full backup {late}" if late else f"the last full backup failed: {failures}" if failures else ""
        )
    if step == "slice":
        # After a restore the next slices come after the full backup, and while a repository is pruned it takes none.
        waits = state.get("awaits") or now - (state.get("pruning") or 0) < AWAITED_SECONDS
        seconds = AWAITED_SECONDS if waits else SLICE_SECONDS
        full = state.get("full", {"time": 0, "failures": []})
        covered = 0 if full["failures"] or full["time"] > now + CLOCK_SECONDS else full["time"]
        late_by_name = {name: _why_old(max(then, covered), now, seconds) for name, then in slices(facts).items()}
        return "; ".join(f"the last slice in repository {name} {late}" for name, late in late_by_name.items() if late)
    last = read_drill()
    if not last:
        is_due = now - begun > DRILL_SECONDS
        return f"there was no drill, since backups are on ({at(int(begun))})" if is_due else ""
    if last["result"] != "passed":
        return f"the last drill failed: {' '.join(last['why'].split())}"
    late = _why_old(seconds_of(last["time"]), now, DRILL_SECONDS)
    return f"the last drill {late}" if late else ""


def _why_old(then: float, now: float, seconds: int) -> str:
    """What is wrong with a time that should be no more than some seconds ago."""
    if then > now + CLOCK_SECONDS:
        return f"is of {at(int(then))}, which is yet to come: the clock was wrong, then or now"
    if now - then < seconds:
        return ""
    ago = now - then
    return f"is {ago / 3600:.0f} hours old" if ago >= 2 * 3600 else f"is {ago / 60:.0f} minutes old"


def slices(facts: Facts) -> dict[str, int]:
    """The time of the last slice in each repository that is configured; the state knows former ones, too."""
    return {name: then for name, then in read_state().get("sliced", {}).items() if name in facts.repositories}


def told(what: str, facts: Facts) -> str:
    """A line for `slipway status`."""
    state, drill = read_state(), read_drill()
    if what == "drill":
        if not drill:
            return "none yet"
        why = f"{drill['documents']} documents" if drill["result"] == "passed" else drill["why"]
        return f"drill {drill['result']} {drill['time']}: {' '.join(why.split())}"
    if "full" not in state:
        return "none yet"
    reached = ", ".join(f"{name} {at(then)}" for name, then in slices(facts).items())
    failures = f"; failed: {' '.join(' '.join(state['full']['failures']).split())}" if state["full"]["failures"] else ""
    return f"full {at(state['full']['time'])}; every second up to {reached or 'none yet'}{failures}"


def restore(facts: Facts, words: list[str], step: str = "restore") -> None:
    """Restore, or write a copy (`pull`)."""
    parser = argparse.ArgumentParser(prog=f"backup {step}")
    parser.add_argument("--at", default="")
    parser.add_argument("--id", default="")
    parser.add_argument("--only", default="")
    parser.add_argument("--from", dest="repository", default="")
    for flag in ("--files", "--secrets", "--dry-run", "--raw", "--of-another-host", "--if-new"):
        parser.add_argument(flag, action="store_true")
    given = parser.parse_args(words)
    if given.if_new and (why := why_kept(facts)):
        tell(f"The data stay as they are: {why}")
        return
    with copying.of_another_host(facts) if given.of_another_host else nullcontext(facts) as source:
        carry_out(facts, source, given, step)


def why_kept(facts: Facts) -> str:
    """Why the data are not those of a new server, which come from its backups; "" where they are."""
    server = mongo.live(facts)
    if facts.replica_set and members.is_one_of_several(server.ask({"hello": 1})):
        return "this is one of several members, which have them"
    if slicing.is_new():
        return ""
    try:
        slicing.refuse_another(server)
    except Failed:
        return ""
    return "this server has backed them up, or restored them, itself"


def carry_out(facts: Facts, source: Facts, given: argparse.Namespace, step: str) -> None:
    """`source`: the configuration of the repositories to read."""
    found = restoring.find(source, seconds_of(given.at) if given.at else None, given.id, given.repository)
    full, until = found.chosen.full, found.chosen.until
    documents = sum(max(one[0], 0) for one in found.manifest["collections"].values())
    tell(
        f"{given.only or 'All databases'} as of {at(until[0])}: backup {full.id} from {found.repository.name},"
        f" {documents} documents, and {len(found.chosen.slices)} slices of the oplog"
    )
    if given.only and step == "restore":
        tell(f"Replaced: {replaced(found.manifest['collections'], given.only)}; all others stay")
        if not any(one == given.only or one.startswith(f"{given.only}.") for one in found.manifest["collections"]):
            tell(f"{given.only}: not in the full backup; restored if it came later, else nothing changes")
    if given.files:
        tell(f"Uploads as of {at(full.end[0])}: {', '.join(replacing.uploads_of(found)) or 'none'}")
    if given.secrets:
        tell(f"Secrets as of {at(full.end[0])}: {', '.join(facts.secrets) or 'none'}")
    if step == "pull":
        copying.pull(facts, found, given.only, given.raw)
    elif given.dry_run:
        restoring.check(found, f"{facts.data}.restore")
    else:
        restoring.restore(facts, found, given.only, given.files, given.secrets)


def replaced(recorded: Iterable[str], only: str) -> str:
    """What --only replaces; `recorded` are the collections of the full backup, and some may be of later."""
    if "." in only:
        return only
    its = [name.partition(".")[2] for name in recorded if name.startswith(f"{only}.")]
    return f"each collection of {only} that the backup has ({', '.join(its) or 'none'} in its full part)"


def main(step: str = "--help", *words: str) -> int:
    if step not in (*STEPS, "restore", "pull", "fresh", "settle", "tell"):
        print(__doc__)
        return 0 if step == "--help" else 2
    folder = os.path.dirname(os.path.realpath(__file__))
    if step == "settle":
        facts = load(folder)
        for path in (facts.data, *facts.paths):
            if settle(path):
                tell(f"{path}: an interrupted restore was rolled back")
        if replacing.undo(facts):
            tell(f"{facts.data}: a restore that was killed was rolled back")
        return 0
    if step == "tell":
        print(told(words[0], load(folder)))
        return 0
    if step == "fresh":
        late = why_late(words[0], load(folder))
        if late:
            print(late)
        return 1 if late else 0
    os.umask(0o077)
    end_on_signals()
    be_nice()
    try:
        facts = load(folder)
        restore(facts, [*words], step) if step in ("restore", "pull") else STEPS[step](facts)
    except Busy as busy:
        # The next slice covers this one, or the site is opened by the restore that runs.
        print(busy, file=sys.stderr, flush=True)
        return 0 if step in ("slice", "reopen") else 1
    except Ended as end:
        print(end, file=sys.stderr, flush=True)
        # A restore stops a slice; systemd itself knows what took too long.
        return 0 if step == "slice" else 1
    except (Failed, ValueError, OSError) as failure:
        # One line: who asked from elsewhere is shown the last one.
        print("; ".join(str(failure).splitlines()), file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
