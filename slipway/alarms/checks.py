"""The checks. Each yields the problems that it finds, by a key that identifies a problem while it lasts.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

import calendar
import re
import shlex
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress

from slipway.alarms.host import Facts, Host, secret
from slipway.alarms.problems import DAY, HOUR, MINUTE, Found, Memory, Problem
from slipway.alarms.updates import updates

ERROR_SECONDS, MIN_ANSWERS = 5 * MINUTE, 20
RESTART_SECONDS, MANY_RESTARTS = 10 * MINUTE, 3
# An alarm about a single event is resolved by itself after this.
EVENT_SECONDS = 30 * MINUTE
ASK_SECONDS, FULL_OPLOG = 5 * MINUTE, 0.8
# Longer than a restart, or the reboot after an update, keeps a member away. STARTUP2: it copies the data.
# https://www.mongodb.com/docs/manual/reference/replica-states/
AWAY_SECONDS, WELL = 10 * MINUTE, ("PRIMARY", "SECONDARY", "ARBITER", "STARTUP2")
# MongoDB's and those of backups.
OWN_OPERATIONS = re.compile(r'"ns":"(local|admin|config)\.|"appName":"mongo(dump|restore)"')
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
ACCESS_LOG = "/var/log/nginx/access.log"
OWN = "slipway-alarms.service"
# Of what a health check says, in characters.
MAX_WHY = 300
FOLDERS = ("/", "/var", "/var/lib", "/var/www", "/srv", "/boot")
# A renewal reloads Nginx within this.
RELOAD_SECONDS = 10 * MINUTE


def units(facts: Facts, host: Host, memory: Memory) -> Found:
    """All failed units; Slipway's units that are not running or crash-looping."""
    _, failed = host.run("systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager")
    names = [line.split()[0] for line in failed.splitlines() if line.strip()]
    for name in names:
        if name != OWN:
            yield f"unit {name}", Problem(f"{name} failed", _of_unit(name), _log_of(name), at_once=True)
    properties = ("--property=Id,ActiveState,NRestarts,LoadState,TriggeredBy",)
    _, shown = host.run("systemctl", "show", *properties, *facts.units) if facts.units else (0, "")
    restarts, now = memory.setdefault("restarts", {}), host.now()
    for block in shown.split("\n\n"):
        its = dict(line.partition("=")[::2] for line in block.splitlines())
        name, count = its.get("Id", ""), int(its.get("NRestarts") or 0)
        if not name or its.get("LoadState") != "loaded":
            continue
        is_down = its["ActiveState"] == "inactive" and not _waits_for_socket(its, host)
        if is_down and not _in_maintenance(facts, host):
            yield f"unit {name}", Problem(f"{name} is not running", _of_unit(name), f"systemctl start {name}")
        seen = [[then, number] for then, number in restarts.get(name, []) if now - then < RESTART_SECONDS]
        # A manual start of the unit resets systemd's counter.
        seen = [one for one in seen if one[1] <= count] + [[now, count]]
        restarts[name] = seen
        if count - seen[0][1] >= MANY_RESTARTS and name not in names:
            yield (
                f"unit {name}",
                Problem(f"{name} is crash-looping", _of_unit(name), _log_of(name), at_once=True),
            )


def _waits_for_socket(its: dict[str, str], host: Host) -> bool:
    """Whether a unit is started by the first connection, as sshd on Ubuntu 24.04."""
    sockets = [name for name in its.get("TriggeredBy", "").split() if name.endswith(".socket")]
    return bool(sockets) and host.run("systemctl", "is-active", *sockets)[0] == 0


def _log_of(name: str) -> str:
    # systemd escapes parts of a name with backslashes, as those of a mount's check.
    return f"journalctl -u {shlex.quote(name)} -n 50"


def _of_unit(name: str) -> str:
    if name.startswith(("nginx", "mongod")):
        return "the site is down or cannot read its data"
    if name.startswith("slipway-"):
        return "a scheduled job of the server did not run"
    return "the unit's task is not done"


def _in_maintenance(facts: Facts, host: Host) -> bool:
    return bool(facts.sites) and all(host.mtime(site.maintenance) for site in facts.sites)


