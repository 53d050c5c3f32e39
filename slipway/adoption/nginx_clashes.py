"""What files of others and Slipway's configuration both say, where Nginx accepts it once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from slipway.adoption import OURS, Obstacle, setting
from slipway.adoption.nginx import ROOT, Found, kept_in_http
from slipway.adoption.nginx_config import MAIN, Directive, Tree, all_of, megabytes, parse
from slipway.adoption.nginx_policy import HARMLESS_VARIABLES
from slipway.settings.model import Settings

DEFINES = ("map", "geo", "split_clients")
# Nginx accepts a second one of these in http: it adds them up.
REPEATABLE = re.compile(
    r"include|server|upstream|log_format|map|geo|(access|error)_log|add_header|limit_req_zone|types"
    r"|gzip_(types|proxied)|ssl_(protocols|session_cache)"
)
ZONE = re.compile(r"(?:keys_)?zone=([^:\s]+)|shared:([^:\s]+)")


def clashes(found: Found, files: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    """What files that are kept say in http and Slipway's `files`, by their names below /etc/nginx, say too: `nginx -t`
    names one of them at a time, and at a line of Slipway's."""
    ours = {name: parse(text, f"{ROOT}/{name}") for name, text in files.items()}
    main = [inner for one in ours.get("nginx.conf", ()) if one.name == "http" for inner in one.block or ()]
    once = {one.name for one in main if not REPEATABLE.fullmatch(one.name)}
    names = {key: one for block in ours.values() for one in all_of(block) for key in _names(one)}
    kept = kept_in_http(found, settings)
    for one in kept:
        if one.name in once:
            need = f"it in the server blocks that need it: Slipway's {MAIN} has this directive, too"
            if one.name == "client_max_body_size":
                # At least what it is now.
                size = max(megabytes(one.arguments[0]), settings.nginx_max_body_mb)
                need = f"{setting('nginx_max_body_mb', size)} instead of it: Slipway's {MAIN} has this directive, too"
            yield Obstacle(f"{one.at}: {one.name}", str(one), need, may_go=False)
    for one in all_of(kept):
        for kind, name in _names(one):
            # The cache of TLS sessions may be declared again as it is.
            is_again = one.name == "ssl_session_cache" and str(names.get((kind, name))) == str(one)
            if (kind, name) in names and not is_again:
                found_now = f"the name {name}, which Slipway's configuration has for another {kind}"
                yield Obstacle(f"{one.at}: {one.name} {name}", found_now, "another name", may_go=False)


def _names(one: Directive) -> Iterator[tuple[str, str]]:
    """The kinds and names of what a directive defines, of those that Nginx accepts once."""
    if one.name in ("upstream", "log_format") and one.arguments:
        yield one.name, one.arguments[0]
    # `limit_req` uses one.
    elif one.name != "limit_req":
        for word in one.arguments:
            if zone := ZONE.match(word):
                yield "zone", zone[1] or zone[2]


def taken_variables(future: Tree) -> Iterator[Obstacle]:
    """Variables that a kept file defines and Slipway's configuration too: Nginx takes the last definition for all
    servers, without an error."""
    defined = {file: _definitions(future.directives(file)) for file in future.files}
    ours = {name for file in defined if OURS in future.files[file] for name in defined[file]}
    for file, found in defined.items():
        for name in sorted({*found} & ours - HARMLESS_VARIABLES) if OURS not in future.files[file] else ():
            found_now = "a variable that Slipway's configuration defines too: Nginx takes one of the two for all sites"
            yield Obstacle(f"{found[name].at}: {found[name].name} {name}", found_now, "another name", may_go=False)


def _definitions(directives: Sequence[Directive]) -> dict[str, Directive]:
    """The directives that define variables, by the variable."""
    return {one.arguments[-1]: one for one in all_of(directives) if one.name in DEFINES and one.arguments}
