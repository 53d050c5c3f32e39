"""The output of `slipway status` from a host's answers."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from rich.text import Text

from slipway.engine.deployed import deployed
from slipway.facts.status import Condition
from slipway.settings.of_host import data_folders
from slipway.ui.status import HostStatus, asked, rows, span, status_of

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROLES = ["web", "app", "db"]


def seconds(**ago: float) -> str:
    return str(int((NOW - timedelta(**ago)).timestamp()))


LAST_APPLY = {
    "when": "2026-01-30T12:00:00Z",
    "who": "ops@desk",
    "verb": "apply",
    "version": "0.1.0",
    "result": "done",
    "changed": 3,
    "seconds": 12.1,
}
FOUND = {
    "system": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0",
    "up": "200000",
    "reboot": "yes",
    "version:MongoDB": "7.0.14",
    "version:Nginx": "1.22.1",
    "unit:nginx.service": "loaded active running",
    "unit:mongod.service": "loaded failed failed",
    "unit:fail2ban.service": "not-found inactive dead",
    "start": seconds(days=70, hours=-1),
    "end": seconds(days=-20, hours=-1),
    "disk:/": "1024 20480",
    "release": "20260129-abc",
    "released": seconds(days=2),
    "apply": json.dumps(LAST_APPLY),
}


def shown(found, roles=ROLES) -> list[tuple[str, str]]:
    host = status_of("one", roles, found, NOW)
    return [(label, Text.from_markup(text).plain) for label, text in rows(host, NOW)]


def test_a_host_is_told_at_a_glance():
    assert shown(FOUND) == [
        ("system", "Debian GNU/Linux 12 (bookworm), 6.1.0, up 2 days; reboot required"),
        ("versions", "MongoDB 7.0.14, Nginx 1.22.1"),
        ("service", "nginx.service active (running)"),
        ("service", "mongod.service failed (failed)"),
        ("service", "fail2ban.service not installed (not-found)"),
        ("certificate", "20 days left (until 2026-02-20)"),
        ("disk", "/ 1.0 GiB free (5 %)"),
        ("release", "20260129-abc, 2 days ago"),
        ("last apply", "1 day ago by ops@desk (Slipway 0.1.0): done, 3 changed, 12 s"),
    ]


def test_a_bare_host_has_no_certificate_no_release_and_was_never_applied():
    found = {key: FOUND[key] for key in ("system", "kernel", "up", "disk:/")}
    assert shown(found)[1:] == [
        ("certificate", "none"),
        ("disk", "/ 1.0 GiB free (5 %)"),
        ("release", "none"),
        ("last apply", "never"),
    ]


def test_of_an_application_server_the_certificate_is_the_load_balancers():
    behind = status_of("one", ["web", "app"], FOUND, NOW).model_copy(update={"is_behind": True})
    assert "certificate" not in dict(rows(behind, NOW))
    assert "certificate" in dict(shown(FOUND, ["lb"]))
    assert "release" not in dict(shown(FOUND, ["lb"]))


def test_a_placeholder_is_no_certificate():
    assert ("certificate", "placeholder, no certificate issued yet") in shown({**FOUND, "placeholder": "yes"})


@pytest.mark.parametrize("line", ['{"when": "2026-', "[]", "{}"])
def test_a_line_that_a_power_cut_has_cut_off_is_no_error(line):
    assert status_of("one", ROLES, {**FOUND, "apply": line}, NOW).last_apply is None


def test_what_a_host_says_of_itself_is_no_markup():
    assert shown({**FOUND, "release": "[red]x\x1b"})[-2] == ("release", "[red]x\\x1b, 2 days ago")


def test_a_host_is_asked_about_the_units_of_its_roles(settings_with):
    assert asked(deployed(), settings_with(), ["db"])["units"] == ("ssh.service", "mongod.service", "fail2ban.service")
    of_app = asked(deployed(), settings_with(), ["app"])
    assert "codementee-backend.socket" in of_app["units"]
    assert [unit for unit, _ in of_app["health"]] == ["codementee-backend.service", "fail2ban.service"]
    assert of_app["versions"] == ()


def test_the_disks_of_the_data_are_told(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")
    settings = settings_with(mongodb_data="/data/db", backup_repositories={"near": "/backup", "far": "s3:x"})
    folders = data_folders(settings, ["db"])
    assert folders == ["/data/db", settings.site_root, "/backup"]
    assert " /var/www /data/db " in Condition().command((), (), (), "", "", "", folders=tuple(folders))
    assert "/data/db" not in data_folders(settings, ["app"])


def test_the_question_is_one_shell_script_that_finds_the_last_apply_and_the_release(tmp_path):
    log = tmp_path / "slipway.log"
    lines = [{**LAST_APPLY, "changed": 1}, LAST_APPLY, {**LAST_APPLY, "verb": "release"}]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (tmp_path / "site/releases/7").mkdir(parents=True)
    (tmp_path / "site/current").symlink_to("releases/7")
    versions = (("One", "echo 1.2.3"), ("None", "no-such-program --version"))
    health = (("well.service", "true"), ("ill.service", "no-such-program"))
    places = str(tmp_path / "tls"), str(tmp_path / "site"), str(log)
    script = Condition().command(("no-such.service",), versions, health, *places)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    found = Condition().process(done.stdout.splitlines())
    assert [line for line in done.stderr.splitlines() if "no-such-program" not in line] == []
    assert {key: value for key, value in found.items() if key.startswith(("version:", "health:"))} == {
        "version:One": "1.2.3",
        "health:well.service": "yes",
        "health:ill.service": "no",
    }
    assert json.loads(found["apply"]) == LAST_APPLY
    assert found["release"] == "7"
    assert int(found["up"]) >= 0
    assert "end" not in found
    host = status_of("one", ROLES, found, datetime.now(UTC))
    assert [service.active for service in host.services] == ["not installed"]
    assert host.disks[0].mount == "/"


def test_a_host_that_could_not_be_asked_is_there_with_the_reason():
    assert HostStatus(name="one", roles=["db"], failure="no route").services == []


@pytest.mark.parametrize(
    ("given", "said"),
    [(-3, "0 s"), (59, "59 s"), (61, "1 minute"), (7300, "2 hours"), (86400 * 3, "3 days")],
)
def test_a_time_is_reported_in_its_largest_unit(given, said):
    assert span(given) == said
