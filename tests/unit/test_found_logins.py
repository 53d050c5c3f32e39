"""Logins of an existing server that would be closed, and what keeps its administrator from one."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import access
from slipway.facts.earlier import Earlier
from support.obstacles import told

SSHD = {"port": ["22"], "passwordauthentication": ["yes"], "authorizedkeysfile": [".ssh/authorized_keys .ssh/keys2"]}


@pytest.mark.parametrize(
    ("sshd", "name"),
    [
        ({}, "sshd"),
        (SSHD, None),
        (SSHD | {"port": ["22", "2222"]}, "sshd: port 2222"),
        (SSHD | {"allowusers": ["deploy", "root"]}, "sshd: AllowUsers"),
        (SSHD | {"allowusers": ["adm*@10.0.0.0/8"]}, None),
        (SSHD | {"denyusers": ["admin"]}, "sshd: DenyUsers"),
        (SSHD | {"authenticationmethods": ["publickey,keyboard-interactive"]}, "sshd: AuthenticationMethods"),
        (SSHD | {"authenticationmethods": ["any"]}, None),
        (SSHD | {"authorizedkeysfile": ["/etc/ssh/keys/%u"]}, "sshd: AuthorizedKeysFile"),
        (SSHD | {"forcecommand": ["/bin/menu"]}, "sshd: ForceCommand"),
    ],
)
def test_sshd_options_that_prevent_logins_are_named(settings_with, sshd, name):
    assert told(access.obstacles({}, sshd, settings_with())) == ([name] if name else [])


def test_users_who_could_no_longer_log_in_are_named(settings_with):
    settings = settings_with()
    passwords = (
        "deploy:x:1001:1001::/home/deploy:/bin/bash\nsystem:x:100:1::/:/usr/sbin/nologin\nroot:x:0:0::/root:/bin/bash"
    )
    assert told(access.obstacles({"passwords": passwords}, SSHD, settings)) == ["user deploy"]
    assert told(access.obstacles({"passwords": passwords}, SSHD | {"passwordauthentication": ["no"]}, settings)) == []
    # sshd's own SFTP needs no shell.
    earlier = {"passwords": passwords, "sftp": "system"}
    assert told(access.obstacles(earlier, SSHD, settings)) == ["user deploy", "user system"]
    own, other = settings.admin_keys[0], 'command="x" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA colleague'
    assert told(access.obstacles({"keys": f"{own}\n# note\n{other}\n"}, SSHD, settings)) == [
        "user admin: key colleague"
    ]


@pytest.mark.parametrize(
    ("effective", "is_told"),
    [
        ("forcecommand internal-sftp -d /uploads\nsubsystem sftp /usr/lib/openssh/sftp-server", True),
        ("forcecommand none\nsubsystem sftp internal-sftp\nchrootdirectory /srv", True),
        # Of a mail server, say: its users have a password and no shell.
        ("forcecommand none\nsubsystem sftp internal-sftp\nchrootdirectory none", False),
        ("forcecommand none\nsubsystem sftp /usr/lib/openssh/sftp-server\nchrootdirectory /srv", False),
    ],
)
def test_who_has_sftp_without_a_shell_is_asked_of_sshd(tmp_path, effective, is_told):
    users = {"uploads": "/usr/sbin/nologin", "other": "/bin/false", "deploy": "/bin/bash"}
    (tmp_path / "shadow").write_text("".join(f"{name}:$y$j9T$x:1::::::\n" for name in users) + "www-data:*:1::::::\n")
    shells = "".join(f" {name}) echo {name}:x:1:1::/srv:{shell} ;;" for name, shell in users.items())
    programs = {
        "getent": f"case $2 in{shells} esac",
        "sshd": f"case $3 in user=uploads,*) printf '{effective}' ;; *) echo forcecommand none ;; esac",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    script = command[command.index("s sftp") : command.index("home=$(getent passwd admin")]
    script = script.replace("/etc/", f"{tmp_path}/")
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == (["uploads"] if is_told else [])


def test_a_certificate_of_a_host_key_that_sshd_would_not_have_is_named(settings_with):
    found = {"/etc/ssh/ed25519-cert.pub": "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ecdsa-cert.pub": ""}
    assert told(access.certificates(found, settings_with())) == ["sshd: HostCertificate /etc/ssh/ecdsa-cert.pub"]
    own = settings_with(sshd_settings={"HostKeyAlgorithms": "ecdsa-sha2-nistp256-cert-v01@openssh.com"})
    assert told(access.certificates(found, own)) == []


def test_a_socket_that_listens_on_another_port_than_sshd_is_to_is_named(settings_with):
    earlier = {"socket": "[::]:22 (Stream)"}
    assert told(access.obstacles(earlier, SSHD, settings_with())) == []
    moved = {**SSHD, "port": ["2222"]}
    assert told(access.obstacles(earlier, moved, settings_with(sshd_port=2222))) == ["ssh.socket"]


def test_an_address_that_sshd_listens_on_with_a_port_of_its_own_is_named(settings_with):
    sshd = {**SSHD, "listenaddress": ["0.0.0.0:22", "[2001:db8::1]:2022"]}
    assert told(access.obstacles({}, sshd, settings_with())) == ["sshd: ListenAddress [2001:db8::1]:2022"]
    moved = {**SSHD, "port": ["2022"], "listenaddress": ["0.0.0.0:2022"]}
    assert told(access.obstacles({}, moved, settings_with(sshd_port=2022))) == []


def test_a_port_that_sshd_listens_on_by_its_command_line_is_named(settings_with):
    lines = ["0.0.0.0:22 sshd ssh.service", "[::]:2222 sshd ssh.service", "127.0.0.1:6010 sshd ssh.service"]
    earlier = {"listeners": "\n".join([*lines, "0.0.0.0:8000 node shop.service"])}
    assert told(access.obstacles(earlier, SSHD, settings_with())) == ["sshd: port 2222"]
    own = {**SSHD, "listenaddress": ["0.0.0.0:2222"]}
    assert told(access.obstacles(earlier, own, settings_with())) == ["sshd: ListenAddress 0.0.0.0:2222"]


def test_a_key_that_somebody_else_logs_in_as_root_with_is_named(settings_with):
    settings = settings_with()
    told_only = (
        'command="echo \'Please login as the user \\"debian\\" rather than the user \\"root\\".\'" ssh-ed25519 AAAA1 me'
    )
    lines = [
        f"used {settings.admin_keys[0]}",
        'used command="borg serve" ssh-ed25519 AAAA2 backup',
        f"used {told_only}",
    ]
    earlier = {"roots": "\n".join([*lines, "unused ssh-ed25519 AAAA3 colleague"])}
    assert told(access.obstacles(earlier, SSHD, settings)) == ["user root: key backup"]
    assert access.roots_keys(earlier, SSHD, settings, "unused") == ["colleague"]
    refused = {**SSHD, "permitrootlogin": ["no"]}
    assert told(access.obstacles(earlier, refused, settings)) == []
    assert access.roots_keys(earlier, refused, settings, "unused") == []


def test_logins_as_root_are_told_from_this_runs_by_their_keys(tmp_path):
    keys, logins = [], []
    for number, (name, user, address) in enumerate(
        [("own", "root", "192.0.2.1"), ("ci", "root", "192.0.2.2"), ("deploy", "deploy", "192.0.2.2"), ("new", "", "")]
    ):
        file = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file], check=True)
        keys.append(f"{'restrict ' if number else ''}{file.with_suffix('.pub').read_text().strip()}")
        shown = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True).stdout.split()[
            1
        ]
        if user:
            logins.append(f"Accepted publickey for {user} from {address} port {5000 + number} ssh2: ED25519 {shown}\n")
    (tmp_path / "authorized_keys").write_text("\n".join(["# keys", "", *keys]))
    (tmp_path / "auth.log").write_text("".join(logins))
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    script = command[command.index("s roots") : command.index("s socket;")]
    script = (
        script.replace("/root/.ssh", str(tmp_path)).replace("/var/log", str(tmp_path)).replace("journalctl", "true")
    )
    env = {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.9 22", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=False)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["unused", "used", "unused", "unused"]
    assert [line.partition(" ")[2] for line in done.stdout.splitlines()] == keys


def test_a_reverse_tunnel_is_named_with_the_setting_that_allows_it(settings_with):
    lines = ["127.0.0.1:9000 sshd-session ", "[::]:9000 sshd-session ", "127.0.0.1:6010 sshd-session "]
    earlier = {"listeners": "\n".join(lines)}
    (one,) = access.obstacles(earlier, SSHD, settings_with(sshd_settings={"Banner": "none"}))
    assert one.name == "sshd: AllowTcpForwarding"
    assert one.need == "sshd_settings = {'Banner': 'none', 'AllowTcpForwarding': 'yes'}"
    assert told(access.obstacles(earlier, SSHD, settings_with(sshd_settings={"AllowTcpForwarding": "remote"}))) == []
    assert told(access.obstacles({"listeners": lines[2]}, SSHD, settings_with())) == []


@pytest.mark.parametrize(
    ("title", "program"),
    [
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", "sshd"),
        ("/usr/sbin/sshd -D", "sshd"),
        ("sshd: deploy@notty", "sshd-session"),
        ("sshd: deploy", "sshd-session"),
        ("sshd-session: deploy@notty", "sshd-session"),
    ],
)
def test_a_login_that_listens_is_told_from_sshd_by_its_title(title, program, tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cmdline").write_text(title)
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    script = command[command.index("sockets() {") : command.index("s listeners;")].replace("/proc", str(tmp_path))
    said = "echo '0.0.0.0:9000 users:((\"sshd\",pid=7,fd=8))' | sockets"
    done = subprocess.run(
        ["sh", "-c", f"unit_of() {{ :; }}; {script} {said}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"0.0.0.0:9000 {program}"


def test_an_exception_of_sshds_for_some_logins_is_named(settings_with):
    line = "/etc/ssh/sshd_config.d/own.conf:PermitRootLogin yes"
    (one,) = access.obstacles({"matched": line}, SSHD, settings_with())
    assert one.name == "/etc/ssh/sshd_config.d/own.conf: PermitRootLogin yes"


def test_a_later_rule_of_sudos_that_asks_for_a_password_is_named(settings_with):
    line = "/etc/sudoers.d/zz-own:%sudo ALL=(ALL:ALL) ALL"
    assert told(access.obstacles({"sudoers": line}, SSHD, settings_with())) == [line]


def test_a_sudoers_file_that_does_not_include_slipways_is_named(settings_with):
    assert told(access.obstacles({"sudoers": "/etc/sudoers"}, SSHD, settings_with())) == ["/etc/sudoers"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("root ALL=(ALL:ALL) ALL\nadmin ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n", []),
        ("#includedir /etc/sudoers.d\nadmin ALL=(ALL:ALL) ALL\n", ["/etc/sudoers:admin ALL=(ALL:ALL) ALL"]),
        ("@includedir /etc/sudoers.d\n# admin ALL=(ALL) ALL\nadmin ALL=(ALL) NOPASSWD: ALL\nb ALL=(ALL) ALL\n", []),
        ("root ALL=(ALL:ALL) ALL\n# @includedir /etc/sudoers.d\n", ["/etc/sudoers"]),
        ("", ["/etc/sudoers"]),
        (None, []),
    ],
)
def test_the_rules_below_an_includedir_are_found(tmp_path, text, told):
    if text is not None:
        (tmp_path / "sudoers").write_text(text)
    (tmp_path / "sudoers.d").mkdir()
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    script = command[command.index("s sudoers;") : command.index("s login")].replace("/etc/", f"{tmp_path}/")
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], capture_output=True, text=True, check=False)
    assert done.stdout.replace(f"{tmp_path}", "/etc").splitlines() == told


def test_an_sshd_with_too_few_sessions_is_named(settings_with):
    sshd = {**SSHD, "maxsessions": ["1"]}
    assert told(access.obstacles({}, sshd, settings_with())) == ["sshd: MaxSessions"]
    assert told(access.obstacles({}, {**sshd, "maxsessions": ["2"]}, settings_with())) == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("home admin 755 /home/admin", None),
        ("home root 700 /home/admin/.ssh", None),
        ("home deploy 755 /srv/admin", "/srv/admin"),
        ("home admin 775 /home/admin", "/home/admin"),
        ("shell /usr/bin/zsh", "user admin"),
        ("expired", "user admin"),
        ("password", "user admin"),
        ("nologin", "/etc/nologin"),
        ("locked", None),
    ],
)
def test_what_keeps_the_administrator_from_a_login_is_named(settings_with, line, name):
    assert told(access.obstacles({"login": line}, SSHD, settings_with())) == ([name] if name else [])


def test_an_administrator_whom_sshd_takes_for_locked_without_pam_is_named(settings_with):
    assert told(access.obstacles({"login": "locked"}, SSHD | {"usepam": ["no"]}, settings_with())) == ["user admin"]
    assert told(access.obstacles({"login": "locked"}, SSHD | {"usepam": ["yes"]}, settings_with())) == []
