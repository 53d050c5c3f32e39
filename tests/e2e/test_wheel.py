"""The wheel, installed beside nothing of the checkout: all files travel in it, and the verbs run in a folder of no
project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import zipfile
from pathlib import Path

import pytest

from slipway.dependencies import uv
from support.checkout import PROJECT, copy_checkout

# Where the wheel has the folders that are links in the checkout.
LINKED = {"lab/": "slipway/lab/", "tasks/": "slipway/tasks/", "templates/": "slipway/templates/"}
LINKED |= {"tests/server/": "slipway/server_tests/", "docs/": "slipway/docs/"}
# Loads each verb and its sub-commands, and prints their names once they have shown their help.
EACH_HELP = """
import click
from click.testing import CliRunner
from slipway.cli.main import cli

def shows(command, *names):
    done = CliRunner().invoke(cli, [*names, "--help"], prog_name="slipway")
    assert done.exit_code == 0 and f"Usage: {' '.join(('slipway', *names))} " in done.output, (names, done.output)
    print(*names)
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                shows(command.get_command(context, name), *names, name)

shows(cli)
"""


class Installed:
    """The wheel in a virtual environment of its own, which borrows the packages that it depends on from the tests'."""

    def __init__(self, folder: Path) -> None:
        checkout, self.home = folder / "checkout", folder / "home"
        copy_checkout(checkout)
        uv.run(["build", "--quiet", "--wheel", "--no-build-isolation", "--offline", "--out-dir", str(folder)], checkout)
        (self.wheel,) = folder.glob("*.whl")
        shutil.rmtree(checkout)
        uv.run(["venv", "--quiet", str(folder / "venv")], folder)
        self.python = folder / "venv/bin/python"
        install = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(self.python)]
        uv.run([*install, str(self.wheel)], folder)
        (packages,) = (folder / "venv/lib").glob("*/site-packages")
        (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        self.home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SLIPWAY"))}
        self.env = {**kept, "HOME": str(self.home), "SLIPWAY_LAB": "wheel"}

    def run(self, folder: Path, *words: str, code: int = 0) -> str:
        """What Python prints in a folder, whose exit code is this one."""
        command = [str(self.python), *words]
        done = subprocess.run(command, cwd=folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def slipway(self, folder: Path, *words: str, code: int = 0) -> str:
        return self.run(folder, str(self.python.with_name("slipway")), *words, code=code)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_it_has_every_file_of_the_package_and_no_other(installed):
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    expected = {
        next((place + name.removeprefix(own) for own, place in LINKED.items() if name.startswith(own)), name)
        for name in listed.split("\0")
        # Of the documentation the pages, which `slipway help` shows.
        if (PROJECT / name).is_file() and (name.endswith(".md") or not name.startswith("docs/"))
    }
    with zipfile.ZipFile(installed.wheel) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == {name for name in expected if name.startswith("slipway/")}


def test_every_verb_is_there_and_comes_from_it(installed, tmp_path):
    verbs = installed.run(tmp_path, "-c", EACH_HELP).splitlines()
    assert {"apply", "backup now", "lab up", "secrets import", "upgrade-project"} <= {*verbs}
    place = installed.run(tmp_path, "-c", "import slipway.cli.main; print(slipway.cli.main.__file__)")
    assert place.startswith(str(installed.python.parents[1]))


def test_what_needs_no_server_runs_where_no_project_is(installed, tmp_path):
    assert "slipway, version " in installed.slipway(tmp_path, "--version")
    assert "backend_app" in installed.slipway(tmp_path, "settings")
    assert "templates/nginx/site" in installed.slipway(tmp_path, "override")
    assert "_SLIPWAY_COMPLETE" in installed.slipway(tmp_path, "completion", "bash")
    assert "slipway lab up" in installed.slipway(tmp_path, "lab", "status")
    assert "slipway init" in installed.slipway(tmp_path, "plan", code=1)
    assert [*tmp_path.iterdir()] == []


def test_a_project_is_started_and_its_servers_are_planned_and_tested(installed, tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api/requirements.txt").write_text("")
    (tmp_path / "api/main.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    answers = ("site_domain=shop.invalid", "server=server.invalid")
    installed.slipway(tmp_path, "init", "--yes", *(f"--set={one}" for one in answers))
    assert "age1" in installed.slipway(tmp_path, "secrets", "keygen")
    (tmp_path / "group_data/web.py").write_text(f"admin_keys = [{key(installed.home)!r}]\nsecrets_file = ''\n")
    installed.env["PYTEST_ADDOPTS"] = "--collect-only"
    assert "test_nginx.py::" in installed.slipway(tmp_path, "verify")
    del installed.env["PYTEST_ADDOPTS"]
    assert "[server.invalid] " in installed.slipway(tmp_path, "plan", code=1)


def key(home: Path) -> str:
    """A public key, whose private half is in the home of a user."""
    (home / ".ssh").mkdir(mode=0o700)
    file = home / ".ssh/id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "user", "-f", str(file)], check=True)
    return file.with_suffix(".pub").read_text().strip()
