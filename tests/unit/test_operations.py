"""What each operation would run, as a value: golden cases in tests/unit/operations (see tests/support/golden.py).

`pytest tests/unit/test_operations.py --rewrite-golden` writes what the operations yield now: read the diff in git.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from slipway.tasks import guard
from support import golden

CASES = sorted((Path(__file__).parent / "operations").glob("*/*.yaml"))
# Not an operation itself: those yield from it whose change could lock everybody out.
OTHERS = {"guard.guarded": guard.guarded}


@pytest.mark.parametrize("path", CASES, ids=[f"{path.parent.name}: {path.stem}" for path in CASES])
def test_an_operation_yields_the_commands_of_its_golden_case(path, request, settings_with, monkeypatch, tmp_path):
    given = yaml.load(golden.parts(path)[0], golden.Loader)
    operation = {**golden.operations(), **OTHERS}[path.parent.name]
    found = golden.Runner(settings_with, monkeypatch, tmp_path).run(operation, given)
    if request.config.getoption("--rewrite-golden"):
        golden.rewrite(path, found)
    elif found != golden.expected(path):
        pytest.fail(f"{path}:\n{golden.difference(path, found)}", pytrace=False)


def test_every_operation_has_a_golden_case_with_a_change_and_one_with_nothing_to_do():
    found = {
        name: [golden.expected(path) for path in CASES if path.parent.name == name] for name in golden.operations()
    }
    # These always do what they are told, or raise.
    always = {
        "units.restart",
        "mongodb_tls.rotate",
        "fail2ban.spare",
        "release.step",
        "release.hook",
        "release.check_id",
        "release.ship",
    }
    assert [name for name, cases in found.items() if not any("commands" in case for case in cases)] == []
    assert [name for name, cases in found.items() if name not in always and {} not in cases] == []


def test_no_golden_case_is_of_an_operation_that_is_gone():
    assert {path.parent.name for path in CASES} <= {*golden.operations(), *OTHERS}
