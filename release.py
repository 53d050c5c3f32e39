"""Ship the next release: build here, upload, link, restart.

slipway release                     or, with pyinfra alone:
pyinfra inventory.py release.py
"""

from pyinfra import host

from slipway.pyinfra_settings import checked_settings
from tasks.release import ship

if "app" in host.groups or "web" in host.groups:
    ship(name="Ship a release", settings=checked_settings(host), groups=tuple(host.groups))
