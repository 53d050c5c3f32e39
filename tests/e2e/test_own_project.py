"""A user's own project with an installed Slipway: a template and a component of its own, and an upgrade to the next
version."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from slipway.dependencies import uv
from support.checkout import copy_checkout
from support.lab_host import PENDING, LabHost, run
from support.releases import EXAMPLE

pytestmark = pytest.mark.thorough

MOTD = '''\
"""A greeting at logins."""

from pyinfra.operations import server

from slipway.engine.components import Drift, component
from slipway.ops.files import put

FILE = "/etc/motd"


@component(packages=["hello"], drifts={"no greeting": Drift(f"rm {FILE}", "Write the greeting")})
def motd(settings):
    put(name="Write the greeting", path=FILE, content=f"This is {settings.site_domain}.\\n")
    server.group(name="Create the greeters' group", group="greeters")
'''
# Where the server of the site's own name begins, in both versions' template; the user and the next version each add
# something after it.
ANCHOR = "server {\n{{ https(settings.site_domain) }}\n"
OWN, NEXT = "    # Of the project's own.\n", "    # Of the next version.\n"
GIT = ("git", "-c", "user.name=user", "-c", "user.email=user@localhost", "-c", "commit.gpgsign=false")


def commit(folder: Path, subject: str) -> str:
    subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-a", "-m", subject], cwd=folder, check=True)
    done = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Project:
    """A project that `slipway init` has written, and a Slipway installed from a repository."""

    def __init__(self, server: LabHost, folder: Path) -> None:
        self.repository, self.folder, self.server = folder / "slipway", folder / "project", server
        copy_checkout(self.repository)
        self.version = commit(self.repository, "The version that is installed")
        # As `uv tool install` does.
        uv.run(["venv", "--quiet", str(folder / "venv")], folder)
        self.bin = folder / "venv/bin"
        uv.run(["pip", "install", "--python", str(self.bin / "python"), self.requirement(self.version)], folder)
        self.env = {name: value for name, value in server.env.items() if name != "PYTHONPATH"}
        self.env["PATH"] = f"{self.bin}:{self.env['PATH']}"

    def requirement(self, version: str) -> str:
        return f"slipway @ git+file://{self.repository}@{version}"

    def runs(self, *command: str, code: int = 0) -> str:
        """The output of a command in the project; its exit code must be this one."""
        done = run(command, self.env, cwd=self.folder)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def operations(self, code: int) -> set[str]:
        plan = json.loads(self.runs("slipway", "plan", "lab", "--json", "-", code=code).partition("\nslipway: ")[0])
        parts = [part for host in plan["hosts"] for part in host["components"]]
        return {change["operation"] for part in parts for change in part["changes"]}

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        (self.folder / name).write_text(text.replace(old, new, 1))


@pytest.fixture(scope="module")
def project(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(server, tmp_path_factory.mktemp("user"))
    ignored = shutil.ignore_patterns("node_modules", "build", "__pycache__", "tests")
    shutil.copytree(EXAMPLE, made.folder, ignore=ignored)
    answers = {"site_domain": server.data["site_domain"], "site_name": "codementee", "server": "203.0.113.7"}
    made.runs("slipway", "init", "--yes", *(f"--set={name}={value}" for name, value in answers.items()))
    return made


def test_a_template_and_a_component_of_the_project_s_own_are_applied_and_nothing_else_is(project: Project) -> None:
    assert project.operations(code=0) == set(), "what init finds is what the server was provisioned with"
    project.runs("slipway", "override", "templates/nginx/site")
    project.edit("templates/nginx/site", ANCHOR, ANCHOR + OWN)
    (project.folder / "tasks").mkdir(exist_ok=True)
    (project.folder / "tasks/motd.py").write_text(MOTD)
    project.edit("deploy.py", '    "base",\n', '    "base",\n    "motd",\n')
    assert project.operations(code=PENDING) == {
        *("Install packages", "Write the greeting", "Create the greeters' group"),
        *("Configure Nginx", "Reload Nginx"),
    }
    project.runs("slipway", "apply", "lab", "--yes")
    assert project.operations(code=0) == set()
    host = project.server
    assert host.ssh("cat /etc/motd; hello").splitlines() == [f"This is {host.data['site_domain']}.", "Hello, world!"]
    assert host.ssh("getent group greeters").startswith("greeters:")
    assert OWN.strip() in host.ssh("cat /etc/nginx/sites-enabled/codementee")
    assert host.site().get("/api/health").status_code == 200

    host.ssh("rm /etc/motd")
    assert project.operations(code=PENDING) == {"Write the greeting"}


def test_the_next_version_is_compared_by_its_plans_before_it_is_pinned(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.runs("slipway", "apply", "lab", "--yes")
    template = project.repository / "templates/nginx/site"
    template.write_text(template.read_text().replace(ANCHOR, ANCHOR + NEXT, 1))
    hook = project.repository / "templates/tls/reload-nginx"
    hook.write_text(hook.read_text() + NEXT.strip() + "\n")
    wanted = project.requirement(commit(project.repository, "The next version"))
    # Both versions are installed there, from packages that uv has.
    monkeypatch.setitem(project.env, "UV_CACHE_DIR", uv.run(["cache", "dir"], tmp_path).strip())
    monkeypatch.setitem(project.env, "XDG_CACHE_HOME", str(tmp_path))
    shown = project.runs("slipway", "upgrade-project", "lab", "--to", wanted, "--yes")
    assert "Install the renewal hook: would change, too" in shown
    assert "templates/nginx/site is your own; Slipway's has changed" in shown
    assert "1 difference between the plans." in shown
    pinned = (project.folder / "requirements-slipway.txt").read_text()
    assert wanted in pinned
    assert project.version not in pinned
