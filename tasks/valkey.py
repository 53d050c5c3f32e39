"""Valkey for each site that enables it, on a socket that only the site's services can open. On a system without a
Valkey package it is Redis, which Valkey was forked from."""

from __future__ import annotations

import shlex

from pyinfra import host
from pyinfra.api import operation

from slipway.engine import notes
from slipway.engine.components import Drift, component, component_step
from slipway.facts.base import Output
from slipway.facts.machine import Machine
from slipway.ops.backup import KEPT
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import put_template
from slipway.ops.secrets import generate
from slipway.ops.units import Ready, restart, restarts, service
from slipway.settings.model import Settings
from slipway.settings.valkey import VALKEY_PASSWORD, socket_of
from slipway.systems import system_of
from slipway.tasks.backend import create_user

FOLDER = "/etc/systemd/system"
# Its memory overhead, in MiB.
BESIDE_MB = 64
VERSION = (
    "{ valkey-server --version || redis-server --version; } 2> /dev/null"
    " | sed -n 's/^Redis server v=\\([^ ]*\\).*/\\1 (Redis)/p; s/^Valkey server v=\\([^ ]*\\).*/\\1/p'"
)


def program() -> str:
    """The prefix of the system's packages and programs: "valkey" or "redis"."""
    machine = host.get_fact(Machine)
    system = system_of(machine)
    return system.valkey if system else "valkey"


def unit_of(settings: Settings) -> str:
    """The name of a site's Valkey unit, its user, and its folders below /run and /var/lib."""
    return f"{settings.site_name}-valkey"


def memory_max_mb(settings: Settings) -> int:
    return 2 * settings.valkey_memory_mb + BESIDE_MB


def packages(settings: Settings) -> list[str]:
    return [f"{program()}-server"]


def keep_packages_own_idle(settings: Settings) -> None:
    """Keep the package from starting a Valkey on port 6379, open to every user of the host. An existing one is kept."""
    unit = f"{program()}-server.service"
    ensure(
        name="Mask the Valkey that the package would start",
        check=f"[ -e /lib/systemd/system/{unit} ] || [ -L {FOLDER}/{unit} ]",
        command=f"ln -s /dev/null {FOLDER}/{unit}; systemctl daemon-reload",
        note=f"{unit}: masked",
    )


def problems(settings: Settings) -> list[str]:
    """What prevents Valkey on this host."""
    half = int(host.get_fact(Machine)["memory_mb"]) // 2
    found = sum(site.valkey_memory_mb for site in settings.all_sites if site.valkey)
    if found <= half:
        return []
    hint = "lower it, or choose a larger server"
    return [f"valkey_memory_mb: found {found} MiB, need at most {half} MiB, half of the memory ({hint})"]


def units(settings: Settings) -> list[str]:
    return [f"{unit_of(settings)}.service"]


def health(settings: Settings) -> dict[str, str]:
    return {f"{unit_of(settings)}.service": answers(settings)}


def answers(settings: Settings) -> str:
    """A shell test: Valkey answers with its password, which is in no command line."""
    cli = f"$(command -v valkey-cli || command -v redis-cli) -s {socket_of(settings)}"
    asked = f"REDISCLI_AUTH=$(cat {password_of(settings)}) timeout {settings.limits.probe} {cli} ping"
    return f'[ "$({asked} 2> /dev/null)" = PONG ]'


def drifts(settings: Settings) -> dict[str, Drift]:
    unit, password = unit_of(settings), password_of(settings)
    file, config = f"{FOLDER}/{unit}.service", config_of(settings)
    return {
        "Valkey stopped and disabled": Drift(f"systemctl disable --now {unit}", "Start Valkey"),
        "Valkey hangs": Drift(f"pkill --signal STOP --uid {unit}", "Start Valkey"),
        "Valkey without a limit": Drift(f"sed -i /^maxmemory/d {config}", "Configure Valkey"),
        "Valkey's sandbox opened": Drift(f"sed -i /^PrivateNetwork/d {file}", "Sandbox Valkey"),
        "Valkey's password gone": Drift(f"rm {password}", "Generate Valkey's password"),
        "Valkey's password readable": Drift(f"chmod 644 {password}", "Generate Valkey's password"),
        "Valkey's user gone": Drift(f"systemctl stop {unit}; userdel {unit}", "Create Valkey's user"),
    }


@component(
    roles=("app",),
    per_site=True,
    wanted=lambda settings: settings.valkey,
    packages=packages,
    before_packages=keep_packages_own_idle,
    units=units,
    versions={"Valkey": VERSION},
    health=health,
    preflight=problems,
    drifts=drifts,
)
def valkey(settings: Settings) -> None:
    """Before the services, which get its URL and need it at their start."""
    unit, secret, values = f"{unit_of(settings)}.service", password_of(settings), values_of(settings)
    file = f"{FOLDER}/{unit}"
    create_user("the backend", settings.backend_unit)
    create_user("Valkey", unit_of(settings))
    password = generate(name="Generate Valkey's password", path=secret)
    config = put_template(
        config_of(settings), "valkey/valkey.conf", values, name="Configure Valkey", rollback_unit=unit
    )
    sandbox = put_template(file, "valkey/valkey.service", values, name="Sandbox Valkey", rollback_unit=unit)
    ready = Ready(answers(settings), settings.limits.ready)
    restart(name="Restart Valkey", unit=unit, ready=ready, _if=restarts(password, config, sandbox))
    service(name="Start Valkey", unit=unit, ready=ready, files=[secret, config_of(settings), file])


def password_of(settings: Settings) -> str:
    return f"{settings.credentials_folder}/{VALKEY_PASSWORD}"


def config_of(settings: Settings) -> str:
    return f"/etc/{settings.site_name}/valkey.conf"


def values_of(settings: Settings) -> dict[str, object]:
    """The template values."""
    unit = unit_of(settings)
    return {
        "settings": settings,
        "unit": unit,
        "program": program(),
        "config": config_of(settings),
        "credential": password_of(settings),
        "password": f"/run/{unit}/password.conf",
        "socket": socket_of(settings),
        "data": f"/var/lib/{unit}",
        "memory_max_mb": memory_max_mb(settings),
    }


@component_step(after="valkey")
def switch_off(settings: Settings) -> None:
    stop_unwanted(name="Stop Valkey where it is switched off", settings=settings)


@operation()
def stop_unwanted(settings: Settings) -> Commands:
    """Stop the Valkey of sites that no longer enable it. Its data are kept, for when it is enabled again."""
    wanted = {f"{unit_of(site)}.service" for site in settings.all_sites if site.valkey}
    command = f"cd {FOLDER} && grep -l -s '^# Slipway: the Valkey of a site$' *.service"
    gone = sorted({*host.get_fact(Output, command=command).split()} - wanted)
    if not gone:
        return
    for unit in gone:
        notes.note(f"{unit}: stopped and disabled; its data stay in /var/lib/{unit.removesuffix('.service')}")
    names = " ".join(map(shlex.quote, gone))
    yield (
        f"systemctl disable --quiet --now {names} && cd {FOLDER} && rm -f {names} && systemctl daemon-reload"
        # A later unit of the same name must not be rolled back to this one.
        f" && if cd {KEPT} 2> /dev/null; then rm -rf {names}; fi"
    )
