"""What a server is made of, top to bottom: each name is a component, a module of tasks/ here or of Slipway's own
(slipway help components). Remove a line to leave one out.

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
