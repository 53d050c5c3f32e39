"""The certificate, by certbot over HTTP-01 through Nginx's webroot; renewal by timer.

It comes last: if the ACME server refuses, all else is done and the site keeps its previous certificate.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

from pyinfra import host
from pyinfra.api import FunctionCommand, operation

from slipway.adoption import setting
from slipway.adoption.certificates import WAYS, plugins, superseded
from slipway.engine.components import Drift, component, component_step
from slipway.engine.notes import note
from slipway.engine.ssh import peer_address
from slipway.facts.base import Output
from slipway.facts.certificates import Certificate, is_overdue, renew_before
from slipway.facts.machine import Machine
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import link, put
from slipway.ops.templates import render
from slipway.ops.units import restart, service
from slipway.settings.model import Settings
from slipway.settings.tls import ACME_DIRECTORIES
from slipway.systems import system_of
from slipway.tasks import balancing
from slipway.tasks.adoption_facts import earlier
from slipway.tasks.nginx import ACME_WEBROOT, redirect_to_https
from slipway.tasks.tls_issue import addresses_command, issue

PACKAGES = ["certbot"]
TIMER = "certbot.timer"
RENEWAL_TIME = "Set when the certificate is renewed"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/reload-nginx"
SET_TIME = "/etc/letsencrypt/renewal-hooks/deploy/set-renewal-time"
# The first certbot that supports profiles.
FIRST_WITH_PROFILES = (4, 0)
# RFC 1918, the addresses of a provider's NAT (RFC 6598), and RFC 4193.
PRIVATE = [*map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))]
# Writes a key and a certificate that expired yesterday, with certbot's own library.
EXPIRED = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, sys.argv[3])])
day = datetime.timedelta(1)
builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - 90 * day, now - day)
builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(sys.argv[3])]), critical=False)
pem = serialization.Encoding.PEM
with open(sys.argv[1], "wb") as file:
    plain = serialization.NoEncryption()
    file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
with open(sys.argv[2], "wb") as file:
    file.write(builder.sign(key, hashes.SHA256()).public_bytes(pem))
"""


def drifts(settings: Settings) -> dict[str, Drift]:
    live, name = f"/etc/letsencrypt/live/{settings.site_name}", settings.site_name
    issued = name_of_operation(settings)
    return {
        "an expired certificate": Drift(
            f"cd {live} && python3 -c '{EXPIRED}' $(realpath privkey.pem fullchain.pem) {settings.site_domain}"
            " && cp fullchain.pem $(realpath cert.pem) && systemctl reload nginx",
            issued,
        ),
        "a power cut emptied what certbot wrote": Drift(
            f"cd /etc/letsencrypt && truncate --size 0 archive/{name}/*.pem renewal/*.conf &&"
            " find accounts -name '*.json' -exec truncate --size 0 {} + ; ! systemctl reload nginx",
            issued,
        ),
        "the certificates gone": Drift("rm -rf /etc/letsencrypt/live", issued),
        "the renewal disabled": Drift(f"systemctl disable --now {TIMER}", "Enable the certificate renewal timer"),
        "renewal at another time": Drift(
            f"sed -i 's/^renew_before_expiry.*/renew_before_expiry = 1 day/' /etc/letsencrypt/renewal/{name}.conf"
        ),
        "the renewal hook not executable": Drift(f"chmod 644 {HOOK}", "Install the renewal hook"),
    }


def packages(settings: Settings) -> list[str]:
    """certbot, and the plugins by which it renews the certificates of other sites on the host."""
    if settings.is_further_site:
        return PACKAGES
    own = {site.site_name for site in settings.all_sites}
    replaced = own | {*superseded(earlier(settings), settings)}
    return [*PACKAGES, *plugins(host.get_fact(Output, command=WAYS), replaced)]


