"""`slipway init`: what it finds in a project, asks, and writes."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from slipway.cli.main import main
from slipway.pin import FILE, pin, pinned, running
from slipway.settings.inventory import problems
from slipway.starter.questions import problems_of, site_name_of
from support.repositories import APP, make
from support.typed import slipway

DOMAIN = ("--set", "site_domain=shop.example.org")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a backend and a frontend, as its owner has it."""
    (tmp_path / "api/app").mkdir(parents=True)
    (tmp_path / "api/requirements.txt").write_text("fastapi\n")
    (tmp_path / "api/app/main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    (tmp_path / "web").mkdir()
    (tmp_path / "web/package.json").write_text('{"scripts": {"build": "vite build"}}')
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def init(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in this process: to load what a new one needs takes longer than most of what is tested here."""
    code, said, errors = 0, io.StringIO(), io.StringIO()
    as_typed = (patch("sys.argv", ["slipway", "init", *arguments]), patch("sys.stdin", io.StringIO()))
    with chdir(where), as_typed[0], as_typed[1], patch("signal.signal"), redirect_stdout(said), redirect_stderr(errors):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(["slipway", "init"], code, said.getvalue(), errors.getvalue())


def test_a_project_is_written_and_can_be_planned(folder):
    done = init(folder, "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    assert 'backend_app = "app.main:app"' in (folder / "group_data/all.py").read_text()
    assert pinned(folder) == running()
    assert (folder / ".github/workflows/slipway.yml").is_file()
    said = slipway("plan", "--data", "secrets_file=", "--data", 'admin_keys=["x"]', cwd=folder / "api").stderr
    assert "1 setting is wrong" in said, "all but the key that was made wrong is in order"


def test_in_a_folder_of_a_repository_the_workflow_is_at_its_top(folder):
    done = init(folder, "deploy", "--yes", *DOMAIN, "--set", "backend_source=../api", "--set", "frontend_source=../web")
    assert done.returncode == 0, done.stderr
    assert "working-directory: deploy" in (folder / ".github/workflows/slipway.yml").read_text()
    assert not (folder / "inventory.py").exists()


def test_nothing_is_overwritten(folder):
    (folder / ".gitignore").symlink_to("nowhere")
    assert init(folder, "--yes", *DOMAIN).returncode == 0
    (folder / "inventory.py").write_text("mine\n")
    done = init(folder, "--yes", *DOMAIN)
    assert "kept inventory.py" in done.stdout
    assert "kept .gitignore" in done.stdout
    assert (folder / "inventory.py").read_text() == "mine\n"
    assert not (folder / "nowhere").exists()


def test_all_missing_answers_are_reported_at_once_and_nothing_is_written(folder):
    done = init(folder, "--yes")
    assert done.returncode == 1
    assert "1 answer is missing" not in done.stderr
    assert [line.strip() for line in done.stderr.splitlines()[1:]] == [
        f"--set {name}=..." for name in ("site_domain", "server", "site_name")
    ]
    assert not (folder / "inventory.py").exists()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("site_name=Shop!", "site_name: found 'Shop!', expected lower-case letters"),
        ("site_domian=x.org", "site_domian: there is no such setting; did you mean 'site_domain'?"),
        ("backend_source=nowhere", "backend_source: found 'nowhere', expected a folder"),
        ("server=a b", "server: found 'a b', expected the server's name or address, or one with its ssh port"),
        ("server=a:b", "server: found 'a:b', expected the server's name or address"),
        ("server=203.0.113.7:99999", "server: found '203.0.113.7:99999', expected"),
        ("server=-oProxyCommand", "server: found '-oProxyCommand', expected"),
        ("swap", "--set: found 'swap', expected NAME=VALUE"),
    ],
)
def test_a_wrong_answer_is_reported_and_nothing_is_written(folder, answer, said):
    done = init(folder, "--yes", *DOMAIN, "--set", answer)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (folder / "inventory.py").exists()


@pytest.mark.parametrize(
    ("server", "name", "port"),
    [
        ("203.0.113.7:2222", "203.0.113.7", 2222),
        ("[2001:db8::7]:2222", "2001:db8::7", 2222),
        ("2001:db8::7", "2001:db8::7", 0),
        ("[2001:db8::7]", "2001:db8::7", 0),
        ("shop.example.org", "shop.example.org", 0),
    ],
)
def test_a_server_with_a_port_is_a_host_that_a_plan_takes(folder, server, name, port):
    done = init(folder, "--yes", *DOMAIN, "--set", f"server={server}")
    assert done.returncode == 0, done.stderr
    names: dict[str, object] = {}
    exec((folder / "inventory.py").read_text(), names)
    assert problems(names) == []
    login = {"ssh_user": "admin", "_sudo": True} | ({"ssh_port": port} if port else {})
    assert names["web"] == [(name, login)]
    assert f"what would change on {name};" in done.stdout


def test_what_is_missing_and_what_is_wrong_are_reported_together(folder):
    said = init(folder, "--yes", "--set", "swap_md=1", "--set", "server=a b").stderr
    assert "--set site_domain=..." in said
    assert "  - server: found 'a b'" in said
    assert "  - swap_md: there is no such setting; did you mean 'swap_mb'?" in said


def test_of_what_is_not_answered_yet_nothing_is_said(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert problems_of({"site_domain": "shop.example.org"}) == []


@pytest.mark.parametrize(
    ("domain", "name"), [("www.shop.example.org", "shop"), ("Shop_1.org", "hop1"), ("example.org", "example")]
)
def test_a_site_is_named_by_its_domain(domain, name):
    assert site_name_of(domain) == name


def test_a_pin_is_changed_in_its_line(tmp_path):
    (tmp_path / FILE).write_text("# slipway is kept here\n\nslipway==0.1.0\nother==1\n")
    pin(tmp_path, "slipway==0.2.0")
    assert (tmp_path / FILE).read_text() == "# slipway is kept here\n\nslipway==0.2.0\nother==1\n"
    assert pinned(tmp_path / "nowhere") == ""


def test_the_workflow_is_of_the_pinned_version(folder):
    init(folder, "--yes", *DOMAIN)
    workflow = (folder / ".github/workflows/slipway.yml").read_text()
    assert f"pip install -r {FILE}" in workflow
    assert "<<" not in workflow.replace("<<<", "")


def test_a_setting_that_is_no_text_is_json(folder):
    done = init(folder, "--yes", *DOMAIN, "--set", "backend_workers=4", "--set", 'backend_secrets=["A_KEY"]')
    assert done.returncode == 0, done.stderr
    text = (folder / "group_data/all.py").read_text()
    assert "backend_workers = 4" in text
    assert 'backend_secrets = ["A_KEY"]' in text
    done = init(folder, "x", "--yes", *DOMAIN, "--set", "backend_secrets=A_KEY")
    assert "--set backend_secrets: found 'A_KEY', expected JSON" in done.stderr


def test_the_settings_say_where_they_are_from(folder):
    make(folder, {"api/app/config.py": "import os\nos.environ['JWT_SECRET']\nos.environ['STRIPE_API_KEY']\n"})
    make(folder, {"api/app/main.py": f"import app.config\n{APP}"})
    done = init(folder, "--yes", *DOMAIN)
    text = (folder / "group_data/all.py").read_text()
    assert "# api/app/main.py:3: app = FastAPI(...)" in text
    assert '"STRIPE_API_KEY",  # api/app/config.py:3' in text
    assert "STRIPE_API_KEY: secrets without a value; slipway secrets edit" in done.stdout
    compile(text, "all.py", "exec")


def test_a_missing_application_is_reported(tmp_path):
    done = init(tmp_path, "--yes", *DOMAIN)
    assert f"found no FastAPI application in {tmp_path}" in done.stderr
    assert "--set backend_source=..." in done.stderr
    (tmp_path / "main.py").write_text("from fastapi import FastAPI\napp = FastAPI(\n")
    done = init(tmp_path, "--yes", *DOMAIN)
    assert f"found no FastAPI application in {tmp_path} (invalid syntax: main.py:2)" in done.stderr


@pytest.mark.parametrize("name", ["templates/page.html", "tasks/mail.py", "deploy.py"])
def test_files_of_the_application_are_not_taken_for_the_projects(folder, name):
    make(folder, {name: ""})
    done = init(folder, "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    text = (folder / "deploy/group_data/all.py").read_text()
    assert 'backend_source = "../api"' in text
    assert 'frontend_source = "../web"' in text
    assert not (folder / "inventory.py").exists()
    assert "Next, in deploy:" in done.stdout
    assert "working-directory: deploy" in (folder / ".github/workflows/slipway.yml").read_text()
    said = slipway("plan", "--data", "secrets_file=", "--data", 'admin_keys=["x"]', cwd=folder / "deploy").stderr
    assert "1 setting is wrong" in said


def test_what_looks_like_a_project_is_left_alone(folder):
    make(folder, {"deploy.py": "", "inventory.py": "stock = {}\n"})
    done = init(folder, "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    assert 'backend_source = "../api"' in (folder / "deploy/group_data/all.py").read_text()
    done = init(folder, "other", "--yes", *DOMAIN, "--set", "backend_source=api")
    assert "backend_source: found" in done.stderr, "other/api is not there"


def test_a_folder_with_files_of_the_application_is_refused(folder):
    make(folder, {"deploy/tasks/mail.py": "", "templates/page.html": ""})
    done = init(folder, "deploy", "--yes", *DOMAIN)
    assert "deploy: found tasks/ of the application's" in done.stderr
    assert "slipway init deploy/deploy" in done.stderr
    done = init(folder, ".", "--yes", *DOMAIN)
    assert "found templates/ of the application's" in done.stderr
    assert init(folder, "--yes", *DOMAIN).returncode == 0
    assert (folder / "slipway/inventory.py").exists(), "deploy is taken"


def test_a_project_may_have_components_and_templates(folder):
    assert init(folder, "--yes", *DOMAIN).returncode == 0
    make(folder, {"templates/nginx/site": "", "tasks/mail.py": ""})
    done = init(folder, "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    assert "kept inventory.py" in done.stdout
    assert not (folder / "deploy").exists()


def test_a_gitignore_that_lets_secrets_in_is_reported(folder):
    (folder / ".gitignore").write_text("*.log\n")
    assert (
        "add to .gitignore, so that no plain file of secrets gets into git:\n  /secrets/*"
        in init(folder, "--yes", *DOMAIN).stderr
    )


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("api/requirements.txt", "api/requirements.txt: File exists; expected a folder"),
        ("api/requirements.txt/x", "Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_is_reported(folder, directory, said):
    done = init(folder, directory, "--yes", *DOMAIN)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_was_made_for_nothing_is_removed(folder):
    assert init(folder, "a/b", "--yes").returncode == 1
    assert not (folder / "a").exists()


def test_in_a_new_folder_of_a_repository_all_of_it_is_read(folder):
    (folder / "infra").mkdir()
    done = init(folder / "infra", "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    assert 'backend_source = "../api"' in (folder / "infra/group_data/all.py").read_text()


def test_beside_the_repository_it_is_named(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    done = init(
        folder, str(other), "--yes", *DOMAIN, "--set", f"backend_source={folder}/api", "--set", "backend_app=a:b"
    )
    assert "--set" not in done.stderr or "frontend_source" in done.stderr


def asked(where: Path, answers: str) -> str:
    """What is shown on a terminal where somebody types the answers, each with Enter."""
    on_a_terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])"]
    command = [*on_a_terminal, sys.executable, "-m", "slipway", "init"]
    # One that waits for another answer ends by the limit.
    return subprocess.run(
        command, cwd=where, input=answers, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_a_project_that_says_everything_is_asked_three_things(folder):
    shown = asked(folder, "shop.example.org\n\n\n")
    assert "(site_domain)" in shown
    assert "(server) [shop.example.org]" in shown
    assert "(site_name) [shop]" in shown
    assert "(backend_app)" not in shown
    assert (folder / "group_data/all.py").exists(), shown


def test_at_most_six_things_are_asked(tmp_path):
    make(tmp_path, {"templates/x": "", "code/requirements.txt": "", "ui/package.json": "{}"})
    shown = asked(tmp_path, "\nshop.example.org\n\n\n../code\nstart:app\n")
    assert shown.count("): ") + shown.count("]: ") <= 6, shown
    assert 'backend_app = "start:app"' in (tmp_path / "deploy/group_data/all.py").read_text()


def test_of_two_applications_one_is_asked_for(tmp_path):
    for name in ("one", "two"):
        make(tmp_path, {f"{name}/main.py": APP, f"{name}/lib.py": "", f"{name}/requirements.txt": "fastapi\n"})
    make(tmp_path, {"two/server.py": f"import lib\n{APP}"})
    shown = asked(tmp_path, "shop.example.org\n\n\nserver:app\n")
    assert "Applications: " in shown
    text = (tmp_path / "group_data/all.py").read_text()
    assert 'backend_app = "server:app"' in text
    assert 'backend_source = "two"' in text


def test_a_repository_beside_others_is_read_alone(tmp_path):
    make(tmp_path, {"other/backend/main.py": APP, "mine/flask_app.py": "import flask\n", "ops/README.md": ""})
    for name in ("other", "mine", "ops"):
        subprocess.run(["git", "init", "-q", str(tmp_path / name)], check=True)
    done = init(tmp_path, "mine", "--yes", *DOMAIN)
    assert done.returncode == 1
    assert f"found no FastAPI application in {tmp_path / 'mine'}" in done.stderr
    make(tmp_path, {"mine/api/main.py": APP})
    for folder in ("mine", "mine/deploy"):
        assert init(tmp_path, folder, "--yes", *DOMAIN).returncode == 0
        text = (tmp_path / folder / "group_data/all.py").read_text()
        assert f'backend_source = "{"../api" if "deploy" in folder else "api"}"' in text
    # A repository of the project's own files alone is of what is beside it.
    (tmp_path / "mine/api/main.py").rename(tmp_path / "mine/api.txt")
    for _ in range(2):
        assert init(tmp_path, "ops", "--yes", *DOMAIN).returncode == 0
        assert 'backend_source = "../other/backend"' in (tmp_path / "ops/group_data/all.py").read_text()


def test_what_is_named_and_not_there_is_not_replaced_by_another(folder):
    done = init(folder, "--yes", *DOMAIN, "--set", "backend_app=start:app")
    assert done.returncode == 1
    assert f"backend_app: found no module of 'start:app' in {folder}; 1 answer is missing" in done.stderr
    make(folder, {"api/app/main.py": f"import os\nos.environ['STRIPE_API_KEY']\n{APP}"})
    done = init(folder, "--yes", *DOMAIN, "--set", "backend_app=start:app", "--set", "backend_source=api")
    assert done.returncode == 0, done.stderr
    assert (
        f"backend_app: found no module of 'start:app' in {folder}/api: nothing was read of the backend" in done.stdout
    )
    assert "STRIPE_API_KEY" not in (folder / "group_data/all.py").read_text()


def test_what_is_typed_is_read(tmp_path):
    make(
        tmp_path, {"code/start.py": "import os\nfrom lib import app\nos.environ['STRIPE_API_KEY']\n", "code/lib.py": ""}
    )
    asked(tmp_path, "shop.example.org\n\n\ncode\nstart:app\n")
    assert "STRIPE_API_KEY" in (tmp_path / "group_data/all.py").read_text()


def test_a_backend_beside_the_project_is_read(tmp_path):
    make(tmp_path, {"shop/api/main.py": f"import os\nos.environ['STRIPE_API_KEY']\n{APP}", "shop/web/index.html": ""})
    make(tmp_path, {"ops/README.md": "", "site/web/index.html": ""})
    named = ("--yes", *DOMAIN, "--set", "backend_source=../shop/api", "--set", "backend_app=main:app")
    assert init(tmp_path / "ops", *named).returncode == 0
    text = (tmp_path / "ops/group_data/all.py").read_text()
    assert '"STRIPE_API_KEY",  # main.py:2' in text
    # Not if that is not all of the site.
    said = init(tmp_path / "site", *named).stdout
    assert f"backend_source: {tmp_path}/shop/api is outside of {tmp_path}/site, which was read: nothing was" in said
    assert 'frontend_source = "web"' in (tmp_path / "site/group_data/all.py").read_text()
