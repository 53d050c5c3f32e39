"""Existing locks of uv, Poetry, pipenv and in the standard format: what is installed, and which are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from slipway.dependencies import resolve
from slipway.dependencies.indexes import Index
from slipway.dependencies.model import DependenciesError

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
# What FastAPI 0.115.0, uvicorn 0.30.6 and pymongo 4.15.3 need, of tests/projects.
NAMES = {
    *("annotated-types", "anyio", "click", "fastapi", "h11", "idna", "pydantic", "pydantic-core", "starlette"),
    *("typing-extensions", "typing-inspection", "uvicorn", "pymongo", "dnspython"),
}


@pytest.fixture
def copied(tmp_path):
    def copied(name: str) -> Path:
        return Path(shutil.copytree(PROJECTS / name, tmp_path / name))

    return copied


def problems(folder: Path, named: str = "", python: str = "3.11.2") -> list[str]:
    with pytest.raises(DependenciesError) as error:
        resolve.locked(folder, named, python)
    return error.value.problems


@pytest.mark.parametrize("name", ["uv-lock", "poetry-lock", "pipfile-lock"])
def test_what_runs_is_installed_with_its_hashes_and_what_development_needs_is_not(name):
    found = resolve.locked(PROJECTS / name, "", "3.12.1")
    assert {package.name for package in found.packages} - {"exceptiongroup"} == NAMES
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for package in found.packages for file in package.files)
    assert all(package.files for package in found.packages)
    assert resolve.inputs(PROJECTS / name, "") is None


@pytest.mark.parametrize(
    ("name", "file", "before", "after", "said"),
    [
        (
            "uv-lock",
            "pyproject.toml",
            "fastapi==0.115.0",
            "fastapi==0.116.0",
            "uv.lock is older than pyproject.toml (fastapi",
        ),
        ("uv-lock", "pyproject.toml", '"uvicorn==0.30.6"', '"uvicorn==0.30.6", "six"', "(six changed): run `uv lock`"),
        (
            "poetry-lock",
            "pyproject.toml",
            'uvicorn = "0.30.6"',
            'uvicorn = "0.31.0"',
            "poetry.lock is older than pyproject",
        ),
        ("pipfile-lock", "Pipfile", "==0.115.0", "==0.116.0", "Pipfile.lock is older than Pipfile: run `pipenv lock`"),
    ],
)
def test_a_lock_of_older_dependencies_is_refused_with_the_command_that_renews_it(
    copied, name, file, before, after, said
):
    folder = copied(name)
    text = (folder / file).read_text()
    assert before in text
    (folder / file).write_text(text.replace(before, after))
    (problem,) = problems(folder)
    assert said in problem


@pytest.mark.parametrize("change", ["# a comment\n{}", "{}\n[tool.ruff]\nline-length = 100\n"])
@pytest.mark.parametrize("name", ["uv-lock", "poetry-lock"])
def test_what_decides_on_no_dependency_makes_no_lock_old(copied, name, change):
    file = copied(name) / "pyproject.toml"
    file.write_text(change.format(file.read_text()))
    assert resolve.locked(file.parent, "", "3.11.2")


def test_the_lock_of_a_workspace_is_above_its_members(tmp_path):
    """What uv itself writes for two members."""
    (tmp_path / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["api", "jobs"]\n')
    for name, needed in (("api", "uvicorn"), ("jobs", "celery")):
        (tmp_path / name).mkdir()
        text = f'[project]\nname = "{name}"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{needed}"]\n'
        (tmp_path / name / "pyproject.toml").write_text(text)
    (tmp_path / "uv.lock").write_text(WORKSPACE)
    found = resolve.locked(tmp_path / "api", "../uv.lock", "3.11.2")
    assert [*map(str, found.packages)] == ["uvicorn==0.30.6"]


def of_workspace(name: str, needed: str) -> str:
    return f"""
[[package]]
name = "{name}"
version = "1"
source = {{ virtual = "{name}" }}
dependencies = [{{ name = "{needed}" }}]
[package.metadata]
requires-dist = [{{ name = "{needed}" }}]
"""


def of_index(name: str, version: str) -> str:
    file = f"https://files.pythonhosted.org/{name}-{version}-py3-none-any.whl"
    return f"""
