"""`slipway upgrade`: what is decided from what a host says, and the program's steps with programs of the test's own."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from slipway.cli import upgrade
from slipway.cli.upgrade import Planned, parts_of, scripts
from slipway.facts.mongodb import alone
from slipway.upkeep import on_host, running
from slipway.upkeep.running import Failed
from slipway.upkeep.upgrade import Packages, lines_of, mongodb_of, packages_of

NOW = datetime(2026, 11, 29, 15, tzinfo=UTC)
PASSED = {"result": "passed", "time": "2026-11-28T04:00:00Z"}
AVAILABLE = ["8.0.17", "7.0.28", "7.0.9", "7.0.5", "6.0.27"]


def server(installed: str = "7.0.5", features: str = "7.0", drill: dict[str, str] | None = PASSED, available=AVAILABLE):
    return {"installed": installed, "available": available, "feature_version": features, "drill": drill}


def test_a_patch_is_the_newest_of_the_series_and_needs_no_drill():
    plan = mongodb_of(server(drill=None), "7.0", False, NOW)
    assert (plan.old, plan.new, plan.is_series, plan.problems) == ("7.0.5", "7.0.28", False, [])
    assert mongodb_of(server("7.0.28"), "7.0", True, NOW).new == ""
    # An older one that is all that is there is no upgrade.
    assert mongodb_of(server("7.0.30", available=["7.0.30", "7.0.28"]), "7.0", True, NOW).new == ""


def test_without_the_package_before_there_is_no_way_back():
    plan = mongodb_of(server(available=["7.0.28"]), "7.0", True, NOW)
    assert plan.problems == ["the repository no longer has MongoDB 7.0.5: there would be no way back"]
    (problem,) = mongodb_of(server(available=["8.0.17"]), "8.0", True, NOW).problems
    assert problem.endswith("no way back (slipway apply adds the repository of 7.0 again)")


def test_the_next_series_is_allowed_after_a_drill_that_passed():
    plan = mongodb_of(server(), "8.0", True, NOW)
    assert (plan.new, plan.is_series, plan.problems) == ("8.0.17", True, [])


@pytest.mark.parametrize(
    ("found", "wanted", "has_backups", "said"),
    [
        (server("6.0.27", "6.0"), "8.0", True, "need '7.0': one series at a time"),
        (server(), "6.0", True, "MongoDB 7.0 runs, which can't go back; need '7.0'"),
        (server(), "9.0", True, "expected series of 4.4, 5.0, 6.0, 7.0, 8.0"),
        (server(features="6.0"), "8.0", True, "is 6.0, need 7.0 first: slipway upgrade --raise-features"),
        (server(available=["7.0.5"]), "8.0", True, "slipway apply configures its repository"),
        (server(), "8.0", False, "set backup_repositories"),
        (server(drill=None), "8.0", True, "found no drill, need one that passed"),
        (server(drill={**PASSED, "result": "failed"}), "8.0", True, "found one that failed 1 days ago"),
        (
            server(drill={**PASSED, "time": "2026-11-20T04:00:00Z"}),
            "8.0",
            True,
            "found one that passed 9 days ago, need one that passed within 8 days",
        ),
    ],
)
def test_a_series_is_refused(found, wanted, has_backups, said):
    plan = mongodb_of(found, wanted, has_backups, NOW)
    assert len(plan.problems) == 1
    assert said in plan.problems[0]


def test_features_wait_after_a_new_series():
    plan = mongodb_of(server("8.0.17", "7.0"), "8.0", True, NOW)
    assert (plan.new, plan.features_wait) == ("", "8.0")
    assert lines_of([], plan) == [
        "mongodb: the features of 8.0 are off; when it has proven itself: slipway upgrade --raise-features"
    ]


def test_the_plan_says_from_what_to_what_and_what_restarts():
    found = {
        "packages": {"os": [["libssl3", "3.0.1", "3.0.2"], ["linux-image-6.1.0-40-amd64", "", "6.1.9"]]},
        "restarts": {"os": {"nginx.service": ["libssl3"]}},
        "outdated": ["nginx.service", "cron.service"],
        "reboot": True,
    }
    assert lines_of([packages_of(found, "os")], mongodb_of(server(), "7.0", True, NOW)) == [
        "os: libssl3 3.0.1 -> 3.0.2",
        "os: linux-image-6.1.0-40-amd64 new -> 6.1.9",
        "  restarts nginx.service (libssl3): new connections wait for about a second",
        "  restarts cron.service (replaced before)",
        "  a new kernel: active after a reboot, which is not made",
        "mongodb: 7.0.5 -> 7.0.28",
        "  a full backup first",
        "  restarts mongod.service once: the site's writes wait for some seconds",
        "  if 7.0.28 does not come up, 7.0.5 is installed again",
    ]


def test_mongodb_is_upgraded_before_packages_and_what_is_up_to_date_takes_no_step():
    packages = [Packages("os", [("libssl3", "1", "2")], {}), Packages("node", [], {})]
    plan = Planned(packages, mongodb_of(server(), "7.0", True, NOW))
    assert [what for what, _ in scripts(plan, {})] == ["MongoDB 7.0.28", "1 packages"]
    assert "libssl3=2" in [*scripts(plan, {})][1][1]
    outdated = Planned([Packages("os", [], {"nginx.service": ["replaced before"]})])
    assert [what for what, _ in scripts(outdated, {})] == ["restarts"]
    cut_off = Planned([Packages("node", [], {})], interrupted=["nginx"])
    assert [what for what, _ in scripts(cut_off, {})] == ["interrupted packages"]
    assert lines_of(cut_off.packages, None, ["nginx"])[0] == "interrupted: nginx"
    assert [*scripts(Planned([Packages("os", [], {})], mongodb_of(server("7.0.28"), "7.0", True)), {})] == []


def test_only_known_parts_are_taken():
    assert parts_of(()) == ["os", "mongodb", "node", "slipway"]
    assert parts_of(("os,node", "mongodb")) == ["os", "node", "mongodb"]
    with pytest.raises(click.UsageError, match="found kernel, expected os, mongodb, node, slipway"):
        parts_of(("os,kernel",))
    for nothing in ("", ",", "os,"):
        with pytest.raises(click.UsageError, match="--only: found ''"):
            parts_of((nothing,))


def test_only_services_that_were_shown_are_restarted(host, monkeypatch, capsys):
    monkeypatch.setattr(on_host, "outdated", lambda: ["mongod.service", "nginx.service", "web.service"])
    restarted: list[str] = []
    monkeypatch.setattr(on_host, "restart", lambda unit, given: restarted.append(unit))
    plan = Planned([Packages("node", [("nodejs", "1", "2")], {"web.service": ["nodejs"]})])
    given = {}
    monkeypatch.setattr(upgrade, "asked", lambda step, its: given.update(its) or step)
    assert [what for what, _ in scripts(plan, {})] == ["1 packages"]
    on_host.packages(given)
    assert restarted == ["web.service"]
    # What was downloaded is not kept.
    assert host[2]()[-1] == "apt-get -q clean"
    assert "mongod.service, nginx.service: still running with replaced files" in capsys.readouterr().out


LOOKED = {"apt": {"refresh": "true", "without_left_out": ["-o", "Dir=x"], "finish": "true"}}


def test_what_was_interrupted_is_something_to_do_and_is_finished_first(host, monkeypatch, capsys):
    folder, _, lines = host
    monkeypatch.setattr(on_host, "affected", lambda names: {})
    monkeypatch.setattr(on_host, "outdated", list)
    states = f"""#!/bin/sh
