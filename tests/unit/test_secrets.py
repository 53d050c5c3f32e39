"""Missing and wrong secrets are one clear line each, before any host is touched."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyrage
import pytest

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
