"""The commands that turn an existing site into a release, run in a temporary folder."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import Tree
from slipway.facts.earlier import Earlier
from slipway.facts.nginx import NginxInForce
from slipway.settings.model import Settings
from slipway.tasks import owners, shared
from slipway.tasks.adoption import hide_variables, readable_variables, replaced
from support.described import commands_of, deploy


@pytest.fixture
def site(tmp_path, settings_with, monkeypatch):
    """A site with data in its folder, and the steps of its adoption."""
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
    operations = deploy(settings_with(shared_paths=["media"]))

    def perform(kind: str) -> None:
        (one,) = operations.all(kind)
        (command,) = commands_of(one, answers={f"cd {root} && for part": "backend\nfrontend\n"})
        command = command.replace(owners.ASIDE, str(tmp_path / "kept"))
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return root, perform


def test_the_site_is_copied_before_it_is_replaced(site):
    root, perform = site
    perform("keep_site")
    (release,) = (root / "releases").iterdir()
    assert (root / "current").readlink() == release.relative_to(root)
    # The previous server keeps serving it.
    assert not (root / "backend").is_symlink()
    assert (root / "current/frontend/build/index.html").read_text() == "page\n"


def test_half_a_site_is_no_release(site, settings_with):
    root, _ = site
    (keep,) = deploy(settings_with()).all("keep_site")
    assert commands_of(keep, answers={f"cd {root} && for part": "frontend\n"}) == []


def test_the_previous_site_is_kept_and_the_usual_paths_link_to_the_release(site):
    root, perform = site
    perform("keep_site")
    (root / "backend/late.txt").write_text("written meanwhile\n")
    perform("move_aside")
    for part in ("backend", "frontend"):
        assert (root / part).readlink() == type(root)(f"current/{part}")
    assert (root / "backend.by-hand/server.py").read_text() == "app = 1\n"
    assert (root / "backend.by-hand/late.txt").read_text() == "written meanwhile\n"
    assert (root / "frontend.by-hand/build/index.html").read_text() == "page\n"
    assert (root / "frontend/build/index.html").read_text() == "page\n"
    assert (root / "uploads/a.pdf").read_text() == "of a visitor\n"


def test_an_existing_backup_of_the_same_name_is_kept(site):
    root, perform = site
    (root / "backend.by-hand").mkdir()
    (root / "backend.by-hand/old.txt").write_text("older\n")
    perform("keep_site")
    perform("move_aside")
    (older,) = [path for path in root.glob("backend.by-hand.*") if path.is_dir()]
    assert (older / "old.txt").read_text() == "older\n"
    assert (root / "backend.by-hand/server.py").exists()


def test_its_secrets_are_not_for_the_backends_user_to_read(site):
    root, perform = site
    perform("keep_site")
    assert (root / "current/backend/.env").stat().st_mode & 0o777 == 0o600
    assert (root / "current/backend/server.py").stat().st_mode & 0o022 == 0


def test_files_with_the_previous_backends_variables_are_closed_to_others(tmp_path, settings_with):
    unit, root = tmp_path / "etc/systemd/system/codementee-backend.service", tmp_path / "site"
    for name in (".env", "api/.env", "one.env", "two.env", "closed.env"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        (root / name).chmod(0o644 if name != "closed.env" else 0o640)
    unit.parent.mkdir(parents=True)
    files = f'EnvironmentFile="{root}/one.env"\nEnvironmentFile=-{root}/t*.env\nEnvironmentFile={root}/closed.env'
    unit.write_text(f"[Service]\nWorkingDirectory={root}/api\n{files}\n")
    script = readable_variables(settings_with()).replace("/var/www/codementee", str(root))
    script = script.replace(" /etc/systemd", f" {tmp_path}/etc/systemd")
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split() == [f"{root}/{name}" for name in (".env", "api/.env", "one.env", "two.env")]
    command = hide_variables(settings_with()).replace("/var/www/codementee", str(root))
    command = command.replace(" /etc/systemd", f" {tmp_path}/etc/systemd").replace(owners.ASIDE, str(tmp_path / "kept"))
    for shell, mode in ((command, 0o640), (owners.restore(str(root), str(tmp_path / "kept")), 0o644)):
        subprocess.run(["sh", "-c", shell], check=True)
        assert {(root / name).stat().st_mode & 0o777 for name in (".env", "api/.env", "two.env")} == {mode}


def test_modes_and_owners_that_an_adoption_changes_are_restored(site, tmp_path, settings_with):
    root, perform = site
    media = root / "backend/media"
    (media / "a b").mkdir(parents=True)
    (media / "a b/c.pdf").touch()
    (media / "link").symlink_to(tmp_path)
    for path, mode in ((media, 0o777), (media / "a b", 0o775), (media / "a b/c.pdf", 0o644), (media / "link", None)):
        os.chown(path, 1234, 1235, follow_symlinks=False)
        if mode:
            path.chmod(mode)
    before = {path: path.lstat() for path in (root / "backend/.env", tmp_path)}
    perform("keep_site")
    place = root / "shared/media"
    before |= {path: path.lstat() for path in (place, *place.rglob("*"))}
    for one in shared.places(settings_with(shared_paths=["media"])):
        command = shared.owned(one).replace("codementee-backend", "nobody").replace(":nobody", ":nogroup")
        subprocess.run(["sh", "-c", command], check=True)
    perform("move_aside")
    assert ((root / "backend.by-hand/.env").stat().st_mode & 0o777, place.stat().st_mode & 0o777) == (0o600, 0o750)
    assert place.stat().st_uid != 1234
    (root / "backend").unlink()
    (root / "backend.by-hand").rename(root / "backend")
    # What the application could have done since.
    (place / "a b").rename(root / "moved")
    (place / "a b").symlink_to(root / "moved")
    was = (root / "moved/c.pdf").stat()
    subprocess.run(["sh", "-c", owners.restore(str(root), str(tmp_path / "kept"))], check=True)
    assert (root / "moved/c.pdf").stat() == was, "no link is followed"
    (place / "a b").unlink()
    (root / "moved").rename(place / "a b")
    subprocess.run(["sh", "-c", owners.restore(str(root), str(tmp_path / "kept"))], check=True)
    assert {path: ids(path.lstat()) for path in before} == {path: ids(one) for path, one in before.items()}


def ids(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode, found.st_uid, found.st_gid


def test_the_backup_is_made_once_and_is_readable_only_by_root(settings_with):
    (keep,) = deploy(settings_with()).all("keep_aside")
    found = {"/WiredTiger": "MongoDB's data\n"}
    (command,) = commands_of(keep, answers=found)
    assert command.startswith("set -e; cd /; umask 077;")
    for path in ("/etc/mongod.conf", "/etc/nginx", "/etc/ssh", "/etc/ufw", "/etc/letsencrypt/renewal", "/etc/aide"):
        assert f" {path} " in command.replace(";", " ")
    assert commands_of(keep, answers={**found, "ls -d /var/backups": "/var/backups/slipway/by-hand"}) == []


def test_what_an_owner_adds_after_the_adoption_is_backed_up_before_it_goes(settings_with, tmp_path):
    (keep,) = deploy(settings_with()).all("keep_aside")
    text = "# configuration file /etc/nginx/nginx.conf:\nhttp { include conf.d/*.conf; }\n"
    text += "# configuration file /etc/nginx/conf.d/shop.conf:\nserver { server_name codementee.io; }\n"
    unit = "/etc/systemd/system/codementee-backend.service"
    there = Found(Tree(text), links={"/etc/nginx/conf.d/shop.conf": "/etc/nginx/sites-available/shop"})
    answers = {NginxInForce: there, "ls -d /var/backups": "/var/backups/slipway/by-hand"}
    assert commands_of(keep, answers=answers) == []
    files = f"{unit}\n/etc/nginx/conf.d/shop.conf\n/etc/nginx/sites-available/shop\n"
    (command,) = commands_of(keep, answers={**answers, "cmp -s": files})
    kept, removed = tmp_path / "backups/by-hand", tmp_path / "backups/removed"
    for path, text in ((tmp_path / "etc/x", "new"), (kept / "etc/x", "old"), (tmp_path / "etc/y", "alone")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("x", "y"):
        command = command.replace({"x": unit, "y": "/etc/nginx/conf.d/shop.conf"}[name], f"/etc/{name}")
    command = command.replace(" /etc/nginx/sites-available/shop", "").replace(' "$path"', ' ".$path"')
    command = command.replace("cd /;", f"cd {tmp_path};").replace("/var/backups/slipway", f"{tmp_path}/backups")
    for _ in range(2):
        subprocess.run(["bash", "-c", command], check=True)
    assert ((kept / "etc/x").read_text(), (kept / "etc/y").read_text()) == ("old", "alone")
    assert (removed / "etc/x").read_text() == "new"


def test_a_server_without_a_site_is_backed_up_by_its_first_apply(settings_with):
    (keep,) = deploy(settings_with()).all("keep_aside")
    (command,) = commands_of(keep, answers={Earlier: {"listeners": ""}})
    assert "/var/backups/slipway/by-hand" in command
    assert commands_of(keep, answers={Earlier: {}}) == []


def test_files_of_any_server_that_slipway_replaces_are_backed_up(settings_with):
    """Those of its own names need no copy."""
    own = re.compile(r"/slipway|slipway[.]|/codementee|mongod[.](keyfile|members)|/mongodb$")
    found = {one.arguments["path"] for one in deploy(settings_with()).operations if "path" in one.arguments}
    found |= {path for one in deploy(settings_with()).operations for path in one.arguments.get("files") or {}}
    copied = replaced(settings_with())
    assert [
        path for path in found if path.startswith("/etc/") and not own.search(path) and not covered(path, copied)
    ] == []


def covered(path: str, copied: list[str]) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in copied)


def test_another_site_alone_is_a_server_of_somebody_elses_too(settings_with):
    (keep,) = deploy(settings_with()).all("keep_aside")
    text = "# configuration file /etc/nginx/nginx.conf:\nhttp { server { server_name blog.example; } }\n"
    (command,) = commands_of(keep, answers={NginxInForce: Found(Tree(text))})
    assert "/var/backups/slipway/by-hand" in command
