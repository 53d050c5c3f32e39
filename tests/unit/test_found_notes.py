"""What an existing server has that does no harm beside Slipway: it stays, and a plan notes it."""

from __future__ import annotations

import re
import subprocess

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.adoption import jobs
from slipway.adoption.certificates import WAYS
from slipway.adoption.nginx import MAIN, Found
from slipway.adoption.nginx_config import Tree
from slipway.engine import run
from slipway.facts.earlier import ROTATED, Earlier
from slipway.facts.nginx import NginxInForce
from slipway.facts.ssh import Sshd
from support.described import described, run_deploy

SSHD = {Sshd: {"port": ["22"], "authorizedkeysfile": [".ssh/authorized_keys"]}}


def notes(settings, earlier: dict[str, str], there: Found | None = None, **answers: str) -> list[str]:
    """The notes of a plan, and what it refuses."""
    with described(settings) as (_, host):
        host.answers = SSHD | {Earlier: earlier} | ({NginxInForce: there} if there else {}) | answers
        told = []
        try:
            run_deploy()
        except PyinfraError as error:
            told = str(error).splitlines()[1:]
        return [*(one.text for one in run.of(host.state).notes.get((host.name, None), [])), *told]


def test_other_renewals_by_certbot_stay_and_are_noted(settings_with):
    cron = "/etc/cron.d/renew:0 12 * * * root certbot renew --quiet"
    found = notes(settings_with(), {"clients": "/snap/bin/certbot", "jobs": f"{cron}\n{cron}"})
    assert "/snap/bin/certbot: another certbot, which is no longer needed (snap remove certbot)" in found
    note = "/etc/cron.d/renew: a renewal by certbot, which is no longer needed: certbot.timer renews"
    assert found.count(note) == 1
    assert [*jobs.remarks({"jobs": "/etc/cron.d/x:0 12 * * * root certbot renew --standalone"})] == []


def test_a_server_block_that_nginx_ignores_is_noted(settings_with):
    site = "server { listen 80; server_name codementee.io; }"
    dump = f"# configuration file {MAIN}:\nhttp {{ include conf.d/*.conf; }}\n"
    dump += f"# configuration file /etc/nginx/conf.d/a.conf:\n{site}\n{site}\n"
    there = Found(Tree(dump), "", frozenset([MAIN]))
    found = notes(settings_with(), {"x": ""}, there)
    place = "/etc/nginx/conf.d/a.conf"
    assert f"{place}:2: Nginx ignores the name codementee.io, as {place}:1 has it" in found


def test_another_time_zone_is_noted_or_refused(settings_with):
    found, note = {"timezone": "Asia/Kolkata"}, "time zone: Asia/Kolkata becomes Etc/UTC (to keep it: timezone = "

    def told(earlier: dict[str, str], **answers: str) -> list[str]:
        return [line for line in notes(settings_with(), earlier, **answers) if "time zone" in line]

    assert [line.startswith(note) for line in told(found)] == [True]
    # Data are no site.
    assert [line.startswith(note) for line in told(found, WiredTiger="MongoDB's data")] == [True]
    (line,) = told(found | {"local times": "cron jobs and timers"})
    assert line.startswith("  - time zone: found Asia/Kolkata, by which cron jobs and timers run, need timezone = ")


def test_the_plugins_of_other_sites_renewals_are_installed(settings_with):
    renewal = "/etc/letsencrypt/renewal/{}.conf:authenticator = nginx"
    plugin = "python3-certbot-nginx"
    for names, wanted in ((("codementee",), ["certbot"]), (("blog", "codementee"), ["certbot", plugin])):
        with described(settings_with()) as (server, host):
            host.answers = SSHD | {WAYS: "\n".join(map(renewal.format, names))}
            run_deploy()
        (packages,) = [one for one in server.operations if one.name == "Install packages"]
        assert packages.arguments["packages"]["tls"] == wanted


def test_what_gets_no_updates_by_itself_any_more_is_noted(settings_with):
    own = [
        "origin=Debian,codename=${distro_codename},label=Debian",
        "${distro_id}ESM:${distro_codename}-infra-security",
    ]
    found = notes(settings_with(), {"origins": "\n".join([*own, "origin=Docker,label=Docker CE", "site=deb.example"])})
    (line,) = (line for line in found if line.startswith("unattended-upgrades: "))
    assert "no longer updates origin=Docker,label=Docker CE; site=deb.example:" in line
    assert not any(line.startswith("unattended-upgrades: ") for line in notes(settings_with(), {"origins": own[0]}))


def test_the_origins_are_read_as_apt_prints_them(tmp_path):
    printed = (
        'Unattended-Upgrade::Origins-Pattern "";\nUnattended-Upgrade::Origins-Pattern:: "origin=Docker,label=x";\n'
    )
    (tmp_path / "apt-config").write_text(
        f"#!/bin/sh\n[ $2 != Unattended-Upgrade::Origins-Pattern ] || cat <<'END'\n{printed}END\n"
    )
    (tmp_path / "apt-config").chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    script = re.search(r"s (origins; for list .*?^done)", command, re.DOTALL | re.MULTILINE)
    assert script
    shell = f'PATH={tmp_path}:$PATH; s() {{ echo "=== $1"; }}; s {script[1]}'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stdout == "=== origins\norigin=Docker,label=x\n"
    assert [one for one in command if not one.isprintable() and one not in "\n\t"] == []


@pytest.mark.parametrize(
    ("line", "is_duplicate"),
    [
        ("/var/log/nginx/*.log {", True),
        ('"/var/log/nginx/error.log"', True),
        ("/srv/x.log /var/log/ufw.log {", True),
        ("/var/log/nginx/blog/*.log {", False),
        ("# /var/log/nginx/*.log {", False),
        ("/var/log/mysite/nginx.log {", False),
    ],
)
def test_a_rotation_of_logs_in_a_folder_below_is_no_duplicate(line, is_duplicate):
    found = subprocess.run(["grep", "-E", ROTATED], input=line, capture_output=True, text=True, check=False)
    assert (found.returncode == 0) is is_duplicate
