"""`slipway help`."""

from __future__ import annotations

import re

from slipway import project
from slipway.cli.help import topics
from support.typed import slipway


def test_pages_are_listed_by_their_titles_and_shown_as_they_are(tmp_path):
    listed = slipway("help", cwd=tmp_path).stdout.splitlines()
    assert "sites           Sites" in listed
    assert len(listed) == len(topics()) > 20
    assert slipway("help", "sites", cwd=tmp_path).stdout == (project.PACKAGE.parent / "docs/sites.md").read_text()


def test_an_unknown_page_is_reported_with_the_nearest_one(tmp_path):
    done = slipway("help", "release", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "slipway: release: there is no such page; did you mean releases?\n")


def test_messages_name_pages_that_there_are():
    sources = "\n".join(file.read_text() for part in ("slipway", "tasks") for file in _modules(part))
    named = {*re.findall(r"slipway help ([a-z-]+)", sources)}
    assert {"sites", "backups"} <= named <= topics().keys()


def _modules(part):
    return (project.PACKAGE.parent / part).rglob("*.py")
