"""The preflight's errors."""

from __future__ import annotations

import subprocess
import time

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import run
from slipway.facts.machine import Listeners, Machine
from slipway.tasks import backend, installable, kernel, mongodb_packages, preflight, tls
from support.described import described, run_deploy

GOOD = {
    "uid": "0",
    "init": "systemd",
    "os": "debian",
    "release": "12",
    "arch": "amd64",
    "avx": "yes",
    "memory_mb": "2048",
    "python": "3.11.2",
    **{f"disk:{folder}": "/ 20000" for folder in Machine.DISK_FOLDERS},
    "addresses": "198.51.100.7",
}
BAD = {
    "uid": ("1000", "rights: found a user that is not root"),
    "init": ("sh", "init: found 'sh' as process 1"),
    "release": ("10", "operating system: found debian 10, need one of: Debian 12, Debian 13, Ubuntu 22.04"),
    "arch": ("arm64", "architecture: found arm64, need amd64"),
    "avx": ("no", "processor: found no AVX"),
    "memory_mb": ("512", "memory: found 512 MiB, need 900 MiB"),
    "disk:/var/lib": ("/var 700", "free disk space on /var: found 700 MiB, need 800 MiB"),
    "python": ("3.12.3", "/usr/bin/python3: found Python 3.12.3, need 3.11, for which the packages of Debian 12"),
    "clock": ("1000", "clock: found it"),
}


def found_problems(machine, settings) -> list[str]:
    return [
        *preflight.system_problems(machine),
        *preflight.memory_problems(machine),
        *preflight.disk_problems(machine, is_new=True, swap_mb=settings.swap_mb),
        *preflight.clock_problems(machine, time.time()),
        *mongodb_packages.series_problems(machine, settings),
    ]


def test_a_good_machine_passes(settings_with):
    assert found_problems({**GOOD, "clock": str(int(time.time()))}, settings_with()) == []


@pytest.mark.parametrize("what", BAD)
def test_what_is_in_the_way_is_reported_with_what_was_found_and_what_is_needed(settings_with, what):
    value, said = BAD[what]
    problems = found_problems({**GOOD, "clock": str(int(time.time())), what: value}, settings_with())
    assert any(problem.startswith(said) for problem in problems), problems


@pytest.mark.parametrize(
    ("changes", "swap_mb", "is_refused"),
    [
        ({"root": "zfs"}, 1024, True),
        ({"root": "overlayfs"}, 1024, True),
        ({"root": "btrfs"}, 1024, False),
        ({"root": ""}, 1024, False),
        ({"root": "zfs"}, 0, False),
        ({"root": "zfs", "container": "lxc"}, 1024, False),
    ],
)
def test_a_file_system_without_swap_files_is_reported(settings_with, changes, swap_mb, is_refused):
    settings = settings_with(swap_mb=swap_mb)
    with described(settings, **changes):
        problems = kernel.swap_problems(settings)
    assert [problem.partition(":")[0] for problem in problems] == (["swap_mb"] if is_refused else [])


def test_what_folders_need_adds_up_on_the_file_system_they_share_with_the_swap_file_of_a_new_host():
    full = {f"disk:{folder}": "/ 3000" for folder in Machine.DISK_FOLDERS}
    (problem,) = preflight.disk_problems(full, is_new=True, swap_mb=1024)
    assert problem.startswith("free disk space on /: found 3000 MiB, need 3724 MiB")
    assert preflight.disk_problems({**full, "container": "lxc"}, is_new=True, swap_mb=1024) == []
    assert preflight.disk_problems(full, is_new=False, swap_mb=1024) == []


def test_a_file_system_without_inodes_for_the_packages_or_a_release_is_reported():
    free = {f"disk:{folder}": "/ 20000 900000" for folder in Machine.DISK_FOLDERS} | {"disk:/var/www": "/srv 9000 4000"}
    (problem,) = preflight.disk_problems(free, is_new=True, swap_mb=0)
    assert problem.startswith("free inodes on /srv: found 4000, need 5000 (")
    assert preflight.disk_problems(free, is_new=False, swap_mb=0) == []
    btrfs = Machine().process([*["/ 20000 0 0"] * 4, "/boot 300 - -"])
    assert [btrfs[f"disk:{folder}"] for folder in ("/", "/var/www")] == ["/ 20000", "/boot 300"]
    assert Machine().process(["/ 20000 65000 70000"] * 5)["disk:/"] == "/ 20000 65000"


