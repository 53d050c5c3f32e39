"""What a server is made of, top to bottom.

slipway apply                       or, with pyinfra alone:
pyinfra inventory.py deploy.py
"""

from pyinfra import host

from slipway.settings.of_host import checked_settings
from slipway.tasks.admin import admin
from slipway.tasks.adoption import adopt, retire_sites
from slipway.tasks.auditing import auditing
from slipway.tasks.backend import backend, retire_services
from slipway.tasks.base import base
from slipway.tasks.fail2ban import fail2ban
from slipway.tasks.firewall import firewall, prune_rules
from slipway.tasks.guard import keep_a_way_back
from slipway.tasks.kernel import kernel
from slipway.tasks.logins import logins
from slipway.tasks.mongodb import mongodb
from slipway.tasks.nginx import nginx
from slipway.tasks.packages import packages
from slipway.tasks.preflight import preflight
from slipway.tasks.release import first_release
from slipway.tasks.ssh import ssh
from slipway.tasks.tls import tls
from slipway.tasks.updates import updates

settings = checked_settings(host)
preflight(settings)

adopt(settings)
packages(settings)
base(settings)
updates(settings)
kernel(settings)
logins()
keep_a_way_back(settings)
admin(settings)
firewall(settings)
ssh(settings)
prune_rules(settings)
if "db" in host.groups:
    mongodb(settings)
if "app" in host.groups or "web" in host.groups:
    for site in settings.all_sites:
        first_release(site)
if "app" in host.groups:
    for site in settings.all_sites:
        backend(site)
    retire_services(settings)
if "web" in host.groups:
    retire_sites(settings)
    nginx(settings)
    for site in settings.all_sites:
        tls(site)
fail2ban(settings)
auditing()
