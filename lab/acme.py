"""The lab's certificate authority: Pebble, Let's Encrypt's own test server, and a DNS server for the lab's hosts.

Both listen only on the lab's address. Every host trusts the small CA that signs Pebble's directory. The root of the
certificates that Pebble issues is another one, new at each start of Pebble: a host trusts that of the time it was made.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slipway.lab.instance import Instance, wait_until, write
from slipway.lab.network import Network

# Let's Encrypt's certificates are valid for 90 days, https://letsencrypt.org/docs/faq/
CERTIFICATE_SECONDS = 90 * 24 * 3600


def ca_file(lab: Instance) -> Path:
    """The CA that signs Pebble's own directory."""
    return lab.state / "acme" / "ca.pem"


def up(lab: Instance, net: Network) -> bool:
    """Start Pebble and its DNS server unless they run. Returns whether the DNS server is new, without names."""
    folder = lab.state / "acme"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "pebble.json").exists():
        _make_certificates(folder, [net.listen, net.gateway])
        write(folder / "pebble.json", json.dumps(pebble_config(folder, net), indent=2))
    starts_dns = not lab.processes("dns")
    if starts_dns:
        lab.start("dns", dns_command(net))
    if not lab.processes("pebble"):
        lab.start(
            "pebble",
            ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"{net.listen}:{net.port('dns')}"],
            # No random delays and no rejected nonces: the lab tests our renewal, not certbot's retries.
            env={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )
    wait_until("Start Pebble", lambda: _answers(lab, net), 60, lambda: lab.log_end("pebble"))
    return starts_dns


def pebble_config(folder: Path, net: Network) -> dict[str, object]:
    """Pebble's configuration file."""
    return {
        "pebble": {
            "listenAddress": f"{net.listen}:{net.port('acme')}",
            "managementListenAddress": f"{net.listen}:{net.port('acme-management')}",
            "certificate": str(folder / "directory.pem"),
            "privateKey": str(folder / "directory.key"),
            "httpPort": 80 + net.offset,
            "tlsPort": 443 + net.offset,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
            "certificateValidityPeriod": CERTIFICATE_SECONDS,
        }
    }


def dns_command(net: Network) -> list[str]:
    """Run pebble-challtestsrv as a DNS server; its challenge servers are disabled."""
    management, dns = (f"{net.listen}:{net.port(service)}" for service in ("dns-management", "dns"))
    return [
        *("pebble-challtestsrv", "-management", management, "-dns01", dns),
        *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "", "-defaultIPv6", ""),
    ]


def add_name(net: Network, name: str, address: str) -> None:
    """Make the lab's DNS server resolve `name` to `address` only."""
    # "add" alone would append to the existing records.
    remove_name(net, name)
    _tell_dns(net, "add-a", {"host": name, "addresses": [address]})


def remove_name(net: Network, name: str) -> None:
    """Remove `name` from the lab's DNS server."""
    _tell_dns(net, "clear-a", {"host": name})


def _tell_dns(net: Network, verb: str, what: dict[str, object]) -> None:
    import requests  # slow to load, and not needed by an inventory

    url = f"http://{net.listen}:{net.port('dns-management')}/{verb}"
    requests.post(url, json=what, timeout=5).raise_for_status()


def root_bundle(lab: Instance, net: Network) -> Path:
    """A file with the root of the certificates that Pebble currently issues, for clients of the lab's sites."""
    import requests

    url = f"https://{net.listen}:{net.port('acme-management')}/roots/0"
    answer = requests.get(url, verify=str(ca_file(lab)), timeout=5)
    answer.raise_for_status()
    bundle = lab.state / "acme" / "root.pem"
    write(bundle, answer.text)
    return bundle


def _answers(lab: Instance, net: Network) -> bool:
    import requests

    url = f"https://{net.listen}:{net.port('acme')}/dir"
    try:
        return requests.get(url, verify=str(ca_file(lab)), timeout=2).ok
    except requests.RequestException:
        return False


def _make_certificates(folder: Path, addresses: list[str]) -> None:
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
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)]
    certificate = (
        builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Slipway lab ACME")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
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
