"""The exchange of two folders, atomic or not, and interrupted at each step."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from slipway.backups import exchange as module
from slipway.backups.exchange import _by_entries, exchange, settle
from slipway.backups.host import Failed


def fill(folder, content):
    (folder / "journal").mkdir(parents=True)
    for name in ("collection.wt", "journal/log", f"only-{content}"):
        (folder / name).write_text(content)


def read(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def two(tmp_path):
    """The data, and the restored folder."""
    fill(tmp_path / "data", "old")
    fill(tmp_path / "data.restore", "new")
    return tmp_path / "data", tmp_path / "data.restore"


@pytest.mark.parametrize("is_atomic", [True, False])
def test_each_has_the_others_content_and_the_mode_of_the_data(two, is_atomic, monkeypatch):
    data, restored = two
    data.chmod(0o750)
    restored.chmod(0o700)
    old, new = read(data), read(restored)
    if not is_atomic:
        monkeypatch.setattr(module, "_at_once", lambda folder, other: errno.EXDEV)
    exchange(str(data), str(restored))
    assert (read(data), read(restored)) == (new, old)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (data, restored)] == [0o750, 0o750]
    assert not settle(str(data))
    assert sorted(path.name for path in data.parent.iterdir()) == ["data", "data.restore"]


def test_what_is_not_there_is_reported_and_nothing_changes(two):
    data, _ = two
    before = read(data)
    with pytest.raises(Failed, match="No such file"):
        exchange(str(data), f"{data}.nothing")
    assert read(data) == before


class PowerCut(Exception):
    pass


def cut_after(monkeypatch, count):
    """A power cut after this number of changes."""
    left = [count]

    def counted(real):
        def change(*arguments):
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            return real(*arguments)

        return change

    monkeypatch.setattr(os, "rename", counted(os.rename))
    monkeypatch.setattr(os, "remove", counted(os.remove))
    monkeypatch.setattr(module, "_copy", counted(module._copy))
    monkeypatch.setattr(module, "write", counted(module.write))


@pytest.mark.parametrize("copies", [False, True])
def test_cut_off_anywhere_it_is_the_one_or_the_other_after_settle(two, monkeypatch, copies):
    data, restored = two
    old, new = read(data), read(restored)
    if copies:
        rename = os.rename

        def of_an_overlay(source, target):
            if source.endswith("/journal"):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            rename(source, target)

        monkeypatch.setattr(os, "rename", of_an_overlay)
    ends = []
    for count in range(100):
        with monkeypatch.context() as patch:
            cut_after(patch, count)
            try:
                _by_entries(str(data), str(restored))
                ends.append("whole")
            except PowerCut:
                ends.append("cut")
        settle(str(data))
        assert read(data) in (old, new), f"after {count} changes"
        if read(data) == new:
            break
        # What was restored may be incomplete now: it can be restored again.
        for path in (restored, data.parent / "data.aside"):
            module._remove(str(path))
        fill(restored, "new")
    assert len(ends) > 5
    assert "cut" in ends
