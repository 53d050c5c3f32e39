"""Upgrades on a host, and what they would do.

Sent to the host and run there by its Python, as root: `python3 -ISc TEXT STEP GIVEN`, GIVEN is JSON. STEP is one of:

look      refreshes apt's lists and prints JSON.
packages  upgrades `names`, each as NAME=VERSION, and restarts once those of `restarts` that run with a file that was
          replaced. What was interrupted before is finished first.
mongodb   replaces MongoDB `old` by `new`: clean shutdown, packages, start. If that does not accept writes, `old` again.
features  sets the feature compatibility version to `series`.

`apt` has the scripts `refresh` (prints the files of sources that it leaves out), with the options `without_left_out`
for what follows, and `finish`. `ready` are shell tests by unit, `around` pairs of commands by unit, before its restart
and when it is ready. `mongodb` is the login: address, port, seconds, user, and the file with the password. `settles`
are apt's files of MongoDB's series (repositories.settle). Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

from slipway.facts.mongodb_protocol import Connection
from slipway.upkeep.repositories import series_of, settle
from slipway.upkeep.running import Failed, affected, outdated, run, succeeds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

SERVER, MONGODB = "mongodb-org-server", re.compile(r"mongodb-(org|mongosh|database-tools)")
NODE = re.compile(r"nodejs|npm|libnode\d+|node-.+")
KERNEL = re.compile(r"linux-image-.+")
# apt waits for another apt, which dpkg does not. It fails where something is to be finished.
WAIT = "apt-get -q check"
# apt-get keeps what it has downloaded, upgrade after upgrade.
CLEAN = "apt-get -q clean"
# Half installed, unpacked, half configured, with triggers, or to be reinstalled.
INTERRUPTED = re.compile(r".[HUFWt]|..R")
DRILL = "/var/lib/slipway/backup/drill.json"
KEPT, POLICY, DENIES = "/var/lib/slipway/upgrade", "/usr/sbin/policy-rc.d", "/run/slipway-upgrade/policy-rc.d"
APT = (
    "apt-get",
    "-y",
    "-q",
    "--no-remove",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
)
MONGOD, READY_SECONDS, FEATURES = "mongod.service", 60, "featureCompatibilityVersion"
BACKUP_LOCK, BACKUP_SECONDS = "/run/slipway-backup/slice.lock", 3600
BACKUP_RUNS = "systemctl show --property=ActiveState slipway-backup slipway-drill | grep -q =activating"


def tell(text: str) -> None:
    print(text, flush=True)


# --- What there is to do ---------------------------------------------------------------------------------------------


def look(given: dict[str, Any]) -> dict[str, Any]:
    left_out = script(given["apt"]["refresh"]).split()
    if broken := interrupted():
        succeeds(WAIT)
        broken = interrupted()
    sources = given["apt"]["without_left_out"] if left_out else []
    try:
        updates = simulated(run("apt-get", *sources, "--simulate", "--with-new-pkgs", "upgrade"))
    except Failed:
        if not broken:
            raise
        updates = []
    groups: dict[str, list[list[str]]] = {"os": [], "mongodb": [], "node": []}
    for name, old, new in updates:
        kind = "mongodb" if MONGODB.match(name) else "node" if NODE.fullmatch(name) else "os"
        groups[kind].append([name, old, new])
    # The server itself is not one of many packages.
    groups["mongodb"] = [one for one in groups["mongodb"] if not one[0].startswith("mongodb-org")]
    return {
        "interrupted": broken,
        "left_out": left_out,
        "packages": groups,
        "restarts": {kind: affected([one[0] for one in its]) for kind, its in groups.items()},
        "outdated": outdated(),
        "reboot": any(KERNEL.fullmatch(one[0]) for one in groups["os"]),
        "server": look_at_mongodb(given["mongodb"]) if given.get("mongodb") else None,
    }


def simulated(text: str) -> list[tuple[str, str, str]]:
    """Names, installed and available versions: "Inst openssl [3.0.1] (3.0.2 Debian:12/stable [amd64])"."""
    found = re.findall(r"^Inst (\S+) (?:\[(\S+)\] )?\((\S+) ", text, re.MULTILINE)
    return [(name, old, new) for name, old, new in found]


def script(text: str) -> str:
    """The output of a shell script. Raises Failed with what it said."""
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"apt can't refresh its lists: {'; '.join(done.stderr.splitlines())}; nothing was changed")
    return done.stdout


def interrupted() -> list[str]:
    """The packages whose installation was cut off, by dpkg-query(1): apt changes no other one before they are
    finished."""
    lines = run("dpkg-query", "-W", "-f", "${db:Status-Abbrev}=${Package}\n").splitlines()
    return sorted({name for state, _, name in (line.partition("=") for line in lines) if INTERRUPTED.match(state)})


def finish(given: dict[str, Any]) -> None:
    """Finish what was interrupted. Raises Failed."""
    if names := interrupted():
        tell(f"Finishing the installation of {', '.join(names)}")
        succeeds(WAIT)
        done = subprocess.run(["sh", "-c", given["apt"]["finish"]], capture_output=True, text=True, check=False)
        if left := interrupted():
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
            raise Failed(f"the installation of {', '.join(left)} can't be finished: {last}")


def look_at_mongodb(login: list[Any]) -> dict[str, Any]:
    installed = re.search(r"^ii +\S+ +(\S+)", run("dpkg", "-l", SERVER), re.MULTILINE)
    lines = run("apt-cache", "madison", SERVER).splitlines()
    try:
        drill = json.loads(Path(DRILL).read_text())
    except (OSError, ValueError):
        drill = None
    return {
        "installed": installed[1] if installed else "",
        "available": [*dict.fromkeys(line.split("|")[1].strip() for line in lines)],
        "feature_version": feature_version(connection := connect(login)),
        "is_primary": bool(connection.run({"hello": 1}).get("isWritablePrimary")),
        "drill": {"result": drill["result"], "time": drill["time"]} if drill else None,
    }


# --- The steps -------------------------------------------------------------------------------------------------------


@contextmanager
def no_restarts() -> Iterator[None]:
    """Packages restart nothing themselves: each service would be restarted for each of its libraries. The link leads to
    /run, so that a power cut does not leave it in force. policy-rc.d(8)"""
    Path(DENIES).parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(POLICY) and not Path(POLICY).exists():
        Path(POLICY).unlink()
    is_mine = not os.path.lexists(POLICY)
    if is_mine:
        Path(DENIES).write_text("#!/bin/sh\nexit 101\n")
        Path(DENIES).chmod(0o755)
        Path(POLICY).symlink_to(DENIES)
    try:
        yield
    finally:
        if is_mine:
            Path(POLICY).unlink(missing_ok=True)


@contextmanager
def without_backups() -> Iterator[None]:
    """No backup reads MongoDB meanwhile: a restart would fail it, and ring. One that runs ends first; a slice that
    finds the lock (slipway/backups/host.py) leaves its work to the next one. Raises Failed."""
    if not Path(BACKUP_LOCK).parent.exists():
        yield
        return
    end = time.monotonic() + BACKUP_SECONDS
    with open(BACKUP_LOCK, "a+", encoding="utf-8") as lock:  # noqa: PTH123
        while succeeds(BACKUP_RUNS) or not locked(lock):
            if time.monotonic() > end:
                raise Failed(f"a backup or drill still runs after {BACKUP_SECONDS} s; try again later")
            time.sleep(1)
        yield


def locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def packages(given: dict[str, Any]) -> None:
    names = [one.partition("=")[0] for one in given["names"]]
    finish(given)
    automatic = {*run("apt-mark", "showauto").split()}
    installed = {*run("dpkg-query", "-W", "-f", "${Package}\n").split()}
    if names:
        tell(f"Upgrading {len(names)} packages")
        try:
            with no_restarts():
                run(*APT, "install", *given["names"])
        finally:
            # A named package counts as wanted by itself from then on.
            again = [name for name in names if name in automatic or name not in installed]
            succeeds(f"apt-mark auto {' '.join(again)}")
        succeeds(CLEAN)
    confirmed = given.get("restarts", [])
    units = [unit for unit in outdated() if unit in confirmed]
    with without_backups() if MONGOD in units else nullcontext():
        failures = [*filter(None, (tried(unit, given) for unit in units))]
    if failures:
        raise Failed("\n".join(failures))
    if others := [unit for unit in outdated() if unit not in confirmed]:
        tell(f"{', '.join(others)}: still running with replaced files; `slipway upgrade --only os` restarts them")
    if Path("/run/reboot-required").exists():
        tell("Reboot required: the new kernel is not active (reboot_time does it at night; or `sudo reboot`)")


def tried(unit: str, given: dict[str, Any]) -> str:
    """Restart a unit; why it failed, "" if it did not."""
    try:
        restart(unit, given)
    except Failed as failure:
        return str(failure)
    tell(f"{unit}: restarted")
    return ""


def restart(unit: str, given: dict[str, Any]) -> None:
    with clients_waiting(unit, given):
        run("systemctl", "restart", unit)
        wait_until_ready(unit, given)


@contextmanager
def clients_waiting(unit: str, given: dict[str, Any]) -> Iterator[None]:
    """What is around a unit's restart, until it is ready."""
    before, after = given.get("around", {}).get(unit, ("", ""))
    try:
        succeeds(before)
        yield
    finally:
        succeeds(after)


