"""The Content-Security-Policy of each location of a site."""

from __future__ import annotations

from slipway.releases.pages import Policy
from slipway.settings.model import Settings
from slipway.settings.routes import place_of

# What FastAPI's docs pages load: fastapi/openapi/docs.py. Their inline script contains the site's title and paths.
DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net;"
    " style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com;"
    " font-src 'self' https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com"
    " https://cdn.redoc.ly; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'none'"
)
# Uploaded files may be displayed, but run no scripts.
SHARED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)


# The policies by their Nginx variables.
SPECIAL = {"$policy_of_documentation": DOCS, "$policy_of_what_stays": SHARED}


def policies(settings: Settings) -> dict[str, str]:
    """The variables of the special policies of a site's locations, by the key in Nginx's map of $uri."""
    documentation, what_stays = SPECIAL
    docs = [path for path in settings.nginx_docs_paths if place_of(path, settings.places)]
    # Swagger UI's redirect URL after an OAuth2 login.
    found = dict.fromkeys([*docs, *(f"{path}/oauth2-redirect" for path in docs)], documentation)
    return found | {f"~^{url}": what_stays for url in settings.shared_urls}


def runs_scripts(settings: Settings) -> bool:
    """Whether the policy allows inline scripts only by their hashes."""
    return settings.has_frontend and Policy(settings.nginx_csp).needs_hashes()


def variable_of(settings: Settings) -> str:
    """A site's name as part of an Nginx variable's name."""
    return settings.site_name.replace("-", "_")
