"""The hosts, by role. One server holds every role; several servers are the same tasks on more hosts.

A host is a name, or (name, {setting: value}) for settings of its own, pyinfra's connection data among them:
    ("codementee.io", {"ssh_user": "admin", "_sudo": True, "ssh_port": 2222})
"""

codementee = ("codementee.io", {"ssh_user": "root", "ssh_strict_host_key_checking": "yes"})

web = [codementee]
app = [codementee]
db = [codementee]
