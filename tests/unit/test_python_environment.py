"""The Python environment of a release, and uv, which creates it."""

from __future__ import annotations

import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from pyinfra.api.exceptions import PyinfraError
from uv import find_uv_bin

from slipway.dependencies import resolve, uv
from slipway.dependencies.model import File, Locked, Package
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.settings.limits import SHIPPED
from slipway.tasks import python_environment
from slipway.tasks.python_environment import (
    PYTHONS,
    REQUIREMENTS,
    SYSTEM_PYTHON,
    UV,
    Environment,
    fetch_python,
    fetch_uv,
    python_marker,
    script,
)
from support import python_builds

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("is_complete", [True, False])
def test_only_dependencies_that_are_locked_by_their_hashes_are_installed(settings_with, is_complete):
    wanted = Environment(Locked("requirements.txt", (), is_complete=is_complete))
    (install,) = [step for step in script(settings_with(), wanted, "folder") if "pip install" in step]
    assert "--require-hashes --only-binary :all:" in install
    # What a person has listed may lack something.
    assert (f" --no-deps -r folder/{REQUIREMENTS}" in install) == is_complete


def test_an_environment_is_named_by_what_is_in_it_alike_here_and_on_the_host(settings_with, tmp_path):
    package = Package("fastapi", "0.115.0", (File("0" * 64), File("1" * 64)), extras=("all",))
    version = subprocess.run([sys.executable, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    wanted = Environment(Locked("requirements.txt", (package,)), sys.executable, version)
    (tmp_path / REQUIREMENTS).write_text(wanted.files[REQUIREMENTS])
    (name,) = [step for step in script(settings_with(), wanted, str(tmp_path)) if "venv=" in step]
    done = subprocess.run(["sh", "-euc", f"{name}; echo $venv"], capture_output=True, text=True, check=True)
    assert done.stdout == f"/var/www/codementee/venvs/{wanted.key}\n"
    turned = replace(package, files=package.files[::-1])
    assert replace(wanted, locked=Locked("uv.lock", (turned,))).key == wanted.key
    assert replace(wanted, version="3.12.1").key != wanted.key
    assert replace(wanted, locked=Locked("uv.lock", (replace(package, version="1"),))).key != wanted.key


def test_a_login_to_an_index_is_in_the_environment_of_uv_and_in_no_command(settings_with, tmp_path, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_UV_INDEX_OUR_OWN_PASSWORD", "s3cret 'p")
    settings = settings_with(python_indexes={"our-own": "https://pypi.example.org/simple"})
    (index,) = settings.indexes
    assert index.login == (("UV_INDEX_OUR_OWN_PASSWORD", "s3cret 'p"),)
    steps = script(settings, Environment(Locked("uv.lock", ())), "folder")
    assert not any("s3cret" in step for step in steps)
    (install,) = [step for step in steps if "pip install" in step]
    (tmp_path / "UV_INDEX_OUR_OWN_PASSWORD").write_text("s3cret 'p")
    uv_here = tmp_path / "uv"
    uv_here.write_text("#!/bin/sh\necho $UV_INDEX\necho $UV_INDEX_OUR_OWN_PASSWORD\n")
    uv_here.chmod(0o755)
    told = install.replace(settings.credentials_folder, str(tmp_path)).replace(UV, str(uv_here)).rpartition("; ")[2]
    told = f"venv=here; {told}; echo after ${{UV_INDEX-}}"
    done = subprocess.run(["sh", "-euc", told], capture_output=True, text=True, check=True)
    assert done.stdout == "our-own=https://pypi.example.org/simple\ns3cret 'p\nafter\n"


def test_without_an_index_nothing_of_the_installation_is_another(settings_with):
    steps = script(settings_with(), Environment(Locked("uv.lock", ())), "folder")
    assert not any("UV_INDEX" in step for step in steps)


def test_the_uv_of_the_server_is_the_one_that_is_locked_here():
    locked = re.search(
        r"^uv==(\S+) \\\n((?: +--hash=\S+(?: \\)?\n)+)", (PROJECT / "requirements.lock").read_text(), re.M
    )
    assert locked
    assert locked[1] == uv.VERSION
    assert f"--hash=sha256:{uv.WHEEL_SHA256}" in locked[2].split()
    assert f"uv=={uv.VERSION}" in (PROJECT / "pyproject.toml").read_text()


@pytest.mark.skipif(
    (sys.platform, *platform.libc_ver()[:1], platform.machine()) != ("linux", "glibc", "x86_64"),
    reason="this machine has another wheel of uv",
)
def test_the_uv_of_the_server_has_the_size_of_the_one_here():
    assert Path(find_uv_bin()).stat().st_size == uv.SIZE


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """Runs the command that fetches uv, with `content` as the wheel's program."""

    def fetch(content: str, digest: str = "") -> subprocess.CompletedProcess[str]:
        with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
            wheel.writestr(uv.MEMBER, content)
        curl = tmp_path / "bin/curl"
        curl.parent.mkdir(exist_ok=True)
        curl.write_text(f'#!/bin/sh\nwhile [ "$1" != --output ]; do shift; done; cp {tmp_path}/wheel "$2"\n')
        curl.chmod(0o755)
        found = hashlib.sha256((tmp_path / "wheel").read_bytes()).hexdigest()
        command = (
            fetch_uv(SHIPPED)
            .replace(uv.WHEEL_SHA256, digest or found)
            .replace(UV.rpartition("/")[0], str(tmp_path / "lib"))
        )
        env = {"PATH": f"{curl.parent}:/usr/bin:/bin", "LC_ALL": "C"}
        return subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)

    return fetch


def test_uv_is_put_in_its_place_whole_and_nothing_else_is_left(fetch, tmp_path):
    assert fetch("#!/bin/sh\necho uv 0\n").returncode == 0
    assert [path.name for path in (tmp_path / "lib").iterdir()] == ["uv"]
    assert (tmp_path / "lib/uv").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(("content", "digest"), [("#!/bin/sh\n", "0" * 64), ("#!/bin/sh\nexit 1\n", "")])
def test_a_wheel_with_another_hash_and_a_program_that_does_not_run_replace_nothing(fetch, tmp_path, content, digest):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/uv").write_text("before")
    assert fetch(content, digest).returncode != 0
    assert {path.name: path.read_text() for path in (tmp_path / "lib").iterdir()} == {"uv": "before"}


def test_the_script_is_one_that_a_shell_takes(settings_with):
    for built in (frozenset[str](), frozenset({"cffi"})):
        steps = script(settings_with(), Environment(Locked("uv.lock", (), built=built)), "$new/backend")
        done = subprocess.run(["sh", "-n", "-c", "; ".join(steps)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


CONFIGURATION = b"# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"


@dataclass
class Mirror:
    """`requested` are the paths that were asked for."""

    url: str
    archive: bytes
    requested: list[str]


@pytest.fixture
def mirror():
    """A server that answers every request with a stand-in for a build of Python: a program that tells its version."""
    data, requested = io.BytesIO(), []
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        program = b"#!/bin/sh\necho Python 3.12.9\n"
        # uv corrects the paths in it.
        configuration = "lib/python3.12/_sysconfigdata__linux_x86_64-linux-gnu.py"
        for path, content in {"bin/python3.12": program, configuration: CONFIGURATION}.items():
            member = tarfile.TarInfo(f"python/{path}")
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(data.getvalue())))
            self.end_headers()
            self.wfile.write(data.getvalue())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield Mirror(f"http://127.0.0.1:{server.server_port}", data.getvalue(), requested)
        server.shutdown()
        serving.join()


OF_3_12 = f"{PYTHONS}/cpython-3.12-linux-x86_64-gnu/bin/python3.12"


def test_a_python_is_fetched_from_the_mirror_and_checked_by_the_hash_that_uv_knows(mirror, tmp_path):
    """The hash is that of the stand-in: uv's list of builds is replaced by one that has it alone."""
    known = tmp_path / "builds.json"
    known.write_text(python_builds.listed("3.12.9", mirror.archive))
    folder = tmp_path / "python"
    folder.mkdir()
    command = fetch_python(OF_3_12, "3.12", mirror.url).replace(UV, find_uv_bin()).replace(PYTHONS, str(folder))
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_PYTHON_DOWNLOADS_JSON_URL": str(known)}
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [unquote(path) for path in mirror.requested] == [f"/{python_builds.place('3.12.9')}"]
    program = OF_3_12.replace(PYTHONS, str(folder))
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "Python 3.12.9\n"
    assert Path(python_marker("3.12").replace(PYTHONS, str(folder))).exists()


def test_a_python_that_is_not_the_one_that_uv_knows_is_not_installed(mirror, tmp_path):
    command = fetch_python(OF_3_12, "3.12", mirror.url).replace(UV, find_uv_bin()).replace(PYTHONS, str(tmp_path))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Hash mismatch for `cpython-3.12" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if "python3" in path.name or "by-uv" in path.name]


@pytest.mark.parametrize(
    ("setting", "machine", "expected"),
    [
        ("", {"python": "3.11.2"}, (SYSTEM_PYTHON, "3.11.2")),
        ("3.11", {"python": "3.11.2"}, (SYSTEM_PYTHON, "3.11.2")),
        ("3.11", {"python": "", "os": "debian", "release": "12"}, (SYSTEM_PYTHON, "3.11")),
        ("", {"python": "", "os": "ubuntu", "release": "24.04"}, (SYSTEM_PYTHON, "3.12")),
        ("3.12", {"python": "3.11.2"}, (f"{PYTHONS}/cpython-3.12-linux-x86_64-gnu/bin/python3.12", "3.12")),
    ],
)
def test_the_systems_python_runs_the_backend_unless_another_version_is_set(
    settings_with, monkeypatch, setting, machine, expected
):
    monkeypatch.setattr(python_environment, "host", SimpleNamespace(get_fact=lambda fact: machine))
    assert python_environment.python_here(settings_with(python_version=setting)) == expected


@pytest.fixture
def on_host(monkeypatch):
    """The environment of a project's next release, on a host with Python 3.11 and some environments."""

    def on_host(settings, *there: str) -> tuple[Environment, list[str]]:
        machine = {"python": "3.11.2", "glibc": "2.36", "disk:/var/www": "/ 9000"}
        facts = {Machine: machine, Output: "\n".join(f"{key}/.complete" for key in there)}
        said: list[str] = []
        monkeypatch.setattr(
            python_environment, "host", SimpleNamespace(name="one", get_fact=lambda fact, **arguments: facts[fact])
        )
        monkeypatch.setattr(python_environment, "notes", SimpleNamespace(note=said.append))
        return python_environment.of(settings), said

    return on_host


def test_a_project_that_needs_another_python_is_refused_even_where_its_packages_are_there(
    settings_with, on_host, tmp_path
):
    source = Path(shutil.copytree(PROJECT / "tests/projects/uv-lock", tmp_path / "backend"))
    settings = settings_with(backend_source=str(source))
    found, said = on_host(settings)
    assert said == ["dependencies: 16 packages of uv.lock"]
    for file in ("pyproject.toml", "uv.lock"):
        text = (source / file).read_text()
        (source / file).write_text(text.replace('requires-python = ">=3.10"', 'requires-python = ">=3.12"'))
    python_environment._locked_once.cache_clear()
    with pytest.raises(PyinfraError, match="nothing was changed") as error:
        on_host(settings, found.key)
    assert 'pyproject.toml needs Python >=3.12; the server has 3.11: set python_version = "3.12"' in str(error.value)


def test_a_list_with_hashes_is_looked_up_on_the_index_until_its_environment_is_there(
    settings_with, on_host, index, tmp_path
):
    source = tmp_path / "backend"
    source.mkdir()
    index.add("uvicorn", "1.0", python=">=3.12")
    (source / "requirements.txt").write_text(f"uvicorn==1.0 --hash=sha256:{index.digest('uvicorn', '1.0')}\n")
    settings = settings_with(backend_source=str(source))
    with pytest.raises(PyinfraError, match=r"uvicorn==1\.0 needs Python >=3\.12"):
        on_host(settings)
    key = Environment(resolve.locked(source, "", "3.11.2"), version="3.11.2").key
    assert on_host(settings, key)[0].key == key
