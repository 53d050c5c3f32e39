# Caddy serves the site's name with its own certificate and proxies to the backend.
. "$(dirname "$0")/listening.sh"
for port in 80 443; do listening caddy $port; done
mkdir -p /etc/caddy; echo "$DOMAIN { reverse_proxy 127.0.0.1:8001 }" > /etc/caddy/Caddyfile
