"""The queries of a host's last plan, which the next one sends as soon as it is connected. Answers are never kept."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from slipway.engine.remote_shell import Question


def _file(key: tuple[str, ...]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    here = str(Path(__file__).resolve().parent)
    return cache / "slipway/questions" / f"{hashlib.sha256(repr((here, *key)).encode()).hexdigest()[:24]}.json"


def recall(key: tuple[str, ...], by_sudo: bool) -> list[Question]:
    """The queries kept for `key`; without sudo for a login as root."""
    try:
        with _file(key).open() as file:
            status = os.fstat(file.fileno())
            # They run as root on the host: nobody else may have written them.
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                return []
            kept = json.load(file)
        questions = [Question(str(command), bool(sudo), str(subjects)) for command, sudo, subjects in kept]
        return [question for question in questions if by_sudo or not question.by_sudo]
    except (OSError, ValueError, TypeError):
        return []


def keep(key: tuple[str, ...], questions: Iterable[Question]) -> None:
    """Keep queries for `key`, in a private file. If that fails, the next plan is only slower."""
    file = _file(key)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as new:
            json.dump([[question.command, question.by_sudo, question.subjects] for question in questions], new)
        Path(new.name).replace(file)
    except OSError:
        return
