"""A release that fails or is interrupted never reaches a visitor, and the next run recovers."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from support.lab_host import BUILT, LabHost
from support.releases import IMPATIENT, PATIENT, ROOT, Visits, backend, is_settled

# What is wrong with a release, how that is arranged, and what the error says.
BROKEN = {
    "a syntax error": (lambda text: f"{text}\ndef (:\n", (), "SyntaxError"),
    "a dependency that is missing": (lambda text: f"import not_there\n{text}", (), "No module named 'not_there'"),
    "no such module": (None, ("--data", "backend_app=not_there:app"), "not_there"),
    "a crash at its start": (
        lambda text: text.replace(
            "    app.state.database =", "    raise OSError('on purpose')\n    app.state.database ="
        ),
        (),
        "on purpose",
    ),
    "a health check that fails": (
        lambda text: text.replace('return JSONResponse({"status": "ok"})', "raise HTTPException(500, 'unwell')"),
        PATIENT,
        'answered: {"detail":"unwell"} 500',
    ),
    "a health check that hangs": (
        lambda text: text.replace('return JSONResponse({"status": "ok"})', "await asyncio.sleep(999)"),
        (),
        "answered: ",
    ),
    "an answer of another kind": (
        None,
        ("--data", 'backend_health_body="status":"fine"', *PATIENT),
        '{"status":"ok"} 200',
    ),
    "a migration that fails": (None, ("--data", "pre_activate=echo 'no such table' >&2; exit 3"), "no such table"),
}
# Everyday: one that starts, and one that is not even started.
EVERYDAY = ("a health check that fails", "a migration that fails")


@pytest.mark.parametrize(
    "what", [what if what in EVERYDAY else pytest.param(what, marks=pytest.mark.thorough) for what in BROKEN]
)
def test_a_broken_release_never_reaches_a_visitor(server: LabHost, visits: Visits, tmp_path: Path, what: str) -> None:
    edit, settings, told = BROKEN[what]
    now = server.current_release()
    source = backend(tmp_path, edit) if edit else ()
    done = server.slipway("release", "lab", "--yes", "--only", "backend", *source, *IMPATIENT, *settings)
    assert done.returncode == 1, done.stdout
    assert told in done.stderr
    assert not re.search("^Traceback", done.stderr, re.MULTILINE), "a user's error is no traceback of ours"
    assert f"releases/{now} is still live" in done.stderr
    assert server.current_release() == now
    assert is_settled(server)
    visits.nothing(10)
    assert server.ssh(f"ls {ROOT}/releases").split()[-1] == now
    # The configuration of the release program stays as this release wrote it; an apply reverts the other settings.
    if settings:
        server.apply(*IMPATIENT)
    assert server.plan(*IMPATIENT) == []


@pytest.mark.thorough
def test_a_release_that_finds_the_disk_full_is_reported_and_nothing_is_left_of_it(
    server: LabHost, visits: Visits, tmp_path: Path
) -> None:
    now = server.current_release()
    server.ssh(f"mount -t tmpfs -o size=4m tmpfs {ROOT}/venvs")
    try:
        source = (*backend(tmp_path, requirements="# another environment\n"), *BUILT)
        done = server.slipway("release", "lab", "--yes", *source)
    finally:
        server.ssh(f"umount {ROOT}/venvs")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    visits.nothing(10)
    assert server.current_release() == now
    assert is_settled(server)
    server.release(*source)
    assert server.ssh(f"ls {ROOT}/releases | grep -c new", check=False) == "0"


# An operation of a release; the release is killed when it has begun.
STEPS = [
    "Build and upload the release",
    "Run pre_activate",
    "Start the release and check its health",
    "Activate the release",
    "Restart the backend with the release",
    "Run post_activate",
    "Remove old releases",
]
# They are still running when the release is killed.
HOOKS = ("--data", "pre_activate=sleep 2", "--data", "post_activate=sleep 2")


# Everyday: the two between which traffic is switched.
STEPS_EVERYDAY = ("Activate the release", "Restart the backend with the release")


@pytest.mark.parametrize(
    "step", [step if step in STEPS_EVERYDAY else pytest.param(step, marks=pytest.mark.thorough) for step in STEPS]
)
def test_a_release_that_is_cut_off_keeps_the_site_up_and_the_next_run_recovers(
    server: LabHost, visits: Visits, step: str
) -> None:
    before = STEPS[max(STEPS.index(step) - 1, 0)]
    release = server.start("release", "lab", "--yes", *BUILT, *HOOKS)
    if step == STEPS[0]:
        release.wait_for_text("Releasing to")
    else:
        release.wait_for_operation(before)
    time.sleep(0.5)
    release.kill()
    # What has begun on the host may run to its end. An apply recovers, and so does the next release.
    if STEPS.index(step) % 2:
        server.apply()
    else:
        server.release(*BUILT)
    assert is_settled(server)
    assert server.plan() == []
    visits.nothing(10)
    assert server.ssh(f"ls {ROOT}/releases | grep -c new", check=False) == "0"
