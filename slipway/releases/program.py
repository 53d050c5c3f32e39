#!/usr/bin/python3 -BES
"""The steps of a release on the host, one at a time: `/usr/lib/slipway/release SITE STEP [ARGUMENTS]`.

    begin ID keep|discard               start release ID beside the live one and wait until it is healthy
    hook before|after ID keep|discard   run pre_activate or post_activate
    pages ID keep|discard               check the pages of release ID, and allow the scripts in them
    allow_scripts                       allow the scripts in the pages of all releases
    scripts_allowed                     fail where they are not allowed
    hints ID                            print what the pages of release ID load and their policy blocks
    switch ID                           activate the release
    take_over                           restart the services with it and point Nginx back to them
    cover SERVICE                       before a restart of SERVICE: start the live release beside it, which serves
    uncover SERVICE                     after the restart: point Nginx back to SERVICE
    settle                              finish what an interrupted release or restart has left
    discard ID keep|discard             stop the next release, and remove its files or keep them
    prune                               remove old releases
    watch SERVICE PID                   while PID waits for SERVICE: end its process group if SERVICE is crash-looping

Slipway installs this file, and beside it release-SITE.json with the facts of a site. Whichever step is cut off, and
wherever, visitors are served: `settle` finishes what was begun; `slipway apply` runs it,
and so does the next release. `Steps` decides, and `System` (host.py) asks and changes the host, so that tests run the
steps without one.

The options of Python, in the first line: write no bytecode, and read neither environment variables nor what is
installed on the host. Its first folder for imports is this file's own.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable

from slipway.releases.checks import Checks
from slipway.releases.host import COVERS, Facts, Failed, Service, System, load

# SS_CONNECTED of Linux's <linux/net.h>, in /proc/net/unix.
CONNECTED = "03"
# The settings with the commands of the two hooks.
HOOKS = {"before": "pre_activate", "after": "post_activate"}


class Steps(Checks):
    """The steps of a release of one site. Each returns whether it succeeded; OSError and Failed end it where it is."""

    # --- Steps

    def begin(self, release: str, then: str) -> bool:
        if self.next_serves() and not self.settle():
            return False
        self.reload_units()
        self.lead(self.next, f"releases/{release}")
        try:
            # All start before one is waited for.
            for service in self.facts.services:
                self.start_next(service)
            for service in self.facts.services:
                self.wait_until_healthy(service, is_next=True)
        except Failed as failure:
            self.explain(failure)
            self.discard(release, then)
            return False
        return True

    def hook(self, when: str, release: str, then: str) -> bool:
        if when == "before" and self.next_serves() and not self.settle():
            return False
        unit = f"{self.facts.site}-backend-{when}.service"
        self.lead(self.next, f"releases/{release}")
        self.reload_units()
        succeeded = self.system.systemctl("start", unit)
        if not succeeded:
            why = f"{HOOKS[when]} failed"
            if self.system.properties(unit, "Result").get("Result") == "timeout":
                why = f"{HOOKS[when]} did not finish within {self.facts.hook_seconds} s"
                why += "; if it needs longer, raise release_hook_seconds"
            self.explain(Failed(why, unit))
        if when == "after":
            # The release is live already.
            self.system.unlink(self.next)
        elif not succeeded:
            self.discard(release, then)
        return succeeded

    def pages(self, release: str, then: str) -> bool:
        if problems := self.system.page_problems(self.build(release), self.facts):
            self.explain(Failed("\n".join(problems)))
            self.discard(release, then)
            return False
        return self.allow_scripts()

    def switch(self, release: str) -> bool:
        before, target = self.system.readlink(self.current), f"releases/{release}"
        if not self.system.exists(f"{self.facts.root}/{target}"):
            raise Failed(f"{self.facts.root}/{target} does not exist; nothing was changed")
        if before not in ("", target):
            self.lead(self.previous, before)
        self.lead(self.current, target)
        self.system.sync(self.facts.root)
        self.lead_to_next()
        return True

    def take_over(self) -> bool:
        """Restart the services with the current release while the next ones serve. If they do not come up with it, roll
        back to the previous release."""
        for service in self.facts.services:
            if service.link:
                self.drain(service.listen)
        try:
            self.system.systemctl("daemon-reload")
            self.restart_services()
            self.restart_workers()
        except Failed as failure:
            self.explain(failure)
            # If the previous release does not come up either, the next ones go on serving.
            if not self.system.exists(f"{self.previous}/backend") or self.roll_back():
                self.hand_back()
            return False
        # They run with their unit files as they are now.
        for name in self.all_names():
            self.forget(f"{self.facts.backups}/{self.unit(name)}")
        self.hand_back()
        return True

    def cover(self, name: str) -> bool:
        """Start the live release beside a service that is about to restart, by the units of the next one, and point
        Nginx to it. They are as they were when the last apply had succeeded.

        Nothing is done for a service that is not healthy: the restart may be what it needs.
        """
        service = self.service(name)
        # In this order: who asks one that does not run starts it.
        runs = service.link and self.system.is_active(self.unit(name))
        if self.next_serves() or not runs or not self.can_start_next(service) or not self.is_healthy(service):
            return True
        self.reload_units()
        self.lead(self.next, COVERS)
        try:
            self.start_next(service)
            self.wait_until_healthy(service, is_next=True)
        except Failed as failure:
            self.explain(failure)
            self.system.tell(f"{self.unit(name)} was not restarted and is still live")
            self.stop_next()
            return False
        self.lead_to_next()
        self.drain(service.listen)
        return True

    def uncover(self, name: str) -> bool:
        """Point Nginx back to a service that has restarted. If it is not healthy, what covers for it serves on."""
        if self.system.readlink(self.next) != COVERS:
            return True
        try:
            self.wait_until_healthy(self.service(name), is_next=False)
        except Failed as failure:
            self.explain(failure)
            return False
        self.hand_back()
        return True

    def settle(self) -> bool:
        for service in filter(self.covers, self.facts.services):
            if not self.is_healthy(service):
                self.reload_units()
                self.system.systemctl("restart", self.unit(service.name))
            if not self.uncover(service.name):
                return False
        if self.next_is_live():
            # The switch may have been cut off: visitors must not wait for services that may not come up.
            self.lead_to_next()
            return self.take_over()
        own_run = all(self.system.is_active(self.unit(service.name)) for service in self.facts.services)
        if self.next_run() and not own_run:
            try:
                self.restart_services()
            except Failed as failure:
                # Without the next release nobody would be served: only a release that works may replace it.
                self.explain(failure)
                current, live = self.system.readlink(self.current), self.system.readlink(self.next)
                self.system.tell(f"{current} failed to start; {live} is still live")
                return False
        self.hand_back()
        return True

    def discard(self, release: str, then: str) -> bool:
        """Stop the next release. Its files are kept if it has been live before."""
        self.stop_next()
        if then == "discard":
            self.remove_release(release)
        live = self.system.readlink(self.current)
        self.system.tell(f"release {release} was not activated" + (f"; {live} is still live" if live else ""))
        return True

    def prune(self) -> bool:
        """Remove the oldest releases, never the current or the previous one, and environments that none uses."""
        releases, venvs = f"{self.facts.root}/releases", f"{self.facts.root}/venvs"
        for name in self.system.names(releases):
            if name.endswith(".new"):
                self.system.remove(f"{releases}/{name}")
        needed = {self.system.readlink(self.current), self.system.readlink(self.previous)}
        for release in self.complete_releases()[: -self.facts.keep_releases]:
            if f"releases/{release}" not in needed:
                self.remove_release(release)
        used = {self.system.readlink(f"{releases}/{name}/backend/.venv") for name in self.system.names(releases)}
        for name in self.system.names(venvs):
            if not any(target.endswith(f"/venvs/{name}") for target in used):
                # First what calls it complete: half of one must never be used.
                self.system.unlink(f"{venvs}/{name}/.complete")
                self.system.remove(f"{venvs}/{name}")
        return True

    # --- Services

    def start_next(self, service: Service) -> None:
        unit, socket_unit = self.next_units(service)
        self.system.systemctl("reset-failed", unit, socket_unit)
        if not (self.system.systemctl("restart", socket_unit) and self.system.systemctl("restart", unit)):
            raise Failed("failed to start", unit)

    def restart_services(self) -> None:
        """Nobody is connected to the services themselves: visitors are led to the next release."""
        for service in self.facts.services:
            self.restart(self.unit(service.name))
            self.wait_until_healthy(service, is_next=False)

    def restart_workers(self) -> None:
        workers = [self.unit(name) for name in self.facts.workers]
        for unit in workers:
            self.restart(unit)
        if workers:
            self.system.sleep(self.facts.worker_seconds)
        for unit in workers:
            if self.system.properties(unit, "SubState", "NRestarts") != {"SubState": "running", "NRestarts": "0"}:
                raise Failed("exited unexpectedly", unit)

    def restart(self, unit: str) -> None:
        self.system.systemctl("reset-failed", unit)
        if not self.system.systemctl("restart", unit):
            raise Failed("failed to start", unit)

    def roll_back(self) -> bool:
        """Make the previous release the current one, with the unit files of then. Returns whether it is live."""
        before, target = self.system.readlink(self.current), self.system.readlink(self.previous)
        self.system.tell(f"rolling back to {target}")
        self.lead(self.current, target)
        self.lead(self.previous, before)
        for name in self.all_names():
            self.restore(f"{self.facts.backups}/{self.unit(name)}")
        self.system.systemctl("daemon-reload")
        try:
            self.restart_services()
        except Failed as failure:
            self.explain(failure)
            return False
        try:
            self.restart_workers()
        except Failed as failure:
            # Visitors need none of them: no reason to let them wait.
            self.explain(failure)
        return True

    def lead_to_next(self) -> None:
        """Point Nginx to the next release, where it runs."""
        for service in self.facts.services:
            if service.link and self.next_runs(service):
                self.lead(service.link, service.next_socket)

    def hand_back(self) -> None:
        """Point Nginx to the services themselves, and stop the next release."""
        for service in self.facts.services:
            # A service that is new with this release has no socket yet: Nginx does not know it.
            if service.link and self.system.is_socket(service.listen):
                self.lead(service.link, service.listen)
                self.drain(service.next_socket)
        self.stop_next()

    def stop_next(self) -> None:
        for service in self.facts.services:
            unit, socket_unit = self.next_units(service)
            self.system.systemctl("stop", socket_unit, unit)
            # One that had to be killed has not failed: it was not to go on.
            self.system.systemctl("reset-failed", unit)
        self.system.unlink(self.next)

    def drain(self, path: str) -> None:
        """Wait until nobody is connected to a socket any more, for a time: Nginx closes an idle connection after
        seconds, and each at an age of seconds."""
        end = self.system.now() + self.facts.drain_seconds
        while self.connections(path) and self.system.now() < end:
            self.system.sleep(self.facts.poll_seconds)

    def connections(self, path: str) -> int:
        """How many connections a socket has. Fields: num, refcount, protocol, flags, type, state, inode, path."""
        lines = [line.split() for line in self.system.read("/proc/net/unix").splitlines()]
        return sum(len(fields) > 7 and (fields[5], fields[7]) == (CONNECTED, path) for fields in lines)

    # --- Releases

    def remove_release(self, release: str) -> None:
        """Remove a release in one step: half of one must never be taken for a release."""
        path = f"{self.facts.root}/releases/{release}"
        self.system.remove(f"{path}.new")
        if self.system.exists(path):
            self.system.rename(path, f"{path}.new")
            self.system.remove(f"{path}.new")


def lock(facts: Facts) -> None:
    """Let one step of a site run at a time, until this program and all that it has started have ended."""
    opened = os.open(facts.lock, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.set_inheritable(opened, True)

    def give_up(*_: object) -> None:
        raise Failed(f"another step of a release did not finish within {facts.lock_seconds} s; {facts.hint}")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(facts.lock_seconds)
    fcntl.flock(opened, fcntl.LOCK_EX)
    signal.alarm(0)


STEPS: dict[str, Callable[..., bool]] = {
    "begin": Steps.begin,
    "hook": Steps.hook,
    "pages": Steps.pages,
    "hints": Steps.hints,
    "allow_scripts": Steps.allow_scripts,
    "scripts_allowed": Steps.scripts_allowed,
    "switch": Steps.switch,
    "take_over": Steps.take_over,
    "cover": Steps.cover,
    "uncover": Steps.uncover,
    "settle": Steps.settle,
    "discard": Steps.discard,
    "prune": Steps.prune,
    "watch": Steps.watch,
}
# These change nothing that another step might be at.
WITHOUT_LOCK = {"watch"}


def main(site: str = "--help", step: str = "", *words: str) -> int:
    if site == "--help" or step not in STEPS:
        print(__doc__)
        return 0 if site == "--help" else 2
    # A step whose connection breaks goes on to its end. Interrupted by hand it ends at once, as by any other signal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A login's may be 077.
    os.umask(0o022)
    system = System()
    try:
        facts = load(site, os.path.dirname(os.path.realpath(__file__)))
        if step not in WITHOUT_LOCK:
            lock(facts)
        return 0 if STEPS[step](Steps(facts, system), *words) else 1
    except Failed as failure:
        system.tell(str(failure))
    except OSError as error:
        system.tell(f"{step}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
