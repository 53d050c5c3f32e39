"""Drifts of a server, as the components declare them."""

from __future__ import annotations

from typing import Any

from slipway.engine import pyinfra_compat  # isort: skip  # noqa: F401  patches first

from slipway.engine.components import Component, Drift
from slipway.engine.deployed import deployed, fixed
from slipway.settings.model import Settings
from support.checkout import PROJECT

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN nobody"


def lab_settings(**changes: Any) -> Settings:
    """The settings of the lab host that the others are copied from, with some changed."""
    return Settings(
        **{
            "site_name": "codementee",
            "site_domain": "codementee.test",
            "admin_keys": [PUBLIC_KEY],
            "backend_source": str(PROJECT / "examples/codementee/backend"),
            "backend_secrets": ["JWT_SECRET", "ADMIN_PASSWORD"],
            "frontend_source": str(PROJECT / "examples/codementee/frontend"),
            "mongodb_version": "6.0",
            **changes,
        }
    )


SETTINGS = lab_settings()


def of_component(one: Component, settings: Settings = SETTINGS) -> dict[str, Drift]:
    return one.mapped(one.drifts, settings)


# By name, of the components that are on a server by default.
DRIFTS: dict[str, Drift] = {}
for one in [*fixed(), *deployed()]:
    DRIFTS |= of_component(one)
# Those that a plan must notice.
NOTICED_BY = {what: drift for what, drift in DRIFTS.items() if drift.operation}
# The shell scripts of those whose plans by Slipway and plain pyinfra are compared.
COMPARED = {what: drift.script for what, drift in DRIFTS.items() if drift.is_compared}
