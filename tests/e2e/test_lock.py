"""Two applies at once, and their entries in a host's log."""

from __future__ import annotations

import getpass
import json
import signal
import socket
from typing import Any

from support.lab_host import LabHost

DRIFT = "echo '# drift' >> /etc/default/locale"
OPERATION = "Set the locale"


def log(server: LabHost) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.ssh("cat /var/log/slipway.log").splitlines()]


def test_a_second_apply_or_release_is_told_who_is_at_work_and_a_dead_holder_holds_nobody(server: LabHost) -> None:
    server.ssh(DRIFT)
    before = log(server)
    first = server.start("apply", "lab", "--yes", "--verbose")
    first.wait_for_operation("Set apt's lock timeout")
    first.process.send_signal(signal.SIGSTOP)
    for verb in ("apply", "release"):
        second = server.slipway(verb, "lab", "--yes")
        assert second.returncode == 1, second.stdout
        assert f"locked by {getpass.getuser()}@{socket.gethostname()} since 20" in second.stderr
        assert "(slipway apply lab)" in second.stderr
        assert "nothing was changed" in second.stderr
    assert server.operations() == [OPERATION]
    first.kill()
    server.apply()
    assert server.plan() == []
    added = log(server)[len(before) :]
    assert [(line["verb"], line["result"], line["changed"]) for line in added] == [("apply", "done", 1)]
    assert {"when", "who", "version", "seconds"} < set(added[0])


def test_an_apply_that_fails_and_one_that_finds_nothing_are_in_the_log_too(server: LabHost) -> None:
    before = log(server)
    server.ssh("echo 'nonsense on;' > /etc/nginx/conf.d/broken.conf")
    failed = server.slipway("apply", "lab", "--yes", "--data", "nginx_max_body_mb=11")
    assert failed.returncode == 1
    server.ssh("rm /etc/nginx/conf.d/broken.conf")
    server.apply()
    added = log(server)[len(before) :]
    assert [line["result"] for line in added] == ["failed", "nothing to change"]
    assert server.ssh("stat -c '%U %a' /var/log/slipway.log") == "root 640"
    assert server.ssh("ls /run/slipway.lock", check=False) == ""
