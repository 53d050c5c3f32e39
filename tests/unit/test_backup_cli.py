"""`slipway backup` and `slipway restore` without a host."""

from __future__ import annotations

import subprocess

import pytest
from click.testing import CliRunner

from slipway.cli import backup_program
from slipway.cli.backup import kit_of
from slipway.cli.restore import restore
from slipway.engine.outcome import Outcome
from slipway.settings.check import SettingsError, check
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


def test_the_kit_is_a_new_file_for_its_owner_alone(run, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeSession, "settings", {"one": settings})
    file = tmp_path / "kit.txt"
    code, output, _ = run(Outcome([], [], 0, 0.0), "backup", "kit", "lab", str(file))
    assert (code, file.stat().st_mode & 0o777) == (0, 0o600)
    assert file.read_text() == kit_of(settings)
    assert "of-the-repositories" not in output
    file.write_text("mine")
    code, _, errors = run(Outcome([], [], 0, 0.0), "backup", "kit", "lab", str(file))
    assert (code, file.read_text()) == (1, "mine")
    assert "File exists; name a new file" in errors


def test_nothing_is_restored_without_a_yes(run, monkeypatch):
    asked: list[list[str]] = []
    monkeypatch.setattr("slipway.cli.restore.run_there", lambda session, console, words: asked.append(words))
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    at = ("--at", "2026-11-29T15:00:01Z")
    code, _, errors = run(Outcome([], [], 0, 0.0), "restore", "lab", *at)
    assert (code, asked) == (1, [["restore", *at, "--dry-run"]])
    assert "confirm with --yes" in errors
    code, _, _ = run(Outcome([], [], 0, 0.0), "restore", "lab", *at, "--dry-run", "--yes")
    assert (code, len(asked)) == (0, 2)
    code, _, _ = run(Outcome([], [], 0, 0.0), "restore", "lab", *at, "--yes")
    assert (code, asked[3:]) == (0, [["restore", *at]])


@pytest.mark.parametrize(
    ("repositories", "said"),
    [
        ({"far": "backup.example:/shop"}, "found 'backup.example:/shop' for far"),
        ({"far": "rest:https://user:password@backup.example/"}, "places without a password, found one in far"),
        ({"Far": "/srv/backup"}, "lower-case letters"),
    ],
)
def test_a_place_that_restic_does_not_know_is_refused(settings_with, repositories, said):
    with pytest.raises(Exception, match=said):
        settings_with(backup_repositories=repositories)


def test_without_their_password_there_are_no_backups(monkeypatch, tmp_path):
    monkeypatch.delenv("SLIPWAY_SECRET_BACKUP_PASSWORD", raising=False)
    given = {"site_domain": "shop.example.org", "backup_repositories": {"near": "/srv/backup"}}
    with pytest.raises(SettingsError, match="BACKUP_PASSWORD"):
        check(given)
    with pytest.raises(SettingsError, match="BACKUP_SSH_KEY among them"):
        check({**given, "backup_repositories": {"far": "sftp:a@b.example:shop"}})


def test_what_the_program_says_is_read_as_it_comes_and_ends_with_its_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr(backup_program, "SAID", str(tmp_path / "asked"))
    (tmp_path / "asked").write_text("one\ntwo\n")

    def look(begin):
        shown = subprocess.run(
            ["sh", "-c", backup_program.look_script(begin)], capture_output=True, text=True, check=True
        )
        text, _, end = shown.stdout.rpartition(f"\n{backup_program.END}")
        return text, end.strip()

    # Its unit is not there.
    assert look(4) == ("two\n", "8 gone")
    (tmp_path / "asked.code").write_text("3\n")
    assert look(0) == ("one\ntwo\n", "8 3")
    assert look(8) == ("", "8 3")


@pytest.mark.parametrize(
    "words", [["--at", "2026-11-29T15:00:01Z", "--id", "A"], ["--only", "shop.orders", "--files"], ["--at", ""]]
)
def test_options_that_contradict_each_other_are_refused_before_a_host_is_asked(words):
    done = CliRunner().invoke(restore, words)
    assert done.exit_code == 2
