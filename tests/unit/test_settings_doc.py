"""The page on settings says what is."""

from __future__ import annotations

from pathlib import Path

from slipway.settings.doc import SOURCE, document
from slipway.settings.model import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs/settings.md"


def test_the_page_is_the_one_that_is_made_from_the_settings():
    assert PAGE.read_text() == document(SOURCE.read_text())


def test_every_setting_is_on_the_page():
    text = PAGE.read_text()
    assert [name for name in Settings.model_fields if f"**`{name}`**" not in text] == []
