"""Every setting of Slipway, with its default and what it means.

Change a value here for all hosts, in `group_data/<role>.py` for a role, or in `inventory.py` for one host.
`slipway plan` checks all of them before it connects to anything; `docs/settings.md` is made from this file.
"""

# --- The site -------------------------------------------------------------------------------------------------------

# Short name of the site: at most 24 lower-case letters, digits, dashes. Names the unit
# (`codementee-backend.service`), the folder (`/var/www/codementee`) and the Nginx site
# (`/etc/nginx/sites-available/codementee`).
site_name = "codementee"
# The host name that visitors type. Its address must be the server's before a certificate can be issued.
site_domain = "codementee.io"
# Further host names of the site (say "www.codementee.io"); they redirect to `site_domain` and share its certificate.
site_aliases = []
# Further sites of the same host: each a dictionary of its own settings, {"site_name": "blog", "site_domain":
# "blog.example.org", "backend_source": ..., "frontend_source": ..., "secrets_file": ...}. It has folders, units, users,
# a database (named as the site) and a certificate of its own. What it does not set is as the first site's.
sites = []

# --- Connection -----------------------------------------------------------------------------------------------------

# "yes" connects only to a host whose key is in known_hosts (type `ssh HOST true` once, and compare the fingerprint).
# pyinfra's own default, "accept-new", believes whoever answers the first time. Other ssh_ names are pyinfra's too:
# https://docs.pyinfra.com/en/3.x/connectors/ssh.html
ssh_strict_host_key_checking = "yes"

# Multiplies every time limit of Slipway's own (slipway/settings/limits.py): raise it for a very slow host or link, 3 say. The
# shipped limits suit hosts of a tenth of an ordinary server's speed. Settings in seconds stay what they are.
timeout_scale = 1.0

# --- The administrator, and ssh -------------------------------------------------------------------------------------

# Who logs in to the server: a user with sudo that Slipway makes. Once this one has proven to, root can't any more.
admin_user = "admin"
# The administrator's public keys: each a line "ssh-ed25519 AAAA... name", or the file of one on this machine. No others
# open that account; taking one away here takes it away there.
admin_keys = ["~/.ssh/id_ed25519.pub"]
# The port that sshd listens on. A change takes one run; then set the host's ssh_port in the inventory too, where it is
# set at all.
sshd_port = 22
# How long the host waits for a new login after a change of ssh, of the firewall or of the administrator's access, in
# seconds: without one it rolls the change back.
lockout_rollback_seconds = 60
# Further settings of sshd, by their names in sshd_config(5), which win over Slipway's own: {"AllowUsers": "admin ci"}.
sshd_settings = {}

# --- The operating system -------------------------------------------------------------------------------------------

# Time zone of the server's clock and logs, as in /usr/share/zoneinfo.
timezone = "Etc/UTC"
# System locale. C.UTF-8 is always there; any other is generated (package `locales`).
locale = "C.UTF-8"
# Size of /swapfile in MiB; 0 for none. A little swap turns a memory peak into slowness instead of a killed database.
swap_mb = 1024
# The journal's largest size on disk, in MiB.
journal_max_mb = 500
# How long an apt command waits for another one (unattended-upgrades, say) to finish, in seconds.
apt_lock_timeout = 300
# When the server reboots if a security update asks for it (a new kernel), in its own time zone: the next "04:00". ""
# for never: then it is yours to reboot. Who is logged in at that time puts it off.
reboot_window = "04:00"
# Further Debian packages to install.
extra_packages = []

# --- Firewall -------------------------------------------------------------------------------------------------------

# Ports opened besides ssh, 80 and 443: "8443/tcp". Every other rule is removed.
firewall_allow = []
# Addresses and networks that ssh is open to: ["203.0.113.0/24", "2001:db8::/32"]; [] for all.
firewall_ssh_from = []

# --- Bans -----------------------------------------------------------------------------------------------------------

# Addresses and networks that are never banned: ["203.0.113.7"]. Those of `firewall_ssh_from` never are from ssh.
fail2ban_ignore = []
# How many failed logins by ssh within ten minutes ban an address; and three times as many requests that Nginx refused
# because of their number.
fail2ban_failures = 10
# How long a first ban lasts, in minutes. Each further one of the same address lasts longer, up to a day.
fail2ban_minutes = 10

# --- MongoDB --------------------------------------------------------------------------------------------------------