@pytest.mark.parametrize(
    ("system", "series", "said"),
    [
        ("debian 12", "7.0", None),
        ("debian 12", "6.0", "for Debian 12 MongoDB has 7.0, 8.0"),
        ("debian 13", "8.0", "for Debian 13 MongoDB has nothing, need "),
        ("ubuntu 22.04", "7.0", None),
        ("ubuntu 24.04", "7.0", "for Ubuntu 24.04 MongoDB has 8.0"),
        ("ubuntu 24.04", "8.0", None),
    ],
)
def test_a_series_that_does_not_exist_for_the_system_is_reported_with_those_that_do(
    settings_with, system, series, said
):
    machine = {**GOOD, **dict(zip(("os", "release"), system.split(), strict=True))}
    problems = mongodb_packages.series_problems(machine, settings_with(mongodb_version=series))
    if said is None:
        assert problems == []
    else:
        assert [problem.startswith(f"mongodb_version: found {series!r}; {said}") for problem in problems] == [True]


@pytest.mark.parametrize(
    ("kernel", "series", "is_refused"),
    [
        ("6.18.5", "8.0", False),
        ("6.19.0-1-amd64", "8.0", True),
        ("7.0.13", "8.0", True),
        ("7.0.14-1-amd64", "8.0", False),
        ("6.19.0-1-amd64", "7.0", False),
        ("", "8.0", False),
    ],
)
def test_mongodb_8_on_a_kernel_that_it_crashes_on_is_refused(settings_with, kernel, series, is_refused):
    problems = mongodb_packages.series_problems({**GOOD, "kernel": kernel}, settings_with(mongodb_version=series))
    told = [problem for problem in problems if f"on Linux {kernel}; MongoDB 8.0 and later crash" in problem]
    assert len(told) == len(problems) == is_refused


@pytest.mark.parametrize(
    ("owner", "found"),
    [
        ("", None),
        ("mongodb-org-server: /usr/bin/mongod", None),
        ("diversion by x from: /usr/bin/mongod\nmongodb-org-server: /usr/bin/mongod", None),
        ("percona-server-mongodb-server: /usr/bin/mongod", "percona-server-mongodb-server"),
        ("mongodb-enterprise-server:amd64: /usr/bin/mongod", "mongodb-enterprise-server:amd64"),
    ],
)
def test_a_mongodb_of_another_package_is_refused_by_its_name_before_apt_would_remove_it(settings_with, owner, found):
    with described(settings_with(), ("db",)) as (_, host):
        host.answers = {mongodb_packages.OWNER: owner}
        told = [line for line in mongodb_packages.problems(settings_with()) if line.startswith("mongod: ")]
    said = f"mongod: found /usr/bin/mongod of the package {found}, need mongodb-org-server"
    assert [line.startswith(said) for line in told] == ([True] if found else [])