[[package]]
name = "{name}"
version = "{version}"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [{{ url = "{file}", hash = "sha256:{"0" * 64}", size = 1 }}]
"""


WORKSPACE = (
    'version = 1\nrevision = 3\nrequires-python = ">=3.11"\n[manifest]\nmembers = ["api", "jobs"]\n'
    + of_workspace("api", "uvicorn")
    + of_index("celery", "5.5.0")
    + of_workspace("jobs", "celery")
    + of_index("uvicorn", "0.30.6")
)


# --- Where a package is from ------------------------------------------------------------------------------------------

SOURCES = {
    'git = "https://example.org/a.git?rev=main#0123456789012345678901234567890123456789"': "version control",
    'directory = "../a"': "a local folder",
    'registry = "https://pypi.example.org/simple"': "the package index https://pypi.example.org/simple",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_package_of_uv_that_is_not_pypis_is_refused(copied, source):
    file = copied("uv-lock") / "uv.lock"
    before, name, after = file.read_text().partition('name = "h11"\n')
    head, _, rest = after.partition('{ registry = "https://pypi.org/simple" }')
    if "registry" not in source:
        # Other sources have no files.
        rest = "\n\n[[package]]" + rest.partition("[[package]]")[2]
    file.write_text(f"{before}{name}{head}{{ {source} }}{rest}")
    (problem,) = problems(file.parent)
    assert problem.startswith("uv.lock: found h11")
    assert SOURCES[source] in problem


OWN_INDEX = Index("example", "https://pypi.example.org/simple/")


@pytest.mark.parametrize("login", ["", "me:s3cret@"])
@pytest.mark.parametrize("name", ["uv-lock", "poetry-lock", "pipfile-lock"])
def test_a_package_of_an_index_that_a_setting_names_is_taken(copied, name, login):
    folder, url = copied(name), f"https://{login}pypi.example.org/simple"
    if name == "uv-lock":
        file = folder / "uv.lock"
        before, found, after = file.read_text().partition('name = "h11"\n')
        file.write_text(before + found + after.replace("https://pypi.org/simple", url, 1))
    elif name == "poetry-lock":
        file = folder / "poetry.lock"
        text = file.read_text()
        end = text.index("[[package]]", text.index('name = "h11"'))
        file.write_text(f'{text[:end]}[package.source]\ntype = "legacy"\nurl = "{url}"\n\n{text[end:]}')
    else:
        file = folder / "Pipfile.lock"
        (folder / "Pipfile").unlink()
        file.write_text(file.read_text().replace("https://pypi.org/simple", url))
    (problem,) = problems(folder)
    assert "found h11" in problem or name == "pipfile-lock"
    assert 'set python_indexes = {"example": "https://pypi.example.org/simple"}' in problem
    assert "s3cret" not in problem
    found = resolve.locked(folder, "", "3.12.1", indexes=[OWN_INDEX])
    assert {package.name for package in found.packages} - {"exceptiongroup"} == NAMES
    assert resolve.inputs(folder, "", indexes=[OWN_INDEX]) is None


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('type = "git"\nurl = "https://example.org/a.git"', "from version control"),
        ('type = "directory"\nurl = "../a"', "from a local folder"),
        ('type = "legacy"\nurl = "https://pypi.example.org/simple"', "the package index https://pypi.example.org"),
        ('type = "legacy"\nurl = "https://pypi.org/simple"', ""),
    ],
)
def test_a_package_of_poetry_that_is_not_pypis_is_refused(copied, source, said):
    file = copied("poetry-lock") / "poetry.lock"
    text = file.read_text()
    end = text.index("[[package]]", text.index('name = "h11"'))
    file.write_text(f"{text[:end]}[package.source]\n{source}\n\n{text[end:]}")
    if said:
        assert [problem for problem in problems(file.parent) if said in problem and "found h11" in problem]
    else:
        assert resolve.locked(file.parent, "", "3.11.2")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"git": "https://example.org/a.git", "ref": "0"}, "found h11 from version control"),
        ({"path": "../a"}, "found h11 from a local folder"),
        ({"version": "==0.16.0"}, "found h11 without version or hashes"),
    ],
)
def test_a_package_of_pipenv_that_is_not_pypis_is_refused(copied, entry, said):
    file = copied("pipfile-lock") / "Pipfile.lock"
    lock = json.loads(file.read_text())
    lock["default"]["h11"] = entry
    file.write_text(json.dumps(lock))
    (problem,) = problems(file.parent)
    assert said in problem


def test_a_lock_for_other_systems_alone_is_refused(copied):
    file = copied("uv-lock") / "uv.lock"
    file.write_text(file.read_text().replace("sys_platform == 'linux'", "sys_platform == 'darwin'"))
    (problem,) = problems(file.parent)
    assert problem.startswith(
        "uv.lock is for other systems (python_full_version < '3.13' and sys_platform == 'darwin')"
    )


@pytest.mark.parametrize(("name", "file"), [("uv-lock", "uv.lock"), ("poetry-lock", "poetry.lock")])
def test_a_file_that_is_cut_off_is_reported_by_its_name(copied, name, file):
    place = copied(name) / file
    place.write_text(place.read_text()[:-200])
    assert problems(place.parent)[0].startswith(f"{file}: found invalid TOML")


def test_a_lock_of_pipenv_that_is_invalid_is_reported(copied):
    place = copied("pipfile-lock") / "Pipfile.lock"
    place.write_text("{}")
    assert problems(place.parent) == ["Pipfile.lock: found no valid pipenv lock: run `pipenv lock`"]


# --- The standard format ----------------------------------------------------------------------------------------------

STANDARD = """
lock-version = "1.0"
requires-python = ">=3.10"
created-by = "somebody"
[[packages]]
name = "Idna"
version = "3.7"
wheels = [{url = "https://example.org/idna-3.7-py3-none-any.whl", size = 7, hashes = {sha256 = "0a"}}]
"""


def test_a_lock_in_the_standard_format_is_used(tmp_path):
    (tmp_path / "pylock.toml").write_text(STANDARD)
    found = resolve.locked(tmp_path, "", "3.11.2")
    assert (found.source, found.python) == ("pylock.toml", (("pylock.toml", ">=3.10"),))
    assert found.requirements == "idna==3.7 \\\n    --hash=sha256:0a\n"
    assert found.packages[0].files[0].name == "idna-3.7-py3-none-any.whl"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('vcs = {type = "git", url = "https://example.org/a", commit-id = "0"}', "from version control"),
        ('directory = {path = "a"}', "from a local folder"),
        ('archive = {url = "https://example.org/a.zip", hashes = {}}', "from an archive"),
        ('index = "https://pypi.example.org/simple"', "the package index https://pypi.example.org/simple"),
        ('version = "1"', "without the SHA-256 of its files"),
    ],
)
def test_what_is_not_pypis_in_the_standard_format_is_refused(tmp_path, line, said):
    (tmp_path / "pylock.toml").write_text(f'{STANDARD}\n[[packages]]\nname = "a"\n{line}\n')
    (problem,) = problems(tmp_path)
    assert said in problem
