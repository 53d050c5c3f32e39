"""ACME clients other than the distribution's certbot, as a section of facts.Earlier."""

from __future__ import annotations

# A shell script for facts.Earlier, with its functions: other certbots, and the folders of certificates that acme.sh
# and dehydrated renew. acme.sh --remove keeps the folder and renames the file, and dehydrated reads domains.txt.
SECTION = """\
s clients
ls -d /snap/bin/certbot /opt/certbot
# A link leads to one of those, or to a program with an environment of its own; or to one that is gone.
[ -L /usr/local/bin/certbot ] || ls -d /usr/local/bin/certbot
for folder in /root/.acme.sh/*.*/ /home/*/.acme.sh/*.*/; do
  folder=${folder%/}; name=${folder##*/}; [ ! -f "$folder/${name%_ecc}.conf" ] || echo "$folder"
done
for folder in /var/lib/dehydrated/certs/*/; do
  folder=${folder%/}
  ! tr -s '[:space:]' '\\n' < /etc/dehydrated/domains.txt | grep -qxF "${folder##*/}" || echo "$folder"
done"""
