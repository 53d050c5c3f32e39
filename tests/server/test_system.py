"""All servers, whatever their roles and components."""

from __future__ import annotations

import pytest

from slipway.engine.deployed import deployed, fixed
from slipway.facts.base import key_values
from slipway.systems import system_of

# Prints the units whose files, or whose timers' files, Slipway has written in whole or in part.
SLIPWAYS = r"""for unit in $(echo %s); do
  ! systemctl cat "$unit" "${unit%%.*}.timer" 2> /dev/null | grep -qi slipway || echo "$unit"
done"""


def test_it_runs_a_supported_system_under_systemd(server):
    lines = server.host.check_output("sed -n 's/\"//g; s/^ID=/os=/p; s/^VERSION_ID=/release=/p' /etc/os-release")
    assert system_of(key_values(lines.splitlines())) is not None
    assert server.host.file("/proc/1/comm").content_string == "systemd\n"


def test_no_unit_has_failed(server):
    lines = server.host.check_output("systemctl list-units --state=failed --plain --no-legend").splitlines()
    failed = {line.split()[0] for line in lines}
    # Those of packages and of the owner do not fail the test.
    ours = {*server.host.check_output(SLIPWAYS, " ".join(sorted(failed))).split()}
    ours |= {unit for unit in failed if unit.partition(".")[0] in declared(server)}
    assert failed & ours == set()
    if failed:
        pytest.skip(f"units that are not Slipway's have failed: {', '.join(sorted(failed))}")


def declared(server) -> set[str]:
    """The units of the server's components, without their suffixes: a timer's service is its own."""
    here = [one for one in (*fixed(), *deployed()) if one.is_on(server.groups, server.settings)]
    return {unit.partition(".")[0] for one in here for unit in one.listed(one.units, server.settings)}
