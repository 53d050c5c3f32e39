"""Commands run in a clean environment, whatever the login sets."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from slipway.engine import environment

MARK = "0123456789abcdef"
# Those of them that are here are tried.
SHELLS = [shell for shell in ("sh", "bash", "dash", "ksh", "mksh", "zsh", "fish", "tcsh", "csh") if shutil.which(shell)]
# What a shell between here and the host might take for its own.
ODD = r"""printf '%s\n' 'a\\b' "it's" '!x' "$HOME" `echo back`; cat; exit 7"""


@pytest.fixture
def login(tmp_path: Path):
    """Runs a command by a login shell, as sshd does, with a hostile environment."""
    noisy = tmp_path / "noisy"
    noisy.write_text("echo noise; echo noise >&2; umask 077\n")
    env = {
        **{
            "HOME": str(tmp_path),
            "PATH": f"/usr/games:{os.environ['PATH']}",
            "BASH_ENV": str(noisy),
            "ENV": str(noisy),
        },
        **{"TMPDIR": "/nonexistent", "LC_ALL": "tr_TR.UTF-8", "LANG": "de_DE", "PYTHONPATH": "/x", "TMOUT": "1"},
        **{"http_proxy": "http://mine.invalid:3128", "SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22"},
    }

    def run(shell: str, command: str, text: str = "") -> subprocess.CompletedProcess[str]:
        words = ["sh", "-c", 'umask 077; exec "$@"', "sh", shell, "-c", command]
        return subprocess.run(words, env=env, input=text, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("size", [0, 5_000, 90_000], ids=["short", "of several words", "compressed"])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_comes_through_any_shell_as_it_is(login, tmp_path, shell, size):
    done = login(shell, environment.marked(f"{ODD} #{'x' * size}", MARK), "its input")
    assert done.returncode == 7
    _, mark, output = done.stdout.partition(f"{MARK}\n")
    assert mark
    assert output == f"a\\\\b\nit's\n!x\n{tmp_path}\nback\nits input"
    assert done.stderr.endswith(f"{MARK}\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_only_what_is_ours_or_the_host_s_way_to_the_network_is_in_the_environment(login, tmp_path, monkeypatch, shell):
    (tmp_path / "system").write_text(
        'LANG=de_DE\nhttp_proxy="http://proxy.invalid:3128" # of the company\nNO_PROXY="a.invalid, b.invalid"\n'
    )
    monkeypatch.setattr(environment, "SYSTEM", str(tmp_path / "system"))
    wanted = {
        **{"PATH": environment.PATH, "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)},
        **{"http_proxy": "http://proxy.invalid:3128", "NO_PROXY": "a.invalid,b.invalid"},
        "SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22",
    }
    asked = (
        (environment.marked("umask; exec env -0", MARK), ""),
        (environment.marked(f"{environment.inside()} umask; exec env -0", MARK), ""),
        (environment.shell(), "umask; env -0\n"),
    )
    for command, text in asked:
        output = login(shell, command, text).stdout.rpartition(f"{MARK}\n")[2]
        umask, _, found = output.removeprefix("noise\n").partition("\n")
        assert umask == "0022"
        variables = dict(line.split("=", 1) for line in found.split("\0") if line)
        assert {name: value for name, value in variables.items() if name not in ("PWD", "USER", "LOGNAME")} == wanted


def test_what_another_login_brings_on_the_way_to_root_counts_no_more(login):
    done = login(
        "sh", f"export LC_ALL=tr_TR TMPDIR=/x; {environment.inside()} umask; echo $LC_ALL $PATH ${{TMPDIR-unset}}"
    )
    assert done.stdout == f"0022\nC.UTF-8 {environment.PATH} unset\n"


def test_a_terminal_changes_neither_input_nor_outputs(login):
    command = environment.with_terminal("sh -c 'tty < /dev/tty; cat; echo wrong >&2; exit 3'")
    done = login("sh", command, "a\nb\x04c")
    assert (done.returncode, done.stderr) == (3, "wrong\n")
    tty, _, output = done.stdout.partition("\n")
    assert tty.startswith("/dev/")
    assert output == "a\nb\x04c"


def test_a_line_that_means_something_else_to_some_shell_is_no_command():
    with pytest.raises(AssertionError):
        environment.for_any_shell("echo 'quoted'")
