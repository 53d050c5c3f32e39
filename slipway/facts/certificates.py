"""The certificates on a host."""

from __future__ import annotations

import shlex

from cryptography import x509

from slipway.facts.base import Fact, key_values

# The lines of certbot's renewal configuration that are told.
RENEWAL = ("server", "authenticator", "pre_hook", "webroot_path")


class Certificate(Fact[dict[str, str]]):
    """The certificate at `path`: names (space separated), end (seconds since the epoch); `{}` where none is that can be
    read. `lineage` names certbot's renewal configuration, of which those of RENEWAL are given."""

    @staticmethod
    def default() -> dict[str, str]:
        return {}

    def command(self, path: str, lineage: str = "") -> str:
        # It is read here: openssl takes a host longer than all that a plan asks of systemd.
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
            # One that is empty, as a power cut may leave it, is none.
            return {}
        found = {key: value for key, value in key_values(output).items() if key in RENEWAL}
        end = str(int(certificate.not_valid_after_utc.timestamp()))
        return {**found, "end": end, "names": " ".join(names.get_values_for_type(x509.DNSName))}
