"""What becomes of the sites that a host serves, and of their certificates: Nginx's files are put together as `apply`
would leave them, and read as those are that were found."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.inspection import nginx
from slipway.inspection.report import Certificate, Fate, Report, Site
from slipway.settings.model import Settings
from slipway.tasks import nginx as nginx_task
from slipway.tasks.tls import reason_to_issue

FOLDER = "/etc/nginx"


def tell(
    found: Report,
    settings: Settings,
    files: Mapping[str, str],
    others: list[str],
    copied: str,
    domains: list[str],
) -> None:
    """Set the fates. `others` are Nginx's files that serve the site's names, `copied` says whether they are kept, and
    `domains` what is wrong with the names."""
    after = files_after(files, settings, others)
    sites = nginx.sites_of(nginx.parse(after))
    kept = {(site.file, *site.names) for site in sites}
    clashes = _clashes([site for site in sites if site.file in after and site.file in files])
    own = [name for name in after if name not in files or after[name] != files[name]]
    for site in found.sites:
        site.fate = _site(site, found, settings, kept, clashes, own, copied, domains)
    for certificate in found.certificates:
        certificate.fate = _certificate(certificate, found, settings, others)


def files_after(files: Mapping[str, str], settings: Settings, others: list[str]) -> dict[str, str]:
    """Nginx's files as they are after an apply, by the names that they are included by."""
    configuration = nginx_task.configuration(settings, brotli=False)
    own = {f"{FOLDER}/{name}": text for name, text in configuration.items()}
    for name, target in nginx_task.links(settings).items():
        own[f"{FOLDER}/{name}"] = own[f"{FOLDER}/{target.removeprefix('../')}"]
    top = f"{FOLDER}/nginx.conf"
    rest = {name: text for name, text in files.items() if name not in others}
    return {top: own[top], **rest, **own}


def _clashes(sites: list[Site]) -> dict[str, list[str]]:
    """The addresses that more than one file has the default server of, by file."""
    by_address: dict[str, list[str]] = {}
    for site in sites:
        for address in site.default_of:
            by_address.setdefault(address, []).append(site.file)
    clashing: dict[str, list[str]] = {}
    for address, names in by_address.items():
        if len({*names}) > 1:
            for name in names:
                clashing.setdefault(name, []).append(address)
    return clashing


def _site(
    site: Site,
    found: Report,
    settings: Settings,
    kept: set[tuple[str, ...]],
    clashes: Mapping[str, list[str]],
    own: list[str],
    copied: str,
    domains: list[str],
) -> Fate:
    if site.server != "nginx":
        held = [problem for problem in found.refusals if problem.startswith("port ") and f"'{site.server}'" in problem]
        return Fate(verdict="refuse", reason="; ".join(held)) if held else Fate(verdict="keep")
    served = [name for name in site.names if name in settings.domains]
    if served and domains:
        return Fate(verdict="refuse", reason="; ".join(domains))
    if site.by_slipway:
        return Fate(verdict="keep", reason="Slipway's own")
    if (site.file, *site.names) in kept and site.file not in own:
        if site.file in clashes:
            places = ", ".join(clashes[site.file])
            reason = f"Nginx accepts no second default server for {places}: Slipway's is one; drop default_server there"
            return Fate(verdict="refuse", reason=reason)
        return Fate(verdict="keep")
    left = [name for name in site.names if name not in settings.domains]
    if served and not left:
        return Fate(verdict="replace", reason=f"{site.file} ends ({copied}); Slipway's own configuration serves them")
    names = ", ".join(left) or "it"
    also = f", and nothing serves {names} then" if site.names else ""
    return Fate(verdict="replace" if not site.names else "remove", reason=f"{site.file} ends ({copied}){also}")


def _certificate(certificate: Certificate, found: Report, settings: Settings, others: list[str]) -> Fate:
    live = f"/etc/letsencrypt/live/{settings.site_name}/"
    if certificate.path.startswith((live, f"{settings.tls_folder}/")):
        end = str(int(certificate.end.timestamp()))
        state = {"end": end, "names": " ".join(certificate.names), "server": certificate.acme_server}
        reason = reason_to_issue(state, settings, found.when.timestamp())
        if reason is None:
            return Fate(verdict="keep")
        return Fate(verdict="replace", reason=f"certbot gets another one: {reason}")
    serving = [site for site in found.sites if site.certificate == certificate.path and site.file in others]
    if not serving:
        return Fate(verdict="keep")
    if certificate.days_left >= 0 and matches(certificate.names, settings.site_domain):
        return Fate(verdict="replace", reason="served until certbot has got one for Slipway")
    shown = f"it is not for {settings.site_domain}" if certificate.days_left >= 0 else "it has ended"
    return Fate(verdict="replace", reason=f"{shown}: a placeholder is served until certbot has got one for Slipway")


def matches(names: list[str], domain: str) -> bool:
    """Whether a certificate for `names` is one for `domain`, RFC 6125 section 6.4.3."""
    wild = f"*.{domain.partition('.')[2]}"
    return domain in names or wild in names
