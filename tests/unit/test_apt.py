"""Failing apt sources: the file, what can be left out, and the error."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slipway.facts.apt import AptSources, Sources
from slipway.ops import packages

# What `apt-get indextargets` prints of each source, by the file and its line.
DEBIAN = "/etc/apt/sources.list:1 http://deb.debian.org/debian bookworm"
DOCKER = "/etc/apt/sources.list.d/docker.list:2 https://download.docker.com/linux/debian bookworm"
MONGODB = "/etc/apt/sources.list.d/mongodb.sources:2 https://repo.mongodb.org/apt/debian bookworm/mongodb-org/7.0"
# As apt 2.6 says it.
FETCHED = "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]"
GONE = """\
Ign:4 https://download.docker.com/linux/debian bookworm InRelease
Err:5 https://download.docker.com/linux/debian bookworm Release
  404  Not Found [IP: 203.0.113.80 443]
E: The repository 'https://download.docker.com/linux/debian bookworm Release' does not have a Release file."""
UNSIGNED = """\
W: GPG error: https://download.docker.com/linux/debian bookworm InRelease: The following signatures couldn't be \
verified because the public key is not available: NO_PUBKEY 7EA0A9C3F273FCD8
E: The repository 'https://download.docker.com/linux/debian bookworm InRelease' is not signed."""
DEAD = """\
Err:1 https://download.docker.com/linux/debian bookworm InRelease
  Could not resolve 'download.docker.com'
E: Failed to fetch https://download.docker.com/linux/debian/dists/bookworm/InRelease  Could not resolve \
'download.docker.com'
E: Some index files failed to download. They have been ignored, or old ones used instead."""
# Nothing is wrong with that one.
LEGACY = (
    "W: http://deb.debian.org/debian/dists/bookworm/InRelease: Key is stored in legacy trusted.gpg keyring"
    " (/etc/apt/trusted.gpg), see the DEPRECATION section in apt-key(8) for details."
)


def asked(said: str, *sources: str, more: tuple[str, ...] = ()) -> Sources:
    lines = [*more, *(f"source {source}" for source in sources), *(f"said {line}" for line in said.splitlines())]
    return AptSources().process(lines)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (GONE, "does not have a Release file; 404 Not Found [IP: 203.0.113.80 443]"),
        (UNSIGNED, "NO_PUBKEY 7EA0A9C3F273FCD8"),
        (DEAD, "Could not resolve 'download.docker.com'"),
    ],
    ids=["gone", "unsigned", "dead"],
)
def test_a_source_that_fails_is_found_by_its_file_and_no_other_is(said, reason):
    found = asked(f"{FETCHED}\n{said}\n{LEGACY}", DEBIAN, DOCKER, MONGODB)
    assert [*found.others] == ["/etc/apt/sources.list.d/docker.list:2"]
    assert reason in found.others["/etc/apt/sources.list.d/docker.list:2"]
    assert (found.failing, found.unreadable) == ({}, "")
    assert packages.source_problems(found) == []


def test_without_the_system_s_own_sources_nothing_can_be_installed():
    said = DEAD.replace("https://download.docker.com/linux", "http://deb.debian.org")
    found = asked(said, DEBIAN, DOCKER)
    assert [*found.failing] == ["/etc/apt/sources.list:1"]
    ours = asked(
        DEAD.replace("https://download.docker.com/linux/debian", "https://repo.mongodb.org/apt/debian").replace(
            "bookworm", "bookworm/mongodb-org/7.0"
        ),
        DEBIAN,
        MONGODB,
        more=("ours /etc/apt/sources.list.d/mongodb.sources",),
    )
    assert [*ours.ours] == ["/etc/apt/sources.list.d/mongodb.sources:2"]
    assert packages.source_problems(ours) == [], "an apply writes it anew before it installs anything from it"
    problem, *rest = packages.source_problems(found)
    assert problem.startswith("apt: found /etc/apt/sources.list:1 failing, need it to install packages: ")
    assert rest == []


def test_sources_that_apt_can_not_read_are_reported_once_with_their_files():
    conflict = (
        "E: Conflicting values set for option Signed-By regarding source https://download.docker.com/linux/debian/"
        " bookworm: /a.gpg != /b.gpg"
    )
    errors = [f"unreadable {line}" for line in (conflict, "E: The list of sources could not be read.") * 2]
    files = ["conflict /etc/apt/sources.list.d/a.list", "conflict /etc/apt/sources.list.d/b.list"]
    problem, *rest = packages.source_problems(AptSources().process([*errors, *files]))
    assert problem.count("Conflicting values") == 1
    assert "in /etc/apt/sources.list.d/a.list and /etc/apt/sources.list.d/b.list (remove it from one)" in problem
    assert rest == []


APT_GET = r"""#!/bin/sh
echo "$*" >> {root}/asked
case " $* " in
  *" indextargets "*) cat {root}/sources; exit ;;
  *" install "*) exit 0 ;;
