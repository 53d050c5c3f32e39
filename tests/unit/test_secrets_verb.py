"""`slipway secrets`: what its commands show, keep and refuse."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner, Result

from slipway.cli import secrets
from slipway.cli.secrets import Store, secrets_group
from slipway.secrets import env_file
from slipway.secrets.authority import Authority
from slipway.secrets.store import IDENTITY_VARIABLE, decrypt, encrypt
from slipway.settings.check import SettingsError

NAMES = ["JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
GENERATED = ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """Of a file with one secret, in the folder where we stand."""
    monkeypatch.delenv(IDENTITY_VARIABLE, raising=False)
    key = pyrage.x25519.Identity.generate()
    identity = private(tmp_path / "identity.txt", f"# mine\n{key}\n")
    encrypted = tmp_path / "production.age"
    encrypted.write_bytes(encrypt("ADMIN_PASSWORD=recognisable\n", [str(key.to_public())]))
    store = Store(encrypted, str(identity), [str(key.to_public())], NAMES, GENERATED)
    monkeypatch.setattr(secrets, "store_of", lambda environment: store)
    monkeypatch.chdir(tmp_path)
    return store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(secrets_group, arguments)


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "editor"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(program))


def test_a_store_is_of_what_group_data_sets_and_else_of_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.py").touch()
    file = tmp_path / "group_data/all.py"
    file.parent.mkdir()
    file.write_text('site_name = "x"\nsites = [{"site_name": "blog", "backend_secrets": ["KEY"]}]\n')
    store = secrets.store_of("production")
    assert (store.path, store.identity) == (tmp_path / "secrets/production.age", "~/.config/slipway/identity.txt")
    assert store.recipients == []
    assert store.names == store.generated == ["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
    assert secrets.store_of("blog").names[0] == "KEY"
    assert secrets.store_of("lab").path == tmp_path / "secrets/lab.age"
    file.write_text('secrets_recipients = ["age1nobody"]\n')
    with pytest.raises(
        SettingsError, match=r"all\.py: secrets_recipients\[0\]: found 'age1nobody', expected a public key"
    ):
        secrets.store_of("production")
    file.write_text("site_name = = 1\n")
    with pytest.raises(secrets.SecretsFailed, match=r"group_data/all\.py: SyntaxError"):
        secrets.store_of("production")


def test_an_environment_that_there_is_not_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventory.py").write_text('web = [("one", {"secrets_file": "secrets/one.age"})]\n')
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/all.py").write_text('backend_secrets = ["JWT_SECRET"]\n')
    said = run("edit", "prodution").output
    assert "ENV: found 'prodution', expected production, lab, one or another file of secrets/" in said
    assert "did you mean production?" in said
    assert 'set secrets_file = "secrets/staging.age" first' in run("rotate", "staging").output
    said = run("show", "JWT_SECRET").output
    assert "ENV: found JWT_SECRET, which is a secret" in said
    assert "slipway secrets show production JWT_SECRET" in said
    assert not (tmp_path / "secrets").exists()
    # A file that is there may be for anything.
    assert secrets.store_of("one").path == tmp_path / "secrets/one.age"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/other.age").touch()
    assert secrets.store_of("other").path == tmp_path / "secrets/other.age"


def test_show_tells_names_and_a_value_only_when_asked(store):
    assert run("show").output == "ADMIN_PASSWORD\n"
    assert run("show", "production", "ADMIN_PASSWORD").output == "recognisable\n"
    assert run("show", "--reveal").output == "ADMIN_PASSWORD=recognisable\n"
    missing = run("show", "production", "NOTHING")
    assert missing.exit_code == 1
    assert "found no NOTHING; there are: ADMIN_PASSWORD" in missing.output


def test_an_edit_is_encrypted_and_leaves_nothing_in_plain(store, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    editor(
        tmp_path, monkeypatch, f'stat -c "%a %n" $(dirname $1) $1 > {seen}; cp $1 $1~; echo JWT_SECRET=another >> $1'
    )
    done = run("edit")
    assert done.exit_code == 0, done.output
    assert "' #'" not in done.output
    assert store.read() == "ADMIN_PASSWORD=recognisable\nJWT_SECRET=another\n"
    folder, file = (line.split() for line in seen.read_text().splitlines())
    assert (folder[0], file[0]) == ("700", "600")
    assert not Path(folder[1]).exists()
    assert [f.name for f in tmp_path.iterdir() if "age" in f.name] == ["production.age"]


def test_an_edit_says_whose_value_ends_before_a_comment(store, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "echo 'JWT_SECRET=recognisable # of now' >> $1")
    done = run("edit")
    assert "JWT_SECRET: its value ends before ' #'" in done.output
    assert "recognisable" not in done.output


def test_where_the_editor_fails_nothing_is_lost(store, tmp_path, monkeypatch):
    before = store.path.read_bytes()
    editor(tmp_path, monkeypatch, "echo broken > $1; exit 1")
    done = run("edit")
    assert done.exit_code == 1
    assert "the secrets are unchanged" in done.output
    assert store.path.read_bytes() == before
    assert "the editor ended with exit code 1" in done.output
    for editor_, said in (
        ("/no/such/editor -w", "VISUAL='/no/such/editor -w': found no such program: set VISUAL or EDITOR to"),
        ('"code', "VISUAL='\"code': found no closing quotation, expected a command: set VISUAL or EDITOR to"),
        ("/", "VISUAL='/': can't be run (Permission denied): set VISUAL or EDITOR to"),
        ("sh -c 'kill -9 $$'", "the editor was ended by signal 9"),
        ("sh -c 'rm $0'", "the editor left no file"),
    ):
        monkeypatch.setenv("VISUAL", editor_)
        done = run("edit")
        assert said in done.output
        assert "the secrets are unchanged" in done.output
        assert store.path.read_bytes() == before
    assert not store.draft.exists()
    monkeypatch.setenv("VISUAL", " ")
    monkeypatch.setenv("EDITOR", "nosuch")
    assert "EDITOR='nosuch': found no such program" in run("edit").output
    monkeypatch.delenv("EDITOR")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "vi, as neither VISUAL nor EDITOR is set: found no such program" in run("edit").output


def test_an_edit_that_is_no_utf8_is_kept_byte_by_byte_and_gone_on_with(store, tmp_path, monkeypatch):
    before = store.path.read_bytes()
    editor(tmp_path, monkeypatch, r"printf 'JWT_SECRET=caf\351\n# \377\n' >> $1")
    done = run("edit")
    assert done.exit_code == 1
    assert "your edit is kept, encrypted" in done.output
    assert "  - line 2: found the byte 0xe9, expected text in UTF-8\n" in done.output
    assert "  - line 3: found the byte 0xff, expected text in UTF-8\n" in done.output
    assert store.path.read_bytes() == before
    editor(tmp_path, monkeypatch, f"cp $1 {tmp_path}/again; iconv -f latin1 -t utf-8 -o $1 {tmp_path}/again")
    assert run("edit").exit_code == 0
    assert (tmp_path / "again").read_bytes().endswith(b"JWT_SECRET=caf\xe9\n# \xff\n")
    assert env_file.parse(store.read())["JWT_SECRET"] == "café"
    assert not store.draft.exists()


def test_where_the_terminal_is_closed_nothing_stays_in_plain(store, tmp_path, monkeypatch):
    # Not as it starts: Python drops what a signal raises in the middle of a fork.
    editor(tmp_path, monkeypatch, f"echo $1 > {tmp_path}/place; sleep 0.3; kill -HUP $PPID; sleep 30")
    assert run("edit").exit_code == 128 + signal.SIGHUP
    assert not Path((tmp_path / "place").read_text().strip()).parent.exists()


def test_an_edit_that_is_wrong_is_kept_and_gone_on_with(store, tmp_path, monkeypatch):
    before = store.path.read_bytes()
    editor(tmp_path, monkeypatch, "echo JWT_SECERT=recognisable >> $1; echo ADMIN_PASSWORD=changeme >> $1")
    done = run("edit")
    assert done.exit_code == 1
    assert "did you mean JWT_SECRET?" in done.output
    assert "found a placeholder for ADMIN_PASSWORD" in done.output
    assert "recognisable" not in done.output
    assert store.path.read_bytes() == before
    assert b"JWT_SECERT" not in store.draft.read_bytes()
    editor(tmp_path, monkeypatch, "sed -i 's/SECERT/SECRET/; /changeme/d' $1")
    assert run("edit").exit_code == 0
    assert env_file.parse(store.read()) == {"ADMIN_PASSWORD": "recognisable", "JWT_SECRET": "recognisable"}
    assert not store.draft.exists()


def test_the_first_edit_begins_with_what_is_to_be_given(store, tmp_path, monkeypatch):
    store.path.unlink()
    editor(tmp_path, monkeypatch, f"cp $1 {tmp_path}/first; echo ADMIN_PASSWORD=abc >> $1")
    assert run("edit").exit_code == 0
    assert "JWT_SECRET, ADMIN_PASSWORD" in (tmp_path / "first").read_text()
    assert env_file.parse(store.read()) == {"ADMIN_PASSWORD": "abc"}


def test_without_recipients_nothing_is_edited(store, tmp_path, monkeypatch):
    store.recipients.clear()
    editor(tmp_path, monkeypatch, f"touch {tmp_path}/edited")
    assert "secrets_recipients: found []" in run("edit").output
    assert not (tmp_path / "edited").exists()


def test_rotate_gives_new_values_and_encrypts_to_who_may_read_now(store, tmp_path):
    other = pyrage.x25519.Identity.generate()
    store.recipients[:] = [str(other.to_public())]
    assert run("rotate", "production", "ADMIN_PASSWORD").exit_code == 0
    text = decrypt(store.path, str(private(tmp_path / "other.txt", str(other))))
    assert len(env_file.parse(text)["ADMIN_PASSWORD"]) == 64
    assert "is not encrypted to the identity" in run("show").output


def test_rotate_of_a_generated_secret_says_where_it_is(store):
    done = run("rotate", "production", "JWT_SECRET")
    assert done.exit_code == 1
    assert "remove JWT_SECRET in the server's folder credentials" in done.output


def test_keygen_makes_an_identity_once_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = run("keygen"), run("keygen")
    file = tmp_path / ".config/slipway/identity.txt"
    assert file.stat().st_mode & 0o777 == 0o600
    assert first.output.count("age1") == second.output.count("age1") == 1
    assert "AGE-SECRET" not in first.output


def test_git_keeps_encrypted_secrets_and_no_others():
    plain = ["secrets/production.env", "secrets/.production.age.draft"]
    command = ["git", "check-ignore", *plain, "secrets/production.age"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert shown.split() == plain


def test_an_authority_is_printed_for_those_who_keep_their_secrets_elsewhere(store):
    before = store.path.read_bytes()
    printed = run("ca", "--print")
    assert printed.exit_code == 0
    Authority.load(env_file.parse(printed.stdout))
    assert store.path.read_bytes() == before
