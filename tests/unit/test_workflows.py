"""The workflows for GitHub, without GitHub."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from slipway.cli.main import cli

PROJECT = Path(__file__).resolve().parents[2]
OURS, OF_A_PROJECT = PROJECT / ".github/workflows/tests.yml", PROJECT / "slipway/starter/files/workflow.yml.j2"


def commands(workflow: Path) -> list[str]:
    """The shell scripts of a workflow's steps."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def test_every_target_in_our_workflow_is_in_the_makefile():
    makefile = (PROJECT / "Makefile").read_text()
    targets = re.findall(r"\bmake ([a-z-]+)", "\n".join(commands(OURS)))
    assert targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_every_verb_in_the_workflow_of_a_project_is_there_with_its_options():
    found = re.findall(r"^ *slipway ([a-z]+)([^\n|>]*)", "\n".join(commands(OF_A_PROJECT)), re.MULTILINE)
    assert {verb for verb, _ in found} == {"apply", "plan", "verify"}
    for verb, rest in found:
        options = {name for parameter in cli.get_command(None, verb).params for name in parameter.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= options


def test_no_secret_of_a_workflow_is_in_a_command():
    """They are passed in the environment, as the text of a command is in the log."""
    for workflow in (OURS, OF_A_PROJECT):
        assert "secrets." not in "".join(commands(workflow))
