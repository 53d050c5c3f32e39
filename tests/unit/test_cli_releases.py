"""The verbs of releases on the command line, without a host."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.engine.outcome import Outcome
from slipway.releases import sources
from slipway.releases.listing import ReleaseThere
from slipway.releases.sources import Sources
from support.fake_session import CHANGES, DOWN, FakeSession
from support.typed import slipway

PLANNED = Outcome(CHANGES, [], 9, 1.0)


@pytest.fixture(autouse=True)
def _settings(monkeypatch, settings_with):
    """Two hosts with a site each, of names of their own."""
    sites = {"one": settings_with(), "two": settings_with(site_name="blog")}
    monkeypatch.setattr(FakeSession, "settings", sites)


@pytest.fixture
def released(monkeypatch):
    """What a release would be made of, or why it can't be."""

    def released(found):
        def of(settings):
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(sources, "of", of)

    released(Sources(Path("/our/site/backend"), Path("/our/site/frontend"), "0c890ac", ""))
    return released


def data(run) -> list[str]:
    """The settings that the session got."""
    return [item for item in run.session.last.arguments[3] if not item.endswith("=")]


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], []),
        (["--ref", "v1.4.2"], ["release_ref=v1.4.2"]),
        (["--path", "../other", "--site", "blog"], ["release_site=blog", "release_path=../other"]),
        (["--only", "frontend"], ['release_parts=["frontend"]']),
        (["--only", "backend,frontend"], ['release_parts=["backend", "frontend"]']),
        # What is said in so many words wins over an option.
        (["--data", "swap_mb=0", "--ref", "a=b"], ["swap_mb=0", "release_ref=a=b"]),
    ],
)
def test_a_release_is_of_what_the_options_say(run, released, arguments, settings):
    code, _, errors = run(PLANNED, "release", "lab", "--yes", "--limit", "web", *arguments)
    assert (code, errors, run.session.last.said) == (0, "", ["applied"])
    environment, deploy, limit, *_ = run.session.last.arguments
    assert (environment, deploy, limit, data(run)) == ("lab", "release.py", ("web",), settings)


@pytest.mark.parametrize(
    ("commit", "ref", "said"),
    [
        ("0c890ac", "v1", "backend and frontend of v1 (0c890ac)."),
        ("0c890ac", "", "backend and frontend of /our/site (0c890ac)."),
        ("0c890ac-dirty", "", "of /our/site (0c890ac-dirty, with changes that are not in git)."),
        ("", "", "backend and frontend of /our/site (not in git)."),
    ],
)
def test_what_is_released_where_is_said_before_it_is_confirmed(run, released, monkeypatch, commit, ref, said):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    released(Sources(Path("/our/site/backend"), Path("/our/site/frontend"), commit, ref))
    code, output, errors = run(PLANNED, "release", "lab", "--quiet")
    assert (code, run.session.last.said) == (1, [])
    assert output.startswith("Releasing to one, two: ")
    assert said in output
    assert "confirm with --yes" in errors


@pytest.mark.parametrize(
    ("backend", "folder"), [(".", "/our/site"), ("api/src", "/our/site"), ("web", "/our/site/web")]
)
def test_the_folder_that_is_released_is_the_one_that_holds_all_of_it(run, released, backend, folder):
    site = Path("/our/site")
    released(Sources(site / backend, site / "web", "", ""))
    code, output, _ = run(PLANNED, "release", "lab", "--yes")
    assert code == 0
    assert f"backend and frontend of {folder} (not in git)" in output


def test_a_quiet_release_that_is_confirmed_says_nothing(run, released):
    assert run(PLANNED, "release", "lab", "--yes", "--quiet") == (0, "", "")


def test_a_missing_release_or_site_is_an_error_and_nothing_is_done(run, released):
    released(PyinfraError("release_ref = 'v9': found no such branch"))
    code, _, errors = run(PLANNED, "release", "lab", "--yes", "--ref", "v9")
    assert (code, run.session.last.said) == (1, [])
    assert errors == "slipway: release_ref = 'v9': found no such branch; nothing was changed\n"


def test_a_release_that_fails_is_an_error_and_no_other_exit_code(run, released):
    code, _, errors = run(Outcome(CHANGES, [], 9, 1.0, DOWN), "release", "lab", "--yes")
    assert code == 1
    assert "Could not connect" in errors


@pytest.mark.parametrize(
    ("words", "environment", "settings"),
    [
        ([], "production", []),
        (["lab"], "lab", []),
        (["20261126031500-0c890ac"], "production", ["release_id=20261126031500-0c890ac"]),
        (["lab", "2026-a", "--site", "blog"], "lab", ["release_site=blog", "release_id=2026-a"]),
    ],
)
def test_a_rollback_takes_an_environment_an_id_or_both(run, words, environment, settings):
    code, output, _ = run(PLANNED, "rollback", "--yes", *words)
    assert (code, run.session.last.said) == (0, ["applied"])
    assert run.session.last.arguments[:2] == (environment, "rollback.py")
    assert data(run) == settings
    assert "Configure Nginx" in output


