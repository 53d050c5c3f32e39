"""Plain pyinfra, without `slipway`: what is wrong is reported before it connects, too."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pytest
from pyinfra.api import Config, State

from slipway.settings import of_host
from support.checkout import PROJECT

OLD_NAME = "group_data/all.py: reboot_window is deprecated; rename it to reboot_time"
ROLES = 'web = app = db = ["server.invalid"]\n'
# Each a server of its own.
TWO = 'web = app = db = ["server.invalid", ("other.invalid", {"site_domain": "other.example.org"})]\n'


class Logged(logging.Handler):
    """The messages of a logger; pytest's own handlers may get them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_plain_pyinfra_logs_it_once_for_all_hosts(project, monkeypatch):
    with (project / "group_data/all.py").open("a") as file:
        file.write('reboot_window = "03:00"\n')
    (project / "inventory.py").write_text(TWO)
    monkeypatch.chdir(project)
    logged = Logged()
    monkeypatch.setattr(logging.getLogger("pyinfra"), "handlers", [logged])
    state, config = State(check_for_changes=False), Config()
    config.lock_current_state()
    with pyinfra_compat.ctx_state.use(state), pyinfra_compat.ctx_config.use(config):
        # pyinfra keeps the code of a file by its name.
        file = str(project / "inventory.py")
        hosts = pyinfra_compat.load_inventory(file, {}, str(project), lambda names: None)
        state.init(hosts, config)
    assert [of_host.checked_settings(host).reboot_time for host in hosts] == ["03:00", "03:00"]
    assert logged.lines == [OLD_NAME]


def by_pyinfra(project: Path, *arguments: str) -> str:
    """The errors of plain pyinfra."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [str(Path(sys.executable).with_name("pyinfra")), "-y", "inventory.py", *arguments]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def test_plain_pyinfra_reports_invalid_settings_of_all_hosts_before_it_connects(project):
    text = (PROJECT / "inventory.py").read_text()
    hosts = '[("server.invalid", {"swap_mb": "a"}), ("other.invalid", {"swap_mb": "b"})]'
    (project / "inventory.py").write_text(re.sub(r"app = db = .*", f"app = db = {hosts}", text))
    said = by_pyinfra(project, "deploy.py")
    assert "2 settings are wrong; no host was touched." in said
    assert "swap_mb: found 'a'" in said
    assert "swap_mb: found 'b'" in said
    assert "Could not resolve" not in said
    # Hosts that the run leaves out are not its concern.
    said = by_pyinfra(project, "--limit", "other.invalid", "deploy.py")
    assert "1 setting is wrong" in said
    assert "swap_mb: found 'b'" in said
    # With the settings in order it goes on to connect.
    (project / "inventory.py").write_text(re.sub(r"app = db = .*", 'app = db = ["server.invalid"]', text))
    assert "Could not resolve" in by_pyinfra(project, "deploy.py")


# Each of which pyinfra ignores, or answers with a traceback.
WRONG_FOR_PYINFRA = {
    "a text": ('web = app = db = "server.invalid"', "web: found the text 'server.invalid', expected a list of hosts"),
    "a generator": ("web = app = db = (host for host in ())", "web: found a value of type generator, expected a list"),
    "a tuple": ('web = app = db = ("server.invalid", "x")', "web: found a tuple, expected a list of hosts"),
    "no host": ("web = app = db = []", "found no host, expected lists of hosts"),
    "a role that is misspelt": ('webs = ["server.invalid"]', "webs: found a group that is no role, expected web"),
    "a host without a role": (f"{ROLES}more = ['other.invalid']", "found other.invalid in none of the roles"),
}


@pytest.mark.parametrize("mistake", WRONG_FOR_PYINFRA)
def test_plain_pyinfra_reports_a_mistake_in_the_inventory_before_it_connects(project, mistake):
    text, line = WRONG_FOR_PYINFRA[mistake]
    shipped = re.sub(r"(web = )?app = db = .*", "", (PROJECT / "inventory.py").read_text())
    (project / "inventory.py").write_text(f"{shipped}\n{text}\n")
    # pyinfra would merge these with the data of the group, before anybody can look at them.
    (project / "group_data/web.py").unlink()
    said = by_pyinfra(project, "deploy.py")
    assert f"  - inventory.py: {line}" in said
    assert "in the inventory; no host was touched" in said
    assert "Could not resolve" not in said


def test_plain_pyinfra_reports_group_data_that_no_host_has(project):
    shipped = (PROJECT / "inventory.py").read_text()
    (project / "inventory.py").write_text(re.sub(r"app = db = .*", 'app = db = ["server.invalid"]', shipped))
    (project / "group_data/wbe.py").touch()
    assert "  - group_data/wbe.py: found wbe, which is no group of hosts" in by_pyinfra(project, "deploy.py")
    said = by_pyinfra(project, "--data", "swap_mb=lots", "deploy.py")
    assert "  - group_data/wbe.py: found wbe" in said
    assert "swap_mb: found 'lots'" in said
