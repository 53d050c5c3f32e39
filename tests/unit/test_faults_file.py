"""tests/faults.toml matches the product and the tests; `make test-faults` plants its faults."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from support.faults import Copy, Fault, check_green, chosen, load, paths, try_out

PROJECT = Path(__file__).resolve().parents[2]
FAULTS = load()
# The cases of test_operations.py.
GOLDEN = PROJECT / "tests/unit/operations"
PRODUCT = ("slipway/", "tasks/", "templates/", "lab/", "deploy.py", "release.py", "rollback.py")


@cache
def text_of(path: str) -> str:
    """A file that many faults are about."""
    return (PROJECT / path).read_text()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_product_and_names_tests_that_are_there(fault):
    assert fault.file.startswith(PRODUCT)
    assert fault.planted(text_of(fault.file))
    assert paths(fault.caught_by)
    # On a host or not is said, as one takes seconds and the other minutes.
    folder = "tests/unit/" if not fault.host else ("tests/e2e/", "tests/server/")
    for path in paths(fault.caught_by):
        assert path.startswith(folder)
        assert (PROJECT / path).exists(), path
    assert fault.why.endswith(".")
    # A test that was renamed would leave the selection empty.
    _, is_selected, word = fault.caught_by.partition(" -k ")
    names = re.findall(r"def (test_\w+)", "".join(text_of(path) for path in paths(fault.caught_by)))
    cases = [path.name for path in GOLDEN.iterdir()] if "test_operations.py" in fault.caught_by else []
    assert not is_selected or any(word in name for name in (*names, *cases))


def test_there_are_enough_faults_and_each_has_a_name_of_its_own():
    assert len(FAULTS) >= 25
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []
    told = (PROJECT / "docs/tests.md").read_text()
    assert f"plants each of the {len(FAULTS)} faults of " in told
    assert f"containers for {sum(fault.host for fault in FAULTS)} of them" in told


def test_a_fault_that_does_not_fit_any_more_is_reported_with_its_file():
    fault = Fault("Gone", "deploy.py", "no such text", "", "tests/unit/test_deploy.py", "Nothing.")
    with pytest.raises(ValueError, match=r"deploy\.py: found 0 of the text to replace, expected 1"):
        fault.planted("a text")
    nothing = Fault("Same", "deploy.py", "text", "text", "tests/unit/test_deploy.py", "Nothing.")
    with pytest.raises(ValueError, match="changes nothing"):
        nothing.planted("a text")


def test_only_some_are_chosen_by_a_part_of_their_name():
    one, two = (Fault(name, "", "", "", "", "", host=name == "Two") for name in ("One", "Two"))
    assert chosen([one, two], ["tw"], no_host=False) == [two]
    assert chosen([one, two], [], no_host=True) == [one]


LOOK = "assert open('product').read() == 'right'"
TESTS = {
    "sees": f"def test_it():\n    {LOOK}\n",
    "sees nothing": "def test_it():\n    pass\n",
    "can't be collected": "import nonsense_that_is_nowhere\n",
    "fails in what it sets up": f"import pytest\n@pytest.fixture\ndef f():\n    {LOOK}\ndef test_it(f):\n    pass\n",
}


@pytest.mark.parametrize(
    ("test", "in_setup", "red", "reason"),
    [
        ("sees", False, "test_it", ""),
        ("sees nothing", False, "", "the tests pass with it"),
        ("can't be collected", False, "", "pytest ended with 2"),
        ("fails in what it sets up", False, "", "a test failed before it began"),
        ("fails in what it sets up", True, "test_it", ""),
    ],
)
def test_only_a_test_that_fails_has_caught_a_fault(tmp_path, test, in_setup, red, reason):
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "product").write_text("right")
    (folder / "test_product.py").write_text(TESTS[test])
    fault = Fault("Wrong", "product", "right", "wrong", "test_product.py", "All.", in_setup=in_setup)
    result = try_out(fault, Copy(folder))
    assert (result.test, result.reason.partition("\n")[0]) == (red, reason)
    assert (folder / "product").read_text() == "right", "the copy is as it was"


@pytest.mark.parametrize(
    ("text", "told"), [("right", ""), ("wrong", "without a fault these tests already fail: tests/")]
)
def test_tests_that_fail_without_a_fault_are_told_before_one_is_planted(tmp_path, text, told):
    (tmp_path / "tests").mkdir()
    (tmp_path / "product").write_text(text)
    (tmp_path / "tests/test_product.py").write_text(TESTS["sees"])
    fault = Fault("Wrong", "product", "right", "wrong", "tests/test_product.py -k it", "All.")
    said = check_green([fault], Copy(tmp_path))
    assert said.startswith(told)
    assert bool(said) is bool(told)
