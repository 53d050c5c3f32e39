"""Decisions of the tasks, without a host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.ops.backup import backup, or_roll_back
from slipway.ops.files import write_script
from slipway.ops.units import is_crash_looping
from slipway.tasks import backend_units, fail2ban, firewall, kernel, logins, mongodb, nginx, ssh
from slipway.tasks.mongodb import cache_gb
from slipway.tasks.tls import certbot_command, reason_to_issue
from support.described import deploy

SHM = "tmpfs /dev/shm tmpfs nosuid,nodev,noexec 0 0\n"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("", SHM),
        ("#tmpfs /dev/shm tmpfs defaults 0 0\n", f"#tmpfs /dev/shm tmpfs defaults 0 0\n{SHM}"),
        ("tmpfs\t/dev/shm tmpfs size=5m 0 0\n", "tmpfs\t/dev/shm tmpfs size=5m,nosuid,nodev,noexec 0 0\n"),
        (SHM, SHM),
    ],
)
def test_a_line_of_shared_memory_gets_noexec_once(tmp_path, there, expected):
    fstab = tmp_path / "fstab"
    fstab.write_text(there)
    for script in (kernel.SHM_IN_FSTAB, f"grep -qE '{kernel.SHM_NOEXEC}' /etc/fstab"):
        subprocess.run(["sh", "-c", script.replace("/etc/fstab", str(fstab))], check=True)
    assert fstab.read_text() == expected


# Of a host with a rule for all, one for a network and one for an address, as its own programs print them.
IN_FORCE = """\
ENABLED=yes
IPV6=yes
DEFAULT_INPUT_POLICY="DROP"
DEFAULT_OUTPUT_POLICY="ACCEPT"
### tuple ### allow tcp 22 0.0.0.0/0 any 203.0.113.0/24 in
### tuple ### allow tcp 22 ::/0 any 2001:db8::1 in
### tuple ### allow udp 53 0.0.0.0/0 any 0.0.0.0/0 in
### tuple ### allow udp 53 ::/0 any ::/0 in
:INPUT DROP [12:3456]
:OUTPUT ACCEPT [0:0]
:ufw-user-forward - [0:0]
:ufw-user-input - [0:0]
:ufw-user-output - [0:0]
-A ufw-user-input -s 203.0.113.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-user-input -p udp -m udp --dport 53 -j ACCEPT
:INPUT DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw6-user-forward - [0:0]
:ufw6-user-input - [0:0]
:ufw6-user-output - [0:0]
-A ufw6-user-input -s 2001:db8::1/128 -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw6-user-input -p udp -m udp --dport 53 -j ACCEPT
""".splitlines()


def test_a_firewall_is_known_by_its_files_and_the_kernel_and_every_difference_is_seen(settings_with):
    settings = settings_with(firewall_ssh_from=["203.0.113.0/24", "2001:db8::1"], firewall_allow=["53/udp"])
    wanted = firewall.expected_rules(firewall.rules(settings, ["22"], is_web=False))
    found = firewall.UfwInForce()
    assert found.process(IN_FORCE) == wanted
    for number, line in enumerate(IN_FORCE):
        assert found.process([*IN_FORCE[:number], *IN_FORCE[number + 1 :]]) != wanted, line
        assert found.process([*IN_FORCE, line]) != wanted, line
    opened = "-A ufw-user-input -p tcp -m tcp --dport 9999 -j ACCEPT"
    assert found.process([*IN_FORCE, opened]) != wanted


def test_sshd_is_asked_for_its_algorithms_only_where_one_of_ours_is_not_in_force(monkeypatch):
    asked = []

    def get_fact(fact: object, command: str) -> str:
        asked.append(command)
        return "sntrup761x25519-sha512\ncurve25519-sha256"

    monkeypatch.setattr(ssh, "host", SimpleNamespace(get_fact=get_fact))
    in_force = {keyword.lower(): [",".join(names)] for keyword, names in ssh.ALGORITHMS.items()}
    assert ssh.known_algorithms(in_force) == {keyword: {*names} for keyword, names in ssh.ALGORITHMS.items()}
    assert asked == []
    in_force["kexalgorithms"] = ["curve25519-sha256"]
    assert ssh.known_algorithms(in_force)["KexAlgorithms"] == {"sntrup761x25519-sha512", "curve25519-sha256"}
    assert asked == ["ssh -Q KexAlgorithms"]


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (("", ""), True),
        (("UMASK\t\t027", "UMASK 0271"), False),
        (("UMASK", "#UMASK"), False),
        (("1\n", "1 2\n"), False),
    ],
)
def test_a_login_is_limited_only_where_every_line_is_as_it_should_be(tmp_path, change, is_right):
    lines = "".join(f"{name}\t\t{value}\n" for name, value in logins.LOGIN_DEFS.items())
    (tmp_path / "login.defs").write_text(f"# UMASK 022\n{lines}OTHER x\n".replace(*change))
    check = logins.has_login_defs().replace(logins.LOGIN_DEFS_FILE, str(tmp_path / "login.defs"))
    assert (subprocess.run(["sh", "-c", check], check=False).returncode == 0) == is_right


@pytest.mark.parametrize(
    ("pam", "home_mode", "umask", "homes"),
    [
        ("session optional pam_unix.so\n# pam_umask.so\n", "", "027", None),
        ("session optional\tpam_umask.so\n", "", "022", "0750"),
        ("session optional pam_umask.so\n", "HOME_MODE\t0755\n", "022", "0750"),
        ("session optional pam_umask.so\n", "HOME_MODE 0700\n", "022", "0700"),
    ],
)
def test_a_umask_that_sessions_read_is_left_alone(tmp_path, pam, home_mode, umask, homes):
    """Root deploys other sites by hand, and their web server reads the files."""
    file = tmp_path / "login.defs"
    file.write_text(f"UMASK\t\t022\n#HOME_MODE 0700\n{home_mode}")
    (tmp_path / "common-session").write_text(pam)

    def run(script):
        script = script.replace(logins.LOGIN_DEFS_FILE, str(file)).replace("/etc/pam.d", str(tmp_path))
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    wanted = logins.login_defs(run(logins.ASKED).stdout.split())
    assert run(logins.has_login_defs(wanted)).returncode == 1
    assert run(logins.set_login_defs(wanted)).returncode == 0
    assert run(logins.has_login_defs(wanted)).returncode == 0
    values = dict(line.split() for line in file.read_text().splitlines() if not line.startswith("#"))
    assert (values["UMASK"], values.get("HOME_MODE")) == (umask, homes)
    assert logins.login_defs(run(logins.ASKED).stdout.split()) == wanted


def test_fail2bans_jails_are_tested_with_slipways_among_them(settings_with, tmp_path):
    """Debian 12's own jail for sshd has a log that does not exist, and Slipway's reads the journal."""
    (tmp_path / "fail2ban/jail.d").mkdir(parents=True)
    (tmp_path / "fail2ban/jail.local").write_text("[postfix]\n")
    fake = 'cat $3/jail.local; grep -c "backend = systemd" $3/jail.d/slipway.local; rm $3/jail.local'
    fake += "; echo '1 ERROR   Failed during configuration: no log'"
    (tmp_path / "fail2ban-server").write_text(f"#!/bin/sh\n{fake}\n")
    (tmp_path / "fail2ban-server").chmod(0o755)
    script = fail2ban.tested(settings_with()).replace("/etc/fail2ban", f"{tmp_path}/fail2ban")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[postfix]", "1", "1 ERROR   Failed during configuration: no log"]
    assert (tmp_path / "fail2ban/jail.local").exists()


def test_mongodbs_cache_is_a_quarter_of_the_memory_and_never_below_its_minimum(settings_with):
    assert cache_gb(settings_with(), 8192) == 2
    assert cache_gb(settings_with(), 512) == 0.25
    assert cache_gb(settings_with(mongodb_cache_gb=1.5), 8192) == 1.5


def test_the_database_and_the_backend_share_the_memory_and_the_cache_has_room(settings_with):
    assert (mongodb.memory_max_mb(settings_with(), 4096), backend_units.memory_max_mb(settings_with(), 4096)) == (
        2457,
        1638,
    )
    assert mongodb.memory_max_mb(settings_with(), 1024) == 256 + 512
    assert mongodb.memory_max_mb(settings_with(mongodb_cache_gb=3.0), 4096) == 3072 + 512
    own = settings_with(mongodb_memory_max_mb=900, backend_memory_max_mb=300)
    assert (mongodb.memory_max_mb(own, 4096), backend_units.memory_max_mb(own, 4096)) == (900, 300)


def test_hsts_says_what_is_set(settings_with):
    assert nginx.hsts(settings_with()) == "max-age=15768000"
    two_years = settings_with(nginx_hsts_seconds=63_072_000, nginx_hsts_subdomains=True, nginx_hsts_preload=True)
    assert nginx.hsts(two_years) == "max-age=63072000; includeSubDomains; preload"


def certificate(settings, days: float, **changes: str) -> dict[str, str]:
    end = int(time.time() + days * 86400)
    start = str(end - 90 * 86400 + 1)
    return {"start": start, "end": str(end), "names": "codementee.io", "server": settings.acme_directory, **changes}


def test_a_certificate_with_time_left_stays(settings_with):
    settings = settings_with()
    assert reason_to_issue(certificate(settings, 40), settings, time.time()) is None


@pytest.mark.parametrize(
    ("days", "changes", "reason"),
    [
        (-3, {}, "it ended 3 days ago"),
        (5, {}, "it ends in 5 days"),
        (60, {"names": "other.example"}, "it is for other.example"),
        (60, {"authenticator": "standalone"}, "it is not renewed through Nginx's webroot: standalone"),
        (60, {"pre_hook": "systemctl stop nginx"}, "it is not renewed through Nginx's webroot"),
        (60, {"webroot_path": "/var/www/html,"}, "it is renewed through /var/www/html"),
        (60, {"server": "https://acme-staging-v02.api.letsencrypt.org/directory"}, "it is from https://acme-staging"),
    ],
)
def test_a_certificate_that_will_not_do_is_issued_anew(settings_with, days, changes, reason):
    settings = settings_with()
    assert (reason_to_issue(certificate(settings, days, **changes), settings, time.time()) or "").startswith(reason)


def test_a_host_without_a_certificate_gets_one(settings_with):
    assert reason_to_issue({}, settings_with(), time.time()) == "there is none"


def test_certbot_is_asked_for_all_names_of_the_site_at_the_server_that_is_set(settings_with):
    settings = settings_with(site_aliases=["www.codementee.io"], tls_acme_server="letsencrypt-staging")
    command = " ".join(certbot_command(settings))
    assert "--server https://acme-staging-v02.api.letsencrypt.org/directory" in command
    assert "-d codementee.io -d www.codementee.io" in command
    assert "--register-unsafely-without-email" in command
    assert "--email ops@codementee.io" in " ".join(certbot_command(settings_with(tls_email="ops@codementee.io")))


@pytest.mark.parametrize(
    ("active", "sub", "restarts", "ends"),
    [
        ("activating", "auto-restart", "0", True),
        ("activating", "start-post", "3", True),
        ("activating", "start-post", "0", False),
        ("active", "running", "3", False),
    ],
)
def test_a_unit_that_is_crash_looping_is_known_at_whatever_moment_it_is_seen(active, sub, restarts, ends):
    assert is_crash_looping({"ActiveState": active, "SubState": sub, "NRestarts": restarts}) is ends


def put(path, content: bytes, check: str | None = None) -> subprocess.CompletedProcess[bytes]:
    import base64
    import grp
    import os
    import pwd

    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    script = write_script(str(path), "640", owner, group, check)
    data = base64.encodebytes(content)
    return subprocess.run(["sh", "-euc", script], input=data, capture_output=True, check=False)


def test_a_file_appears_whole_with_its_mode_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new folder" / "file"
    assert put(path, b"\x00 bytes\n").returncode == 0
    assert path.read_bytes() == b"\x00 bytes\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_that_its_check_refuses_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    assert put(path, b"new", "grep -q old {}").returncode != 0
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Runs a shell script with a fake `systemctl` that records its calls and reports every unit as active."""
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/told\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr("slipway.ops.backup.KEPT", str(tmp_path / "kept"))
    return lambda script: subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)


