"""When certificates are renewed, and the error for a failed issuance."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from slipway.facts.certificates import Certificate, is_overdue, renew_before
from slipway.ops.templates import render
from slipway.tasks import tls
from slipway.tasks.tls_issue import explain
from support.described import described

HOUR, DAY = 3600, 86400
NOW = 1767225600
# Let's Encrypt's lifetimes, in hours, and how long before the end each is renewed.
LIFETIMES = {90 * 24: 720, 64 * 24: 512, 45 * 24: 360, 160: 80}
EXPLAINED = ["details: /var/log/letsencrypt/letsencrypt.log on the host"]


@pytest.mark.parametrize(("hours", "before"), LIFETIMES.items())
def test_a_certificate_is_renewed_by_its_own_lifetime_and_overdue_half_of_that_later(hours, before):
    start, end = NOW, NOW + hours * HOUR - 1
    assert renew_before(start, end) == before
    assert not is_overdue(start, end, end - before * HOUR / 2 - DAY / 2)
    assert is_overdue(start, end, end - before * HOUR / 2 + 1)


def write_certificate(file: Path, hours: int) -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    end = start + datetime.timedelta(hours=hours, seconds=-1)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, start, end).sign(key, hashes.SHA256())
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def set_renewal_time(folder: Path, lineage: str) -> None:
    """Run the hook in a folder that takes the place of /etc/letsencrypt."""
    script = render("tls/set-renewal-time", names=["codementee", "blog"]).replace("/etc/letsencrypt", str(folder))
    subprocess.run(
        ["sh", "-c", script], env={"RENEWED_LINEAGE": f"{folder}/live/{lineage}", "PATH": "/usr/bin:/bin"}, check=True
    )


@pytest.mark.parametrize(("hours", "before"), LIFETIMES.items())
def test_the_hook_sets_the_time_that_a_plan_expects(tmp_path, hours, before):
    (tmp_path / "live/blog").mkdir(parents=True)
    (tmp_path / "renewal").mkdir()
    write_certificate(tmp_path / "live/blog/cert.pem", hours)
    file = tmp_path / "renewal/blog.conf"
    file.write_text("# renew_before_expiry = 30 days\nversion = 2.1.0\n[renewalparams]\naccount = 1\n")
    file.chmod(0o640)
    set_renewal_time(tmp_path, "blog")
    lines = file.read_text().splitlines()
    assert lines[0] == f"renew_before_expiry = {before} hours"
    assert lines[1:] == ["# renew_before_expiry = 30 days", "version = 2.1.0", "[renewalparams]", "account = 1"]
    set_renewal_time(tmp_path, "blog")
    assert file.read_text().splitlines() == lines
    assert (file.stat().st_mode & 0o777, [*file.parent.iterdir()]) == (0o640, [file])


def test_the_hook_leaves_certificates_of_others_alone(tmp_path):
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal/theirs.conf").write_text("renew_before_expiry = 10 days\n")
    set_renewal_time(tmp_path, "theirs")
    assert (tmp_path / "renewal/theirs.conf").read_text() == "renew_before_expiry = 10 days\n"


REFUSED = """\
Saving debug log to /var/log/letsencrypt/letsencrypt.log
Requesting a certificate for codementee.io

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: codementee.io
  Type:   {kind}
  Detail: {detail}

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org."""


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("connection", "open port 80 to the Internet"),
        ("urn:ietf:params:acme:error:caa", "add the authority to the CAA record"),
        ("unauthorized", "another server has answered"),
        ("dns", "check the A and AAAA records"),
    ],
)
def test_a_refusal_is_reported_in_the_authoritys_words_with_what_was_looked_at(kind, hint):
    said = REFUSED.format(kind=kind, detail="198.51.100.7: no").splitlines()
    addresses = {"codementee.io": ["198.51.100.7", "2001:db8::7"]}
    lines = [*explain(said, addresses, {"198.51.100.7": "open", "2001:db8::7": "no connection (timed out)"})]
    assert lines[:2] == [
        "the ACME server refused the certificate:",
        f"  codementee.io: {kind.rpartition(':')[2]}: 198.51.100.7: no",
    ]
    assert hint in lines[2]
    assert lines[3:] == [
        "checks:",
        "  A of codementee.io: 198.51.100.7",
        "  AAAA of codementee.io: 2001:db8::7",
        "  port 80 of 198.51.100.7 from this machine: open",
        "  port 80 of 2001:db8::7 from this machine: no connection (timed out)",
        *EXPLAINED,
    ]


def test_a_rate_limit_is_reported_with_its_end_and_the_way_to_try_out():
    said = [
        "Saving debug log to /var/log/letsencrypt/letsencrypt.log",
        "An unexpected error occurred:",
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s,"
        " retry after 2026-01-02 03:04:05 UTC",
    ]
    lines = [*explain(said, {"codementee.io": []}, {})]
    assert lines[0] == "certbot got no certificate:"
    assert "retry after 2026-01-02" in lines[2]
    assert "letsencrypt-staging" in lines[3]
    assert lines[4:7] == ["checks:", "  A of codementee.io: none", "  AAAA of codementee.io: none"]
    # certbot would refuse that.
    assert not [line for line in explain(said, {}, {}, is_first=False) if "staging" in line]


@pytest.mark.parametrize(
    ("wanted", "found", "is_refused"),
    [
        ("letsencrypt-staging", "https://acme-v02.api.letsencrypt.org/directory", True),
        ("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory", False),
        ("letsencrypt-staging", "", False),
        ("letsencrypt", "https://acme-staging-v02.api.letsencrypt.org/directory", False),
    ],
)
def test_a_certificate_that_certbot_does_not_replace_with_a_test_one_is_refused(
    settings_with, wanted, found, is_refused
):
    settings = settings_with(tls_acme_server=wanted)
    with described(settings, ("web",)) as (_, host):
        host.answers[Certificate] = {"end": str(NOW), "server": found}
        problems = tls.problems(settings)
    assert [problem.startswith("tls_acme_server: found 'letsencrypt-staging'") for problem in problems] == [
        True
    ] * is_refused
    assert all('need tls_acme_server = "letsencrypt" (' in problem for problem in problems)


DIRECTORY = json.dumps({"newOrder": "https://x/order", "meta": {"profiles": {"classic": "90 days", "shortlived": "6"}}})


@pytest.mark.parametrize(
    ("release", "profile", "said"),
    [
        ("12", "", None),
        ("12", "shortlived", "which certbot 2.1 of Debian 12 can't request, need certbot 4.0"),
        ("13", "shortlived", None),
        ("13", "shortlifed", "has 'classic', 'shortlived', need one of them"),
    ],
)
def test_a_profile_that_nobody_could_ask_for_is_refused_by_a_plan(settings_with, release, profile, said):
    with described(settings_with(tls_profile=profile), ("web",), release=release) as (_, host):
        host.answers["download-file"] = DIRECTORY
        problems = tls.problems(settings_with(tls_profile=profile))
    if said is None:
        assert problems == []
    else:
        assert [said in problem and problem.startswith(f"tls_profile: found '{profile}'") for problem in problems] == [
            True
        ]


@pytest.mark.parametrize(
    ("accounts", "renewal", "option"),
    [
        ([], "", ""),
        (["one"], "account = one", ""),
        (["one", "two"], "", "--account two"),
        (["one", "two"], "account = one", "--account one"),
        (["one", "two"], "account = at-another-server", "--account two"),
    ],
)
def test_of_several_accounts_at_the_server_the_sites_is_used_or_the_newest(
    settings_with, tmp_path, accounts, renewal, option
):
    folder = tmp_path / "accounts/acme-v02.api.letsencrypt.org/directory"
    for number, name in enumerate(accounts):
        (folder / name).mkdir(parents=True)
        (folder / name / "regr.json").write_text("{}")
        os.utime(folder / name, (NOW + number, NOW + number))
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal/codementee.conf").write_text(f"[renewalparams]\n{renewal}\n")
    script = f"echo {tls.account(settings_with())}".replace("/etc/letsencrypt", str(tmp_path))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (option, "")
