"""An apply that is interrupted, waits or fails, and the next one, which completes it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from support.lab_host import PROJECT, LabHost, bring_up

# An operation, and how many seconds after it an apply is at what takes long: each run of apt, the release, the
# certificate.
CUTS = {
    "Set apt's lock timeout": 3,
    "Pin MongoDB to the 6.0 series": 3,
    "Create the site's directory": 2,
    "Create a placeholder certificate": 1.5,
}


@pytest.mark.thorough
def test_an_apply_that_is_interrupted_again_and_again_is_completed_by_plain_pyinfra(
    original: dict[str, str], server: LabHost
) -> None:
    """Slipway then finds nothing to change. The everyday test of an interrupted first apply is in test_readme.py."""
    second = bring_up("second", "--user", "admin")
    for operation, seconds in CUTS.items():
        apply = second.start("apply", "lab", "--yes", "--verbose")
        apply.wait_for_operation(operation)
        time.sleep(seconds)
        apply.process.send_signal(signal.SIGINT)
        code, _, errors = apply.end()
        assert code == 130
        assert "run it again" in errors
        assert "Traceback" not in errors
    second.pyinfra("lab/inventory.py", "deploy.py")
    assert second.plan() == []
    listing = (
        "cd /etc && find nginx/nginx.conf nginx/sites-available mongod.conf systemd/system"
        " apt/preferences.d -type f -not -path '*tls*' | sort | xargs sha256sum"
    )
    same = listing.replace("sha256sum", "sed s/second/codementee/g")
    assert second.ssh(same) == server.ssh(same)
    # Their order is that in which they were opened: the other host's ssh has been at other ports.
    assert second.ssh("ufw show added | sort") == server.ssh("ufw show added | sort")


def test_a_restart_that_an_interrupted_run_missed_is_done_by_the_next(server: LabHost) -> None:
    """As if the run had ended after the file was written and before the restart."""
    units = {
        "mongod": ("/etc/mongod.conf", "Start MongoDB"),
        "codementee-backend": ("/etc/codementee/credentials/JWT_SECRET", "Start the backend"),
        "nginx": ("/etc/nginx/nginx.conf", "Start Nginx"),
    }
    server.ssh("sleep 4")  # a unit's age is known in whole seconds
    server.ssh(f"touch {' '.join(file for file, _ in units.values())}; systemctl is-active {' '.join(units)}")
    assert server.operations() == [operation for _, operation in units.values()]
    server.apply()
    assert server.plan() == []


@pytest.mark.thorough
def test_nginx_gets_its_new_sandbox_after_a_run_that_ended_before_the_restart(server: LabHost) -> None:
    main = "systemctl show --property=MainPID --value nginx"
    before = server.ssh(f"sleep 4; touch /etc/systemd/system/nginx.service.d/slipway.conf; {main}")
    assert server.operations() == ["Start Nginx"]
    server.apply()
    assert server.ssh(main) != before, "a reload reads no sandbox"
    assert server.ssh("iptables-save | grep -e '--dport 80 .*-j DROP' || echo none") == "none"
    assert server.plan() == []


# A mongod that exits as soon as it starts, as one with damaged data does.
ENDS_AT_ONCE = r"""
mv /usr/bin/mongod /usr/bin/mongod.away
printf '#!/bin/sh\necho damaged on purpose >&2; exit 3\n' > /usr/bin/mongod; chmod 755 /usr/bin/mongod
systemctl restart --no-block mongod
until systemctl show -p SubState mongod | grep auto-restart; do sleep 0.1; done
"""


@pytest.mark.thorough
def test_a_crash_looping_database_is_a_pending_change_and_its_log_is_shown(server: LabHost) -> None:
    server.ssh(ENDS_AT_ONCE)
    seen = server.operations()
    done = server.slipway("apply", "lab", "--yes")
    server.ssh("mv /usr/bin/mongod.away /usr/bin/mongod")
    assert "Start MongoDB" in seen
    assert done.returncode == 1
    assert "damaged on purpose" in done.stderr
    server.apply()
    assert server.plan() == []


# Holds the lock that apt and dpkg take, as unattended-upgrades does on a fresh server.
LOCKED = """
import fcntl, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
open("/run/locked", "w").close()
time.sleep(15)
"""


@pytest.mark.thorough
def test_an_apply_waits_while_another_process_installs_packages(server: LabHost) -> None:
    server.ssh("apt-get remove -y -q unattended-upgrades; rm -f /run/locked")
    server.ssh(f"systemd-run --quiet --collect python3 -c '{LOCKED}'; until [ -e /run/locked ]; do sleep 0.1; done")
    began = time.monotonic()
    done = server.apply()
    assert f"✓ {server.name}: Install packages" in done.stdout
    assert time.monotonic() - began > 10, "the precondition does not hold"
    assert server.plan() == []


@pytest.mark.thorough
def test_a_key_with_another_fingerprint_is_not_trusted(server: LabHost) -> None:
    server.ssh("rm /usr/share/keyrings/mongodb-server.asc")
    done = server.slipway("apply", "lab", "--yes", "--data", f"mongodb_key_fingerprint={'0' * 40}")
    assert done.returncode == 1
    assert "another fingerprint than mongodb_key_fingerprint" in done.stderr
    assert server.ssh("ls /usr/share/keyrings/ | grep mongodb || true") == ""
    server.apply()
    assert server.plan() == []


@pytest.mark.thorough
def test_a_configuration_that_nginx_refuses_never_replaces_the_live_one(server: LabHost) -> None:
    server.ssh("echo 'nonsense on;' > /etc/nginx/conf.d/broken.conf")
    before = server.ssh("sha256sum /etc/nginx/nginx.conf")
    done = server.slipway("apply", "lab", "--yes", "--data", "nginx_max_body_mb=11")
    server.ssh("rm /etc/nginx/conf.d/broken.conf")
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert server.ssh("sha256sum /etc/nginx/nginx.conf") == before
    assert server.site().get("/").status_code == 200


@pytest.fixture
def broken_backend(tmp_path: Path) -> Path:
    """The folder of a backend that exits as soon as it starts."""
    folder = tmp_path / "backend"
    folder.mkdir()
    (folder / "server.py").write_text("raise SystemExit('broken on purpose')\n")
    requirements = PROJECT / "examples/codementee/backend/requirements.txt"
    (folder / "requirements.txt").write_text(requirements.read_text())
    return folder


@pytest.mark.thorough
def test_a_first_release_that_does_not_come_up_is_reported_and_fixed_by_the_next(
    fresh_server: LabHost, broken_backend: Path
) -> None:
    """On a host whose releases are removed."""
    fresh_server.ssh("systemctl stop codementee-backend.socket codementee-backend; rm -rf /var/www/codementee")
    done = fresh_server.slipway("apply", "lab", "--yes", "--data", f"backend_source={broken_backend}")
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Start the backend" in fresh_server.operations()
    fresh_server.release()
    fresh_server.apply()
    assert fresh_server.plan() == []
