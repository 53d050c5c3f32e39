"""Uploads of application servers, where another host makes the backups."""

from __future__ import annotations

import subprocess

import pytest

from slipway.facts.base import Output
from slipway.settings.peers import Peer
from slipway.tasks.backup import facts, is_there, problems, uploads_elsewhere
from support.described import described

UPLOADS = "/var/www/codementee/shared/uploads"


@pytest.fixture
def settings_of(settings_with, monkeypatch):
    """The settings of a db host beside application servers, or of one that is one of them."""
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")

    def make(*roles: str, others: int = 1, **changes):
        near = {"backup_repositories": {"near": "/srv/backup"}}
        settings = settings_with(**near, shared_paths=["uploads"], **changes)
        more = [Peer(f"app{number}", ("web", "app"), f"10.0.0.{number + 1}") for number in range(1, others + 1)]
        settings._peers = (Peer("data", roles, "10.0.0.1", is_here=True), *more)
        settings.__dict__.pop("all_sites", None)
        return settings

    return make


@pytest.mark.parametrize(
    ("roles", "others", "storage", "wanted"),
    [
        (("web", "app", "db"), 0, "own", {}),
        (("web", "app", "db"), 1, "mounted", {}),
        (("db",), 1, "own", {UPLOADS: ""}),
        (("db",), 2, "mounted", {UPLOADS: "/var/www/codementee"}),
    ],
)
def test_a_host_that_backs_up_and_has_no_backend_needs_the_uploads_of_those_that_do(
    settings_of, roles, others, storage, wanted
):
    settings = settings_of(*roles, others=others, shared_storage=storage)
    with described(settings, roles):
        assert uploads_elsewhere(settings) == wanted


def test_of_what_is_backed_up_the_paths_of_the_settings_must_be_there(settings_of):
    settings = settings_of("web", "app", "db", backup_paths=["/srv/notes"])
    with described(settings, ("web", "app", "db")):
        its = facts(settings)
    assert its.named == ["/srv/notes"]
    assert {UPLOADS, "/srv/notes"} < {*its.paths}


@pytest.mark.parametrize("storage", ["own", "mounted"])
def test_uploads_that_no_backup_has_are_refused(settings_of, storage):
    settings = settings_of("db", others=2, shared_storage=storage)
    with described(settings, ("db",)) as (_, host):
        assert problems(settings) == []
        host.answers[Output] = f"{UPLOADS}\n"
        (problem,) = problems(settings)
    found = "nothing mounted at" if storage == "mounted" else "no"
    assert problem.startswith(f"backups: found {found} {UPLOADS} on this host, which makes them, need it")
    assert ("an empty folder" in problem) is (storage == "own")


def test_a_mount_may_be_of_a_folder_above_and_not_of_the_sites_own(tmp_path):
    uploads = tmp_path / "shared" / "uploads"

    def found(root: str, mounted: str = "") -> bool:
        (tmp_path / "mountpoint").write_text(f'#!/bin/sh\n[ "$2" = "{mounted}" ]\n')
        (tmp_path / "mountpoint").chmod(0o755)
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", is_there(str(uploads), root)], env=env, check=False).returncode == 0

    assert not found("")
    assert not found(str(tmp_path), str(uploads))
    uploads.mkdir(parents=True)
    assert found("")
    assert not found(str(tmp_path))
    assert not found(str(tmp_path), str(tmp_path))
    assert found(str(tmp_path), str(uploads))
    assert found(str(tmp_path), str(uploads.parent))
    # The host that has them for the others.
    (uploads / "1.pdf").touch()
    assert found(str(tmp_path))