def domain_problems(settings: Settings) -> list[str]:
    """Names that do not resolve to this host with all their addresses: the issuance would fail, unless another server
    of the inventory may get the challenge and passes it on: another load balancer, or one with lb_direct."""
    passed_on = bool(balancing.direct(settings)) or len(settings.peers_with("lb")) > 1
    own = set(host.get_fact(Machine).get("addresses", "").split())
    # Behind a provider's NAT the public address is not on the host: it is the one of this connection.
    own |= {peer} if (peer := peer_address(host)) else set()
    here = " or ".join(sorted(own))
    problems = []
    for name, domain in domains_by_setting(settings):
        found = set(host.get_fact(Output, command=addresses_command(domain)).split())
        elsewhere = sorted(found - own)
        if not found:
            problems.append(f"{name}: found no address for {domain}, need {here} (set it in the DNS)")
        elif elsewhere and not passed_on and may_be_nat(elsewhere, own):
            public = ", ".join(elsewhere)
            note(f"{name}: found {domain} at {public}; this host has {here}, so {public} must be its NAT's address")
        elif elsewhere and not passed_on:
            problems.append(
                f"{name}: found {domain} at {', '.join(elsewhere)}, need this host's {here}"
                " (change the DNS, or the setting)"
            )
    return problems


def may_be_nat(found: Iterable[str], own: Iterable[str]) -> bool:
    """Whether these may be public addresses of a host that knows only private ones: behind a provider's NAT, and
    reached through a jump host or a VPN. An issuance shows whether they are."""
    private = {ip_address(one).version for one in own if is_private(one)}
    public = {ip_address(one).version for one in own if not is_private(one)}
    return all(ip_address(one).version in private - public and not is_private(one) for one in found)


def is_private(address: str) -> bool:
    return any(ip_address(address) in network for network in PRIVATE)


def problems(settings: Settings) -> list[str]:
    return [*domain_problems(settings), *profile_problems(settings), *staging_problems(settings)]


def staging_problems(settings: Settings) -> list[str]:
    """Certificates that certbot would not replace with one for tests, and their server."""
    problems = []
    for site in settings.all_sites if is_staging(settings.acme_directory) else []:
        name = site.site_name
        found = host.get_fact(Certificate, path=f"/etc/letsencrypt/live/{name}/fullchain.pem", lineage=name)
        server = found.get("server", "")
        if found.get("end") and server and not is_staging(server):
            known = next((its for its, url in ACME_DIRECTORIES.items() if url == server), server)
            problems.append(
                f"tls_acme_server: found {settings.tls_acme_server!r} and a certificate {name} of {server} on the host,"
                f" which certbot does not replace with a test certificate, need {setting('tls_acme_server', known)}"
                " (test on another host, or before the first certificate)"
            )
    return problems


def is_staging(server: str) -> bool:
    """Whether certbot takes an ACME server for one for tests."""
    return "staging" in server


def profile_problems(settings: Settings) -> list[str]:
    """A profile that certbot can't request, or that the ACME server does not offer."""
    profile = settings.tls_profile
    if not profile:
        return []
    machine: dict[str, str] = host.get_fact(Machine)
    system = system_of(machine)
    if system and tuple(map(int, system.certbot.split("."))) < FIRST_WITH_PROFILES:
        return [
            f"tls_profile: found {profile!r}, which certbot {system.certbot} of {system.title} can't request, need"
            ' certbot 4.0 (Debian 13), or tls_profile = ""'
        ]
    fetch = f"cd $(mktemp -d) && /usr/lib/apt/apt-helper download-file {settings.acme_directory} directory >&2"
    answer = host.get_fact(Output, command=f"{fetch} && cat directory; rm -r $PWD")
    try:
        known = sorted(json.loads(answer).get("meta", {}).get("profiles", {}))
    except ValueError:
        # No answer: an issuance, if one is due, will report it.
        return []
    there = ", ".join(map(repr, known)) or "none"
    if profile in known:
        return []
    return [f"tls_profile: found {profile!r}; the ACME server {settings.acme_directory} has {there}, need one of them"]


def domains_by_setting(settings: Settings) -> Iterator[tuple[str, str]]:
    for number, site in enumerate(settings.all_sites):
        at = f"sites[{number - 1}]: " if number else ""
        yield f"{at}site_domain", site.site_domain
        yield from ((f"{at}site_aliases", domain) for domain in site.site_aliases)
        yield from ((f"{at}services", service.host) for service in site.services if service.host)


def _renewal(settings: Settings) -> str:
    return f"/etc/letsencrypt/renewal/{settings.site_name}.conf"


