"""A site of other settings on the same server, whose MongoDB user a new one would take."""

from __future__ import annotations

import subprocess

import pytest

from slipway.facts.files import FileState
from slipway.facts.mongodb import MongodbUsers
from slipway.tasks import other_sites, packages
from support.described import FakeHost

THERE = {"kind": "regular file", "owner": "root", "group": "root", "mode": "644"}


@pytest.fixture
def settings(settings_with):
    return settings_with(site_name="shop", site_domain="shop.example")


def running(settings, top, files: dict[str, str], active: str = "") -> list[str]:
    """What the command prints of a server with these files in /etc and this active unit."""
    for name, text in files.items():
        (top / "etc" / name).parent.mkdir(parents=True, exist_ok=True)
        (top / "etc" / name).write_text(text)
    (top / "systemctl").write_text(f'#!/bin/sh\n[ "$3" = "{active}" ]\n')
    (top / "systemctl").chmod(0o755)
    script = other_sites.running(settings).replace("/etc/", f"{top}/etc/")
    command = ["dash", "-c", f"PATH={top}:$PATH; {script}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


OTHER = {"old/credentials/MONGODB_BACKEND_PASSWORD": "x", "systemd/system/old-backend.service": "# by Slipway\n"}
OWN = {"shop/credentials/MONGODB_BACKEND_PASSWORD": "x", "systemd/system/shop-backend.service": "# by Slipway\n"}


@pytest.mark.parametrize(
    ("files", "active", "expected"),
    [
        (OTHER, "old-backend.service", ["new:shop", "other:old"]),
        (OTHER, "", ["new:shop"]),
        ({}, "", ["new:shop"]),
        # One that is there already, and a unit of somebody else's.
        (OTHER | OWN, "old-backend.service", []),
        (OTHER | {"systemd/system/old-backend.service": "[Unit]\n"}, "old-backend.service", ["new:shop"]),
    ],
)
def test_another_running_site_is_looked_for_where_a_site_is_new(settings, tmp_path, files, active, expected):
    assert running(settings, tmp_path, files, active) == expected


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ({"new=;": "new:shop\nother:old", MongodbUsers: {"server": "closed", "backend": "ab12"}}, 1),
        # It has another user; MongoDB is down; nothing is new.
        ({"new=;": "new:shop\nother:old", MongodbUsers: {"server": "closed", "backend": "refused"}}, 0),
        ({"new=;": "new:shop\nother:old", MongodbUsers: {"server": "away", "backend": "ab12"}}, 0),
        ({"new=;": "", MongodbUsers: {"server": "closed", "backend": "ab12"}}, 0),
    ],
)
def test_a_site_that_would_take_another_ones_mongodb_user_is_noted(settings, monkeypatch, answers, count):
    box = FakeHost(("app", "db"))
    box.answers = {FileState: THERE, **answers}
    for module in (other_sites, packages):
        monkeypatch.setattr(module, "host", box)
    assert other_sites.remarks(settings) == count * [
        "mongodb_backend_user: the running site 'old', which is not in the settings, has the same user 'backend', and"
        " fails from its new password on; to keep it up until 'shop' takes its place:"
        ' mongodb_backend_user = "shop"; to keep both: `sites`'
    ]
