"""Time, locale and the journal."""

from __future__ import annotations

import re

from slipway.facts.sizes import JOURNAL_KEPT
from slipway.tasks.base import CLOCKS


def test_time_zone_and_locale_are_as_configured(server):
    assert server.host.check_output("readlink /etc/localtime") == f"/usr/share/zoneinfo/{server.settings.timezone}"
    assert server.host.file("/etc/default/locale").content_string == f"LANG={server.settings.locale}\n"


def test_the_journal_is_limited_in_size(server):
    shown = server.host.check_output("systemd-analyze cat-config systemd/journald.conf")
    limit = int(re.findall(r"^SystemMaxUse=(\d+)M$", shown, re.MULTILINE)[-1])
    # If it is not set, an adopted journal has more.
    is_kept = JOURNAL_KEPT in shown and "journal_max_mb" not in server.settings.model_fields_set
    assert limit == server.settings.journal_max_mb or (limit > server.settings.journal_max_mb and is_kept)


def test_the_clock_is_synchronized(server, own_kernel):
    active = server.host.run(f"systemctl is-active systemd-timesyncd {' '.join(CLOCKS)}").stdout.split()
    assert "active" in active