def test_what_a_unit_does_not_come_up_with_goes_back_to_what_it_ran_with(shell, tmp_path):
    config, added, socket = (tmp_path / name for name in ("config", "added", "my.socket"))
    config.write_text("works")
    config.chmod(0o600)
    socket.write_text("works")
    assert shell(backup([str(config), str(added), str(socket)], "my.service")).returncode == 0
    for path in (config, added, socket):
        path.write_text("new")
    # What an interrupted run has kept is what worked.
    assert shell(backup([str(config)], "my.service")).returncode == 0
    done = shell(or_roll_back("echo its last words >&2; exit 3", "my.service"))
    assert done.returncode == 1
    assert "its last words" in done.stderr
    assert f"previous configuration restored: {config} {added} {socket}" in done.stderr
    assert (config.read_text(), config.stat().st_mode & 0o777) == ("works", 0o600)
    assert (added.exists(), socket.read_text()) == (False, "works")
    told = (tmp_path / "told").read_text()
    assert told.endswith("stop my.service\nrestart my.socket\nrestart my.service\n")
    assert not (tmp_path / "kept/my.service").exists()


def test_nothing_is_kept_of_a_unit_that_does_not_run_and_its_failure_is_plain(shell, tmp_path):
    (tmp_path / "bin/systemctl").write_text("#!/bin/sh\nexit 3\n")
    config = tmp_path / "config"
    config.write_text("never worked")
    assert shell(backup([str(config)], "my.service")).returncode == 0
    config.write_text("new")
    assert shell(or_roll_back("exit 3", "my.service")).returncode == 1
    assert config.read_text() == "new"


