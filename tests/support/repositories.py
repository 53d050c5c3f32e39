"""Small repositories made from texts, and what `slipway init` reads from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slipway.starter.detect import reading
from slipway.starter.found import Reading
from slipway.starter.notes import notes

APP = "from fastapi import FastAPI\napp = FastAPI()\n"
PINNED = "fastapi==0.115.0\nuvicorn==0.30.0\npymongo==4.9\n"


def make(top: Path, files: dict[str, str | bytes]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return top


def read(top: Path, files: dict[str, str | bytes], **answers: Any) -> Reading:
    """What is read from a repository with these files, for a project at its top."""
    return reading(make(top, files), top, answers)


def settings_of(top: Path, files: dict[str, str | bytes], **answers: Any) -> dict[str, Any]:
    """Each setting that follows, by name."""
    return {one.setting: one.value for one in read(top, files, **answers).settings}


def notes_of(top: Path, files: dict[str, str | bytes], **answers: Any) -> str:
    """The lines about what will not work."""
    return "\n".join(notes(read(top, files, **answers)))
