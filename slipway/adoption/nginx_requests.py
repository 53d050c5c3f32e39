"""What an existing Nginx makes of a site's requests: redirects, conditions, and how they are passed to a program."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from slipway.adoption import setting
from slipway.adoption.nginx_config import Directive, Server
from slipway.settings.model import Settings
from slipway.settings.routes import place_of, route

REDIRECTS, REFUSALS = {"301", "302", "303", "307", "308"}, {"403", "404", "410", "444"}
# A whole site that leads to another form of its address: the host is a name, or the request's own.
REDIRECT = re.compile(
    r"(?:https?|\$scheme)://(?:(?P<name>[^/:$]+)|(?:www\.)?\$(?:host|http_host|server_name|domain|1|\{host\}))(?::443)?"
    r"(?:/|/?\$(?:1|2|request_uri|\{request_uri\}|uri|uri\$is_args\$args))?\??"
)
# Of the request's address without its path: Slipway serves a site by https and at its names alone.
OF_ADDRESS = {
    *("host", "http_host", "server_name", "server_port", "scheme", "https", "ssl_protocol"),
    "http_x_forwarded_proto",
}
# What try_files does, in another form.
NO_FILE = re.compile(r"\(?\s*!-[ef] \$request_filename\s*\)?")
# Headers that templates/nginx/backend sends, and those that tutorials add to them.
SENT = {
    *("host", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"),
    *("upgrade", "connection"),
}
USUAL = {
    *("x-forwarded-port", "x-forwarded-server", "x-forwarded-ssl", "x-forwarded-scheme", "x-forwarded-protocol"),
    *("x-nginx-proxy", "x-scheme", "x-url-scheme", "remote-host", "x-real-port", "forwarded"),
}
# https://httpoxy.org; and a backend that does not compress.
USUALLY_REMOVED = {"proxy", "accept-encoding"}
# "^/api/(.*)$" with "/$1".
REWRITTEN, REWRITTEN_TO = re.compile(r"\^?(/[\w/.-]*?)/?\??\(\.[*+]\)\$?"), re.compile(r"(/[\w/.-]*)?\$1")


def leads_to_itself(one: Directive, names: Collection[str]) -> bool:
    """Whether a redirect by `return` or `rewrite` leads to the same page of a site of these names."""
    found = _redirect(one)
    return found is not None and (not found["name"] or found["name"].lower() in names)


def other_form(one: Directive, names: Collection[str]) -> str:
    """The name that a redirect leads to, if it is one of these names with "www." or without; "" otherwise."""
    found = _redirect(one)
    name = (found["name"] or "").lower() if found else ""
    return name if name and {f"www.{name}", name.removeprefix("www.")} & {*names} else ""


def _redirect(one: Directive) -> re.Match[str] | None:
    target = one.arguments[-1] if one.arguments else ""
    if one.name == "rewrite":
        target = one.arguments[1] if len(one.arguments) > 1 else ""
    elif one.name != "return" or (len(one.arguments) == 2 and one.arguments[0] not in REDIRECTS):
        return None
    return REDIRECT.fullmatch(target)


def refuses(one: Directive) -> bool:
    return one.name == "return" and len(one.arguments) == 1 and one.arguments[0] in REFUSALS


def is_tls(server: Server) -> bool:
    return any(socket.endswith(":443") or "ssl" in one.arguments for socket, one in server.sockets.items())


def without_refusals(directives: Sequence[Directive]) -> tuple[Directive, ...]:
    """Directives of a server of port 80 without the refusal of what it does not redirect, as certbot writes it."""
    return tuple(
        replace(one, block=without_refusals(one.block)) if one.name == "location" and one.block else one
        for one in directives
        if not refuses(one)
    )


def is_usual(condition: Directive, names: Collection[str]) -> bool:
    """Whether an `if` does nothing that a site of these names would be without."""
    text, block = " ".join(condition.arguments), condition.block or ()
    if NO_FILE.fullmatch(text):
        return all(one.name == "rewrite" and one.arguments[1:2] == ("/index.html",) for one in block)
    asked = {*re.findall(r"\$\{?(\w+)", text)}
    if not asked or not asked <= OF_ADDRESS:
        return False
    return all(one.name == "set" or refuses(one) or leads_to_itself(one, names) for one in block)


def is_sent(header: Directive) -> bool:
    """Whether a program gets a header of `proxy_set_header` anyway, or has hardly a use for it."""
    name, value = header.arguments[0].lower(), header.arguments[-1]
    if value == "":
        return name in USUALLY_REMOVED | SENT
    return name in SENT | USUAL or value == f"$http_{name.replace('-', '_')}"


def missing_path(location: Directive, is_exact: bool, settings: Settings) -> tuple[Directive, str] | None:
    """The directive by which a location passes requests with another path than Slipway would, and the setting that
    does the same, "" if there is none."""
    path, block = location.arguments[-1], location.block or ()
    passing = next((one for one in block if one.name == "proxy_pass"), None)
    place = place_of(path, settings.places) or place_of(f"{path.rstrip('/')}/", settings.places)
    if not passing or not place:
        return None
    uri = _uri_of(passing.arguments[0])
    for one in block:
        if one.name == "rewrite" and not uri:
            passing, uri = one, rewritten(one, path)
    if (uri or path).rstrip("/") == (place.passed(path) or path).rstrip("/"):
        return None
    if is_exact:
        wanted = f"= {path} -> {uri or path}"
    else:
        wanted = f"{path.rstrip('/')}/" + (f" -> {uri.rstrip('/')}/" if uri else "")
    try:
        route(wanted)
    except ValueError:
        return passing, ""
    if place.service != "backend":
        return passing, f"{setting('path', wanted)} in the service {place.service}"
    others = [text for text in settings.backend_paths if not {*route(text).locations} & {*route(wanted).locations}]
    return passing, setting("backend_paths", [*others, wanted])


def rewritten(one: Directive, path: str) -> str:
    """What takes a location's path by a `rewrite` of all below it, "" if it does something else."""
    found = REWRITTEN.fullmatch(one.arguments[0]) if one.arguments[2:] == ("break",) else None
    target = REWRITTEN_TO.fullmatch(one.arguments[1]) if found else None
    if not found or not target or found[1].rstrip("/") != path.rstrip("/"):
        return ""
    return target[1] or "/"


def _uri_of(target: str) -> str:
    """The URI that takes the place of a location's path, "" if the path stays.
    https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_pass"""
    rest = target.partition("://")[2]
    if rest.startswith("unix:"):
        return rest.removeprefix("unix:").partition(":")[2]
    _, slash, below = rest.partition("/")
    return slash + below
