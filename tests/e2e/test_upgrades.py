"""`slipway upgrade`: packages and MongoDB, each service restarted once, and back where MongoDB does not come up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway.site import Site
from support.backups import CHANGES, ON, hashes, state, switch_on
from support.lab_host import LabHost, mongosh
from support.newer_packages import MONGOD_VERSION, Repository, offer, offer_mongodb, withdraw
from support.releases import Visits

pytestmark = pytest.mark.thorough

STARTED = "journalctl --since @{} -o cat | grep -cE '^Started {}' || :"


@pytest.fixture(scope="module", autouse=True)
def with_data(server: LabHost) -> None:
    server.ssh(mongosh(CHANGES))


def now(server: LabHost) -> str:
    return server.ssh("sleep 1; date +%s")


def starts(server: LabHost, since: str, what: str) -> int:
    return int(server.ssh(STARTED.format(since, what)))


def upgraded(server: LabHost, *arguments: str) -> str:
    done = server.slipway("upgrade", "lab", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(server: LabHost) -> str:
    return server.ssh("dpkg-query -W -f '${Version}' mongodb-org-server")


def test_packages_are_upgraded_and_each_service_that_uses_them_restarts_once(
    server: LabHost, visiting: Callable[[Site], Visits]
) -> None:
    # It would restart services after each installation, as on Ubuntu, where every server has it.
    restarts_all = "printf '$nrconf{restart} = \"a\";\\n' > /etc/needrestart/conf.d/own.conf"
    server.ssh(f"DEBIAN_FRONTEND=noninteractive apt-get install -y -q needrestart > /dev/null; {restarts_all}")
    ssl, newer = server.ssh("dpkg-query -W -f '${Package}' 'libssl3*'"), "99-1"
    offer(server, "nginx", newer)
    offer(server, ssl, newer)
    by_hand = server.ssh("apt-mark showmanual")
    done = server.slipway("upgrade", "lab")
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert f"restarts nginx.service ({ssl}, nginx)" in done.stdout
    assert newer not in server.ssh("dpkg -l nginx | tail -n 1")
    since, visits = now(server), visiting(server.site())
    upgraded(server, "--only", "os", "--yes")
    visits.the_api_waits(20)
    assert newer in server.ssh("dpkg -l nginx | tail -n 1")
    for what in ("A high performance web server", "nginx.service", "codementee-backend.service", "mongod.service"):
        assert starts(server, since, what) <= 1, what
    for unit in ("nginx", "codementee-backend", "mongod", "ssh"):
        assert starts(server, since, f"{unit}.service") == 1, unit
    assert starts(server, since, "cron.service") == 0
    assert server.ssh("apt-mark showmanual") == by_hand
    assert server.ssh("ls /usr/sbin/policy-rc.d 2> /dev/null || echo none") == "none"
    server.wait_until_healthy()
    assert "up to date" in upgraded(server)
    assert server.plan() == []


def test_a_package_that_does_harm_goes_back_as_the_runbook_says(server: LabHost) -> None:
    told = server.ssh("zgrep -h -A5 '^Start-Date' $(ls -tr /var/log/apt/history.log*) | tail -40")
    found = re.search(r"nginx:amd64 \((\S+), 99-1\)", told)
    assert found, told
    server.ssh(f"apt-get install -y -q --allow-downgrades nginx={found[1]} && apt-mark hold nginx")
    assert "up to date" in upgraded(server, "--only", "os")
    assert server.ssh("dpkg-query -W -f '${Version}' nginx") == found[1]
    server.ssh("apt-mark unhold nginx")
    withdraw(server)


def test_a_service_that_still_runs_with_replaced_files_is_restarted_by_the_next_upgrade(server: LabHost) -> None:
    library = "/usr/lib/x86_64-linux-gnu/libssl.so.3"
    server.ssh(f"cp -a {library} {library}.new && mv {library}.new {library}")
    since = now(server)
    assert "restarts nginx.service (replaced before)" in upgraded(server, "--only", "os", "--yes")
    assert starts(server, since, "nginx.service") == 1


def test_an_upgrade_that_was_cut_off_is_finished_and_an_unreachable_mirror_is_no_up_to_date(server: LabHost) -> None:
    # As a power cut during the unpacking leaves it.
    status = "/var/lib/dpkg/status"
    server.ssh(f"sed -i '/^Package: openssl$/,/^$/ s/^Status: .*/Status: install reinstreq half-installed/' {status}")
    source = "/etc/apt/sources.list.d/other.list"
    server.ssh(f"echo 'deb http://127.0.0.1:9/debian other main' > {source}")
    said = upgraded(server, "--only", "os", "--yes")
    assert f"left out, as apt can't refresh its lists: {source}" in said
    assert "interrupted: openssl" in said
    assert server.ssh("dpkg --audit") == ""
    assert server.ssh("dpkg-query -W -f '${db:Status-Abbrev}' openssl").strip() == "ii"
    assert "interrupted" not in upgraded(server, "--only", "os")
    server.ssh(
        f"rm {source}; cd /etc/apt; mkdir /root/apt; mv sources.list* /root/apt; mkdir sources.list.d;"
        " echo 'deb http://127.0.0.1:9/debian gone main' > sources.list"
    )
    done = server.slipway("upgrade", "lab", "--only", "os")
    server.ssh("cd /etc/apt; rm -r sources.list*; mv /root/apt/* .; rmdir /root/apt")
    assert done.returncode == 1
    assert "the source is in /etc/apt/sources.list" in done.stderr
    assert "up to date" not in done.stdout
    assert "up to date" in upgraded(server, "--only", "os")


def test_a_mongodb_that_does_not_come_up_is_replaced_by_the_one_before(server: LabHost) -> None:
    before, data = installed(server), hashes(server)
    broken = "printf '#!/bin/sh\\necho db version v6.0.99; exit 1\\n' > usr/bin/mongod"
    offer(server, "mongodb-org-server", "6.0.99", broken)
    done = server.slipway("upgrade", "lab", "--only", "mongodb", "--yes")
    assert done.returncode == 1
    assert f"MongoDB 6.0.99 did not come up, {before} runs again: mongod.service failed to start" in done.stderr
    assert (installed(server), hashes(server)) == (before, data)
    server.wait_until_healthy()
    assert server.plan() == []
    withdraw(server)


def test_mongodb_is_upgraded_to_a_later_patch_after_a_backup_and_with_one_restart(
    server: LabHost, visiting: Callable[[Site], Visits], tmp_path: Path
) -> None:
    switch_on(server)
    before, data, backup = installed(server), hashes(server), state(server)["full"]["id"]
    offer_mongodb(server, tmp_path)
    since, visits = now(server), visiting(server.site())
    said = upgraded(server, "--only", "mongodb", "--yes", *ON)
    visits.the_api_waits(20)
    assert f"mongodb: {before} -> {MONGOD_VERSION}" in said
    assert "feature compatibility version 6.0" in said
    assert starts(server, since, "mongod.service") == 1
    assert (installed(server), hashes(server)) == (MONGOD_VERSION, data)
    assert state(server)["full"]["id"] > backup
    assert server.ssh("mongod --version | head -n 1") == f"db version v{MONGOD_VERSION}"
    server.wait_until_healthy()
    assert server.plan(*ON) == []


def test_a_new_series_is_refused_until_all_is_proven(server: LabHost) -> None:
    before = installed(server)
    for series, said in (
        ("8.0", "need '7.0': one series at a time"),
        ("5.0", "which can't go back"),
        ("7.0", "found no drill, need one that passed: slipway backup drill"),
    ):
        done = server.slipway(
            "upgrade", "lab", "--only", "mongodb", "--yes", *ON, "--data", f"mongodb_version={series}"
        )
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert installed(server) == before
    assert "nothing to raise" in upgraded(server, "--raise-features", *ON)


def test_a_new_series_comes_after_its_repository_and_the_one_before_is_there_to_go_back_to(server: LabHost) -> None:
    switch_on(server)
    repository = Repository(server)
    withdraw(server)
    old, data = repository.version, hashes(server)
    later = old.replace("6.0.", "7.0.")
    repository.offer(old)
    repository.offer("7.0.1", "printf '#!/bin/sh\\necho db version v7.0.1; exit 1\\n' > usr/bin/mongod")
    server.apply(*ON, *repository.settings)
    series = [*ON, *repository.settings, "--data", "mongodb_version=7.0"]
    assert server.slipway("backup", "drill", "lab", *ON, *repository.settings).returncode == 0
    server.apply(*series)
    between = "Suites: .*/mongodb-org/7.0\nSuites: .*/mongodb-org/6.0"
    suites = "grep ^Suites: /etc/apt/sources.list.d/mongodb.sources"
    assert re.fullmatch(between, server.ssh(suites))
    assert (installed(server), server.plan(*series)) == (old, [])
    # Nobody gets the new series by an update by hand.
    server.ssh("apt-get -q update && apt-get -y -q upgrade")
    assert installed(server) == old
    done = server.slipway("upgrade", "lab", "--only", "mongodb", "--yes", *series)
    assert done.returncode == 1
    assert f"MongoDB 7.0.1 did not come up, {old} runs again" in done.stderr
    assert (installed(server), hashes(server), server.plan(*series)) == (old, data, [])
    verified = server.slipway("verify", "lab", *series)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    # A real server, which says that it is of the next series.
    repository.offer(later, f"sed -i 's/{re.escape(old)}/{later}/g' usr/bin/mongod")
    said = upgraded(server, "--only", "mongodb", "--yes", *series)
    assert f"mongodb: {old} -> {later} (a new series)" in said
    assert (installed(server), hashes(server), server.plan(*series)) == (later, data, [])
    assert re.fullmatch("Suites: .*/mongodb-org/7.0", server.ssh(suites))
    verified = server.slipway("verify", "lab", *series)
    assert verified.returncode == 0, verified.stdout + verified.stderr
