"""The command line without a host: exit codes, where reports go, help and completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.cli import main
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Outcome
from support import typed
from support.fake_session import CHANGES, DOWN

PROJECT = Path(__file__).resolve().parents[2]


def slipway(*arguments, **environment):
    return typed.slipway(*arguments, cwd=PROJECT, env={**os.environ, "NO_COLOR": "", **environment})


@pytest.mark.parametrize(
    ("changes", "failures", "code"), [([], {}, 0), (CHANGES, {}, 2), ([], DOWN, 1), (CHANGES, DOWN, 1)]
)
def test_a_plans_exit_code_says_what_it_found(run, changes, failures, code):
    found, output, errors = run(Outcome(changes, [], 9, 1.0, failures), "plan", "lab")
    assert found == code
    assert ("Configure Nginx" in output) is bool(changes), "the plan of the other hosts is shown all the same"
    assert ("[two] Could not connect" in errors) is bool(failures)


def test_json_on_standard_output_is_alone_there(run):
    code, output, errors = run(Outcome(CHANGES, [], 9, 1.0, DOWN), "plan", "lab", "--json", "-")
    report = json.loads(output)
    assert (code, report["status"]) == (1, "failed")
    assert report["hosts"][1]["failure"] == DOWN["two"]
    assert "Could not connect" in errors


def test_reports_go_to_files_and_what_was_there_goes(run, tmp_path):
    plan, page = tmp_path / "plan.json", tmp_path / "plan.html"
    plan.write_text("old" * 9999)
    code, output, _ = run(Outcome(CHANGES, [], 9, 1.0), "plan", "lab", "--json", str(plan), "--html", str(page))
    assert code == 2
    assert json.loads(plan.read_text())["totals"]["changes"] == 1
    assert "Configure Nginx" in page.read_text()
    assert "Configure Nginx" in output


def test_a_report_without_reachable_hosts_says_so(run, tmp_path):
    plan = tmp_path / "plan.json"
    nothing = Outcome([], [], 0, 0.0, DOWN)
    code, _, _ = run(nothing, "plan", "lab", "--json", str(plan), error=RunFailed("no host"))
    assert (code, json.loads(plan.read_text())["status"]) == (1, "failed")


def test_a_report_that_cant_be_written_is_reported_before_a_host_is_asked(run):
    code, output, errors = run(Outcome([], [], 9, 1.0), "plan", "lab", "--json", "/nowhere/plan.json")
    assert (code, output) == (1, "")
    assert "/nowhere/plan.json" in errors
    assert not hasattr(run.session, "last")


def test_a_quiet_plan_says_nothing(run):
    assert run(Outcome(CHANGES, [], 9, 1.0), "plan", "lab", "--quiet") == (2, "", "")
    assert run(Outcome(CHANGES, [], 9, 1.0), "--quiet", "plan", "lab") == (2, "", "")


def test_only_and_limit_reach_the_session(run):
    run(Outcome([], [], 9, 1.0), "plan", "lab", "--only", "nginx,tls", "--only", "ssh", "--limit", "web")
    assert run.session.last.arguments == ("lab", "deploy.py", ("web",), (), ("nginx,tls", "ssh"))


def test_an_apply_carries_out_and_says_what_changed(run):
    code, output, _ = run(Outcome(CHANGES, [], 9, 1.0), "apply", "lab", "--yes")
    assert (code, run.session.last.said) == (0, ["applied"])
    assert "done: 1 of 9 operations changed something, 1.0 s\n  one: nginx 1" in output


def test_an_apply_without_a_change_is_noted_and_nothing_is_carried_out(run):
    code, output, _ = run(Outcome([], [], 9, 1.0), "apply", "lab", "--yes")
    assert (code, run.session.last.said) == (0, ["noted"])
    assert "nothing to change" in output


@pytest.mark.parametrize("changes", [[], CHANGES])
def test_an_apply_that_left_a_host_out_is_an_error_and_reports_the_others(run, changes):
    code, output, errors = run(Outcome(changes, [], 9, 1.0, DOWN), "apply", "lab", "--yes")
    assert code == 1
    assert "Could not connect" in errors
    assert ("nginx 1" in output) is bool(changes)


def test_an_apply_that_nobody_can_confirm_shows_even_the_quiet_what_is_to_be_confirmed(run, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, output, errors = run(Outcome(CHANGES, [], 9, 1.0), "apply", "lab", "--quiet")
    assert (code, run.session.last.said) == (1, [])
    assert "Configure Nginx" in output
    assert "confirm with --yes" in errors


WRONG = [
    ["plan", "nowhere"],
    ["plan", "--nonsense"],
    ["plan", "lab", "extra"],
    ["plan", "--json"],
    ["plan", "--json", "-", "--html", "-"],
    ["nonsense"],
    ["completion", "cmd"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_is_an_error_and_neither_in_sync_nor_pending(arguments):
    done = slipway(*arguments)
    assert done.returncode == 1
    assert "Usage: slipway" in done.stderr or "Error: " in done.stderr
    assert "Traceback" not in done.stderr


VERBS = [
    "plan",
    "apply",
    "release",
    "lock",
    "rollback",
    "releases",
    "maintenance",
    "unadopt",
    "verify",
    "status",
    "rebuild",
    "completion",
]


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples_that_are_in_order(verb):
    done = slipway(verb, "--help", COLUMNS="40")
    assert done.returncode == 0
    text, _, examples = done.stdout.partition("Examples:\n")
    assert max(map(len, text.splitlines())) <= 40
    parameters = {name for parameter in main.cli.get_command(None, verb).params for name in parameter.opts}
    assert f"slipway {verb}" in examples
    assert {word for word in examples.split() if word.startswith("--")} <= parameters


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete "), ("zsh", "#compdef"), ("fish", "complete ")])
def test_completion_prints_what_a_shell_takes(shell, word):
    done = slipway("completion", shell)
    assert done.returncode == 0
    assert word in done.stdout
    assert "_SLIPWAY_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("slipway pl", {"plan"}),
        ("slipway plan --limit w", {"web"}),
        ("slipway plan --only ng", {"nginx"}),
        ("slipway apply --only tls,mongo", {"tls,mongodb"}),
        ("slipway plan l", {"lab"}),
    ],
)
def test_a_shell_completes_verbs_roles_components_and_environments(typed, completed):
    words = typed.split()
    done = slipway(
        _SLIPWAY_COMPLETE="bash_complete", COMP_WORDS=typed, COMP_CWORD=str(len(words) - 1), XDG_CACHE_HOME="/nowhere"
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == completed, done.stderr


def test_no_color_is_passed_on_to_other_commands(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    program = (
        "import os; from slipway.cli.main import cli; cli(['--no-color', 'status', '--help'], standalone_mode=False)"
    )
    program += "; print(os.environ['NO_COLOR'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.endswith("\n1\n")


# A thread that is at work as the signal comes: gevent makes it a greenlet, as which paramiko runs a connection, too.
INTERRUPTED = """
import os, signal, threading, time
from slipway.cli import main

