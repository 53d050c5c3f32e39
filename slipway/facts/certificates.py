"""The certificates on a host."""

from __future__ import annotations

import shlex

from cryptography import x509

from slipway.facts.base import Fact, key_values

# The options of certbot's renewal configuration that the fact returns.
RENEWAL = ("server", "authenticator", "pre_hook", "webroot_path", "renew_before_expiry", "preferred_profile")
# A lifetime below this is renewed at its half, a longer one when a third is left.
# https://letsencrypt.org/docs/integration-guide/#when-to-renew
SHORT_HOURS = 240


def renew_before(start: int, end: int) -> int:
    """How many hours before it expires a certificate is due for renewal; templates/tls/set-renewal-time has the same
    rule. `start` and `end` in seconds since the epoch, both inclusive (RFC 5280, 4.1.2.5)."""
    hours = (end - start + 1) // 3600
    return hours // (2 if hours < SHORT_HOURS else 3)


def is_overdue(start: int, end: int, now: float) -> bool:
    """Whether half of the renewal period has passed: the timer, which runs twice a day, has missed it."""
    return end - now < renew_before(start, end) * 3600 / 2


class Certificate(Fact[dict[str, str]]):
    """The certificate at `path`: names (space separated), start and end (seconds since the epoch); `{}` if there is no
    valid one. `lineage` names certbot's renewal configuration, whose options in RENEWAL are added."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str, lineage: str = "") -> str:
        # Parsed here: openssl on the host takes longer than all of a plan's systemd facts.
        files = [path, *([f"/etc/letsencrypt/renewal/{lineage}.conf"] if lineage else [])]
        lines = (
            f"-e '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' -e 's/^({'|'.join(RENEWAL)}) = /\\1=/p'"
        )
        return f"sed -nE {lines} {' '.join(map(shlex.quote, files))} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        try:
            certificate = x509.load_pem_x509_certificate("\n".join(output).encode())
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = x509.SubjectAlternativeName([])
        except ValueError:
            # A power cut can leave an empty file, which counts as no certificate.
            return {}
        found = {key: value for key, value in key_values(output).items() if key in RENEWAL}
        return {
            **found,
            "start": str(int(certificate.not_valid_before_utc.timestamp())),
            "end": str(int(certificate.not_valid_after_utc.timestamp())),
            "names": " ".join(names.get_values_for_type(x509.DNSName)),
        }