@pytest.mark.parametrize(
    ("system", "suite", "series", "said"),
    [
        ("debian 13", "bookworm", "7.0", None),
        ("debian 13", "", "7.0", """MongoDB has nothing, need mongodb_apt_suite = "bookworm" (Debian 12's packages:"""),
        ("debian 13", "bookworm", "6.0", "for Debian 12 MongoDB has 7.0, 8.0, need a series that is there or the role"),
        ("debian 13", "jammy", "7.0", "mongodb_apt_suite: found 'jammy' on Debian 13, need 'bookworm', or no such"),
        ("debian 12", "bookworm", "7.0", None),
        ("ubuntu 22.04", "noble", "8.0", "mongodb_apt_suite: found 'noble' on Ubuntu 22.04, need 'jammy'"),
        ("ubuntu 24.04", "jammy", "7.0", None),
    ],
)
def test_packages_of_an_older_release_are_a_setting_that_the_error_names(settings_with, system, suite, series, said):
    machine = {**GOOD, **dict(zip(("os", "release"), system.split(), strict=True))}
    settings = settings_with(mongodb_version=series, mongodb_apt_suite=suite)
    problems = mongodb_packages.series_problems(machine, settings)
    assert [said in problem for problem in problems] == ([] if said is None else [True]), problems


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("trixie=yes\nbookworm=yes", None),
        ("trixie=no\nbookworm=yes", 'https://repo.mongodb.org/apt, need mongodb_apt_suite = "bookworm"'),
        ("trixie=no\nbookworm=no", "https://repo.mongodb.org/apt, need the role db on a host with another system"),
        # It does not answer: the table of systems does.
        ("", "for Debian 13 MongoDB has nothing, need mongodb_apt_suite"),
    ],
)
def test_the_repository_itself_says_what_it_has(settings_with, answer, said):
    with described(settings_with(), ("db",), release="13", codename="trixie") as (_, host):
        host.answers["apt-helper"] = answer
        problems = mongodb_packages.problems(settings_with())
    assert [said in problem for problem in problems] == ([] if said is None else [True]), problems


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mount /etc / rw,relatime", None),
        ("mount /usr /usr ro,nosuid", "mount /usr: found it read-only"),
        ("mount /var/lib /var rw,noexec", "mount /var: found the option noexec"),
        ("mount /etc /etc rw,noexec", None),
        ("mount /etc/hosts / rw,relatime", None),
        ("mount /etc/hosts /etc/hosts rw,relatime", None),
        ("mount /etc/hosts /etc/hosts ro,relatime", "mount /etc/hosts: found it read-only, need /etc/hosts writable"),
        ("mount /etc/localtime /usr/share/zoneinfo/UTC ro", None),
        ("mount /etc/timezone /etc/timezone rw", "mount /etc/timezone: found a file that is mounted by itself"),
        ("held nginx", "package nginx: found it on hold and not installed, need it (apt-mark unhold nginx)"),
        ("refused certbot", "package certbot: found a pin by which apt never installs it"),
        ("unmet shop : Depends: libshop but it is not installed", "apt: found an unmet dependency, shop : Depends"),
        ("would nginx (1.22.1-9 Debian:12.5/stable, Debian-Security:12/stable-security [amd64])", None),
        ("would nginx [1.22.1-9] (1.26.2-1~bookworm nginx:stable [amd64])", "package nginx: found version 1.26.2-1~bo"),
        ("remove postfix", "package postfix: found it in conflict with what Slipway installs"),
        ("remove netfilter-persistent", None),
        ("would libshop (1 shop.example:stable [amd64])", None),
        ("error Unable to correct problems, you have held broken packages.", "apt: found 'Unable to correct problems"),
        ("error Conflicting values set for option Signed-By\nerror The list of sources could not be read.", None),
        ("error dpkg was interrupted, you must manually run 'dpkg --configure -a'", None),
    ],
)
def test_what_keeps_a_package_or_the_site_from_a_new_host_is_reported(line, said):
    found = installable.problems(f"{line}\n{line}", {"nginx", "certbot"})
    assert [one.startswith(said or "") for one in found] == ([True] if said else []), found


