"""A fresh VPS as providers deliver it, built with mmdebstrap and cached by a hash of the recipe: a tree of files for
containers, a disk with a kernel for virtual machines."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from slipway.lab.instance import cache_dir, folder_lock
from slipway.lab.record import LAB_USER, LAB_USER_ID
from slipway.lab.steps import Progress, StepFailed, run
from slipway.systems import SYSTEMS, System

AUTHORITIES = Path("/usr/local/share/ca-certificates")
# A script in a host's files, run at the end of its setup.
FURNISH = "/usr/local/sbin/slipway-lab-furnish"
# The first boot of a virtual machine unpacks this disk and grows the file system to its own disk.
SEED_DISK = "/dev/vdb"
SEED_SCRIPT = f"""\
set -eu
tar --extract --file {SEED_DISK} --directory / --unlink-first
hostname --file /etc/hostname
resize2fs /dev/vda
sh {FURNISH}
touch /etc/slipway-lab-seeded
"""
SEED_UNIT = """\
[Unit]
Description=Become the host that the lab asked for
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target systemd-networkd.service ssh.service ssh.socket sysinit.target
Wants=network-pre.target
ConditionPathExists=!/etc/slipway-lab-seeded

[Service]
Type=oneshot
ExecStart=/bin/sh /usr/local/sbin/slipway-lab-seed

[Install]
WantedBy=sysinit.target
"""
# Signs Ubuntu's archive; Debian 12 does not package it. https://packages.ubuntu.com/jammy/ubuntu-keyring
UBUNTU_KEYRING = "/usr/share/keyrings/ubuntu-archive-keyring.gpg"
UBUNTU_KEYRING_URL = "http://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2021.03.26_all.deb"
UBUNTU_KEYRING_SHA256 = "0d0e7ed6b112f5d03eabf3c7eb01ebdacf9c57714b279e90495cfc58c8c4520f"
# Free space on a disk before its first boot grows the file system.
SPARE_MB = 256


@dataclass(frozen=True)
class Image:
    """A recipe of a tree or a disk."""

    system: System
    packages: tuple[str, ...]
    setup: str  # a shell script, run in the new tree


PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo", "python3-minimal"),
    *("ca-certificates", "iproute2", "iputils-ping", "procps", "less", "openssl", "netbase", "kmod", "tzdata"),
    "libpam-systemd",  # logins are sessions, as on any server
    "apt",  # missing in Ubuntu's smallest variant
)
SETUP = f"""
useradd --create-home --uid {LAB_USER_ID} --shell /bin/bash {LAB_USER}
echo '{LAB_USER} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{LAB_USER}; chmod 440 /etc/sudoers.d/{LAB_USER}
install -d -m 700 /root/.ssh; install -d -m 700 -o {LAB_USER} -g {LAB_USER} /home/{LAB_USER}/.ssh
systemctl enable systemd-networkd ssh
update-ca-certificates
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id; : > /etc/machine-id
apt-get clean
"""
SETUP_VM = f"""
cat > /usr/local/sbin/slipway-lab-seed <<'END'
{SEED_SCRIPT}END
cat > /etc/systemd/system/slipway-lab-seed.service <<'END'
{SEED_UNIT}END
systemctl enable slipway-lab-seed
awk '$2 != "/"' /etc/fstab > /etc/fstab.new; mv /etc/fstab.new /etc/fstab
echo '/dev/vda / ext4 errors=remount-ro 0 1' >> /etc/fstab
# The drivers that qemu's machine needs to find its disk. With all of them the initrd takes 8 s to build, 4 s to unpack.
echo 'MODULES=list' > /etc/initramfs-tools/conf.d/slipway-lab
printf '%s\\n' virtio_pci virtio_blk ext4 >> /etc/initramfs-tools/modules
update-initramfs -c -k all
"""
# In the environment of an installation: keeps the kernel's package from building an initrd: SETUP_VM does, once.
NO_INITRD = {"INITRD": "No"}


def container_image(system: System) -> Image:
    """The recipe of a tree for containers, which run on this machine's kernel."""
    return Image(system, PACKAGES, SETUP)


def machine_image(system: System) -> Image:
    """The recipe of a disk for virtual machines, with the distribution's own kernel."""
    return Image(system, (*PACKAGES, *machine_packages(system)), SETUP + SETUP_VM)


def machine_packages(system: System) -> tuple[str, ...]:
    """The packages of a virtual machine that a container does not need."""
    return (system.kernel, "initramfs-tools", "e2fsprogs")


DEBIAN_12 = container_image(SYSTEMS["debian-12"])


