"""The output of steps, and of failed ones."""

from __future__ import annotations

import io
from pathlib import Path

import gevent
import pytest
from rich.console import Console

from slipway.lab.steps import Progress, StepFailed, remove, run


def test_a_command_gives_its_output() -> None:
    assert run("Say it", ["sh", "-c", 'echo "$WORD"; cat'], env={"WORD": "a"}, input="b") == "a\nb"


def test_a_failed_command_says_the_step_the_command_and_the_end_of_its_output() -> None:
    with pytest.raises(StepFailed) as failed:
        run("Make the bridge", ["sh", "-c", "seq 100; echo 'no such device' >&2; exit 3"])
    text = str(failed.value)
    assert text.startswith("Make the bridge: exit code 3\n")
    assert "sh -c" in text
    assert "  | no such device" in text
    assert "  | 1\n" not in text, "the end of the output is enough"
    assert failed.value.code == 3


def test_a_missing_command_is_named() -> None:
    with pytest.raises(StepFailed, match="no-such-command does not exist"):
        run("Try it", ["no-such-command"])


def test_a_command_that_does_not_end_is_ended() -> None:
    with pytest.raises(StepFailed, match=r"did not finish within 0\.2 s"):
        run("Wait", ["sleep", "60"], timeout=0.2)


def test_progress_is_one_plain_line_a_step_in_ci() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, force_terminal=False, width=80, highlight=False))
    with progress.step("Debian 12 tree") as note:
        note("cached")
    with pytest.raises(ValueError, match="bad"), progress.step("Boot"):
        raise ValueError("bad")
    assert out.getvalue() == "✓ Debian 12 tree (cached) 0.0 s\n✗ Boot 0.0 s\n"


def test_a_large_tree_is_removed_without_a_descriptor_for_every_folder(tmp_path: Path) -> None:
    gevent.get_hub()  # from its first use on it puts off closing folders
    folder = tmp_path / "tree"
    for name in map(str, range(50)):
        (folder / name / name).mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    remove(folder)
    remove(folder)
    assert not folder.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
