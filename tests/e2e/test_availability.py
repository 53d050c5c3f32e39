"""What visitors see while a part of the server is down, and how it recovers without help."""

from __future__ import annotations

import pytest

from support.lab_host import LabHost
from support.waiting import wait_until


def test_nginx_serves_its_own_error_page_while_the_backend_is_down(server: LabHost) -> None:
    server.ssh("systemctl stop codementee-backend.socket codementee-backend.service")
    site = server.site()
    page = site.get("/api/companies", headers={"Accept": "text/html"})
    program = site.post("/api/auth/login", json={"email": "a@b.c", "password": "x"})
    server.ssh("systemctl start codementee-backend.socket codementee-backend.service")
    assert (page.status_code, program.status_code) == (502, 502)
    assert "Back in a moment" in page.text
    assert "does not answer" in program.json()["detail"]
    # Nginx's own answers have the headers too.
    assert "style-src 'unsafe-inline'" in page.headers["Content-Security-Policy"]
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Strict-Transport-Security"]
    assert site.get("/").status_code == 200
    server.wait_until_healthy()
    assert server.plan() == []


def test_the_backend_comes_back_when_it_is_killed(server: LabHost) -> None:
    main = "systemctl show --property=MainPID --value codementee-backend"
    before = server.ssh(main)
    server.ssh("systemctl kill --signal=KILL codementee-backend.service")
    wait_until("another process is started", lambda: server.ssh(main) not in ("0", before))
    server.wait_until_healthy()
    password = server.ssh("cat /etc/codementee/credentials/ADMIN_PASSWORD")
    login = {"email": "admin@codementee.io", "password": password}
    assert server.site().post("/api/auth/login", json=login).status_code == 200


@pytest.mark.thorough
def test_everything_comes_up_in_order_after_a_restart(server: LabHost) -> None:
    """A virtual machine is restarted every day (test_kernel.py)."""
    started = "cut -d' ' -f22 /proc/1/stat"
    before = server.ssh(started)
    server.ssh("systemctl reboot", check=False)
    wait_until("the host has restarted", lambda: server.ssh(started, check=False) not in ("", before))
    server.wait_until_healthy()
    entered = {
        unit: int(server.ssh(f"systemctl show --property=ActiveEnterTimestampMonotonic --value {unit}"))
        for unit in ("mongod.service", "codementee-backend.service")
    }
    assert entered["mongod.service"] < entered["codementee-backend.service"]
    assert server.plan() == []
