"""What is in force instead of Slipway's files is found by the order that programs read their folders in."""

from __future__ import annotations

import subprocess

import pytest
from pyinfra.context import ctx_host

from slipway.tasks.overruled import AFTER, BESIDE, overruled
from support.described import FakeHost


@pytest.fixture
def found(settings_with, tmp_path):
    """Asks a host whose /etc is a folder of files, by their paths, for what overrules Slipway's files."""

    class Host(FakeHost):
        def get_fact(self, fact, **arguments):
            command = arguments.get("command", "")
            if not command.startswith(AFTER):
                return super().get_fact(fact, **arguments)
            script = command.replace("/etc/", f"{tmp_path}/etc/")
            done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
            assert done.stderr == ""
            return done.stdout

    def found(files):
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        ctx_host.set(Host(("web", "app", "db")))
        return [(one.name.removeprefix(f"{tmp_path}"), one.found) for one in overruled(settings_with())]

    before = ctx_host.get()
    yield found
    ctx_host.set(before)


UNITS = "etc/systemd/system"
LATER = {
    f"{UNITS}/nginx.service.d/zz.conf": "ProtectSystem=no",
    f"{UNITS}/codementee-backend.service.d/a.conf": "MemoryMax=infinity",
    "etc/apt/apt.conf.d/99-off": 'APT::Periodic::Unattended-Upgrade "0";',
    "etc/security/limits.d/zz.conf": "* hard core unlimited",
    "etc/fail2ban/jail.d/zz.local": "bantime = 10",
    "etc/systemd/journald.conf.d/zz.conf": "SystemMaxUse=4G",
}


@pytest.mark.parametrize("path", LATER)
def test_a_file_that_comes_after_slipways_is_told_with_its_line(found, path):
    ((name, said),) = found({path: f"# why\n{LATER[path]}\n"})
    assert name == f"/{path}: {LATER[path]}"
    assert said == "this line, which overrides Slipway's"


def test_a_file_that_comes_before_slipways_or_says_something_else_is_not(found):
    earlier = {
        f"{UNITS}/nginx.service.d/own.conf": "[Service]\nProtectSystem=no\n",
        f"{UNITS}/mongod.service.d/zz.conf": "[Service]\nEnvironment=A=b\n#ProtectSystem=no\n",
        "etc/apt/apt.conf.d/10periodic": 'APT::Periodic::Unattended-Upgrade "0";\n',
        "etc/apt/apt.conf.d/99-on": 'APT::Periodic::Unattended-Upgrade "1";\n// APT::Periodic::X "0";\n',
        "etc/fail2ban/jail.d/defaults-debian.local": "[sshd]\nbantime = 10\n",
        # Slipway's own.
        **{f"{folder.rpartition('/')[0][1:]}/{ours}": "ProtectSystem=no\ncore\n" for ours, _, folder in BESIDE},
    }
    assert found(earlier) == []
