"""The backups, from their state and timers on the host. The weekly drill tests the backups themselves."""

from __future__ import annotations

import json
import time

import pytest

from slipway.server_tests.exposure import exposure_of, limits_of
from slipway.settings.backup import secret_names
from slipway.tasks.backup import PROGRAM, jobs

FIRST_SLICES_SECONDS = 180


def test_its_timers_run_and_start_at_boot(server):
    for job in jobs(server.settings):
        timer = server.host.service(f"{job.unit}.timer")
        assert timer.is_running
        assert timer.is_enabled


def test_scheduled_jobs_have_run_recently(server):
    late = [server.host.run(f"{PROGRAM} fresh {one.step}") for one in jobs(server.settings)]
    assert [one.stdout.strip() for one in late if one.rc] == []


def test_every_repository_has_had_a_full_backup_and_slices(server):
    wanted = {*server.settings.backup_repositories}
    state = json.loads(server.host.run("cat /var/lib/slipway/backup/state.json").stdout or "{}")
    known = {*state.get("fulls", {}), *state.get("sliced", {})}
    is_running = server.host.run("systemctl is-active slipway-backup.service").stdout.startswith("activ")
    if is_running and not wanted <= known:
        pytest.skip(f"the first full backup in {', '.join(sorted(wanted - known))} is being made")
    assert state["full"]["failures"] == []
    since = time.time() - state["full"]["time"]
    if not wanted <= {*state.get("sliced", {})} and since < FIRST_SLICES_SECONDS:
        pytest.skip(f"the first full backup ended {since:.0f} s ago, and the first slices come within a minute or two")
    # It keeps former ones, too.
    assert {*state["sliced"]} >= wanted


def test_its_secrets_are_readable_only_by_root_and_in_no_command_line(server):
    settings = server.settings
    lines = server.host.check_output("cat /proc/*/cmdline 2> /dev/null | tr '\\0' ' '")
    for name in secret_names(settings.backup_repositories, settings.backup_secrets):
        file = server.host.file(f"{settings.credentials_folder}/{name}")
        assert (file.user, file.group, file.mode) == ("root", "root", 0o600)
        assert file.content_string not in lines


def test_a_repository_on_the_host_is_only_for_root(server):
    for place in server.settings.backup_repositories.values():
        if place.startswith("/"):
            assert server.host.file(place).mode == 0o700


def test_its_jobs_are_sandboxed_and_have_low_priority(server, figure):
    for job in jobs(server.settings):
        exposure = exposure_of(server, f"{job.unit}.service")
        most = 4.0 if job.step == "drill" else 2.6
        figure(f"systemd-analyze security, {job.unit}", exposure, f"at most {most}", exposure <= most)
        limits = limits_of(server, f"{job.unit}.service")
        assert limits["MemoryMax"] == job.memory_mb * 2**20
        assert limits["OOMScoreAdjust"] > 0
