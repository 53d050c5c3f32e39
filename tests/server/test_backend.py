"""The services of a site."""

from __future__ import annotations

from slipway.server_tests.exposure import exposure_of, limits_of
from slipway.server_tests.leaks import secrets_seen
from slipway.settings import environment
from slipway.tasks import backend, shared
from slipway.tasks.mongodb_members import NAMES_UNIT
from slipway.tasks.release import healthy

NAMES_FILE = f"/etc/systemd/system/{NAMES_UNIT}"


def units(server) -> list[str]:
    """The units that start at boot."""
    return [*backend.units(server.settings), *([NAMES_UNIT] if server.host.file(NAMES_FILE).exists else [])]


def test_all_services_run_and_start_at_boot(server):
    for name in units(server):
        unit = server.host.service(name)
        assert unit.is_running, name
        assert unit.is_enabled, name


def test_no_release_is_in_progress(server):
    settings = server.settings
    for service in settings.web_services:
        assert not server.host.service(f"{settings.unit(service)}-next.service").is_running
        if not settings.is_tcp(service):
            assert server.host.file(settings.listen(service)).linked_to == settings.socket(service)


def test_it_runs_as_its_own_user_without_a_login(server):
    unit = server.settings.backend_unit
    user = server.host.user(unit)
    assert user.shell == "/usr/sbin/nologin"
    pid = server.host.check_output(f"systemctl show --property=MainPID --value {unit}.service")
    assert server.host.check_output(f"ps -o user:40= -p {pid}").strip() == unit


def test_a_service_has_as_many_workers_as_set(server):
    for service in server.settings.web_services:
        unit = server.settings.unit(service)
        pid = server.host.check_output(f"systemctl show --property=MainPID --value {unit}.service")
        # A single worker is the service's main process.
        if service.workers > 1:
            assert int(server.host.check_output(f"pgrep -c -P {pid} -f spawn_main")) == service.workers


def test_a_socket_is_held_by_systemd_and_open_only_to_nginx(server):
    settings = server.settings
    for service in settings.web_services:
        if settings.is_tcp(service):
            assert settings.listen(service) in server.host.check_output(f"ss -Hltn src {settings.listen(service)}")
            continue
        socket = server.host.file(settings.socket(service))
        assert socket.is_socket
        assert (socket.user, socket.group, socket.mode) == ("root", "www-data", 0o660)
    if not settings.backend_is_tcp:
        # Where the previous backend listened, and another site's program may.
        assert f"/{settings.backend_unit}" not in control_groups_at(server, 8001)


def control_groups_at(server, port: int) -> str:
    """The control groups of the processes that listen on a TCP port; their last part is the unit."""
    pids = f"ss -Hltnp src :{port} | grep -o 'pid=[0-9]*' | cut -d= -f2"
    return server.host.check_output(f"for pid in $({pids}); do cat /proc/$pid/cgroup; done")


def test_its_secrets_are_readable_only_by_root(server):
    folder = server.settings.credentials_folder
    shown = server.host.check_output(f"stat -c '%F %U %G %a' {folder} {folder}/* | sort -u").splitlines()
    assert shown == ["directory root root 700", "regular file root root 600"]


def test_each_service_gets_its_secrets_as_configured(server):
    settings = server.settings
    for service in settings.all_services:
        unit = f"{settings.unit(service)}.service"
        pid = server.host.check_output(f"systemctl show --property=MainPID --value {unit}")
        if pid == "0":
            continue
        variables = server.host.check_output(f"tr '\\0' '\\n' < /proc/{pid}/environ | cut -d= -f1").split()
        files = environment.credentials_of(settings, service)
        if settings.backend_secrets_delivery == "environment":
            assert {*files} <= {*variables}, unit
        else:
            assert not {*files} & {*variables}, unit
        folder = f"/run/credentials/{unit}"
        for name, file in files.items():
            compare = f"cmp {folder}/{name} {settings.credentials_folder}/{file}"
            assert server.host.run(compare).rc == 0, f"{unit}: {name}"
        assert server.host.run(f"runuser -u nobody -- ls {folder}").rc != 0
        assert server.host.run(f"runuser -u nobody -- cat /proc/{pid}/environ").rc != 0


def test_no_secret_is_visible_to_others(server, figure):
    seen, older, looked = secrets_seen(server, server.settings.credentials_folder)
    assert looked > 100, "this test could not detect anything"
    what = "secrets seen in journal, process list, world-readable files"
    if older:
        # No leak of Slipway's: they are told, and their owner's to remove.
        figure("copies of secrets from before Slipway", ", ".join(older), "none", True)
    figure(what, ", ".join(seen) or "none", "none", not seen)


def test_it_runs_the_current_release_that_only_root_can_change(server):
    root = server.settings.site_root
    release = server.host.check_output(f"realpath {root}/current")
    assert release.startswith(f"{root}/releases/")
    writable = f"find {release}/ -not -type l \\( -not -user root -o -perm /022 \\)"
    assert server.host.check_output(writable) == ""
    assert server.host.file(f"{release}/backend/.venv/bin/python").exists


def test_each_service_is_sandboxed(server, figure):
    for service in server.settings.all_services:
        exposure = exposure_of(server, f"{server.settings.unit(service)}.service")
        figure(f"systemd-analyze security, {service.name}", exposure, "at most 1.1", exposure <= 1.1)


def test_its_memory_and_tasks_are_limited_and_it_is_killed_before_the_database(server):
    memory = int(server.host.check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    for service in server.settings.all_services:
        limits = limits_of(server, f"{server.settings.unit(service)}.service")
        assert 0 < limits["MemoryHigh"] < limits["MemoryMax"] < memory
        assert limits["TasksMax"] == service.tasks_max
        assert limits["OOMScoreAdjust"] > 0


def test_its_log_is_in_the_journal(server):
    assert server.host.check_output(f"journalctl -u {server.settings.backend_unit} -n 1 --no-pager -o cat")


def test_each_service_answers_its_health_path(server):
    for service in server.settings.web_services:
        assert server.host.run(healthy(server.settings, service)).rc == 0, service.name


def test_shared_folders_are_the_applications_and_linked_into_every_release(server):
    settings = server.settings
    for place in shared.places(settings):
        found = server.host.file(place.path)
        assert found.is_directory, place.path
        assert (found.user, found.group, f"{found.mode:o}") == (place.owner, place.group, place.mode), place.path
    for release in server.host.check_output(f"ls -d {settings.site_root}/releases/*/backend").split():
        for path, place in settings.shared_places.items():
            assert server.host.file(f"{release}/{path}").linked_to == place
