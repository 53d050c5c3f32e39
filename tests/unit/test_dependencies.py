"""The file that lists a project's dependencies, Slipway's lock, and the check against a server."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from slipway.dependencies import explain, find, judge, lockfile, resolve, uv
from slipway.dependencies.model import DependenciesError, File, Host, Locked, Package
from support.package_index import PackageIndex

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
DIGEST = "a" * 64


def project(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def problems(folder: Path, named: str = "") -> list[str]:
    with pytest.raises(DependenciesError) as error:
        resolve.locked(folder, named, "3.11.2")
    return error.value.problems


# --- Which file -------------------------------------------------------------------------------------------------------


def test_of_several_lists_the_one_for_production_counts_and_a_setting_names_another(tmp_path):
    (tmp_path / "requirements").mkdir()
    for name in ("base", "dev", "prod"):
        (tmp_path / f"requirements/{name}.txt").write_text(f"{name}\n")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    assert find.choose(tmp_path, "").name == "requirements/prod.txt"
    assert resolve.inputs(tmp_path, "requirements/base.txt").requirements == ("base",)
    (tmp_path / "requirements.txt").write_text("all\n")
    assert find.choose(tmp_path, "").name == "requirements.txt"


def test_two_locks_are_one_error_until_a_setting_names_one(tmp_path):
    folder = Path(shutil.copytree(PROJECTS / "uv-lock", tmp_path / "both"))
    shutil.copy(PROJECTS / "pipfile-lock/Pipfile.lock", folder)
    (problem,) = problems(folder)
    assert problem.startswith("found uv.lock and Pipfile.lock, expected one of them: ")
    assert "backend_requirements = 'uv.lock'" in problem
    assert resolve.locked(folder, "uv.lock", "3.11.2").source == "uv.lock"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("fastapi==0.115.0\nuvicorn[standard]>=0.30", ""),
        ("fastapi\npywin32==306 ; sys_platform == 'win32'", ""),
        ("fastapi==0.100.0", "fastapi is 0.115.0 in uv.lock, fastapi==0.100.0 in requirements.txt"),
        ("fastapi\nmotor>=3", "motor is only in requirements.txt"),
    ],
)
def test_a_list_beside_a_lock_must_be_fulfilled_by_it(tmp_path, listed, said):
    folder = Path(shutil.copytree(PROJECTS / "uv-lock", tmp_path / "both"))
    (folder / "requirements.txt").write_text(listed)
    if said:
        (problem,) = problems(folder)
        assert problem.startswith(f"uv.lock and requirements.txt disagree ({said})")
    else:
        found = resolve.locked(folder, "", "3.11.2")
        assert (found.source, found.notes) == ("uv.lock", ("requirements.txt is not used: uv.lock locks it",))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "found no list of dependencies in "),
        ({"Pipfile": "[packages]\n"}, "found Pipfile without a lock: run `pipenv lock`, and commit the lock"),
        ({"setup__py": "setup()\n"}, "found only setup.py in "),
        ({"environment__yml": "name: a\n"}, "found only environment.yml in "),
        ({"pyproject__toml": "[tool.ruff]\n"}, "found no list of dependencies in "),
        ({"pyproject__toml": "[tool.poetry.dependencies]\na = '*'\n"}, "run `poetry lock`"),
        ({"pyproject__toml": "[project]\nname = 'a'\ndynamic = ['dependencies']\n"}, "found dynamic dependencies"),
        ({"pyproject__toml": "[project\n"}, "pyproject.toml: found invalid TOML"),
        ({"requirements__txt": "-e ./lib\n"}, "requirements.txt line 1: found an editable installation"),
    ],
)
def test_a_project_without_a_list_that_can_be_locked_is_told_what_to_do(tmp_path, files, said):
    (problem,) = problems(project(tmp_path, **files))
    assert said in problem


# --- Slipway's own lock -----------------------------------------------------------------------------------------------


def lock(folder: Path, python: str = "3.11", upgrade: bool = False) -> str:
    inputs = resolve.inputs(folder, "")
    assert inputs
    text = explain.lock(folder, inputs, python, upgrade)
    (folder / lockfile.NAME).write_text(text)
    return text


def test_a_list_is_locked_with_all_that_it_needs_and_says_what_it_was_made_from(tmp_path, index):
    index.add("server", "1.0", requires="loop>=1 ; sys_platform == 'linux'")
    index.add("loop", "1.5")
    index.add("loop", "2.0", python=">=3.12")
    folder = project(tmp_path, requirements__txt="server\nwindows==1 ; sys_platform == 'win32'\n")
    assert "run `slipway lock`, and commit pylock.slipway.toml" in problems(folder)[0]
    lock(folder)
    found = resolve.locked(folder, "", "3.11.2")
    assert [*map(str, found.packages)] == ["loop==1.5", "server==1.0"]
    assert all(len(package.files[0].sha256) == 64 for package in found.packages)
    assert (found.source, found.for_python) == ("pylock.slipway.toml", "3.11")
    lock(folder, "3.12", upgrade=True)
    assert [*map(str, resolve.locked(folder, "", "3.12.1").packages)] == ["loop==2.0", "server==1.0"]


def test_a_lock_stays_as_it_is_until_newer_versions_are_asked_for(tmp_path, index):
    index.add("server", "1.0")
    folder = project(tmp_path, requirements__txt="server\n")
    before = lock(folder)
    index.add("server", "1.1")
    assert lock(folder) == before
    assert "server-1.1-py3-none-any.whl" in lock(folder, upgrade=True)


CHANGES = {
    "server>=1\n": True,
    "server\nother\n": True,
    "-c limits.txt\nserver\n": True,
    "--pre\nserver\n": True,
    "# a comment\r\nServer\r\n": False,
    "-r base.txt\n": False,
}


@pytest.mark.parametrize("text", CHANGES)
def test_a_lock_is_old_where_what_is_listed_has_changed_and_only_then(tmp_path, index, text):
    index.add("server", "1.0")
    folder = project(tmp_path, requirements__txt="server\n", limits__txt="server<2\n", base__txt="server\n")
    lock(folder)
    (folder / "requirements.txt").write_bytes(text.encode("utf-16"))
    if CHANGES[text]:
        assert problems(folder) == [
            "pylock.slipway.toml is older than requirements.txt: run `slipway lock`, and commit it"
        ]
    else:
        assert resolve.locked(folder, "", "3.11.2").packages


def test_the_dependencies_of_a_project_are_locked_and_its_python_is_heeded(tmp_path, index):
    index.add("server", "1.0")
    folder = project(
        tmp_path, pyproject__toml='[project]\nname = "a"\nrequires-python = ">=3.12"\ndependencies = ["server"]\n'
    )
    with pytest.raises(DependenciesError, match=r"pyproject.toml needs Python >=3.12; the server has 3.11"):
        lock(folder)
    lock(folder, "3.12")
    found = resolve.locked(folder, "", "3.11.2")
    assert found.python == (("pyproject.toml", ">=3.12"),)


def test_all_that_cant_be_locked_is_reported_at_once(tmp_path, index):
    index.add("new", "3.6", python=">=3.12")
    index.add("old", "1.15.0", tag="cp310-cp310-manylinux2014_x86_64")
    index.add("newer", "2.0", tag="cp313-cp313-manylinux2014_x86_64")
    index.add("windows", "306", tag="cp311-cp311-win_amd64")
    index.add("fine", "1.0")
    listed = "new==3.6\nold==1.15.0\nnewer==2.0\nwindows==306\nfine==1.0\nnowhere==1\nfine==2\n"
    with pytest.raises(DependenciesError) as error:
        lock(project(tmp_path, requirements__txt=listed))
    new, old, newer, windows, nowhere, fine = error.value.problems
    assert new == 'requirements.txt: new==3.6 needs Python >=3.12; the server has 3.11: set python_version = "3.12"'
    assert old == (
        "requirements.txt: old==1.15.0 has no wheel for Python 3.11 on Linux (it has them for Python 3.10): choose a"
        ' newer version of it, or let the server build it: backend_build_packages = ["old"]'
    )
    assert '(it has them for Python 3.13): set python_version = "3.13", or let the server build it' in newer
    assert "windows==306 has files only for win_amd64: add a marker" in windows
    assert "nowhere==1" in nowhere
    assert "fine==2" in fine


def test_requirements_that_exclude_each_other_are_reported_in_uvs_words(tmp_path, index):
    index.add("server", "1.0", requires="loop<2")
    index.add("loop", "1.0")
    index.add("loop", "2.0")
    with pytest.raises(DependenciesError) as error:
        lock(project(tmp_path, requirements__txt="server==1.0\nloop==2.0\n"))
    (problem,) = error.value.problems
    assert problem.startswith("requirements.txt: Because ")
    assert "you require loop==2.0, we can conclude that your requirements are unsatisfiable" in problem


def test_a_package_without_a_wheel_that_another_one_needs_is_reported_with_the_setting(tmp_path, index):
    index.add("server", "1.0", requires="old==1.0")
    index.add("old", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    with pytest.raises(DependenciesError) as error:
        lock(project(tmp_path, requirements__txt="server\n"))
    (problem,) = error.value.problems
    assert "old==1.0 has no wheels" in problem
    assert problem.endswith("To let the server build it, name it in backend_build_packages.")


# --- Whether a server can have them -----------------------------------------------------------------------------------

SERVER = Package("uvicorn", "0.30.6", (File("0", "uvicorn-0.30.6-py3-none-any.whl", 2**20),))
HOST = Host("3.11.2", 36, 1000)


def judged(*packages: Package, host: Host = HOST, **its) -> list[str]:
    return [*judge.problems(Locked("a.lock", (SERVER, *packages), **its), host)]


def package(*files: str, size: int = 0, **its: str) -> Package:
    return Package("some", "1.0", tuple(File(str(number), name, size) for number, name in enumerate(files)), **its)


@pytest.mark.parametrize(
    "name",
    [
        "some-1.0-py3-none-any.whl",
        "some-1.0-py2.py3-none-any.whl",
        "some-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "some-1.0-cp311-cp311-manylinux1_x86_64.whl",
        "some-1.0-cp37-abi3-manylinux_2_28_x86_64.whl",
        "some-1.0-cp311-none-any.whl",
        "",
    ],
)
def test_a_wheel_that_fits_is_fine_and_so_is_a_file_that_only_its_hash_is_known_of(name):
    assert judged(package(name, "some-1.0.tar.gz")) == []


@pytest.mark.parametrize(
    "names",
    [
        ["some-1.0.tar.gz"],
        ["some-1.0-cp310-cp310-manylinux_2_17_x86_64.whl"],
        ["some-1.0-cp311-cp311-win_amd64.whl", "some-1.0-cp311-cp311-macosx_11_0_arm64.whl"],
        ["some-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"],
        ["some-1.0-cp311-cp311-musllinux_1_2_x86_64.whl"],
        ["some-1.0-cp311-cp311-manylinux_2_38_x86_64.whl"],
        ["nonsense.whl"],
    ],
)
def test_a_package_without_a_file_that_fits_is_told_unless_the_server_builds_it(names):
    (problem,) = judged(package(*names))
    assert problem.startswith("a.lock: some==1.0 has no wheel for Python 3.11 on Linux")
    assert judged(package(*names), built=frozenset({"some"})) == []
    # It is for another system.
    assert judged(package(*names, marker="sys_platform == 'win32'")) == []


def test_the_python_of_the_server_must_be_what_everybody_wants():
    assert judged(python=(("pyproject.toml", ">=3.10,<4"),)) == []
    assert judged(python=(("pyproject.toml", ">=3.12"),)) == [
        'pyproject.toml needs Python >=3.12; the server has 3.11: set python_version = "3.12"'
    ]
    assert judged(python=(("Pipfile", "==3.9.*"),)) == [
        'Pipfile needs Python ==3.9.*; the server has 3.11: set python_version = "3.9"'
    ]
    assert judged(package("", requires_python=">=3.12")) == [
        'a.lock: some==1.0 needs Python >=3.12; the server has 3.11: set python_version = "3.12"'
    ]
    assert judged(for_python="3.12") == [
        'a.lock is for Python 3.12; the server has 3.11: run `slipway lock`, or set python_version = "3.12"'
    ]


def test_what_runs_the_backend_must_be_there():
    assert [*judge.problems(Locked("a.lock", (package(""),)), HOST)] == [
        "a.lock: found no uvicorn, which runs the backend: add it to the dependencies"
    ]


def test_an_environment_must_have_room():
    large = package("some-1.0-py3-none-any.whl", "some-1.0-cp311-cp311-win_amd64.whl", size=300 * 2**20)
    assert judged(large, host=replace(HOST, free_mb=1300)) == []
    (problem,) = judged(large)
    assert problem.startswith("a.lock: its packages need about 1204 MiB, found 1000 MiB free on the server")
    assert "some==1.0, 300 MiB packed" in problem


# --- Locks that have hashes alone -------------------------------------------------------------------------------------


def listed(folder: Path, *lines: str) -> Locked:
    return resolve.locked(project(folder, requirements__txt="\n".join(lines)), "", "3.11.2")


def line_of(index: PackageIndex, name: str, version: str, extras: str = "") -> str:
    return f"{name}{extras}=={version} --hash=sha256:{index.digest(name, version)}"


def test_hashes_are_compared_with_the_index_and_files_are_known_then(tmp_path, index):
    index.add("uvicorn", "1.0", requires="loop")
    index.add("loop", "1.0")
    lines = [line_of(index, "uvicorn", "1.0", "[standard]"), line_of(index, "loop", "1.0")]
    found, wrong = judge.examined(listed(tmp_path, *lines), HOST)
    assert wrong == []
    assert {file.name for package in found.packages for file in package.files} == {
        *("uvicorn-1.0-py3-none-any.whl", "loop-1.0-py3-none-any.whl")
    }
    assert "uvicorn[standard]==1.0 \\\n" in found.requirements

    _, wrong = judge.examined(listed(tmp_path, lines[0]), HOST)
    assert wrong == ["requirements.txt: found no loop, which its packages depend on: lock it again"]
    _, (problem,) = judge.examined(listed(tmp_path, lines[0], f"loop==1.0 --hash=sha256:{DIGEST}"), HOST)
    assert problem.startswith("requirements.txt: the hashes of loop==1.0 have none of loop-1.0-py3-none-any.whl")


def test_all_that_hashes_alone_dont_tell_is_reported_at_once(tmp_path, index):
    index.add("uvicorn", "1.0")
    index.add("old", "1.15.0", tag="cp310-cp310-manylinux2014_x86_64")
    index.add("new", "3.6", python=">=3.12")
    lines = [line_of(index, *one) for one in (("uvicorn", "1.0"), ("old", "1.15.0"), ("new", "3.6"))]
    _, (old, new) = judge.examined(listed(tmp_path, *lines), HOST)
    assert "old==1.15.0 has no wheel for Python 3.11" in old
    assert "new==3.6 needs Python >=3.12" in new


def test_without_a_network_hashes_are_left_to_the_server(tmp_path, monkeypatch):
    # The port "discard", where nobody listens.
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    given = listed(tmp_path, f"uvicorn==0.30.6 --hash=sha256:{DIGEST}")
    found, wrong = judge.examined(given, HOST)
    assert wrong == []
    assert found.notes == ("requirements.txt was not checked: PyPI can't be reached",)


def test_uv_knows_the_versions_of_python_that_it_can_get():
    assert uv.has_python("3.12")
    assert uv.has_python("")
    assert not uv.has_python("3.19")


# --- Versions of Python -----------------------------------------------------------------------------------------------


def test_a_python_that_has_wheels_for_all_is_named_if_there_is_one(tmp_path, index):
    index.add("old", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    index.add("stable", "1.0", tag="cp39-cp39-manylinux2014_x86_64")
    index.add("stable", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    for text in ("old==1.0\n", "old==1.0\nstable==1.0\n"):
        with pytest.raises(DependenciesError) as error:
            lock(project(tmp_path, requirements__txt=text))
        for problem in error.value.problems:
            assert 'set python_version = "3.10" or choose a newer version of it, or let the server build' in problem


def test_an_older_python_is_only_named_if_the_whole_lock_runs_with_it():
    old = package("some-1.0-cp310-cp310-manylinux_2_17_x86_64.whl")
    (problem,) = judged(old)
    assert 'set python_version = "3.10" or choose a newer version of it, or let the server' in problem
    (problem,) = judged(old, replace(package("other-1.0-py3-none-any.whl", requires_python=">=3.11"), name="other"))
    assert "on Linux (it has them for Python 3.10): choose a newer version of it, or let" in problem
    (problem,) = judged(old, python=(("pyproject.toml", ">=3.11"),))
    assert "on Linux (it has them for Python 3.10): choose a newer version of it, or let" in problem


@pytest.mark.parametrize(
    ("version", "python", "count"), [("3.0.0", "3.11.2", 1), ("3.0.0", "3.10.4", 0), ("3.1.1", "3.13.0", 0)]
)
def test_a_package_that_does_not_run_with_the_python_is_noted(tmp_path, version, python, count):
    text = f"motor=={version} --hash=sha256:{DIGEST}\nuvicorn==1.0 --hash=sha256:{DIGEST}\n"
    found = resolve.locked(project(tmp_path, requirements__txt=text), "", python)
    assert [note for note in found.notes if "motor" in note] == count * [
        "requirements.txt: motor 3.0.0 does not run with Python 3.11: take motor 3.1 or newer, or set"
        ' python_version = "3.10"'
    ]
