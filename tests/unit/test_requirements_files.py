"""Requirements files as people and tools write them."""

from __future__ import annotations

import pytest

from slipway.dependencies import resolve
from slipway.dependencies.model import DependenciesError
from slipway.dependencies.requirements import read

DIGEST = "a" * 64


@pytest.fixture
def listed(tmp_path):
    """The requirements in files, given by name, read from requirements.txt."""

    def listed(**files: str | bytes):
        for name, content in files.items():
            path = tmp_path / {"requirements": "requirements.txt"}.get(name, name.replace("__", "/") + ".txt")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(tmp_path / "requirements.txt", tmp_path)

    return listed


def texts(found) -> list[str]:
    return [entry.text for entry in found.entries]


TEXT = "# für alle\nfastapi==0.115.0\nuvicorn[standard] >= 0.30 ; python_version >= '3.8'  # server\n"
MEANT = ["fastapi==0.115.0", 'uvicorn[standard]>=0.30 ; python_version >= "3.8"']


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"], ids=str
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
def test_a_file_is_read_in_whatever_encoding_and_with_whatever_line_ends(listed, encoding, end):
    assert texts(listed(requirements=TEXT.replace("\n", end).encode(encoding))) == MEANT


def test_files_that_a_file_includes_are_read_relative_to_it_and_a_circle_ends(listed):
    found = listed(
        requirements="-r requirements\\base.txt\n-c limits.txt\nhttpx",
        requirements__base="--requirement=more.txt\n-r base.txt\nfastapi",
        requirements__more="redis",
        limits="idna<4",
    )
    assert texts(found) == ["redis", "fastapi", "httpx"]
    assert [entry.text for entry in found.constraints] == ["idna<4"]


def test_a_requirement_goes_on_after_a_backslash_and_has_its_hashes(listed):
    found = listed(
        requirements=f"uvicorn[standard]==0.30.6 ; sys_platform != 'x--hash' \\\n    --hash=sha256:{DIGEST} \\\n"
        f"    --hash=sha512:00 \\\n    --hash sha256:{'b' * 64}\n    # via nobody\nidna==3.7 --hash=sha256:{DIGEST}\n"
    )
    assert [(entry.name, entry.version, entry.hashes) for entry in found.entries] == [
        ("uvicorn", "0.30.6", (DIGEST, "b" * 64)),
        ("idna", "3.7", (DIGEST,)),
    ]
    assert found.is_locked


@pytest.mark.parametrize("line", ["fastapi", "fastapi>=1", "fastapi==1.*", "fastapi==1"])
def test_a_list_with_one_package_that_is_not_pinned_by_a_hash_is_not_locked(listed, line):
    assert not listed(requirements=f"idna==3.7 --hash=sha256:{DIGEST}\n{line}\n").is_locked
    assert not listed(requirements="# nothing\n").is_locked


def test_what_ubuntus_pip_lists_by_mistake_is_left_out_and_told(listed):
    found = listed(requirements="pkg_resources==0.0.0\nidna\n")
    assert texts(found) == ["idna"]
    assert found.notes == [
        "requirements.txt line 1: pkg_resources==0.0.0 is ignored: a bug of Ubuntu's pip lists it,"
        " but it is not a package"
    ]


def test_options_that_change_nothing_here_are_fine(listed):
    found = listed(requirements="-i https://pypi.org/simple/\n--prefer-binary\n--trusted-host pypi.org\n--pre\nidna\n")
    assert (texts(found), found.prereleases) == (["idna"], True)


BAD = {
    "-e ./lib": "line 1: found an editable installation, ./lib;",
    "-e git+https://github.com/a/b.git#egg=b": "found an editable installation, git+https://github.com/a/b.git#egg=b",
    "git+https://me:s3cret@example.org/a.git": "found a source in version control, git+https://***@example.org/a.git",
    "a @ git+ssh://git@example.org/a.git": "found a source in version control, a @ git+ssh://***@example.org/a.git",
    "a @ file:///home/conda/a": "found a local path, a @ file:///home/conda/a",
    "a @ https://example.org/a.whl": "found a file's URL, a @ https://example.org/a.whl",
    "https://example.org/a.tar.gz": "found a file's URL",
    "./lib": "found a local path, ./lib",
    "..\\lib": "found a local path, ..\\lib",
    "C:\\lib": "found a local path, C:\\lib",
    "a-1.0-py3-none-any.whl": "found a local path",
    "--extra-index-url https://me:s3cret@pypi.example.org/simple": "package index https://pypi.example.org/simple",
    "--index-url=https://download.pytorch.org/whl/cpu": "the package index https://download.pytorch.org/whl/cpu",
    "--find-links wheels": "found --find-links, expected only PyPI",
    "--no-binary cffi": "expected the packages in the setting backend_build_packages",
    "--frobnicate": "found the option --frobnicate, which Slipway does not know",
    "a --global-option=x": "found the option --global-option=x",
    "a = 1": "found 'a = 1', expected a requirement as fastapi==0.115.0",
    "-r nowhere.txt": "found no file nowhere.txt",
}