def health(facts: Facts, host: Host, memory: Memory) -> Found:
    """The components' health checks of running units."""
    for unit, test in facts.health.items():
        code, state = host.run("systemctl", "is-active", unit)
        if code or state.strip() != "active":
            continue
        code, said = host.run("sh", "-c", test)
        if code:
            # Slipway's own jobs say why; other tests print anything.
            why = f": {' '.join(said.split())[:MAX_WHY]}" if said.strip() and unit.startswith("slipway-") else ""
            text = f"{unit} is running but unhealthy{why}"
            # What a timer's job said is in the log of its service.
            command = f"{_log_of(re.sub('[.]timer$', '.service', unit))}; slipway status"
            yield f"health {unit}", Problem(text, _of_unit(unit), command)


def sites(facts: Facts, host: Host, memory: Memory) -> Found:
    """The sites' pages and health paths, through Nginx and TLS."""
    for site in facts.sites:
        if host.mtime(site.maintenance):
            continue
        for path, what in (("/", "the site"), (site.health, "the backend")):
            if not path:
                continue
            try:
                status = host.get(site.domain, path)
                said = f"answers {status}"
            except OSError as error:
                status, said = 599, f"does not answer ({error})"
            if status >= 500:
                meaning = "visitors see an error"
                command = f"slipway status; curl -iv https://{site.domain}{path}"
                yield f"site {site.domain}{path}", Problem(f"{what} {site.domain}{path} {said}", meaning, command)


def errors(facts: Facts, host: Host, memory: Memory) -> Found:
    """The rate of server errors in Nginx's log."""
    if not facts.sites:
        return
    text, end, inode = host.read_from(ACCESS_LOG, memory.get("log_end", -1), memory.get("log_inode", 0))
    is_first = "log_end" not in memory
    memory.update(log_end=end, log_inode=inode)
    # Without the alarms' own requests, which `sites` reports.
    lines = [] if is_first else [line for line in text.splitlines() if not line.endswith('"slipway-alarms"')]
    statuses = re.findall(r'" (\d{3}) \d+ "', "\n".join(lines))
    # A site in maintenance answers 503, also since the last look; the log does not say which site answered.
    was_closed, memory["closed"] = memory.get("closed"), any(host.mtime(site.maintenance) for site in facts.sites)
    if was_closed or memory["closed"]:
        statuses = [status for status in statuses if status != "503"]
    now = host.now()
    counts = [one for one in memory.get("answers", []) if now - one[0] < ERROR_SECONDS]
    counts.append([now, len(statuses), sum(status[0] == "5" for status in statuses)])
    memory["answers"] = counts
    answers, failed = sum(one[1] for one in counts), sum(one[2] for one in counts)
    if answers >= MIN_ANSWERS and 100 * failed > facts.errors_percent * answers:
        text = f"{failed} of {answers} answers of the last 5 minutes were server errors"
        yield (
            "errors",
            Problem(text, "visitors see errors", f"grep '\" 5[0-9][0-9] ' {ACCESS_LOG} | tail", at_once=True),
        )


def certificates(facts: Facts, host: Host, memory: Memory) -> Found:
    """A certificate is renewed when a third of its lifetime is left: at a quarter, renewals have failed. And Nginx
    serves it only after a reload."""
    yield from _not_served(facts, host, memory)
    advice = (
        "it was not renewed; browsers reject the site once it has expired",
        "slipway apply; certbot renew --dry-run",
    )
    known = [(site.domain, f"{site.certificate}/fullchain.pem", *advice) for site in facts.sites]
    why = "the other servers refuse it once it has expired"
    known += [(whose, file, why, "slipway apply") for whose, file in facts.server_certificates.items()]
    for name, file, why, what_to_do in known:
        code, text = host.run("openssl", "x509", "-noout", "-startdate", "-enddate", "-in", file)
        dates = re.findall(r"not(?:Before|After)=(.*)", text)
        if code or len(dates) != 2:
            continue
        begin, end = (_seconds(one) for one in dates)
        left = end - host.now()
        if left < (end - begin) / 4:
            said = f"expires in {left / DAY:.0f} days" if left > DAY else f"expires in {max(left, 0) / HOUR:.0f} hours"
            yield (
                f"certificate {name}",
                Problem(
                    f"the certificate of {name} {said if left > 0 else 'has expired'}",
                    why,
                    what_to_do,
                    at_once=True,
                ),
            )


