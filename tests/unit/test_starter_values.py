"""Which texts of a repository are values of its variables, and which are placeholders or secrets."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of, read


def values(top, code: str, **more: str) -> dict[str, str]:
    """backend_environment of an application that reads its variables in config.py."""
    found = read(top, {"main.py": f"import config\n{APP}", "config.py": code, **more}).all_found
    return next((one.value for one in found if one.setting == "backend_environment"), {})


@pytest.mark.parametrize(
    "example",
    ["https://<your_id>.idp.net", "generateme", "fill-in", "https://your-company.idp.net", "<name>", "example_value"],
)
def test_a_placeholder_is_no_value(tmp_path, example):
    code = "import os\nos.environ['IDP']\n"
    assert values(tmp_path, code, **{".env.example": f"IDP={example}\n"}) == {}
    assert "variables with unknown values: IDP" in notes_of(tmp_path, {})


@pytest.mark.parametrize("example", ["https://idp.net/fill", "generated", 'Ask <a href="mailto:a@b.c">us</a>', "yours"])
def test_a_value_that_looks_similar_to_a_placeholder_is_one(tmp_path, example):
    code = "import os\nos.environ['IDP']\n"
    assert values(tmp_path, code, **{".env.example": f"IDP='{example}'\n"}) == {"IDP": example}


def test_the_example_of_an_optional_variable_is_a_comment(tmp_path):
    code = "import os\nos.getenv('BANNER', '')\nos.environ['NAME']\n"
    files = {"main.py": f"import config\n{APP}", "config.py": code, ".env.example": "BANNER=Hello\nNAME=shop\n"}
    found = next(one for one in read(tmp_path, files).all_found if one.setting == "backend_environment")
    assert found.value == {"NAME": "shop"}
    assert found.more == ('"BANNER": "Hello",  # config.py:2',)


@pytest.mark.parametrize(
    ("code", "is_said"),
    [
        ("import jwt\nKEY = 'hunter2'\njwt.encode({}, KEY)", True),
        ("from jose import jwt\njwt.decode('t', key='hunter2')", True),
        ("from starlette.middleware.sessions import SessionMiddleware\napp.add_middleware(SessionMiddleware, secret_key='x')", True),
        ("import os\nimport jwt\njwt.encode({}, os.getenv('KEY', 'hunter2'))", False),
        ("import jwt\njwt.decode('t', options={})", False),
        ("import json\njson.JSONEncoder().encode('a', 'b')", False),
    ],
)  # fmt: skip
def test_a_signing_key_in_the_code_is_reported(tmp_path, code, is_said):
    said = notes_of(tmp_path, {"main.py": f"{APP}{code}\n"})
    assert ("hard-coded signing key" in said) is is_said
    assert "hunter2" not in said


def test_a_number_with_a_fraction_is_no_secret(tmp_path):
    code = "import os\nos.getenv('WEBHOOK_SECRET_SECONDS', '2.5')\n"
    assert values(tmp_path, code) == {}
    assert "secrets without a value" not in notes_of(tmp_path, {})


def test_a_class_in_a_module_that_asks_whether_a_variable_is_set_is_no_settings_class(tmp_path):
    code = (
        "import os\nfrom dataclasses import dataclass\n@dataclass\nclass Config:\n    limit: int\n"
        "if 'PATH' in os.environ:\n    Config(1)\n"
    )
    assert "LIMIT" not in notes_of(tmp_path, {"main.py": f"import config\n{APP}", "config.py": code})


def test_a_browser_that_selenium_needs_is_reported(tmp_path):
    files = {"main.py": APP, "requirements.txt": "fastapi\nuvicorn\nselenium\n"}
    assert "requirements.txt: selenium needs a browser" in notes_of(tmp_path, files)
