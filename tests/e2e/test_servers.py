"""Servers as their earlier owners left them (tests/servers): what Slipway would not keep is refused by name before
anything changes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.as_found import assert_refused, make, restored, untouched_host
from support.found_servers import REFUSED, REFUSED_WITH_PACKAGES
from support.lab_host import LabHost


@pytest.fixture(scope="module")
def untouched() -> Iterator[LabHost]:
    with untouched_host("servers") as host:
        yield host


@pytest.fixture
def bare(untouched: LabHost) -> LabHost:
    """The fresh host, restored."""
    return restored(untouched)


def test_what_slipway_would_not_keep_is_refused_by_name_all_at_once(bare: LabHost) -> None:
    make(bare, *REFUSED)
    assert_refused(bare, [line for lines in REFUSED.values() for line in lines])


@pytest.mark.thorough
@pytest.mark.parametrize("recipe", [*REFUSED, *REFUSED_WITH_PACKAGES])
def test_a_server_is_refused_by_the_name_of_what_is_on_it(bare: LabHost, recipe: str) -> None:
    make(bare, recipe)
    assert_refused(bare, {**REFUSED, **REFUSED_WITH_PACKAGES}[recipe])


@pytest.mark.thorough
def test_rules_that_a_package_loads_at_boot_go_by_the_command_that_is_told(bare: LabHost) -> None:
    make(bare, "oracle_image")
    said = bare.slipway("plan", "lab").stderr
    bare.ssh(f"export DEBIAN_FRONTEND=noninteractive; {said.partition('only UFW: ')[2].splitlines()[0]}")
    assert bare.plan() != []
    assert bare.ssh("iptables-save -t filter | grep -c '^-A INPUT' || :") == "0"


@pytest.mark.thorough
def test_the_commands_of_a_refusal_give_the_backends_unit_slipways_name(bare: LabHost) -> None:
    recipe = "other_unit"
    make(bare, recipe)
    refused = bare.slipway("apply", "lab", "--yes").stderr
    (steps,) = re.findall(r"which Slipway replaces: (cd .*?)(?:, or |$)", refused, re.MULTILINE)
    bare.ssh(steps)
    assert bare.ssh("systemctl is-enabled codementee-backend; curl -s -m 5 localhost:8000/api/") == "enabled\nup"
    assert_refused(bare, REFUSED_WITH_PACKAGES[recipe][1:])


@pytest.mark.thorough
def test_neither_a_plan_nor_an_apply_writes_behind_a_link_in_nginxs_folder(bare: LabHost) -> None:
    make(bare, "nginx_linked_folders")
    before = bare.ssh("sha256sum /srv/config/vhosts/*")
    assert_refused(bare, ["/etc/nginx/sites-available: found a link"])
    assert bare.ssh("sha256sum /srv/config/vhosts/*") == before


@pytest.mark.thorough
def test_another_series_of_mongodb_is_refused(bare: LabHost) -> None:
    make(bare, "mongodb_password")
    # The lab's repository has one series.
    told = ["mongod: found version 6.0", "MongoDB's users: ", "mongodb_version: found '7.0'"]
    assert_refused(bare, told, "--data", "mongodb_version=7.0")
