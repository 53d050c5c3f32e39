"""Lynis's hardening index, by the system's package, which is only unpacked for the audit and removed after it."""

from __future__ import annotations

import pytest

from slipway.facts.base import key_values

# Lower in a container, which has its host's kernel parameters.
AIM, AIM_IN_A_CONTAINER = 88, 80
AUDIT = """
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get download -q lynis > /dev/null 2>&1; dpkg-deb -x lynis_*.deb .
cp etc/lynis/default.prf usr/share/lynis/; mkdir -p usr/share/lynis/plugins; chown -R root:root .; cd usr/share/lynis
../../sbin/lynis audit system --quick --no-colors --logfile "$folder/log" --report-file "$folder/report" \
  < /dev/null > /dev/null 2>&1 || true
cat "$folder/report"
"""


@pytest.mark.audit
def test_the_lynis_index_meets_its_target(server, figure):
    """No Lynis test is disabled: advice that Slipway does not follow costs points (docs/security.md)."""
    report = key_values(server.host.check_output(AUDIT).splitlines())
    in_a_container = server.host.run("systemd-detect-virt --container --quiet").rc == 0
    aim = AIM_IN_A_CONTAINER if in_a_container else AIM
    index = int(report["hardening_index"])
    where = ", in a container" if in_a_container else ""
    figure(f"Lynis {report['lynis_version']}, hardening index{where}", index, f"at least {aim}", index >= aim)
