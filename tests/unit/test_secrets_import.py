"""`slipway secrets import` turns an application's .env into secrets and settings, and shows no secret."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pyrage
import pytest
from click.testing import CliRunner, Result

from slipway.cli.secrets_import import secrets_group
from slipway.secrets import committed, env_file
from slipway.secrets.store import decrypt
from slipway.settings.check import check
from slipway.settings.of_host import committed_warnings
from slipway.settings.rewrite import with_setting

ENV = """\
# Of the application
MONGODB_URI=mongodb://localhost:27017/shop
JWT_SECRET="recognisable-1"
SMTP_PASSWORD=recognisable-2 # mailgun
PEM="-----BEGIN PRIVATE KEY-----\\nrecognisable-3\\n-----END PRIVATE KEY-----\\n"
STRIPE_KEY=changeme
CORS_ORIGINS=["http://localhost:3000"]
TOKEN_MINUTES=30
"""
SETTINGS = """\
# The site.
site_name = "shop"
backend_secrets = ["JWT_SECRET"]  # the backend's
secrets_recipients = [{recipient!r}]
secrets_identity = {identity!r}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, in which we stand, with an application beside it."""
    key = pyrage.x25519.Identity.generate()
    identity = tmp_path / "identity.txt"
    identity.touch(mode=0o600)
    identity.write_text(str(key))
    folder = tmp_path / "deploy"
    (folder / "group_data").mkdir(parents=True)
    for name in ("inventory.py", "deploy.py"):
        (folder / name).touch()
    text = SETTINGS.format(recipient=str(key.to_public()), identity=str(identity)).replace("  # the backend's", "")
    (folder / "group_data/all.py").write_text(text)
    (tmp_path / ".env").write_text(ENV)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SLIPWAY_AGE_IDENTITY", raising=False)
    return folder


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(secrets_group, ["import", "../.env", *arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert "recognisable" not in done.output
    return done


def secrets(project: Path) -> dict[str, str]:
    return env_file.parse(decrypt(project / "secrets/production.age", str(project.parent / "identity.txt")))


def settings(project: Path) -> dict:
    return runpy.run_path(str(project / "group_data/all.py"))


def state(project: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in project.rglob("*") if file.is_file()}


def test_what_variables_would_become_is_reported_and_nothing_is_written(project):
    before = state(project)
    done = run()
    assert done.exit_code == 0
    for line in (
        "secret: JWT_SECRET, SMTP_PASSWORD, PEM\n",
        "secret, without a value: STRIPE_KEY (a placeholder)\n",
        "Slipway's own: MONGODB_URI = {mongo_url}\n",
        "setting: CORS_ORIGINS, TOKEN_MINUTES\n",
        "SMTP_PASSWORD: its value ends before ' #'",
        "CORS_ORIGINS: found an address of this machine",
        "Nothing was written. To import them: slipway secrets import ../.env --all",
    ):
        assert line in done.output
    assert state(project) == before


def test_all_become_secrets_and_settings_that_are_in_order_with_each_other(project, defaults):
    done = run("--all")
    assert done.exit_code == 0, done.output
    pem = "-----BEGIN PRIVATE KEY-----\nrecognisable-3\n-----END PRIVATE KEY-----\n"
    assert secrets(project) == {"JWT_SECRET": "recognisable-1", "SMTP_PASSWORD": "recognisable-2", "PEM": pem}
    found = settings(project)
    assert found["backend_secrets"] == ["JWT_SECRET", "SMTP_PASSWORD", "PEM", "STRIPE_KEY"]
    assert found["backend_environment"] == {
        "MONGODB_URI": "{mongo_url}",
        "CORS_ORIGINS": '["http://localhost:3000"]',
        "TOKEN_MINUTES": "30",
    }
    assert "Without a value: STRIPE_KEY" in done.output
    (project / "requirements.txt").touch()
    own = {name: value for name, value in found.items() if not name.startswith("__")}
    folders = {"backend_source": ".", "frontend_source": "", "frontend_output": ""}
    checked = check(
        {
            **{"site_domain": "shop.example.org", "admin_keys": defaults["admin_keys"], **own, **folders},
            "generated_secrets": ["STRIPE_KEY", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"],
        }
    )
    assert checked.secrets == secrets(project)
    # Again there is nothing to do.
    before = state(project)
    assert run("--all").exit_code == 0
    assert state(project) == before


def test_chosen_names_are_secrets_and_replace_what_is_there(project):
    assert run("--all").exit_code == 0
    (project.parent / ".env").write_text("JWT_SECRET=recognisable-9\nTOKEN_MINUTES=31\nOTHER=1\n")
    done = run("--all")
    assert "production.age: JWT_SECRET: kept the value that is there" in done.output
    assert "TOKEN_MINUTES: kept the value in backend_environment" in done.output
    assert secrets(project)["JWT_SECRET"] == "recognisable-1"
    assert run("JWT_SECRET", "TOKEN_MINUTES").exit_code == 0
    assert (secrets(project)["JWT_SECRET"], secrets(project)["TOKEN_MINUTES"]) == ("recognisable-9", "31")
    assert "TOKEN_MINUTES" in settings(project)["backend_secrets"]
    assert settings(project)["backend_environment"].keys() == {"MONGODB_URI", "CORS_ORIGINS", "OTHER"}


def test_a_setting_that_can_not_be_written_without_doubt_is_shown(project):
    file = project / "group_data/all.py"
    text = file.read_text().replace('["JWT_SECRET"]', '["JWT_SECRET"] + more').replace("# The site.", "more = []")
    file.write_text(text)
    done = run("--all")
    assert done.exit_code == 0, done.output
    assert (
        'Write these yourself, in group_data/all.py:\nbackend_secrets = ["JWT_SECRET", "SMTP_PASSWORD"' in done.output
    )
    assert settings(project)["backend_secrets"] == ["JWT_SECRET"]
    assert settings(project)["backend_environment"]["TOKEN_MINUTES"] == "30"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["JWT_SECERT"], "found no JWT_SECERT; did you mean JWT_SECRET?"),
        (["JWT_SECRET", "--all"], "found names and --all, expected one of both"),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_written(project, arguments, said):
    before = state(project)
    done = run(*arguments)
    assert (done.exit_code, state(project)) == (1, before)
    assert said in done.output


def test_without_recipients_nothing_is_written(project):
    file = project / "group_data/all.py"
    file.write_text(file.read_text().replace("secrets_recipients", "# secrets_recipients"))
    before = state(project)
    done = run("--all")
    assert "secrets_recipients: found []" in done.output
    assert (done.exit_code, state(project)) == (1, before)


def test_a_file_that_is_wrong_is_reported_by_its_lines(project):
    (project.parent / ".env").write_text("A='recognisable\nB=1\nrecognisable\n")
    done = run("--all")
    assert done.exit_code == 1
    assert "../.env: found A (line 1)" in done.output
    assert "../.env: found line 3" in done.output


# --- git -------------------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_file_in_git_is_warned_of_also_where_it_was_removed(project):
    top = project.parent
    git(top, "init", "-q")
    assert "is in git" not in run().output
    git(top, "add", ".env")
    assert "../.env is in git, and with it its secrets: replace them" in run().output
    git(top, "commit", "-q", "-m", "x")
    assert "git rm --cached ../.env" in run().output
    git(top, "rm", "-q", "--cached", ".env")
    git(top, "commit", "-q", "-m", "y")
    done = run()
    assert "is in git" in done.output
    assert "git rm" not in done.output


def test_env_files_of_a_source_that_git_tracks_are_found_and_examples_are_none(tmp_path):
    source = tmp_path / "backend"
    (source / "app").mkdir(parents=True)
    for name in (".env", "app/.env.production", ".env.example", ".env.exemple", ".env.local", "env.py", ".envrc"):
        (source / name).touch()
    assert committed.env_files(source) == []
    committed.env_files.cache_clear()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "backend")
    git(tmp_path, "rm", "-q", "--cached", "backend/.env.local")
    assert committed.env_files(source) == [".env", "app/.env.production"]
    settings = SimpleNamespace(all_sites=[SimpleNamespace(backend_source=str(source))])
    (line,) = committed_warnings(settings)
    assert f"backend_source = {str(source)!r}: found .env, app/.env.production in git" in line
    assert f"git rm --cached {source}/.env {source}/app/.env.production," in line
    committed.env_files.cache_clear()


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", '\n\na = ["x"]\n'),
        ("b = 1\n", 'b = 1\n\na = ["x"]\n'),
        ("a = []\nb = 1\n", 'a = ["x"]\nb = 1\n'),
        ("b = 1\na = [\n    'y',\n]\n# c\n", 'b = 1\na = ["x"]\n# c\n'),
        ("# a = 1\nb = 1", '# a = 1\nb = 1\n\na = ["x"]\n'),
    ],
)
def test_a_setting_is_written_where_it_stands_or_at_the_end(text, expected):
    assert with_setting(text, "a", ["x"]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a = []\na = [1]\n",
        "a = [] + b\n",
        "a = [\n    1,  # why\n]\n",
        "a = []\nb = a\n",
        "if x:\n    a = []\n",
        "a: list = []\n",
        "a = b = []\n",
        "a = = 1\n",
    ],
)
def test_what_leaves_doubt_is_not_written(text):
    assert with_setting(text, "a", ["x"]) is None


def test_a_dictionary_has_a_line_for_each_item():
    text = with_setting("", "a", {"A": 'x "y"\n\\', "B": ""})
    assert text == '\n\na = {\n    "A": "x \\"y\\"\\n\\\\",\n    "B": "",\n}\n'
