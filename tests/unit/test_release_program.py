"""The release program, run as on a host: health checks, files, lock, exit."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.releases import host as release_host
from slipway.releases import program as release_program
from slipway.settings.limits import HINT
from slipway.settings.model import Settings
from slipway.tasks.release import PARTS
from slipway.tasks.release_steps import as_json, facts
from support.health_server import answering, response
from support.limited import limited
from support.release_tree import Tree
from support.waiting import wait_until

WELL, UNWELL = response(200, '{"status":"ok"}'), response(500, "unwell")
BACKEND, NEXT = "codementee-backend.service", "codementee-backend-next.service"
WORKER = {"name": "mailer", "command": "python -m mailer"}


@pytest.fixture
def tree(settings_with: Callable[..., Settings]) -> Iterator[Tree]:
    """Release 1 is live, release 2 is shipped. A Unix socket's path has at most 107 characters: not in tmp_path."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        tree = Tree(Path(folder), settings_with(backend_health_seconds=1, release_drain_seconds=1))
        tree.add("1", "2", environment="one")
        tree.lead(current="1")
        tree.link.symlink_to(tree.own)
        (tree.folder / "active" / BACKEND).write_text("1\n")
        yield tree


def step(tree: Tree, *words: str) -> subprocess.CompletedProcess[str]:
    return tree.step(*words, parts=tuple(PARTS))


def start(tree: Tree, *words: str) -> subprocess.Popen[str]:
    # Under nohup it would ignore the signal that these tests send.
    command = ["env", "--default-signal=HUP", *tree.command(*words, parts=tuple(PARTS))]
    return subprocess.Popen(command, env=tree.environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)


def lock_is_free(tree: Tree) -> bool:
    with (tree.folder / "run/codementee.release.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# --- Releases --------------------------------------------------------------------------------------------------------


def test_a_release_goes_from_its_first_step_to_its_last(tree):
    with answering({str(tree.own): WELL, str(tree.next): WELL}):
        for words in (("hook", "before", "2", "discard"), ("begin", "2", "discard"), ("switch", "2")):
            assert step(tree, *words).returncode == 0
        assert tree.links() == {"current": "releases/2", "previous": "releases/1", "next": "releases/2"}
        assert tree.link.readlink() == tree.next
        assert tree.active()[NEXT] == "2"
        done = step(tree, "take_over")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tree.link.readlink(), tree.active()[BACKEND]) == (tree.own, "2")
    assert NEXT not in tree.active()
    assert tree.links() == {"current": "releases/2", "previous": "releases/1"}


@pytest.mark.parametrize(("then", "left"), [("discard", ["1"]), ("keep", ["1", "2"])])
def test_one_that_is_not_healthy_is_reported_and_gone_unless_it_has_served_before(tree, then, left):
    with answering({str(tree.next): UNWELL}):
        done = step(tree, "begin", "2", then)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[:20] == [f"line {number} of {NEXT}" for number in range(61, 81)]
    assert lines[20].endswith("/api/health answered: unwell 500; on a slow host raise backend_health_seconds")
    assert lines[21:] == ["release 2 was not activated; releases/1 is still live"]
    assert (tree.there(), tree.links(), NEXT in tree.active()) == (left, {"current": "releases/1"}, False)


def test_what_described_a_service_before_comes_back_as_it_was(tree):
    unit_file = tree.folder / "units" / BACKEND
    unit_file.parent.mkdir()
    unit_file.write_text("after")
    backup = tree.folder / "kept" / BACKEND
    old = backup / str(unit_file).lstrip("/")
    old.parent.mkdir(parents=True)
    old.write_text("before")
    old.chmod(0o640)
    os.utime(old, (1000, 1000))
    (backup / "paths").write_text(f"{unit_file}\n{unit_file}.new-with-it\n")
    (tree.folder / "units" / f"{BACKEND}.new-with-it").touch()
    with answering({str(tree.own): WELL, str(tree.next): WELL}):
        for words in (("begin", "2", "keep"), ("switch", "2")):
            assert step(tree, *words).returncode == 0
        (tree.folder / f"broken/2:{BACKEND}").touch()
        done = step(tree, "take_over")
    assert done.returncode == 1
    assert f"Job for {BACKEND} failed." in done.stderr
    assert done.stderr.endswith(f"{BACKEND}: failed to start\nrolling back to releases/1\n")
    assert unit_file.read_text() == "before"
    status = unit_file.stat()
    assert (status.st_mode & 0o777, status.st_mtime) == (0o640, 1000)
    assert [path.name for path in unit_file.parent.iterdir()] == [BACKEND]
    assert not backup.exists()
    assert (tree.link.readlink(), tree.active()) == (tree.own, {BACKEND: "1"})