@component_step(before="tls")
def hooks(settings: Settings) -> None:
    """certbot's deploy hooks, for the certificates of all sites."""
    if not settings.is_public:
        ensure(
            name="Disable the renewal of certificates that the load balancer has now",
            check=f"! ls {' '.join(_renewal(site) for site in settings.all_sites)} 2> /dev/null | grep -q .",
            command="; ".join(
                f"[ ! -e {_renewal(site)} ] || mv -fT {_renewal(site)} {_renewal(site)}.before-lb"
                for site in settings.all_sites
            ),
        )
        return
    put(
        name="Install the renewal hook",
        path=HOOK,
        content=render("tls/reload-nginx"),
        mode="755",
    )
    names = [site.site_name for site in settings.all_sites]
    put(
        name="Install the hook that sets the renewal time",
        path=SET_TIME,
        content=render("tls/set-renewal-time", names=names),
        mode="755",
    )


@component(
    roles=("lb", "web"),
    per_site=True,
    wanted=lambda settings: settings.is_public,
    needs=("nginx",),
    packages=packages,
    units=(TIMER,),
    preflight=problems,
    drifts=drifts,
)
def tls(settings: Settings) -> None:
    service(name="Enable the certificate renewal timer", unit=TIMER)
    renewed = certificate(name=name_of_operation(settings), settings=settings)
    renewal_time(name=RENEWAL_TIME, settings=settings)
    stop_renewals(
        name="Disable other renewals of the site's certificate", names=superseded(earlier(settings), settings)
    )
    served = link(
        name="Link the certificate",
        path=settings.tls_folder,
        target=f"/etc/letsencrypt/live/{settings.site_name}",
    )
    key = f"{settings.tls_folder}/privkey.pem"
    ensure(
        name="Protect the certificate's key",
        check=f'[ -z "$(find -L {key} \\( -not -user root -o -perm /077 \\) 2> /dev/null)" ]',
        command=f"key=$(realpath {key}); chown root:root $key; chmod 600 $key",
        note=f"{key}: readable only by root",
    )
    restart(
        name="Reload Nginx with the certificate",
        unit="nginx.service",
        reload=True,
        _if=lambda: renewed.did_change() or served.did_change(),
    )
    service(
        name="Start Nginx with the certificate",
        unit="nginx.service",
        files=[f"{settings.tls_folder}/fullchain.pem"],
        reloads=True,
    )


@component_step(after="tls")
def redirect(settings: Settings) -> None:
    """Lead visitors of sites that had no certificate before to https."""
    redirect_to_https(settings)


def name_of_operation(settings: Settings) -> str:
    return f"Get a certificate for {', '.join(settings.domains)}"


@operation()
def stop_renewals(names: Sequence[str]) -> Commands:
    """Disable the renewal of previous certificates that are only for this site: they are not served any more, and some
    renewals stop Nginx. Their files are kept."""
    files = [f"/etc/letsencrypt/renewal/{name}.conf" for name in names]
    if files:
        note("\n".join(f"{file} -> {file}.by-hand" for file in files))
        yield "; ".join(f"mv -fT {shlex.quote(file)} {shlex.quote(file)}.by-hand" for file in files)


def reason_to_issue(found: dict[str, str], settings: Settings, now: float) -> str | None:
    """Why a new certificate is needed instead of `found` (facts.Certificate), None if not. `now` in seconds."""
    if not found.get("end"):
        return "there is none"
    days = (int(found["end"]) - now) / 86400
    if days < 0:
        return f"it ended {-days:.0f} days ago"
    if is_overdue(int(found["start"]), int(found["end"]), now):
        return f"it ends in {days:.0f} days and the timer has not renewed it"
    if set(found.get("names", "").split()) != set(settings.domains):
        return f"it is for {found.get('names')}"
    if found.get("authenticator", "webroot") != "webroot" or "pre_hook" in found:
        how = f"pre_hook = {found['pre_hook']}" if "pre_hook" in found else found["authenticator"]
        return f"it is not renewed through Nginx's webroot: {how}"
    if ACME_WEBROOT not in found.get("webroot_path", ACME_WEBROOT):
        return f"it is renewed through {found['webroot_path']}, which Nginx does not serve"
    if found.get("server") != settings.acme_directory:
        return f"it is from {found.get('server') or 'an unknown server'}, tls_acme_server is {settings.acme_directory}"
    if (profile := found.get("preferred_profile", "")) != settings.tls_profile:
        return f"it has the profile {profile!r}, tls_profile is {settings.tls_profile!r}"
    return None


