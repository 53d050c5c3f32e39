"""A server that becomes several, in a project of its own: a load balancer, two application servers and three members of
the replica set, on four hosts."""

from __future__ import annotations

from pathlib import Path

from support.balanced import SECRETS
from support.database_servers import DatabaseServers
from support.lab_host import LabHost

INVENTORY = '''
"""One server, or several: as far as STAGE says."""

import os as _os

from slipway.lab import record as _record
from slipway.settings import of_host as _of_host

_of_host.check_before_connecting()
_up = {_one.name: _one for _one in _record.running()}
_stage = _os.environ["STAGE"]


def _host(_name, **_own):
    _data = {**_record.pyinfra_data(_up[_name]), "private_address": _up[_name].address}
    return _name, {**_data, "site_domain": _os.environ["DOMAIN"], "tls_authorities": "authorities.pem", **_own}


_first, _second, _third, _lb = _os.environ["HOSTS"].split(",")
_one = _host(_first, **({"lb_direct": True} if _stage == "both" else {}))
_two = _host(_second, mongodb_member="mongodb-2.internal")
_three = _host(_third, mongodb_member="mongodb-3.internal")
_is_one = _stage in ("one", "moved")
lb = [] if _is_one else [_host(_lb)]
web = app = [_one] if _is_one else [_one, _two]
# "moved": the data are forgotten on the first; "apart": the first has left the set.
db = {"one": [_one], "moved": [_two], "apart": [_two, _three]}.get(_stage, [_one, _two, _three])
'''


class Growing(DatabaseServers):
    """The hosts, the first of which is the server that is there, and the last one the load balancer."""

    def __init__(self, folder: Path, members: list[LabHost], balancer: LabHost, domain: str) -> None:
        self.balancer, self.domain, self.stage = balancer, domain, "one"
        super().__init__(folder, members)
        (folder / "inventory.py").write_text(INVENTORY)
        # As docs/scale.md has it: what the server has generated becomes a secret of all.
        self.secrets |= {
            f"SLIPWAY_SECRET_{name}": self.first.ssh(f"cat /etc/codementee/credentials/{name}") for name in SECRETS
        }

    @property
    def connected(self) -> list[LabHost]:
        return [*self.hosts, self.balancer]

    def env(self, count: int) -> dict[str, str]:
        names = ",".join(host.name for host in [*self.hosts, self.balancer])
        return {**super().env(count), "HOSTS": names, "STAGE": self.stage, "DOMAIN": self.domain}

    def lead(self, domain: str, to: LabHost) -> None:
        """What a DNS server does, for all hosts and for the ACME server."""
        for host in [*self.hosts, self.balancer]:
            others = f"grep -v ' {domain}$' /etc/hosts"
            host.ssh(f"{{ {others}; echo '{to.record.address} {domain}'; }} > /run/hosts; cat /run/hosts > /etc/hosts")
        to.resolve(domain)