case $3 in *Status*) ;; *) exit 0 ;; esac
printf 'ii =libc6\nrc =old\nhi =held\n'; [ -e {folder}/finished ] || printf 'iHR=zlib1g\niU =nginx\n'
"""
    (folder / "bin/dpkg-query").write_text(states)
    # apt can't tell anything while a package is to be reinstalled.
    (folder / "fails").write_text("apt-get --simulate")
    found = on_host.look(LOOKED)
    assert found["interrupted"] == ["nginx", "zlib1g"]
    assert found["packages"]["os"] == []
    with pytest.raises(Failed, match=r"installation of nginx, zlib1g can't be finished: no space"):
        on_host.packages({"names": [], "apt": {"finish": "echo no space"}})
    on_host.packages({"names": [], "apt": {"finish": f"touch {folder}/finished"}})
    assert on_host.look(LOOKED)["interrupted"] == []
    # It waits for another apt first.
    assert lines().count("apt-get -q check") == 3


def test_lists_that_cannot_be_refreshed_are_no_up_to_date_and_a_foreign_source_is_left_out(host, monkeypatch):
    monkeypatch.setattr(on_host, "affected", lambda names: {})
    monkeypatch.setattr(on_host, "outdated", list)
    _, _, lines = host
    refresh = "echo 'E: Failed to fetch x' >&2; echo 'the source is in /etc/apt/sources.list: fix it' >&2; exit 1"
    with pytest.raises(Failed, match=r"apt can't refresh its lists: E: Failed .*/etc/apt/sources.list: fix it"):
        on_host.look({"apt": {**LOOKED["apt"], "refresh": refresh}})
    left_out = "/etc/apt/sources.list.d/other.list"
    found = on_host.look({"apt": {**LOOKED["apt"], "refresh": f"echo {left_out}"}})
    assert found["left_out"] == [left_out]
    assert lines()[-1] == "apt-get -o Dir=x --simulate --with-new-pkgs upgrade"


SIMULATED = """\
NOTE: This is only a simulation!
Inst libssl3 [3.0.17-1] (3.0.18-1 Debian-Security:12/stable-security [amd64]) []
Inst linux-image-6.1.0-40-amd64 (6.1.9-1 Debian:12.9/stable [amd64])
Conf libssl3 (3.0.18-1 Debian-Security:12/stable-security [amd64])
"""


def test_apts_simulation_is_read():
    assert on_host.simulated(SIMULATED) == [
        ("libssl3", "3.0.17-1", "3.0.18-1"),
        ("linux-image-6.1.0-40-amd64", "", "6.1.9-1"),
    ]


def test_the_program_needs_nothing_but_pythons_own_modules():
    text = alone(on_host)
    assert "import slipway" not in text
    assert "from slipway" not in text
    exec(compile(text, "program", "exec"), {"__name__": "program"})


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose programs write down how they are called; a test fails those of `fails`."""
    programs, said = tmp_path / "bin", tmp_path / "said"
    programs.mkdir()
    said.touch()
    for name in ("systemctl", "apt-get", "dpkg", "journalctl", "apt-mark", "dpkg-query"):
        file = programs / name
        file.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {said}\n[ "{name} $1 $2" != "apt-get -q download" ] || touch old.deb\n'
            f'case "$(cat {tmp_path}/fails 2> /dev/null)" in "{name} $1"*) rm {tmp_path}/fails; exit 1 ;; esac\n'
            '[ "$*" != "show --property=Result --value mongod.service" ] || echo ${RESULT:-success}\n'
            f'[ "$1" != is-failed ] || exit 1\n[ "{name}" != journalctl ] || echo aborted\n'
        )
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(on_host, "BACKUP_LOCK", str(tmp_path / "slice.lock"))
    monkeypatch.setattr(on_host, "KEPT", str(tmp_path / "kept"))
    monkeypatch.setattr(on_host, "POLICY", str(tmp_path / "policy-rc.d"))
    monkeypatch.setattr(on_host, "DENIES", str(tmp_path / "run/policy-rc.d"))
    versions = {"says": "7.0.28"}
    answers = {"featureCompatibilityVersion": {"version": "7.0"}}

    class Connected:
        def run(self, command):
            return {**answers, "version": versions["says"]}

    monkeypatch.setattr(on_host, "connect", lambda login: Connected())

    def lines():
        its = [line for line in said.read_text().splitlines() if line.startswith(("systemctl st", "apt-get", "dpkg "))]
        return [
            line.replace(" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold", "") for line in its
        ]

    return tmp_path, versions, lines


