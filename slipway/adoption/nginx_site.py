"""What a site's existing server blocks do that Slipway's would not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from slipway.adoption import Obstacle, setting
from slipway.adoption.nginx_config import KEPT_IN_HTTP, Directive, Server, all_of, megabytes, seconds
from slipway.adoption.nginx_policy import CONNECTIONS, TLS, needs_larger_buffers, serves_compressed_only
from slipway.adoption.nginx_requests import (
    is_sent,
    is_tls,
    is_usual,
    leads_to_itself,
    missing_path,
    other_form,
    refuses,
    rewritten,
    without_refusals,
)
from slipway.settings.doc import literal
from slipway.settings.model import Settings

# Directives that Slipway's site replaces, wherever they are. `allow` does nothing without a `deny`.
COVERED = re.compile(
    rf"{TLS}|{CONNECTIONS}|listen|server_name|http2|include|root|index|try_files|access_log|error_log|log_not_found"
    r"|charset|client_body_\w+|etag|expires|default_type|error_page|internal|upstream|resolver\w*|recursive_error_pages"
    r"|proxy_(pass|http_version|redirect|buffer\w*|cache_bypass|connect_timeout|send_timeout|busy_buffers_size"
    r"|ssl_server_name|temp_file_write_size|max_temp_file_size)"
    r"|open_file_cache\w*|chunked_transfer_encoding|allow|autoindex|absolute_redirect|port_in_redirect"
)
# What Nginx does anyway.
DEFAULTS = {"proxy_next_upstream error timeout", "proxy_pass_request_headers on", "proxy_pass_request_body on"}
# Headers that Slipway sends, and those about caching.
HEADERS = {
    *("strict-transport-security", "x-frame-options", "x-content-type-options", "x-xss-protection", "referrer-policy"),
    *("permissions-policy", "cache-control", "expires", "pragma", "vary", "x-powered-by"),
}
# Paths of static files.
STATIC = re.compile(r"/|/index\.html|/(favicon\.ico|robots\.txt|manifest\.json|sitemap\.xml|assets/|static/)")
PATTERN = re.compile(r".*\\\.\(?(\?:)?[a-z0-9|?]*(js|css|png|jpe?g|svg|ico|woff2?|gif)", re.IGNORECASE)
# Hidden files, such as ".env": "/\.", "(?:^|/)\.".
HIDDEN = re.compile(r"\^?\(?(\\?/|(\?:)?\^\|\\?/\))\(?\\\.")
ACME = "/.well-known/"


def site_obstacles(server: Server, beside: Sequence[Server], settings: Settings) -> Iterator[Obstacle]:
    """`beside` are all servers of the site."""
    directives = server.directives
    leads_on = any(leads_to_itself(one, settings.domains) for one in all_of(directives))
    if not is_tls(server) and (leads_on or any(is_tls(one) for one in beside)):
        passes = any(one.name.endswith("_pass") for one in all_of(directives))
        directives = directives if passes else without_refusals(directives)
    yield from _within(directives, server, "", settings)


def _within(directives: Sequence[Directive], server: Server, place: str, settings: Settings) -> Iterator[Obstacle]:
    for one in directives:
        if one.name == "location":
            yield from _location(one, server, settings)
        elif not _is_usual(one, place, settings):
            yield from directive_obstacles(one, place, settings)


def _is_usual(one: Directive, place: str, settings: Settings) -> bool:
    """Whether a directive that may lead requests elsewhere, or refuse them, does nothing that Slipway's site does not
    do, or need not do."""
    if one.name == "if":
        return is_usual(one, settings.domains)
    if one.name in ("return", "rewrite"):
        return leads_to_itself(one, settings.domains) or (place == "hidden" and refuses(one))
    return one.name == "deny" and place == "hidden"


def directive_obstacles(one: Directive, place: str, settings: Settings) -> Iterator[Obstacle]:
    """What a directive of the site's does and Slipway's server blocks would not."""
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
    elif one.name == "proxy_set_header":
        if not is_sent(one):
            yield Obstacle(_name(one), str(one), "a backend that does without this header: Slipway does not send it")
    elif name := other_form(one, settings.domains):
        yield Obstacle(_name(one), str(one), f"{literal(name)} in site_aliases")
    elif needs_larger_buffers(one):
        yield Obstacle(_name(one), str(one), f"it in {KEPT_IN_HTTP}")
    elif not is_covered(one, place):
        yield _cannot(one)


def is_covered(one: Directive, place: str) -> bool:
    if one.name == "proxy_pass" and place in ("static", "acme"):
        return False
    if one.name == "proxy_hide_header":
        return one.arguments[0].lower() in HEADERS
    return str(one) in DEFAULTS or (COVERED.fullmatch(one.name) is not None and not serves_compressed_only(one))


def _location(one: Directive, server: Server, settings: Settings) -> Iterator[Obstacle]:
    path = one.arguments[-1] if one.arguments else ""
    kind = one.arguments[0] if len(one.arguments) > 1 else ""
    is_pattern = kind.startswith("~")
    directives = one.block or ()
    if path.startswith("@"):
        place = "backend" if all(is_answered(user, settings) for user in users_of(path, server)) else "static"
    elif is_pattern and HIDDEN.match(path):
        place = "hidden"
    elif f"{path}/".startswith(ACME):
        place = "acme"
    elif {*server.names} & {service.host for service in settings.services if service.host}:
        place = "backend"
    elif not is_pattern and is_answered(path, settings):
        place = "backend"
        directives = tuple(inner for inner in directives if not (inner.name == "rewrite" and rewritten(inner, path)))
        if missing := missing_path(one, kind == "=", settings):
            passing, need = missing
            yield Obstacle(_name(passing), str(passing), need) if need else _cannot(passing)
    elif not is_pattern and _is_shared(path, settings):
        place = "shared"
        directives = tuple(inner for inner in directives if inner.name != "alias")
    elif (is_pattern and PATTERN.match(path)) or (not is_pattern and _is_static(path, server, settings)):
        place = "static"
        built = f"{settings.site_root}/frontend/build{path}".rstrip("/")
        for inner in directives:
            if inner.name == "alias" and inner.arguments[0].rstrip("/") != built:
                yield Obstacle(_name(inner), str(inner), _where(one))
        directives = tuple(inner for inner in directives if inner.name != "alias")
        if path == "/favicon.ico":
            directives = tuple(inner for inner in directives if str(inner) not in ("return 204", "return 404"))
    else:
        yield Obstacle(f"{one.at}: location {path}", "a path that Slipway does not serve", _where(one))
        return
    yield from _within(directives, server, place, settings)


def is_answered(path: str, settings: Settings) -> bool:
    """Whether a service of the site is served at a path."""
    return any(one.answers(path) or one.answers(f"{path.rstrip('/')}/") for one in settings.places)


def users_of(name: str, server: Server) -> Iterator[str]:
    """The paths whose requests a named location gets."""
    for one in server.directives:
        if one.name == "location" and any(name in inner.arguments for inner in all_of(one.block or ())):
            yield one.arguments[-1]
        elif name in one.arguments and one.name in ("try_files", "error_page"):
            yield "/"


def _is_shared(path: str, settings: Settings) -> bool:
    return any(f"{path.rstrip('/')}/".startswith(url) for url in settings.shared_urls)


def _where(one: Directive) -> str:
    passes = any(inner.name in ("proxy_pass", "fastcgi_pass", "uwsgi_pass") for inner in one.block or ())
    return "it in backend_paths or services" if passes else "its files in the frontend, or its folder in shared_urls"


def _is_static(path: str, server: Server, settings: Settings) -> bool:
    """Whether a file of the frontend, or an error page, is at a path."""
    assets = settings.frontend_assets
    errors = {inner.arguments[-1] for inner in all_of(server.directives) if inner.name == "error_page"}
    return bool(STATIC.fullmatch(path)) or path in errors or bool(assets and f"{path.rstrip('/')}/".startswith(assets))


def _cannot(one: Directive) -> Obstacle:
    return Obstacle(_name(one), str(one), "a site without it: Slipway does not support it")


def _name(one: Directive) -> str:
    return f"{one.at}: {one.name}"
