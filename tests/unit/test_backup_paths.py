"""The folders and files of a full backup: which are stored, and what is wrong with the others."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from slipway.backups import steps
from slipway.backups.host import Facts, Failed, read_state
from support.backed_up import Kept, Server, backed_up_host, kept_in, live, written


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    return backed_up_host(tmp_path, monkeypatch)


@pytest.fixture
def kept(monkeypatch) -> Kept:
    return kept_in(monkeypatch)


def test_of_a_link_the_folder_that_it_leads_to_is_stored(facts, kept, monkeypatch, tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "files").symlink_to(tmp_path / "volume")
    live(monkeypatch, Server(written(100)))
    steps.now(facts._replace(paths=[str(tmp_path / "files"), "/etc/shop"]))
    assert kept.paths == [str(tmp_path / "volume"), "/etc/shop"]


def test_a_path_of_the_settings_that_is_not_there_fails_a_backup_that_is_stored_without_it(
    facts, kept, monkeypatch, tmp_path
):
    (tmp_path / "notes").write_text("kept")
    named = [str(tmp_path / "notes"), str(tmp_path / "ntoes")]
    live(monkeypatch, Server(written(100)))
    with pytest.raises(Failed, match=r"ntoes: found nothing there, expected a folder or file, .* out of backup_paths"):
        steps.now(facts._replace(paths=["/etc/shop", *named], named=named))
    assert kept.paths == ["/etc/shop", named[0]]
    assert "manifest" in kept.stored[-1]
    # What an application makes later is no failure.
    steps.now(facts._replace(paths=["/etc/shop", *named], named=[]))
    assert read_state()["full"]["failures"] == []


def test_uploads_whose_mount_is_gone_fail_a_backup_that_is_stored_all_the_same(facts, kept, monkeypatch, tmp_path):
    uploads = tmp_path / "shared" / "uploads"
    uploads.mkdir(parents=True)
    live(monkeypatch, Server(written(100)))
    mounted = facts._replace(uploads={str(uploads): str(tmp_path)}, paths=["/etc/shop", str(uploads)])
    with pytest.raises(Failed, match="uploads: found nothing mounted there, expected the uploads"):
        steps.now(mounted)
    assert [*map(set, kept.stored)][-1] >= {"manifest", "begin", "end", "witness"}
    # A restore would put an empty folder in their place.
    assert kept.paths == ["/etc/shop"]
    # A folder above it, but not the site's own, may be what is mounted.
    for place, is_well in ((tmp_path, False), (uploads.parent, True), (uploads, True)):
        (tmp_path / "mountpoint").write_text(f'#!/bin/sh\n[ "$2" = "{place}" ]\n')
        (tmp_path / "mountpoint").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        with nullcontext() if is_well else pytest.raises(Failed, match="found nothing mounted there"):
            steps.now(mounted)
    assert (read_state()["full"]["failures"], kept.paths) == ([], ["/etc/shop", str(uploads)])
    # The host that has them for the others.
    (tmp_path / "mountpoint").write_text("#!/bin/sh\nfalse\n")
    (uploads / "1.pdf").touch()
    steps.now(mounted)
    with pytest.raises(Failed, match="gone: found no folder there"):
        steps.now(facts._replace(uploads={str(tmp_path / "gone"): ""}))
