"""Servers as providers and earlier owners leave them: with any login profile and any ssh configuration, Slipway
makes the same server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.lab_host import BUILT, PENDING, PROJECT, LabHost, bring_up, run
from support.waiting import wait_until

# The login profile of root or the administrator.
PROFILE = r"""
echo "Welcome to our server"; echo "You have mail" >&2
set -eu
umask 077
export TMPDIR=/nonexistent LC_ALL=tr_TR.UTF-8 LANG=de_DE.UTF-8 BASH_ENV=/etc/noisy ENV=/etc/noisy PATH=/usr/games
export http_proxy=http://127.0.0.1:9 CURL_HOME=/nonexistent PYTHONPATH=/nonexistent
readonly TMOUT=1; export TMOUT
alias sudo='echo no' sh='echo no'
sudo() { echo function; }; cat() { echo function; }
"""
FISH = "echo fish greets; umask 077; set -x PATH /usr/games; function sudo; echo no; end; set -x TMPDIR /nonexistent\n"
CSH = "echo csh greets; umask 077; alias sudo echo no; setenv TMPDIR /nonexistent\n"
# On a host with a container's /proc and /tmp. The last of sudo's files wins.
SESSION = f"""
cat > /etc/noisy <<'END'
echo noise; echo noise >&2; umask 077
END
cat > /root/profile <<'END'
{PROFILE}
END
for home in /root /home/admin /etc/skel; do
  [ -d $home ] || continue
  for name in .bashrc .profile .bash_profile .zshenv .zshrc; do cp /root/profile $home/$name; done
  mkdir -p $home/.config/fish
  cat > $home/.config/fish/config.fish <<'END'
{FISH}
END
  cat > $home/.tcshrc <<'END'
{CSH}
END
done
[ ! -d /home/admin ] || chown -R admin: /home/admin
printf 'BASH_ENV=/etc/noisy\\nTMPDIR=/nonexistent\\n' >> /etc/environment
printf 'session optional pam_umask.so umask=0077\\n' >> /etc/pam.d/common-session
printf 'session optional pam_umask.so umask=0077\\n' >> /etc/pam.d/common-session-noninteractive
mount --bind /tmp /tmp && mount -o remount,bind,noexec,nosuid,nodev /tmp
mount -o remount,hidepid=2 /proc
mount --bind /root /root && mount -o remount,bind,ro /root
printf 'Defaults:lab %s\\n' '!requiretty' secure_path=/usr/sbin:/usr/bin:/sbin:/bin > /etc/sudoers.d/zzz
printf 'Defaults %s\\n' requiretty use_pty secure_path=/bin lecture=always umask=0077 umask_override > /etc/sudoers.d/zz
chmod 440 /etc/sudoers.d/zz*
"""
INSTALL = "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq"
# What an apply then has to create: files in new folders, a package, a unit.
DRIFT = """
rm -rf /usr/share/slipway /etc/systemd/journald.conf.d /usr/lib/slipway /etc/issue
apt-get -y -qq purge logrotate > /dev/null 2>&1
sed -i 's/keepalive_timeout .*/keepalive_timeout 5s;/' /etc/nginx/nginx.conf
"""
MADE = "/usr/share/slipway /etc/systemd/journald.conf.d /usr/lib/slipway /etc/issue /etc/logrotate.d /etc/nginx"


# Logins on a cloud image: root's key refers to another user, who has sudo.
CLOUD = r"""
useradd --create-home --shell /bin/bash debian
install -d -m 700 -o debian -g debian /home/debian/.ssh
install -m 600 -o debian -g debian /root/.ssh/authorized_keys /home/debian/.ssh/authorized_keys
echo 'debian ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users
cat > /root/forced <<'END'
command="echo 'Please login as the user \"debian\" rather than the user \"root\".';echo;sleep 9;exit 142"
END
paste -d ' ' /root/forced /root/.ssh/authorized_keys > /root/keys; install -m 600 /root/keys /root/.ssh/authorized_keys
"""


def modes(server: LabHost, paths: str = MADE) -> list[str]:
    return sorted(server.ssh(f"find {paths} -printf '%m %u:%g %p\\n'").splitlines())


@pytest.fixture(scope="module")
def hostile(server: LabHost) -> tuple[LabHost, list[str]]:
    """The server with such a session, and its file modes before."""
    before = modes(server)
    server.ssh(SESSION)
    # Where PAM sets a umask, UMASK of login.defs is for sessions, too, and new homes get their mode in another way.
    assert [one["operation"] for one in server.plan()] == ["Harden new users' homes and passwords"]
    server.apply()
    return server, before


@pytest.mark.thorough
def test_a_hostile_session_does_not_affect_plans_or_applies(hostile):
    server, before = hostile
    record = server.record
    login = ["ssh", "-F", "none", "-i", record.key_file, "-o", f"UserKnownHostsFile={record.known_hosts_file}"]
    assert "Welcome" in run([*login, f"admin@{record.address}", "true"], server.env).stdout
    assert server.plan() == []
    server.ssh(DRIFT)
    server.apply()
    assert modes(server) == before
    assert server.plan() == []


@pytest.mark.thorough
def test_a_release_over_a_hostile_session_is_readable_by_its_services(hostile):
    server, _ = hostile
    server.release(*BUILT)
    assert server.ssh("find /var/www/codementee/current/ ! -type l ! -perm -o=r | head") == ""


@pytest.mark.thorough
@pytest.mark.parametrize("shell", ["bash", "dash", "fish", "zsh", "tcsh"])
def test_apply_and_verify_work_with_any_shell_of_the_administrator(hostile, shell):
    server, _ = hostile
    server.ssh(f"{INSTALL} {shell} > /dev/null; usermod --shell $(command -v {shell}) admin; rm /etc/issue")
    server.apply()
    assert server.plan() == []
    done = server.slipway("verify", "lab")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["slipway", "pyinfra"])
def test_a_bare_server_with_umask_077_gets_the_modes_of_any_other(server, way):
    """Compares everything that an apply creates."""
    bare = bring_up(f"umask{way}")
    try:
        # pyinfra would read printed text as answers.
        bare.ssh(SESSION if way == "slipway" else f"{UMASK}; cp /root/.bashrc /etc/skel/.bashrc")
        if way == "slipway":
            bare.apply()
        else:
            as_root = ("--data", "ssh_user=root", "--data", "_sudo=False")
            bare.pyinfra("lab/inventory.py", "deploy.py", *as_root)
        found, wanted = permissions(bare), permissions(server)
        other = {path: (found[path], wanted[path]) for path in {*found} & {*wanted} if found[path] != wanted[path]}
        # Ours above.
        assert {path: pair for path, pair in other.items() if not path.startswith(("/etc/skel", "/home/admin"))} == {}
        assert len(found) > 1000
        assert bare.is_healthy()
    finally:
        bare.remove()


UMASK = "sed -i '1i umask 077' /root/.bashrc"


def permissions(server: LabHost) -> dict[str, str]:
    """Mode, owner and group by path, without links."""
    trees = "/etc /usr/local /usr/lib/slipway /usr/share/slipway /usr/share/keyrings /usr/bin /var/www /var/lib/slipway"
    found = server.ssh(f"find {trees} ! -type l -printf '%p\\t%m %u:%g\\n'")
    return dict(line.split("\t") for line in found.splitlines())


@pytest.mark.thorough
def test_a_cloud_image_s_root_that_names_another_user_is_provisioned_as_that_one():
    bare = bring_up("cloud")
    try:
        bare.ssh(CLOUD)
        done = bare.slipway("plan", "lab")
        assert 'connecting as debian (port 22) with sudo: root says: Please login as the user "debian"' in done.stdout
        bare.ssh("sed -i 's/NOPASSWD://' /etc/sudoers.d/90-cloud-init-users")
        refused = bare.slipway("plan", "lab")
        assert refused.returncode == 1
        assert "debian logs in by port 22, but sudo: a password is required" in refused.stderr
        bare.ssh("sed -i 's/ALL$/NOPASSWD:ALL/' /etc/sudoers.d/90-cloud-init-users")
        bare.apply()
        assert bare.plan() == []
    finally:
        bare.remove()


# By account: what is reported, and what to do.
CLOSED = {
    "no shell": (
        "usermod -s /usr/sbin/nologin admin",
        "This account is currently not available",
        "usermod -s /bin/bash",
    ),
    "a password that has expired": ("echo admin:x | chpasswd; chage -d 0 admin", "Password change required", "ssh -t"),
    "files alone": (
        "printf 'Match User admin\\nForceCommand internal-sftp\\n' >> /etc/ssh/sshd_config; systemctl restart ssh",
        "This service allows sftp connections only",
        "set ssh_user to one with a shell",
    ),
    "a menu": (
        "printf '#!/bin/sh\\necho 1 restart; echo 2 quit; sleep 30\\n' > /usr/bin/menu; chmod 755 /usr/bin/menu;"
        " usermod -s /usr/bin/menu admin",
        "1 restart; 2 quit",
        "set ssh_user to a user whose",
    ),
    "an account that has expired": ("chage -E 2020-01-01 admin", "refused", "journalctl -u ssh"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", CLOSED)
def test_an_account_that_runs_no_command_is_reported_with_what_to_do(fresh_server, what):
    script, said, hint = CLOSED[what]
    fresh_server.ssh(script)
    # The host's first plan: a remembered login would not be tried again.
    done = fresh_server.slipway("plan", "lab", "--data", "timeout_scale=0.2")
    assert done.returncode == 1, done.stdout
    assert said in done.stderr
    assert hint in done.stderr
    assert "nothing was changed" in done.stderr


# The command line with hosts of its own.
WITH_INVENTORY = """if True:
    from slipway import project
    from slipway.cli import main
    project.INVENTORIES["lab"] = {inventory!r}
    main.main()
