"""Settings of certificates."""

from typing import Annotated

from slipway.settings.types import Check, Section, matching

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def is_acme_server(value: str) -> bool:
    return value in ACME_DIRECTORIES or value.startswith("https://")


class Tls(Section):
    """TLS"""

    tls_acme_server: Annotated[str, Check(is_acme_server, f"{', '.join(ACME_DIRECTORIES)}, or an https URL")] = (
        "letsencrypt"
    )
    """The ACME directory that issues the certificate. `"letsencrypt-staging"` is for trying out: its certificates are
    not trusted, and its rate limits are generous."""

    tls_profile: Annotated[str, matching(r"[\w-]*", 'the name of a profile, or "" for the server\'s own choice')] = ""
    """The profile of the ACME server's to ask for, at each renewal too; `""` leaves the choice to the server. Let's
    Encrypt has `"classic"`, `"tlsserver"` and `"shortlived"` (160 hours): https://letsencrypt.org/docs/profiles/. Needs
    certbot 4.0, which Debian 13 has."""

    tls_email: Annotated[str, matching(r"([^@\s]+@[^@\s]+\.[^@\s]+)?", 'an e-mail address, or "" for none')] = ""
    """E-mail address of the ACME account."""
