"""A site that was built by hand becomes a release, by the shell's own hand, on a made-up tree."""

from __future__ import annotations

import os
import subprocess

import pytest

from slipway.settings.model import Settings
from support.described import commands_of, deploy


@pytest.fixture
def site(tmp_path, settings_with, monkeypatch):
    """A site with data of its own in its folder, taken over."""
    if os.geteuid() != 0:
        pytest.skip("the files become root's")
    root = tmp_path / "site"
    monkeypatch.setattr(Settings, "site_root", property(lambda self: str(root)))
    (root / "backend/venv").mkdir(parents=True)
    (root / "backend/server.py").write_text("app = 1\n")
    (root / "backend/.env").write_text("SECRET=1\n")
    (root / "frontend/build").mkdir(parents=True)
    (root / "frontend/build/index.html").write_text("page\n")
    (root / "uploads").mkdir()
    (root / "uploads/a.pdf").write_text("of a visitor\n")
    operations = deploy(settings_with())
    (keep_site,) = operations.all("keep_site")
    (command,) = commands_of(keep_site, answers={f"cd {root} && for part": "backend\nfrontend\n"})
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root


def test_what_was_there_is_kept_and_served_as_a_release(site):
    (release,) = (site / "releases").iterdir()
    assert (site / "current").readlink() == release.relative_to(site)
    for part in ("backend", "frontend"):
        assert (site / part).readlink() == type(site)(f"current/{part}")
    assert (site / "backend.by-hand/server.py").read_text() == "app = 1\n"
    assert (site / "frontend.by-hand/build/index.html").read_text() == "page\n"
    assert (site / "frontend/build/index.html").read_text() == "page\n"
    assert (site / "uploads/a.pdf").read_text() == "of a visitor\n"


def test_its_secrets_are_not_for_the_backends_user_to_read(site):
    assert (site / "backend/.env").stat().st_mode & 0o777 == 0o600
    assert (site / "backend/server.py").stat().st_mode & 0o022 == 0


def test_the_copy_of_what_is_replaced_is_made_once_and_is_roots_alone(settings_with):
    (keep,) = deploy(settings_with()).all("keep_aside")
    found = {"for part in backend frontend": "MongoDB's data\n"}
    (command,) = commands_of(keep, answers=found)
    assert command.startswith("set -e; cd /; umask 077;")
    for path in ("/etc/mongod.conf", "/etc/nginx", "/etc/ssh", "/etc/ufw"):
        assert f" {path} " in command.replace(";", " ")
    assert commands_of(keep, answers={**found, "ls -d": "/var/backups/slipway/by-hand"}) == []
