# Nginx was started at a prompt, and systemd knows nothing of it.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
systemctl disable -q --now nginx
systemd-run -q --unit=prompt --property=Type=forking nginx
