"""Packages that a server builds from their sources."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from uv import find_uv_bin

from slipway.dependencies import builds, lockfile, resolve
from slipway.dependencies.model import File, Locked, Package
from slipway.tasks.python_environment import REQUIREMENTS, UV, Environment, script
from support.package_index import PackageIndex


def test_what_is_built_is_built_by_nobody_in_a_sandbox_of_sources_that_are_checked(settings_with):
    source = File("0" * 64, "cffi-1.15.0.tar.gz", url="https://files.example.org/cffi-1.15.0.tar.gz")
    package = Package("cffi", "1.15.0", (source,))
    locked = Locked(
        "uv.lock", (package,), built=frozenset({"cffi"}), build_packages=(Package("six", "1", (File("1"),)),)
    )
    wanted = Environment(locked)
    assert wanted.files == {
        REQUIREMENTS: "",
        ".built.lock": f"cffi==1.15.0 \\\n    --hash=sha256:{'0' * 64}\n",
        ".build.lock": "six==1 \\\n    --hash=sha256:1\n",
    }
    steps = script(settings_with(), wanted, "folder")
    (building,) = [step for step in steps if "uv --quiet build" in step]
    assert building.startswith("systemd-run ")
    assert "-p DynamicUser=yes -p ProtectHome=yes" in building
    # Root installs wheels alone.
    assert [
        step for step in steps if "pip install" in step and "--only-binary" not in step and "--no-index" not in step
    ] == []
    without = Environment(Locked("uv.lock", (package,)))
    assert wanted.key != without.key
    assert not [step for step in script(settings_with(), without, "folder") if "systemd-run" in step]


BACKEND = """
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    secrets = sorted(name for name in os.environ if "UV_INDEX" in name)
    with zipfile.ZipFile(folder + "/native-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("native.py", f"SECRETS = {secrets}")
        wheel.writestr("native-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: native\\nVersion: 1.0\\n")
        tags = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("native-1.0.dist-info/WHEEL", tags)
        wheel.writestr("native-1.0.dist-info/RECORD", "")
    return "native-1.0-py3-none-any.whl"
"""
SYSTEM = '[build-system]\nrequires = ["ourbuild"]\nbuild-backend = "ourbuild"\n'
# In place of systemd's: the last four words are a shell and its script.
RUN = '#!/bin/sh\nwhile [ $# -gt 3 ]; do shift; done\nmkdir -p "$CACHE_DIRECTORY"\nexec "$@"\n'


@pytest.fixture
def built(settings_with, tmp_path, monkeypatch):
    """Runs the script of an environment whose one package is built, from a private index with a login."""
    private, backend = PackageIndex(tmp_path / "index"), tmp_path / "backend"
    private.add("ourbuild", "2.0", module=BACKEND)
    private.add_source("native", "1.0", {"pyproject.toml": SYSTEM})
    backend.mkdir()
    (backend / "requirements.txt").write_text("native==1.0\n")
    with private.behind_login("deploy", 'p"ss \\word') as url:
        settings = settings_with(python_indexes={"our": url})
        for name, value in {"USERNAME": "deploy", "PASSWORD": 'p"ss \\word'}.items():
            monkeypatch.setenv(f"SLIPWAY_SECRET_UV_INDEX_OUR_{name}", value)
        others, names = tuple(settings.indexes), {"native"}
        inputs = resolve.inputs(backend, "", names, others)
        assert inputs
        (backend / lockfile.NAME).write_text(lockfile.make(backend / lockfile.NAME, inputs, "3.11"))
        locked = resolve.locked(backend, "", "3.11.2", names, with_builds=False, indexes=others)
        (backend / builds.NAME).write_text(builds.lock(backend, locked, "3.11"))
        wanted = Environment(resolve.locked(backend, "", "3.11.2", names, indexes=others), sys.executable)
        credentials = tmp_path / "credentials"
        credentials.mkdir()
        for name, value in others[0].login:
            (credentials / name).write_text(value)
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "systemd-run").write_text(RUN)
        (programs / "systemd-run").chmod(0o755)
        (tmp_path / "venvs").mkdir()

        def build(change: Callable[[str], str] = str) -> subprocess.CompletedProcess[str]:
            for name, text in wanted.files.items():
                (backend / name).write_text(text)
            steps = "; ".join(script(settings, wanted, str(backend)))
            for there, here in {
                settings.site_root: str(tmp_path),
                settings.credentials_folder: str(credentials),
                UV: find_uv_bin(),
            }.items():
                steps = steps.replace(there, here)
            env = {
                "PATH": f"{programs}:/usr/bin:/bin",
                "CACHE_DIRECTORY": str(tmp_path / "cache"),
                "HOME": str(tmp_path),
            }
            return subprocess.run(
                ["sh", "-euc", change(steps)], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
            )

        yield build


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_a_package_is_built_from_a_private_index_whose_login_its_code_does_not_get(built, tmp_path):
    done = built()
    assert done.returncode == 0, done.stderr
    (module,) = tmp_path.glob("venvs/*/lib/python*/site-packages/native.py")
    assert module.read_text() == "SECRETS = []"
    assert not list(tmp_path.glob("venvs/*/lib/python*/site-packages/ourbuild.py"))
    assert [path.name for path in (tmp_path / "venvs").glob(".wheels*")] == []


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_another_source_than_the_locked_one_is_not_built(built, tmp_path):
    done = built(lambda steps: re.sub(r"echo [0-9a-f]{64}'  '", f"echo {'0' * 64}'  '", steps))
    assert done.returncode == 1
    assert "the source of native==1.0 has another hash than its lock" in done.stderr
    assert not (tmp_path / "cache").exists()
    assert [path.name for path in (tmp_path / "venvs").glob(".wheels*")] == []


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_an_environment_that_was_removed_while_it_was_installed_is_not_complete(built, tmp_path):
    done = built(lambda steps: steps.replace("; sync -f $venv", "; rm -r $venv; mkdir $venv; sync -f $venv"))
    assert done.returncode == 1
    assert "was removed during the installation; run it again" in done.stderr
    assert not list(tmp_path.glob("venvs/*/.complete"))
    done = built()
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("venvs/*/.complete"))
