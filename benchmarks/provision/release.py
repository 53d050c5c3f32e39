"""Build a lab host's first release, as Slipway builds it: python -m benchmarks.provision.release HOST FILE

Prints its id. A process of its own: Slipway builds the frontend once per process, and each way must build it anew.
"""

from __future__ import annotations

import shutil
import sys

from benchmarks.provision.state import settings_of
from slipway.lab import hosts
from slipway.releases import artifact


def main(host: str, file: str) -> None:
    release = artifact.build(settings_of(hosts.find(host)), ("backend", "frontend"), {})
    shutil.copyfile(release.archive, file)
    print(release.id)


if __name__ == "__main__":
    main(*sys.argv[1:])
