"""The servers' own certificate authority, and the certificates that it issues."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pyrage
import pytest
from click.testing import CliRunner, Result
from cryptography.x509 import load_pem_x509_certificate

from slipway.cli import secrets
from slipway.cli.secrets import Store
from slipway.secrets import env_file
from slipway.secrets.authority import Authority, create
from slipway.secrets.store import AUTHORITY, IDENTITY_VARIABLE, read_secrets

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ITS = {"name": "app1.invalid", "names": ["app1.invalid", "10.0.0.2", "web.slipway.internal"], "is_balancer": False}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.load(create(NOW))


def test_a_certificate_is_for_both_ends_of_a_connection_and_of_its_server_alone(authority, tmp_path):
    (tmp_path / "authority.pem").write_text(authority.pem)
    (tmp_path / "server.pem").write_text(authority.issue(**ITS, now=NOW))
    for purpose in ("sslserver", "sslclient"):
        for name in ("-verify_hostname", "web.slipway.internal"), ("-verify_ip", "10.0.0.2"):
            verify = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-purpose", purpose, *name]
            done = subprocess.run(
                [*verify, "-CAfile", "authority.pem", "server.pem"], cwd=tmp_path, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
    wrong = subprocess.run(
        [*verify, "-verify_hostname", "lb", "-CAfile", "authority.pem", "server.pem"], cwd=tmp_path, capture_output=True
    )
    assert wrong.returncode != 0


def test_the_load_balancers_certificate_is_told_from_that_of_another_server(authority):
    """Nginx shows a certificate's subject so."""
    subjects = [
        load_pem_x509_certificate(authority.issue(**{**ITS, "is_balancer": its}, now=NOW).encode()).subject
        for its in (True, False)
    ]
    assert [subject.rfc4514_string() for subject in subjects] == [
        "CN=app1.invalid,OU=lb,O=Slipway",
        "CN=app1.invalid,OU=server,O=Slipway",
    ]


@pytest.mark.parametrize(
    ("changes", "after", "reason"),
    [
        ({}, timedelta(0), ""),
        ({}, timedelta(days=480), ""),
        ({}, timedelta(days=490), "it ends on 2028-01-31"),
        ({}, timedelta(days=-2), "it is valid from 2026-01-31"),
        (
            {"names": ["app1.invalid", "10.0.0.9"]},
            timedelta(0),
            "it is for app1.invalid, web.slipway.internal, 10.0.0.2",
        ),
        ({"is_balancer": True}, timedelta(0), "it is for app1.invalid, web.slipway.internal, 10.0.0.2"),
    ],
)
def test_a_certificate_is_kept_unless_there_is_a_reason(authority, changes, after, reason):
    found = authority.issue(**ITS, now=NOW)
    assert authority.reason_to_issue(found, **{**ITS, **changes}, now=NOW + after) == reason


def test_that_of_another_authority_and_none_are_no_certificates(authority):
    found = Authority.load(create(NOW)).issue(**ITS, now=NOW)
    assert authority.reason_to_issue(found, **ITS, now=NOW) == "it is of another authority"
    assert authority.reason_to_issue("", **ITS, now=NOW) == "there is none"


def test_a_damaged_authority_is_told_without_its_values():
    first, second = create(NOW), create(NOW)
    key, certificate = AUTHORITY
    with pytest.raises(ValueError, match="is not of SERVERS_CA_CERTIFICATE"):
        Authority.load({key: first[key], certificate: second[certificate]})
    for broken in ("no base64", first[certificate][:-8]):
        with pytest.raises(ValueError, match="found a damaged SERVERS_CA_KEY") as told:
            Authority.load({**first, certificate: broken})
        assert broken not in str(told.value)


def test_the_authority_is_no_unknown_secret_and_none_that_is_missing(tmp_path):
    file = tmp_path / "secrets.env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in create(NOW).items()))
    assert read_secrets(str(file), ["JWT_SECRET"], ["JWT_SECRET"], "") == {}


def test_slipway_makes_it_once_and_it_is_no_value_to_rotate(tmp_path, monkeypatch):
    identity = pyrage.x25519.Identity.generate()
    monkeypatch.setenv(IDENTITY_VARIABLE, str(identity))
    store = Store(tmp_path / "production.age", "none", [str(identity.to_public())], ["ADMIN_PASSWORD"], [])
    store.write("ADMIN_PASSWORD=recognisable\n")
    monkeypatch.setattr(secrets, "store_of", lambda environment: store)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(secrets.secrets_group, [*arguments])

    first, second = run("ca"), run("ca")
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "are there already; nothing was changed" in second.output
    found = env_file.parse(store.read())
    assert found.pop("ADMIN_PASSWORD") == "recognisable"
    assert Authority.load(found).pem.startswith("-----BEGIN CERTIFICATE-----")
    assert not [value for value in found.values() if value in first.output]
    assert store.problems(store.read()) == []
    done = run("rotate", "production", AUTHORITY[0])
    assert (done.exit_code, "type `slipway secrets ca`" in done.output) == (1, True)
    assert found.items() <= env_file.parse(store.read()).items()
