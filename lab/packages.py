"""The Debian packages that the lab needs on this machine, installed if missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from slipway.lab.steps import Progress, StepFailed, run

# command or file -> its Debian package
NEEDED = {
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",  # on Ubuntu
    "mmdebstrap": "mmdebstrap",
    "pebble": "pebble",
    "ssh": "openssh-client",
    "npm": "npm",  # builds the example's frontend, and packages mongosh
    "openssl": "openssl",
    "curl": "curl",  # depends on libcurl4, which `mongod --version` needs
    "dpkg-deb": "dpkg",
}
# The same, only for tests.
NEEDED_BY_TESTS = {
    "testssl": "testssl.sh",
    "certutil": "libnss3-tools",  # adds a CA to a browser
    # Ubuntu packages no browser, and GitHub's runners have Chrome.
    **({} if shutil.which("google-chrome") else {"chromium": "chromium"}),
}
# The same for each backend.
NEEDED_BY = {
    "nspawn": {
        "systemd-nspawn": "systemd-container",
        "nft": "nftables",
        "ip": "iproute2",
        "bridge": "iproute2",
    },
    "qemu": {
        "qemu-system-x86_64": "qemu-system-x86",
        "qemu-img": "qemu-utils",
        "mkfs.ext4": "e2fsprogs",
        # Without root: a tree's files have many owners, which needs a user namespace.
        **({} if os.geteuid() == 0 else {"newuidmap": "uidmap"}),
        # As root both kinds of hosts share one bridge.
        **({"nft": "nftables", "ip": "iproute2"} if os.geteuid() == 0 else {}),
    },
}
# The same for the package mirror, built only if the official repository is unreachable.
NEEDED_BY_MIRROR = {
    "gpg": "gnupg",
    "apt-ftparchive": "apt-utils",
    "dpkg-deb": "dpkg",
}


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """The packages whose commands are missing on this machine."""
    # mkfs and others are in root's folders, which are not in every user's path.
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return sorted(
        {
            package
            for name, package in needed.items()
            if not (Path(name).exists() if name.startswith("/") else shutil.which(name, path=path))
        }
    )


def need_root() -> None:
    """Raises StepFailed unless we are root."""
    if os.geteuid() != 0:
        raise StepFailed(
            "Check the rights",
            "containers need root (bridge, mounts): run it with sudo, or without root: slipway lab up --backend qemu",
        )


def install(progress: Progress, needed: Mapping[str, str] = NEEDED) -> None:
    """Install what is missing. Raises StepFailed if that needs root and we are not."""
    names = missing(needed)
    if not names:
        return
    if os.geteuid() != 0:
        raise StepFailed(
            "Check the lab's packages",
            f"found no {', '.join(names)}, and only root can install packages: sudo apt install {' '.join(names)}",
        )
    with progress.step(f"Install {', '.join(names)}"):
        run("Refresh apt's lists", ["apt-get", "update", "-q"])
        run(
            "Install the lab's packages",
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *names],
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )


if __name__ == "__main__":  # `make test` installs them before the first host is up
    try:
        install(Progress(), NEEDED | NEEDED_BY["nspawn"] | NEEDED_BY["qemu"] | NEEDED_BY_TESTS)
    except StepFailed as error:
        raise SystemExit(str(error)) from None