def test_what_the_shell_script_of_an_earlier_version_left_is_settled(tree):
    """It was killed as `take_over` moved a link: `ln` had made the new one, and `mv` had not run."""
    for name, target in {"current": "releases/2", "previous": "releases/1", "next": "releases/2"}.items():
        (tree.root / name).unlink(missing_ok=True)
        (tree.root / name).symlink_to(target)
    tree.link.unlink()
    tree.link.symlink_to(tree.next)
    (tree.folder / "run/codementee-backend.sock.new").symlink_to(tree.own)
    (tree.folder / "active" / NEXT).write_text("2\n")
    (tree.folder / "kept" / BACKEND).mkdir()
    (tree.folder / "kept" / BACKEND / "paths").write_text("/nowhere\n")
    with answering({str(tree.own): WELL, str(tree.next): WELL}):
        assert step(tree, "settle").returncode == 0
    assert (tree.link.readlink(), tree.active()) == (tree.own, {BACKEND: "2"})
    assert tree.links() == {"current": "releases/2", "previous": "releases/1"}
    assert [*(tree.folder / "kept").iterdir()] == []
    assert sorted(path.name for path in (tree.folder / "run").iterdir()) == [
        *("codementee-backend", "codementee-backend.sock", "codementee.release.lock"),
    ]


# --- One step at a time, to its end ----------------------------------------------------------------------------------


