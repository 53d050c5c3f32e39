"""The servers' own certificate authority: each server's certificate, by which it knows the others.

Its key and certificate are secrets in secrets_file, each as base64 of DER, in one line. A server's certificate is for
both ends of a connection (serverAuth, clientAuth). Organisation and unit are the same for all servers but the load
balancer, as the members of a replica set must share them.
https://www.mongodb.com/docs/v7.0/core/security-internal-authentication/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slipway.secrets.store import AUTHORITY

ORGANISATION = "Slipway"
# The unit of the load balancer's certificate, and of all others'.
BALANCER, SERVER = "lb", "server"
AUTHORITY_DAYS, SERVER_DAYS = 20 * 365, 2 * 365
# A certificate is renewed in the last third of its life.
RENEWED_IN_LAST = 1 / 3
# How far clocks may be apart.
CLOCKS = timedelta(hours=1)
# RFC 5280, ub-common-name.
MAX_NAME = 64
DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


def create(now: datetime) -> dict[str, str]:
    """The secrets of a new authority, by name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Slipway servers")
    built = _built(name, name, key, now, AUTHORITY_DAYS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=False, issues=True), critical=True)
    certificate = built.add_extension(_identifier(key), critical=False).sign(key, hashes.SHA256())
    encoding, plain = serialization.Encoding.DER, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    values = private, certificate.public_bytes(encoding)
    return {name: base64.b64encode(value).decode() for name, value in zip(AUTHORITY, values, strict=True)}


@dataclass(frozen=True)
class Authority:
    """The authority, which issues certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @staticmethod
    def load(secrets: Mapping[str, str]) -> Authority:
        """That of the two secrets. Raises ValueError with a line that says what is wrong, without a value."""
        try:
            private, public = (base64.b64decode(secrets[name], validate=True) for name in AUTHORITY)
            key = serialization.load_der_private_key(private, None)
            certificate = x509.load_der_x509_certificate(public)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
        except (ValueError, TypeError, AssertionError):
            raise ValueError(
                f"found a damaged {' or '.join(AUTHORITY)}, expected those of `slipway secrets ca`: remove both"
                " (slipway secrets edit), and type it again"
            ) from None
        if certificate.public_key() != key.public_key():
            raise ValueError(f"found {AUTHORITY[0]} that is not of {AUTHORITY[1]}, expected those of one authority")
        return Authority(key, certificate)

    @property
    def pem(self) -> str:
        """The certificate, by which a server verifies the others."""
        return _pem(self.certificate)

    def issue(self, name: str, names: Sequence[str], is_balancer: bool, now: datetime) -> str:
        """A new key of a server and its certificate, PEM in one text; `names` are host names and IPv4 addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name[:MAX_NAME], BALANCER if is_balancer else SERVER)
        built = _built(subject, self.certificate.subject, key, now, SERVER_DAYS)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        built = built.add_extension(_usage(signs=True, issues=False), critical=True)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        built = built.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        built = built.add_extension(x509.SubjectAlternativeName([*map(_general, names)]), critical=False)
        of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        built = built.add_extension(of_authority, critical=False).add_extension(_identifier(key), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return _pem(built.sign(self.key, hashes.SHA256())) + private

    def reason_to_issue(self, found: str, name: str, names: Sequence[str], is_balancer: bool, now: datetime) -> str:
        """Why a server needs another certificate than `found` (PEM), "" if it does not."""
        try:
            certificate = x509.load_pem_x509_certificate(found.encode())
            there = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            return "there is none"
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return "it is of another authority"
        known = [*there.get_values_for_type(x509.DNSName), *map(str, there.get_values_for_type(x509.IPAddress))]
        if {*known} != {*names} or certificate.subject != _name(name[:MAX_NAME], BALANCER if is_balancer else SERVER):
            return f"it is for {', '.join(known)}"
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now < begin:
            return f"it is valid from {begin:%Y-%m-%d}"
        if end - now < (end - begin) * RENEWED_IN_LAST:
            return f"it ends on {end:%Y-%m-%d}"
        return ""


def _built(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    now = now.astimezone(UTC)
    number, begin, end = x509.random_serial_number(), now - CLOCKS, now + timedelta(days=days)
    return x509.CertificateBuilder(issuer, subject, key.public_key(), number, begin, end)


def _name(name: str, unit: str = "") -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, ORGANISATION), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in [*parts, (NameOID.COMMON_NAME, name)] if text])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(signs: bool, issues: bool) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    no = dict.fromkeys((*others, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=signs, key_cert_sign=issues, crl_sign=issues, **no)


def _identifier(key: ec.EllipticCurvePrivateKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
