"""What the default server block of Nginx's package still serves: Slipway's has no pages and answers no challenge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from slipway.adoption import Obstacle
from slipway.adoption.certificates import lineages
from slipway.adoption.nginx import SITES, Found, domains_of
from slipway.adoption.nginx_choice import chosen, folders
from slipway.settings.model import Settings

ROOT = "/var/www/html"


def obstacles(found: Found, earlier: Mapping[str, str], settings: Settings) -> Iterator[Obstacle]:
    packaged = [one for one in found.tree.servers if one not in found.others and not found.is_ours(one.file)]
    if not packaged:
        return
    is_served = any(folder.rstrip("/") == ROOT for server in found.others if server.names for folder in folders(server))
    if (pages := earlier.get("pages", "").splitlines()) and not is_served:
        found_now = f"{pages[0]}, which the package's server block serves by every name"
        need = f"a server block with a server_name for {ROOT} in {SITES}, or the files elsewhere"
        yield Obstacle(ROOT, found_now, need)
    domains = domains_of(settings)
    for one in lineages(earlier):
        if one.renewal.get("authenticator") != "webroot":
            continue
        names = [name for name in sorted(one.names) if name not in domains]
        for name in (name for name in names if chosen(found.tree.servers, "*:80", name) in packaged):
            root = one.renewal.get(name, ROOT)
            need = f"a server block for it in {SITES}: listen 80; server_name {name}; root {root};"
            yield Obstacle(f"{one}: {name}", "a renewal that only the package's server block answers", need)
