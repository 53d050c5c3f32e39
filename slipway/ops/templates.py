"""The templates of configuration files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from slipway.project import own_and_shipped
from slipway.settings import limits

# How a template becomes code.
OPTIONS: dict[str, Any] = {
    "undefined": StrictUndefined,
    "autoescape": False,  # configuration files, not HTML
    "keep_trailing_newline": True,
    "trim_blocks": True,
    "lstrip_blocks": True,
}


class CompiledTemplates(FileSystemBytecodeCache):
    """Compiled templates in a folder: to compile them was a sixth of a plan's processor time. Each is found by its
    name, and used only where its text is the same."""

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        return hashlib.sha256(repr((name, OPTIONS)).encode()).hexdigest()[:24]

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Without a place for it the next plan is only slower."""
        with suppress(OSError):
            super().dump_bytecode(bucket)


def compiled() -> CompiledTemplates | None:
    """The cache in the user's folder; None where somebody else could have written the code in it."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "slipway/templates"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        return None
    return CompiledTemplates(str(folder), "%s.cache")


_templates = Environment(  # noqa: S701
    loader=FileSystemLoader(own_and_shipped("templates")),
    bytecode_cache=compiled(),
    **OPTIONS,
)
_templates.globals["limits"] = limits


def render(template: str, /, **values: Any) -> str:
    """The text of `templates/<template>` with `values`; the project's own template takes precedence. An undefined name
    is an error."""
    return _templates.get_template(template).render(**values)


def load_templates() -> Iterator[str]:
    """Compile all templates one by one, and yield their names."""
    for name in _templates.list_templates():
        _templates.get_template(name)
        yield name
