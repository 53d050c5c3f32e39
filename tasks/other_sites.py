"""A site that Slipway has set up on the host under a name that the settings do not have: renamed, or of other settings.

It goes on serving until Nginx serves the new one in its place. Both would have the same MongoDB user, by default: with
its new password and rights the other site fails.
"""

from __future__ import annotations

from pyinfra import host

from slipway.adoption import OURS
from slipway.facts.base import Output
from slipway.facts.mongodb import MongodbUsers
from slipway.secrets.store import MONGODB_BACKEND
from slipway.settings.model import Settings
from slipway.tasks.packages import is_new


def remarks(settings: Settings) -> list[str]:
    """A line for each new site whose MongoDB user another site on this host logs in as."""
    if is_new() or "app" not in host.groups:
        return []
    found = host.get_fact(Output, command=running(settings)).split()
    others = [name.removeprefix("other:") for name in found if name.startswith("other:")]
    added = [site for site in settings.all_sites if f"new:{site.site_name}" in found]
    return [line for site in added for other in others if (line := _remark(site, other))]


def running(settings: Settings) -> str:
    """A command that prints "new:SITE" for a site of the settings that has no MongoDB user yet, and then "other:SITE"
    for others whose backends run."""
    names = " ".join(site.site_name for site in settings.all_sites)
    return f"""\
new=; for name in {names}; do [ -e /etc/$name/credentials/{MONGODB_BACKEND} ] || {{ new=1; echo new:$name; }}; done
[ -z "$new" ] || for file in /etc/*/credentials/{MONGODB_BACKEND}; do
  name=${{file#/etc/}}; name=${{name%%/*}}; case " {names} " in *" $name "*) continue ;; esac
  grep -qs '{OURS}' /etc/systemd/system/$name-backend.service || continue
  ! systemctl is-active --quiet $name-backend.service || echo other:$name
done"""


def _remark(site: Settings, other: str) -> str:
    user = site.mongodb_backend_user
    found: dict[str, str] = host.get_fact(
        MongodbUsers,
        address=site.mongodb_local,
        port=site.mongodb_port,
        users=((user, f"/etc/{other}/credentials/{MONGODB_BACKEND}"),),
        seconds=site.limits.mongodb_answer,
    )
    if found.get(user, "refused") in ("", "refused") or found.get("server") == "away":
        return ""
    return (
        f"mongodb_backend_user: the running site {other!r}, which is not in the settings, has the same user {user!r},"
        f" and fails from its new password on; to keep it up until {site.site_name!r} takes its place:"
        f' mongodb_backend_user = "{site.site_name}"; to keep both: `sites`'
    )
