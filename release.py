"""Ship the next release: build it, upload it, check its health beside the live one, activate it.

slipway release [--ref REF]         or, with plain pyinfra:
pyinfra inventory.py release.py [--data release_ref=REF]
"""

from pyinfra import host

from slipway.settings.of_host import checked_settings
from slipway.tasks.release import next_release

if "app" in host.groups or "web" in host.groups:
    next_release(checked_settings(host).released)