def test_a_rollback_that_nobody_confirms_does_nothing(run, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, output, errors = run(PLANNED, "rollback", "lab", "--quiet")
    assert (code, run.session.last.said) == (1, [])
    assert "Configure Nginx" in output
    assert "confirm with --yes" in errors


def test_the_releases_of_each_host_are_listed_and_what_they_say_is_shown_and_not_obeyed(run, monkeypatch):
    there = [ReleaseThere(id="2026-b", place="current", when="now", who="[red]me\x1b[31m"), ReleaseThere(id="2026-a")]
    monkeypatch.setattr("slipway.releases.listing.releases_of", lambda session: {"one": there, "two": []})
    code, output, errors = run(Outcome([], [], 0, 0.0), "releases", "lab", "--site", "blog")
    assert (code, errors, data(run)) == (0, "", ["release_site=blog"])
    assert output.splitlines() == [
        "one  web",
        "  current  2026-b  now by [red]me\\x1b[31m",
        "           2026-a",
        "two  db",
        "           none",
    ]


def test_of_a_host_that_is_down_nothing_is_listed_and_it_is_an_error(run, monkeypatch):
    monkeypatch.setattr("slipway.releases.listing.releases_of", lambda session: {"one": [ReleaseThere(id="2026-a")]})
    code, output, errors = run(Outcome([], [], 0, 0.0, DOWN), "releases", "lab")
    assert code == 1
    assert "2026-a" in output
    assert "two" not in output
    assert "[two] Could not connect" in errors


@pytest.mark.parametrize(("state", "command"), [("on", "touch"), ("off", "rm -f")])
def test_maintenance_is_of_each_hosts_own_site(run, state, command):
    code, output, _ = run(Outcome([], [], 0, 0.0), "maintenance", state, "lab")
    assert code == 0
    assert run.session.last.said == [
        f"one: maintenance {state}: {command} /var/www/codementee/maintenance",
        f"two: maintenance {state}: {command} /var/www/blog/maintenance",
    ]
    assert output == f"one, two: maintenance is {state}\n"
    # Visitors are the web's.
    assert run.session.last.arguments[2] == ("web",)
    run(Outcome([], [], 0, 0.0), "maintenance", state, "lab", "--limit", "one")
    assert run.session.last.arguments[2] == ("one",)


@pytest.mark.parametrize(
    ("state", "command"), [("on", "install -d -m 755 /var/www/codementee && touch"), ("off", "rm -f")]
)
def test_a_load_balancers_alarms_know_of_the_maintenance(run, monkeypatch, balanced_with, state, command):
    monkeypatch.setattr(FakeSession, "settings", {"one": balanced_with("one"), "two": balanced_with("lb")})
    run(Outcome([], [], 0, 0.0), "maintenance", state, "lab")
    assert run.session.last.arguments[2] == ("web", "lb")
    assert run.session.last.said[1] == f"two: maintenance {state}: {command} /var/www/codementee/maintenance"


WRONG = [
    ["release", "nowhere"],
    ["release", "--nonsense"],
    ["release", "lab", "v1"],
    ["release", "--ref"],
    ["release", "--ref", ""],
    ["release", "--only", ""],
    ["release", "--path", ""],
    ["rollback", "--site", ""],
    ["rollback", "lab", "2026-a", "2026-b"],
    ["rollback", "lab", ""],
    ["rollback", "lab", "lab", "2026-a"],
    ["releases", "lab", "2026-a"],
    ["maintenance"],
    ["maintenance", "lab"],
    ["maintenance", "maybe", "lab"],
    ["maintenance", "on", "nowhere"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_is_an_error_and_no_session_begins(run, arguments):
    code, output, errors = run(PLANNED, *arguments)
    assert (code, output) == (1, "")
    assert errors.startswith(("Usage: slipway ", "Error: Option "))
    assert not hasattr(run.session, "last")


# What a user types, and what he is told; the settings are checked before a host is asked.
REFUSED = {
    "an id of another kind": (["rollback", "v1"], "release_id: found 'v1', expected a release's id"),
    "a part that there is not": (
        ["release", "--only", "backend,database"],
        "release_parts[1]: found 'database', expected 'backend' or 'frontend'",
    ),
    "a comma too many": (["release", "--only", "backend,"], "release_parts[1]: found '', expected 'backend'"),
    "two answers to what": (["release", "--ref", "v1", "--path", "."], "release_path: found '.', expected ''"),
    "a folder that is not there": (
        ["release", "--path", "nowhere"],
        "release_path: found 'nowhere', expected a",
    ),
    "an option for a ref": (["release", "--ref=--exec=x"], "release_ref: found '--exec=x', expected a branch, tag or"),
    "a site that is not there": (["maintenance", "on", "--site", "blok"], "release_site: found 'blok', expected ''"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cant_be_meant_is_reported_with_the_setting_before_a_host_is_asked(project, what):
    arguments, said = REFUSED[what]
    done = slipway(*arguments, cwd=project)
    assert done.returncode == 1
    assert done.stderr.startswith("slipway: 1 setting is wrong; no host was touched.\n")
    assert said in done.stderr
