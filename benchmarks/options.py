"""Options that several measurements have."""

from __future__ import annotations

from collections.abc import Callable, Collection

import click

Callback = Callable[[click.Context, click.Parameter, str | None], list[str]]


def some_of(known: Collection[str]) -> Callback:
    """The callback of an option that takes some of the known names, separated by commas; without it all of them."""

    def chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str]:
        names = value.split(",") if value else [*known]
        if unknown := [name for name in names if name not in known]:
            raise click.BadParameter(f"found {', '.join(unknown)}, expected some of {','.join(known)}")
        return names

    return chosen
