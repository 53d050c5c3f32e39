"""The documentation as a site: it is built in a fresh checkout, without a broken link."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.checkout import copy_checkout


@pytest.mark.thorough
def test_the_documentation_is_built_as_a_site_that_needs_no_network(tmp_path: Path) -> None:
    copy_checkout(tmp_path / "slipway")
    done = subprocess.run(
        ["make", "docs"], cwd=tmp_path / "slipway", capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [*(tmp_path / "slipway/docs/_build").rglob("*.html")]
    assert {"index.html", "settings.html", "glossary.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page
