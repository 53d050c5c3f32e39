"""Drifts of every component are found by a plan, corrected by an apply, and gone from the next plan."""

from __future__ import annotations

import pytest

from slipway.engine.deployed import deployed
from support.drifts import NOTICED_BY, SETTINGS
from support.lab_host import LabHost

# Many at once, except those that the same operation must notice, and those that stop a service, which a new
# configuration would start.
ROUNDS: dict[str, dict[str, str]] = {}
for drift, (_, operation, _) in NOTICED_BY.items():
    kind = "services" if operation.startswith("Start ") else "the rest"
    earlier = sum(operation in done.values() for done in ROUNDS.values())
    ROUNDS.setdefault(f"{kind}, {earlier + 1}", {})[drift] = operation
# The first rounds have a drift for each operation.
EVERYDAY = ("the rest, 1", "services, 1")
# Tested elsewhere: a container's kernel is this machine's (test_kernel.py).
DRIFT_ELSEWHERE = {"kernel"}


@pytest.mark.parametrize(
    "round_", [name if name in EVERYDAY else pytest.param(name, marks=pytest.mark.thorough) for name in ROUNDS]
)
def test_drifts_are_found_by_a_plan_and_corrected_by_an_apply(server: LabHost, owned_domain: str, round_: str) -> None:
    drifts = ROUNDS[round_]
    # One may break another's script, as a stopped Nginx breaks a reload: the plan shows whether each happened.
    server.ssh("".join(f"( {NOTICED_BY[drift].script}\n)\n" for drift in drifts), check=False)
    changes = server.plan()
    seen = {change["operation"] for change in changes}
    assert [drift for drift, operation in drifts.items() if operation not in seen] == []
    if round_ == EVERYDAY[0]:
        drifted = {change["component"] for change in changes}
        on = {one.name for one in deployed() if one.sites(SETTINGS)}
        assert on - DRIFT_ELSEWHERE - drifted == set(), "a component without a drift is not tested"
    server.apply()
    assert server.plan() == []
    site = server.site()
    assert site.get("/api/health").status_code == 200
    assert site.get("/").status_code == 200
    assert server.ssh("systemctl show --property=ProtectSystem --value nginx mongod").split() == ["strict", "strict"]
