"""How long it takes to find out that a host is what it should be: by Slipway, pyinfra alone, Ansible; near and far."""
