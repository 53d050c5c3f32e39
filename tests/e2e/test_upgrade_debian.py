"""docs/upgrade-debian.md, command by command: a server with Debian 12 becomes one with Debian 13."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from support.lab_host import BUILT, PENDING, PROJECT, LabHost, bring_up, mongosh

pytestmark = pytest.mark.thorough

NAME = "bookworm"
# What group_data/all.py would say.
SUITE = ("--data", "mongodb_apt_suite=bookworm")
INSERT = 'db.getSiblingDB("codementee").before.insertMany([...Array(1000).keys()].map((n) => ({ n })))'
HASH = 'print(db.getSiblingDB("codementee").runCommand({ dbHash: 1, collections: ["before"] }).md5)'
DUMP = "/root/before-debian-13.gz"


def blocks() -> list[list[str]]:
    """The page's commands, one list per block."""
    text = (PROJECT / "docs/upgrade-debian.md").read_text().replace("SITE", "codementee")
    return [
        [line.strip() for line in block.splitlines()] for block in re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[LabHost]:
    host = bring_up(NAME, "--os", "debian-12")
    host.apply()
    host.wait_until_healthy()
    yield host
    host.remove()


def type_in(server: LabHost, command: str, plan_expected: int | None) -> None:
    """Run a `slipway` command, which must succeed; a plan must exit with `plan_expected`, if given."""
    _, verb, *rest = shlex.split(command)
    options = [*(["--yes"] if verb in ("apply", "release") else []), *(BUILT if verb == "release" else ())]
    done = server.slipway(verb, "lab", *rest, *options, *SUITE)
    assert done.returncode == (plan_expected or 0 if verb == "plan" else 0), f"{command}\n{done.stdout}{done.stderr}"


def test_the_page_upgrades_debian_12_to_13_with_all_data(server: LabHost) -> None:
    server.ssh(mongosh(INSERT))
    # As earlier versions of Slipway created it.
    server.ssh("ln -sfT /usr/bin/python3 $(ls -d /var/www/codementee/venvs/*/)bin/python")
    before, hash_before = server.current_release(), server.ssh(mongosh(HASH))
    mongod = server.ssh("mongod --version | head -n 1")
    has_tools = "mongodb_tools" not in server.data or server.data["mongodb_tools"]
    walked, upgraded = 0, False
    for block in blocks():
        if block == ["reboot"]:
            assert server.slipway("lab", "stop", "--name", NAME).returncode == 0
            assert server.slipway("lab", "up", "--name", NAME).returncode == 0
            upgraded = True
            # The site is back by itself, before anything is applied.
            server.wait_until_healthy()
        elif block[0].startswith("slipway"):
            for number, command in enumerate(block):
                # The first plan after the upgrade has something to do.
                first = upgraded and number == 0 and "slipway apply" in block
                type_in(server, command, PENDING if first else None)
        elif any(line.startswith("mongodump") for line in block):
            if has_tools:
                server.ssh("set -e; " + "\n".join([*block, f"test -s {DUMP}"]))
        elif block[0].startswith("ssh"):
            assert f"sudo cat {DUMP} >" in block[0]
        else:
            server.ssh("set -e; " + "\n".join(block))
        walked += len(block)
    assert walked > 20, "the page has no commands"
    assert server.ssh("cat /etc/debian_version").startswith("13.")
    assert server.ssh("mongod --version | head -n 1") == mongod
    assert server.ssh(mongosh(HASH)) == hash_before
    assert server.current_release() != before
    # No configuration file of a package lies beside ours, and nothing of Debian 12 is left.
    assert server.ssh("apt-mark showhold; dpkg --audit") == ""
    assert server.ssh("test -e /usr/bin/python3.11 || echo gone") == "gone"
    assert server.is_healthy()
