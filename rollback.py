"""Go back to a release that is on the server still: the one before, or the one that the argument release_id names.

slipway rollback [ID]               or, with pyinfra alone:
pyinfra inventory.py rollback.py [--data release_id=ID]
"""

from pyinfra import host

from slipway.settings.of_host import checked_settings
from slipway.tasks.release import roll_back

if "app" in host.groups or "web" in host.groups:
    roll_back(checked_settings(host).released)
