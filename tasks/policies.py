"""Which Content-Security-Policy each place of a site has."""

from __future__ import annotations

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


def policies(settings: Settings) -> dict[str, str]:
    """The policies of a site's places that have one of their own, by a key of Nginx's map of $uri."""
    docs = [path for path in settings.nginx_docs_paths if place_of(path, settings.places)]
    found = {place: DOCS for path in docs for place in (path, f"{path}/oauth2-redirect")}
    return found | {f"~^{url}": SHARED for url in settings.shared_urls}


def variable_of(settings: Settings) -> str:
    """A site's name in a variable of Nginx's."""
    return settings.site_name.replace("-", "_")
