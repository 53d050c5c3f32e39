"""The hosts, by role. One server holds every role; several servers are the same tasks on more hosts.

A host is a name, or (name, {setting: value}) for settings of its own, pyinfra's connection data among them:
    ("codementee.io", {"ssh_user": "admin", "_sudo": True, "ssh_port": 2222})

Login is by key, and sudo without a password (USER ALL=(ALL) NOPASSWD: ALL): one that pyinfra hands over is in a command
line for a moment, which every user of the server can read.
"""

codementee = ("codementee.io", {"ssh_user": "root"})

web = [codementee]
app = [codementee]
db = [codementee]
