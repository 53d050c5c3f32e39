"""Exchange two folders, so that a power cut leaves one or the other, never a mix.

Most file systems do it atomically (renameat2). Otherwise, as in the overlay file system of some containers, the entries
are moved one by one, and a marker file next to the folder records the phase: `settle` rolls back an interrupted
exchange.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat

from slipway.backups.host import Failed, write

AT_FDCWD, RENAME_EXCHANGE = -100, 2
# The errors of file systems that do not support it.
UNABLE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EBUSY)
OUT, IN = "out", "in"


def exchange(folder: str, other: str) -> None:
    """Exchange the content of two folders, which get the mode and owner of the first. Raises Failed, after a rollback.

    https://man7.org/linux/man-pages/man2/rename.2.html
    """
    try:
        status = os.stat(folder)
        os.chown(other, status.st_uid, status.st_gid)
        os.chmod(other, stat.S_IMODE(status.st_mode))
    except OSError as error:
        raise Failed(f"{folder} and {other} can't be exchanged: {error.strerror}") from None
    number = _at_once(folder, other)
    if not number:
        return
    if number not in UNABLE:
        raise Failed(f"{folder} and {other} can't be exchanged: {os.strerror(number)}")
    try:
        _by_entries(folder, other)
    except OSError as error:
        settle(folder)
        raise Failed(f"{folder} and {other} can't be exchanged: {error}") from None


def _at_once(folder: str, other: str) -> int:
    """Exchange two folders atomically; returns the error's number, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not libc.renameat2(AT_FDCWD, folder.encode(), AT_FDCWD, other.encode(), RENAME_EXCHANGE):
        return 0
    return ctypes.get_errno()


def _by_entries(folder: str, other: str) -> None:
    aside = f"{folder}.aside"
    shutil.rmtree(aside, ignore_errors=True)
    os.mkdir(aside, 0o700)
    shutil.copystat(folder, aside)
    shutil.chown(aside, os.stat(folder).st_uid, os.stat(folder).st_gid)
    write(_mark(folder), OUT)
    _move_all(folder, aside)
    write(_mark(folder), IN)
    _move_all(other, folder)
    os.remove(_mark(folder))
    _sync(folder)
    os.rmdir(other)
    os.rename(aside, other)


def settle(folder: str) -> bool:
    """Roll back an interrupted exchange of a folder. Returns whether there was one."""
    aside = f"{folder}.aside"
    try:
        with open(_mark(folder), encoding="utf-8") as file:
            phase = file.read()
    except FileNotFoundError:
        return False
    if phase == IN:
        # The new content is a copy of a backup. The old content is complete in `aside`.
        for name in os.listdir(folder):
            _remove(f"{folder}/{name}")
    _move_all(aside, folder)
    _sync(folder)
    os.remove(_mark(folder))
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _mark(folder: str) -> str:
    return f"{folder}.exchange"


def _move_all(source: str, target: str) -> None:
    """Move entries. An entry at both places is complete at the source: the target is overwritten."""
    for name in os.listdir(source):
        if name.startswith(".slipway-part-"):
            _remove(f"{source}/{name}")
            continue
        if os.path.lexists(f"{target}/{name}"):
            _remove(f"{target}/{name}")
        try:
            os.rename(f"{source}/{name}", f"{target}/{name}")
        except OSError as error:
            if error.errno not in UNABLE:
                raise
            part = f"{target}/.slipway-part-{name}"
            _remove(part)
            _copy(f"{source}/{name}", part)
            os.rename(part, f"{target}/{name}")
            _remove(f"{source}/{name}")
    _sync(target)


def _copy(source: str, target: str) -> None:
    """Copy a file or folder with its owners, and sync it."""
    if os.path.isdir(source) and not os.path.islink(source):
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
        os.lchown(target, os.lstat(source).st_uid, os.lstat(source).st_gid)
        _sync(os.path.dirname(target))
        return
    for at, _, files in os.walk(source):
        for path in (at, *(f"{at}/{name}" for name in files)):
            its = os.lstat(path)
            os.lchown(f"{target}{path[len(source) :]}", its.st_uid, its.st_gid)
    _sync(target)


def _sync(folder: str) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(number)
    finally:
        os.close(number)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
