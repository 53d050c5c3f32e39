"""Certificates of each lifetime that Let's Encrypt has or has announced are renewed in time, neither early nor late.

The host's certbot runs under libfaketime, which moves its clock alone: the ACME server and Nginx keep theirs.
https://letsencrypt.org/2025/12/02/from-90-to-45
"""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.facts.certificates import renew_before
from support.lab_host import LabHost
from support.pebble import PORTS, authority, with_profiles

pytestmark = pytest.mark.thorough

HOUR = 3600
LIFETIMES = {"90 days": 90 * 24, "64 days": 64 * 24, "45 days": 45 * 24, "160 hours": 160}


def renew_after(server: LabHost, hours: float) -> None:
    """Run certbot.service's command at another time."""
    server.ssh(f"faketime -f +{int(hours * HOUR)}s certbot -q renew --no-random-sleep-on-renew")


def serial_number(server: LabHost) -> str:
    return server.ssh("openssl x509 -noout -serial -in /etc/nginx/tls/codementee/fullchain.pem")


def lifetime_hours(server: LabHost) -> int:
    text = "openssl x509 -noout -{}date -in /etc/nginx/tls/codementee/cert.pem | cut -d= -f2"
    start, end = (int(server.ssh(f'date -d "$({text.format(name)})" +%s')) for name in ("start", "end"))
    return (end - start + 1) // HOUR


@pytest.mark.parametrize("lifetime", LIFETIMES)
def test_a_certificate_is_renewed_when_its_own_lifetime_says_so(
    server: LabHost, owned_domain: str, lifetime: str, tmp_path: Path
) -> None:
    hours = LIFETIMES[lifetime]
    server.ssh("command -v faketime > /dev/null || { apt-get update -q && apt-get install -y -q faketime; }")
    with authority(server.lab, tmp_path, {"certificateValidityPeriod": hours * HOUR}) as url:
        settings = ("--data", f"tls_acme_server={url}")
        server.apply(*settings)
        assert lifetime_hours(server) == hours
        assert server.plan(*settings) == []
        # It is checked twice a day, by a timer with a delay of up to twelve hours.
        due = hours - renew_before(0, hours * HOUR - 1)
        first = serial_number(server)
        renew_after(server, due - 1)
        assert serial_number(server) == first
        renew_after(server, due + 1)
        second = serial_number(server)
        assert second != first
        # So is the new one.
        renew_after(server, due - 1)
        assert serial_number(server) == second
        assert server.plan(*settings) == []
    server.apply()


def test_a_shorter_lifetime_is_renewed_in_time_without_an_apply(
    server: LabHost, owned_domain: str, tmp_path: Path
) -> None:
    conf = "grep ^renew_before_expiry /etc/letsencrypt/renewal/codementee.conf"
    port = next(PORTS)
    with authority(server.lab, tmp_path, {"certificateValidityPeriod": 64 * 24 * HOUR}, port=port) as url:
        settings = ("--data", f"tls_acme_server={url}")
        server.apply(*settings)
        assert server.ssh(conf) == "renew_before_expiry = 512 hours"
    with authority(server.lab, tmp_path, {"certificateValidityPeriod": 45 * 24 * HOUR}, port=port):
        # The new server does not know the old one's account; a real authority would not forget it.
        server.ssh("rm -rf /etc/letsencrypt/accounts; sed -i '/^account = /d' /etc/letsencrypt/renewal/codementee.conf")
        server.ssh("certbot register --agree-tos --register-unsafely-without-email -n --server " + url)
        server.ssh("certbot -q renew --force-renewal --no-random-sleep-on-renew")
        assert server.ssh(conf) == "renew_before_expiry = 360 hours"
        assert server.plan(*settings) == []
    server.apply()


def test_a_profile_is_requested_at_each_renewal(server: LabHost, owned_domain: str, tmp_path: Path) -> None:
    program = with_profiles()
    if program is None:
        pytest.skip("no Go that builds a Pebble with profiles")
    profiles = {
        "classic": {"description": "90 days", "validityPeriod": 90 * 24 * HOUR},
        "shortlived": {"description": "160 hours", "validityPeriod": 160 * HOUR},
    }
    with authority(server.lab, tmp_path, {"profiles": profiles}, program) as url:
        settings = ("--data", f"tls_acme_server={url}")
        shortlived = (*settings, "--data", "tls_profile=shortlived")
        if server.record.system == "debian-12":
            refused = server.slipway("plan", "lab", *shortlived)
            assert refused.returncode == 1
            assert "tls_profile: found 'shortlived', which certbot 2.1 of Debian 12 can't request" in refused.stderr
            return
        refused = server.slipway("plan", "lab", *settings, "--data", "tls_profile=shortlifed")
        assert refused.returncode == 1
        assert "tls_profile: found 'shortlifed'; the ACME server" in refused.stderr
        server.apply(*shortlived)
        assert lifetime_hours(server) == LIFETIMES["160 hours"]
        first = serial_number(server)
        for _ in range(5):  # without a profile this server takes one at random
            server.ssh("certbot -q renew --force-renewal --no-random-sleep-on-renew")
            assert lifetime_hours(server) == LIFETIMES["160 hours"]
        assert serial_number(server) != first
        assert server.plan(*shortlived) == []
        server.apply(*settings, "--data", "tls_profile=classic")
        assert lifetime_hours(server) == LIFETIMES["90 days"]
    server.apply()


def test_an_issuance_that_fails_is_explained(server: LabHost, owned_domain: str, tmp_path: Path) -> None:
    """The authority can't reach port 80."""
    with authority(server.lab, tmp_path, {"httpPort": 81}) as url:
        done = server.slipway("apply", "lab", "--yes", "--data", f"tls_acme_server={url}")
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "the ACME server refused the certificate:" in said
    assert "codementee.test: connection: " in said
    assert "open port 80 to the Internet" in said
    assert f"A of codementee.test: {server.record.address}" in said
    assert f"port 80 of {server.record.address} from this machine: open" in said
    assert said.count("open port 80 to the Internet") == 1
    assert server.site().get("/").status_code == 200
    assert server.plan() == []
