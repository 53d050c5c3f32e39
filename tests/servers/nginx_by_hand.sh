# Nginx was started at a prompt, not by systemd.
apt-get update -qq; apt-get install -y -qq --no-install-recommends nginx > /dev/null
systemctl disable -q --now nginx
systemd-run -q --unit=prompt --property=Type=forking nginx
