"""The paths of a site's parts, and the expected policies, from its settings and releases."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slipway.releases.pages import with_scripts
from slipway.settings.model import Settings
from slipway.settings.routes import REST
from slipway.tasks.policies import SPECIAL, policies, runs_scripts


def needs_frontend(server: Any) -> None:
    if not server.settings.has_frontend:
        pytest.skip("this site has no frontend")


def public_path(settings: Settings, asked: str) -> str:
    """The public path of the backend's path `asked`, "" if it has none."""
    for place in settings.places:
        passed = place.target or place.prefix
        is_exact = place.location.startswith("= ")
        if place.service == "backend" and (asked == passed if is_exact else asked.startswith(passed)):
            return place.prefix + asked.removeprefix(passed)
    return ""


def unknown_path(settings: Settings) -> str:
    """A public path that goes to the backend, and that the backend does not know."""
    below = [place for place in settings.places if place.service == "backend" and not place.location.startswith("= ")]
    return f"{below[0].prefix}slipway-verify-nothing" if below else ""


def is_single_page(settings: Settings) -> bool:
    """Whether a path without a file gets the single page."""
    return settings.has_frontend and REST not in settings.locations


def policy_at(server: Any, uri: str) -> str:
    """The Content-Security-Policy of a file or a path, with the hashes of the scripts in a page."""
    settings = server.settings
    if settings.is_balancer and runs_scripts(settings):
        pytest.skip("the pages are on the application servers, where this is tested")
    if special := policies(settings).get(uri):
        return SPECIAL[special]
    if runs_scripts(settings):
        allowed = server.host.run(f"cat {settings.site_root}/csp.conf").stdout
        if found := re.findall(rf'^"[0-9]?{re.escape(uri.lower())}" "(.+)";$', allowed, re.MULTILINE):
            return with_scripts(settings.nginx_csp, "".join(found))
    return str(settings.nginx_csp)
