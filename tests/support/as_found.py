"""A fresh host that becomes a server as its earlier owner left it (tests/servers)."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from slipway.lab import hosts, snapshots
from support.checkout import PROJECT
from support.lab_host import LabHost, bring_up

RECIPES = PROJECT / "tests/servers"
LABEL = "bare"


@contextmanager
def untouched_host(name: str) -> Iterator[LabHost]:
    """A fresh host with the recipes on it, and its snapshot."""
    host = bring_up(name)
    settings = host.data
    names = {"DOMAIN": "site_domain", "MONGODB_APT_URL": "mongodb_apt_url", "MONGODB_KEY_URL": "mongodb_key_url"}
    names |= {"MONGODB_VERSION": "mongodb_version", "ACME_URL": "tls_acme_server"}
    exports = "".join(f"export {name}={settings[key]}\n" for name, key in names.items())
    exports += "export DEBIAN_FRONTEND=noninteractive"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for recipe in RECIPES.glob("*.sh"):
            archive.add(recipe, recipe.name)
    data = base64.b64encode(packed.getvalue()).decode()
    host.ssh(f"mkdir /root/servers; cd /root/servers; echo {data} | base64 -d | tar -xz; echo '{exports}' > settings")
    host.ssh("apt-get update -q; apt-get install -y -q --no-install-recommends python3")  # for the next
    state = (PROJECT / "tests/support/host_state.py").read_text()
    host.ssh(f"cat > /root/host_state.py <<'END_OF_FILE'\n{state}\nEND_OF_FILE")
    hosts.stop(host.name)
    snapshots.take(LABEL, host.name)
    yield host
    host.remove()


def restored(host: LabHost) -> LabHost:
    """The host as it was at first."""
    snapshots.restore(LABEL, host.name)
    return host


def make(host: LabHost, *recipes: str) -> None:
    """Do on the host what its earlier owner did."""
    for recipe in recipes:
        host.ssh(f". /root/servers/settings; bash -eu /root/servers/{recipe}.sh")


def state(host: LabHost) -> dict[str, str]:
    return dict(json.loads(host.ssh("python3 /root/host_state.py")))


def assert_refused(host: LabHost, lines: list[str], *arguments: str) -> None:
    """An apply reports exactly these obstacles, and changes nothing."""
    before = state(host)
    done = host.slipway("apply", "lab", "--yes", *arguments)
    told = [line.removeprefix("  - ") for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert [line for line in lines if not any(one.startswith(line) for one in told)] == [], done.stderr
    assert [one for one in told if not any(one.startswith(line) for line in lines)] == [], told
    assert state(host) == before


def assert_adopted(host: LabHost, *arguments: str) -> None:
    host.apply(*arguments)
    assert host.plan(*arguments) == []
    verified = host.slipway("verify", "lab", *arguments)
    assert verified.returncode == 0, verified.stdout