GIVEN = {"old": "7.0.5", "new": "7.0.28", "mongodb": [], "seconds": 1}
TO_THE_STOP = [
    "apt-get -q download mongodb-org-server=7.0.5",
    "apt-get -y -q --no-remove --download-only install mongodb-org-server=7.0.28",
    "systemctl stop mongod.service",
]
INSTALLED = [
    "apt-get -y -q --no-remove --allow-downgrades install mongodb-org-server=7.0.28",
    "systemctl start mongod.service",
]


def test_mongodb_stops_once_after_all_is_downloaded_and_starts_once(host, capsys):
    _, _, lines = host
    on_host.mongodb(GIVEN)
    assert lines() == [*TO_THE_STOP, *INSTALLED, "apt-get -q clean"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "MongoDB 7.0.28 accepts writes; feature compatibility version 7.0"
    )


@pytest.mark.parametrize("is_well", [True, False])
def test_the_repository_of_the_series_before_goes_once_the_new_one_runs(host, is_well):
    folder, versions, _ = host
    versions["says"] = "8.0.17" if is_well else "8.0.1"
    files = [folder / name for name in ("sources", "preferences", "key")]
    texts = ["Suites: x/8.0\n\nSuites: x/7.0\n", "Pin: version 7.0.*\n", "a key\n"]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    given = {**GIVEN, "new": "8.0.17", "settles": [*map(str, files)]}
    if is_well:
        on_host.mongodb(given)
        assert [file.read_text() for file in files[:2]] == ["Suites: x/8.0\n", "Pin: version 8.0.*\n"]
        assert not files[2].exists()
    else:
        with pytest.raises(Failed, match=r"MongoDB 8.0.17 did not come up, 7.0.5 runs again"):
            on_host.mongodb(given)
        assert [file.read_text() for file in files] == texts


