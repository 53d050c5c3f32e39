"""The environment's name, as the application's code knows production by it."""

from __future__ import annotations

import pytest

from support.repositories import APP, read

SETTINGS = "from pydantic_settings import BaseSettings\n"


def values(top, code: str, **more: str) -> dict[str, str]:
    """backend_environment of an application that reads its variables in config.py."""
    found = read(top, {"main.py": f"import config\n{APP}", "config.py": code, **more}).all_found
    return next((one.value for one in found if one.setting == "backend_environment"), {})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if os.getenv('ENV', 'dev') == 'prod':\n    x = 1\n", "prod"),
        ("ENV = os.environ.get('ENV')\nis_live = ENV in ('prod', 'staging')\n", "prod"),
        ("DOCS = None if os.getenv('ENV', 'dev').upper() != 'PROD' else '/docs'\n", "PROD"),
        ("MODES = {'dev': 1, 'prod': 2}\nmode = MODES[os.getenv('ENV', 'dev')]\n", "prod"),
        ("MODES = dict(dev=1, prod=2)\nmode = MODES.get(os.getenv('ENV', 'dev'), 1)\n", "prod"),
        ("match os.getenv('ENV'):\n    case 'prod':\n        x = 1\n", "prod"),
        ("LIVE = 'prod'\nx = os.getenv('ENV', 'dev') == LIVE\n", "prod"),
        ("ENV = os.getenv('ENV', 'dev')\nx = open(f'config.{ENV}.yaml')\n", "prod"),
        ("x = open('config.' + os.getenv('ENV', 'dev') + '.yaml')\n", "prod"),
        # It has no such file, or compares with another stage.
        ("x = open(f\"other.{os.getenv('ENV', 'dev')}.yaml\")\n", "production"),
        ("x = os.getenv('ENV', 'dev') == 'development'\n", "production"),
        ("x = os.getenv('OTHER', 'dev') == 'prod'\nos.getenv('ENV')\n", "production"),
    ],
)
def test_production_has_the_name_that_the_code_compares_with(tmp_path, code, expected):
    assert values(tmp_path, f"import os\n{code}", **{"config.prod.yaml": "x: 1\n"})["ENV"] == expected


def test_a_stage_in_settings_is_compared_where_they_are_used(tmp_path):
    code = f"{SETTINGS}class S(BaseSettings):\n    ENV: str = 'local'\n\ns = S()\nis_live = s.ENV == 'prod'\n"
    assert values(tmp_path, code)["ENV"] == "prod"


CLASSES = "class Base: ...\nclass Dev(Base):\n    NAME = 'dev'\nclass Live(Base):\n    NAME = '{}'\n"
LOOP = "name = os.getenv('ENV', 'dev')\nits = next(one for one in Base.__subclasses__() if one.NAME == name)\n"


@pytest.mark.parametrize(
    ("name", "expected"), [("prod", "prod"), ("PRODUCTION", "PRODUCTION"), ("products", "production")]
)
def test_production_has_the_only_name_that_the_module_has(tmp_path, name, expected):
    assert values(tmp_path, f"import os\n{CLASSES.format(name)}{LOOP}")["ENV"] == expected


def test_of_several_names_none_is_taken_for_production(tmp_path):
    code = f"import os\n{CLASSES.format('prod')}{LOOP}LABEL = 'Production'\n"
    assert values(tmp_path, code)["ENV"] == "production"


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        ("ENV=dev # dev or prod\n", "prod"),
        ("A=1\n# dev or prod\n# as the file is called\nENV=dev\n", "prod"),
        ("# for prod\nA=1\nENV=dev\n", "production"),
        ("# production is called prod\nENV=dev\n", "production"),
        ("ENV=dev # products\n", "production"),
    ],
)
def test_production_has_the_name_in_the_comment_of_an_example(tmp_path, example, expected):
    code = "import os\nfile = open(os.environ['ENV'])\n"
    assert values(tmp_path, code, **{".env.example": example})["ENV"] == expected


def test_what_the_code_compares_with_comes_before_comments(tmp_path):
    code = "import os\nis_live = os.environ['ENV'] == 'production'\n"
    assert values(tmp_path, code, **{".env.example": "ENV=dev # or prod\n"})["ENV"] == "production"
