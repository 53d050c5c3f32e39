"""Server blocks of a site as certbot, generators and guides write them."""

from __future__ import annotations

CERTBOT = """
server {
    root /var/www/codementee/html;
    index index.html index.htm index.nginx-debian.html;
    server_name codementee.io www.codementee.io;
    location / {
        try_files $uri $uri/ =404;
    }
    listen [::]:443 ssl ipv6only=on; # managed by Certbot
    listen 443 ssl; # managed by Certbot
    ssl_certificate /etc/letsencrypt/live/codementee.io/fullchain.pem; # managed by Certbot
    ssl_certificate_key /etc/letsencrypt/live/codementee.io/privkey.pem; # managed by Certbot
    include /etc/nginx/snippets/included; # managed by Certbot
    ssl_dhparam /etc/letsencrypt/ssl-dhparams.pem; # managed by Certbot
}
server {
    if ($host = www.codementee.io) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    if ($host = codementee.io) {
        return 301 https://$host$request_uri;
    } # managed by Certbot
    listen 80;
    listen [::]:80;
    server_name codementee.io www.codementee.io;
    return 404; # managed by Certbot
}
"""
CERTBOT_OPTIONS = """
ssl_session_cache shared:le_nginx_SSL:10m;
ssl_session_timeout 1440m;
ssl_session_tickets off;
ssl_protocols TLSv1.2 TLSv1.3;
ssl_prefer_server_ciphers off;
ssl_ciphers "ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";
"""
MOZILLA = """
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name codementee.io;
    location / {
        return 301 https://$host$request_uri;
    }
}
server {
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name codementee.io;
    ssl_certificate /path/to/signed_cert_plus_intermediates;
    ssl_certificate_key /path/to/private_key;
    ssl_session_timeout 1d;
    ssl_session_cache shared:MozSSL:10m;
    ssl_dhparam /path/to/dhparam;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;
    ssl_prefer_server_ciphers off;
    add_header Strict-Transport-Security "max-age=63072000" always;
    ssl_stapling on;
    ssl_stapling_verify on;
    ssl_trusted_certificate /path/to/root_CA_cert_plus_intermediates;
    resolver 127.0.0.1 valid=300s;
    resolver_timeout 5s;
}
"""
# A single page beside a backend, with the old advice for port 80, hidden files and error pages.
REACT_AND_FASTAPI = """
upstream fastapi { server 127.0.0.1:8001; keepalive 16; }
server {
    listen 80;
    server_name codementee.io www.codementee.io;
    return 301 $scheme://codementee.io$request_uri;
}
server {
    listen 443 ssl http2;
    server_name codementee.io www.codementee.io;
    ssl_certificate /c;
    ssl_certificate_key /k;
    root /var/www/codementee/frontend/build;
    index index.html;
    client_max_body_size 10M;
    large_client_header_buffers 2 1k;
    gzip on;
    gzip_static on;
    gzip_types text/plain text/css application/json application/javascript;
    if ($host = www.codementee.io) { return 301 https://codementee.io$request_uri; }
    error_page 404 /404.html;
    error_page 500 502 503 504 /50x.html;
    location = /50x.html { root /usr/share/nginx/html; internal; }
    location = /404.html { internal; }
    location = /favicon.ico { log_not_found off; access_log off; }
    location = /robots.txt { log_not_found off; access_log off; allow all; }
    location ~ /.well-known { allow all; }
    location /static/ { expires 1y; add_header Cache-Control "public, immutable"; }
    location ~* \\.(?:ico|css|js|gif|jpe?g|png|woff2?|svg)$ { expires 30d; add_header Cache-Control "public"; }
    location / { try_files $uri $uri/ /index.html; }
    location /api/ {
        proxy_pass http://fastapi;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Port $server_port;
        proxy_redirect off;
        proxy_buffering off;
        proxy_cache_bypass $http_upgrade;
    }
    location ~ /\\.(?!well-known).* { deny all; access_log off; log_not_found off; }
}
"""
# As guides for Express have it, before and with https.
EXPRESS = """
server {
    listen 80;
    listen [::]:80;
    server_name codementee.io www.codementee.io;
    rewrite ^ https://$host$request_uri? permanent;
}
server {
    listen 443 ssl;
    server_name codementee.io www.codementee.io;
    ssl on;
    ssl_certificate /c;
    ssl_certificate_key /k;
    if ($host !~* ^(www\\.)?codementee\\.io$) { return 444; }
    location / {
        root /var/www/codementee;
        if (!-e $request_filename) { rewrite ^(.*)$ /index.html break; }
    }
    location /api {
        proxy_pass http://localhost:8001/api;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection 'upgrade';
        proxy_set_header Host $host;
        proxy_set_header X-NginX-Proxy true;
        proxy_set_header Proxy "";
        proxy_set_header Authorization $http_authorization;
        proxy_hide_header X-Powered-By;
        proxy_cache_bypass $http_upgrade;
    }
}
"""
H5BP = """
server {
    listen [::]:80;
    listen 80;
    server_name www.codementee.io codementee.io;
    return 301 https://codementee.io$request_uri;
}
server {
    listen [::]:443 ssl http2;
    listen 443 ssl http2;
    server_name www.codementee.io;
    include /etc/nginx/snippets/included;
    return 301 $scheme://codementee.io$request_uri;
}
server {
    listen [::]:443 ssl http2;
    listen 443 ssl http2;
    server_name codementee.io;
    include /etc/nginx/snippets/included;
    root /var/www/codementee.io/public;
    charset utf-8;
    error_page 404 /404.html;
    location ~* /\\.(?!well-known\\/) { deny all; }
    location ~ (?:^|/)\\. { return 404; }
    location ~ /\\.ht { deny all; }
}
"""
H5BP_TLS = """
ssl_certificate /etc/nginx/certs/default.crt;
ssl_certificate_key /etc/nginx/certs/default.key;
ssl_buffer_size 4k;
ssl_ecdh_curve X25519:prime256v1;
ssl_early_data on;
ssl_conf_command Options PrioritizeChaCha;
"""
# As nginxconfig.io writes it, in one block.
GENERATED = """
server {
    listen 443 ssl;
    listen [::]:443 ssl;
    http2 on;
    server_name codementee.io;
    root /var/www/codementee.io/public;
    ssl_certificate /etc/letsencrypt/live/codementee.io/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/codementee.io/privkey.pem;
    ssl_trusted_certificate /etc/letsencrypt/live/codementee.io/chain.pem;
    add_header X-XSS-Protection "1; mode=block" always;
    add_header X-Content-Type-Options "nosniff" always;
    add_header Referrer-Policy "no-referrer-when-downgrade" always;
    add_header Permissions-Policy "interest-cohort=()" always;
    add_header Strict-Transport-Security "max-age=31536000; includeSubDomains" always;
    location ~ /\\.(?!well-known) { deny all; }
    access_log /var/log/nginx/access.log combined buffer=512k flush=1m;
    error_log /var/log/nginx/error.log warn;
    location / { try_files $uri $uri/ /index.html; }
    location ^~ /api/ { proxy_pass http://127.0.0.1:8001; proxy_set_header Host $host; include snippets/included; }
    location = /favicon.ico { log_not_found off; return 204; }
    location = /robots.txt { log_not_found off; }
    location ~* \\.(?:css(\\.map)?|js(\\.map)?|jpe?g|png|gif|ico|cur|heic|webp|tiff?|mp3|ogg|mp4)$ { expires 7d; }
    gzip on;
    gzip_vary on;
    gzip_proxied any;
    gzip_comp_level 6;
    gzip_types text/plain text/css text/xml application/json application/javascript;
}
server {
    listen 443 ssl;
    server_name www.codementee.io;
    ssl_certificate /etc/letsencrypt/live/codementee.io/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/codementee.io/privkey.pem;
    return 301 https://codementee.io$request_uri;
}
server {
    listen 80;
    server_name codementee.io www.codementee.io;
    location ^~ /.well-known/acme-challenge/ { root /var/www/_letsencrypt; }
    location / { return 301 https://codementee.io$request_uri; }
}
"""
GENERATED_PROXY = """
proxy_http_version 1.1;
proxy_cache_bypass $http_upgrade;
proxy_ssl_server_name on;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection $connection_upgrade;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header Forwarded $proxy_add_forwarded;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $host;
proxy_set_header X-Forwarded-Port $server_port;
proxy_connect_timeout 60s;
proxy_send_timeout 60s;
proxy_read_timeout 60s;
"""
# With http to https as guides for load balancers have it, and www removed by a pattern.
OTHER_REDIRECTS = """
server {
    listen 80;
    listen 443 ssl;
    server_name codementee.io www.codementee.io;
    if ($http_x_forwarded_proto = "http") { return 301 https://$host$request_uri; }
    if ($scheme != "https") { rewrite ^(.*)$ https://$host$1 permanent; }
    if ($host ~* ^www\\.(.*)$) { return 301 https://$1$request_uri; }
    if ($server_port = 80) { return 301 https://${host}${request_uri}; }
}
"""
# The challenge apart, and no other answer on port 80.
WEBROOT = """
server {
    listen 80;
    server_name codementee.io;
    location ^~ /.well-known/acme-challenge/ { default_type text/plain; root /var/www/letsencrypt; }
    location = /.well-known/acme-challenge/ { return 404; }
    location / { return 404; }
}
server {
    listen 443 ssl;
    server_name codementee.io;
    root /var/www/codementee;
}
"""
# Each with a file that it includes.
USUAL_SITES = {
    "certbot": (CERTBOT, CERTBOT_OPTIONS),
    "mozilla": (MOZILLA, ""),
    "react-and-fastapi": (REACT_AND_FASTAPI, ""),
    "express": (EXPRESS, ""),
    "h5bp": (H5BP, H5BP_TLS),
    "nginxconfig": (GENERATED, GENERATED_PROXY),
    "other-redirects": (OTHER_REDIRECTS, ""),
    "webroot": (WEBROOT, ""),
}
