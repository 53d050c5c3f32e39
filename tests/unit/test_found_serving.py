"""Where a site's requests go now: to programs in units of other names, and to other hosts."""

from __future__ import annotations

import pytest

from slipway.adoption import Obstacle
from slipway.adoption.nginx import MAIN, Found
from slipway.adoption.nginx_config import Tree
from slipway.adoption.nginx_upstreams import backend_ports, foreign_hosts, obstacles
from slipway.adoption.serving import serving, without_repeats
from support.obstacles import SERVICE, told

API = "location /api/ { proxy_pass http://127.0.0.1:8000; }"
SITE = "/etc/nginx/conf.d/site.conf"


def nginx(text: str, http: str = "") -> Found:
    files = {MAIN: "http { include conf.d/*.conf; }", SITE: f"{http} server {{ server_name codementee.io; {text} }}"}
    return Found(Tree("".join(f"# configuration file {name}:\n{its}\n" for name, its in files.items())))


# --- Other hosts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "http", "hosts"),
    [
        (API, "", []),
        ("location /api/ { proxy_pass http://unix:/run/api.sock:/; }", "", []),
        ("location /api/ { proxy_pass http://[::1]:8000/; }", "", []),
        ("location /api/ { proxy_pass http://10.0.0.5:8000; }", "", ["10.0.0.5"]),
        ("location /api/ { if ($x) { proxy_pass http://172.18.0.3; } }", "", ["172.18.0.3"]),
        ("location /api/ { proxy_pass http://app; }", "upstream app { server 127.0.0.1:1; server unix:/run/x; }", []),
        (
            "location /api/ { proxy_pass http://app/; }",
            "upstream app { least_conn; server 127.0.0.1:1; server api2.internal:8000 backup; server 10.0.0.9 down; }",
            ["api2.internal"],
        ),
        ("set $up http://api:8000; location /api/ { proxy_pass $up; }", "", ["api"]),
        ("location /api/ { set $up api; proxy_pass http://${up}:8000$request_uri; }", "", ["api"]),
        # Only a request tells it.
        ("location /api/ { proxy_pass http://$host:8000; }", "", []),
        # Each is named for itself: adoption.nginx_site.
        ("location /media/ { proxy_pass https://shop.s3.amazonaws.com; }", "", []),
        ("location / { try_files $uri @app; } location @app { proxy_pass http://10.0.0.5; }", "", []),
        ("location /api/ { try_files $uri @app; } location @app { proxy_pass http://10.0.0.5; }", "", ["10.0.0.5"]),
    ],
)
def test_a_backend_on_another_host_is_known_by_what_nginx_leads_to(settings_with, text, http, hosts):
    assert foreign_hosts(nginx(text, http), settings_with()) == hosts


def test_a_backend_on_another_host_is_named_unless_it_is_this_server_after_all(settings_with):
    there = nginx("location /api/ { proxy_pass http://app.internal:8000; }")
    (one,) = obstacles(there, settings_with(), [])
    assert one.name == f"{SITE}:1: proxy_pass"
    assert one.found.endswith("which leads to app.internal: another host, or a container")
    assert [*obstacles(there, settings_with(), ["app.internal"])] == []


# --- Units of other names --------------------------------------------------------------------------------------------


def test_only_the_backends_requests_say_which_program_is_the_backend(settings_with):
    there = nginx(f"location / {{ proxy_pass http://127.0.0.1:3000; }} {API}")
    assert [*backend_ports(there, settings_with())] == [8000]
    earlier = {"listeners": "127.0.0.1:8000 python3 fastapi.service\n127.0.0.1:3000 node next.service"}
    needs = {one.holder: one.obstacle.need for one in serving(earlier, there, settings_with())}
    assert needs["next.service"] == "it as one of `services`"
    assert needs["fastapi.service"].startswith("it run by")


@pytest.mark.parametrize(
    ("listener", "services", "need"),
    [
        (
            "python3 fastapi.service",
            "fastapi.service",
            f"it renamed to {SERVICE}, which Slipway replaces: cd /etc/systemd/system &&"
            f" systemctl cat fastapi.service > {SERVICE} && systemctl disable --now fastapi.service &&"
            f" mv fastapi.service /root/ && systemctl daemon-reload && systemctl enable --now {SERVICE}",
        ),
        ("python3 pm2-root.service", "pm2-root.service", "pm2 delete NAME; pm2 save; systemctl enable"),
        ("docker-proxy docker.service", "", "docker update --restart=no NAME; docker stop NAME; systemctl enable"),
        ("uvicorn ", "", "ExecStart=; it stopped; systemctl enable"),
    ],
)
def test_how_the_backend_gets_slipways_name_is_said(settings_with, listener, services, need):
    (one,) = serving({"listeners": f"127.0.0.1:8000 {listener}", "services": services}, nginx(API), settings_with())
    assert need in one.obstacle.need
    assert f"/etc/systemd/system/{SERVICE}, which" in one.obstacle.need or "renamed" in one.obstacle.need


def test_a_backend_of_slipways_name_or_behind_a_socket_of_systemds_is_no_obstacle(settings_with):
    for listener in (f"python3 {SERVICE}", "systemd "):
        assert serving({"listeners": f"127.0.0.1:8000 {listener}"}, nginx(API), settings_with()) == []


def test_the_program_that_serves_the_site_is_told_in_one_line(settings_with):
    found = serving({"listeners": "0.0.0.0:8000 python3 fastapi.service"}, nginx(API), settings_with())
    same = ["fastapi.service", "port 8000", "reboot: fastapi.service", "reboot: port 22, 8000"]
    same.append("/etc/systemd/system/fastapi.service: ExecStart=/var/www/codementee/backend/venv/bin/uvicorn")
    others = ["worker.service", "port 3000", "reboot: port 80001", "port 80", "reboot: chat.service"]
    every = [Obstacle(name, "x", "y") for name in (*same, *others)]
    assert told(without_repeats(every, found, [])) == ["fastapi.service", *others]
    # It runs on: its port stays.
    assert told(without_repeats(every, found, ["fastapi.service"])) == ["fastapi.service", *same, *others]
