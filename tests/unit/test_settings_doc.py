"""The page on settings is up to date and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.settings.arguments import Arguments
from slipway.settings.doc import document, meanings, sections
from slipway.settings.model import Settings
from slipway.settings.services import Service

PAGE = Path(__file__).resolve().parents[2] / "docs/settings.md"


def test_the_page_is_the_one_that_is_made_from_the_models():
    assert PAGE.read_text() == document(), "python -m slipway.settings.doc > docs/settings.md"


@pytest.mark.parametrize("model", [*sections(), Service, Arguments], ids=lambda model: model.__name__)
def test_each_setting_has_a_meaning(model):
    assert [*meanings(model)] == [*model.model_fields]


def test_the_sections_hold_every_setting_once():
    assert [name for section in sections() for name in section.model_fields] == [*Settings.model_fields]


def test_a_default_a_unit_and_what_a_default_follows_from_are_on_the_page():
    text = PAGE.read_text()
    assert "**`swap_mb`**  \ninteger from 0 to 65536; unit: MiB; default: `1024`  \nSize of `/swapfile`" in text
    assert 'derived: site_name, `"/run/{site_name}-backend.sock"`' in text
