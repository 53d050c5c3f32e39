"""Web servers, their sites and certificates."""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from slipway.inspection import nginx
from slipway.inspection.questions import parts
from slipway.inspection.report import Certificate, Site, WebServer
from slipway.tasks.adoption import OURS

TITLES = {"nginx": "Nginx", "apache2": "Apache", "caddy": "Caddy", "traefik": "Traefik", "haproxy": "HAProxy"}


def web_servers(text: str) -> list[WebServer]:
    """The web servers, from the lines before Nginx's files."""
    found = {}
    active = next((line.split()[1:] for line in text.split("\n") if line.startswith("active ")), [])
    is_active = dict(zip(TITLES, (word == "active" for word in active), strict=False))
    for line in text.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "version":
            name, _, version = rest.partition(" ")
            found[name] = WebServer(name=TITLES[name], version=version, active=is_active.get(name, False))
    return [*found.values()]


def nginx_files(text: str) -> dict[str, str]:
    """Nginx's files by name; `{}` if there are none."""
    configuration, _, _ = text.partition("# certificates:\n")
    _, mark, rest = configuration.partition("# configuration file ")
    return nginx.files_of(mark + rest)


def sites(text: str) -> list[Site]:
    files = nginx_files(text)
    own = nginx.sites_of(nginx.parse(files))
    for site in own:
        site.by_slipway = OURS in files[site.file]
        real = re.search(r"^# leads to (.+)$", files[site.file], re.MULTILINE)
        site.real_file = real[1] if real else ""
    return [*own, *_apache(text.partition("# certificates:\n")[0])]


def unreadable(text: str) -> list[str]:
    """Files that could not be read."""
    return re.findall(r"^# unreadable (.+):$", text, re.MULTILINE)


def _apache(text: str) -> list[Site]:
    found: dict[str, Site] = {}
    for file, keyword, value in re.findall(r"^apache (\S+) (\w+) (.*)$", text, re.MULTILINE):
        site = found.setdefault(file, Site(server="apache2", names=[], listen=[], file=file))
        if keyword.lower() in ("servername", "serveralias"):
            site.names = list(dict.fromkeys([*site.names, *value.split()]))
        elif keyword.lower() == "documentroot":
            site.root = value.strip("\"'")
    return [*found.values()]


def certificates(text: str, renewals: str, now: datetime) -> list[Certificate]:
    """The certificates of the answer "web", with their renewals from the answer "renewal"."""
    _, _, text = text.partition("# certificates:\n")
    found: dict[str, Certificate] = {}
    for block in re.split(r"^# certificate ", text, flags=re.MULTILINE)[1:]:
        path, _, rest = block.partition(":\n")
        real = rest.partition("# real ")[2].partition("\n")[0]
        # certbot's links point to archive/NAME/fullchain7.pem.
        if one := _certificate(path, rest, now):
            one.renewal = renewal(path, real, renewals)
            one.acme_server = _lineage(path, real, parts(renewals)).get("server", "")
            found.setdefault(real, one)
    return [*found.values()]


def _certificate(path: str, text: str, now: datetime) -> Certificate | None:
    pem = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)
    try:
        certificate = x509.load_pem_x509_certificate(pem[0].encode() if pem else b"")
    except ValueError:
        return None
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternative.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = _named(certificate.subject, NameOID.COMMON_NAME)
    end = certificate.not_valid_after_utc
    issuer = certificate.issuer
    said = _named(issuer, NameOID.ORGANIZATION_NAME) + _named(issuer, NameOID.COMMON_NAME)
    return Certificate(
        path=path,
        issuer=" ".join(said) or issuer.rfc4514_string(),
        names=names,
        end=end,
        days_left=(end - now).days,
        self_signed=issuer == certificate.subject,
    )


def _named(name: x509.Name, kind: x509.ObjectIdentifier) -> list[str]:
    return [str(one.value) for one in name.get_attributes_for_oid(kind)]


def renewal(path: str, real: str, text: str) -> str:
    """A description of what renews a certificate; "" if nothing was found."""
    found = parts(text)
    if lines := _lineage(path, real, found):
        by = next((name for name in ("snap", "certbot") if name in found.get("programs", [])), "")
        timer, snap_timer = (*(" ".join(found.get("timers", [])).split()), "", "")[:2]
        runs = "active" in (timer, snap_timer)
        said = [f"certbot{' (snap)' if by == 'snap' else ''}, {lines.get('authenticator', '?')}"]
        said += [f"installer {lines['installer']}"] if lines.get("installer", "None") != "None" else []
        said += [f"its own {name}" for name in lines if name.endswith("_hook")]
        hooks = [line.rpartition("/renewal-hooks/")[2] for line in found.get("hooks", [])]
        said += [f"hooks {', '.join(hooks)}"] if hooks else []
        return ", ".join([*said, *([] if by and runs else ["no timer runs it"])])
    for line in found.get("acme.sh", []):
        if line.partition("=")[2].strip("'\"") in (path, real):
            return "acme.sh"
    homes = [line.split(" ", 1)[1] for line in found.get("programs", []) if line.startswith("acme.sh ")]
    if any(path.startswith(f"{home}/.acme.sh/") for home in homes):
        return "acme.sh"
    return ""


def _lineage(path: str, real: str, found: dict[str, list[str]]) -> dict[str, str]:
    """certbot's renewal configuration of a certificate; `{}` if it is not certbot's."""
    lineage = re.match(r"/etc/letsencrypt/(?:live|archive)/([^/]+)/", path if "/live/" in path else real)
    lines = found.get(f"lineage {lineage[1]}", []) if lineage else []
    return dict(line.split(" = ", 1) for line in lines if " = " in line)
