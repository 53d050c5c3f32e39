"""The prefix that environs puts before the names of variables."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of, read

ENVIRONS = "from environs import Env\nenv = Env()\n"


def names(top, code: str) -> set[str]:
    """All variables that are read in config.py."""
    found = read(top, {"main.py": f"import config\n{APP}", "config.py": f"{ENVIRONS}{code}\n"})
    return {one.name for one in found.project.backend.variables.found}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("with env.prefixed('SHOP_'):\n    x = env.str('NAME', 'x')\ny = env('NAME')", {"SHOP_NAME", "NAME"}),
        ("P = 'SHOP_'\nwith env.prefixed(P):\n    x = env('NAME')", {"SHOP_NAME"}),
        ("with env.prefixed('A_'), env.prefixed('B_'):\n    x = [env.int('NAME')]", {"A_B_NAME"}),
        ("with env.prefixed('A_'):\n    with env.prefixed('B_'):\n        x = env('NAME')", {"A_B_NAME"}),
        ("import os\nwith env.prefixed('A_'):\n    x = os.getenv('NAME')", {"NAME"}),
        ("other = Env()\nwith other.prefixed('A_'):\n    x = env('NAME')", {"NAME"}),
        ("with env.prefixed('A_'):\n    def its():\n        return env('NAME')", {"NAME"}),
        ("with env.prefixed('A_') as its, open('f'):\n    x = env.bool('NAME')", {"A_NAME"}),
    ],
)
def test_a_prefix_is_part_of_the_name(tmp_path, code, expected):
    assert names(tmp_path, code) == expected


def test_the_url_of_mongodb_is_known_with_its_prefix(tmp_path):
    code = "import pymongo\nwith env.prefixed('SHOP_'):\n    pymongo.MongoClient(env.str('MONGO_URI', 'mongodb://x'))\n"
    found = read(tmp_path, {"main.py": f"import config\n{APP}", "config.py": f"{ENVIRONS}{code}"}).all_found
    assert {one.setting: one.value for one in found}["backend_environment"] == {"SHOP_MONGO_URI": "{mongo_url}"}


@pytest.mark.parametrize("prefix", ["make()", "env('WHICH')"])
def test_a_prefix_that_is_not_known_is_reported(tmp_path, prefix):
    assert "NAME" not in names(tmp_path, f"with env.prefixed({prefix}):\n    x = env('NAME')\n    y = env('OTHER')")
    assert notes_of(tmp_path, {}).count("config.py:3: found no prefix of the variables below it") == 1
