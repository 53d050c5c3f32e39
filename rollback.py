"""Activate a release that is still on the server: the previous one, or the one in the argument release_id.

slipway rollback [ID]               or, with plain pyinfra:
pyinfra inventory.py rollback.py [--data release_id=ID]
"""

from pyinfra import host

from slipway.settings.of_host import checked_settings
from slipway.tasks.release import roll_back

if "app" in host.groups or "web" in host.groups:
    roll_back(checked_settings(host).released)