esac
number=$(grep -c '^update' {root}/asked)
cat {root}/said-$number 2> /dev/null || exit 0
exit 100
"""


class Refreshed:
    """A refresh of apt's lists below a folder, with a fake apt-get."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("bin", "etc/apt/sources.list.d", "var/lib/apt/lists", "run"):
            (root / folder).mkdir(parents=True)
        (root / "var/lib/apt/lists/a_list").touch()
        programs = {
            "apt-get": APT_GET.format(root=root),
            "apt-config": f"#!/bin/sh\n[ \"$*\" != 'shell seconds DPkg::Lock::Timeout' ] || cat {root}/timeout\n",
            "sleep": "#!/bin/sh\n",
        }
        (root / "timeout").write_text("seconds='20'\n")
        for name, program in programs.items():
            (root / "bin" / name).write_text(program)
            (root / "bin" / name).chmod(0o755)
        (root / "sources").write_text("\n".join(self.moved(line) for line in (DEBIAN, DOCKER)) + "\n")
        for name in ("docker.list", "good.list"):
            (root / "etc/apt/sources.list.d" / name).write_text("deb ...\n")

    def moved(self, text: str) -> str:
        return text.replace("/etc/apt", f"{self.root}/etc/apt")

    def run(self, *said: str, script: str = packages._refresh("")) -> subprocess.CompletedProcess[str]:
        """`said` are the errors of each failing update."""
        for number, text in enumerate(said, start=1):
            (self.root / f"said-{number}").write_text(text + "\n")
        for folder in ("/etc/apt", "/var/lib/apt", "/run/slipway"):
            script = script.replace(folder, f"{self.root}{folder}")
        env = {"PATH": f"{self.root}/bin:/usr/bin:/bin"}
        return subprocess.run(["sh", "-c", script], env=env, capture_output=True, text=True, check=False)

    @property
    def updates(self) -> list[str]:
        return [line for line in (self.root / "asked").read_text().splitlines() if " update " in f" {line} "]


@pytest.fixture
def refreshed(tmp_path):
    return Refreshed(tmp_path)


def test_a_refresh_that_succeeds_is_one(refreshed):
    done = refreshed.run()
    assert (done.returncode, done.stdout, done.stderr, len(refreshed.updates)) == (0, "", "", 1)
    assert (refreshed.root / "var/lib/apt/lists/slipway-refreshed").exists()


def test_somebody_else_s_source_that_fails_is_left_out(refreshed):
    done = refreshed.run(GONE)
    assert done.returncode == 0, done.stderr
    assert len(refreshed.updates) == 2
    assert "Dir::Etc::sourceparts=" in refreshed.updates[1]
    left_out = (refreshed.root / "run/slipway-left-out-sources").read_text().split()
    assert left_out == [f"{refreshed.root}/etc/apt/sources.list.d/docker.list"]


def test_a_refresh_for_an_upgrade_is_one_of_all_lists_at_any_time_and_prints_what_it_leaves_out(refreshed):
    for number in (1, 2):
        assert (refreshed.run(script=packages.REFRESH_ALL).stdout, len(refreshed.updates)) == ("", number)
    (refreshed.root / "asked").unlink()
    done = refreshed.run(GONE, script=packages.REFRESH_ALL)
    assert done.stdout.split() == [f"{refreshed.root}/etc/apt/sources.list.d/docker.list"], done.stderr
    (refreshed.root / "asked").unlink()
    done = refreshed.run(
        *[DEAD.replace("https://download.docker.com/linux", "http://deb.debian.org")] * 9, script=packages.REFRESH_ALL
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the source is in {refreshed.root}/etc/apt/sources.list: fix or remove it" in done.stderr
    assert not (refreshed.root / "var/lib/apt/lists/slipway-refreshed").exists()


def test_the_system_s_own_source_that_fails_is_reported_once_with_its_file(refreshed):
    done = refreshed.run(*[DEAD.replace("https://download.docker.com/linux", "http://deb.debian.org")] * 9)
    assert done.returncode == 1
    assert len(refreshed.updates) == 1
    lines = done.stderr.splitlines()
    assert len(lines) == len({*lines})
    assert f"the source is in {refreshed.root}/etc/apt/sources.list: fix or remove it" in done.stderr
    assert "docker.list" not in done.stderr


def test_a_lock_on_the_lists_is_waited_for_and_its_holder_told_once(refreshed):
    lock = f"E: Could not get lock {refreshed.root}/var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
    assert refreshed.run(lock, lock).returncode == 0
    assert len(refreshed.updates) == 3
    (refreshed.root / "asked").unlink()
    (refreshed.root / "var/lib/apt/lists/slipway-refreshed").unlink()
    done = refreshed.run(*[lock] * 9)
    assert done.returncode == 1
    assert done.stderr == f"{lock}\n"


@pytest.mark.parametrize(("timeout", "tries"), [("seconds='0'\n", 1), ("seconds='20'\n", 5), ("", 1)])
def test_a_lock_on_the_lists_is_waited_for_as_long_as_the_one_of_dpkg(refreshed, timeout, tries):
    (refreshed.root / "timeout").write_text(timeout)
    lock = f"E: Could not get lock {refreshed.root}/var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
    assert refreshed.run(*[lock] * 9).returncode == 1
    assert len(refreshed.updates) == tries


@pytest.mark.parametrize(("states", "may_remove"), [("not-installed\nconfig-files", False), ("installed", True)])
def test_an_installation_removes_no_package_but_a_firewall(tmp_path, states, may_remove):
    query = tmp_path / "dpkg-query"
    query.write_text(f"#!/bin/sh\nprintf '{states}\n'")
    query.chmod(0o755)
    script = f'PATH={tmp_path}:$PATH\n{packages.NO_REMOVE}\necho "$keep"'
    said = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout.strip()
    assert said == ("" if may_remove else "--no-remove -o APT::Get::AutomaticRemove=false")
