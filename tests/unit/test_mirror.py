"""The stand-in for MongoDB's package repository."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from slipway.lab import mirror


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    root = tmp_path / "root"
    (root / "pool").mkdir(parents=True)
    (root / "pool" / "file").write_text("content")
    (tmp_path / "outside").write_text("secret")
    with mirror.server(root, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_it_serves_files_and_lists_no_folder(url):
    assert requests.get(f"{url}/pool/file", timeout=5).text == "content"
    assert requests.get(f"{url}/pool/", timeout=5).status_code == 404


def test_it_serves_nothing_outside_its_folder(url):
    prepared = requests.Request("GET", url).prepare()
    prepared.url = f"{url}/../outside"
    assert requests.Session().send(prepared, timeout=5).status_code == 404


def test_a_package_says_that_it_is_a_stand_in_and_its_true_version():
    text = mirror.control("mongodb-org-server", "6.0.5", "libc6", "MongoDB database server")
    assert "Package: mongodb-org-server\nVersion: 6.0.5\n" in text
    assert "(stand-in)" in text


def test_another_recipe_is_another_mirror(monkeypatch):
    before = mirror.recipe_hash()
    monkeypatch.setattr(mirror, "_has_go", lambda: not before)
    with_other_tools = mirror.recipe_hash()
    monkeypatch.setattr(mirror, "_has_go", lambda: True)
    assert len({with_other_tools, mirror.recipe_hash()}) == 2
