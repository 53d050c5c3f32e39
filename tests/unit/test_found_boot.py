"""What of a server as found would not run after an automatic reboot."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import boot
from slipway.facts.boot import SECTIONS
from slipway.facts.earlier import Earlier
from support.obstacles import told

COMPONENTS = ["ssh", "updates", "nginx"]


def program(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def ask(folder):
    """The sections of a server whose files and programs are in `folder`."""
    script = SECTIONS
    for path in ("/proc/", "/etc/", "/var/spool/", "/var/lib/systemd/", "/var/run/docker.sock"):
        script = script.replace(path, f"{folder}{path}")
    script = script.replace("[ ! -S ", "[ ! -e ")
    command = Earlier().command(("admin",), ("admin",), (), (), 27017)
    assert SECTIONS in command
    unit_of = command[command.index("unit_of() {") : command.index("process() {")].replace("/proc/", f"{folder}/proc/")
    start = "s() { printf '\\n=== %s\\n' \"$1\"; }\n" + unit_of
    env = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", start + script], env=env, capture_output=True, text=True, check=False)
    return Earlier().process(done.stdout.splitlines())


# Processes by number: name, cgroup, command line, parent.
PROCESSES = {
    1: ("systemd", "/init.scope", "/sbin/init", 0),
    10: ("python3", "/user.slice/user-0.slice/session-3.scope", "python3\0/srv/blog/app.py", 1),
    11: ("node", "/user.slice/user-0.slice/session-c1.scope", "node\0x.js", 1),
    12: ("PM2 v5", "/user.slice/user-0.slice/session-3.scope", "PM2 v5.3.0: God Daemon (FOLDER/pm2)", 1),
    13: ("node", "/user.slice/user-0.slice/session-3.scope", "node\0/srv/shop/server.js", 12),
    14: ("blog", "/system.slice/blog.service", "/opt/blog", 1),
    15: ("sshd", "/system.slice/ssh.service", "sshd: /usr/sbin/sshd", 1),
    16: ("java", "/system.slice/ssh.service", "java", 1),
    17: ("node", "9:name=systemd:/user.slice/user-1000.slice/user@1000.service/app.slice/chat.service", "node", 1),
    18: ("cupsd", "/system.slice/cups.service", "cupsd", 1),
    19: ("app", "/system.slice/fine.service", "app", 1),
}
SYSTEMCTL = """
case "$*" in
  *UnitFileState*blog* | *UnitFileState*cups*) echo disabled ;;
  *UnitFileState*) echo enabled ;;
  *TriggeredBy*cups*) echo cups.socket ;;
  is-enabled*cups.socket) true ;;
  is-enabled*pm2-*) [ -e $PM2_ENABLED ] ;;
  is-enabled*) false ;;
  *mount*) cat FOLDER/mounts ;;
