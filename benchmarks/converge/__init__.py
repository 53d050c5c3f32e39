"""How long it takes to find that a host is in sync, by Slipway, plain pyinfra and Ansible, near and far."""
