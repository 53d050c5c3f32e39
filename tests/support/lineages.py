"""certbot's lineages, as facts.Earlier has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def pem(*domains: str) -> str:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(datetime.now(UTC)).not_valid_after(datetime.now(UTC) + timedelta(1))
    )
    alternative = x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains])
    return builder.add_extension(alternative, critical=False).sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def lineage(name: str, *domains: str, renewal: str = "authenticator = nginx") -> dict[str, str]:
    return {
        "lineages": f"lineage /etc/letsencrypt/live/{name}/\n{pem(*domains)}",
        f"file /etc/letsencrypt/renewal/{name}.conf": f"[renewalparams]\n{renewal}\n",
    }
