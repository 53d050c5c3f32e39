# CapRover: its Nginx is a container's, at 80 and 443 of the host, and Docker swarm's own ports are open.
. "$(dirname "$0")/listening.sh"
for port in 80 443 3000; do listening docker-proxy $port; done
listening dockerd 2377
mkdir -p /captain/data; echo '{}' > /captain/data/config-captain.json
