"""The throwaway hosts that are up, as a pyinfra inventory: `pyinfra lab/inventory.py deploy.py`.

`SLIPWAY_LAB_HOSTS=a,b` narrows it to some of them.
"""

import os

from slipway.lab import record as _record
from slipway.settings import of_host as _of_host

_of_host.check_before_connecting()

_wanted = [name for name in os.environ.get("SLIPWAY_LAB_HOSTS", "").split(",") if name]
_up = [host for host in _record.running() if not _wanted or host.name in _wanted]
if not _up:
    raise SystemExit("no throwaway host is up; start one with: slipway lab up")

web = [(host.name, _record.pyinfra_data(host)) for host in _up]
app = web
db = web
