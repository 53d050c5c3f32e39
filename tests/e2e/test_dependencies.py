"""Projects that declare their dependencies in each supported form (tests/projects) are released unchanged."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest

from slipway.lab import network
from support.lab_host import LabHost
from support.package_index import PackageIndex
from support.projects import copied
from support.releases import IMPATIENT, ROOT

pytestmark = pytest.mark.thorough

ONLY = ("--only", "backend", "--data", "backend_app=main:app", *IMPATIENT)


def options(source: Path, **settings: str) -> tuple[str, ...]:
    given = {"backend_source": str(source), **settings}
    return (*ONLY, *(word for name, value in given.items() for word in ("--data", f"{name}={value}")))


def packages(server: LabHost) -> dict[str, str]:
    """The packages of the live backend's environment, requested as a visitor."""
    found: dict[str, str] = server.site().get("/api/packages").json()
    return found


def test_a_list_without_hashes_is_locked_once_and_again_after_a_change(server: LabHost, tmp_path: Path) -> None:
    source, before = copied("utf16 nested", tmp_path), server.current_release()
    done = server.slipway("release", "lab", "--yes", *options(source))
    assert done.returncode == 1
    assert "run `slipway lock`, and commit pylock.slipway.toml" in done.stderr
    assert server.current_release() == before

    lock = ("lock", "lab", "--data", f"backend_source={source}")
    done = server.slipway(*lock)
    assert done.returncode == 0, done.stderr
    server.release(*options(source))
    found = packages(server)
    # The extras, and nothing for another system; the versions of the list, in all files.
    assert {"fastapi": "0.115.0", "uvicorn": "0.30.6"}.items() <= found.items()
    assert "uvloop" in found
    assert "pywin32" not in found
    environment = server.ssh(f"readlink {ROOT}/current/backend/.venv")

    base = source / "requirements/base.txt"
    base.write_bytes(base.read_bytes().replace(b"fastapi==0.115.0", b"fastapi==0.115.2"))
    done = server.slipway("release", "lab", "--yes", *options(source))
    assert done.returncode == 1
    assert "pylock.slipway.toml is older than requirements.txt: run `slipway lock`" in done.stderr
    assert packages(server)["fastapi"] == "0.115.0"
    done = server.slipway(*lock)
    assert "fastapi 0.115.0 -> 0.115.2" in done.stdout
    server.release(*options(source))
    assert packages(server)["fastapi"] == "0.115.2"
    assert server.ssh(f"readlink {ROOT}/current/backend/.venv") != environment

    # Comments, order and line endings do not change the environment.
    environment = server.ssh(f"readlink {ROOT}/current/backend/.venv")
    base.write_bytes(b"# the same\n" + base.read_bytes().decode("utf-8-sig").replace("\r", "").encode())
    server.release(*options(source))
    assert server.ssh(f"readlink {ROOT}/current/backend/.venv") == environment


@pytest.mark.parametrize(
    ("name", "is_locked"),
    [
        ("plain-requirements", False),
        ("pyproject-alone", False),
        ("hashed-extras", True),
        ("uv-lock", True),
        ("poetry-lock", True),
        ("pipfile-lock", True),
    ],
)
def test_a_project_is_released_as_it_is(server: LabHost, tmp_path: Path, name: str, is_locked: bool) -> None:
    source = copied(name, tmp_path)
    done = server.slipway("lock", "lab", "--data", f"backend_source={source}")
    assert done.returncode == 0, done.stderr
    assert (source / "pylock.slipway.toml").exists() is not is_locked
    server.release(*options(source))
    found = packages(server)
    assert {"fastapi": "0.115.0", "uvicorn": "0.30.6"}.items() <= found.items()
    # A development dependency.
    assert "httpx" not in found
    files = server.ssh(f"find $(readlink {ROOT}/current/backend/.venv) ! -user root")
    assert files == ""


