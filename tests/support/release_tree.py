"""A site's folder, and what stands for a host around it: the steps of a release run in it by a shell."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Collection
from pathlib import Path

from slipway.ops.backup import KEPT
from slipway.settings.model import Settings
from slipway.settings.services import Service
from tasks.release import steps

Done = subprocess.CompletedProcess[str]
# A unit is active where it has a file in active/, which names the release that it has loaded, and does not start where
# it has one in broken/. With one in crashing/ it starts, and is started again.
SYSTEMCTL = """\
{cut}
echo "$*" >> {folder}/told
case $1 in
  is-active) shift 2; for unit; do [ ! -e {folder}/active/$unit ] || exit 0; done; exit 3 ;;
  start | restart)
    case $2 in *-next.service) release=next ;; *) release=current ;; esac
    release=$(readlink {folder}/site/$release); release=${release#releases/}
    /bin/rm -f {folder}/active/$2
    [ ! -e {folder}/broken/$2 ] && [ ! -e {folder}/broken/$release:$2 ] || exit 1
    echo $release > {folder}/active/$2 ;;
  stop) shift; for unit; do [ ! -e {folder}/active/$unit ] || /bin/rm {folder}/active/$unit; done ;;
  show)
    restarts=0
    for unit; do [ ! -e {folder}/crashing/$unit ] || restarts=3; done
    case $2 in --value) echo $restarts ;; *) printf 'SubState=running\\nNRestarts=%s\\n' $restarts ;; esac ;;
esac"""
# A socket answers what its unit's release has in says/RELEASE:UNIT or in says/UNIT, else that all is well.
CURL = """\
socket=
while [ $# -gt 1 ]; do [ "$1" != --unix-socket ] || socket=$2; shift; done
while read -r place unit; do case ${socket:-$1} in $place*) break ;; esac; done < {folder}/sockets
[ -e {folder}/active/$unit ] || exit 7
read -r release < {folder}/active/$unit
for answer in {folder}/says/$release:$unit {folder}/says/$unit; do [ ! -e $answer ] || exec cat $answer; done
printf '{"status":"ok"} 200'"""
# These change something: the step is killed, with all that it has started, as the CUTth of them begins.
CUT = """\
case $1 in show | is-active | reset-failed | daemon-reload) ;; *)
  read -r count < {folder}/count; count=$((count + 1)); echo $count > {folder}/count
  [ "$count" != "$CUT" ] || kill -KILL 0
