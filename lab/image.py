"""System trees: what a provider hands over as a fresh VPS, made by mmdebstrap and cached by a hash of the recipe."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.instance import cache_dir, folder_lock
from lab.steps import Progress, remove, run

AUTHORITIES = Path("/usr/local/share/ca-certificates")


@dataclass(frozen=True)
class Image:
    """A recipe: the same recipe always makes the same kind of tree."""

    system: str
    codename: str
    packages: tuple[str, ...]
    setup: str  # a shell script, run in the new tree


DEBIAN_12 = Image(
    system="debian-12",
    codename="bookworm",
    packages=(
        *("systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo", "python3-minimal"),
        *("ca-certificates", "iproute2", "iputils-ping", "procps", "less", "openssl", "netbase", "kmod", "tzdata"),
        "libpam-systemd",  # logins are sessions, as on any server
    ),
    setup="""
        useradd --create-home --shell /bin/bash --groups sudo admin
        echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin; chmod 440 /etc/sudoers.d/admin
        install -d -m 700 /root/.ssh; install -d -m 700 -o admin -g admin /home/admin/.ssh
        systemctl enable systemd-networkd ssh
        update-ca-certificates
        rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id; : > /etc/machine-id
        apt-get clean
    """,
)
IMAGES = {DEBIAN_12.system: DEBIAN_12}


def recipe_hash(image: Image, authorities: dict[str, str]) -> str:
    """12 hexadecimal digits that change with anything that goes into the tree."""
    return hashlib.sha256(repr((asdict(image), sorted(authorities.items()))).encode()).hexdigest()[:12]


def added_authorities() -> dict[str, str]:
    """The certificate authorities that this machine's owner added: its hosts must trust what it trusts."""
    return {path.name: path.read_text() for path in sorted(AUTHORITIES.glob("*.crt"))}


def ensure(image: Image, progress: Progress) -> Path:
    """The tree of `image`, built if it is not cached. A build that was interrupted is never taken for a tree."""
    authorities = added_authorities()
    cache = cache_dir() / "images"
    tree = cache / f"{image.system}-{recipe_hash(image, authorities)}"
    cache.mkdir(parents=True, exist_ok=True)
    with folder_lock(cache):
        if tree.exists():
            with progress.step(f"Find the {image.system} tree in the cache"):
                return tree
        with progress.step(f"Build the {image.system} tree"):
            _remove_abandoned(cache)
            _build(image, authorities, tree)
    return tree


def clean() -> None:
    """Remove what killed builds left; complete trees stay for the next host."""
    cache = cache_dir() / "images"
    if cache.exists():
        with folder_lock(cache):
            _remove_abandoned(cache)


def _remove_abandoned(cache: Path) -> None:
    for abandoned in cache.glob(".new-*"):
        remove(abandoned)


def _build(image: Image, authorities: dict[str, str], tree: Path) -> None:
    # A folder of its own: what an interrupted build left running must not write into the next one.
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=tree.parent))
    new.chmod(0o755)
    include = ",".join(image.packages)
    run(
        f"Build the {image.system} tree",
        # In a mount namespace of its own: a build that is killed takes its /proc, /sys and /dev with it.
        ["unshare", "--mount", "mmdebstrap", "--variant=minbase", f"--include={include}", image.codename, str(new)],
    )
    for name, text in authorities.items():
        (new / AUTHORITIES.relative_to("/") / name).write_text(text)
    run(f"Set up the {image.system} tree", ["chroot", str(new), "sh", "-euc", image.setup])
    new.rename(tree)
