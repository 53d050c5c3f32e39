"""Existing certificates: those whose renewal would fail or stop Nginx, and those that Slipway replaces."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from cryptography import x509

from slipway.adoption import Obstacle
from slipway.settings.model import Settings

LETSENCRYPT = "/etc/letsencrypt"
STOPS_NGINX = re.compile(r"(stop|restart|kill)\W.*nginx|nginx\W.*(stop|restart|quit)|--standalone")
# Parts of a hook that do no more than to free port 80 for a challenge, or to let Nginx read a certificate.
ONLY_FOR_NGINX = re.compile(
    r"(\S*/)?systemctl( --?\S+)* (\w+ nginx(\.service)?|(start|stop) [\w.@-]+)"
    r"|(\S*/)?(service|invoke-rc\.d) (nginx \w+|\S+ (start|stop))"
    r"|(\S*/)?nginx -(t|s \w+)|/etc/init\.d/nginx \w+|(\S*/)?docker (start|stop) .*|(\S*/)?ufw .*|true|:|"
)
# certbot's authenticators that need no plugin, and those with a plugin that each supported system has as a package. The
# package for Apache depends on Apache, which would take Nginx's ports.
BUILT_IN = {"webroot", "standalone", "manual"}
PACKAGED = {"nginx"} | {
    f"dns-{provider}" for provider in ("cloudflare", "digitalocean", "google", "linode", "ovh", "rfc2136", "route53")
}
# A command that prints how certbot's certificates are renewed: "FILE:authenticator = nginx".
WAYS = f"grep -HE '^(authenticator|installer) = ' {LETSENCRYPT}/renewal/*.conf"
# Options of certbot's cli.ini that do not affect Slipway.
HARMLESS = {
    *(
        "preconfigured-renewal",
        "max-log-backups",
        "email",
        "rsa-key-size",
        "key-type",
        "elliptic-curve",
        "agree-tos",
        "text",
    ),
    "quiet",
}

# Other certbots, with environments of their own: they renew what is due in the same folder, as certbot.timer does.
OTHER_CERTBOTS = {"/snap/bin/certbot": "snap remove certbot", "/opt/certbot": "rm -r /opt/certbot"}
# One of pip's in the system's Python, whose modules come before those of the distribution's certbot.
BY_PIP = "/usr/local/bin/certbot"


@dataclass(frozen=True)
class Lineage:
    """A certificate of certbot's, by its certificate name."""

    name: str
    names: frozenset[str]
    renewal: Mapping[str, str]

    @property
    def stops_nginx(self) -> str:
        """How its renewal stops Nginx, "" if it does not."""
        for option in ("pre_hook", "post_hook", "renew_hook"):
            if STOPS_NGINX.search(self.renewal.get(option, "")):
                return f"{option} = {self.renewal[option]}"
        return "authenticator = standalone" if self.renewal.get("authenticator") == "standalone" else ""

    @property
    def other_hooks(self) -> list[str]:
        """Its hooks after a renewal that do something for others than Nginx."""
        hooks = {option: self.renewal.get(option, "") for option in ("post_hook", "renew_hook")}
        return [
            f"{option} = {command}"
            for option, command in hooks.items()
            if not all(ONLY_FOR_NGINX.fullmatch(part.strip()) for part in re.split(r"&&|\|\||;", command.strip("'\"")))
        ]

    @property
    def folder(self) -> str:
        return f"{LETSENCRYPT}/live/{self.name}"

    def __str__(self) -> str:
        return f"certificate {self.name}"


def lineages(earlier: Mapping[str, str]) -> list[Lineage]:
    """The lineages in facts.Earlier."""
    found = []
    for part in earlier.get("lineages", "").split("lineage ")[1:]:
        folder, _, pem = part.partition("\n")
        name = folder.rstrip("/").rpartition("/")[2]
        renewal = options(earlier.get(f"file {LETSENCRYPT}/renewal/{name}.conf", ""))
        found.append(Lineage(name, names_in(pem), renewal))
    return found