def test_a_package_without_a_wheel_is_built_by_nobody_where_a_setting_allows_it(
    server: LabHost, tmp_path: Path
) -> None:
    source = copied("built-packages", tmp_path)
    done = server.slipway("lock", "lab", "--data", f"backend_source={source}")
    assert done.returncode == 1
    assert "python-multipart==0.0.5 has no wheel for Python 3.11 on Linux" in done.stderr
    allowed = {"backend_build_packages": '["python-multipart"]'}
    done = server.slipway("lock", "lab", *options(source, **allowed)[2:])
    assert done.returncode == 0, done.stderr
    assert (source / "pylock.slipway-build.toml").exists()
    server.release(*options(source, **allowed))
    assert packages(server)["python-multipart"] == "0.0.5"
    # The build's processes are gone, and so is the content of its folder.
    assert (
        server.ssh(f"find {ROOT}/venvs/ -nouser -o -name '*.tar'; ls /var/cache/slipway-build-codementee-python/") == ""
    )

    # A source that is not the one that was locked is not built.
    lock = source / "pylock.slipway.toml"
    text = lock.read_text()
    sdist = text.partition("python-multipart-0.0.5.tar.gz")[2].partition('sha256 = "')[2].partition('"')[0]
    lock.write_text(text.replace(sdist, "0" * 64))
    done = server.slipway("release", "lab", "--yes", *options(source, **allowed))
    assert done.returncode == 1
    assert "the source of python-multipart==0.0.5 has another hash than its lock" in done.stderr


def test_a_large_package_of_a_private_index_is_installed_and_nobody_reads_the_login_to_it(
    server: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, secret = copied("plain-requirements", tmp_path), "s3cret-of-the-index"
    private = PackageIndex(tmp_path / "index")
    private.add("ourown", "1.5", data=random.Random(1).randbytes(2**20) * 300)
    with private.behind_login("deploy", secret, network.of(server.lab).gateway) as url:
        with (source / "requirements.txt").open("a") as file:
            file.write(f"--extra-index-url {url.replace('://', '://old:one@')}\nourown\n")
        lock = ("lock", "lab", "--data", f"backend_source={source}", "--data")
        done = server.slipway(*lock, "python_mirror=https://example.org")
        assert done.returncode == 1
        assert f'set python_indexes = {{"private": "{url}"}}' in done.stderr
        indexes = json.dumps({"company": url})
        assert "answers 401" in server.slipway(*lock, f"python_indexes={indexes}").stderr
        for name, value in {"USERNAME": "deploy", "PASSWORD": secret}.items():
            monkeypatch.setitem(server.env, f"SLIPWAY_SECRET_UV_INDEX_COMPANY_{name}", value)
        done = server.slipway(*lock, f"python_indexes={indexes}")
        assert done.returncode == 0, done.stderr
        released = server.release(*options(source, python_indexes=indexes))
    assert packages(server)["ourown"] == "1.5"
    installed = server.ssh(
        f"find -L {ROOT}/current/backend/.venv -name data.bin -size 300M; ls {ROOT}/venvs/.uv 2>&1; true"
    )
    assert "/ourown/data.bin" in installed
    assert "No such file" in installed, "what was downloaded is still there"
    assert secret not in done.stdout + released.stdout + (source / "pylock.slipway.toml").read_text()
    # Not in plain: a command line would have it.
    known = f"s=$(echo {base64.b64encode(secret.encode()).decode()} | base64 -d)"
    found = server.ssh(f"{known}; grep -rls $s /etc /usr/lib/slipway /var/log /var/www /run/log; true")
    assert found == "/etc/codementee/credentials/UV_INDEX_COMPANY_PASSWORD"
    assert server.ssh(f"{known}; journalctl --no-pager | grep -c $s; stat -c %a {found}").split() == ["0", "600"]
    # Who names no index has no login to it.
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delitem(server.env, f"SLIPWAY_SECRET_UV_INDEX_COMPANY_{name}")
    server.apply(*options(source))
    assert server.ssh(f"[ -e {found} ] || echo gone") == "gone"


def problems_of(server: LabHost, *arguments: str) -> Any:
    done = server.slipway("release", "lab", "--yes", *arguments)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    return done.stderr


def test_what_cant_be_installed_is_reported_before_anything_is_touched(server: LabHost, tmp_path: Path) -> None:
    before = server.ssh(f"ls {ROOT}/releases {ROOT}/venvs")
    newer = copied("uv-lock", tmp_path)
    for file in ("pyproject.toml", "uv.lock"):
        text = (newer / file).read_text()
        (newer / file).write_text(text.replace('requires-python = ">=3.10"', 'requires-python = ">=3.12"'))
    said = problems_of(server, *options(newer))
    assert 'pyproject.toml needs Python >=3.12; the server has 3.11: set python_version = "3.12"' in said
    without = copied("hashed-extras", tmp_path)
    text = (without / "requirements.txt").read_text()
    lines = text.split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("starlette=="))
    end = next(number for number in range(first + 1, len(lines)) if not lines[number].startswith(" "))
    (without / "requirements.txt").write_text("\n".join(lines[:first] + lines[end:]))
    assert "found no starlette, which its packages depend on" in problems_of(server, *options(without))
    assert server.ssh(f"ls {ROOT}/releases {ROOT}/venvs") == before
