"""The hosts, by role. One server holds every role; several servers are the same tasks on more hosts (docs/scale.md).

A host is a name, or (name, {setting: value}) for settings of its own, pyinfra's connection data among them:
    ("codementee.io", {"ssh_user": "admin", "_sudo": True, "ssh_port": 2222})

The login is that of a finished server: the setting admin_user, by key, and sudo without a password (one that pyinfra
hands over is in a command line for a moment, which every user of the server can read). Slipway logs in to a fresh
server as root by itself; for pyinfra alone, say so once: `pyinfra --data ssh_user=root --data _sudo=False ...`.

Every name here is a group of hosts; one that is not begins with _.
"""

from slipway.settings import of_host as _of_host

# With plain pyinfra, too, invalid settings are reported before it connects.
_of_host.check_before_connecting()

web = app = db = [("codementee.io", {"ssh_user": "admin", "_sudo": True})]