# The series to install, which the packages are pinned to: its newest patch. A later one comes by `apt upgrade`.
mongodb_version = "7.0"
# The apt repository; "/debian" or "/ubuntu" is added.
mongodb_apt_url = "https://repo.mongodb.org/apt"
# Where the key that signs the series is, and the fingerprint that it must have.
mongodb_key_url = "https://pgp.mongodb.com/server-7.0.asc"
mongodb_key_fingerprint = "E58830201F7DD82CD808AA84160D26BB1785BA38"
# Install mongodump and mongorestore too.
mongodb_tools = True
# The address and port that mongod listens on. Loopback unless the backend lives on another host.
mongodb_bind = "127.0.0.1"
mongodb_port = 27017
# WiredTiger's cache in GiB; 0 computes a quarter of the memory (at least 0.25), as the host is shared with a backend.
# MongoDB's own default, half of the memory, is for a host of its own.
mongodb_cache_gb = 0
# The memory that mongod may take, its cache and files in the kernel's cache included, in MiB: at 9/10 of it mongod is
# slowed down, above it ended and started again. 0 computes 6/10 of the memory, and at least its cache and 512.
mongodb_memory_max_mb = 0
# The threads that mongod may have: one a connection, and some dozens of its own.
mongodb_tasks_max = 32000
# The site's database, and MongoDB's users: one for its administration, and one for the backend, which may read and
# write that database and no other. Their passwords are the secrets MONGODB_ADMIN_PASSWORD and MONGODB_BACKEND_PASSWORD.
mongodb_database = "codementee"
mongodb_admin_user = "admin"
mongodb_backend_user = "backend"

# --- Backend --------------------------------------------------------------------------------------------------------

# The FastAPI application on this machine: a folder with a locked `requirements.txt` (with hashes).
backend_source = "examples/codementee/backend"
# What uvicorn runs: module:attribute.
backend_app = "server:app"
# Number of uvicorn workers.
backend_workers = 2
# Where the backend is reached: the path of a link to a unix socket, or address:port ("127.0.0.1:8001") for a TCP
# socket. With TCP a release restarts it: requests wait for a second or two.
backend_listen = "/run/codementee-backend.sock"
# A path that answers when the backend and its database are well: with which status, with what text somewhere in the
# answer ("" for any), and how long it may take to do so after a start, in seconds.
backend_health_path = "/api/health"
backend_health_status = 200
backend_health_body = ""
backend_health_seconds = 60
# Plain environment variables of the backend. Nothing secret: they are in a plan and in the unit's file.
backend_environment = {}
# Names of the secrets that the backend must have; MONGO_URL, which Slipway makes, comes on top.
backend_secrets = ["JWT_SECRET", "ADMIN_PASSWORD"]
# The file of the secrets on this machine: NAME=value lines, encrypted with age where its name ends in ".age"
# (`slipway secrets edit`), else a plain one of mode 0600 that is kept out of git; "" for none. A variable
# SLIPWAY_SECRET_<NAME> in the environment wins over it.
secrets_file = "secrets/production.age"
# How the backend gets its secrets: "credentials", as files in $CREDENTIALS_DIRECTORY, which it alone can read; or
# "environment", as variables, for an application that knows no other way.
backend_secrets_in = "credentials"
# The memory that the backend may take with all its workers, in MiB, as `mongodb_memory_max_mb`; 0 computes 4/10 of the
# memory. Where the server's memory runs out, the kernel ends the backend before it ends mongod.
backend_memory_max_mb = 0
# The processes and threads that the backend may have. FastAPI has up to 40 threads in each worker.
backend_tasks_max = 512
# Further services of the same code: each a dictionary with a `name`, which names its unit (`codementee-auth`), and
#   - to answer requests: `app`, `path` ("/api/auth/", which the backend then gets no more) or `host` (a host name for
#     it alone), `workers` (1), and `health_path`, `health_status`, `health_body`, `health_seconds` as the backend's;
#   - to run on and on: `command`, as "python -m mailer";
#   - to run by the clock: that with a `schedule`, as "hourly" or "*-*-* 03:00" (systemd.time(7)).
# Each may have `environment`, `secrets` (those of `backend_secrets` that it gets, else all), `memory_max_mb` and
# `tasks_max`.
# {"name": "auth", "app": "auth.main:app", "path": "/api/auth/", "health_path": "/api/auth/health"}
# Release the code of a new one before the `slipway apply` that brings visitors to it.
services = []

# --- Secrets --------------------------------------------------------------------------------------------------------

