"""The state of systemd units."""

from __future__ import annotations

from slipway.facts.base import OfSubjects, key_values


class Unit(OfSubjects[dict[str, str]]):
    """A systemd unit by `systemctl show`: ActiveState, SubState, UnitFileState, NRestarts, NeedDaemonReload; and the
    start times, in seconds since the epoch, of its main process (Began) and of that one's newest child (ChildBegan): a
    reload keeps the main process and starts new workers."""

    # A process's start time is that of this shell, which has just started, less the difference of their start times in
    # proc(5), in hundredths of a second; `ps` would have to be started for each process.
    script = """\
wanted=Names,ActiveState,SubState,UnitFileState,NRestarts,NeedDaemonReload,MainPID
systemctl show --property=$wanted "$@" 2>/dev/null | {
  ticks() { ticks=; read -r stat < /proc/$1/stat && set -- ${stat##*) } && ticks=${20}; }
  began() { [ -z "$ticks" ] || echo "$1=$((now - (own - ticks) / 100))"; }
  now=$(date +%s); ticks self; own=$ticks
  while read -r line; do
    echo "$line"
    case $line in MainPID=[1-9]*)
      main=${line#*=}; ticks $main; began Began
      newest=; children=; read -r children < /proc/$main/task/$main/children
      for child in $children; do ticks $child; [ "${ticks:-0}" -le "${newest:-0}" ] || newest=$ticks; done
      ticks=$newest; began ChildBegan
    esac
  done
}"""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, unit: str) -> str:
        return self._about(unit)

    def process(self, output: list[str]) -> dict[str, str]:
        blocks = [key_values(block.split("\n")) for block in "\n".join(output).split("\n\n")]
        return next((block for block in blocks if self._subjects[0] in block.get("Names", "").split()), {})
