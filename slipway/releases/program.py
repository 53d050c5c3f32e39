#!/usr/bin/python3 -BES
"""The steps of a release on the host, one at a time: `/usr/lib/slipway/release SITE STEP [ARGUMENTS]`.

    begin ID keep|discard               start release ID beside the live one and wait until it is healthy
    hook before|after ID keep|discard   run pre_activate or post_activate
    pages ID keep|discard               check the pages of release ID, and allow their inline scripts
    allow_scripts                       allow the inline scripts of all releases' pages
    scripts_allowed                     fail if they are not allowed
    hints ID                            print what the pages of release ID load and the policy blocks
    switch ID                           activate the release
    take_over                           restart the services with it and point Nginx back to them
    cover SERVICE                       before a restart of SERVICE: serve the live release by a second instance
    uncover SERVICE                     after the restart: point Nginx back to SERVICE
    settle                              finish or undo an interrupted release or restart
    discard ID keep|discard             stop the next release, and remove its files or keep them
    remember [ID]                       make release ID the previous one, or none
    prune                               remove old releases
    watch SERVICE PID                   while PID waits for SERVICE: end its process group if SERVICE is crash-looping

Slipway installs this file, and next to it release-SITE.json with the configuration of a site. Visitors are served
whenever a step is interrupted: `settle` finishes it, and is run by `slipway apply` and by the next release. `Steps`
makes the decisions, `System` (host.py) accesses the host, so that tests run the steps without one.

Python's options in the first line write no bytecode, and ignore environment variables and installed packages. Imports
start at this file's folder.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable

from slipway.releases.checks import Checks
from slipway.releases.host import COVERS, Facts, Failed, Service, System, load

# SS_CONNECTED of <linux/net.h>, in /proc/net/unix.
CONNECTED = "03"
# The settings with the commands of the two hooks.
HOOKS = {"before": "pre_activate", "after": "post_activate"}


class Steps(Checks):
    """The steps of a release of one site. Each returns whether it succeeded, or raises OSError or Failed."""

    @property
    def earlier(self) -> str:
        """The link to what was the previous release before the last switch."""
        return f"{self.facts.root}/earlier"

    # --- Steps

    def begin(self, release: str, then: str) -> bool:
        if self.next_serves() and not self.settle():
            return False
        self.reload_units()
        self.lead(self.next, f"releases/{release}")
        try:
            # Start all before waiting for any.
            for service in self.services_of(self.next):
                self.start_next(service)
            for service in self.services_of(self.next):
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
        try:
            return self.allow_scripts()
        except Failed as failure:
            self.explain(failure)
            self.discard(release, then)
            return False

    def switch(self, release: str) -> bool:
        before, target = self.system.readlink(self.current), f"releases/{release}"
        if not self.system.exists(f"{self.facts.root}/{target}"):
            raise Failed(f"{self.facts.root}/{target} does not exist; nothing was changed")
        previous = self.system.readlink(self.previous)
        # After an interrupted switch it has been changed already.
        if before not in ("", target, previous):
            self.lead_or_remove(self.earlier, previous)
        if before not in ("", target):
            self.lead(self.previous, before)
        self.lead(self.current, target)
        self.system.sync(self.facts.root)
        self.lead_to_next()
        return True

    def take_over(self) -> bool:
        """Restart the services with the current release while the next units serve. If they fail to start, roll back to
        the previous release."""
        for service in self.facts.services:
            if service.link:
                self.drain(service.listen)
        try:
            self.system.systemctl("daemon-reload")
            self.restart_services()
            # Older code may lack what a worker needs. It must not keep the site from going back.
            self.restart_workers(must_run=not self.is_rollback())
        except Failed as failure:
            self.explain(failure)
            # If the previous release fails to start too, the next units keep serving.
            if not self.system.exists(f"{self.previous}/backend") or self.roll_back():
                self.hand_back()
            return False
        # The services run with the new unit files, so their backups are obsolete.
        for name in self.all_names():
            self.forget(f"{self.facts.backups}/{self.unit(name)}")
        self.hand_back()
        return True

    def cover(self, name: str) -> bool:
        """Start the live release in the next units, as the last successful apply has written them, and point Nginx to
        it, before a service restarts.

        Does nothing for an unhealthy service: the restart may be what it needs.
        """
        service = self.service(name)
        # Check that it is active first: a request to its socket would start it.
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
        """Point Nginx back to a restarted service. If it is unhealthy, the next units keep serving."""
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
            # The switch may have been interrupted: visitors must not wait for services that may fail to start.
            self.lead_to_next()
            return self.take_over()
        own_run = all(self.system.is_active(self.unit(service.name)) for service in self.services_of(self.current))
        if self.next_run() and not own_run:
            try:
                self.restart_services()
            except Failed as failure:
                # Keep the next release, as nothing else serves visitors.
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

    def remember(self, release: str = "") -> bool:
        self.lead_or_remove(self.previous, f"releases/{release}" if release else "")
        return True

    def prune(self) -> bool:
        """Remove obsolete releases and unused environments."""
        releases, venvs = f"{self.facts.root}/releases", f"{self.facts.root}/venvs"
        for name in self.system.names(releases):
            if name.endswith(".new"):
                self.system.remove(f"{releases}/{name}")
        for release in self.obsolete_releases():
            self.remove_release(release)
        used = {self.system.readlink(f"{releases}/{name}/backend/.venv") for name in self.system.names(releases)}
        for name in self.system.names(venvs):
            if not any(target.endswith(f"/venvs/{name}") for target in used):
                # Remove the marker first: a partly removed environment must never be used.
                self.system.unlink(f"{venvs}/{name}/.complete")
                self.system.remove(f"{venvs}/{name}")
        # Nginx may allow the scripts of a removed release until it reloads.
        self.record_scripts()
        return True

    # --- Services

    def start_next(self, service: Service) -> None:
        unit, socket_unit = self.next_units(service)
        self.system.systemctl("reset-failed", unit, socket_unit)
        if not (self.system.systemctl("restart", socket_unit) and self.system.systemctl("restart", unit)):
            raise Failed("failed to start", unit)

    def restart_services(self) -> None:
        """Restart the services, which have no connections: Nginx uses the next release."""
        for service in self.services_of(self.current):
            self.restart(self.unit(service.name))
            self.wait_until_healthy(service, is_next=False)

    def restart_workers(self, must_run: bool) -> None:
        """Restart the workers that the release has, and stop others. If they need not run, only tell of those that
        fail."""
        workers = [self.unit(name) for name in self.facts.workers if self.has(self.current, name)]
        if newer := [self.unit(name) for name in self.facts.workers if self.unit(name) not in workers]:
            self.system.systemctl("stop", *newer)
            self.system.tell(f"stopped, as {self.system.readlink(self.current)} lacks it: {', '.join(newer)}")
        failures = {unit: "failed to start" for unit in workers if not self.has_restarted(unit)}
        if workers:
            self.system.sleep(self.facts.worker_seconds)
        for unit in workers:
            if self.system.properties(unit, "SubState", "NRestarts") != {"SubState": "running", "NRestarts": "0"}:
                failures.setdefault(unit, "exited unexpectedly")
        for unit, why in failures.items():
            if must_run:
                raise Failed(why, unit)
            self.explain(Failed(why, unit))

    def restart(self, unit: str) -> None:
        if not self.has_restarted(unit):
            raise Failed("failed to start", unit)

    def has_restarted(self, unit: str) -> bool:
        self.system.systemctl("reset-failed", unit)
        return self.system.systemctl("restart", unit)

    def roll_back(self) -> bool:
        """Activate the previous release, with its unit files. Returns whether its services have started."""
        target = self.system.readlink(self.previous)
        self.system.tell(f"rolling back to {target}")
        self.lead(self.current, target)
        # Not the release that has failed: a rollback would activate it.
        earlier = self.system.readlink(self.earlier)
        self.lead_or_remove(self.previous, earlier if self.system.exists(f"{self.facts.root}/{earlier}") else "")
        for name in self.all_names():
            self.restore(f"{self.facts.backups}/{self.unit(name)}")
        self.system.systemctl("daemon-reload")
        try:
            self.restart_services()
        except Failed as failure:
            self.explain(failure)
            return False
        # Visitors do not depend on workers.
        self.restart_workers(must_run=False)
        return True

    def lead_to_next(self) -> None:
        """Point Nginx to the next release, for services where it runs."""
        for service in self.facts.services:
            if service.link and self.next_runs(service):
                self.lead(service.link, service.next_socket)

    def hand_back(self) -> None:
        """Point Nginx to the services themselves, and stop the next release."""
        for service in self.facts.services:
            # A service that is new in this release has no socket yet, and Nginx does not use it.
            if service.link and self.system.is_socket(service.listen):
                self.lead(service.link, service.listen)
                self.drain(service.next_socket)
        self.stop_next()

    def stop_next(self) -> None:
        for service in self.facts.services:
            unit, socket_unit = self.next_units(service)
            self.system.systemctl("stop", socket_unit, unit)
            # A unit that had to be killed is not to be shown as failed.
            self.system.systemctl("reset-failed", unit)
        self.system.unlink(self.next)

    def drain(self, path: str) -> None:
        """Wait until a socket has no connections, up to drain_seconds. Nginx closes idle and old connections after some
        seconds."""
        end = self.system.now() + self.facts.drain_seconds
        while self.connections(path) and self.system.now() < end:
            self.system.sleep(self.facts.poll_seconds)

    def connections(self, path: str) -> int:
        """The number of connections of a socket. Fields: num, refcount, protocol, flags, type, state, inode, path."""
        lines = [line.split() for line in self.system.read("/proc/net/unix").splitlines()]
        return sum(len(fields) > 7 and (fields[5], fields[7]) == (CONNECTED, path) for fields in lines)

    # --- Releases

    def remove_release(self, release: str) -> None:
        """Remove a release, renaming it first: a partly removed one must not count as a release."""
        path = f"{self.facts.root}/releases/{release}"
        self.system.remove(f"{path}.new")
        if self.system.exists(path):
            self.system.rename(path, f"{path}.new")
            self.system.remove(f"{path}.new")


def lock(facts: Facts) -> None:
    """Lock the site against other steps, until this program and its child processes have exited."""
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
    "remember": Steps.remember,
    "prune": Steps.prune,
    "watch": Steps.watch,
}
# These change nothing that another step might be at.
WITHOUT_LOCK = {"watch"}


def main(site: str = "--help", step: str = "", *words: str) -> int:
    if site == "--help" or step not in STEPS:
        print(__doc__)
        return 0 if site == "--help" else 2
    # A step continues if its connection breaks. Ctrl-C ends it at once, as any other signal does.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The login's umask may be 077.
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
