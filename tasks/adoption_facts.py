"""Facts of a server that was set up without Slipway, shared by several tasks."""

from __future__ import annotations

from typing import Any

from pyinfra import host

from slipway.adoption import OURS, backend, mongod
from slipway.engine import run
from slipway.engine.uploads import Encoded
from slipway.facts.base import Output
from slipway.facts.earlier import Earlier
from slipway.facts.files import FileState
from slipway.facts.mongodb import MongodbData
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings.model import Settings

# The last file of a first apply: with the component auditing, and without it.
COMPLETE, ADOPTED = "/etc/systemd/system/slipway-integrity.timer", "/var/lib/slipway/adopted"


def earlier(settings: Settings) -> dict[str, str]:
    """facts.Earlier of the host; `{}` if Slipway has set it up with all its sites."""
    # A component that is left out leaves a site by hand as it is.
    is_whole = {"backend", "nginx"} <= run.of(host.state).deployed
    if is_adopted() and not (is_whole and sites_by_hand(settings)):
        return {}
    sites = settings.all_sites
    users = (settings.admin_user, "mongodb", *(site.backend_unit for site in sites))
    return host.get_fact(
        Earlier,
        users=users,
        groups=users,
        units=tuple(unit for site in sites for unit in backend.unit_names(site)),
        roots=tuple(site.site_root for site in sites),
        mongodb_port=settings.mongodb_port,
    )


def is_adopted() -> bool:
    """Whether an apply has come to its end on the host."""
    return any(host.get_fact(FileState, path=path) for path in (COMPLETE, ADOPTED))


def sites_by_hand(settings: Settings) -> list[str]:
    """The units and folders of the sites that are not Slipway's: "the service shop-backend", "/var/www/shop/backend".
    On an adopted host they are of a site that `sites` names since."""
    units = [site.backend_unit for site in settings.all_sites if "app" in host.groups]
    folders = [folder for site in settings.all_sites for folder in _folders(site)]
    script = f"""\
cd /etc/systemd/system; for unit in {" ".join(units)}; do
  if [ -e $unit-by-hand.service ] || {{ [ -f $unit.service ] && ! grep -q '{OURS}' $unit.service; }}; then
    echo "the service $unit"
  fi
done
for folder in {" ".join(folders)}; do [ ! -d $folder ] || [ -L $folder ] || echo $folder; done"""
    return host.get_fact(Output, command=script).splitlines() if folders else []


def added_sites(settings: Settings) -> list[Settings]:
    """The sites that `sites_by_hand` is about."""
    found = sites_by_hand(settings)
    own = [(site, (f"the service {site.backend_unit}", *_folders(site))) for site in settings.all_sites]
    return [site for site, names in own if {*names} & {*found}]


def _folders(site: Settings) -> list[str]:
    roles = {"backend": "app", "frontend": "web"}
    return [f"{site.site_root}/{part}" for part, role in roles.items() if role in host.groups]


def earlier_mongodb(settings: Settings) -> dict[str, Any]:
    """facts.MongodbData of a running MongoDB that an adoption is to keep, `{}` if there is none."""
    return {} if is_adopted() else mongodb_data(settings, earlier(settings))


def mongodb_data(settings: Settings, found: dict[str, str]) -> dict[str, Any]:
    """facts.MongodbData of a running MongoDB that Slipway did not set up, `{}` if there is none. One that requires a
    password tells little: mongodb_content."""
    if not mongod.process(found).get("exe"):
        return {}
    data: dict[str, Any] = host.get_fact(MongodbData, **_place(settings, found))
    return data


def mongodb_content(settings: Settings, found: dict[str, str]) -> dict[str, Any]:
    """The same after the login of its administrator, by the password that is given or that an interrupted apply has
    written."""
    data = mongodb_data(settings, found)
    is_theirs = f"file {mongod.CONFIG}" in found or is_adopted()
    if data.get("state") != "closed" or not is_theirs or not mongod.has_password(found, settings):
        return data
    # Standard input is in no command line, log or cache.
    given = Encoded(settings.secrets.get(MONGODB_ADMIN, "").encode())
    login = {"user": settings.mongodb_admin_user, "file": mongod.password_file(settings)}
    content: dict[str, Any] = host.get_fact(MongodbData, **_place(settings, found), **login, _stdin=given)
    return content


def _place(settings: Settings, found: dict[str, str]) -> dict[str, Any]:
    address, port = mongod.place(found, settings)
    return {"address": address, "port": port, "seconds": settings.limits.mongodb_answer}
