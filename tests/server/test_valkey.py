"""Valkey, by its own answers."""

from __future__ import annotations

from slipway.server_tests.exposure import exposure_of, limits_of
from slipway.settings.valkey import VALKEY_URL, socket_of
from slipway.tasks.valkey import memory_max_mb, password_of, unit_of

CLI = "$(command -v valkey-cli || command -v redis-cli)"


def asked(server, *words: str, password: bool = True) -> str:
    """Valkey's answer to root, as only root can read its password."""
    known = f"REDISCLI_AUTH=$(cat {password_of(server.settings)}) " if password else ""
    return server.host.check_output(f"{known}{CLI} -s {socket_of(server.settings)} {' '.join(words)}")


def test_it_runs_and_starts_at_boot(server):
    service = server.host.service(unit_of(server.settings))
    assert service.is_running
    assert service.is_enabled


def test_nobody_gets_in_without_its_password(server, figure):
    said = asked(server, "info", password=False)
    figure("Valkey without a password", said.strip(), "NOAUTH", said.startswith("NOAUTH"))


def test_only_the_sites_services_can_open_its_socket_and_it_has_no_port(server):
    settings, socket = server.settings, server.host.file(socket_of(server.settings))
    assert socket.is_socket
    assert (socket.user, socket.group, socket.mode) == (unit_of(settings), settings.backend_unit, 0o770)
    folder = server.host.file(f"/run/{unit_of(settings)}")
    assert (folder.group, folder.mode) == (settings.backend_unit, 0o750)
    assert server.host.run(f"runuser -u nobody -- ls {socket_of(settings)}").rc != 0
    assert server.host.check_output("ss -Hltnp | grep -E 'valkey|redis' || :") == ""


def test_the_services_get_its_url(server):
    settings = server.settings
    pid = server.host.check_output(f"systemctl show --property=MainPID --value {settings.backend_unit}.service")
    compare = f"cmp {settings.credentials_folder}/{VALKEY_URL} /proc/{pid}/root/run/credentials"
    assert server.host.run(f"{compare}/{settings.backend_unit}.service/{VALKEY_URL}").rc == 0
    encoded = f"od -An -v -tx1 {password_of(settings)} | tr -d '\\n' | tr ' ' '%'"
    expected = f"unix://:{server.host.check_output(encoded)}@{socket_of(settings)}?db=0"
    assert server.host.file(f"{settings.credentials_folder}/{VALKEY_URL}").content_string == expected


def test_its_memory_limit_and_eviction_are_as_configured(server):
    found = dict(line.split(":", 1) for line in asked(server, "info", "memory").splitlines() if ":" in line)
    assert int(found["maxmemory"]) == server.settings.valkey_memory_mb * 2**20
    assert found["maxmemory_policy"].strip() == server.settings.valkey_eviction


def test_it_is_sandboxed(server, figure):
    exposure = exposure_of(server, f"{unit_of(server.settings)}.service")
    figure("systemd-analyze security, Valkey", exposure, "at most 2.0", exposure <= 2.0)


def test_its_memory_and_threads_are_limited_and_it_is_killed_before_the_database(server):
    limits = limits_of(server, f"{unit_of(server.settings)}.service")
    assert limits["MemoryHigh"] < limits["MemoryMax"] == memory_max_mb(server.settings) * 2**20
    assert limits["TasksMax"] < 100
    assert limits["OOMScoreAdjust"] > 0


def test_its_data_and_password_are_its_own(server):
    data = server.host.file(f"/var/lib/{unit_of(server.settings)}")
    assert (data.user, data.mode) == (unit_of(server.settings), 0o700)
    password = server.host.file(password_of(server.settings))
    assert (password.user, password.group, password.mode) == ("root", "root", 0o600)
