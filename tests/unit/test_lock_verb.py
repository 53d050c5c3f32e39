"""`slipway lock`."""

from __future__ import annotations

import pytest

from slipway.cli.lock import locked, system_python
from slipway.dependencies import lockfile
from slipway.engine.errors import RunFailed
from support.typed import slipway


@pytest.fixture
def site(settings_with, tmp_path):
    """Settings of a site whose backend needs some packages."""

    def site(listed: str, **settings: object):
        folder = tmp_path / "backend"
        folder.mkdir(exist_ok=True)
        (folder / "requirements.txt").write_text(listed)
        return settings_with(backend_source=str(folder), **settings)

    return site


def test_what_is_written_and_changed_is_reported(site, index, tmp_path):
    index.add("server", "1.0")
    index.add("loop", "1.0")
    one, source = site("server\nloop\n"), tmp_path / "backend"
    lock = f"{source}/pylock.slipway.toml"
    assert locked({"a": [one]}, {"a": "3.11"}, False) == [f"{lock}: 2 packages for Python 3.11; commit it"]
    assert locked({"a": [one]}, {"a": "3.11"}, False) == [f"{lock} is up to date"]
    index.add("server", "1.1")
    index.add("more", "1.0")
    (said,) = locked({"a": [site("server\nmore\n")]}, {"a": "3.11"}, True)
    assert (
        said == f"{lock}: 2 packages for Python 3.11; loop 1.0 removed, more new -> 1.0, server 1.0 -> 1.1; commit it"
    )
    assert sorted(path.name for path in source.iterdir()) == ["pylock.slipway.toml", "requirements.txt"]


def test_a_package_that_fails_with_the_newest_version_of_another_one_gets_an_older_one(site, index, tmp_path):
    index.add("motor", "3.5.1", requires="pymongo<5,>=4.5")
    for version in ("4.8.0", "4.9.0"):
        index.add("pymongo", version)
    locked({"a": [site("motor==3.5.1\n")]}, {"a": "3.11"}, False)
    text = (tmp_path / "backend/pylock.slipway.toml").read_text()
    assert lockfile.versions(text) == {"motor": "3.5.1", "pymongo": "4.8.0"}
    assert "# pymongo<4.9: motor 3.5.1 does not run with newer ones.\n" in text
    (said,) = locked({"a": [site("motor==3.5.1\n")]}, {"a": "3.11"}, False)
    assert said.endswith(" is up to date")
    # A list that names the version gets it, and so does a newer motor.
    locked({"a": [site("motor==3.5.1\npymongo==4.9.0\n")]}, {"a": "3.11"}, False)
    assert lockfile.versions((tmp_path / "backend/pylock.slipway.toml").read_text())["pymongo"] == "4.9.0"


def test_what_is_not_locked_is_told(site, index, tmp_path):
    index.add("server", "1.0")
    one = site("-e .\nserver\n")
    (tmp_path / "backend/setup.py").write_text("setup(install_requires=open('list').readlines())")
    _, said = locked({"a": [one]}, {"a": "3.11"}, False)
    assert said.startswith("requirements.txt line 1: . is ignored, ")


def test_the_python_of_the_setting_wins_over_the_servers(site, index, tmp_path):
    index.add("server", "1.0")
    locked({"a": [site("server\n", python_version="3.12")]}, {}, False)
    assert 'python = "3.12"' in (tmp_path / "backend/pylock.slipway.toml").read_text()


def test_what_has_a_lock_of_its_own_is_left_alone(site, tmp_path):
    one = site(f"server==1.0 --hash=sha256:{'0' * 64}\n")
    (said,) = locked({"a": [one]}, {"a": "3.11"}, False)
    assert said.endswith("is locked by a file of its own; nothing to do")
    assert [path.name for path in (tmp_path / "backend").iterdir()] == ["requirements.txt"]


def test_one_source_for_two_versions_of_python_is_refused(site, index):
    index.add("server", "1.0")
    one = site("server\n")
    with pytest.raises(RunFailed, match=r"found Python 3.11 and 3.13 on its hosts, expected one: set python_version"):
        locked({"a": [one], "b": [one]}, {"a": "3.11", "b": "3.13"}, False)


def test_a_list_that_cant_be_locked_leaves_the_lock_as_it_was(site, index, tmp_path):
    index.add("server", "1.0")
    locked({"a": [site("server\n")]}, {"a": "3.11"}, False)
    before = (tmp_path / "backend/pylock.slipway.toml").read_bytes()
    with pytest.raises(
        RunFailed, match=r"backend': its dependencies can't be locked:\n  - requirements.txt line 1: found an editable"
    ):
        locked({"a": [site("-e ./lib\n")]}, {"a": "3.11"}, False)
    with pytest.raises(RunFailed, match=r"requirements.txt: other"):
        locked({"a": [site("other\n")]}, {"a": "3.11"}, False)
    assert (tmp_path / "backend/pylock.slipway.toml").read_bytes() == before


def test_the_python_of_a_fresh_server_is_its_systems():
    assert system_python({"python": "3.11.2", "os": "debian", "release": "13"}) == "3.11"
    assert system_python({"python": "", "os": "debian", "release": "13"}) == "3.13"
    with pytest.raises(RunFailed, match="set python_version"):
        system_python({"os": "other", "release": "1"})


def test_a_server_that_is_not_there_yet_is_taken_for_debian_12(project, index):
    index.add("server", "1.0")
    backend = project / "examples/codementee/backend"
    (backend / "requirements.txt").write_text("server\n")
    # A lock opens no account.
    settings = project / "group_data/all.py"
    settings.write_text(f'{settings.read_text()}\nadmin_keys = ["~/.ssh/not-there.pub"]\n')
    done = slipway("lock", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "Could not resolve hostname" in done.stderr
    assert "locked for Python 3.11, which Debian 12 has" in done.stderr
    assert "for Python 3.11 on Linux" in (backend / "pylock.slipway.toml").read_text()