def names_in(pem: str) -> frozenset[str]:
    """The host names of a certificate; none if it can't be parsed."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def options(text: str) -> dict[str, str]:
    """The options of a certbot configuration file: "name = value"."""
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in lines}


def superseded(earlier: Mapping[str, str], settings: Settings) -> list[str]:
    """The lineages for the sites' domains only, which Slipway's own replace: their renewal is disabled."""
    own = {site.site_name: {*site.domains} for site in settings.all_sites}
    domains = {domain for names in own.values() for domain in names}
    return [
        one.name
        for one in lineages(earlier)
        if one.name not in own and one.names and one.names <= domains and one.renewal
    ]


def plugins(ways: str, replaced: Collection[str]) -> list[str]:
    """The packages of the plugins that renewals need, by the output of WAYS, without those of the certificates
    `replaced`."""
    found = set()
    for line in ways.splitlines():
        file, _, option = line.partition(":")
        name, way = file.rpartition("/")[2].removesuffix(".conf"), option.rpartition(" ")[2]
        if name not in replaced and way in PACKAGED:
            found.add(f"python3-certbot-{way}")
    return sorted(found)


def remarks(earlier: Mapping[str, str]) -> Iterator[str]:
    """What renews certificates, too, and does no harm."""
    for client in earlier.get("clients", "").split():
        if client in OTHER_CERTBOTS:
            yield f"{client}: another certbot, which is no longer needed ({OTHER_CERTBOTS[client]})"


def obstacles(earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    own = {site.site_name for site in settings.all_sites}
    domains = {domain for site in settings.all_sites for domain in site.domains}
    installed = {*earlier.get("plugins", "").split()}
    superseding = f"{LETSENCRYPT}/live/{settings.site_name}"
    for one in lineages(earlier):
        others = sorted(one.names - domains)
        way = one.renewal.get("authenticator", "webroot")
        # A DNS challenge, as wildcards need: its renewal does not depend on the web server.
        has_hook = way == "manual" and "manual_auth_hook" in one.renewal
        is_by_dns = way.startswith("dns-") or (has_hook and "dns" in one.renewal.get("pref_challs", ""))
        if one.names & domains and others and not is_by_dns:
            words = [f"--cert-name {shlex.quote(others[0])}", *(f"-d {shlex.quote(name)}" for name in others)]
            command = f"certbot certonly {' '.join(words)}"
            found = f"{', '.join(others)} in it besides the site's names"
            yield Obstacle(str(one), found, f"a separate certificate for them ({command})")
        elif one.names & domains and not others and one.name not in own and (users := _users(one, earlier)):
            found = f"{', '.join(users)} using it besides Nginx; it will not be renewed"
            yield Obstacle(str(one), found, f"them to use {superseding} after the adoption")
        elif one.name in own and others:
            found = f"a certificate of this name for {', '.join(others)}, which Slipway's would replace"
            yield Obstacle(str(one), found, "another site_name, or that certificate by another name", may_go=False)
        elif others and one.stops_nginx:
            command = f"certbot certonly --cert-name {one.name} --webroot -w FOLDER " + " ".join(
                f"-d {shlex.quote(name)}" for name in sorted(one.names)
            )
            yield Obstacle(
                str(one), f"{one.stops_nginx}, which stops Nginx at each renewal", f"another authenticator ({command})"
            )
        if one.names & domains and not others:
            for hook in one.other_hooks:
                # certbot drops the hooks of a certificate that it is asked for anew.
                found = "a hook of a certificate that certbot will get anew without it, or not renew"
                need = f"a script in {LETSENCRYPT}/renewal-hooks/deploy that does it for {superseding}"
                yield Obstacle(f"{one}: {hook}", found, need)
        plugin, is_installable = f"python3-certbot-{way}", way in BUILT_IN | PACKAGED
        if others and (is_by_dns or not one.names & domains) and not is_installable and plugin not in installed:
            found = f"authenticator = {way}, whose plugin the system's certbot lacks: the renewal would fail"
            by_package = f", or the package {plugin}" if is_by_dns else ""
            need = f"another authenticator (certbot certonly --cert-name {one.name} --webroot -w FOLDER){by_package}"
            yield Obstacle(f"{one}: {way}", found, need)
    for name, value in options(earlier.get(f"file {LETSENCRYPT}/cli.ini", "")).items():
        if name not in HARMLESS:
            yield Obstacle(
                f"{LETSENCRYPT}/cli.ini: {name}", f"{name} = {value}", "no such line: it affects every certificate"
            )
    for line in earlier.get("hooks", "").splitlines():
        file, _, command = line.partition(":")
        if STOPS_NGINX.search(command):
            found = f"{command.strip()!r}, which stops Nginx at each renewal"
            yield Obstacle(file, found, "a hook that reloads it, or none")
    for client in earlier.get("clients", "").splitlines():
        folder, _, name = client.rpartition("/")
        domain = name.removesuffix("_ecc")
        if client == BY_PIP:
            found = "a certbot of pip's, whose modules the system's certbot would load"
            yield Obstacle(client, found, "only the system's: pip uninstall certbot")
        elif client not in OTHER_CERTBOTS and domain in domains:
            if folder.endswith("/.acme.sh"):
                ecc = " --ecc" if name != domain else ""
                need = f"only certbot's: {folder}/acme.sh --home {folder} --remove -d {domain}{ecc}"
            else:
                need = f"only certbot's: remove {domain} from /etc/dehydrated/domains.txt"
            yield Obstacle(client, f"another ACME client's certificate for {domain}", need)


def _users(one: Lineage, earlier: Mapping[str, str]) -> list[str]:
    """The files and containers that refer to a certificate's folder."""
    lines = (line.rpartition(":") for line in earlier.get("used", "").splitlines())
    return [user for user, _, folder in lines if folder == one.folder]
