"""The notes of an operation: the reason for a change, and the diff."""

from __future__ import annotations

import hashlib

import pytest

from slipway.ops import files

CONTENT = b"one\ntwo\n"
PATH = "/etc/app.conf"
AS_IT_SHOULD_BE = {
    "kind": "regular file",
    "owner": "root",
    "group": "root",
    "mode": "644",
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
}


@pytest.fixture
def notes(monkeypatch):
    """The notes of tell_difference for a file that is in a state, and has a text."""

    class Host:
        def get_fact(self, fact, path):
            return self.text

    host, said = Host(), []
    monkeypatch.setattr(files, "host", host)
    monkeypatch.setattr(files.notes, "note", said.append)
    monkeypatch.setattr(files.notes, "diff", said.append)

    def tell(state, text="", secret=False):
        host.text = text
        said.clear()
        files.tell_difference(PATH, state, CONTENT, "644", "root", "root", secret)
        return list(said)

    return tell


@pytest.mark.parametrize(
    ("what", "found", "wanted"),
    [("owner", "nobody", "root"), ("group", "adm", "root"), ("mode", "600", "644"), ("kind", "fifo", "regular file")],
)
def test_whatever_of_a_file_is_wrong_is_reported(notes, what, found, wanted):
    assert notes({**AS_IT_SHOULD_BE, what: found}) == [f"{PATH}: {what} {found} -> {wanted}"]


def test_other_contents_are_a_diff(notes):
    said = notes({**AS_IT_SHOULD_BE, "sha256": "other"}, "one\nthree\n")
    assert said == [f"--- {PATH}\n+++ {PATH}\n@@ -1,2 +1,2 @@\n one\n-three\n+two"]


def test_a_new_file_is_reported_and_shown(notes):
    told, diff = notes({})
    assert told == f"{PATH}: new, 8 bytes, root:root 644"
    assert diff.splitlines()[-2:] == ["+one", "+two"]


def test_contents_that_differ_in_no_line_are_reported_all_the_same(notes):
    assert notes({**AS_IT_SHOULD_BE, "sha256": "other"}, CONTENT.decode()) == [
        f"{PATH}: only the newline at the end differs"
    ]


@pytest.mark.parametrize("state", [{}, {**AS_IT_SHOULD_BE, "sha256": "other"}])
def test_of_a_secret_no_line_is_shown(notes, state):
    (said,) = notes(state, "three\n", secret=True)
    assert not {"one", "two", "three"} & set(said.split())
