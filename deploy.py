"""The components of a server, top to bottom: each name is a module of tasks/ (docs/components.md).

slipway apply                       or, with plain pyinfra:
pyinfra inventory.py deploy.py
"""

from slipway.deploy import server

server(
    "base",
    "updates",
    "kernel",
    "logins",
    "guard",
    "admin",
    "firewall",
    "ssh",
    "mongodb",
    "backup",
    "valkey",
    "release",
    "backend",
    "nginx",
    "tls",
    "fail2ban",
    "alarms",
    "auditing",
)
