"""A user's project: how it is found, which files are the user's and which Slipway's, and comparing two versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway import pin
from slipway import project as projects
from slipway.project import PACKAGE, NoProject
from slipway.starter.versions import Difference, Version, differences, overridden
from support.typed import slipway


def test_a_project_is_the_nearest_above(project, monkeypatch):
    below = project / "group_data"
    monkeypatch.chdir(below)
    assert projects.folder() == project
    assert projects.path("secrets/x.age") == project / "secrets/x.age"
    assert projects.path("/etc/x") == Path("/etc/x")


def test_without_one_the_error_says_how_to_start_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoProject, match=r"found no project in .*slipway init"):
        projects.folder()
    done = slipway("plan", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"slipway: found no project in {tmp_path}")


def run(project: Path, program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout.strip()


def test_a_project_below_is_named(tmp_path, monkeypatch):
    (tmp_path / "deploy/group_data").mkdir(parents=True)
    (tmp_path / "deploy/inventory.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoProject, match="there is one below it: cd deploy"):
        projects.folder()


def test_own_components_are_beside_slipways_and_before_them(project):
    (project / "tasks").mkdir()
    (project / "tasks/motd.py").write_text("mine = True\n")
    (project / "tasks/tls.py").write_text("mine = True\n")
    program = "from slipway.tasks import motd, tls, nginx; print(motd.mine, tls.mine, hasattr(nginx, 'mine'))"
    assert run(project, program) == "True True False"


def test_own_templates_come_before_slipways(project):
    (project / "templates/updates").mkdir(parents=True)
    (project / "templates/updates/restart").write_text("mine")
    program = "from slipway.ops.templates import render; print(render('updates/restart'), render('logins/issue'))"
    assert run(project, program).startswith("mine")
    assert (PACKAGE / "templates/logins/issue").read_text().strip() in run(project, program)


def test_a_template_is_copied_once(project):
    command = "override", "templates/updates/restart"
    done = slipway(*command, cwd=project)
    assert done.returncode == 0, done.stderr
    copy = project / "templates/updates/restart"
    assert copy.read_bytes() == (PACKAGE / "templates/updates/restart").read_bytes()
    copy.write_text("mine")
    done = slipway(*command, cwd=project)
    assert (done.returncode, copy.read_text()) == (1, "mine")
    assert "has its own already" in done.stderr


def test_a_folder_on_the_command_line_is_where_the_user_stands(project):
    (project / "group_data/here").mkdir()
    done = slipway("plan", "--data", "backend_source=here", cwd=project / "group_data")
    assert "has none of uv.lock, " in done.stderr, "it is a folder, and has no list of dependencies"
    assert f"{project}/group_data/here" in done.stderr


def test_a_project_pinned_to_another_version_is_warned_of(project):
    (project / "requirements-slipway.txt").write_text("slipway==0.0.9\n")
    done = slipway("plan", cwd=project)
    assert "requirements-slipway.txt has slipway==0.0.9, and this is slipway" in done.stderr


SHA256 = "5f" * 32


@pytest.mark.parametrize(
    ("origin", "requirement"),
    [
        (
            {"url": "https://example.org/slipway", "vcs_info": {"vcs": "git", "commit_id": "6dcf845"}},
            "slipway @ git+https://example.org/slipway@6dcf845",
        ),
        (
            {"url": "https://example.org/slipway.whl", "archive_info": {"hashes": {"sha256": SHA256}}},
            f"slipway @ https://example.org/slipway.whl#sha256={SHA256}",
        ),
        ({"url": "file:///home/user/slipway.whl", "archive_info": {}}, "slipway==9"),
        ({}, "slipway==9"),
    ],
    ids=["a commit", "a wheel by its URL", "a wheel of this machine", "an index of packages"],
)
def test_a_project_is_pinned_to_where_its_slipway_is_from(monkeypatch, origin, requirement):
    distribution = SimpleNamespace(version="9", read_text=lambda name: json.dumps(origin))
    monkeypatch.setattr(pin.metadata, "distribution", lambda name: distribution)
    assert pin.running() == requirement


def plan(**operations: str) -> dict[str, object]:
    changes = [{"operation": name, "reasons": [], "diffs": [diff]} for name, diff in operations.items()]
    return {"hosts": [{"name": "a", "components": [{"name": "nginx", "changes": changes}]}]}


def test_two_plans_differ_by_operation_and_by_diff():
    found = differences(plan(same="1", gone="1", other="1"), plan(same="1", other="2", new="3"))
    assert found == [
        Difference("a", "nginx: other", "1", "2"),
        Difference("a", "nginx: new", "", "3"),
        Difference("a", "nginx: gone", "1", ""),
    ]


def test_an_own_file_is_told_whose_original_has_changed(tmp_path):
    old, new, own = (tmp_path / name for name in ("old", "new", "own"))
    for folder, text in ((old, "a\n"), (new, "b\n"), (own, "c\n")):
        (folder / "templates/nginx").mkdir(parents=True)
        (folder / "templates/nginx/site").write_text(text)
        (folder / "templates/nginx/same").write_text("same\n")
    (own / "tasks").mkdir()
    (own / "tasks/motd.py").touch()
    (found,) = overridden(own, Version("slipway==1", "python", old), Version("slipway==2", "python", new))
    assert found[0] == "templates/nginx/site"
    assert found[1].splitlines()[-2:] == ["-a", "+b"]
