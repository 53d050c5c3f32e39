"""The Debian packages that the lab needs on this machine, installed when they are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from lab.steps import Progress, StepFailed, run

# command -> the Debian package that has it
NEEDED = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "bridge": "iproute2",
    "pebble": "pebble",
    "ssh": "openssh-client",
    "npm": "npm",  # builds the example's frontend, and packages mongosh
    "openssl": "openssl",
    "curl": "curl",  # and with it libcurl4, which mongod needs to tell its version
}
# The same for the package mirror, which is only built where the official repository is out of reach.
NEEDED_BY_MIRROR = {
    "gpg": "gnupg",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
}


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """The packages whose commands are not on this machine."""
    return sorted({package for command, package in needed.items() if shutil.which(command) is None})


def need_root() -> None:
    """Raises StepFailed where we are not root."""
    if os.geteuid() != 0:
        raise StepFailed(
            "Check the rights", "a throwaway host needs root (bridge, mounts, containers): run it with sudo"
        )


def install(progress: Progress, needed: Mapping[str, str] = NEEDED) -> None:
    """Install what is missing. Raises StepFailed where that needs root and we are not."""
    need_root()
    names = missing(needed)
    if not names:
        return
    with progress.step(f"Install {', '.join(names)}"):
        run("Refresh apt's lists", ["apt-get", "update", "-q"])
        run(
            "Install the lab's packages",
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *names],
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )


if __name__ == "__main__":  # `make test` wants them before the first host is up
    try:
        install(Progress(), NEEDED)
    except StepFailed as error:
        raise SystemExit(str(error)) from None