@pytest.mark.parametrize("line", BAD)
def test_what_pypi_does_not_have_is_reported_with_its_place_and_without_a_password(listed, line):
    with pytest.raises(DependenciesError) as error:
        listed(requirements=f"{line}\nidna\n")
    (problem,) = error.value.problems
    assert problem.startswith("requirements.txt line 1: ")
    assert BAD[line] in problem
    assert "s3cret" not in problem


def test_all_that_is_wrong_is_reported_at_once_each_with_its_file(listed):
    with pytest.raises(DependenciesError) as error:
        listed(requirements="-r deep/list.txt\n-e ./lib\n", deep__list="idna\ngit+https://example.org/a\n")
    places = [problem.partition(":")[0] for problem in error.value.problems]
    assert places == ["deep/list.txt line 2", "requirements.txt line 2"]


def test_no_error_tells_the_password_of_an_index_whatever_names_it(tmp_path):
    sources = '"sources": [{"url": "https://bob:s3cret@pypi.corp.example/simple"}]'
    (tmp_path / "Pipfile.lock").write_text(
        f'{{"_meta": {{{sources}}}, "default": {{"bar": {{"git": "https://bob:s3cret@x/bar"}}}}}}'
    )
    with pytest.raises(DependenciesError) as error:
        resolve.locked(tmp_path, "", "3.11.2")
    assert "https://pypi.corp.example/simple" in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("line", ["fastapi    0.115.0", "fastapi=0.115.0=pypi_0"])
def test_a_list_that_is_for_people_to_read_is_told_how_to_make_one(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(line)
    with pytest.raises(DependenciesError, match=r"make the list by `pip list --format=freeze`"):
        read(tmp_path / "requirements.txt", tmp_path)


@pytest.mark.parametrize("line", ["-e .", "--editable=.", ".", "-e .[web]", "-e .."])
def test_the_project_itself_stands_for_its_dependencies(tmp_path, line):
    folder = tmp_path / "api" if ".." in line else tmp_path
    folder.mkdir(exist_ok=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "a"\ndependencies = ["fastapi>=0.110"]\n[project.optional-dependencies]\nweb = ["jinja2"]\n'
    )
    (folder / "requirements.txt").write_text(f"{line}\nuvicorn\n")
    found = read(folder / "requirements.txt", folder)
    extra = ["jinja2"] if "web" in line else []
    assert [entry.text for entry in found.entries] == ["fastapi>=0.110", *extra, "uvicorn"]
    assert found.notes == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "setup.py",
            'import setuptools\nsetuptools.setup(install_requires=["fastapi"], extras_require={"web": ["jinja2"]})',
        ),
        ("setup.py", 'NEEDED = ("fastapi",)\nsetup(install_requires=NEEDED, extras_require={"web": ["jinja2"]})'),
        (
            "setup.cfg",
            "[options]\ninstall_requires =\n  fastapi\n  # a comment\n[options.extras_require]\nweb =\n  jinja2\n",
        ),
    ],
)
def test_what_setuptools_lists_is_read_without_running_it(tmp_path, name, text):
    (tmp_path / name).write_text(f"raise SystemExit\n{text}" if name == "setup.py" else text)
    (tmp_path / "requirements.txt").write_text("-e .[web]\nuvicorn\n")
    found = read(tmp_path / "requirements.txt", tmp_path)
    assert [entry.text for entry in found.entries] == ["fastapi", "jinja2", "uvicorn"]
    assert found.notes == []


def test_a_project_that_lists_its_dependencies_in_code_is_ignored_with_a_note(tmp_path):
    (tmp_path / "setup.py").write_text("setup(install_requires=open('list.txt').readlines())")
    (tmp_path / "requirements").mkdir()
    file = tmp_path / "requirements/base.txt"
    file.write_text("-e .\nfastapi\n")
    found = read(file, tmp_path)
    assert [entry.text for entry in found.entries] == ["fastapi"]
    assert "requirements/base.txt line 1: . is ignored, as a release runs the folder itself" in found.notes[0]