def test_clients_wait_from_before_mongodb_stops_until_it_is_ready_again(host):
    folder, _, _ = host
    said = folder / "said"
    around = [f"echo begins >> {said}", f"echo ends >> {said}"]
    given = {"around": {on_host.MONGOD: around}, "ready": {on_host.MONGOD: f"echo asked >> {said}"}}
    marks = ("begins", "systemctl stop", "systemctl start", "systemctl restart", "asked", "ends")

    def noted() -> list[str]:
        lines = said.read_text().splitlines()
        said.write_text("")
        return [mark for line in lines for mark in marks if line.startswith(mark)]

    on_host.mongodb({**GIVEN, **given})
    assert noted() == ["begins", "systemctl stop", "systemctl start", "asked", "ends"]
    on_host.restart(on_host.MONGOD, {"seconds": 1, **given})
    assert noted() == ["begins", "systemctl restart", "asked", "ends"]


@pytest.mark.parametrize("fails", ["systemctl start", "another version"])
def test_a_mongodb_that_does_not_come_up_gives_way_to_the_one_before(host, fails):
    folder, versions, lines = host
    (folder / "fails").write_text(fails)
    versions["says"] = "7.0.1" if fails == "another version" else "7.0.28"
    with pytest.raises(Failed, match=r"MongoDB 7.0.28 did not come up, 7.0.5 runs again"):
        on_host.mongodb(GIVEN)
    assert lines() == [
        *TO_THE_STOP,
        *INSTALLED,
        "systemctl stop mongod.service",
        f"dpkg --force-confold --install {folder}/kept/old.deb",
        "systemctl start mongod.service",
    ]
    assert not (folder / "policy-rc.d").is_symlink()


def test_a_mongodb_that_does_not_end_cleanly_is_started_as_it_is(host, monkeypatch):
    monkeypatch.setenv("RESULT", "timeout")
    with pytest.raises(Failed, match="did not shut down cleanly"):
        on_host.mongodb(GIVEN)
    assert host[2]() == [*TO_THE_STOP, "systemctl start mongod.service"]


def test_nothing_stops_where_the_version_before_cannot_be_downloaded(host):
    folder, _, lines = host
    (folder / "fails").write_text("apt-get -q")
    with pytest.raises(Failed, match=r"MongoDB 7\.0\.5: its package can't be downloaded"):
        on_host.mongodb(GIVEN)
    assert "systemctl stop mongod.service" not in lines()


def test_packages_restart_nothing_themselves_but_somebody_elses_policy_stays(host):
    folder, _, _ = host
    policy = folder / "policy-rc.d"
    with on_host.no_restarts():
        assert os.access(policy, os.X_OK)
        assert "exit 101" in policy.read_text()
    assert not policy.is_symlink()
    # As a power cut leaves it: a link to nothing.
    policy.symlink_to(folder / "gone")
    with on_host.no_restarts():
        assert policy.exists()
    policy.write_text("mine")
    with on_host.no_restarts():
        assert policy.read_text() == "mine"
    assert policy.read_text() == "mine"


def test_what_runs_with_replaced_files_restarts_mongodb_first_and_ssh_last(monkeypatch):
    new, old = {"/usr/lib/libssl.so.3"}, {"/usr/lib/libssl.so.3 (deleted)"}
    units = {"ssh.service": old, "nginx.service": old, "shop-backend.service": old, "mongod.service": old}
    monkeypatch.setattr(running, "running", lambda: {**units, "cron.service": new})
    assert running.outdated() == ["mongod.service", "shop-backend.service", "nginx.service", "ssh.service"]


def test_a_process_uses_the_files_that_it_has_mapped():
    files = running.mapped(str(os.getpid()))
    assert any(Path(file).name.startswith("libc.") for file in files)
    assert running.mapped("0") == set()


def test_mongodb_does_not_stop_under_a_backup(host, monkeypatch):
    folder, _, lines = host
    monkeypatch.setattr(on_host, "BACKUP_SECONDS", 0)
    with (folder / "slice.lock").open("w") as slice_that_runs:
        assert on_host.locked(slice_that_runs)
        with pytest.raises(Failed, match="still runs after 0 s"):
            on_host.mongodb(GIVEN)
    assert "systemctl stop mongod.service" not in lines()
    on_host.mongodb(GIVEN)
    with (folder / "slice.lock").open("w") as next_slice:
        assert on_host.locked(next_slice)


def test_where_neither_version_comes_up_both_are_told(host, monkeypatch):
    def start(given):
        raise Failed("aborted")

    monkeypatch.setattr(on_host, "start", start)
    with pytest.raises(Failed, match=r"MongoDB 7\.0\.28 did not come up, and 7\.0\.5 does not either: aborted"):
        on_host.mongodb(GIVEN)
