"""A user's mistake in a file of the project is one line that says where, and no traceback; nothing is connected to."""

from __future__ import annotations

import pytest

from support.mistakes import told


def test_without_a_mistake_it_connects(project):
    assert "server.invalid] Could not resolve hostname" in told(project, "plan")


MISTAKES = {
    "a syntax error in a setting": (
        "group_data/all.py",
        "\nswap_mb = = 3\n",
        "group_data/all.py, line {line}: invalid syntax: swap_mb = = 3",
    ),
    "an undefined name in a setting": (
        "group_data/all.py",
        "\nswap_mb = lots\n",
        "group_data/all.py, line {line}: NameError: name 'lots' is not defined",
    ),
    "a bracket that is left open": ("inventory.py", "\nweb = [\n", "inventory.py, line {line}: '[' was never closed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_is_told_with_its_line(project, mistake):
    name, added, said = MISTAKES[mistake]
    file = project / name
    text = file.read_text() + added
    file.write_text(text)
    assert said.format(line=text.count("\n")) in told(project, "plan")


def test_a_syntax_error_in_a_file_that_the_inventory_imports_is_told_with_that_files_line(project):
    (project / "names.py").write_text("ours = = 1\n")
    inventory = project / "inventory.py"
    inventory.write_text(f"import names\n{inventory.read_text()}")
    assert "names.py, line 1: invalid syntax: ours = = 1" in told(project, "plan")


@pytest.mark.parametrize("name", ["inventory.py", "group_data/all.py"])
def test_a_file_that_is_missing_is_named(project, name):
    (project / name).unlink()
    assert f"{name}: there is no such file" in told(project, "plan")


def test_a_role_that_does_not_exist_is_no_clean_plan(project):
    (project / "inventory.py").write_text('webs = ["server.invalid"]\n')
    assert "found server.invalid in none of the roles web, app, db" in told(project, "plan")
    (project / "inventory.py").write_text('web = "server.invalid"\n')
    assert "found no host" in told(project, "plan")


def test_verify_tells_a_wrong_setting_in_the_same_words(project):
    said = told(project, "verify", "--data", "swap_mb=lots", "--data", "nonsense")
    assert "2 settings are wrong; no host was touched" in said
    assert "--data: swap_mb: found 'lots', expected a valid integer" in said
    assert "--data: found 'nonsense', expected NAME=VALUE" in said