def test_of_a_step_that_waits_for_another_a_sentence_is_reported(tree, monkeypatch):
    limited(monkeypatch, release_step=1)
    with (tree.folder / "run/codementee.release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = step(tree, "settle")
    assert done.returncode == 1
    assert done.stderr == f"another step of a release did not finish within 1 s; {HINT}\n"


def test_another_step_waits_for_what_a_killed_one_has_started(tree):
    slow = tree.folder / "slow/codementee-backend-before.service"
    slow.touch()
    killed = start(tree, "hook", "before", "2", "keep")
    wait_until("the hook runs", tree.told, pause=0.01)
    killed.kill()
    killed.wait(10)
    assert not lock_is_free(tree)
    slow.unlink()
    wait_until("it has ended", lambda: lock_is_free(tree), pause=0.01)
    killed.communicate()


def test_a_step_whose_connection_breaks_goes_on_to_its_end(tree):
    slow = tree.folder / "slow/codementee-backend-before.service"
    slow.touch()
    (tree.folder / "broken/codementee-backend-before.service").touch()
    running = start(tree, "hook", "before", "2", "discard")
    wait_until("the hook runs", tree.told, pause=0.01)
    running.stderr.close()
    os.killpg(running.pid, signal.SIGHUP)
    time.sleep(0.05)
    slow.unlink()
    assert running.wait(10) == 1
    assert (tree.there(), tree.links()) == (["1"], {"current": "releases/1"})


def test_one_that_is_interrupted_by_hand_ends_without_a_traceback(tree):
    slow = tree.folder / "slow/codementee-backend-before.service"
    slow.touch()
    running = start(tree, "hook", "before", "2", "keep")
    wait_until("the hook runs", tree.told, pause=0.01)
    running.send_signal(signal.SIGINT)
    running.wait(10)
    slow.unlink()
    assert (running.returncode, running.communicate()[1]) == (-signal.SIGINT, "")


def test_who_waits_for_a_service_that_is_crash_looping_is_ended_with_all_that_it_has_started(tree):
    systemctl = tree.folder / "bin/systemctl"
    systemctl.write_text("#!/bin/sh\necho MainPID=0; echo NRestarts=3\n")
    watch = " ".join(map(shlex.quote, tree.command("watch", "backend", parts=tuple(PARTS))))
    began = time.monotonic()
    # Another step may be at work meanwhile.
    with (tree.folder / "run/codementee.release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.run(
            ["timeout", "30", "sh", "-c", f"{watch} $$ & sleep 30; echo on"],
            env=tree.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert time.monotonic() - began < 15
    assert (waiting.returncode, waiting.stdout) == (-signal.SIGTERM, "")
    assert waiting.stderr.splitlines()[-1] == f"{BACKEND}: is crash-looping"


PARENT = """
import multiprocessing, time
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""


@pytest.mark.parametrize(("count", "is_worker"), [("2", True), ("12", True), ("1", False)])
def test_the_workers_of_uvicorn_are_known_by_how_python_starts_them(tmp_path, count, is_worker):
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), "--fd", "3", "--workers", count, "--proxy-headers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = parent.stdout.readline().strip()
        try:
            # The child may not run its own program yet.
            wait_until("it has run", lambda: "spawn_main" in Path(f"/proc/{child}/cmdline").read_text())
            assert release_host.System().workers(str(parent.pid)) == ({child} if is_worker else set())
        finally:
            os.kill(int(child), signal.SIGKILL)
            parent.wait(10)
    assert release_host.System().workers(str(parent.pid)) == set()


def test_who_watches_a_service_ends_with_the_one_who_waits(tree):
    watching = start(tree, "watch", "backend", "999999999")
    assert watching.wait(10) == 0
    assert watching.communicate()[1] == ""


# --- Facts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [PARTS, ("frontend",)], ids=["both parts", "the frontend alone"])
@pytest.mark.parametrize("listen", ["/run/codementee-backend.sock", "127.0.0.1:8001"])
def test_what_the_release_program_knows_of_a_site_comes_through_its_file_as_it_is(
    settings_with, parts, listen, tmp_path
):
    settings = settings_with(backend_listen=listen, services=[WORKER], backend_health_body='it\'s "w\u00e9ll" * \\ $x')
    known = facts(settings, parts)
    (tmp_path / "release-codementee.json").write_text(as_json(known))
    assert release_host.load("codementee", str(tmp_path)) == known
    if "backend" not in parts:
        assert (known.services, known.workers) == ([], [])
        return
    assert known.workers == ["mailer"]
    (backend,) = known.services
    is_tcp = not listen.startswith("/")
    assert backend.listen == (listen if is_tcp else "/run/codementee-backend/backend.sock")
    assert backend.link == ("" if is_tcp else listen)
    assert backend.next_socket == "/run/codementee-backend/next.sock"
    assert backend.health_body == 'it\'s "w\u00e9ll" * \\ $x'
    # As an interrupted release of an earlier version has left them.
    assert (known.lock, known.backups) == ("/run/codementee.release.lock", "/var/lib/slipway/kept")


# --- Calls -----------------------------------------------------------------------------------------------------------


def test_what_the_system_refuses_is_reported_in_one_line(tree):
    (tree.root / "next.new").mkdir()
    done = step(tree, "begin", "2", "discard")
    assert done.returncode == 1
    assert done.stderr.startswith("begin: [Errno 21] Is a directory:")
    assert len(done.stderr.splitlines()) == 1


def test_its_steps_are_explained_and_an_unknown_one_is_refused(tree):
    assert step(tree, "lead").returncode == 2
    for word in release_program.STEPS:
        assert f"    {word} " in str(release_program.__doc__)
    done = subprocess.run([sys.executable, tree.program, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(release_program.__doc__).strip()


def test_a_site_that_it_knows_nothing_of_is_reported(tree):
    command = [sys.executable, tree.program, "another", "settle"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{tree.folder}/lib/release-another.json does not exist; `slipway apply` installs it\n"


def test_it_runs_on_the_hosts_own_python_and_leaves_nothing_beside_it(tree):
    assert tree.program.read_text().startswith("#!/usr/bin/python3 -BES\n")
    (tree.folder / "json.py").write_text("raise SystemExit('of another')")
    env = {**tree.environment(), "PYTHONPATH": str(tree.folder), "PYTHONHOME": "/nowhere"}
    assert subprocess.run(tree.command("prune"), env=env, cwd=tree.folder, check=False).returncode == 0
    assert not [*(tree.folder / "lib").rglob("__pycache__")]