def test_apt_and_the_mounts_are_asked_by_a_shell_script(tmp_path):
    """Of packages that apt knows and of one that a pin refuses, whatever else this machine has."""
    script = installable.question(["nginx", "certbot"]).replace("ls /var/lib/apt/lists/*_Packages*", "true")
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0
    (tmp_path / "apt-cache").write_text(f"#!/bin/sh\ncat <<'END'\n{POLICY}END\n")
    # Before it come the options for apt's cache, if this machine's is old.
    asked = f"case \"$*\" in *'{SIMULATED} nginx') ;; *) exit ;; esac"
    simulated = f"#!/bin/sh\n{asked}\ncat >&2 <<'END'\n{UNMET}END\nexit 100\n"
    (tmp_path / "apt-get").write_text(simulated)
    (tmp_path / "dpkg-query").write_text("#!/bin/sh\necho hold installed certbot; echo hold not-installed nginx\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False).stdout
    lines = [line for line in said.splitlines() if not line.startswith("mount ")]
    assert lines[:3] == ["held nginx", "refused certbot", "unmet shop : Depends: libshop but it is not installed"]
    assert lines[3] == "would nginx (1.22.1-9 Debian:12.5/stable [amd64])"
    assert lines[4:] == ["remove postfix", "error Unmet dependencies."]
    assert {line.split()[1] for line in said.splitlines() if line.startswith("mount ")} == {
        *installable.FOLDERS,
        *installable.FILES,
    }


# As `apt-cache policy` and `apt-get install -s` print it.
POLICY = """\
certbot:
  Installed: (none)
  Candidate: (none)
  Version table:
     2.1.0-4 -1
         -1 http://deb.debian.org/debian bookworm/main amd64 Packages
nginx:
  Installed: (none)
  Candidate: 1.22.1-9
  Version table:
     1.22.1-9 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
"""
SIMULATED = "install -q -s --no-install-recommends -o Debug::NoLocking=1"
UNMET = """\
Reading package lists...
The following packages have unmet dependencies:
 shop : Depends: libshop but it is not installed
Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])
Remv postfix [3.7.11-0+deb12u1]
Conf nginx (1.22.1-9 Debian:12.5/stable [amd64])
E: Unmet dependencies.
"""


WEB, DB = {80: "nginx", 443: "nginx"}, {27017: "mongod"}


def test_a_host_with_a_proxy_is_not_asked_for_connections_of_its_own(settings_with, tmp_path, monkeypatch):
    for program in ("apt-get", "apt-config"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    settings, env = settings_with(), {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def get_fact(fact, command):
        return subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False).stdout

    with described(settings) as (_, host):
        monkeypatch.setattr(host, "get_fact", get_fact, raising=False)
        (problem,) = preflight.network_problems(settings, ["http://127.0.0.1:9/"])
        assert problem.startswith("network: found no connection to 127.0.0.1:9 ")
        env["https_proxy"] = "http://10.0.0.1:3128"
        assert preflight.network_problems(settings, ["http://127.0.0.1:9/"]) == []


def test_a_port_held_by_another_program_is_reported():
    listeners = {80: "apache2", 443: "nginx", 27017: "mongod", 22: "sshd"}
    problems = preflight.port_problems(listeners, WEB | DB)
    assert problems == ["port 80: found 'apache2' listening, need it for nginx (stop or move apache2)"]
    assert preflight.port_problems(listeners, DB) == []


def test_a_port_held_by_the_backends_own_socket_is_ours(settings_with):
    wanted = backend.ports(settings_with(backend_listen="127.0.0.1:8001"))
    assert wanted == {8001: "systemd"}
    assert preflight.port_problems({8001: "systemd"}, wanted) == []
    assert preflight.port_problems({8001: "python3"}, wanted) == []
    assert len(preflight.port_problems({8001: "gunicorn"}, wanted)) == 1
    assert backend.ports(settings_with()) == {}


def test_a_host_is_asked_about_the_ports_of_its_roles_and_no_others(settings_with):
    with described(settings_with(), ("db",)) as (_, host):
        host.answers[Listeners] = {80: "apache2"}
        run_deploy()
    with described(settings_with(), ("web", "db")) as (_, host):
        host.answers |= {Listeners: {80: "apache2", 27017: "redis"}, "getent ahosts": "203.0.113.1"}
        with pytest.raises(PyinfraError) as caught:
            run_deploy()
    said = str(caught.value)
    assert "port 80: found 'apache2' listening, need it for nginx" in said
    assert "port 27017: found 'redis' listening, need it for mongod" in said
    assert "site_domain: found codementee.io at 203.0.113.1, need this host's 198.51.100.7" in said


@pytest.mark.parametrize(
    ("own", "peer", "at", "is_refused"),
    [
        # Behind NAT and reached through a jump host, and by a VPN.
        ("172.31.5.6", None, "3.120.1.2", False),
        ("100.64.0.9 fd00::9", "100.64.0.9", "3.120.1.2", False),
        ("172.31.5.6 2a05:d014::6", None, "3.120.1.2 2a05:d014::6", False),
        ("172.31.5.6", "3.120.1.2", "3.120.1.2", False),
        ("172.31.5.6", "3.120.1.2", "3.120.1.3", True),
        ("172.31.5.6", None, "172.31.5.7", True),
        ("172.31.5.6", None, "3.120.1.2 2a05:d014::6", True),
        ("172.31.5.6 198.51.100.7", None, "3.120.1.2", True),
    ],
)
def test_a_name_may_lead_to_a_public_address_that_a_host_behind_nat_does_not_know(
    settings_with, monkeypatch, own, peer, at, is_refused
):
    monkeypatch.setattr(tls, "peer_address", lambda host: peer)
    with described(settings_with(), ("web",), addresses=own) as (_, host):
        host.answers["getent ahosts"] = at.replace(" ", "\n")
        problems = tls.domain_problems(settings_with())
        notes = [one.text for one in run.of(host.state).notes.get((host.name, None), [])]
    assert (len(problems), len(notes)) == (is_refused, not is_refused and at != peer)
