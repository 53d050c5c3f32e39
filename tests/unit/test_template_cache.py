"""Compiled templates, kept in the user's folder for the next plan."""

from __future__ import annotations

import pytest
from jinja2 import Environment, FileSystemLoader

from slipway.ops import templates


def test_a_compiled_template_is_used_while_its_text_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "a").write_text("{{ 1 + 1 }} {{ name }}\n")

    def rendered() -> str:
        loader = FileSystemLoader(tmp_path)
        made = Environment(loader=loader, bytecode_cache=templates.compiled(), **templates.OPTIONS)
        return made.get_template("a").render(name="x")

    assert rendered() == "2 x\n"
    (kept,) = (tmp_path / "slipway/templates").iterdir()
    written = kept.read_bytes()
    with monkeypatch.context() as without:
        without.setattr(Environment, "_generate", lambda *_, **__: pytest.fail("compiled again"))
        assert rendered() == "2 x\n"
    (tmp_path / "a").write_text("{{ name }}!\n")
    assert rendered() == "x!\n"
    kept.write_bytes(written[: len(written) // 2])
    assert rendered() == "x!\n"


def test_compiled_templates_that_somebody_else_could_have_written_are_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert templates.compiled() is not None
    folder = tmp_path / "slipway/templates"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    assert templates.compiled() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert templates.compiled() is None
