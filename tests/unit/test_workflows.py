"""The workflows for GitHub, without GitHub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from slipway.cli.main import cli

PROJECT = Path(__file__).resolve().parents[2]
WORKFLOWS = [PROJECT / ".github/workflows/tests.yml", PROJECT / "examples/workflows/slipway.yml"]


def commands(workflow: Path) -> list[str]:
    """The shell scripts of a workflow's steps."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_of_ours_in_a_workflow_is_there_with_its_options(workflow):
    makefile = (PROJECT / "Makefile").read_text()
    script = "\n".join(commands(workflow))
    targets = re.findall(r"\bmake ([a-z-]+)", script)
    assert targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
    for verb, rest in re.findall(r"bin/slipway ([a-z]+)([^\n|>]*)", script):
        options = {name for parameter in cli.commands[verb].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= options


def test_no_secret_of_a_workflow_is_in_a_command():
    """They come by the environment: a command's text is in the log."""
    for workflow in WORKFLOWS:
        assert "secrets." not in "".join(commands(workflow))
