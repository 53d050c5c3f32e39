"""A project's own component, named in its deploy.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.checkout import PROJECT
from support.typed import slipway

PAGE = (PROJECT / "docs/components.md").read_text()
DEPLOY = 'from slipway.deploy import server\n\nserver(\n    "base",\n    "motd",\n)\n'
# What deploy.py describes of a fresh host, by the check of its settings.
DESCRIBE = """
import json, sys
from pathlib import Path
from slipway.engine import pyinfra_compat
from pyinfra.api.exceptions import PyinfraError
from slipway.engine.session import Session
from support.described import described, run_deploy

data = json.loads(sys.argv[1])
session = Session("production", "deploy.py", items=[f"{name}={value}" for name, value in data.items()])
(settings,) = session.connections.settings.values()
with described(settings) as (server, host):
    host.data.get = lambda name, default=None: data.get(name, default)
    try:
        run_deploy(Path("deploy.py"))
    except PyinfraError as error:
        sys.exit(str(error))
packages = [names for one in server.all("install") for names in one.arguments["packages"].values()]
print(json.dumps({"operations": [one.name for one in server.operations], "packages": sum(packages, [])}))
"""


def block(before: str) -> str:
    """The first indented block of docs/components.md after a text."""
    found = re.search(r"(?:^(?:    .*)?\n)+", PAGE.split(before, 1)[1].split("\n", 1)[1], re.MULTILINE)
    assert found, before
    return textwrap.dedent(found[0]).strip() + "\n"


@pytest.fixture
def own(project: Path) -> Path:
    """A project with a component of its own, as docs/components.md writes it."""
    template = re.search(r"`templates/motd/motd` \| .*: `(.*)` \|", PAGE)
    assert template
    for name, text in {
        "tasks/motd.py": block("`tasks/motd.py` is a component"),
        "templates/motd/motd": template[1],
        "tests/server/test_motd.py": block("A test gets `server`"),
        "deploy.py": DEPLOY,
    }.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT}/tests:{os.environ.get('PYTHONPATH', '')}"}
    arguments = [sys.executable, *command]
    return subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True, check=False)


def described_of(folder: Path, **data: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "-c", DESCRIBE, json.dumps(data))


def test_it_takes_part_by_one_line_and_reads_settings_of_its_name(own):
    done = described_of(own, motd_text="hello")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["operations"][-2:] == ["Write the greeting", "Note that the server is adopted"]
    assert "figlet" in found["packages"]
    assert "Configure Nginx" not in found["operations"]


def test_what_it_asks_of_a_host_is_reported_before_anything_changes(own):
    done = described_of(own)
    assert "server.invalid" not in done.stdout
    assert "motd_text: found nothing, expected a greeting" in done.stderr


def test_a_setting_of_no_components_name_is_unknown_still(own):
    with (own / "group_data/all.py").open("a") as file:
        file.write('motd_text = "hello"\nmotto_text = "?"\nnginx_text = "?"\n')
    said = slipway("plan", cwd=own).stderr
    assert "motto_text: there is no such setting" in said
    assert "nginx_text: there is no such setting" in said
    assert "motd_text" not in said


def test_a_setting_of_a_component_that_is_not_there_is_unknown(project):
    with (project / "group_data/all.py").open("a") as file:
        file.write('motd_text = "hello"\n')
    assert "motd_text: there is no such setting" in slipway("plan", cwd=project).stderr


def test_only_takes_its_name_and_those_of_the_projects_deploy_file_alone(own):
    said = slipway("plan", "--only", "nginx", cwd=own).stderr
    assert "found no component nginx; there are: adoption, base, motd, packages" in said


def test_verify_runs_its_tests_where_a_server_has_it(own, monkeypatch):
    (own / "tests/server/test_nginx.py").write_text("def test_it_is_not_there(server):\n    pass\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    done = slipway("verify", cwd=own)
    assert "test_motd.py::test_it_greets[server.invalid]" in done.stdout, done.stdout + done.stderr
    assert "test_base.py" in done.stdout
    assert "test_nginx" not in done.stdout


LOAD = """
from pyinfra.api.exceptions import PyinfraError
from slipway.engine.deployed import deployed
try:
    deployed()
except PyinfraError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "import no_such_module\n",
            "component 'motd' can't be loaded: tasks/motd.py, line 1: ModuleNotFoundError: No module named"
            " 'no_such_module': import no_such_module",
        ),
        (
            "\nFILE = /etc/motd\n",
            "component 'motd' can't be loaded: tasks/motd.py, line 2: invalid syntax: FILE = /etc/motd",
        ),
        (
            "def motd(settings): ...\n",
            "tasks/motd.py: found no component, expected a function motd with the decorator @component()",
        ),
    ],
    ids=["an import", "its syntax", "no decorator"],
)
def test_a_component_that_cannot_be_loaded_is_told_with_its_line(own, text, told):
    (own / "tasks/motd.py").write_text(text)
    assert run(own, "-c", LOAD).stdout.strip() == told


def test_verify_tells_a_mistake_in_a_component_without_a_traceback(own):
    (own / "tasks/motd.py").write_text("import no_such_module\n")
    done = slipway("verify", cwd=own)
    assert "component 'motd' can't be loaded: tasks/motd.py, line 1" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
