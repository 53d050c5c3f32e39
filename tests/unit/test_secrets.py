"""Missing and wrong secrets are one clear line each, before any host is touched."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner, Result

from slipway.cli import secrets
from slipway.cli.secrets import Store, secrets_group
from slipway.secrets import env_file
from slipway.secrets.store import IDENTITY_VARIABLE, decrypt, encrypt, read_secrets
from slipway.settings.check import SettingsError, check
from slipway.settings.members import apart_problems
from slipway.tasks.credentials import differences as of_credentials
from slipway.tasks.credentials import given
from slipway.tasks.mongodb_users import admin_of, backend_of, differences, users_of

NAMES = ["JWT_SECRET", "ADMIN_PASSWORD", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
GENERATED = ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]
ODD = "a\"b'c`d$e f%g\\hä€"


@pytest.fixture(autouse=True)
def _no_identity_of_the_users_own(monkeypatch):
    monkeypatch.delenv(IDENTITY_VARIABLE, raising=False)


@pytest.fixture
def key():
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def identity(tmp_path, key) -> Path:
    return private(tmp_path / "identity.txt", f"# mine\n{key}\n")


@pytest.fixture
def encrypted(tmp_path, key) -> Path:
    file = tmp_path / "production.age"
    file.write_bytes(encrypt("ADMIN_PASSWORD=recognisable\n", [str(key.to_public())]))
    return file


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def complaint(file: Path | str, identity: Path | str = "none") -> str:
    """The one line that is wrong."""
    with pytest.raises(ValueError, match="found") as caught:
        read_secrets(str(file), NAMES, GENERATED, str(identity))
    (line,) = str(caught.value).split("\n")
    assert "recognisable" not in line
    return line


def test_an_encrypted_file_is_read_with_the_identity(encrypted, identity):
    assert read_secrets(str(encrypted), NAMES, GENERATED, str(identity)) == {"ADMIN_PASSWORD": "recognisable"}


def test_the_identity_may_be_in_the_environment_as_a_key_or_a_file(encrypted, identity, key, monkeypatch):
    for place in (str(key), f" # public key: age1\n  {key}\n", str(identity)):
        monkeypatch.setenv(IDENTITY_VARIABLE, place)
        assert decrypt(encrypted, "none") == "ADMIN_PASSWORD=recognisable\n"


def test_a_secret_in_the_environment_wins_and_needs_no_file_where_all_are_there(encrypted, identity, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_ADMIN_PASSWORD", ODD)
    assert read_secrets(str(encrypted), NAMES, GENERATED, str(identity)) == {"ADMIN_PASSWORD": ODD}
    assert read_secrets("", NAMES, GENERATED, "none") == {"ADMIN_PASSWORD": ODD}
    assert read_secrets("no-such.age", NAMES, GENERATED, "none") == {"ADMIN_PASSWORD": ODD}


def test_a_missing_identity_is_reported(encrypted, tmp_path):
    line = complaint(encrypted, tmp_path / "none.txt")
    assert "found no age identity at" in line
    assert "slipway secrets keygen" in line


def test_an_identity_that_others_can_read_is_refused(encrypted, identity):
    identity.chmod(0o640)
    assert f"chmod 600 {identity}" in complaint(encrypted, identity)


def test_another_identity_is_reported(encrypted, tmp_path):
    other = private(tmp_path / "other.txt", str(pyrage.x25519.Identity.generate()))
    line = complaint(encrypted, other)
    assert "not encrypted to the identity of" in line
    assert "slipway secrets rotate" in line


def test_an_identity_that_is_invalid_is_reported(encrypted, tmp_path):
    assert "AGE-SECRET-KEY-1..." in complaint(encrypted, private(tmp_path / "other.txt", "nonsense\n"))


@pytest.mark.parametrize("damage", [lambda d: d[:-5], lambda d: d[:60], lambda d: b"nonsense", lambda d: b""])
def test_a_damaged_file_is_reported(encrypted, identity, damage):
    encrypted.write_bytes(damage(encrypted.read_bytes()))
    assert "found a damaged file" in complaint(encrypted, identity)


def test_a_missing_file_is_reported_with_how_to_make_it(tmp_path):
    assert "slipway secrets edit" in complaint(tmp_path / "none.age")
    assert "install -m 600 /dev/null" in complaint(tmp_path / "none.env")
    assert "SLIPWAY_SECRET_NAME" in complaint("")


PLACEHOLDERS = [
    *("changeme", "CHANGE-ME", "xxx", "<your password>", "secret", "password", "***", "todo", "ADMIN_PASSWORD"),
    *("your-password-here", "{{ password }}", "12345678", "example"),
]


@pytest.mark.parametrize("value", PLACEHOLDERS)
def test_a_placeholder_is_no_secret(tmp_path, value):
    file = private(tmp_path / "s.env", f"ADMIN_PASSWORD={value}\n")
    assert "found a placeholder for ADMIN_PASSWORD" in complaint(file)


@pytest.mark.parametrize("line", ["ADMIN_PASSWORD=", "ADMIN_PASSWORD=''", "# ADMIN_PASSWORD=a"])
def test_an_empty_secret_is_none(tmp_path, line):
    assert "found no value for ADMIN_PASSWORD" in complaint(private(tmp_path / "s.env", f"{line}\n"))


def test_an_empty_value_for_a_secret_that_the_server_could_make_up_is_a_mistake(tmp_path):
    file = private(tmp_path / "s.env", "ADMIN_PASSWORD=a b\nJWT_SECRET=\n")
    assert "found no value for JWT_SECRET" in complaint(file)


def test_an_unknown_name_is_reported_with_the_nearest_one(tmp_path, monkeypatch):
    file = private(tmp_path / "s.env", "ADMIN_PASSWORD=a b\nJWT_SECERT=recognisable\n")
    assert "found JWT_SECERT, which is no secret of this site; did you mean JWT_SECRET?" in complaint(file)
    file.write_text("ADMIN_PASSWORD=a b\n")
    monkeypatch.setenv("SLIPWAY_SECRET_ADMIN_PASWORD", "recognisable")
    assert "found SLIPWAY_SECRET_ADMIN_PASWORD in the environment" in complaint(file)


def test_what_mongodb_can_not_be_given_is_refused(tmp_path):
    file = private(tmp_path / "s.env", "ADMIN_PASSWORD=ä\nMONGODB_ADMIN_PASSWORD=ä\n")
    assert "other than printable ASCII characters in MONGODB_ADMIN_PASSWORD" in complaint(file)


def test_a_line_that_is_invalid_is_reported_without_what_may_be_a_secret(tmp_path):
    file = private(tmp_path / "s.env", 'ADMIN_PASSWORD="recognisable\nB=1\n')
    assert "found ADMIN_PASSWORD (line 1) with a value that begins with" in complaint(file)
    file.write_text("# a key\n\nADMIN_PASSWORD=-----BEGIN\nrecognisable\n")
    assert "found line 4 without NAME=" in complaint(file)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("backend_environment", {"MONGO_URL": "mongodb://h/d"}, "found a URL in plain"),
        ("backend_secrets", ["MONGODB_ADMIN_PASSWORD"], "names without MONGODB_ADMIN_PASSWORD"),
        ("generated_secrets", ["STRIPE_KEY"], "names without STRIPE_KEY"),
        ("mongodb_backend_user", "admin", "another user than mongodb_admin_user"),
        ("secrets_recipients", ["AGE-SECRET-KEY-1AAA"], "this is a private one"),
    ],
)
def test_a_setting_about_secrets_that_is_wrong_is_reported(defaults, name, value, said):
    with pytest.raises(SettingsError, match=said):
        check({**defaults, name: value})


def test_with_the_database_on_another_host_the_password_must_be_given_and_the_address_be_reachable(
    settings_with, monkeypatch
):
    for groups in (["app", "web"], ["db"]):
        password, address = apart_problems(settings_with(), groups)
        assert "no value for MONGODB_BACKEND_PASSWORD" in password
        assert "mongodb_bind: found '127.0.0.1'" in address
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_BACKEND_PASSWORD", "p@ss")
    settings = settings_with(mongodb_bind="10.0.0.5")
    assert apart_problems(settings, ["app"]) == []
    assert apart_problems(settings_with(), ["app", "db", "web"]) == []
    url = "mongodb://backend:%70%40%73%73@10.0.0.5:27017/codementee?authSource=admin&journal=true"
    assert given(settings)["MONGO_URL"] == url


IN_ITS_OWN = "user backend: not in codementee, or with another password or other rights"
WELL = {
    **{"server": "closed", "admin": "d0", "admin.roles": "root@admin"},
    **{"backend": "d1", "backend.roles": "readWrite@codementee"},
    **{"backend@codementee": "d1", "backend@codementee.roles": "readWrite@codementee"},
}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, []),
        ({"server": "open"}, ["MongoDB accepts connections without a password"]),
        ({"backend": "refused"}, ["user backend: MongoDB rejects its password"]),
        ({"backend": "refused", "backend@codementee": "refused"}, ["user backend: MongoDB rejects its password"]),
        ({"backend@codementee": "refused", "backend@codementee.roles": ""}, [IN_ITS_OWN]),
        ({"backend@codementee.roles": "read@codementee"}, [IN_ITS_OWN]),
        (
            {"backend": "", "backend@codementee": ""},
            ["user backend: its password is missing on the host, or readable by others"],
        ),
        ({"backend.roles": "root@admin"}, ["user backend: root@admin -> readWrite@codementee"]),
        ({"server": "away", "backend.roles": "", "admin.roles": "", "backend@codementee.roles": ""}, []),
    ],
)
def test_what_differs_of_mongodbs_users_is_reported(settings_with, found, said):
    wanted = users_of(settings_with())
    assert differences({**WELL, **found}, settings_with(), wanted) == said


def test_a_changed_password_of_mongodbs_is_reported_and_not_shown(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_BACKEND_PASSWORD", "recognisable")
    settings = settings_with()
    (line,) = differences(WELL, settings, users_of(settings))
    assert line == "user backend: its password changes (secret, not shown)"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_secret_that_is_read_otherwise_than_before_is_told_so_where_the_host_has_what_was_read(settings_with):
    file = Path(settings_with().secrets_file)
    file.write_text("JWT_SECRET=abc # d\nADMIN_PASSWORD='x y'\nMONGODB_BACKEND_PASSWORD=\"p\\\\q\"\n")
    settings = settings_with()
    assert settings.secrets["JWT_SECRET"] == "abc"
    mode = ".=root:root 700\nJWT_SECRET=root:root 600\nADMIN_PASSWORD=root:root 600\nMONGO_URL=root:root 600\n"
    right = f"{digest('x y')}  ADMIN_PASSWORD\n{digest(given(settings)['MONGO_URL'])}  MONGO_URL\n"
    for there, is_told in (("abc # d", True), ("another", False)):
        (line,) = of_credentials(f"{mode}{right}{digest(there)}  JWT_SECRET\n", settings)
        assert line.startswith("/etc/codementee/credentials/JWT_SECRET: contents change (secret, not shown)")
        assert ("put it in single quotes" in line) is is_told
    for there, is_told in (("p\\\\q", True), ("another", False)):
        (line,) = differences({**WELL, "backend": digest(there)}, settings, [admin_of(settings), backend_of(settings)])
        assert ("put it in single quotes" in line) is is_told


# --- slipway secrets -------------------------------------------------------------------------------------------------


@pytest.fixture
def store(encrypted, identity, key, monkeypatch) -> Store:
    store = Store(encrypted, str(identity), [str(key.to_public())], NAMES, GENERATED)
    monkeypatch.setattr(secrets, "store_of", lambda environment: store)
    monkeypatch.chdir(encrypted.parent)
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
    editor(tmp_path, monkeypatch, f"echo $1 > {tmp_path}/place; kill -HUP $PPID; sleep 30")
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