"""
INVENTORY = """
from slipway.lab import hosts as _hosts, record as _record

_data = _record.pyinfra_data(next(host for host in _hosts.status() if host.name == {name!r}))
_data = {{key: value for key, value in _data.items() if not key.startswith("ssh_")}}
web = app = db = [({name!r}, {{**_data, "ssh_config_file": {config!r}, "ssh_hostname": {alias!r}}})]
"""
CONFIG = """
Host *
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
Host direct
  HostName {address}
  User admin
Host jump
  HostName {address}
  User admin
Host inner
  HostName 127.0.0.1
  HostKeyAlias inner
  ProxyJump jump
Host forwarded
  HostName 127.0.0.1
  Port {port}
  User admin
"""


@pytest.fixture
def by_alias(server: LabHost, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`slipway` on the server, which its inventory names by an alias of ssh's configuration alone."""
    record = server.record
    known = Path(record.known_hosts_file).read_text()
    keys = [line.split(" ", 1)[1] for line in known.splitlines() if record.address in line.split(" ")[0].split(",")]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    known_hosts, names = tmp_path / "known_hosts", (record.address, "inner", f"[127.0.0.1]:{port}")
    known_hosts.write_text("".join(f"{name} {key}\n" for name in names for key in keys))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known_hosts], check=True, capture_output=True)
    config = tmp_path / "config"
    config.write_text(CONFIG.format(key=record.key_file, known_hosts=known_hosts, address=record.address, port=port))
    forward = subprocess.Popen(["ssh", "-F", config, "-N", "-L", f"{port}:127.0.0.1:22", "direct"])

    def slipway(alias: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        inventory = tmp_path / "inventory.py"
        inventory.write_text(INVENTORY.format(name=server.name, config=str(config), alias=alias))
        program = WITH_INVENTORY.format(inventory=str(inventory))
        return run([sys.executable, "-c", program, *arguments], server.env)

    slipway.known_hosts = known_hosts  # type: ignore[attr-defined]
    yield slipway
    forward.kill()
    forward.wait()


@pytest.mark.thorough
def test_a_port_and_a_jump_host_of_ssh_s_configuration_are_used(server, by_alias):
    for alias in ("direct", "inner", "forwarded"):
        done = by_alias(alias, "plan", "lab", "--json", "-")
        assert done.returncode == 0, (alias, done.stdout, done.stderr)
        assert json.loads(done.stdout)["totals"]["changes"] == 0
    # A change made through the jump host is confirmed by a new login through it.
    server.ssh("echo '# x' >> /home/admin/.ssh/authorized_keys")
    done = by_alias("inner", "apply", "lab", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.plan() == []
    subprocess.run(["ssh-keygen", "-q", "-R", "inner", "-f", by_alias.known_hosts], check=True, capture_output=True)
    told = by_alias("inner", "plan", "lab").stderr
    assert f"No host key for inner in {by_alias.known_hosts}" in told
    assert "inner true` once" in told


# With a key of a user's own, in the agent or beside its certificate.
OF_A_USER = """
Host user
  HostName {address}
  User admin
  IdentityAgent {agent}
  IdentityFile {key}
  UserKnownHostsFile {known_hosts}
"""


@pytest.fixture
def by_key(server: LabHost, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`slipway plan` of the server with an ssh configuration, a key and an agent."""
    record, inventory, config = server.record, tmp_path / "inventory.py", tmp_path / "config"
    inventory.write_text(INVENTORY.format(name=server.name, config=str(config), alias="user"))

    def plan(key: Path, agent: str) -> subprocess.CompletedProcess[str]:
        values = {"address": record.address, "known_hosts": record.known_hosts_file}
        config.write_text(OF_A_USER.format(**values, key=key, agent=agent))
        return run([sys.executable, "-c", WITH_INVENTORY.format(inventory=str(inventory)), "plan", "lab"], server.env)

    return plan


@pytest.mark.thorough
def test_a_key_held_only_by_the_agent_logs_in(server, by_key, tmp_path):
    assert "Authentication error" in by_key(tmp_path / "none", "none").stderr
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    wait_until("the agent answers", lambda: (tmp_path / "agent").exists())
    env = {**server.env, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
    assert run(["ssh-add", "-q", server.record.key_file], env).returncode == 0
    done = by_key(tmp_path / "none", str(tmp_path / "agent"))
    agent.kill()
    agent.wait()
    assert done.returncode == 0, done.stderr


@pytest.mark.thorough
def test_a_certificate_logs_in_where_its_key_alone_does_not(server, by_key, tmp_path):
    for name in ("authority", "own"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    assert "Authentication error" in by_key(tmp_path / "own", "none").stderr
    authority = (tmp_path / "authority.pub").read_text()
    server.ssh(
        f"echo '{authority.strip()}' > /etc/ssh/authority.pub; systemctl reload ssh;"
        " echo 'TrustedUserCAKeys /etc/ssh/authority.pub' > /etc/ssh/sshd_config.d/90-authority.conf"
        " && systemctl restart ssh"
    )
    sign = ["ssh-keygen", "-q", "-s", tmp_path / "authority", "-I", "me", "-n", "admin", tmp_path / "own.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    done = by_key(tmp_path / "own", "none")
    server.ssh("rm /etc/ssh/sshd_config.d/90-authority.conf; systemctl restart ssh")
    assert done.returncode in (0, PENDING), done.stderr
    assert "Authentication error" not in done.stderr


@pytest.mark.thorough
def test_a_server_known_by_an_alias_is_verified(server, by_alias, tmp_path):
    assert by_alias("direct", "plan", "lab").returncode == 0
    plugin = f"from slipway import project\nproject.INVENTORIES['lab'] = {str(tmp_path / 'inventory.py')!r}\n"
    (tmp_path / "own_inventory.py").write_text(plugin)
    # What `slipway verify` runs.
    command = [sys.executable, "-m", "pytest", "-p", "own_inventory", "tests/server", "--environment=lab", "-q"]
    done = run([*command, "-m", "not audit"], {**server.env, "PYTHONPATH": f"{tmp_path}:{PROJECT}"})
    assert done.returncode == 0, done.stdout + done.stderr