def _not_served(facts: Facts, host: Host, memory: Memory) -> Found:
    stale, before = {}, memory.get("not_served", {})
    for site in facts.sites:
        # The server's own comes first.
        first = CERTIFICATE.search(host.read(f"{site.certificate}/fullchain.pem"))
        try:
            if first and host.served(site.domain) != b64decode(first[1]):
                stale[site.domain] = before.get(site.domain, host.now())
        except TimeoutError:
            break  # it takes as long for each, and `sites` reports it
        except (OSError, ValueError):
            continue
    memory["not_served"] = stale
    for domain, since in stale.items():
        if host.now() - since >= RELOAD_SECONDS:
            text = f"Nginx does not serve the certificate of {domain} that is on the disk"
            meaning = "Nginx was not reloaded; browsers reject the site once the old certificate has expired"
            yield f"served {domain}", Problem(text, meaning, "nginx -t && systemctl reload nginx", at_once=True)


def _seconds(text: str) -> float:
    """Parse openssl's format: "Nov 29 15:00:00 2026 GMT"."""
    return calendar.timegm(time.strptime(text.strip(), "%b %d %H:%M:%S %Y %Z"))


def disks(facts: Facts, host: Host, memory: Memory) -> Found:
    known = set()
    for folder in (*FOLDERS, *facts.folders):
        try:
            device, space, inodes = host.usage(folder)
        except TimeoutError:
            text = f"the file system of {folder} does not answer"
            yield f"disk {folder}", Problem(text, "what uses it hangs", f"findmnt --target {folder}")
            continue
        except OSError:
            continue
        if device in known:
            continue
        known.add(device)
        for what, used in (("space", space), ("inodes", inodes)):
            if used >= facts.disk_percent:
                meaning = "when it is full, MongoDB stops and releases fail"
                count, order = ("-h", "-h") if what == "space" else ("--inodes", "-n")
                command = f"du -x -d 3 {count} {shlex.quote(folder)} | sort {order} | tail -n 20"
                yield (
                    f"disk {folder} {what}",
                    Problem(f"{used:.0f} % of the {what} of {folder} is used", meaning, command),
                )


def memory_pressure(facts: Facts, host: Host, memory: Memory) -> Found:
    """Memory pressure, and processes that the kernel has killed (OOM)."""
    found = re.search(r"^some .*avg300=([\d.]+)", host.read("/proc/pressure/memory"), re.MULTILINE)
    if found and float(found[1]) >= facts.memory_percent:
        text = f"programs waited for memory in {float(found[1]):.0f} % of the last 5 minutes"
        yield "memory", Problem(text, "everything is slow", "free -m; systemd-cgtop -m -n 1")
    # The counter of all services, also in a container; 0 at boot.
    events = host.read("/sys/fs/cgroup/system.slice/memory.events")
    found = re.search(r"^oom_kill (\d+)", events, re.MULTILINE)
    if found:
        count, before = int(found[1]), memory.get("oom_kills")
        memory["oom_kills"] = count
        if before is not None and count > before:
            memory["oom_time"] = host.now()
    if host.now() - memory.get("oom_time", 0) < EVENT_SECONDS:
        text = "the kernel killed a process as memory ran out (OOM)"
        yield (
            "oom",
            # systemd says which unit, the kernel which process.
            Problem(text, "it may be killed again", "journalctl -g '\\boom|out of memory' -n 20", at_once=True),
        )


