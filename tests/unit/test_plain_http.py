"""Sites that visitors have reached by http alone: they stay there until there is a certificate."""

from __future__ import annotations

import pytest

from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import MAIN, Tree
from slipway.engine import run
from slipway.facts.nginx import NginxInForce
from slipway.tasks.plain_http import MARK
from support.described import described, run_deploy

SHOP = "server { listen 80; server_name codementee.io; }"
FILE = "sites-available/codementee"


def nginx(server: str) -> Found:
    files = {MAIN: "http { include conf.d/*.conf; }", "/etc/nginx/conf.d/0.conf": server}
    dump = "".join(f"# configuration file {name}:\n{text}\n" for name, text in files.items())
    return Found(Tree(dump), "", frozenset([MAIN]))


@pytest.mark.parametrize(
    ("shop", "said", "is_plain"),
    [
        (SHOP, "none", True),
        ("server { listen 80 default_server; location / { root /srv; } }", "none", True),
        # After an apply whose issuance has failed.
        ("", f"none\n    # {MARK}", True),
        ("", "none", False),
        (SHOP.replace(" }", " return 301 https://$host$request_uri; }"), "none", False),
        (SHOP.replace("80", "80 default_server").replace("codementee.io", "blog.example"), "none", False),
        # There is a certificate.
        (SHOP, "", False),
    ],
)
def test_a_site_without_https_is_led_there_once_it_has_a_certificate(settings_with, shop, said, is_plain):
    with described(settings_with()) as (server, host):
        host.answers = {NginxInForce: nginx(shop), "readlink /etc/nginx/tls/codementee": said}
        run_deploy()
        noted = [one.text for one in run.of(host.state).notes.get((host.name, None), [])]
    assert any("found it served by http" in text for text in noted) is is_plain
    trees = [one for one in server.all("config_tree") if one.subject == "/etc/nginx"]
    assert [MARK in one.arguments["files"][FILE] for one in trees] == ([True, False] if is_plain else [False])
    assert [[*one.arguments["files"]] for one in trees[1:]] == [[FILE]] * is_plain
    names = ["Configure Nginx", "Link the certificate", "Redirect http to https", "Reload Nginx with the redirect"]
    known = [one.name for one in server.operations]
    assert [name for name in known if name in names] == (names if is_plain else names[:2])


def test_a_valid_certificate_is_reason_enough_for_https(settings_with):
    with described(settings_with()) as (server, host):
        shop = SHOP.replace(" }", " listen 443 ssl; ssl_certificate /a.crt; ssl_certificate_key /a.key; }")
        host.answers = {NginxInForce: nginx(shop), "readlink /etc/nginx/tls/codementee": "none"}
        host.answers["-checkhost codementee.io"] = "/a.crt\n/a.key"
        run_deploy()
    assert MARK not in server.about("/etc/nginx").arguments["files"][FILE]
