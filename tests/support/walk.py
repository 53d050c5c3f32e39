"""A user who types what the README says, with a lab host as the server.

The user's shell sees a machine of its own, by a mount namespace: the server's name is in its /etc/hosts, its ~/.ssh has
the user's key, and it trusts who the lab's certificates are from. Nothing of the real machine's changes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import certifi

from slipway.lab import hosts
from support.checkout import PROJECT, copy_checkout
from support.lab_host import LabHost

# The namespace mounts the user's files over the machine's.
SHELL = """
set -e
cat {folder}/hosts > {folder}/hosts.now; mount --bind {folder}/hosts.now /etc/hosts
for roots in {certifi}; do mount --bind {folder}/authorities.pem $roots; done
mkdir -p ~root/.ssh; mount --bind {folder}/home/.ssh ~root/.ssh
cd {here}; [ ! -e .venv/bin/activate ] || . .venv/bin/activate
"""
# The user's $EDITOR: a script with an edit for each file.
EDITOR = """\
#!/usr/bin/env python3
import json, pathlib, sys
file = pathlib.Path(sys.argv[-1])
edits = json.loads(pathlib.Path({edits!r}).read_text())
name = next(name for name in edits if file.name.endswith(name))
text = file.read_text()
for old, new in edits[name]:
    assert not old or old in text, f"{{old!r}} is not in {{file}}"
    text = text.replace(old, new) if old else f"{{text}}\\n{{new}}\\n"
file.write_text(text)
"""


def commands_of_readme(heading: str) -> list[str]:
    """The commands of the README's first indented block below a heading, without their comments."""
    section = (PROJECT / "README.md").read_text().split(f"## {heading}\n", 1)[1]
    block = re.search(r"(?:^    .*\n)+", section, re.MULTILINE)
    assert block, f"README.md has no commands below {heading}"
    return [line.partition(" # ")[0].strip() for line in block[0].splitlines()]


class User:
    """A user with a fresh clone of Slipway, a shell and an editor. `here` is the shell's folder: the clone at first."""

    def __init__(self, folder: Path, server: LabHost, name: str) -> None:
        """`name` is the user's name for the server."""
        self.folder, self.clone, self.server, self.name = folder, folder / "slipway", server, name
        home = folder / "home"
        (home / ".ssh").mkdir(mode=0o700, parents=True)
        record = server.record
        for suffix in ("", ".pub"):
            shutil.copy(f"{record.key_file}{suffix}", home / f".ssh/id_ed25519{suffix}")
        # The user accepts a new host's key.
        (home / ".ssh/config").write_text("StrictHostKeyChecking accept-new\n")
        names = Path("/etc/hosts").read_text()
        (folder / "hosts").write_text(f"{names}\n{record.address} {name}\n")
        roots = hosts.trusted_roots(server.lab).read_text()
        (folder / "authorities.pem").write_text(Path(certifi.where()).read_text() + roots)
        copy_checkout(self.clone)
        self.here, self.certifi = self.clone, [certifi.where()]
        # `make install` finds nothing to do: another installation takes half a minute.
        for name in ("requirements.lock", "pyproject.toml"):
            os.utime(self.clone / name, (0, 0))
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLIPWAY")},
            "HOME": str(home),
            "EDITOR": str(folder / "editor"),
            # The virtual environment is the tests' own, with the project installed from another folder.
            "PYTHONPATH": str(self.clone),
            "SSL_CERT_FILE": str(folder / "authorities.pem"),
            "npm_config_cache": str(Path.home() / ".npm"),
        }

    def has_pipx(self) -> None:
        """Give the user pipx, with its programs in the path, and none of the tests' own packages."""
        tools = self.folder / "tools"
        subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
        subprocess.run([str(tools / "bin/pip"), "install", "--quiet", "pipx"], check=True)
        del self.env["PYTHONPATH"]
        self.env |= {
            "PIPX_HOME": str(self.folder / "pipx"),
            "PIPX_BIN_DIR": str(self.folder / "bin"),
            "PIPX_DEFAULT_PYTHON": str(Path(sys.executable).resolve()),
            # As on a machine with pip's defaults: its cache is the machine's.
            "PIP_CACHE_DIR": str(Path.home() / ".cache/pip"),
            "PATH": f"{self.folder}/bin:{tools}/bin:{os.environ['PATH']}",
        }

    def goes_to(self, folder: Path) -> None:
        """Change the shell's folder; the programs that pipx has installed trust the lab's certificates, too."""
        self.here = folder
        found = (self.folder / "pipx/venvs").glob("*/lib/python*/site-packages/certifi/cacert.pem")
        self.certifi = [certifi.where(), *map(str, found)]

    def edits(self, edits: dict[str, list[tuple[str, str]]]) -> None:
        """Let the editor replace text in files whose name ends so; "" is the end of the file."""
        (self.folder / "edits.json").write_text(json.dumps(edits))
        editor = self.folder / "editor"
        editor.write_text(EDITOR.format(edits=str(self.folder / "edits.json")))
        editor.chmod(0o755)

    def _argv(self, command: str) -> list[str]:
        shell = SHELL.format(
            folder=shlex.quote(str(self.folder)), here=shlex.quote(str(self.here)), certifi=shlex.join(self.certifi)
        )
        # A terminal: without one there are no questions.
        on_terminal = f"exec script -qec {shlex.quote(command)} /dev/null"
        return ["unshare", "--mount", "bash", "-c", f"{shell}\n{on_terminal}"]

    def types(self, command: str, answer: str = "") -> tuple[int, str]:
        """The exit code of a command and its output on the user's terminal."""
        done = subprocess.run(
            self._argv(command), env=self.env, input=answer, capture_output=True, text=True, timeout=3600, check=False
        )
        shown = done.stdout.replace("\r\n", "\n") + done.stderr
        assert "Traceback" not in shown, shown
        return done.returncode, shown

    def types_and_interrupts(self, command: str, answer: str, when: str) -> tuple[int, str]:
        """The same, with a Ctrl-C as soon as `when` is shown."""
        running = subprocess.Popen(
            self._argv(command),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert running.stdin
        assert running.stdout
        running.stdin.write(answer)
        running.stdin.flush()
        lines = []
        for line in running.stdout:
            lines.append(line)
            if when in line:
                running.stdin.write("\x03")
                running.stdin.flush()
                break
        rest, _ = running.communicate(timeout=3600)
        return running.returncode, "".join([*lines, rest]).replace("\r\n", "\n")