def verb(**_):
    threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    time.sleep(30)

signal.signal(signal.SIGINT, signal.default_int_handler)
main.cli = verb
main.main()
"""


def test_an_interrupt_ends_the_command_whatever_is_running():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "\ninterrupted; run it again to resume\n")
    assert time.monotonic() - began < 25


def test_what_a_connection_need_not_wait_for_is_not_loaded_before_it():
    """Each would put off the first packet of a plan; what shows it is loaded while the host is waited for."""
    late = ["asyncio", "unittest.mock", "rich.console", "invoke"]
    program = f"import sys, slipway.cli.main; print([name for name in {late} if sys.modules.get(name)])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 1, "slipway: the output, or a temporary file, can't be written: No space left on device\n"),
        (">&-", 0, ""),
        ("<&- >/dev/null 2>&-", 0, ""),
    ],
)
def test_output_that_can_not_be_written_is_no_traceback(redirection, code, said):
    program = f'exec "{sys.executable}" -m slipway settings {redirection}'
    done = subprocess.run(["sh", "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_verify_finds_its_tests_for_the_hosts_of_the_inventory(project):
    command = [sys.executable, "-m", "pytest", str(PROJECT / "tests/server"), "--collect-only", "-q"]
    command += ["--environment=production", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "[server.invalid]" in done.stdout