# Secrets that the server makes up itself where they are given nowhere; they never leave it.
generated_secrets = ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
# Who can decrypt `secrets_file`: public keys of age's, "age1...". `slipway secrets keygen` makes you a pair.
secrets_recipients = []
# The file on this machine with your private key; the environment variable SLIPWAY_AGE_IDENTITY, a key or a file of
# one, wins over it.
secrets_identity = "~/.config/slipway/identity.txt"

# --- Frontend -------------------------------------------------------------------------------------------------------

# The frontend's folder on this machine, the command that builds it there, and the folder that it writes.
frontend_source = "examples/codementee/frontend"
frontend_build = "npm ci --no-audit --no-fund && npm run build"
frontend_output = "build"
# Where that happens: "here", on this machine, or on the "server", by Debian's Node.js and npm, which Slipway installs
# there, in a sandbox, with `frontend_source` without what is hidden, node_modules and tests sent to it.
frontend_build_on = "here"
# URL path of the files whose names carry a hash of their content: cached by browsers for a year.
frontend_assets = "/static/"

# --- Nginx ----------------------------------------------------------------------------------------------------------

# Largest request body, in MiB; and how long Nginx waits for the backend's answer, in seconds.
nginx_max_body_mb = 10
nginx_backend_timeout = 60
# Before a reload Nginx ends connections with their next answer for so long, in seconds: one that it closes instead may
# lose a request.
nginx_reload_drain_seconds = 3
# Connections a worker holds. A visitor behind a proxied request takes two.
nginx_worker_connections = 16384
# For how long a browser that was here once comes by https alone (Strict-Transport-Security), in seconds; 0 for not at
# all, and to take it back, as long as a browser still comes. It is a promise that can't be recalled from browsers that
# stay away: half a year is the least that auditors ask for (180 days, and Mozilla's first stage) and the most that a
# site should promise unasked. Once https has proven to stay, set 63072000 (two years).
nginx_hsts_seconds = 15768000
# The promise made for every host name below `site_domain` too; and for ever, by a list in the browsers themselves
# (https://hstspreload.org, which asks for a year at least and for all host names below).
nginx_hsts_subdomains = False
nginx_hsts_preload = False
# What a page of the site may load and from where (Content-Security-Policy); "" for no such header. This one: its own
# files and no inline scripts or styles. A page that takes payments by Razorpay also needs "https://*.razorpay.com" in
# script-src, connect-src and frame-src. https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP
nginx_csp = "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
# The path that a login is posted to, and how many of them an address (of IPv6, a /64 network) may post a minute, with
# as many at once after a pause; 0 for no limit. Further ones are answered 429, and never reach the backend.
nginx_login_path = "/api/auth/login"
nginx_login_rate_per_minute = 20

# --- TLS ------------------------------------------------------------------------------------------------------------

# ACME directory that issues the certificate: "letsencrypt", "letsencrypt-staging" (untrusted, for trying out, with
# generous limits), or the https URL of another server.
tls_acme_server = "letsencrypt"
# Address for the ACME account, "" for none.
tls_email = ""

# --- Releases -------------------------------------------------------------------------------------------------------

# How many releases stay on the server, the current one included.
releases_kept = 5
# Which of the host's sites is released, by its site_name; "" for the first. `slipway release --site` sets it.
release_site = ""
# What is released: a branch, tag or commit of the git repository that backend_source and frontend_source are in,
# fetched from its remote "origin" where it is not here, or "" for the folders as they are; and another folder that
# holds the two, or "". `slipway release --ref` and `--path` set them for one release.
release_ref = ""
release_path = ""
# The parts that a release changes; the other stays what it is.
release_parts = ["backend", "frontend"]
# The release that `rollback.py` goes back to; "" for the one before the current one.
release_id = ""
# Shell commands of a release on the server, in the new release's backend folder, as the backend and with its secrets:
# one before visitors get it (migrations of the database, which the release before must still be able to work with), one
# after; "" for none. Where the first fails the release is not switched to. And how long they may take, in seconds.
release_before = ""
release_after = ""
release_hook_seconds = 300
# How long requests, WebSockets and streams that are under way in a release may go on in the backend that goes, in
# seconds.
release_drain_seconds = 30
# How long the workers of `services` must run after a release has started them, in seconds: one that ends before brings
# the release before back.
release_worker_seconds = 2
# The largest release, its files added up before they are compressed, in MiB.
release_max_mb = 500
