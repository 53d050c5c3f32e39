"""`slipway init`: what it finds in a project, asks, and writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slipway.pin import FILE, pin, pinned, running
from slipway.starter.detect import found_in
from slipway.starter.questions import problems_of, site_name_of

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
    command = [sys.executable, "-m", "slipway", "init", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_the_parts_of_a_project_are_found(folder):
    assert {one.setting: one.value for one in found_in(folder)} == {
        "backend_source": "api",
        "backend_app": "app.main:app",
        "frontend_source": "web",
    }


@pytest.mark.parametrize(
    ("text", "app"),
    [
        ("import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n", "main:api"),
        ("from fastapi import FastAPI\ndef make():\n    return FastAPI()\n", None),
        ("FastAPI = 1\n", None),
        ("from fastapi import FastAPI\napp = FastAPI(\n", None),
    ],
)
def test_an_application_is_a_call_at_the_top_of_a_module(tmp_path, text, app):
    (tmp_path / "main.py").write_text(text)
    assert [one.value for one in found_in(tmp_path) if one.setting == "backend_app"] == ([app] if app else [])


def test_a_project_is_written_and_can_be_planned(folder):
    done = init(folder, "--yes", *DOMAIN)
    assert done.returncode == 0, done.stderr
    assert 'backend_app = "app.main:app"' in (folder / "group_data/all.py").read_text()
    assert pinned(folder) == running()
    assert (folder / ".github/workflows/slipway.yml").is_file()
    plan = [sys.executable, "-m", "slipway", "plan", "--data", "secrets_file=", "--data", 'admin_keys=["x"]']
    said = subprocess.run(plan, cwd=folder / "api", capture_output=True, text=True, check=False).stderr
    assert "1 setting is wrong" in said, "all but the key that was made wrong is in order"


def test_in_a_folder_of_a_repository_the_workflow_is_at_its_top(folder):
    done = init(folder, "deploy", "--yes", *DOMAIN, "--set", "backend_source=../api", "--set", "frontend_source=../web")
    assert done.returncode == 0, done.stderr
    assert "working-directory: deploy" in (folder / ".github/workflows/slipway.yml").read_text()
    assert not (folder / "inventory.py").exists()


def test_nothing_is_overwritten(folder):
    (folder / "inventory.py").write_text("mine\n")
    (folder / ".gitignore").symlink_to("nowhere")
    done = init(folder, "--yes", *DOMAIN)
    assert "kept inventory.py" in done.stdout
    assert "kept .gitignore" in done.stdout
    assert (folder / "inventory.py").read_text() == "mine\n"
    assert not (folder / "nowhere").exists()


def test_all_missing_answers_are_told_at_once_and_nothing_is_written(folder):
    done = init(folder, "--yes")
    assert done.returncode == 1
    assert done.stderr.count("--set ") == 3
    assert not (folder / "inventory.py").exists()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("site_name=Shop!", "site_name: found 'Shop!', expected lower-case letters"),
        ("site_domian=x.org", "site_domian: there is no such setting; did you mean 'site_domain'?"),
        ("backend_source=nowhere", "backend_source: found 'nowhere', expected a folder"),
        ("server=a b", "server: found 'a b', expected the server's name or address"),
        ("swap", "--set: found 'swap', expected NAME=VALUE"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_is_written(folder, answer, said):
    done = init(folder, "--yes", *DOMAIN, "--set", answer)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (folder / "inventory.py").exists()


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
