"""How long it takes to provision a bare host by a shell script, Slipway, plain pyinfra and Ansible."""