def wait_until_ready(unit: str, given: dict[str, Any]) -> None:
    seconds = given["seconds"] if unit == MONGOD else READY_SECONDS
    test = given.get("ready", {}).get(unit, "true")
    end = time.monotonic() + seconds
    while not (succeeds(f"systemctl is-active -q {unit}") and succeeds(test)):
        if time.monotonic() > end or succeeds(f"systemctl is-failed -q {unit}"):
            raise Failed(f"{unit} is not ready after its restart: {last_lines(unit)}")
        time.sleep(0.5)


def last_lines(unit: str) -> str:
    """What a unit has logged last, without what is informational, as mongod's shutdown."""
    lines = run("journalctl", "-u", unit, "-n", "80", "--no-pager", "-o", "cat").splitlines()
    return "\n".join([line for line in lines if '"s":"I"' not in line][-5:])[-1000:]


def mongodb(given: dict[str, Any]) -> None:
    old, new, login = given["old"], given["new"], given["mongodb"]
    features = feature_version(connect(login))
    finish(given)
    tell(f"Downloading MongoDB {new}")
    Path(KEPT).mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in Path(KEPT).glob("*.deb"):
        file.unlink()
    # So that going back needs no network.
    done = subprocess.run(["apt-get", "-q", "download", f"{SERVER}={old}"], cwd=KEPT, capture_output=True, check=False)
    way_back = next(Path(KEPT).glob("*.deb"), None)
    if done.returncode or way_back is None:
        raise Failed(f"MongoDB {old}: its package can't be downloaded, so there is no way back; nothing was changed")
    run(*APT, "--download-only", "install", f"{SERVER}={new}")
    with no_restarts(), without_backups(), clients_waiting(MONGOD, given):
        tell("Stopping MongoDB")
        stop_cleanly(given)
        try:
            tell(f"Installing MongoDB {new}")
            run(*APT, "--allow-downgrades", "install", f"{SERVER}={new}")
            start(given)
            found = connect(login).run({"buildInfo": 1})["version"]
            if found != new.partition("-")[0].partition("~")[0]:
                raise Failed(f"MongoDB says that it is {found}, expected {new}")
            if feature_version(connect(login)) != features:
                raise Failed("the feature compatibility version has changed")
        except (Failed, OSError) as failure:
            tell(f"MongoDB {new} does not accept writes; going back to {old}")
            go_back(given, str(way_back), failure)
    if series_of(new) != series_of(old):
        settle(given["settles"], series_of(old), series_of(new))
    succeeds(CLEAN)
    tell(f"MongoDB {new} accepts writes; feature compatibility version {features}")


