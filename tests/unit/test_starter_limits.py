"""Reading a repository is fast, whatever it contains."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from slipway.starter.reading.files import Repository
from support.repositories import APP, make, read

# Of the processor's: others may have the machine.
SECONDS = 2


def timed(top: Path) -> tuple[float, str]:
    """The seconds that reading takes, and the application that is found."""
    begin = time.process_time()
    backend = read(top, {}).project.backend
    return time.process_time() - begin, backend.app.target if backend else ""


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.json").touch()


def test_functions_that_call_each_other_often_are_followed_in_bounded_time(tmp_path):
    steps = "".join(f"def step_{number}(url):\n" + f"    step_{number + 1}(url)\n" * 8 for number in range(20))
    code = f"import pymongo\n{steps}def step_20(url):\n    pymongo.MongoClient(url)\nstep_0('a')\n"
    seconds, _ = timed(make(tmp_path, {"main.py": f"{APP}{code}"}))
    assert seconds < SECONDS


def test_a_name_that_its_own_value_has_is_followed_in_bounded_time(tmp_path):
    steps = "    url = url.strip()\n    url = f'{url}/'\n" * 8
    code = f"import pymongo\ndef start(url):\n{steps}    pymongo.MongoClient(f'mongodb://{{url}}')\n"
    seconds, _ = timed(make(tmp_path, {"main.py": f"{APP}{code}"}))
    assert seconds < SECONDS


def test_a_folder_of_data_does_not_hold_it_up(tmp_path, monkeypatch):
    monkeypatch.setattr("slipway.starter.reading.files.MAX_ENTRIES", 20)
    make(tmp_path, {"api/main.py": APP})
    fill(tmp_path / "data/images", 100)
    repository = Repository(tmp_path)
    assert repository.files == ["api/main.py"]
    assert repository.cut == ["data/images"]
    assert timed(tmp_path)[1] == "main:app"


@pytest.mark.thorough
def test_a_hundred_thousand_files_take_two_seconds(tmp_path):
    # What is looked for comes after them.
    make(tmp_path, {"zone/shop/api/main.py": APP, "web/package.json": "{}"})
    for number in range(100):
        fill(tmp_path / f"data/{number}", 1000)
    seconds, found = timed(tmp_path)
    assert found == "main:app"
    assert seconds < SECONDS


def test_links_to_folders_are_not_followed(tmp_path):
    make(tmp_path, {"api/main.py": APP})
    (tmp_path / "api/loop").symlink_to(tmp_path)
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    assert Repository(tmp_path).files == ["api/main.py"]
    assert timed(tmp_path)[1] == "main:app"


def test_deep_folders_are_not_followed_to_their_end(tmp_path):
    make(tmp_path, {"main.py": APP, "/".join(["deep"] * 40) + "/x.py": ""})
    assert Repository(tmp_path).files == ["main.py"]


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 5000,
        "x = " + "-" * 50_000 + "1",
        "x = " + "+".join(["1"] * 20_000),
        "\0" * 100,
        "\ud800".encode("utf-16", "surrogatepass"),
        "if x:\n" * 200,
        "FastAPI\n" * 200_000,
    ],
    ids=["brackets", "signs", "sum", "zeros", "surrogate", "ifs", "long"],
)
def test_no_file_is_too_strange(tmp_path, text):
    begin = f"{APP}import other\n"
    seconds, found = timed(make(tmp_path, {"main.py": begin, "other.py": text, "more.py": text}))
    assert found == "main:app"
    assert seconds < SECONDS


def test_modules_that_import_each_other_and_themselves_are_read_once(tmp_path):
    make(
        tmp_path,
        {"main.py": f"import a\nimport main\nX = a.X\n{APP}", "a.py": "import main\nfrom a import X\nX = main.X\n"},
    )
    backend = read(tmp_path, {}).project.backend
    assert sorted(module.file for module in backend.modules) == ["a.py", "main.py"]


def test_settings_that_lead_in_a_circle_end(tmp_path):
    code = "import os\nA = B\nB = A\nclass C(C): pass\nos.getenv(A)\nos.getenv(C.x)\nos.getenv(C().y)\ndef f():\n    return f()\nos.getenv(f())\n"
    assert timed(make(tmp_path, {"main.py": f"{APP}{code}"}))[1] == "main:app"


def test_files_that_cannot_be_read_are_left_out(tmp_path):
    make(tmp_path, {"main.py": APP})
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "gone.py").symlink_to("nowhere")
    assert Repository(tmp_path).files == ["main.py"]


@pytest.mark.parametrize(
    "line",
    [
        "true; " * 9000 + "echo celery worker\n",
        "exec " * 9000 + "celery\n",
        "celery worker\n" * 9000,
        "a/" * 30000 + "\n",
    ],
)
def test_commands_are_found_in_bounded_time(tmp_path, line):
    seconds, _ = timed(
        make(tmp_path, {"main.py": APP, "start.sh": line, "compose.yaml": f"services:\n  a:\n    command: {line}"})
    )
    assert seconds < SECONDS
