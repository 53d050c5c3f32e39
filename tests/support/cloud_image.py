"""A substitute for a provider's cloud image, which can't be fetched here: Debian with cloud-init, a boot loader and a
partition table, as those have it. Needs root."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOOLS = ("syslinux", "syslinux-common", "mtools", "dosfstools", "fdisk", "mmdebstrap", "qemu-utils", "e2fsprogs")
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "libpam-systemd", "openssh-server", "sudo", "ca-certificates"),
    *("systemd-resolved", "cloud-guest-utils", "locales"),
    *("iproute2", "procps", "cloud-init", "netplan.io", "linux-image-cloud-amd64", "initramfs-tools", "e2fsprogs"),
)
SETUP = """
printf "LABEL=root / ext4 errors=remount-ro 0 1\\n" > /etc/fstab
rm -f /etc/ssh/ssh_host_* /etc/hostname; : > /etc/machine-id
systemctl enable systemd-networkd
"""
# Sectors of 512 bytes: the boot partition from 1 MiB on, the root partition behind its 96 MiB.
BUILD = """
tar --extract --file root.tar --directory root --numeric-owner --exclude './dev/*'
truncate -s 96M boot.fat; mkfs.vfat boot.fat > /dev/null
cat > syslinux.cfg <<END
DEFAULT linux
LABEL linux
KERNEL /vmlinuz
INITRD /initrd.img
APPEND root=LABEL=root ro console=ttyS0
END
mcopy -i boot.fat syslinux.cfg ::
mcopy -i boot.fat root/boot/vmlinuz-* ::vmlinuz; mcopy -i boot.fat root/boot/initrd.img-* ::initrd.img
syslinux --install boot.fat
mkfs.ext4 -q -L root -d root root.ext4 1500M
truncate -s 1600M disk.raw
printf '2048,196608,c,*\\n198656,,83\\n' | sfdisk -q disk.raw
dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk.raw conv=notrunc status=none
dd if=boot.fat of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=root.ext4 of=disk.raw bs=1M seek=97 conv=notrunc,sparse status=none
qemu-img convert -O qcow2 disk.raw cloud.qcow2
rm -rf root root.tar root.ext4 boot.fat disk.raw
"""


def run(*argv: str, cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def install(*packages: str) -> None:
    """Install Debian packages on this machine, for the tests alone."""
    run("apt-get", "update", "-q")
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *packages)


def build(folder: Path) -> Path:
    """Make the image in an empty folder; returns its file."""
    install(*TOOLS)
    include = f"--include={','.join(PACKAGES)}"
    hook = f"--customize-hook=chroot \"$1\" sh -euc '{SETUP}'"
    (folder / "root").mkdir()
    run("unshare", "--mount", "mmdebstrap", "--variant=minbase", include, hook, "bookworm", str(folder / "root.tar"))
    run("sh", "-euc", BUILD, cwd=folder)
    return folder / "cloud.qcow2"