@operation()
def certificate(settings: Settings) -> Commands:
    """Make sure that certbot has a certificate for all domains, from this ACME server, that does not expire soon."""
    name = settings.site_name
    live = f"/etc/letsencrypt/live/{name}"
    found = host.get_fact(Certificate, path=f"{live}/fullchain.pem", lineage=name)
    reason = reason_to_issue(found, settings, time.time())
    if reason is None:
        return
    note(f"certificate: {reason}")
    if not found.get("end") or not found.get("server"):
        # With the rest of a broken lineage certbot would fail, or name the new one {name}-0001.
        yield f"rm -rf {live} /etc/letsencrypt/archive/{name} /etc/letsencrypt/renewal/{name}.conf"
    # Remove an account whose files a power cut has emptied: certbot would always fail, and creates a new one.
    yield "find /etc/letsencrypt/accounts -name '*.json' -empty -printf '%h\\0' | sort -zu | xargs -0r rm -rf"
    if found.get("preferred_profile") and not settings.tls_profile:
        # certbot keeps the option if it is no longer given.
        yield f"sed -i '/^preferred_profile *=/d' /etc/letsencrypt/renewal/{name}.conf"
    # certbot runs its hooks only at a renewal, not for a first certificate. It does not sync its files, and Nginx would
    # not start with empty ones after a power cut.
    certbot = f"{' '.join(certbot_command(settings))} {account(settings)}"
    command = f"umask 022; {certbot} && {_set_renewal_time(live)} && sync -f /etc/letsencrypt"
    # An adopted one is served from there, too; the placeholder has no names.
    served = host.get_fact(Certificate, path=f"{settings.tls_folder}/fullchain.pem")
    yield FunctionCommand(issue, (command, settings.domains, not served.get("names")), {})


@operation()
def renewal_time(settings: Settings) -> Commands:
    """Set the renewal time by the certificate's own lifetime."""
    name = settings.site_name
    live = f"/etc/letsencrypt/live/{name}"
    found = host.get_fact(Certificate, path=f"{live}/fullchain.pem", lineage=name)
    if reason_to_issue(found, settings, time.time()):
        return
    hours = renew_before(int(found["start"]), int(found["end"]))
    if found.get("renew_before_expiry") != f"{hours} hours":
        note(f"renew_before_expiry: {found.get('renew_before_expiry', 'the default')} -> {hours} hours")
        yield _set_renewal_time(live)


def _set_renewal_time(live: str) -> str:
    return f"RENEWED_LINEAGE={live} {SET_TIME}"


def certbot_command(settings: Settings) -> list[str]:
    """The certbot command that gets the certificate, whether or not there is one."""
    account = ["--email", settings.tls_email] if settings.tls_email else ["--register-unsafely-without-email"]
    return [
        # Another certbot may come first in PATH.
        *("/usr/bin/certbot", "certonly", "--non-interactive", "--agree-tos", *account),
        *("--server", settings.acme_directory, "--cert-name", settings.site_name),
        *("--webroot", "--webroot-path", ACME_WEBROOT, "--force-renewal", "--renew-with-new-domains"),
        # Preferred, not required: renewals must not fail if the server drops the profile.
        *(("--preferred-profile", settings.tls_profile) if settings.tls_profile else ()),
        *(argument for domain in settings.domains for argument in ("-d", domain)),
    ]


def account(settings: Settings) -> str:
    """A shell expression for certbot's option --account if there are several at the ACME server, among which it would
    let the user choose: the one of the site's certificate, or else the newest."""
    folder = f"/etc/letsencrypt/accounts/{settings.acme_directory.partition('://')[2]}"
    return (
        f"$(cd {folder} 2> /dev/null && [ $(ls | wc -l) -gt 1 ] &&"
        f" {{ sed -n 's/^account = //p' {_renewal(settings)} 2> /dev/null; ls -t; }} |"
        ' while read -r id; do if [ -s "$id/regr.json" ]; then echo "--account $id"; break; fi; done)'
    )
