"""The state of Debian packages."""

from __future__ import annotations

from slipway.facts.base import OfSubjects

# By dpkg's error flag, dpkg-query(1).
BROKEN_PACKAGES = "dpkg-query -W -f '${db:Status-Eflag}=${Package}\\n' | grep ^reinstreq="


class Packages(OfSubjects[dict[str, set[str]]]):
    """Which of `packages` are fully "installed", and which of all are "broken" (a power cut during unpacking): these
    must be reinstalled before apt installs anything else."""

    script = """\
for package do set -- "$@" -e "ok=installed=$package"; shift; done
dpkg-query -W -f '${db:Status-Eflag}=${db:Status-Status}=${Package}\\n' 2>/dev/null |
  grep -x -e 'reinstreq=.*' "$@" || true"""

    @staticmethod
    def default() -> dict[str, set[str]]:
        return {"installed": set(), "broken": set()}

    def command(self, packages: tuple[str, ...]) -> str:
        return self._about(*packages)

    def process(self, output: list[str]) -> dict[str, set[str]]:
        found = [line.split("=") for line in output]
        return {
            "installed": {name for flag, state, name in found if state == "installed"} & {*self._subjects},
            "broken": {name for flag, state, name in found if flag == "reinstreq"},
        }
