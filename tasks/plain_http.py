"""Sites that visitors have reached by http alone. With no certificate but the placeholder, a redirect to https would
take them down: Nginx serves them by http until certbot has got one, and redirects from then on."""

from __future__ import annotations

from collections.abc import Collection

from pyinfra import host

from slipway.adoption.nginx_choice import answers_by_http
from slipway.engine.notes import note
from slipway.facts.base import Output
from slipway.facts.nginx import NginxInForce
from slipway.settings.model import Settings
from slipway.tasks.adoption import valid_certificate

# A comment in a site's file by which the next apply knows of it, if certbot fails in this one.
MARK = "Served by http too until there is a certificate: the site was before."


def is_plain(site: Settings) -> bool:
    """Whether a site is served by http now, by its owner's Nginx or by Slipway's, and has no certificate yet."""
    if site.is_behind or site.is_balancer:
        return False
    folder, file = site.tls_folder, f"/etc/nginx/sites-available/{site.site_name}"
    script = f"""\
[ "$(readlink {folder} || echo placeholder)" != placeholder ] || {{ echo none; grep -F '{MARK}' {file}; }}"""
    said = host.get_fact(Output, command=script)
    if not said or MARK in said:
        return bool(said)
    there = host.get_fact(NginxInForce)
    servers = there.answering(site) if there else []
    return any(answers_by_http(one, site.domains) for one in servers) and not valid_certificate(site)


def plain_sites(settings: Settings) -> list[str]:
    """The names of such sites."""
    return [site.site_name for site in settings.all_sites if is_plain(site)]


def tell(settings: Settings, plain: Collection[str]) -> None:
    """Note it of the sites of these names."""
    for site in settings.all_sites:
        if site.site_name in plain:
            note(
                f"{site.site_domain}: found it served by http, without a valid certificate; it stays so until certbot"
                " gets one, and http redirects to https from then on"
            )
