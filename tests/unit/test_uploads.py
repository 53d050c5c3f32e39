"""Files that are uploaded to a host."""

from __future__ import annotations

import io
import os
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import gevent
from pyinfra.api.host import Host

from slipway.engine.uploads import with_input


def upload(host: Host, path: Path, content: bytes, **arguments: Any) -> bool:
    return host.put_file(io.BytesIO(content), str(path), **arguments)


def test_an_upload_appears_at_once_with_the_mode_and_owner_that_were_there(host, tmp_path):
    folder = tmp_path / "a folder's"
    folder.mkdir()
    file = folder / "it's a file"
    content = bytes(range(256)) * 5000
    assert upload(host, file, content)
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 12346)
    before = file.stat()
    with file.open("rb") as old:
        assert upload(host, file, b"new\n", _sudo=True)
        assert old.read() == content, "it was written over, and half of it was seen"
    after = file.stat()
    assert file.read_bytes() == b"new\n"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert list(folder.iterdir()) == [file]


def test_an_upload_that_fails_leaves_what_was_there_and_nothing_else(host, tmp_path):
    missing = tmp_path / "missing/file"
    assert not upload(host, missing, b"new")
    occupied = tmp_path / "folder"
    occupied.mkdir()
    (occupied / "kept").touch()
    assert not upload(host, occupied, b"new")
    assert (occupied / "kept").exists()
    assert list(tmp_path.iterdir()) == [occupied]


def test_an_upload_to_a_link_goes_to_what_it_leads_to(host, tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    assert upload(host, tmp_path / "link", b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_an_upload_goes_through_a_name_that_nobody_can_guess_and_nobody_else_can_read(host, tmp_path):
    """Watches the folder during an upload."""
    seen: dict[str, int] = {}
    watching = gevent.spawn(_watch, tmp_path, seen)
    for n in range(5):
        assert upload(host, tmp_path / "file", bytes([n]) * 2**21)
    watching.kill()
    new = {name: mode for name, mode in seen.items() if name != "file"}
    assert new, "this test would not notice anything"
    assert len(new) == len({name.removeprefix("file.") for name in new})
    assert all(name.startswith("file.") and len(name) == len("file.") + 6 for name in new)


def test_a_large_upload_tells_how_far_it_is_and_is_never_in_memory(host, tmp_path):
    content = tmp_path / "content"
    with content.open("wb") as file:
        file.truncate(64 * 2**20)
    seen: set[tuple[int, int]] = set()

    def look() -> None:
        while True:
            seen.add(host.connector.uploaded)
            gevent.sleep(0.001)

    looking = gevent.spawn(look)
    command = with_input(f"base64 -d | wc -c > {tmp_path}/size", content)
    tracemalloc.start()
    try:
        assert host.run_shell_command(command, **command.connector_arguments)[0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        looking.kill()
    assert (tmp_path / "size").read_text().strip() == str(64 * 2**20)
    assert peak < 16 * 2**20
    sent = sorted(sent for sent, whole in seen if whole == 64 * 2**20)
    assert len(sent) > 10
    assert sent[0] < 8 * 2**20
    assert sent[-1] > 56 * 2**20
    assert host.connector.uploaded == (0, 0)


def _watch(folder: Path, seen: dict[str, int]) -> None:
    while True:
        for entry in os.scandir(folder):
            try:
                seen.setdefault(entry.name, stat.S_IMODE(entry.stat().st_mode))
            except OSError:
                continue
        gevent.sleep(0.001)
