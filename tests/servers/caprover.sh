# CapRover: Nginx in a container, published on ports 80 and 443, and Docker Swarm's own ports.
. "$(dirname "$0")/listening.sh"
for port in 80 443 3000; do listening docker-proxy $port; done
listening dockerd 2377
mkdir -p /captain/data; echo '{}' > /captain/data/config-captain.json
