"""The sizes of the swap file and of the journal."""

from __future__ import annotations

from slipway.facts.base import Fact, key_values

JOURNALD = "/etc/systemd/journald.conf.d/slipway.conf"
# By this comment a limit stays that is not the configured one.
JOURNAL_KEPT = "# The journal that was on the server needs more than the default."


class Sizes(Fact[dict[str, str]]):
    """In MiB: swap (/swapfile, if it is one); limit (the journal's, where Slipway has set a larger one than configured)
    or, before Slipway has set any, journal (its size). Each is missing where there is none."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self) -> str:
        return (
            "{ ! /sbin/swaplabel /swapfile > /dev/null || echo swap=$(($(stat -c %s /swapfile) / 1048576));"
            f" if [ -e {JOURNALD} ]; then ! grep -qx '{JOURNAL_KEPT}' {JOURNALD} ||"
            f" sed -n 's/^SystemMaxUse=\\([0-9]*\\)M$/limit=\\1/p' {JOURNALD};"
            ' else echo "journal=$(du -sm "/var/log/journal/$(cat /etc/machine-id)" | cut -f1)"; fi;'
            " } 2> /dev/null || true"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        return {name: value for name, value in key_values(output).items() if value}
