"""Time limits: the defaults, the effect of settings, and the errors."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

import pytest
from pyinfra.api import StringCommand

from slipway.engine.executor import Executor
from slipway.ops import units
from slipway.ops.files import tar
from slipway.ops.templates import render
from slipway.ops.units import Ready, and_wait
from slipway.settings import limits
from slipway.settings.limits import HINT, SHIPPED
from slipway.tasks import fail2ban, guard, mongodb, mongodb_users, nginx, release_steps
from slipway.tasks.backend_units import of_service, unit_values
from slipway.tasks.release import PARTS
from support.limited import limited


def timer(settings) -> str:
    return render(f"guard/{guard.TIMER}", **guard.template_values(settings))


def reload_of_nginx(settings) -> str:
    return render("nginx/nginx.service.conf", **nginx.unit_values(settings))


def unit_of_mongod(settings) -> str:
    return render("mongodb/mongod.service.conf", settings=settings, memory_max_mb=1024, writable=[], member_names="")


def unit_of_the_backend(settings) -> str:
    values = of_service(settings, settings.backend, unit_values(settings, 819, database_is_here=True))
    return render("backend/backend.service", **values)


def facts_of_a_release(settings) -> str:
    return release_steps.as_json(release_steps.facts(settings, PARTS))


def tenths(count: int) -> str:
    return f"for tenth in {' '.join(map(str, range(count)))}; do"


# What a host is given, the settings that decide about it, and a line of it as shipped and with these.
WAITS = {
    "the timer that rolls a lockout back": (
        *(timer, {"lockout_rollback_seconds": 5}),
        *("OnActiveSec=60\n", "OnActiveSec=5\n"),
    ),
    "the time in which connections end before a reload": (
        *(reload_of_nginx, {"nginx_reload_drain_seconds": 1}),
        *(tenths(30), tenths(10)),
    ),
    "the time in which requests end in the old release": (
        *(facts_of_a_release, {"release_drain_seconds": 1}),
        *('"drain_seconds": 30,', '"drain_seconds": 1,'),
    ),
    "the time that workers must run": (
        *(facts_of_a_release, {"release_worker_seconds": 0}),
        *('"worker_seconds": 2,', '"worker_seconds": 0,'),
    ),
    "the time until a backend is healthy": (
        *(facts_of_a_release, {"backend_health_seconds": 1}),
        *('"health_seconds": 60,', '"health_seconds": 1,'),
    ),
    "mongosh": (mongodb_users.set_users, {"timeout_scale": 3}, "timeout 300 mongosh", "timeout 900 mongosh"),
    "another step of a release": (
        facts_of_a_release,
        {"timeout_scale": 0.01},
        '"lock_seconds": 600,',
        '"lock_seconds": 6,',
    ),
    "an answer of a health path": (
        *(facts_of_a_release, {"timeout_scale": 0.01}),
        *('"probe_seconds": 10,', '"probe_seconds": 1,'),
    ),
    "MongoDB's key": (mongodb._fetch_key, {"timeout_scale": 0.5}, "--max-time 60 ", "--max-time 30 "),
    "an answer of fail2ban": (
        lambda settings: fail2ban.bans(settings.limits.probe),
        *({"timeout_scale": 2}, "alarm 10;", "alarm 20;"),
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_what_a_host_waits_for_is_as_shipped_or_as_set(settings_with, wait):
    text, changes, shipped, changed = WAITS[wait]
    assert shipped in text(settings_with())
    assert changed in text(settings_with(**changes))


def test_a_release_looks_at_what_it_waits_for_five_times_a_second(settings_with, monkeypatch):
    assert '"poll_seconds": 0.2,' in facts_of_a_release(settings_with())
    monkeypatch.setattr(release_steps, "POLL_SECONDS", 0.01)
    assert '"poll_seconds": 0.01,' in facts_of_a_release(settings_with())


def test_the_limits_in_units_are_the_same_at_any_scale_so_that_no_service_restarts(settings_with):
    for unit in (unit_of_mongod, unit_of_the_backend, timer, reload_of_nginx):
        assert unit(settings_with()) == unit(settings_with(timeout_scale=7))
    assert "TimeoutStartSec=900\n" in unit_of_mongod(settings_with())
    assert "TimeoutStartSec=90\nTimeoutStopSec=30\n" in unit_of_the_backend(settings_with())


def test_every_limit_is_multiplied_and_never_nothing(settings_with):
    assert settings_with().limits == SHIPPED
    assert asdict(settings_with(timeout_scale=2).limits) == {name: 2 * of for name, of in asdict(SHIPPED).items()}
    assert min(asdict(limits.scaled(0.01)).values()) == 1
    assert limits.of_host(SimpleNamespace(data={})) == SHIPPED


@pytest.mark.parametrize("scale", [0.01, 1, 100])
@pytest.mark.parametrize("rollback", [5, 60, 3600])
def test_slipway_has_given_up_to_log_in_before_the_host_rolls_back(settings_with, scale, rollback):
    settings = settings_with(timeout_scale=scale, lockout_rollback_seconds=rollback)
    assert 1 <= guard.login_seconds(settings) <= min(settings.limits.login, rollback - 1)
    assert guard.login_seconds(settings_with()) == 20


def test_what_is_asked_within_an_answer_takes_no_longer_than_that():
    assert SHIPPED.patience + SHIPPED.probe < SHIPPED.answer
    assert SHIPPED.mongodb_answer < SHIPPED.answer
    # Debian's two repositories and MongoDB's.
    assert 3 * SHIPPED.reach < SHIPPED.answer


# --- What is said where the time is up


def run(script: str, folder: Path, programs: dict[str, str], given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a host's script with fake programs."""
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    return subprocess.run(["sh", "-c", script], env=env, input=given, capture_output=True, text=True, check=False)


