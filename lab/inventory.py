"""The throwaway hosts that are up, as a pyinfra inventory: `pyinfra lab/inventory.py deploy.py`.

`SLIPWAY_LAB_HOSTS=a,b` narrows it to some of them. Each has all roles and a domain of its own, unless
`SLIPWAY_LAB_ROLES="lb=lb web=a1,a2 app=a1,a2 db=a1"` gives them roles: then their domain is that of the first, and
their secrets are the same.
"""

import os

from slipway.lab import record as _record
from slipway.settings import of_host as _of_host

_of_host.check_before_connecting()

_wanted = [name for name in os.environ.get("SLIPWAY_LAB_HOSTS", "").split(",") if name]
_up = [host for host in _record.running() if not _wanted or host.name in _wanted]
if not _up:
    raise SystemExit("no throwaway host is up; start one with: slipway lab up")

_all = {host.name: (host.name, _record.pyinfra_data(host)) for host in _up}
_roles = _record.roles(os.environ.get("SLIPWAY_LAB_ROLES", ""), [*_all])
if _roles:
    _first = next(iter(_roles.values()))[0]
    _shared = {"site_domain": _all[_first][1]["site_domain"], "secrets_file": _record.shared_secrets()}
    for _, _data in _all.values():
        _data.update(_shared)

lb = [_all[name] for name in _roles.get("lb", [])]
web = [_all[name] for name in _roles.get("web", [] if _roles else _all)]
app = [_all[name] for name in _roles.get("app", [] if _roles else _all)]
db = [_all[name] for name in _roles.get("db", [] if _roles else _all)]
