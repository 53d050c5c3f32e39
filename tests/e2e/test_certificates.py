"""Certificates: renewed in the sandbox, refused by the authority, and for other names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from slipway.lab import hosts
from support import typed
from support.lab_host import PROJECT, LabHost

OTHER_SETTINGS = {
    "site_aliases": '["www.codementee.test"]',
    "backend_listen": "127.0.0.1:8001",
    "backend_workers": "3",
    "backend_environment": '{"TOKEN_MINUTES": "30"}',
    "backend_secrets_delivery": "environment",
    "mongodb_database": "mentees",
    "mongodb_backend_user": "mentor",
    "mongodb_port": "27018",
    "mongodb_cache_gb": "0.5",
    "locale": "en_GB.UTF-8",
    "timezone": "Asia/Kolkata",
    "firewall_allow": '["8443/tcp"]',
    "nginx_max_body_mb": "3",
    "extra_packages": '["tree"]',
}


def serial_number(server: LabHost) -> str:
    with server.site().handshake() as connection:
        return str(connection.getpeercert()["serialNumber"])


def test_a_certificate_is_renewed_by_certbot_and_nginx_serves_the_new_one(server: LabHost, owned_domain: str) -> None:
    before = serial_number(server)
    server.ssh("systemctl cat certbot.service | grep -q 'certbot -q renew'")
    server.ssh("certbot -q renew --force-renewal --no-random-sleep-on-renew")
    assert serial_number(server) != before
    assert server.plan() == []


def test_the_site_stays_up_when_the_acme_server_refuses(server: LabHost, owned_domain: str) -> None:
    nowhere = "tls_acme_server=https://127.0.0.1:1/dir"
    done = server.slipway("apply", "lab", "--yes", "--data", nowhere)
    assert done.returncode == 1
    assert server.site().get("/").status_code == 200
    assert server.plan() == []


INVENTORY = """
from slipway.lab import record as _record

web = app = db = [(host.name, _record.pyinfra_data(host)) for host in _record.running() if host.name == {name!r}]
"""


@pytest.mark.thorough
def test_a_certificate_of_an_unknown_authority_is_reported_once_and_trusted_by_a_setting(
    server: LabHost, tmp_path: Path
) -> None:
    """As with a private authority, or Let's Encrypt's staging: the lab's own is known in the lab alone."""
    (tmp_path / "inventory.py").write_text(INVENTORY.format(name=server.name))
    for name in ("deploy.py", "group_data", "examples"):
        (tmp_path / name).symlink_to(PROJECT / name)

    def verified(*options: str) -> tuple[int, str]:
        done = typed.slipway("verify", "production", *options, cwd=tmp_path, env=server.env, limit=600)
        return done.returncode, done.stdout + done.stderr

    code, said = verified()
    assert code == 1
    assert said.count("is not trusted: ") == 1, said
    assert "set tls_authorities to a file with the root certificates" in said
    assert re.search(r"\d+ passed, \d+ skipped, \d+ deselected, 1 error", said), said
    shutil.copy(hosts.trusted_roots(server.lab), tmp_path / "roots.pem")
    code, said = verified("--data", "tls_authorities=roots.pem")
    assert code == 0, said


@pytest.mark.thorough
def test_a_server_converges_to_other_settings_and_back(server: LabHost, owned_domain: str) -> None:
    server.resolve("www.codementee.test")
    other = [part for item in OTHER_SETTINGS.items() for part in ("--data", "=".join(item))]
    server.apply(*other)
    assert server.plan(*other) == []
    verified = server.slipway("verify", "lab", *other)
    with server.site().handshake(name="www.codementee.test"):
        pass
    server.apply()
    assert verified.returncode == 0, verified.stdout
    assert server.plan() == []
