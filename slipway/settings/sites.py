"""What the sites of a host share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway.settings.backend import Backend
from slipway.settings.frontend import Frontend
from slipway.settings.mongodb import MongoDB
from slipway.settings.nginx import Nginx
from slipway.settings.releases import Releases
from slipway.settings.secrets import Secrets
from slipway.settings.services import Services
from slipway.settings.site import Site
from slipway.settings.types import Derived

SECTIONS = (Site, MongoDB, Backend, Secrets, Frontend, Services, Nginx, Releases)
# What a site of `sites` may set. All else is of the host.
OWN = {
    *(Site.model_fields.keys() - {"sites"}),
    *Backend.model_fields,
    *Frontend.model_fields,
    *Services.model_fields,
    *Releases.model_fields,
    *("backend_secrets", "generated_secrets", "secrets_file", "backend_secrets_delivery"),
    *("mongodb_database", "mongodb_backend_user"),
    *("nginx_csp", "nginx_login_path", "nginx_login_rate_per_minute"),
}
# What it does not have of the first site where it does not set it: these have their defaults then.
NOT_INHERITED = {"site_name", "site_domain", "site_aliases", "sites", "services", "mongodb_backend_user"} | {
    name
    for section in SECTIONS
    for name, field in section.model_fields.items()
    if name in OWN and isinstance(field.default_factory, Derived)
}


def of_another_site(first: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a site of `sites`: its own, those that follow from them, and else the first site's."""
    shared = {name: value for name, value in first.items() if name not in NOT_INHERITED}
    user = {"mongodb_backend_user": site["site_name"]} if "site_name" in site else {}
    return {**shared, **user, **site}
