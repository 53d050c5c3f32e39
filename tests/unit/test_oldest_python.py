"""Programs that run by a host's own Python have nothing that the oldest supported system's lacks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from slipway.systems import SYSTEMS

PACKAGE = Path(__file__).resolve().parents[2] / "slipway"
FOLDERS = ("alarms/*.py", "backups/*.py", "releases/host.py", "releases/launcher.py", "releases/program.py")
FACTS = ("mongodb_*.py", "earlier_backend.py", "searches.py", "own_addresses.py")
PROGRAMS = [
    *(file for pattern in FOLDERS for file in PACKAGE.glob(pattern)),
    *(file for pattern in FACTS for file in (PACKAGE / "facts").glob(pattern)),
    PACKAGE / "upkeep/on_host.py",
]
OLDEST = min(tuple(map(int, system.python.split("."))) for system in SYSTEMS.values())
# By version what its standard library has first. https://docs.python.org/3/whatsnew/3.11.html
LATER = {
    (3, 11): {"datetime.UTC", "enum.StrEnum", "tomllib", "contextlib.chdir", "typing.Self", "hashlib.file_digest"},
    (3, 12): {"itertools.batched", "typing.override"},
}
MISSING = {name for version, names in LATER.items() if version > OLDEST for name in names}


def names_in(text: str) -> set[str]:
    """What a program imports, and the attributes of modules that it uses."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text, feature_version=OLDEST)):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{one.name}" for one in node.names} | {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add(f"{node.value.id}.{node.attr}")
    return found


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: f"{program.parent.name}/{program.name}")
def test_it_runs_by_the_oldest_python(program):
    assert not names_in(program.read_text()) & MISSING


def test_what_is_later_would_be_found():
    assert names_in("from datetime import UTC, datetime\nimport enum\nclass A(enum.StrEnum): pass\n") >= {
        *("datetime.UTC", "enum.StrEnum"),
    }
    with pytest.raises(SyntaxError):
        names_in("try:\n    pass\nexcept* OSError:\n    pass\n")
