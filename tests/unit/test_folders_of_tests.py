"""What tests leave on the disk."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path


def test_a_tree_with_more_folders_than_files_may_be_open_is_removed(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"tree/{number}").mkdir(parents=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        shutil.rmtree(tmp_path / "tree")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [*tmp_path.iterdir()] == []
