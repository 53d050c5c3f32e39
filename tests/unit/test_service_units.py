"""Health checks, staleness and sandboxes of services."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.alarms import updates
from slipway.ops.files import is_in_place, needs_restart
from slipway.ops.templates import render
from slipway.ops.units import Ready, is_stale, restart
from slipway.tasks import alarms
from slipway.tasks.backend import settled
from slipway.tasks.backend_units import IMPORTING, of_service, unit_values
from slipway.tasks.mongodb_users import admin_of, backend_of
from slipway.tasks.nginx import unit_values as nginx_unit_values
from slipway.tasks.release import healthy


@pytest.mark.parametrize(
    ("answer", "is_healthy"),
    [
        ('{"status":"ok"} 200', True),
        ('{"status":"ok"} 503', False),
        ('{"status":"down"} 200', False),
        ("Internal Server Error 500", False),
        ("", False),
        (" 000", False),
    ],
)
def test_a_service_is_healthy_only_with_the_right_answer_and_the_right_status(
    settings_with, tmp_path, monkeypatch, answer, is_healthy
):
    settings = settings_with(backend_health_body='"status":"ok"')
    (tmp_path / "curl").write_text(f"#!/bin/sh\nprintf %s '{answer}'\n")
    (tmp_path / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    done = subprocess.run(["sh", "-c", healthy(settings, settings.backend)], check=False)
    assert (done.returncode == 0) == is_healthy


@pytest.mark.parametrize(
    ("state", "reloads", "stale"),
    [
        ({"Began": "100", "ChildBegan": "200"}, False, True),
        ({"Began": "100", "ChildBegan": "200"}, True, False),
        ({"Began": "148"}, False, False),
        ({}, False, False),
    ],
    ids=["started before", "reloaded since", "started as it changed", "not running"],
)
def test_a_service_that_runs_with_what_was_there_before_is_stale(state, reloads, stale):
    assert is_stale(state, 150, reloads) is stale


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("# Another comment\n[Service]\n\nTimeoutStartSec=900\nTasksMax=5\n", False),
        ("[Service]\nTasksMax=5\nRestart=always\nRestartSec=2\nTimeoutStopSec=30\n", False),
        ("[Service]\nTasksMax=6\n", True),
        ("[Service]\n", True),
        ("[Service]\nTasksMax=5\nExecReload=true\n", True),
    ],
    ids=["a comment and a time", "how systemd ends and restarts it", "a value", "a line less", "a line more"],
)
def test_a_unit_is_restarted_where_more_differs_than_comments_and_what_a_daemon_reload_applies(new, expected):
    assert needs_restart("# A comment\n[Service]\nTimeoutStartSec=180\nTasksMax=5\n", new) is expected


@pytest.mark.parametrize(
    ("fails", "code", "told"),
    [
        ("nothing", 0, ["before", "restart", "after"]),
        ("before", 1, ["before"]),
        ("restart", 1, ["before", "restart", "after"]),
    ],
)
def test_a_service_is_covered_for_around_its_restart_also_where_that_fails(tmp_path, monkeypatch, fails, code, told):
    """If the second instance fails to start, there is no restart."""
    log, ready = tmp_path / "told", Ready("true", 5, before="step before", after="step after")
    (tmp_path / "step").write_text(f"#!/bin/sh\necho $1 >> {log}; [ $1 != {fails} ]\n")
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n[ $1 != restart ] || exec {tmp_path}/step restart\n")
    (tmp_path / "journalctl").write_text("#!/bin/sh\n")
    for name in ("step", "systemctl", "journalctl"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (command,) = restart._inner(unit="not-there.service", ready=ready)
    assert subprocess.run(["sh", "-c", command], check=False, capture_output=True).returncode == code
    assert log.read_text().split() == told


IN_PLACE = {"kind": "regular file", "owner": "root", "group": "root", "mode": "644"}


@pytest.mark.parametrize(
    ("what", "found"),
    [("kind", "symbolic link"), ("owner", "nobody"), ("group", "adm"), ("mode", "666"), ("sha256", "other")],
)
def test_a_file_is_in_place_only_with_its_kind_its_owner_its_mode_and_its_content(what, found):
    state = {**IN_PLACE, "sha256": hashlib.sha256(b"text").hexdigest()}
    assert is_in_place(state, b"text", "644", "root", "root")
    assert not is_in_place({**state, what: found}, b"text", "644", "root", "root")
    assert not is_in_place({}, b"text", "644", "root", "root")


@pytest.mark.parametrize("left", ["", "next", "active"])
def test_a_release_that_was_cut_off_is_seen(settings_with, tmp_path, monkeypatch, left):
    settings = settings_with()
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\n[ '{left}' = active ]\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if left == "next":
        (tmp_path / "next").symlink_to("releases/2")
    script = settled(settings).replace(settings.site_root, str(tmp_path))
    assert (subprocess.run(["sh", "-c", script], check=False).returncode == 0) == (left == "")


def units(settings) -> dict[str, str]:
    values = unit_values(settings, 819, database_is_here=True)
    added = {**nginx_unit_values(settings), "memory_max_mb": 1228, "writable": [], "member_names": ""}
    run = "[Service]\nExecStart=/bin/true\n"
    mongod = "User=mongodb\n" + render("mongodb/mongod.service.conf", **added).replace("[Service]\n", "")
    return {
        "backend": render("backend/backend.service", **of_service(settings, settings.backend, values)),
        "hook": render("backend/hook.service", **of_service(settings, settings.backend, values), when="before"),
        "nginx": run + render("nginx/nginx.service.conf", **added).replace("[Service]\n", ""),
        "mongod": run + mongod,
    }


# By `systemd-analyze security`, from 0 to 100: Nginx's master is root, and opens ports.
MAX_EXPOSURE = {"backend": 13, "hook": 13, "mongod": 12, "nginx": 28}


@pytest.mark.parametrize("unit", MAX_EXPOSURE)
def test_a_service_may_touch_little_of_the_system(settings_with, tmp_path, unit):
    (tmp_path / f"{unit}.service").write_text(units(settings_with())[unit])
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MAX_EXPOSURE[unit]}", "--no-pager"]
    done = subprocess.run([*command, tmp_path / f"{unit}.service"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_the_backend_reads_and_writes_its_own_database_and_no_other(settings_with):
    settings = settings_with(mongodb_database="shop")
    assert backend_of(settings).rights == "readWrite@shop"
    assert admin_of(settings).rights == "root@admin"


def test_the_databases_files_are_where_they_were(settings_with):
    """Existing servers have them there: another path would be an empty database."""
    assert "\n  dbPath: /var/lib/mongodb\n" in render(
        "mongodb/mongod.conf", settings=settings_with(), cache_gb=0.5, keyfile="", certificate=""
    )


def test_only_security_updates_are_installed_automatically(tmp_path):
    (tmp_path / "52slipway").write_text(render("updates/52slipway", reboot_time="04:00"))
    command = ["apt-config", "-c", tmp_path / "52slipway", "dump", "Unattended-Upgrade::Origins-Pattern"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    origins = [line.split('"')[1] for line in shown.splitlines() if "Origins-Pattern::" in line]
    assert origins == [
        "origin=Debian,codename=${distro_codename},label=Debian-Security",
        "origin=Debian,codename=${distro_codename}-security,label=Debian-Security",
        "origin=Ubuntu,archive=${distro_codename}-security,label=Ubuntu",
        # Its release itself never changes.
        "origin=Ubuntu,archive=${distro_codename},label=Ubuntu",
        "origin=UbuntuESMApps,archive=${distro_codename}-apps-security",
        "origin=UbuntuESM,archive=${distro_codename}-infra-security",
    ]


def test_apt_notes_a_refresh_of_its_lists_where_the_alarms_look(tmp_path):
    (tmp_path / "52slipway").write_text(render("updates/52slipway", reboot_time="04:00"))
    command = ["apt-config", "-c", tmp_path / "52slipway", "dump", "APT::Update::Post-Invoke-Success"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f'"touch {updates.REFRESHED} || true"' in shown


@pytest.mark.parametrize("unit", ["slipway-alarms.service", "slipway-alarms-at-once.timer"])
def test_units_that_fail_at_the_same_time_may_start_the_alarms_as_often(unit):
    lines = render(f"alarms/{unit}", program="/p", secrets=[], folder="/f").splitlines()
    assert "StartLimitIntervalSec=0" in lines[: lines.index("")]


def test_a_failed_unit_starts_the_alarms_by_a_timer_that_can_be_started_again(settings_with, monkeypatch):
    monkeypatch.setattr(alarms, "_has_oplog", lambda settings: False)
    files = alarms.unit_files(settings_with())
    assert f"OnFailure={Path(alarms.AT_ONCE).name}" in files[alarms.ON_FAILURE].splitlines()
    timer = files[alarms.AT_ONCE].splitlines()
    assert {"OnActiveSec=0", "RemainAfterElapse=no", "Unit=slipway-alarms.service"} <= {*timer}
    # Of the same name as the one of all services: systemd reads this one instead.
    assert Path(alarms.NOT_OF_ITSELF).name == Path(alarms.ON_FAILURE).name
    assert "OnFailure" not in files[alarms.NOT_OF_ITSELF]


@pytest.mark.parametrize("unit", ["alarms/slipway-alarms.service", "nginx/slipway-nginx-logs.service"])
def test_what_a_program_says_is_logged_where_starts_and_ends_are_not(unit):
    lines = render(unit, program="/p", secrets=[], folder="/f").splitlines()
    # journald drops a level above LogLevelMax, and "info" is the default of what is printed.
    assert {"LogLevelMax=notice", "SyslogLevel=notice"} <= {*lines}


@pytest.mark.parametrize(
    ("app", "run"), [("server:app", "uvicorn server:app --fd"), ("server:make()", "uvicorn server:make --factory --fd")]
)
def test_a_factory_is_called_by_uvicorn(settings_with, app, run):
    settings = settings_with(backend_app=app)
    values = of_service(settings, settings.backend, unit_values(settings, 819, database_is_here=True))
    unit = render("backend/backend.service", **{**values, "is_next": True})
    assert run in unit
    assert "\nProcSubset" not in unit, "psutil reads /proc/meminfo"
    assert f"import_from_string('{app.removesuffix('()')}')" in unit


@pytest.mark.parametrize(
    ("last_line", "code", "said"), [("app = 1", 0, ""), ("import missing_module", 1, "missing_module")]
)
def test_the_import_before_a_release_ends_whatever_threads_the_application_has_started(tmp_path, last_line, code, said):
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn/importer.py").write_text(
        "import importlib\n\n\ndef import_from_string(name):\n    importlib.import_module(name.partition(':')[0])\n"
    )
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nprint('starting')\n"
    (tmp_path / "slow.py").write_text(f"{thread}{last_line}\n")
    command = [sys.executable, "-c", IMPORTING.format("slow:app")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, said in done.stderr) == (code, True)
    assert code or done.stdout == "starting\n"
