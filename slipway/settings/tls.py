"""Settings of certificates."""

from typing import Annotated

from pydantic import AfterValidator

from slipway.project import path
from slipway.settings.types import Check, OnThisMachine, Section, Words, matching

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def is_acme_server(value: str) -> bool:
    return value in ACME_DIRECTORIES or value.startswith("https://")


def _roots(value: str) -> str:
    if value:
        from cryptography.x509 import load_pem_x509_certificates  # few set it, and it takes long to import

        try:
            load_pem_x509_certificates(path(value).read_bytes())
        except (OSError, ValueError):
            raise ValueError("a file with certificates of authorities (PEM), relative to the project") from None
    return value


class Tls(Section):
    """TLS"""

    tls_acme_server: Annotated[str, Check(is_acme_server, f"{', '.join(ACME_DIRECTORIES)}, or an https URL")] = (
        "letsencrypt"
    )
    """The ACME directory that issues the certificate. `"letsencrypt-staging"` is for trying out: its certificates are
    not trusted, and its rate limits are generous."""

    tls_authorities: Annotated[
        str, AfterValidator(_roots), OnThisMachine(), Words("a file on your machine, relative to the project")
    ] = ""
    """The root certificates of a certificate authority that your machine does not trust, for `slipway verify`: of your
    own one, or of `"letsencrypt-staging"` (https://letsencrypt.org/docs/staging-environment/)."""

    tls_profile: Annotated[str, matching(r"[\w-]*", 'the name of a profile, or "" for the server\'s own choice')] = ""
    """The profile of the ACME server's to ask for, at each renewal too; `""` leaves the choice to the server. Let's
    Encrypt has `"classic"`, `"tlsserver"` and `"shortlived"` (160 hours): https://letsencrypt.org/docs/profiles/. Needs
    certbot 4.0, which Debian 13 has."""

    tls_email: Annotated[str, matching(r"([^@\s]+@[^@\s]+\.[^@\s]+)?", 'an e-mail address, or "" for none')] = ""
    """E-mail address of the ACME account."""
