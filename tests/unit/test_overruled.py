"""What is in force instead of Slipway's files is found by the order that programs read their folders in."""

from __future__ import annotations

import subprocess

import pytest
from pyinfra.context import ctx_host

from slipway.engine import run
from slipway.tasks.overruled import AFTER, BESIDE, overruled
from support.described import FakeHost


@pytest.fixture
def asked(settings_with, tmp_path):
    """Asks a host whose /etc is a folder of files, by their paths, for what overrules Slipway's files."""

    class Host(FakeHost):
        def get_fact(self, fact, **arguments):
            command = arguments.get("command", "")
            if not command.startswith((AFTER, "folder=")):
                return super().get_fact(fact, **arguments)
            script = command.replace("/etc/", f"{tmp_path}/etc/")
            done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
            assert done.stderr == ""
            return done.stdout

    def asked(files, *deployed, **settings):
        for path, text in {"etc/apt/apt.conf.d/01own": "", **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        host = Host(("web", "app", "db"))
        run.of(host.state).deployed = frozenset(deployed)
        ctx_host.set(host)
        return [*overruled(settings_with(**settings))]

    before = ctx_host.get()
    yield asked
    ctx_host.set(before)


@pytest.fixture
def found(asked, tmp_path):
    """The same, as names and what was found."""
    return lambda *given: [(one.name.removeprefix(f"{tmp_path}"), one.found) for one in asked(*given)]


UNITS = "etc/systemd/system"
LATER = {
    f"{UNITS}/nginx.service.d/zz.conf": "ProtectSystem=no",
    f"{UNITS}/codementee-backend.service.d/a.conf": "MemoryMax=infinity",
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
        "etc/fail2ban/jail.d/wordpress.local": "[wordpress]\nbantime = 1d\n[nginx-http-auth]\nbantime = 1w\n",
        # Slipway's jails have times of their own.
        "etc/fail2ban/jail.d/zz.local": "[DEFAULT]\nbantime = 1w\n",
        "etc/apt/apt.conf.d/99-own": 'Unattended-Upgrade::Package-Blacklist { "mongodb-org"; };\n',
        # Slipway's own.
        **{f"{folder.rpartition('/')[0][1:]}/{ours}": "ProtectSystem=no\ncore\n" for ours, _, folder in BESIDE},
    }
    assert found(earlier, "updates") == []


def test_a_jails_time_counts_in_a_section_of_slipways(found):
    text = "[wordpress]\nbantime = 1d\n[sshd]\n# why\nbantime = 1w\n[postfix]\nbantime = 2d\n"
    names = [name for name, _ in found({"etc/fail2ban/jail.d/zz.local": text, "etc/fail2ban/jail.d/zzz.local": text})]
    assert names == [f"/etc/fail2ban/jail.d/{file}.local: bantime = 1w" for file in ("zz", "zzz")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('Unattended-Upgrade::Automatic-Reboot-Time "02:00";', "reboot_time = \"02:00\", or '04:00' (grep -rn "),
        ('Unattended-Upgrade::Automatic-Reboot-Time "now";', "'04:00' (grep -rn "),
        ('Unattended-Upgrade::Automatic-Reboot "false";', "reboot_time = \"\", or 'true' (grep -rn "),
    ],
)
def test_another_time_of_reboots_is_told_with_the_setting(asked, text, told):
    files = {"etc/apt/apt.conf.d/52unattended-upgrades-local": f"{text}\n"}
    (one,) = asked(files, "updates")
    assert one.need.startswith(told)


def test_with_the_setting_a_file_that_says_the_same_of_reboots_is_none(asked):
    file, option = "etc/apt/apt.conf.d/52unattended-upgrades-local", "Unattended-Upgrade::Automatic-Reboot"
    files = {file: f'{option}-Time "02:00";\n'}
    assert asked(files, "updates", reboot_time="02:00") == []
    files = {file: f'{option} "false";\n{option}-Time "02:00";\n'}
    (one,) = asked(files, "updates")
    assert one.need.startswith('reboot_time = "", or ')
    assert asked(files, "updates", reboot_time="") == []


@pytest.mark.parametrize(
    ("file", "text", "option", "said"),
    [
        ("99off", 'APT::Periodic::Unattended-Upgrade "0";', "APT::Periodic::Unattended-Upgrade", "'0'"),
        ("99off", 'APT { Periodic { Enable "0"; } };', "APT::Periodic::Enable", "'0'"),
        ("99off", "#clear APT::Periodic::Enable;", "APT::Periodic::Enable", "'nothing'"),
        ("../apt.conf", 'apt::periodic::enable "0";', "APT::Periodic::Enable", "'0'"),
        ("99lock", 'DPkg::Lock::Timeout "60";', "DPkg::Lock::Timeout", "'60'"),
        (
            "52unattended-upgrades-local",
            'Unattended-Upgrade::Origins-Pattern { "origin=Debian"; };',
            "Unattended-Upgrade::Origins-Pattern",
            "'origin=Debian'",
        ),
        (
            "60own",
            'Unattended-Upgrade::Allowed-Origins { "a:b"; };',
            "Unattended-Upgrade::Allowed-Origins",
            "'a:b'",
        ),
    ],
)
def test_what_apt_reads_after_slipways_files_is_told_by_the_option(found, file, text, option, said):
    ((name, found_now),) = found({f"etc/apt/apt.conf.d/{file}": f"{text}\n"}, "updates")
    assert name == f"apt: {option}"
    assert found_now == f"{said} by a file that apt reads after Slipway's"


SSHD = f"{UNITS}/ssh.service.d/own.conf"


@pytest.mark.parametrize(
    ("file", "line", "is_named"),
    [
        ("etc/default/ssh", "SSHD_OPTS=-p2222", True),
        ("etc/default/ssh", "export SSHD_OPTS='-4 -o PasswordAuthentication=yes'", True),
        ("etc/default/ssh", "SSHD_OPTS=", False),
        ("etc/default/ssh", 'SSHD_OPTS="-u0 -4"', False),
        ("etc/default/ssh", 'SSHD_OPTS="-D"', False),
        ("etc/default/ssh", '#SSHD_OPTS="-p 2222"', False),
        (SSHD, "ExecStart=/usr/sbin/sshd -D -f /etc/ssh/other", True),
        (SSHD, 'Environment="SSHD_OPTS=-o PermitRootLogin=yes"', True),
        (SSHD, "ExecStart=/usr/sbin/sshd -D $SSHD_OPTS", False),
    ],
)
def test_an_option_of_sshds_that_precedes_its_files_is_told(found, file, line, is_named):
    names = [name for name, _ in found({file: f"{line}\n"}, "ssh")]
    assert names == ([f"/{file}: {line}"] if is_named else [])
    assert found({}) == [], "without ssh in deploy.py it is the owner's"


def test_updates_that_deploy_py_leaves_out_are_the_owners(found):
    files = {"etc/apt/apt.conf.d/99off": 'APT::Periodic::Enable "0";\n'}
    assert found(files) == []
    assert [name for name, _ in found(files, "updates")] == ["apt: APT::Periodic::Enable"]
