"""What the code chooses by an environment variable, as the server has it."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of, read

CLIENT = "import os\nimport pymongo\nclient = pymongo.MongoClient(os.environ['MONGO_URL'])\n"
STAGE = "stage = os.getenv('DEPLOYMENT')\nstaging = stage == 'STAGING'\n"
ENV = "env = os.getenv('ENV', 'local')\n"


def database(top, code: str, **more: str) -> object:
    files = {"main.py": f"import db\n{APP}", "db.py": f"{CLIENT}{code}\n", **more}
    return {one.setting: one.value for one in read(top, files).all_found}.get("mongodb_database")


@pytest.mark.parametrize(
    "code",
    [
        f"{STAGE}client['old' if staging else 'shop']",
        f"{STAGE}client['shop' if not staging else 'old']",
        f"{STAGE}name = 'old' if staging else 'shop'\nclient[name]",
        f"{STAGE}client['old' if stage else 'shop']",
        f"{STAGE}client['old' if stage in ('STAGING', 'TEST') else 'shop']",
        f"{STAGE}client['old' if stage and other() else 'shop']",
        f"{STAGE}if staging:\n    name = 'old'\nelse:\n    name = 'shop'\nclient[name]",
        f"{STAGE}if staging:\n    name = 'old'\nelif stage == 'TEST':\n    name = 'older'\nelse:\n    name = 'shop'\nclient[name]",
        f"{STAGE}def its():\n    if staging:\n        name = 'old'\n    else:\n        name = 'shop'\n    return client[name]",
        f"{ENV}client['old' if env == 'local' else 'shop']",
        f"{ENV}client['old' if env.upper() != 'PRODUCTION' else 'shop']",
        f"{ENV}name = 'old'\nif env == 'production':\n    name = 'shop'\nclient[name]",
        "client['old' if os.getenv('KIND', 'new') == 'old' else 'shop']",
    ],
)
def test_the_branch_that_holds_on_the_server_has_the_database(tmp_path, code):
    assert database(tmp_path, code) == "shop"
    assert "a second database" not in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    "code",
    [
        "client['shop' if ask() else 'other']",
        "if ask():\n    name = 'shop'\nelif ask(1):\n    name = 'other'\nclient[name]",
        # A variable that the site may set, one with an unknown default, and one whose truth is not known.
        "client['shop' if os.getenv('MONGO_URL') else 'other']",
        "client['shop' if os.getenv('KIND', ask()) == 'a' else 'other']",
        "client['shop' if os.getenv('KIND', 'False') else 'other']",
        "client['shop' if os.environ['KIND'] == 'a' else 'other']",
    ],
)
def test_each_branch_that_may_hold_is_a_database(tmp_path, code):
    assert database(tmp_path, code) == "shop"
    assert "a second database, 'other'" in notes_of(tmp_path, {})


def test_the_value_of_an_example_decides_nothing(tmp_path):
    code = f"{STAGE}client['shop' if staging else 'other']"
    assert database(tmp_path, code, **{".env.example": "DEPLOYMENT=LOCAL\n"}) == "shop"
    assert "a second database, 'other'" in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if os.getenv('DEPLOYMENT') == 'LOCAL':\n    app = FastAPI(root_path='/api')\nelse:\n    app = FastAPI()", ""),
        ("app = FastAPI()\nif os.getenv('ENVIRONMENT', 'local') == 'local':\n    app = FastAPI(root_path='/api')", ""),
        ("if os.getenv('ENVIRONMENT', 'local') == 'local':\n    app = FastAPI()\nelse:\n    app = FastAPI(root_path='/api')", "/api"),
        ("app = FastAPI(root_path='/api' if os.getenv('ENV') == 'local' else '')", ""),
        ("if ask():\n    app = FastAPI(root_path='/api')\nelse:\n    app = FastAPI()", "/api"),
    ],
)  # fmt: skip
def test_the_root_path_is_that_of_the_application_in_the_branch_that_holds(tmp_path, code, expected):
    found = read(tmp_path, {"main.py": f"import os\nfrom fastapi import FastAPI\n{code}\n"})
    assert found.project.backend.routes.root_path == expected


@pytest.mark.parametrize(
    "code",
    [
        "name = 'shop'\nif name == 'a':\n    name = 'b'\nclient[name]",
        "a = 'shop'\nb = 'x'\nif b == 'y':\n    a = 'c'\nif a == 'z':\n    b = 'd'\nclient[a]",
        "def its():\n    name = 'shop'\n    if name == 'a':\n        name = 'b'\n    return client[name]",
        "name = 'shop' if ask() else name\nclient[name]",
        "name = name if os.getenv('KIND') == name else 'shop'\nclient[name]",
        "is_on = not is_on\nclient['shop' if is_on else 'x']",
    ],
)
def test_a_condition_that_asks_for_its_own_name_is_read(tmp_path, code):
    assert database(tmp_path, code) == "shop"
