"""A bare Debian 13 is provisioned, verified, released to and rolled back. `SLIPWAY_LAB_OS=debian-13 make
test` runs all other tests there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.lab_host import BUILT, LabHost, bring_up

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def trixie() -> Iterator[LabHost]:
    host = bring_up("trixie", "--os", "debian-13")
    yield host
    host.remove()


def test_a_bare_debian_13_becomes_the_site_and_a_second_apply_changes_nothing(trixie: LabHost) -> None:
    assert trixie.data["mongodb_apt_suite"] == "bookworm"
    trixie.apply()
    trixie.wait_until_healthy()
    assert trixie.plan() == []
    verified = trixie.slipway("verify", "lab")
    assert verified.returncode == 0, verified.stdout
    assert trixie.ssh("systemctl list-units --failed --plain --no-legend") == ""


def test_it_is_released_and_rolled_back(trixie: LabHost) -> None:
    first = trixie.current_release()
    trixie.release(*BUILT)
    assert trixie.current_release() != first
    assert trixie.is_healthy()
    back = trixie.slipway("rollback", "lab", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert trixie.current_release() == first
    assert trixie.is_healthy()
    assert trixie.plan() == []


def test_it_comes_back_after_a_reboot(trixie: LabHost) -> None:
    """A reboot empties /tmp and /run: on Debian 13 both are in memory."""
    assert trixie.slipway("lab", "stop", "--name", "trixie").returncode == 0
    assert trixie.slipway("lab", "up", "--name", "trixie").returncode == 0
    trixie.wait_until_healthy()
    assert trixie.plan() == []
