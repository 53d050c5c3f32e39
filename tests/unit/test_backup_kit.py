"""What a person needs of the backups when the server and the computer are gone."""

from __future__ import annotations

import pytest

from slipway.cli.backup import kit_of
from slipway.engine.outcome import Outcome
from slipway.secrets import env_file
from support.fake_session import FakeSession


@pytest.fixture
def settings(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")
    monkeypatch.setenv("SLIPWAY_SECRET_AWS_SECRET_ACCESS_KEY", "of-the-bucket")
    return settings_with(
        backup_repositories={"far": "s3:https://s3.example/shop"}, backup_secrets=["AWS_SECRET_ACCESS_KEY"]
    )


def test_the_kit_has_all_that_opens_the_backups(settings):
    kit = kit_of(settings)
    assert "BACKUP_PASSWORD=of-the-repositories\nAWS_SECRET_ACCESS_KEY=of-the-bucket\n" in kit
    assert "far: s3:https://s3.example/shop" in kit


def test_the_kit_can_be_typed_in(settings_with, monkeypatch):
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
    given = {"BACKUP_PASSWORD": 'a "b" # $c', "BACKUP_SSH_KEY": key, "STRIPE_KEY": "sk"}
    for name, value in given.items():
        monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", value)
    settings = settings_with(
        backup_repositories={"far": "sftp://u1@box.example:23/shop"},
        backup_secrets=["BACKUP_SSH_KEY"],
        secrets_file="",
        backup_known_hosts=["[box.example]:23 ssh-ed25519 AAAA"],
        backend_secrets=["STRIPE_KEY", "JWT_SECRET"],
        generated_secrets=["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD", "JWT_SECRET"],
    )
    kit = kit_of(settings)
    values = env_file.parse(kit[kit.index("BACKUP_PASSWORD=") : kit.index("\nRepositories")])
    assert values == {name: given[name] for name in ("BACKUP_PASSWORD", "BACKUP_SSH_KEY")}
    assert "latest FILE):\n     /etc/codementee/credentials/STRIPE_KEY\n  3. slipway rebuild\n" in kit
    assert "-o UserKnownHostsFile=HOST_KEYS -p 23 u1@box.example -s sftp" in kit
    assert "  [box.example]:23 ssh-ed25519 AAAA\n" in kit
    assert f"of MongoDB {settings.mongodb_version}:" in kit


def test_the_kit_says_how_an_older_restic_logs_in_at_a_rest_server(settings_with, monkeypatch):
    for name in ("BACKUP_PASSWORD", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"):
        monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", "recognisable")
    given = {"backup_repositories": {"near": "/srv/backup", "far": "rest:https://box.example/shop"}}
    login = ["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"]
    kit = kit_of(settings_with(**given, backup_secrets=login))
    assert "For far, where restic is an older one" in kit
    assert "  export RESTIC_REPOSITORY=rest:https://USER:PASSWORD@HOST/PATH " in kit
    for name in login:
        monkeypatch.delenv(f"SLIPWAY_SECRET_{name}")
    assert "USER:PASSWORD" not in kit_of(settings_with(**given))


def test_the_kit_names_the_repositories_that_go_with_the_server(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "p")
    kit = kit_of(settings_with(backup_repositories={"near": "/srv/backup", "far": "rest:https://a.example/shop"}))
    assert "  near: /srv/backup   (a folder of the server: lost with its disk)\n" in kit
    assert "  far: rest:https://a.example/shop\n" in kit


def test_the_kit_is_a_new_file_for_its_owner_alone(run, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeSession, "settings", {"one": settings})
    file = tmp_path / "kit.txt"
    code, output, _ = run(Outcome([], [], 0, 0.0), "backup", "kit", "lab", str(file))
    assert (code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert file.read_text() == kit_of(settings)
    assert "of-the-repositories" not in output
    code, _, _ = run(Outcome([], [], 0, 0.0), "backup", "kit", str(tmp_path / "other.txt"))
    assert (code, run.session.last.arguments[0]) == (0, "production")
    code, _, errors = run(Outcome([], [], 0, 0.0), "backup", "kit", "staging", str(tmp_path / "third.txt"))
    assert (code, "expected a file, or" in errors) == (1, True)
    file.write_text("mine")
    code, _, errors = run(Outcome([], [], 0, 0.0), "backup", "kit", "lab")
    assert (code, "found lab, expected a file, or" in errors) == (1, True)
    code, _, errors = run(Outcome([], [], 0, 0.0), "backup", "kit", "lab", str(file))
    assert (code, file.read_text()) == (1, "mine")
    assert "File exists; name a new file" in errors
