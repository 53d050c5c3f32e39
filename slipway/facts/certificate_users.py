"""The programs and files that use certbot's certificates, as a section of facts.Earlier."""

from __future__ import annotations

# Paths of certbot's certificates, in lines other than comments and directives of Nginx's (Slipway replaces its files).
LIVE = "/live/[A-Za-z0-9._-]+"
NOT_USED = "^[^:]*:[[:space:]]*(#|//|(proxy_)?ssl_((trusted_|client_)?certificate(_key)?|dhparam)[[:space:]])"
# Where programs and jobs of the owner's name them outside /etc, and files of these that are worth a look.
OWNERS_FOLDERS = "/opt /srv /usr/local /home /root /etc/letsencrypt/renewal-hooks"
GENERATED = "-name node_modules -o -name site-packages -o -name .git -o -name .cache -o -name .venv -o -name venv"
TYPES = ("yml", "yaml", "conf", "cfg", "ini", "toml", "json", "env", "sh", "js", "py")
NAMING = " -o ".join(["-path '/usr/local/*' -o -path '/etc/*'", *(f"-name '*.{kind}'" for kind in TYPES)])
MAX_DEPTH, MAX_KILOBYTES, MAX_SEARCH_SECONDS = 5, 64, 20

# A shell script for facts.Earlier, with its functions.
SECTION = f"""\
s used
{{
  {{
    grep -rIHE --exclude-dir=letsencrypt --exclude-dir=nginx '{LIVE}' /etc
    timeout {MAX_SEARCH_SECONDS} find {OWNERS_FOLDERS} -maxdepth {MAX_DEPTH} -xdev \\( {GENERATED} \\) -prune -o \
      -type f \\( {NAMING} \\) -size -{MAX_KILOBYTES + 1}k -print0 | xargs -0r grep -IHE '{LIVE}'
  }} | grep -vE '{NOT_USED}'
  # grep does not follow links.
  timeout {MAX_SEARCH_SECONDS} find /etc {OWNERS_FOLDERS} -maxdepth {MAX_DEPTH} -xdev \
    \\( -path /etc/nginx -o {GENERATED} \\) -prune -o -type l -lname '*/letsencrypt/live/*' -printf '%p:%l\\n'
  [ ! -S /var/run/docker.sock ] || docker ps -q | xargs -r docker inspect -f 'container {{{{.Name}}}}:{{{{json .}}}}'
}} | sed -nE 's,^([^:]*):.*({LIVE}).*,\\1:/etc/letsencrypt\\2,p' | sort -u"""