def mongodb(facts: Facts, host: Host, memory: Memory) -> Found:
    """The time that the oplog reaches back, the states of the set's members, and the rate of slow operations; asked
    every 5 minutes."""
    if not facts.mongodb:
        return
    address, port, user = facts.mongodb
    now, last = host.now(), memory.get("mongodb_time", 0)
    if now - last >= ASK_SECONDS:
        # This comes somewhat later than after 5 minutes: all since the last time counts.
        since = last if now - last < 2 * ASK_SECONDS else now - ASK_SECONDS
        memory.update(mongodb_time=now, slow=_slow_operations(host, since), slow_minutes=(now - since) / MINUTE)
        # One that does not answer is reported by its unit and the sites.
        with suppress(OSError):
            login = (address, port, user, secret(facts, "MONGODB_ADMIN_PASSWORD"))
            memory["oplog"] = host.oplog(*login)
            known = memory.get("members", {}) if now - last < 2 * ASK_SECONDS else {}
            # Since when it is so, and when it was seen last.
            memory["members"] = {
                name: [known[name][0] if name in known else now, now, state]
                for name, state in host.members(*login).items()
                if state not in WELL
            }
    for name, (since, seen, state) in memory.get("members", {}).items():
        if seen - since >= AWAY_SECONDS:
            text = f"MongoDB's member {name} has been {state} for {AWAY_SECONDS // MINUTE} minutes"
            meaning = "it has not all data, and may be missing at the next failure"
            yield f"member {name}", Problem(text, meaning, "slipway db status", at_once=True)
    first, last, used = memory.get("oplog", (0, 0, 0))
    # One that is not full yet has everything since its beginning.
    if used >= FULL_OPLOG and last - first < DAY:
        text = f"MongoDB's oplog reaches back only {(last - first) / HOUR:.1f} hours"
        meaning = "a repository of backups that is away for longer gets a gap: raise mongodb_oplog_mb"
        yield "oplog", Problem(text, meaning, "slipway apply", at_once=True)
    minutes = memory["slow_minutes"]
    if memory["slow"] > facts.slow_per_minute * minutes:
        text = f"MongoDB logged {memory['slow']} slow operations in {minutes:.0f} minutes"
        yield "slow", Problem(text, "the site is slow; an index may be missing", "slipway report", at_once=True)


def _slow_operations(host: Host, since: float) -> int:
    # "Slow query". https://www.mongodb.com/docs/manual/reference/log-messages/#logging-slow-operations
    words = ("--unit=mongod", "--output=cat", "--quiet", "--lines=3000", f"--since=@{int(since)}", '--grep="id":51803')
    _, text = host.run("journalctl", *words)
    return sum(not OWN_OPERATIONS.search(line) for line in text.splitlines())


def clock(facts: Facts, host: Host, memory: Memory) -> Found:
    """Time synchronization; a container has its host's clock."""
    if host.run("systemd-detect-virt", "--container", "--quiet")[0] == 0:
        return
    _, said = host.run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    # Not in the first minutes after a boot.
    since = memory.setdefault("clock_since", host.now()) if said.strip() == "no" else memory.pop("clock_since", None)
    if said.strip() == "no" and host.now() - since > 15 * MINUTE:
        text = "the clock has not been synchronized for 15 minutes"
        yield (
            "clock",
            # The second where chrony sets the clock.
            Problem(
                text,
                "certificates and logins depend on it",
                "timedatectl timesync-status || chronyc -n sources",
                at_once=True,
            ),
        )


def logins(facts: Facts, host: Host, memory: Memory) -> Found:
    """Logins from new addresses."""
    if not facts.logins:
        return
    known, now = memory.setdefault("addresses", {}), host.now()
    since = f"@{int(memory.get('logins_time', now - 30 * DAY))}"
    is_first = "logins_time" not in memory
    code, text = host.run(
        "journalctl", "--quiet", "--output=cat", "--identifier=sshd", "--identifier=sshd-session", f"--since={since}"
    )
    if code == 0:
        memory["logins_time"] = now
    for user, address in re.findall(r"^Accepted \S+ for (\S+) from ([\da-fA-F.:]+)", text, re.MULTILINE):
        if address not in known:
            known[address] = [user, 0 if is_first else now]
    for address, (user, then) in known.items():
        if now - then < EVENT_SECONDS:
            text = f"{user} logged in from the new address {address}"
            # With the fingerprint of the key.
            command = f"journalctl -t sshd -t sshd-session -g 'Accepted .* {address} '"
            yield f"login {address}", Problem(text, "if it was none of you, remove its key", command, at_once=True)


CHECKS: tuple[Callable[[Facts, Host, Memory], Found], ...] = (
    *(units, health, sites, errors, certificates, disks, memory_pressure, updates, mongodb, clock, logins),
)