@dataclass(frozen=True)
class Disk:
    """A raw disk with one ext4 file system, and the kernel and initrd from it that a virtual machine boots."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"


def recipe_hash(image: Image, authorities: dict[str, str]) -> str:
    """A hash of the recipe, 12 hexadecimal digits."""
    return hashlib.sha256(repr((asdict(image), sorted(authorities.items()))).encode()).hexdigest()[:12]


def added_authorities() -> dict[str, str]:
    """The certificate authorities added to this machine, which its hosts must trust as well."""
    return {path.name: path.read_text() for path in sorted(AUTHORITIES.glob("*.crt"))}


def tree(system: System, progress: Progress) -> Path:
    """The tree of files of a system, for containers. Needs root."""
    return _ensure(container_image(system), "tree", _build_tree, progress)


def disk(system: System, progress: Progress) -> Disk:
    """The disk of a system, for virtual machines. Needs no root."""
    return Disk(_ensure(machine_image(system), "disk", _build_disk, progress))


def _ensure(image: Image, kind: str, build: Callable[[Image, Path], None], progress: Progress) -> Path:
    """The cached result of `build`, built if missing. An interrupted build is never used."""
    title = f"{image.system.id} {kind}"
    cache = cache_dir() / "images"
    result = cache / f"{image.system.id}-{kind}-{recipe_hash(image, added_authorities())}"
    cache.mkdir(parents=True, exist_ok=True)
    with folder_lock(cache):
        if result.exists():
            with progress.step(f"Find the {title} in the cache"):
                return result
        with progress.step(f"Build the {title}"):
            _remove_abandoned(cache)
            # Its own folder: processes that an interrupted build left running must not write into the next one.
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
            new.chmod(0o755)
            build(image, new)
            new.rename(result)
    return result


def clean() -> None:
    """Remove the remains of killed builds; complete trees stay cached."""
    cache = cache_dir() / "images"
    if cache.exists():
        with folder_lock(cache):
            _remove_abandoned(cache)


def _remove_abandoned(cache: Path) -> None:
    for abandoned in cache.glob(".new-*"):
        run(f"Remove {abandoned}", [*as_root(), "rm", "-rf", "--one-file-system", str(abandoned)])


def as_root() -> list[str]:
    """The prefix of a command that needs root rights on a tree: without root, a user namespace. Its mounts end with the
    process."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user", "--map-auto"])]


def _build_tree(image: Image, new: Path) -> None:
    _mmdebstrap(image, new)


def _build_disk(image: Image, new: Path) -> None:
    archive = new / "root.tar"
    _mmdebstrap(image, archive)
    megabytes = archive.stat().st_size // 2**20 * 5 // 4 + SPARE_MB
    # Without device files: the kernel creates them, and only root could.
    script = f"""
        export PATH="$PATH:/usr/sbin:/sbin"
        mkdir root; tar --extract --file root.tar --directory root --numeric-owner --exclude './dev/*'; rm root.tar
        {disk_script("root", megabytes)}
        rm -rf root
    """
    run(f"Make the {image.system.id} disk", [*as_root(), "sh", "-euc", script], cwd=new)


def disk_script(root: str, megabytes: int) -> str:
    """Shell commands that build a Disk from a tree with a kernel, in the current folder."""
    return f"""
        cp --dereference {root}/boot/vmlinuz-* vmlinuz; cp --dereference {root}/boot/initrd.img-* initrd.img
        # Initialise everything now: the guest's kernel would do the rest in emulation. Holes in the file are zeros.
        mkfs.ext4 -q -L root -E lazy_itable_init=0,lazy_journal_init=0 -d {root} disk.img {megabytes}M
        chmod 644 disk.img vmlinuz initrd.img
    """


def _mmdebstrap(image: Image, target: Path) -> None:
    """Build the tree at `target`: a folder, or a tar archive by its name."""
    step = f"Build the {image.system.id} system"
    with _authorities_folder() as folder, _keyring(image.system) as keyring:
        authorities = [f"copy-in {shlex.quote(str(path))} {AUTHORITIES}" for path in sorted(folder.iterdir())]
        hooks = [*authorities, f'chroot "$1" sh -euc {shlex.quote(image.setup)}']
        argv = [
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(image.packages)}"),
            f"--components={','.join(image.system.components)}",
            *([f"--keyring={keyring}"] if keyring else []),
            # apt's own timeout for an unreachable archive is minutes.
            *('--aptopt=Acquire::Retries "2"', '--aptopt=Acquire::http::Timeout "20"'),
            *(f"--customize-hook={hook}" for hook in hooks),
            *(image.system.codename, str(target)),
        ]
        try:
            # A folder is for containers, which need root; for an archive mmdebstrap chooses its mode itself.
            run(step, argv if target.suffix == ".tar" else [*as_root(), *argv], env=NO_INITRD)
        except StepFailed as error:
            raise _out_of_reach(step, image.system, error.output) or error from None


UNREACHED = re.compile(
    r"Could not (?:resolve|connect)|Temporary failure|Unable to connect|Connection (?:failed|timed out)"
)


def _out_of_reach(step: str, system: System, output: str) -> StepFailed | None:
    """The error for an unreachable archive, None if `output` has another cause."""
    lines = [line for line in output.splitlines() if UNREACHED.search(line)]
    return _unreached(step, system, lines[0]) if lines else None


def _unreached(step: str, system: System, found: str) -> StepFailed:
    why = f"the archive of {system.title} can't be reached from this machine; allow access, or choose another --os"
    return StepFailed(step, why, output=found)


@contextmanager
def _authorities_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        # Without root, mmdebstrap reads them as another user.
        Path(name).chmod(0o755)
        for file, text in added_authorities().items():
            (Path(name) / file).write_text(text)
        yield Path(name)


@contextmanager
def _keyring(system: System) -> Iterator[str | None]:
    """The keyring of the system's archive, None if mmdebstrap finds it itself."""
    if system.os != "ubuntu" or Path(UBUNTU_KEYRING).exists():
        yield None
        return
    import requests

    step = "Fetch the keys of Ubuntu's archive"
    with tempfile.TemporaryDirectory(prefix="slipway-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            answer = requests.get(UBUNTU_KEYRING_URL, timeout=20)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise _unreached(step, system, str(error)) from None
        found = hashlib.sha256(answer.content).hexdigest()
        if found != UBUNTU_KEYRING_SHA256:
            raise StepFailed(step, f"found a file with SHA-256 {found}, expected {UBUNTU_KEYRING_SHA256}")
        (folder / "keyring.deb").write_bytes(answer.content)
        run(step, ["dpkg-deb", "--extract", str(folder / "keyring.deb"), str(folder / "keyring")])
        yield str(folder / "keyring") + UBUNTU_KEYRING
