"""MongoDB's repository from the apply that sets a new series to `slipway upgrade`, and after it."""

from __future__ import annotations

import pytest

from slipway.facts.files import FileState
from slipway.settings.mongodb import KEYS
from slipway.tasks import mongodb
from slipway.tasks.mongodb_series import KEYRING_BEFORE, QUESTION, SOURCES
from slipway.upkeep.repositories import settle
from support.described import Server, described

SUITE = "Suites: bookworm/mongodb-org/{}"
KEY = "Trust the key of MongoDB {} until its upgrade"


def repository(settings, installed: str = "", sources: str = "", there: dict[str, str] | None = None) -> Server:
    with described(settings, ("db",)) as (server, host):
        status = f"installed {installed}" if installed else ""
        host.answers = {QUESTION: f"{status}\n{sources}", FileState: there or {}}
        mongodb.repository(settings)
    return server


def content(server: Server, path: str) -> str:
    return str(server.about(path).arguments["content"])


def names(server: Server) -> list[str]:
    return [one.name for one in server.operations]


def test_the_installed_series_keeps_its_repository_its_key_and_its_pin_until_the_upgrade(settings_with):
    server = repository(settings_with(mongodb_version="8.0"), "7.0.28")
    new, before = content(server, SOURCES).split("\n\n")
    assert SUITE.format("8.0") in new.splitlines()
    assert f"Signed-By: {mongodb.KEYRING}" in new
    assert SUITE.format("7.0") in before.splitlines()
    assert f"Signed-By: {KEYRING_BEFORE}" in before
    # Otherwise `apt upgrade` installs the new series.
    assert "Pin: version 7.0.*\nPin-Priority: 1001" in content(server, mongodb.PREFERENCES)
    # Its key is trusted before the new one takes its place.
    keys = [name for name in names(server) if name.startswith("Trust ")]
    assert keys == [KEY.format("7.0"), "Trust MongoDB's signing key"]
    (trusted,) = [one for one in server.operations if one.name == KEY.format("7.0")]
    assert KEYS["7.0"] in trusted.arguments["check"]
    assert "https://pgp.mongodb.com/server-7.0.asc" in trusted.arguments["command"]


@pytest.mark.parametrize("installed", ["", "7.0.5"])
def test_the_configured_series_is_alone_where_it_is_the_installed_one_or_the_first(settings_with, installed):
    server = repository(settings_with(), installed)
    assert content(server, SOURCES).count("Suites: ") == 1
    assert "Pin: version 7.0.*\nPin-Priority: 1001" in content(server, mongodb.PREFERENCES)
    assert not any("until its upgrade" in name for name in names(server))


def test_a_suite_that_does_not_exist_is_not_added(settings_with):
    # MongoDB has no 6.0 for Debian 12.
    server = repository(settings_with(mongodb_version="7.0"), "6.0.27")
    assert content(server, SOURCES).count("Suites: ") == 1
    assert "Pin: version 6.0.*" in content(server, mongodb.PREFERENCES)


def test_a_repository_of_ones_own_keeps_the_suite_that_it_had_and_its_key(settings_with):
    own = settings_with(
        mongodb_version="8.0", mongodb_apt_url="http://mirror.example/apt", mongodb_key_fingerprint="A" * 40
    )
    assert content(repository(own, "7.0.28"), SOURCES).count("Suites: ") == 1
    server = repository(own, "7.0.28", f"Types: deb\n{SUITE.format('7.0')}\n")
    assert content(server, SOURCES).count("Suites: ") == 2
    (trusted,) = [one for one in server.operations if one.name == KEY.format("7.0")]
    assert f"install -m 644 {mongodb.KEYRING} {KEYRING_BEFORE}.new" in trusted.arguments["command"]


def test_the_key_of_an_earlier_series_goes_once_it_is_needed_no_more(settings_with):
    assert repository(settings_with(), "7.0.5").all("absent") == []
    left = repository(settings_with(), "7.0.5", there={"kind": "regular file"})
    assert [one.subject for one in left.all("absent")] == [KEYRING_BEFORE]


def test_an_upgrade_leaves_the_files_as_an_apply_would_write_them(settings_with, tmp_path):
    settings = settings_with(mongodb_version="8.0")
    between, after = repository(settings, "7.0.28"), repository(settings, "8.0.17")
    files = [tmp_path / name for name in ("sources", "preferences", "key")]
    files[0].write_text(content(between, SOURCES))
    files[1].write_text(content(between, mongodb.PREFERENCES))
    files[2].touch()
    settle([*map(str, files)], "7.0", "8.0")
    assert files[0].read_text() == content(after, SOURCES)
    assert files[1].read_text() == content(after, mongodb.PREFERENCES)
    assert [path.stat().st_mode & 0o777 for path in files[:2]] == [0o644, 0o644]
    assert not files[2].exists()
