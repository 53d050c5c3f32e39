"""Other web servers on the same host, with the same files and certificate, each on a port of its own."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

import brotli

from benchmarks import PROJECT
from benchmarks.serve import results
from benchmarks.serve.site import ROOT, SCRIPT
from slipway.lab import hosts
from slipway.lab.hosts import Host
from slipway.lab.steps import StepFailed, run
from slipway.site import Site

FOLDER = "/srv/bench"
BUILD = f"{ROOT}/current/frontend/build"
# The owner's server, tests/e2e/by_hand.
BY_HAND = PROJECT / "tests/e2e/by_hand/provision.sh"


@dataclass(frozen=True)
class Server:
    """A web server's name in the results, its port, and its encoding for a client that accepts "br, gzip"."""

    way: str
    port: int
    coding: str


SLIPWAY = Server(results.SLIPWAY, 443, "br")
SERVERS = [
    SLIPWAY,
    Server(results.CADDY_GZIP, 8441, "gzip"),
    Server(results.CADDY_FILES, 8442, "br"),
    Server(results.BARE, 8443, "br"),
    Server(results.DESCRIBED, 8444, "gzip"),
]
OPEN_PORTS = [f"{server.port}/tcp" for server in SERVERS[1:]]


def caddyfile(domain: str) -> str:
    """https://caddyserver.com/docs/caddyfile, of Caddy 2.6"""
    sites = {8441: ("encode gzip", "file_server"), 8442: ("file_server {\n precompressed br gzip\n}",)}
    common = f"tls {FOLDER}/fullchain.pem {FOLDER}/privkey.pem\nroot * {BUILD}"
    return "{\nadmin off\nauto_https disable_redirects\n}\n" + "".join(
        f"https://{domain}:{port} {{\n{common}\n" + "\n".join(lines) + "\n}\n" for port, lines in sites.items()
    )


def nginx_conf(domain: str) -> str:
    """A second Nginx: one minimal server, and one with the lines of the owner's."""
    tls = f"ssl_certificate {FOLDER}/fullchain.pem; ssl_certificate_key {FOLDER}/privkey.pem;"
    return f"""
user www-data; worker_processes auto; pid /run/bench-nginx.pid; error_log /var/log/nginx/bench.log;
include /etc/nginx/modules-enabled/*.conf;
events {{ worker_connections 4096; }}
http {{
    include /etc/nginx/mime.types; sendfile on; tcp_nopush on; ssl_protocols TLSv1.2 TLSv1.3; access_log off;
    server {{
        listen 8443 ssl http2; server_name {domain}; {tls}
        root {BUILD}; gzip_static on; brotli_static on;
    }}
    server {{
        listen 8444 ssl http2; server_name {domain}; {tls} access_log /var/log/nginx/bench-access.log;
        root {BUILD}; {described_gzip()}
        location /static/ {{ expires 1y; add_header Cache-Control "public, immutable"; }}
        location / {{ try_files $uri /index.html; }}
    }}
}}
"""


def described_gzip() -> str:
    """The owner's server's lines about compression, unchanged."""
    line = next(line for line in BY_HAND.read_text().splitlines() if "gzip_types" in line)
    return line[line.index("gzip on;") :]


# Debian starts Caddy at its installation, on a port in use.
INSTALL = """
systemctl mask --quiet caddy.service
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -q --no-install-recommends caddy nghttp2-client
"""
START = f"""
install -d -m 755 {FOLDER}; cp -L /etc/nginx/tls/codementee/*.pem {FOLDER}; chmod 644 {FOLDER}/*
systemctl stop bench-caddy bench-nginx 2> /dev/null || :
systemctl reset-failed bench-caddy bench-nginx 2> /dev/null || :
systemd-run --quiet --unit=bench-caddy -p User=www-data -p LimitNOFILE=16384 -E HOME=/tmp -E XDG_DATA_HOME=/tmp \\
  caddy run --config {FOLDER}/Caddyfile --adapter caddyfile
systemd-run --quiet --unit=bench-nginx nginx -c {FOLDER}/nginx.conf -g 'daemon off;'
"""


def start(host: Host) -> None:
    """Install and start them all; each must serve the script correctly. Raises StepFailed."""
    run("Install Caddy", host.ssh_argv(INSTALL))
    files = {"Caddyfile": caddyfile(host.domain), "nginx.conf": nginx_conf(host.domain)}
    for name, content in files.items():
        run(f"Write {name}", host.ssh_argv(f"install -d {FOLDER}; cat > {FOLDER}/{name}"), input=content)
    run("Start them", host.ssh_argv(START))
    run("Wait for them", host.ssh_argv("sleep 2; systemctl is-active bench-caddy bench-nginx"))


def check(host: Host, server: Server, content: bytes) -> int:
    """The number of bytes in which the server sends the script, which must be the same as all others'."""
    site = Site(host.domain, host.address, str(hosts.trusted_roots()), server.port - 443)
    with site.get(SCRIPT, headers={"Accept-Encoding": "br, gzip"}, stream=True) as answer:
        coding = answer.headers.get("Content-Encoding", "")
        sent = answer.raw.read(decode_content=False)
    if coding != server.coding:
        raise StepFailed(f"Ask {server.way}", f"found the coding {coding!r}, expected {server.coding!r}")
    found = brotli.decompress(sent) if coding == "br" else gzip.decompress(sent)
    if hashlib.sha256(found).digest() != hashlib.sha256(content).digest():
        raise StepFailed(f"Ask {server.way}", f"found another script, of {len(found)} bytes")
    return len(sent)


def stop(host: Host) -> None:
    run("Stop them", host.ssh_argv("systemctl stop bench-caddy bench-nginx"))
