"""Arguments that are judged before a host is asked: what the host takes is taken."""

from __future__ import annotations

import pytest

from slipway.cli.types import JournalTime, Judged, Namespace, Regex, Second
from support.mistakes import told

TAKEN: list[tuple[Judged, list[str]]] = [
    (Second(), ["2026-11-29T15:00:01Z", "2026-11-29 15:00:01", "2026-11-29T15:00:01"]),
    (Namespace(), ["shop", "shop.orders", "shop.fs.files", "shop-1.a..b", "läden.x y"]),
    (
        JournalTime(),
        [
            "-1h",
            "1 hour ago",
            "1h30min ago",
            "-1.5 days",
            "+5min",
            "yesterday",
            "tomorrow",
            "now",
            "today UTC",
            "@1700000000",
            "2026-11-29 15:00",
            "2026-11-29",
            "15:00",
            "Fri 2026-11-27",
            "2026-11-29T15:00:01Z",
            "-90",
            "2M ago",
            "2026-11-29 15:00:01.5 Europe/Berlin",
            "26-11-29",
        ],
    ),
    (
        Regex(),
        [
            "4f0c9d2e",
            "a|b",
            "x{2}",
            r"\d+\.",
            r"\p{L}\K",
            "(?i)x",
            "a(?i)b",
            r"\Qa[\E",
            "[[:alpha:]]",
            "(*UTF)a",
            "[]]",
        ],
    ),
]
REFUSED: list[tuple[Judged, list[str]]] = [
    (Second(), ["yesterday", "2026-13-01T00:00:00Z", "2026-11-29", "2026-02-30 00:00:00"]),
    (Namespace(), ["x..y", ".y", "shop.", "a b.c", "shop/x"]),
    (JournalTime(), ["lately", "last week", "1 houre ago", "-1x"]),
    (Regex(), ["[", "(a", "a)", "*a", "[b-a]"]),
]


@pytest.mark.parametrize(("type_", "texts"), TAKEN)
def test_what_a_host_takes_is_taken(type_, texts):
    assert {text: type_.problem(text) for text in texts} == dict.fromkeys(texts, "")


@pytest.mark.parametrize(("type_", "texts"), REFUSED)
def test_what_a_host_refuses_is_refused_with_what_was_expected(type_, texts):
    for text in texts:
        assert "found " in type_.problem(text), text
        assert ", expected " in type_.problem(text), text


@pytest.mark.parametrize(
    "arguments",
    [
        ("restore", "--at", "yesterday"),
        ("restore", "--only", "x..y"),
        ("backup", "pull", "--at", "yesterday", "copy"),
        ("logs", "--since", "lately"),
        ("logs", "--grep", "["),
        ("release", "--ref", "nosuch", "--yes"),
    ],
)
def test_an_argument_is_judged_before_a_host_is_asked(project, arguments):
    said = told(project, *arguments)
    assert "found " in said or "nosuch" in said
    assert "resolve hostname" not in said
