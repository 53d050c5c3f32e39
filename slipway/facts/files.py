"""The files of a host: owners, modes and contents."""

from __future__ import annotations

import shlex

from slipway.facts.base import Fact, OfSubjects, T


class _Files(OfSubjects[T]):
    # stat prints a link as "link -> target".
    script = """\
QUOTING_STYLE=literal stat --printf '%F\\t%U\\t%G\\t%a\\t%N\\n' "$@" 2>/dev/null
for path do
  if [ -f "$path" ] && [ ! -L "$path" ]; then set -- "$@" "$path"; fi; shift
done
[ $# = 0 ] || sha256sum "$@" 2>/dev/null || true"""

    @staticmethod
    def _state(path: str, output: list[str]) -> dict[str, str]:
        state = {}
        for line in (line for line in output if path in line):
            kind, *fields = line.split("\t", 4)
            if not fields:
                digest, _, name = line.partition("  ")
                if name == path:
                    state["sha256"] = digest
                continue
            owner, group, mode, name = fields
            name, _, target = name.partition(" -> ") if kind == "symbolic link" else (name, "", "")
            if name == path:
                kind = kind.replace("regular empty file", "regular file")
                state |= {"kind": kind, "owner": owner, "group": group, "mode": mode}
                state |= {"target": target} if target else {}
        return state


class FileState(_Files[dict[str, str]]):
    """What is at `path`, without following a link: kind, owner, group, mode (octal), and the sha256 of a file or the
    target of a link; `{}` if nothing is there."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str) -> str:
        return self._about(path)

    def process(self, output: list[str]) -> dict[str, str]:
        return self._state(self._subjects[0], output)


class FileStates(_Files[dict[str, dict[str, str]]]):
    """FileState of each of `paths`, by path."""

    @staticmethod
    def default() -> dict[str, dict[str, str]]:
        return {}

    def command(self, paths: tuple[str, ...]) -> str:
        return self._about(*paths)

    def process(self, output: list[str]) -> dict[str, dict[str, str]]:
        return {path: self._state(path, output) for path in self._subjects}


class Modified(OfSubjects[int]):
    """The latest modification time of `paths`, in seconds since the epoch; 0 if none exists. For a link, both its own
    time and its target's count."""

    script = """stat -c '%Y %n' "$@" 2>/dev/null; stat -Lc '%Y %n' "$@" 2>/dev/null || true"""

    @staticmethod
    def default() -> int:
        return 0

    def command(self, paths: tuple[str, ...]) -> str:
        return self._about(*paths)

    def process(self, output: list[str]) -> int:
        times = (line.split(" ", 1) for line in output)
        return max((int(time) for time, path in times if path in self._subjects), default=0)


class FileText(Fact[str]):
    """The text of a file, "" if there is none. For diffs: never use it for a file that holds a secret."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "".join(f"{line}\n" for line in output)