esac"""
# Functions of the shell, each in a subshell: to start programs would take most of the time of a test.
PROGRAMS = {
    "systemctl": SYSTEMCTL,
    "curl": CURL,
    # Time passes by sleeping alone, a second each time.
    "sleep": "read -r now < {folder}/clock; echo $((now + 1)) > {folder}/clock",
    "date": "read -r now < {folder}/clock; echo $now",
    "journalctl": "echo its last words",
    "sync": ":",
    **{name: f'{{cut}}\nexec /bin/{name} "$@"' for name in ("ln", "mv", "rm")},
}


class Tree:
    """The folder of a site, and what stands for a host around it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings, self.root = folder, settings, folder / "site"
        for name in ("site/releases", "site/venvs", "active", "broken", "crashing", "says", "run", "kept"):
            (folder / name).mkdir(parents=True)
        for name, text in (("clock", "1000\n"), ("count", "0\n"), ("net-unix", ""), ("told", "")):
            (folder / name).write_text(text)
        programs = (f"{name}() (\n{program}\n)\n" for name, program in PROGRAMS.items())
        self._programs = "".join(programs).replace("{cut}", CUT).replace("{folder}", str(folder))
        sockets = []
        for service in settings.web_services:
            unit = settings.unit(service)
            own = f"http://{settings.listen(service)}" if settings.is_tcp(service) else self.here(self.own(service))
            sockets += [f"{own} {unit}.service\n", f"{self.here(self.next(service))} {unit}-next.service\n"]
        (folder / "sockets").write_text("".join(sockets))

    # Ask for health once, and not four times at once in five rounds: that takes most of the time of a test.
    asks_once = False

    @classmethod
    def serving(cls, folder: Path, settings: Settings, *releases: str) -> Tree:
        """One whose services run the first of the releases, and are asked for their health once."""
        tree = cls(folder, settings)
        tree.asks_once = True
        tree.add(*releases, environment="one")
        tree.serve(releases[0])
        return tree

    def own(self, service: Service) -> str:
        return self.settings.socket(service)

    def next(self, service: Service) -> str:
        return self.settings.socket(service, is_next=True)

    def here(self, path: str) -> str:
        """A path of a host in this folder."""
        return f"{self.folder}{path}" if path.startswith("/run/") else path

    def sh(self, script: str, *words: str, given: str = "", cut: int | None = None) -> Done:
        """Run a script that is meant for a host."""
        for there, here in (
            (self.settings.site_root, self.root),
            ("/run/", f"{self.folder}/run/"),
            (KEPT, self.folder / "kept"),
            ("/proc/net/unix", self.folder / "net-unix"),
        ):
            script = script.replace(there, str(here))
        if self.asks_once:
            script = script.replace("until [ $rounds = 5 ]", "until [ $rounds = 1 ]").replace("in 1 2 3 4;", "in 1;")
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "CUT": str(cut or "")}
        return subprocess.run(
            ["sh", "-c", f"{self._programs}{script}", "steps", *words],
            env=env,
            check=False,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def step(self, *words: str, parts: Collection[str] = ("frontend",), cut: int | None = None) -> Done:
        return self.sh(steps(self.settings, parts), *words, cut=cut)

    def add(self, *names: str, environment: str = "") -> None:
        """Releases; with an environment their backends have it."""
        for name in names:
            (self.root / "releases" / name / "frontend/build").mkdir(parents=True)
            if environment:
                (self.root / "venvs" / environment).mkdir(exist_ok=True)
                (self.root / "releases" / name / "backend").mkdir()
                (self.root / "releases" / name / "backend/.venv").symlink_to(self.root / "venvs" / environment)

    def lead(self, **links: str) -> None:
        for name, identifier in links.items():
            (self.root / name).symlink_to(f"releases/{identifier}")

    def serve(self, release: str) -> None:
        """Let all services run a release, and Nginx be led to them."""
        self.lead(current=release)
        for service in self.settings.all_services:
            (self.folder / f"active/{self.settings.unit(service)}.service").write_text(f"{release}\n")
        for service in self.settings.web_services:
            Path(self.here(self.own(service))).parent.mkdir(exist_ok=True)
            os.mknod(self.here(self.own(service)), stat.S_IFSOCK | 0o600)
            if not self.settings.is_tcp(service):
                Path(self.here(self.settings.listen(service))).symlink_to(self.here(self.own(service)))

    def says(self, answer: str, unit: str = "codementee-backend-next.service", release: str = "") -> None:
        """What a unit answers from now on, in one release or in all."""
        (self.folder / "says" / (f"{release}:{unit}" if release else unit)).write_text(answer)

    def links(self) -> dict[str, str]:
        return {path.name: str(path.readlink()) for path in self.root.iterdir() if path.is_symlink()}

    def there(self, folder: str = "releases") -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir())

    def active(self) -> dict[str, str]:
        """The release that each running unit has loaded."""
        return {path.name: path.read_text().strip() for path in (self.folder / "active").iterdir()}

    def served(self) -> dict[str, str]:
        """The release that visitors get from each service that answers requests, "" where none answers."""
        units = dict(line.split() for line in (self.folder / "sockets").read_text().splitlines())
        found = {}
        for service in self.settings.web_services:
            listen = self.settings.listen(service)
            place = f"http://{listen}" if self.settings.is_tcp(service) else str(Path(self.here(listen)).readlink())
            found[service.name] = self.active().get(units[place], "")
        return found

    def told(self) -> list[str]:
        """What systemd was told, without what only asks."""
        lines = (self.folder / "told").read_text().splitlines()
        return [line for line in lines if line.split()[0] in ("start", "stop", "restart", "daemon-reload")]
