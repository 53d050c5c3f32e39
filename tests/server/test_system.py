"""All servers, whatever their roles and components."""

from __future__ import annotations

import pytest

from slipway.facts.base import key_values
from slipway.systems import system_of

# Prints the units whose files neither a package nor Slipway has written.
OWN_UNITS = r"""for unit in $(echo %s); do
  file=$(systemctl show --property=FragmentPath --value "$unit")
  case $file in /etc/systemd/system/* | /run/systemd/transient/* | /usr/local/lib/systemd/*)
    grep -qi slipway "$file" || echo "$unit" ;;
  esac
done"""


def test_it_runs_a_supported_system_under_systemd(server):
    lines = server.host.check_output("sed -n 's/\"//g; s/^ID=/os=/p; s/^VERSION_ID=/release=/p' /etc/os-release")
    assert system_of(key_values(lines.splitlines())) is not None
    assert server.host.file("/proc/1/comm").content_string == "systemd\n"


def test_no_unit_has_failed(server):
    lines = server.host.check_output("systemctl list-units --state=failed --plain --no-legend").splitlines()
    failed = {line.split()[0] for line in lines}
    # The user's own units do not fail the test.
    theirs = set(server.host.check_output(OWN_UNITS, " ".join(sorted(failed))).split())
    assert failed - theirs == set()
    if theirs:
        pytest.skip(f"units that are not Slipway's have failed: {', '.join(sorted(theirs))}")
