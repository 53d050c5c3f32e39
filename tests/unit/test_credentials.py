"""How secrets reach a site's services and MongoDB on the host: by scripts that contain none."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from slipway.ops.files import tar
from slipway.settings.model import Settings
from slipway.tasks import credentials, mongodb_users


def show_and_write(settings: Settings, folder: Path) -> list[str]:
    """What differs after the two scripts about credentials have run in a folder."""

    def run(script: str, content: bytes = b"") -> str:
        here = script.replace(f"/etc/{settings.site_name}", str(folder))
        done = subprocess.run(["sh", "-euc", here], input=content, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    run(credentials.write_credentials(settings), base64.encodebytes(tar(credentials.given(settings))))
    return credentials.differences(run(credentials.show_credentials(settings)), settings)


ODD = "a\"b\\c`d$e f%g'\u00e4\u20ac"
ROOTS = pytest.mark.skipif(os.geteuid() != 0, reason="the files are root's")


@ROOTS
def test_a_secret_reaches_the_service_as_it_is_and_nothing_differs_then(settings_with, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_ADMIN_PASSWORD", ODD + "\nof two lines\n")
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_BACKEND_PASSWORD", "p@ss:w/rd%")
    settings = settings_with()
    (tmp_path / "credentials").mkdir(mode=0o755)
    (tmp_path / "credentials/JWT_SECRET").touch(mode=0o644)
    assert show_and_write(settings, tmp_path) == []
    files = {file.name: file for file in (tmp_path / "credentials").iterdir()}
    assert set(files) == {"JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL"}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert files["ADMIN_PASSWORD"].read_bytes() == (ODD + "\nof two lines\n").encode()
    url = urlsplit(files["MONGO_URL"].read_text())
    assert unquote(url.password or "") == "p@ss:w/rd%"


@ROOTS
def test_what_the_host_alone_knows_is_generated_once_and_values_are_made_of_it_there(settings_with, tmp_path):
    Path(settings_with().secrets_file).write_text("ADMIN_PASSWORD=correct horse\n")
    values = {
        "MONGODB_URI": "{mongo_url}&appName='x'",
        "MIXED": "{secrets.ADMIN_PASSWORD} %s {secrets.JWT_SECRET}\n$HOME {mongo_password}",
        "GIVEN": "{secrets.ADMIN_PASSWORD:url}",
    }
    settings = settings_with(backend_environment=values)
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    password = folder / "MONGODB_BACKEND_PASSWORD"
    password.touch(mode=0o600)
    password.write_text("p@ss:w/rd%")
    for _ in range(2):
        assert show_and_write(settings, tmp_path) == []
    made_up = (folder / "JWT_SECRET").read_text()
    assert re.fullmatch("[0-9a-f]{64}", made_up)
    url = "mongodb://backend:%70%40%73%73%3a%77%2f%72%64%25@127.0.0.1:27017/codementee?authSource=admin&journal=true"
    found = {name: (folder / name).read_text() for name in ("MONGO_URL", *values)}
    assert found == {
        "MONGO_URL": url,
        "MONGODB_URI": f"{url}&appName='x'",
        "MIXED": f"correct horse %s {made_up}\n$HOME p@ss:w/rd%",
        "GIVEN": "%63%6f%72%72%65%63%74%20%68%6f%72%73%65",
    }
    # Each value follows its secrets, and what is right keeps its time.
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    password.write_text("another")
    assert show_and_write(settings, tmp_path) == []
    changed = {file.name for file in folder.iterdir() if file.stat().st_mtime_ns != before[file.name]}
    assert changed == {"MONGODB_BACKEND_PASSWORD", "MONGO_URL", "MONGODB_URI", "MIXED"}
    assert (folder / "MIXED").read_text().endswith(f"{made_up}\n$HOME another")


@ROOTS
def test_a_release_adds_secrets_that_are_new_and_changes_none(settings_with, tmp_path):
    settings = settings_with(backend_environment={"A": "{secrets.ADMIN_PASSWORD} {secrets.JWT_SECRET}"})
    (tmp_path / "credentials").mkdir(mode=0o700)
    (tmp_path / "credentials/ADMIN_PASSWORD").write_text("of now")
    (tmp_path / "credentials/MONGODB_BACKEND_PASSWORD").write_text("of now")
    script = credentials.write_credentials(settings, only_new=True).replace("/etc/codementee", str(tmp_path))
    given = base64.encodebytes(tar(credentials.given(settings)))
    subprocess.run(["sh", "-euc", script], input=given, check=True)
    assert (tmp_path / "credentials/ADMIN_PASSWORD").read_text() == "of now"
    assert (tmp_path / "credentials/JWT_SECRET").read_text() == settings.secrets["JWT_SECRET"]


def test_mongodbs_users_are_given_by_a_shell_script_that_holds_no_password(settings_with, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORD", "recognisable")
    settings = settings_with()
    script = tmp_path / "set-users"
    script.write_text(mongodb_users.set_users(settings))
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    documents = mongodb_users.documents(settings)
    assert documents["MONGODB_ADMIN_PASSWORD"] == "recognisable"
    assert "recognisable" not in script.read_text() + documents["users.js"]
    assert 'give("admin", "backend"' in documents["users.js"]
