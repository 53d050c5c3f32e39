"""Which Content-Security-Policy each place of a site has."""

from __future__ import annotations

from slipway.releases.pages import Policy
from slipway.settings.model import Settings
from slipway.settings.routes import place_of

# What FastAPI's pages load: fastapi/openapi/docs.py. The inline script has the site's own title and paths in it.
DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net;"
    " style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com;"
    " font-src 'self' https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com"
    " https://cdn.redoc.ly; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self';"
    " frame-ancestors 'none'"
)
# Files that visitors have brought may show themselves, and run nothing.
SHARED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'self'"
)


# Nginx's variables for them.
SPECIAL = {"$policy_of_documentation": DOCS, "$policy_of_what_stays": SHARED}


def policies(settings: Settings) -> dict[str, str]:
    """The variables of the policies of a site's places that have one of their own, by a key of Nginx's map of $uri."""
    documentation, what_stays = SPECIAL
    docs = [path for path in settings.nginx_docs_paths if place_of(path, settings.places)]
    # Where Swagger UI comes back to after a login elsewhere.
    found = dict.fromkeys([*docs, *(f"{path}/oauth2-redirect" for path in docs)], documentation)
    return found | {f"~^{url}": what_stays for url in settings.shared_urls}


def runs_scripts(settings: Settings) -> bool:
    """Whether the policy runs scripts that are in a page by their hashes alone."""
    return settings.has_frontend and Policy(settings.nginx_csp).needs_hashes()


def variable_of(settings: Settings) -> str:
    """A site's name in a variable of Nginx's."""
    return settings.site_name.replace("-", "_")
