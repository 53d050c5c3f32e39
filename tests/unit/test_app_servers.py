"""What is done once for several application servers, and what each needs of the database's servers."""

from __future__ import annotations

import subprocess

import pytest

from slipway.ops.templates import render
from slipway.settings.peers import Peer
from slipway.tasks.backend import units
from slipway.tasks.backend_units import all_units
from support.described import deploy

REPORT = {"name": "report", "command": "python -m report", "schedule": "daily"}


@pytest.fixture
def apart(settings_with):
    """The settings of an application server, by its name: the database is on another host."""

    def make(here: str, **changes):
        settings = settings_with(**{"mongodb_tls": "off"} | changes)
        places = (("one", ("web", "app")), ("two", ("web", "app")), ("data", ("db",)))
        addresses = {"one": "10.0.0.1", "two": "10.0.0.2", "data": "10.0.0.3"}
        settings._peers = tuple(Peer(name, roles, addresses[name], is_here=name == here) for name, roles in places)
        settings.__dict__.pop("all_sites", None)
        return settings

    return make


def test_a_schedule_is_run_by_the_first_application_server_alone(apart):
    one, two = (apart(name, services=[REPORT]) for name in ("one", "two"))
    timer = "codementee-report.timer"
    for its, is_there in ((one, True), (two, False)):
        started = [op.subject for op in deploy(its, "web", "app").all("service")]
        assert [timer in found for found in (started, units(its), all_units(its))] == [is_there] * 3
    # The program itself can be started by hand.
    assert "codementee-report.service" in all_units(two)


def test_a_schedule_runs_everywhere_where_that_is_set_and_on_a_single_server(apart, settings_with):
    everywhere = apart("two", services=[{**REPORT, "schedule_on": "all"}])
    assert "codementee-report.timer" in units(everywhere)
    assert "codementee-report.timer" in units(settings_with(services=[REPORT]))


def test_a_host_without_mongod_names_its_members_before_the_backends_start(apart, settings_with):
    server = deploy(apart("two", services=[REPORT]), "web", "app")
    names = [one.name for one in server.operations]
    assert names.index("Name the replica set's members at boot") < names.index("Start the backend")
    listed = server.about("/etc/mongod.members").arguments["content"]
    assert listed == "10.0.0.3 mongodb-1.internal\n"
    text = server.about("/etc/systemd/system/slipway-names.service").arguments["content"]
    (before,) = [line for line in text.splitlines() if line.startswith("Before=")]
    assert {"codementee-backend.service", "codementee-report.service"} <= {*before.removeprefix("Before=").split()}
    # mongod.service has them on its own host.
    assert "Name the replica set's members at boot" not in [one.name for one in deploy(settings_with()).operations]


def test_names_that_a_boot_has_lost_come_back_and_are_there_once(tmp_path):
    hosts, listed = tmp_path / "hosts", tmp_path / "members"
    hosts.write_text("127.0.0.1 localhost\n10.0.0.3 mongodb-1.internal\n")
    listed.write_text("10.0.0.3 mongodb-1.internal\n10.0.0.4 mongodb-2.internal\n")
    text = render("backend/names.service", names=str(listed), units=["a.service"])
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    for _ in range(2):
        command = line.removeprefix("ExecStart=").replace("/etc/hosts", str(hosts))
        subprocess.run(["bash", "-c", command], check=True)
    assert hosts.read_text().splitlines() == [
        "127.0.0.1 localhost",
        "10.0.0.3 mongodb-1.internal",
        "10.0.0.4 mongodb-2.internal",
    ]
