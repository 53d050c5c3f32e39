"""The templates of configuration files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from slipway.project import own_and_shipped
from slipway.settings import limits

_templates = Environment(
    loader=FileSystemLoader(own_and_shipped("templates")),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701  configuration files, not HTML
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
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
