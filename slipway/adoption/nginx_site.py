"""What a site's existing server blocks do that Slipway's would not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from slipway.adoption import Obstacle, setting
from slipway.adoption.nginx_config import Directive, Server, megabytes, seconds
from slipway.settings.model import Settings

# Directives that Slipway's site replaces, wherever they are.
COVERED = re.compile(
    r"listen|server_name|ssl_\w+|http2|include|root|index|try_files|gzip\w*|brotli\w*|access_log|error_log|log_not_found"
    r"|server_tokens|charset|sendfile|tcp_nopush|tcp_nodelay|keepalive_\w+|client_(header|body)_\w+|send_timeout|etag"
    r"|expires|default_type|error_page|internal|proxy_(pass|http_version|set_header|redirect|buffer\w*|cache_bypass)"
    r"|proxy_(connect|send)_timeout|proxy_busy_buffers_size|upstream|resolver\w*|recursive_error_pages|open_file_cache\w*"
    r"|chunked_transfer_encoding|allow|autoindex|absolute_redirect|port_in_redirect|large_client_header_buffers"
)
# Headers that Slipway sends, and those about caching.
HEADERS = {
    *("strict-transport-security", "x-frame-options", "x-content-type-options", "x-xss-protection", "referrer-policy"),
    *("permissions-policy", "cache-control", "expires", "pragma", "vary", "x-powered-by"),
}
# Paths of static files.
STATIC = re.compile(r"/|/index\.html|/(favicon\.ico|robots\.txt|manifest\.json|sitemap\.xml|assets/|static/)")
PATTERN = re.compile(r".*\\\.\(?(\?:)?[a-z0-9|?]*(js|css|png|jpe?g|svg|ico|woff2?|gif)", re.IGNORECASE)
# Hidden files, such as ".env".
HIDDEN = re.compile(r"\^?\(?\\?/\(?\\\.")
ACME = "/.well-known/"
REDIRECT = re.compile(r"(301|302|307|308) https://\S+")


def site_obstacles(server: Server, settings: Settings) -> Iterator[Obstacle]:
    yield from _within(server.directives, server, "", settings)


def _within(directives: Sequence[Directive], server: Server, place: str, settings: Settings) -> Iterator[Obstacle]:
    for one in directives:
        if one.name == "location":
            yield from _location(one, server, settings)
        elif one.name == "if":
            # certbot's redirect of http to https.
            if not all(inner.name in ("return", "set", "rewrite") for inner in one.block or ()):
                yield _cannot(one)
        elif one.name == "return":
            if not REDIRECT.match(" ".join(one.arguments)) and one.arguments[:1] not in (("404",), ("444",), ("403",)):
                yield _cannot(one)
        else:
            yield from _directive(one, place, settings)


def _directive(one: Directive, place: str, settings: Settings) -> Iterator[Obstacle]:
    if one.name == "client_max_body_size":
        if megabytes(one.arguments[0]) > settings.nginx_max_body_mb:
            yield Obstacle(_name(one), str(one), setting("nginx_max_body_mb", megabytes(one.arguments[0])))
    elif one.name == "proxy_read_timeout":
        if seconds(one.arguments[0]) > settings.nginx_backend_timeout:
            yield Obstacle(_name(one), str(one), setting("nginx_backend_timeout", seconds(one.arguments[0])))
    elif one.name == "add_header":
        header = one.arguments[0].lower()
        if header == "content-security-policy" and one.arguments[1] != settings.nginx_csp:
            yield Obstacle(_name(one), str(one), setting("nginx_csp", one.arguments[1]))
        elif header not in HEADERS and header != "content-security-policy":
            yield Obstacle(_name(one), str(one), "this header from the backend")
    elif one.name == "deny":
        if place not in ("hidden", "static"):
            yield _cannot(one)
    elif not COVERED.fullmatch(one.name) or (one.name == "proxy_pass" and place in ("static", "acme")):
        yield _cannot(one)


def _location(one: Directive, server: Server, settings: Settings) -> Iterator[Obstacle]:
    path = one.arguments[-1] if one.arguments else ""
    kind = one.arguments[0] if len(one.arguments) > 1 else ""
    is_pattern = kind.startswith("~")
    if path.startswith("@"):
        place = "named"
    elif is_pattern and HIDDEN.match(path):
        place = "hidden"
    elif path.startswith(ACME):
        place = "acme"
    elif not is_pattern and _is_answered(path, settings):
        place = "backend"
    elif (is_pattern and PATTERN.match(path)) or (not is_pattern and _is_static(path, settings)):
        place = "static"
    else:
        yield Obstacle(f"{one.at}: location {path}", "a path that Slipway does not serve", _where(one))
        return
    yield from _within(one.block or (), server, place, settings)


def _is_answered(path: str, settings: Settings) -> bool:
    """Whether a service of the site, or a shared folder, is served at a path."""
    places = [one for one in settings.places if one.answers(path) or one.answers(f"{path.rstrip('/')}/")]
    return bool(places) or any(f"{path.rstrip('/')}/".startswith(url) for url in settings.shared_urls)


def _where(one: Directive) -> str:
    passes = any(inner.name in ("proxy_pass", "fastcgi_pass", "uwsgi_pass") for inner in one.block or ())
    return "it in backend_paths or services" if passes else "its files in the frontend, or its folder in shared_urls"


def _is_static(path: str, settings: Settings) -> bool:
    assets = settings.frontend_assets
    return bool(STATIC.fullmatch(path)) or bool(assets and f"{path.rstrip('/')}/".startswith(assets))


def _cannot(one: Directive) -> Obstacle:
    return Obstacle(_name(one), str(one), "a site without it: Slipway does not support it")


def _name(one: Directive) -> str:
    return f"{one.at}: {one.name}"