def go_back(given: dict[str, Any], package: str, why: Exception) -> None:
    """Install and start what was there before. Always raises Failed."""
    run("systemctl", "stop", MONGOD)
    run("dpkg", "--force-confold", "--install", package)
    failed = f"MongoDB {given['new']} did not come up"
    try:
        start(given)
    except Failed as second:
        raise Failed(f"{failed}, and {given['old']} does not either: {second}; before that: {why}") from None
    raise Failed(f"{failed}, {given['old']} runs again: {why}")


def stop_cleanly(given: dict[str, Any]) -> None:
    """Raises Failed, with MongoDB started again, if it did not end by itself: recovery is the old version's task."""
    run("systemctl", "stop", MONGOD)
    result = run("systemctl", "show", "--property=Result", "--value", MONGOD).strip()
    if result != "success":
        start(given)
        raise Failed(
            f"MongoDB did not shut down cleanly ({result}): it was started again as it is; nothing was changed"
        )


def start(given: dict[str, Any]) -> None:
    run("systemctl", "reset-failed", MONGOD)
    if not succeeds(f"systemctl start {MONGOD}"):
        raise Failed(f"{MONGOD} failed to start: {last_lines(MONGOD)}")
    wait_until_ready(MONGOD, given)


def features(given: dict[str, Any]) -> None:
    connection, series = connect(given["mongodb"]), given["series"]
    command: dict[str, Any] = {"setFeatureCompatibilityVersion": series}
    # https://www.mongodb.com/docs/manual/reference/command/setFeatureCompatibilityVersion/
    if int(series.partition(".")[0]) >= 7:
        command["confirm"] = True
    answer = connection.run(command)
    if not answer["ok"]:
        raise Failed(f"MongoDB refuses: {answer.get('errmsg')}")
    tell(f"Feature compatibility version {feature_version(connection)}")


def connect(login: list[Any]) -> Connection:
    """MongoDB as its administrator. Raises Failed."""
    address, port, seconds, user, file = login
    try:
        # Others wait while it restarts.
        connection = Connection(address, int(port), int(seconds), from_root=True)
        if connection.logs_in(user, Path(file).read_text()):
            return connection
    except OSError as error:
        raise Failed(f"MongoDB does not answer: {error}") from None
    raise Failed(f"{user}: MongoDB rejects the password in {file}")


def feature_version(connection: Connection) -> str:
    return str(connection.run({"getParameter": 1, FEATURES: 1})[FEATURES]["version"])


def end(number: int, _frame: object) -> None:
    """So that what is put back at the end of a block is put back."""
    raise Failed(f"ended by {signal.Signals(number).name}; run it again")


def main(step: str, text: str) -> int:
    given = json.loads(text)
    signal.signal(signal.SIGTERM, end)
    try:
        if step == "look":
            print(json.dumps(look(given)))
        else:
            {"packages": packages, "mongodb": mongodb, "features": features}[step](given)
    except Failed as failure:
        print(" ".join(str(failure).split()), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