esac"""


@pytest.fixture
def server(tmp_path):
    for number, (name, cgroup, command, parent) in PROCESSES.items():
        folder = tmp_path / f"proc/{number}"
        folder.mkdir(parents=True)
        (folder / "cgroup").write_text(f"{'' if ':' in cgroup else '0::'}{cgroup}\n")
        (folder / "cmdline").write_text(command.replace("FOLDER", str(tmp_path)) + "\0")
        (folder / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
        (folder / "cwd").symlink_to("/root")
    for folder in ("etc/cron.d", "etc/systemd/system/multi-user.target.wants", "var/lib/systemd/linger", "pm2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/fstab").write_text("/dev/sdb1\t/srv/listed ext4 defaults 0 0\n")
    lines = [
        f'tcp LISTEN 0 128 0.0.0.0:{3000 + number} 0.0.0.0:* users:(("{name}",pid={number},fd=3))'
        for number, (name, *_) in PROCESSES.items()
    ]
    program(tmp_path, "ss", "cat <<'END'\n" + "\n".join(lines) + "\nudp UNCONN 0 0 *:51820 *:*\nEND")
    program(tmp_path, "systemctl", SYSTEMCTL.replace("FOLDER", str(tmp_path)).replace("$PM2", f"{tmp_path}/PM2"))
    program(tmp_path, "loginctl", "case $2 in c1) echo su-l ;; *) echo sshd ;; esac")
    program(tmp_path, "apt-config", "true")
    program(tmp_path, "systemd-detect-virt", "exit 1")
    program(tmp_path, "findmnt", "echo /net/files")
    (tmp_path / "mounts").write_text("")
    return tmp_path


SESSION = "login - 3010 tcp python3"
FOUND = [
    *("login - 3012 tcp PM2 v5", "login - 3013 tcp node", "login - 3016 tcp java"),
    *("unit blog.service 3014 tcp blog",),
]


def test_a_listener_that_nothing_starts_at_boot_is_found(server):
    lines = ask(server)["boot"].splitlines()
    assert [line for line in lines if not line.startswith("user ")] == sorted([SESSION, *FOUND])
    assert [line.split()[2:] for line in lines if line.startswith("user ")] == [["3017", "tcp", "node"]]


def test_what_pm2_or_a_job_of_the_boot_starts_is_fine(server):
    (server / "PM2_ENABLED").touch()
    assert "login - 3013 tcp node" in ask(server)["boot"], "nothing is saved"
    (server / "pm2/dump.pm2").write_text("[]")
    assert "login - 3013 tcp node" not in ask(server)["boot"]
    (server / "etc/cron.d/blog").write_text("@reboot root python3 /srv/blog/app.py\n")
    assert SESSION not in ask(server)["boot"]


def test_a_mount_that_nothing_mounts_at_boot_is_found(server):
    texts = {
        "/srv/data": ("ext4", ""),
        "/srv/listed": ("ext4", ""),
        "/srv/unit": ("xfs", "/run/systemd/generator/srv-unit.mount"),
        "/tmp": ("tmpfs", ""),
        "/": ("ext4", ""),
        "/net/files/a": ("nfs", ""),
    }
    blocks = [f"Where={w}\nType={t}\nActiveState=active\nFragmentPath={p}\n" for w, (t, p) in texts.items()]
    (server / "mounts").write_text("\n".join(blocks))
    assert ask(server)["mounts"] == "/srv/data"
    program(server, "systemd-detect-virt", "exit 0")
    assert ask(server)["mounts"] == ""


def test_a_container_that_nothing_starts_at_boot_is_found(server):
    lines = ["shop nofalse ?none? ?none?", "web unless-stoppedfalse ?none? ?none?", "job notrue ?none? ?none?"]
    lines += ["api_1 nofalse api /srv/api", "task nofalse ?none? ?none? other", "nginx nofalse ?none? ?none?"]
    (server / "var/run").mkdir(parents=True)
    (server / "var/run/docker.sock").touch()
    program(server, "docker", "case $1 in ps) echo 1 ;; *) cat <<'END'\n" + "\n".join(lines) + "\nEND\n;; esac")
    wants = server / "etc/systemd/system/multi-user.target.wants"
    (wants / "nginx.service").write_text("[Service]\nExecStart=/usr/sbin/nginx\n")
    assert ask(server)["unrestarted"].split() == ["shop", "api_1", "nginx"]
    (wants / "api.service").write_text("[Service]\nWorkingDirectory=/srv/api\nExecStart=docker compose up\n")
    assert ask(server)["unrestarted"].split() == ["shop", "nginx"]


@pytest.mark.parametrize(
    ("earlier", "name"),
    [
        ({"boot": "login - 3000 tcp python3\nlogin - 3000 tcp python3"}, "reboot: port 3000"),
        ({"boot": "login - 27015 udp game"}, "reboot: port 27015/udp"),
        ({"boot": "unit blog.service 3000 tcp node\nunit blog.service 3001 tcp node"}, "reboot: blog.service"),
        ({"boot": "user dev 3000 tcp node"}, "reboot: user dev"),
        ({"boot": "login - 40123 tcp code-server"}, None),
        ({"boot": "login - 60001 udp mosh-server\nlogin - 6010 tcp sshd-session\nlogin - 6010 tcp sshd"}, None),
        ({"boot": "unit nginx.service 80 tcp nginx\nunit codementee-backend.service 8001 tcp python3"}, None),
        ({"boot": "unit mongod.service 27017 tcp mongod"}, "reboot: mongod.service"),
        ({"unrestarted": "shop"}, "reboot: container shop"),
        ({"mounts": "/srv/data"}, "reboot: /srv/data"),
    ],
)
def test_what_an_automatic_reboot_would_end_is_named(settings_with, earlier, name):
    assert told(boot.obstacles(earlier, settings_with(), COMPONENTS)) == ([name] if name else [])
    assert told(boot.obstacles({**earlier, "reboots": "true"}, settings_with(), COMPONENTS)) == []
    assert told(boot.obstacles(earlier, settings_with(reboot_time=""), COMPONENTS)) == []