def test_of_a_mongosh_that_does_not_finish_one_sentence_is_reported(settings_with, tmp_path, monkeypatch):
    limited(monkeypatch, mongosh=1)
    settings = settings_with()
    (tmp_path / "run").mkdir()
    script = mongodb_users.set_users(settings).replace("/run/", f"{tmp_path}/run/").replace("/etc/", f"{tmp_path}/etc/")
    programs = {
        "mongosh": "echo a long story; exec sleep 60",
        "install": f"mkdir -p {tmp_path}/etc/codementee/credentials",
    }
    documents = base64.encodebytes(tar(mongodb_users.documents(settings))).decode()
    done = run(script, tmp_path, programs, documents)
    assert (done.returncode, done.stderr) == (
        124,
        f"MongoDB's users: mongosh did not finish within 1 s; {HINT}\n",
    )
    failing = run(script, tmp_path, {**programs, "mongosh": "echo its last words; exit 1"}, documents)
    assert (failing.returncode, failing.stderr) == (1, "its last words\n")


def test_of_a_service_that_is_not_ready_a_sentence_comes_before_its_log(tmp_path):
    ready = Ready("false", 1, "backend_health_seconds")
    done = run(and_wait("true", "my.service", ready), tmp_path, {"journalctl": "echo its last words"})
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "my.service is not ready after 1 s; on a slow host raise backend_health_seconds",
        "its last words",
    ]


@pytest.mark.parametrize(("check", "code"), [("false", 1), ("true", 0), ("sleep 30", 1)])
def test_who_watches_a_service_ends_the_wait_for_it_and_has_said_why(tmp_path, check, code):
    watch = "echo it loops >&2; sleep 0.3; read -r stat < /proc/$1/stat; set -- $stat; kill -TERM -$5"
    ready = Ready(check, 20, watch="watch")
    done = run(and_wait("true", "my.service", ready), tmp_path, {"journalctl": "echo its last words", "watch": watch})
    assert done.returncode == code
    if code:
        assert done.stderr == "it loops\n"


def test_of_a_service_that_keeps_its_old_processes_a_sentence_is_reported(tmp_path, monkeypatch):
    limited(monkeypatch, reload=1)
    monkeypatch.setattr(units, "host", SimpleNamespace(data={}))
    done = run(units._reload("my.service"), tmp_path, {"systemctl": "echo 1", "pgrep": "echo 7"})
    assert done.returncode == 1
    assert done.stderr == f"my.service has no new process 1 s after a reload; {HINT}\n"


def test_of_a_key_that_does_not_come_a_sentence_is_reported(settings_with, tmp_path):
    programs = {"curl": "exit 28", "mktemp": f"echo {tmp_path}/key"}
    script, url = mongodb._fetch_key(settings_with()), settings_with().mongodb_key_url
    assert run(script, tmp_path, programs).stderr == f"no whole answer within 60 s: {url}; {HINT}\n"
    assert run(script, tmp_path, {**programs, "curl": "exit 6"}).stderr == ""


@pytest.mark.parametrize(
    ("said", "is_shown"),
    [(f"MongoDB's users: mongosh did not finish within 300 s; {HINT}", False), ("its last words", True)],
)
def test_the_command_is_shown_only_where_no_limit_has_ended_it(said, is_shown):
    operation_meta = SimpleNamespace(_commands=[StringCommand("sh -c 'a long script'")])
    host = type("Host", (), {"name": "box"})()
    executor = Executor.__new__(Executor)
    executor.state = SimpleNamespace(
        get_op_order=lambda: ["hash"],
        ops={host: {"hash": SimpleNamespace(operation_meta=operation_meta)}},
    )
    executor.planner = SimpleNamespace(name_of=lambda op_hash: "Create MongoDB's users")
    executor.connections = SimpleNamespace(log=SimpleNamespace(take=lambda name: [said]))
    lines = executor._where(host, "hash", None, []).splitlines()
    assert lines[0] == "box failed at: Create MongoDB's users"
    assert ("  command: sh -c 'a long script'" in lines) is is_shown
    assert f"  | {said}" in lines
