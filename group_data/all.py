"""What the hosts' settings have that differs from the defaults: docs/settings.md lists all of them.

Change a value here for all hosts, in `group_data/<role>.py` for a role, or in `inventory.py` for one host. `slipway
plan` checks all of them before it connects.
"""

# pyinfra's own: connect only to a host whose key is in known_hosts.
ssh_strict_host_key_checking = "yes"

# The site: this is the example.
site_name = "codementee"
site_domain = "codementee.io"
# tls_email = "admin@example.org"

# Who logs in, by key: the default is ~/.ssh/id_ed25519.pub.
# admin_keys = ["~/.ssh/id_ed25519.pub"]

# What is released, and what runs it.
backend_source = "examples/codementee/backend"
backend_app = "server:app"
frontend_source = "examples/codementee/frontend"

# The backend's secrets by name, those of them that the server generates, and who can decrypt the others
# (docs/secrets.md).
backend_secrets = ["JWT_SECRET", "ADMIN_PASSWORD"]
generated_secrets = ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
# secrets_recipients = ["age1..."]
