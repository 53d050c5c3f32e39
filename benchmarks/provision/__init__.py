"""How long a bare host takes to become the site: by a shell script, by Slipway, by pyinfra alone, by Ansible."""