def test_a_look_at_a_signing_key_writes_nothing(tmp_path):
    key = next(iter(sorted(Path("/usr/share/keyrings").glob("debian-archive-*.gpg"))), None)
    if key is None or not shutil.which("gpg"):
        pytest.skip("no gpg, or no key to look at")
    command, env = ["sh", "-c", mongodb._fingerprints(str(key))], {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"([0-9A-F]{40}\n)+", done.stdout)
    assert [*tmp_path.iterdir()] == []


def test_a_swap_file_on_btrfs_is_without_copy_on_write_before_it_has_content(tmp_path, settings_with):
    (one,) = [
        one for one in deploy(settings_with()).operations if one.arguments["name"].startswith("Create a swap file")
    ]
    programs = {
        "stat": "echo ${TYPE}",
        "chattr": f"[ ! -s {tmp_path}/swapfile.new ] && echo $1",
        "fallocate": "echo allocated; truncate -s 1M $3",
        "mkswap": ":",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = one.arguments["command"].replace("/swapfile", f"{tmp_path}/swapfile")
    for system, said in (("btrfs", ["+C", "allocated"]), ("ext2/ext3", ["allocated"])):
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TYPE": system}
        done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.split() == said
        assert (tmp_path / "swapfile").stat().st_size == 2**20
