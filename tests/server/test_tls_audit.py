"""testssl.sh's rating of the site's TLS, from outside: `slipway verify --audit`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.audit

# The protocols, ciphers, curves, certificate, headers and vulnerabilities. Not the client simulation, which is not
# rated, nor Ticketbleed and DROWN, which do not affect Nginx with OpenSSL 3.
CHECKS = ["-p", "-s", "-f", "-P", "-S", "-h", "-H", "-I", "-BB", "-R", "-C", "-B", "-Z", "-W", "-A", "-L", "-J"]
GRAVE = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")
# Findings that are accepted, by testssl.sh's id.
ACCEPTED = {
    # Mozilla's guideline leaves the choice to the client, which knows if it has AES in hardware: all ciphers are
    # strong, as cipherlist_* below must confirm. testssl.sh 3.2 agrees, Debian's 3.0 does not.
    "cipher_order": "the client chooses among ciphers that are all strong",
}
ACCEPTED_IN_THE_LAB = {
    "cert_revocation": "the lab's ACME server has no revocation list; Let's Encrypt has",
}
# Shorter sleeps while testssl.sh waits for an answer.
PATIENCE = {"USLEEP_SND": "0.05", "USLEEP_REC": "0.05", "HEADER_MAXSLEEP": "3"}


@pytest.fixture(scope="session")
def findings(server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """testssl.sh's findings by id: severity, finding."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    if not program:
        pytest.skip("testssl.sh is not installed on this machine: apt install testssl.sh")
    found = tmp_path_factory.mktemp("testssl") / "findings.json"
    where = ["--ip", server.address] if server.environment == "lab" else []
    where += ["--add-ca", server.site.authorities] if server.site.authorities else []
    name = f"{server.settings.site_domain}:{443 + server.site.port_offset}"
    command = [program, "--quiet", "--warnings", "off", "--color", "0", "--nodns", "none" if where else "min", *where]
    done = subprocess.run(
        [*command, *CHECKS, "--jsonfile", str(found), name],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | PATIENCE,
    )
    assert found.exists(), done.stdout + done.stderr
    return {item["id"]: item for item in json.loads(found.read_text())}


def test_testssl_finds_nothing_above_low(server, findings, figure):
    accepted = ACCEPTED | (ACCEPTED_IN_THE_LAB if server.environment == "lab" else {})
    grave = [
        f"{name} ({item['severity']}): {item['finding']}"
        for name, item in findings.items()
        if item["severity"] in GRAVE and name not in accepted
    ]
    figure("testssl.sh, findings above LOW", "; ".join(grave) or "none", "none", not grave)


def test_only_tls_1_2_and_1_3_are_offered(findings, figure):
    names = {"SSLv2": "SSL 2", "SSLv3": "SSL 3", "TLS1": "TLS 1.0", "TLS1_1": "TLS 1.1", "TLS1_2": "TLS 1.2"}
    names["TLS1_3"] = "TLS 1.3"
    offered = [name for key, name in names.items() if not findings[key]["finding"].startswith("not offered")]
    figure("testssl.sh, protocols", ", ".join(offered), "TLS 1.2, TLS 1.3", offered == ["TLS 1.2", "TLS 1.3"])


def test_all_ciphers_are_strong_with_forward_secrecy(findings):
    weak = [name for name in findings if name.startswith("cipherlist_") and name != "cipherlist_STRONG"]
    assert weak
    assert {findings[name]["finding"] for name in weak} == {"not offered"}
    assert findings["cipherlist_STRONG"]["finding"] == "offered"
    assert findings["PFS"]["severity"] == "OK"


def test_hsts_lasts_at_least_180_days(findings):
    assert findings["HSTS_time"]["severity"] == "OK"
