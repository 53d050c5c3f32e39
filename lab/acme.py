"""The lab's certificate authority: Pebble, Let's Encrypt's own test server, with a DNS that knows the lab's hosts.

Both listen on the bridge's address only. Pebble's directory has a certificate from a small CA of the lab's own, which
every host trusts; the root of the certificates that Pebble issues is another one, new at each start of Pebble.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.instance import Instance, wait_until, write

ACME_PORT, MANAGEMENT_PORT, DNS_PORT, DNS_MANAGEMENT_PORT = 14000, 15000, 8053, 8055
# Let's Encrypt's certificates last 90 days, https://letsencrypt.org/docs/faq/
CERTIFICATE_SECONDS = 90 * 24 * 3600


def directory_url(gateway: str) -> str:
    return f"https://{gateway}:{ACME_PORT}/dir"


def ca_file(lab: Instance) -> Path:
    """The CA that signs Pebble's own directory."""
    return lab.state / "acme" / "ca.pem"


def up(lab: Instance, gateway: str) -> None:
    """Start Pebble and its DNS where they are not running."""
    folder = lab.state / "acme"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "pebble.json").exists():
        _make_certificates(folder, gateway)
        write(folder / "pebble.json", json.dumps(pebble_config(folder, gateway), indent=2))
    if not lab.processes("dns"):
        lab.start("dns", dns_command(gateway))
    if not lab.processes("pebble"):
        lab.start(
            "pebble",
            ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"{gateway}:{DNS_PORT}"],
            # No random delays and no rejected nonces: the lab tests our renewal, not certbot's retries.
            env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )
    wait_until("Start Pebble", lambda: _answers(lab, gateway), 15, lambda: lab.log_end("pebble"))


def pebble_config(folder: Path, gateway: str) -> dict[str, object]:
    """Pebble's configuration file."""
    return {
        "pebble": {
            "listenAddress": f"{gateway}:{ACME_PORT}",
            "managementListenAddress": f"{gateway}:{MANAGEMENT_PORT}",
            "certificate": str(folder / "directory.pem"),
            "privateKey": str(folder / "directory.key"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": CERTIFICATE_SECONDS,
        }
    }


def dns_command(gateway: str) -> list[str]:
    """pebble-challtestsrv as a name server only: its challenge servers are off."""
    return [
        *("pebble-challtestsrv", "-management", f"{gateway}:{DNS_MANAGEMENT_PORT}", "-dns01", f"{gateway}:{DNS_PORT}"),
        *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "", "-defaultIPv6", ""),
    ]


def add_name(gateway: str, name: str, address: str) -> None:
    """Let the lab's DNS answer `address` for `name`, and nothing else."""
    # "add" would add one more answer to those that are there.
    remove_name(gateway, name)
    _tell_dns(gateway, "add-a", {"host": name, "addresses": [address]})


def remove_name(gateway: str, name: str) -> None:
    """Let the lab's DNS know nothing of `name`."""
    _tell_dns(gateway, "clear-a", {"host": name})


def _tell_dns(gateway: str, verb: str, what: dict[str, object]) -> None:
    requests.post(f"http://{gateway}:{DNS_MANAGEMENT_PORT}/{verb}", json=what, timeout=5).raise_for_status()


def root_bundle(lab: Instance, gateway: str) -> Path:
    """A file with the root of the certificates that Pebble issues now: what a client of the lab's sites must trust."""
    answer = requests.get(f"https://{gateway}:{MANAGEMENT_PORT}/roots/0", verify=str(ca_file(lab)), timeout=5)
    answer.raise_for_status()
    bundle = lab.state / "acme" / "root.pem"
    write(bundle, answer.text)
    return bundle


def _answers(lab: Instance, gateway: str) -> bool:
    try:
        return requests.get(directory_url(gateway), verify=str(ca_file(lab)), timeout=2).ok
    except requests.RequestException:
        return False


def _make_certificates(folder: Path, gateway: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    years = now + datetime.timedelta(days=3650)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Slipway lab")])
    builder = x509.CertificateBuilder().issuer_name(ca_name).not_valid_before(now).not_valid_after(years)
    ca = (
        builder.subject_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    certificate = (
        builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gateway)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(gateway))]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "directory.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "directory.key").touch(mode=0o600)
    (folder / "directory.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
