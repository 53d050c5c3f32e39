"""A server that the last released version provisioned, converged by this version.

An upgrade is a merge of the new version into the user's fork. What is theirs stays: the application (here the example's
backend as it was in the old version), the secrets, and the values in their inventory. group_data/all.py is the new
version's, with settings that the old one did not have. A first plan and apply follow.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from slipway.lab import hosts
from support.lab_host import LabHost, bring_up, mongosh
from support.old_version import OldVersion, Version
from support.releases import EXAMPLE, Visits, is_settled

RELEASED = Version("0.1.0", "6dcf84577eea8c41a8d23b5c6fb79220f3f7c4ab")
pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(
        os.environ.get("SLIPWAY_LAB_OS", hosts.DEFAULT_SYSTEM) != hosts.DEFAULT_SYSTEM,
        reason="the released version has no setting for Debian 12's MongoDB on another system",
    ),
]

# Everything that the first plan lists, with the reason. An unnecessary restart does not belong here.
NEW = {
    "Create the replica set's key": "MongoDB is a replica set of this one server,",
    "Name the replica set's member": "which drivers find by its name;",
    "Configure MongoDB": "it keeps an oplog, by which every second can be restored",
    "Sandbox MongoDB": "mongod may take 900 s to start instead of 180",
    "Restart MongoDB": "the one restart that makes it a replica set",
    "Begin MongoDB's replica set": "with the data that are there",
    "Install the module of the release program": "the steps of a release are a Python program",
    "Install the release program": "which was a shell script for each site,",
    "Install the release program's checks": "which looks at built pages before it activates them",
    "Install the release program's reader of pages": "by this module",
    "Configure the release program": "and reads what it knows of a site from a file",
    "Remove the release script of earlier versions": "which nobody calls any more",
    "Install the launcher of the services": "secrets are environment variables, too",
    "Create MongoDB's users": "the backend's user is known in the site's database too",
    "Install the launcher of services that listen on a port": "any program can be one, and is told a port",
    "Install the renewal hook": "it reloads Nginx where it runs, and is no error where it does not",
    "Configure the backend": "which the launcher makes them of; the time that its start may take is set",
    "Restart the backend": "with them",
    "Configure the release's units": "the same for the next release",
    "Install uv 0.13.9": "which installs the packages of a release",
    "Configure Nginx": "the policy of a page allows the scripts that were read in it",
    "Reload Nginx": "with it",
    "Install the program that limits the size of Nginx's logs": "what visitors can make grow is bounded",
    "Limit the size of Nginx's logs": "by a service and its timer,",
    "Start the timer that limits the size of Nginx's logs": "which looks at it from now on",
    "Install the hook that sets the renewal time": "certbot renews by the lifetime of a certificate",
    "Configure unattended security updates": "apt notes each refresh of its lists, and Ubuntu Pro's are among them",
    "Set when the certificate is renewed": "the one that is there, too",
    "Configure fail2ban": "who is banned is told per jail, as a jail's own section would precede the defaults",
    "Restart fail2ban": "with it",
    "Spare our own address from bans": "as it reads the last minutes of sshd's log at its start",
}
DOCUMENTS = 1000
INSERT = f"""
const documents = [...Array({DOCUMENTS}).keys()].map((n) => ({{ n, text: "x".repeat(n) }}));
db.getSiblingDB("codementee").before_the_upgrade.insertMany(documents);
"""
# The number of documents in each collection, and MongoDB's own hash over all of them.
COUNT = """
const site = db.getSiblingDB("codementee"), { collections, md5 } = site.runCommand({ dbHash: 1 });
const counts = Object.keys(collections).map((name) => [name, site[name].countDocuments()]);
print(JSON.stringify({ counts: Object.fromEntries(counts), md5 }));
"""


@dataclass(frozen=True)
class Upgrade:
    """A server after the first apply of this version, and what was observed; `settings` are options."""

    server: LabHost
    old: OldVersion
    settings: tuple[str, ...]
    planned: list[dict[str, Any]]
    noticed: dict[str, dict[str, Any]]
    documents_before: dict[str, Any]
    documents_after: dict[str, Any]
    planned_again: list[dict[str, Any]]


@pytest.fixture(scope="module")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    old = OldVersion(RELEASED, tmp_path_factory.mktemp("user") / "slipway")
    settings = {
        "backend_source": str(old.tree / "examples/codementee/backend"),
        # The same in both versions, and built already in most runs.
        "frontend_source": str(EXAMPLE / "frontend"),
        "frontend_build": "[ -e build/index.html ] || { npm ci --no-audit --no-fund && npm run build; }",
    }
    options = tuple(word for name, value in settings.items() for word in ("--data", f"{name}={value}"))
    server = bring_up("upgrade")
    old.write_inventory(server, settings)
    old.slipway("apply", "--yes")
    server.wait_until_healthy()
    server.ssh(mongosh(INSERT))
    before = documents(server)

    planned = server.plan(*options)
    visits = Visits(server.site())
    time.sleep(2)
    server.apply(*options)
    # A defect may show only after the apply.
    time.sleep(3)
    noticed = visits.noticed()
    yield Upgrade(server, old, options, planned, noticed, before, documents(server), server.plan(*options))
    server.remove()


def documents(server: LabHost) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(server.ssh(mongosh(COUNT)))
    return found


def test_the_first_plan_lists_what_is_new_and_nothing_else(upgrade: Upgrade) -> None:
    assert {change["operation"] for change in upgrade.planned} == set(NEW)
    assert upgrade.planned_again == []


def test_the_first_apply_loses_no_request_and_no_document(upgrade: Upgrade, say) -> None:
    requests = sum(its["requests"] for its in upgrade.noticed.values())
    failed = {habit: its["failed"] for habit, its in upgrade.noticed.items() if its["failed"]}
    say(f"requests during the upgrade from {RELEASED.name}: {requests}, failed: {failed or 'none'}")
    # MongoDB becomes a replica set by one restart, of 2 s: the health path reports its database as down, and
    # all other requests wait for it.
    told = {habit: its for habit, its in failed.items() if habit.startswith("GET /api/health")}
    assert {habit: its for habit, its in failed.items() if habit not in told} == {}
    assert {what for its in told.values() for what in its} <= {"status 503"}
    assert sum(number for its in told.values() for number in its.values()) <= 40
    assert all(its["requests"] >= 20 for its in upgrade.noticed.values()), "too few to notice anything"
    assert upgrade.documents_before["counts"]["before_the_upgrade"] == DOCUMENTS
    assert upgrade.documents_after == upgrade.documents_before


def test_a_release_that_the_old_version_did_not_finish_is_finished(upgrade: Upgrade, visits: Visits) -> None:
    """By a user who has not upgraded yet."""
    release = upgrade.old.start("release", "--yes")
    release.wait_for_operation("Start it beside the one that serves")
    release.kill()
    assert "Finish an interrupted release" in upgrade.server.operations(*upgrade.settings)
    upgrade.server.apply(*upgrade.settings)
    assert is_settled(upgrade.server)
    assert upgrade.server.plan(*upgrade.settings) == []
    visits.nothing()


def test_a_release_and_a_rollback_to_one_of_the_old_version_work(upgrade: Upgrade, visits: Visits) -> None:
    server = upgrade.server
    first = server.current_release()
    server.release(*upgrade.settings)
    assert server.current_release() != first
    assert is_settled(server)
    done = server.slipway("rollback", "lab", "--yes", *upgrade.settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.current_release() == first
    assert is_settled(server)
    assert server.plan(*upgrade.settings) == []
    visits.nothing()


@pytest.fixture
def server(upgrade: Upgrade) -> LabHost:
    """The server whose site is visited."""
    return upgrade.server
