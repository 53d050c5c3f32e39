"""The checks of a release (program.py) before its activation: the health of its services, and its pages.

Installed on the host next to the program. Standard library only, Python 3.11 or later.
"""

from __future__ import annotations

import re

from slipway.releases.host import TOO_MANY, UNAVAILABLE, Answer, Failed, Service, Site, is_right

# Healthy answers required in a row: each worker of a service becomes healthy at its own time.
RIGHT_ANSWERS = 5
# The first requests are sent every poll_seconds, further ones less often.
QUICK_REQUESTS, CALM_SECONDS = 5, 1.0
# Characters of an unhealthy answer that are shown.
MAX_SHOWN = 200
NGINX = "nginx.service"


class Checks(Site):
    """Checks of the services and the pages of a site."""

    # --- Health

    def is_healthy(self, service: Service) -> bool:
        answer = self.system.answer(service, service.listen, self.facts.probe_seconds)
        return is_right(answer, service) or answer.status == TOO_MANY

    def wait_until_healthy(self, service: Service, is_next: bool) -> None:
        """Wait until a unit that was just started passes its health check several times in a row, one request at a
        time. Once it has passed, a rate limit (429) counts as healthy too."""
        unit = self.next_units(service)[0] if is_next else self.unit(service.name)
        listen = service.next_socket if is_next else service.listen
        end, right, asked = self.system.now() + service.health_seconds, 0, 0
        while right < RIGHT_ANSWERS:
            answer = self.system.answer(service, listen, self.facts.probe_seconds)
            asked += 1
            pause = self.facts.poll_seconds if asked < QUICK_REQUESTS else CALM_SECONDS
            if is_right(answer, service) or (right and answer.status == TOO_MANY):
                right += 1
            else:
                right = 0
                if self.system.properties(unit, "NRestarts").get("NRestarts") != "0":
                    raise Failed("exited unexpectedly", unit)
                left = end - self.system.now()
                if left <= 0:
                    raise Failed(unhealthy(answer, service), unit)
                if answer.status in (TOO_MANY, UNAVAILABLE):
                    pause = max(pause, min(answer.retry_after, left))
            self.system.sleep(pause)

    # --- Pages

    def build(self, release: str) -> str:
        return f"{self.facts.root}/releases/{release}/frontend/build"

    def script_file(self) -> str:
        """The file that templates/nginx/site includes."""
        return f"{self.facts.root}/csp.conf"

    def script_sources(self) -> str:
        builds = [self.build(release) for release in self.complete_releases() if self.facts.has_pages]
        return self.system.script_sources(builds, self.facts)

    def hints(self, release: str) -> bool:
        for hint in self.system.page_hints(self.build(release), self.facts):
            self.system.print(hint)
        return True

    def allow_scripts(self) -> bool:
        """Allow the inline scripts of all releases, also of those to roll back to, before the activation."""
        if not self.scripts_allowed():
            self.system.write(self.script_file(), self.script_sources())
            if self.system.is_active(NGINX) and not self.system.systemctl("reload", NGINX):
                raise Failed("failed to reload", NGINX)
        return True

    def scripts_allowed(self) -> bool:
        return self.system.read(self.script_file()) == self.script_sources()

    # --- Releases and errors

    def complete_releases(self) -> list[str]:
        """IDs of the releases, oldest first, without interrupted uploads (.new) and other entries (lost+found)."""
        releases = f"{self.facts.root}/releases"
        return [
            name
            for name in self.system.names(releases)
            if re.fullmatch(r"[A-Za-z0-9._-]+", name) and not name.endswith(".new")
            if any(self.system.exists(f"{releases}/{name}/{part}") for part in ("backend", "frontend"))
        ]

    def explain(self, failure: Failed) -> None:
        if failure.unit:
            self.system.tell(f"{self.system.log(failure.unit)}\n{failure.unit}: {failure}")
        else:
            self.system.tell(str(failure))


def unhealthy(answer: Answer, service: Service) -> str:
    """Why a service is unhealthy, and what to do."""
    shown = str(answer)[:MAX_SHOWN]
    why = f"not healthy after {service.health_seconds} s; {service.health_path} answered: {shown}"
    if answer.status == 404:
        return f'{why}; set {service.health_setting} to an existing path, or to "" to accept any answer below 500'
    if answer.status == TOO_MANY:
        return f"{why}; exempt {service.health_path} from its rate limit"
    if answer.status and not service.health_status:
        return why
    return f"{why}; on a slow host raise {service.seconds_setting}"
