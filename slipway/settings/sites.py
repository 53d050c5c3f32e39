"""What the sites of a host share, and what each has of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic.fields import FieldInfo

from slipway.settings.types import ALL, Derived, Section

# What a further site does not have of the first one where it does not set it, beside what is derived from other
# settings: these have their defaults then.
NOT_INHERITED = {"site_name", "site_domain", "site_aliases", "sites", "services", "mongodb_backend_user"}


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    for section in Section.__subclasses__():
        for name, field in section.model_fields.items():
            if section.per_site is ALL or name in section.per_site:
                yield name, field


@cache
def own_names() -> frozenset[str]:
    """What a site of `sites` may set. All else is of the host."""
    return frozenset(name for name, _ in _fields())


@cache
def _not_inherited() -> frozenset[str]:
    derived = {name for name, field in _fields() if isinstance(field.default_factory, Derived)}
    return frozenset(derived | NOT_INHERITED)


def of_another_site(first: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a site of `sites`: its own, those that follow from them, and else the first site's."""
    shared = {name: value for name, value in first.items() if name not in _not_inherited()}
    user = {"mongodb_backend_user": site["site_name"]} if "site_name" in site else {}
    return {**shared, **user, **site}
