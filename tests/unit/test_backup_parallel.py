"""Tasks of several repositories: one that does not answer holds up no other one. In Pythons of their own, as on a
host: gevent, which pyinfra loads here, takes over processes and signals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

BEGIN = """\
import os, signal, sys, threading, time
from pathlib import Path
from slipway.backups.host import Busy, Failed, end_on_signals
from slipway.backups.parallel import at_once, limited

def said(failures):
    print([(type(one).__name__, str(one)) for one in failures])
"""


def said_by(script: str, place: Path) -> str:
    words = [sys.executable, "-c", BEGIN + textwrap.dedent(script), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_task_that_takes_too_long_is_given_up(tmp_path):
    script = """
    with limited(0.1, "repository far"):
        pass
    time.sleep(0.2)
    try:
        with limited(0.1, "repository far"):
            time.sleep(30)
    except Failed as failure:
        print(failure)
    """
    assert said_by(script, tmp_path) == "repository far: it was not done after 0.1 s"


def test_while_one_does_not_answer_the_others_run_again(tmp_path):
    script = """
    def near():
        with open(sys.argv[1] + "/near", "a") as file:
            file.write("x")

    def far():
        with limited(2, "repository far"):
            time.sleep(30)

    said(at_once({"far": far, "near": near}, pause=0.2))
    """
    assert said_by(script, tmp_path) == "[('Failed', 'repository far: it was not done after 2 s')]"
    assert 2 <= len((tmp_path / "near").read_text()) <= 10


def test_failures_come_with_their_text_and_kind_and_a_later_run_that_succeeds_takes_its_back(tmp_path):
    script = """
    def busy():
        raise Busy("another restic uses it")

    def breaks():
        raise RuntimeError("by itself")

    said(at_once({"near": busy, "far": breaks}, pause=9))

    def once():
        if not os.path.exists(sys.argv[1] + "/ran"):
            Path(sys.argv[1] + "/ran").touch()
            raise Failed("no route to host")

    said(at_once({"near": once, "far": lambda: time.sleep(2)}, pause=0.1))
    """
    first = "[('Busy', 'another restic uses it'), ('Failed', 'RuntimeError: by itself')]"
    assert said_by(script, tmp_path) == f"{first}\n[]"


def test_a_signal_ends_all_tasks(tmp_path):
    script = """
    def far():
        Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(30)

    end_on_signals()
    threading.Timer(2, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    try:
        at_once({"far": far, "near": far}, pause=0)
    except Failed as failure:
        print(failure)
    """
    assert said_by(script, tmp_path) == "ended by SIGTERM"
    processes = [one.name for one in tmp_path.iterdir()]
    assert len(processes) == 2
    assert not any(Path(f"/proc/{one}").exists() for one in processes)


def test_slices_are_stored_in_repositories_at_once(tmp_path):
    script = """
    from types import SimpleNamespace
    from slipway.backups import slicing

    def slice_within(facts, repository, seconds):
        Path(sys.argv[1], repository.name).touch()
        while repository.name == "far" and not Path(sys.argv[1], "near").exists():
            time.sleep(0.1)

    slicing._slice_within, slicing.PAUSE_SECONDS = slice_within, 60
    slicing.repositories = lambda facts: [SimpleNamespace(name=name) for name in ("far", "near")]
    with limited(20, "all"):
        slicing.take(None)
    print("done")
    """
    assert said_by(script, tmp_path) == "done"
