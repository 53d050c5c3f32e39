"""The kernel: swap, parameters, transparent huge pages, and a blacklist of unused modules."""

from __future__ import annotations

from collections.abc import Mapping

from pyinfra import host

from slipway.adoption.kernel import AT_LEAST, larger
from slipway.engine.components import Drift, component
from slipway.engine.notes import skipped
from slipway.facts.base import Output
from slipway.facts.machine import Machine, is_container
from slipway.ops.commands import ensure
from slipway.ops.files import put, put_all, put_template
from slipway.ops.templates import render
from slipway.ops.units import service
from slipway.settings.model import Settings
from slipway.settings.system import DEVICE_MODULES, PROTOCOL_MODULES
from slipway.tasks.sizes import swap_mb

FILE = "/etc/sysctl.d/zz-slipway.conf"
# The line of /dev/shm in fstab(5), up to its options; with the option noexec; a command that adds it.
SHM = r"^[^#[:space:]]+[[:space:]]+/dev/shm[[:space:]]+[^[:space:]]+[[:space:]]+"
SHM_NOEXEC = SHM + r"[^[:space:]]*noexec"
SHM_IN_FSTAB = (
    f"if grep -qE '{SHM}' /etc/fstab; then"
    rf" sed -Ei '\|{SHM_NOEXEC}|!s|({SHM}[^[:space:]]+)|\1,nosuid,nodev,noexec|' /etc/fstab;"
    " else echo 'tmpfs /dev/shm tmpfs nosuid,nodev,noexec 0 0' >> /etc/fstab; fi"
)
# Prints what sysctl.d(5)'s other files say of AT_LEAST.
OTHER_FILES = f"""\
for file in /etc/sysctl.conf /etc/ufw/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf; do
  [ "$file" = {FILE} ] || grep -hE '{"|".join(AT_LEAST).replace(".", "[./]")}' "$file"
done"""
# File systems, by stat(1), on which swapon(8) refuses a file.
NO_SWAP_FILES = {"zfs", "overlayfs", "tmpfs", "ramfs"}
# A container's kernel is its host's: tests/e2e/test_kernel.py tests the other drifts on a virtual machine.
DRIFTS = {
    "a module no longer blacklisted": Drift("rm /etc/modprobe.d/slipway.conf", "Blacklist unused kernel modules"),
}


def swap_problems(settings: Settings) -> list[str]:
    machine: dict[str, str] = host.get_fact(Machine)
    found = machine.get("root", "")
    if settings.swap_mb == 0 or is_container(machine) or found not in NO_SWAP_FILES:
        return []
    return [
        f"swap_mb: found {settings.swap_mb} and the file system {found} at /, on which Linux accepts no swap file, need"
        " swap_mb = 0 (a swap partition stays)"
    ]


@component(preflight=swap_problems, drifts=DRIFTS)
def kernel(settings: Settings) -> None:
    """Kernel settings. A container shares its host's kernel, so most are skipped there."""
    put_all(
        name="Blacklist unused kernel modules",
        files={"/etc/modprobe.d/slipway.conf": blocked_modules(settings)},
    )
    if is_container(host.get_fact(Machine)):
        for what in ("swap", "kernel parameters (sysctl)", "transparent huge pages"):
            skipped(what, f"a container ({host.get_fact(Machine)['container']}) has its host's kernel")
        return
    ensure(
        name="Mount /dev/shm without exec",
        check=f"findmnt --noheadings --output OPTIONS /dev/shm | grep -q noexec && grep -qE '{SHM_NOEXEC}' /etc/fstab",
        # World-writable, so malware is often started from there.
        command=f"{SHM_IN_FSTAB}; sync /etc/fstab; systemctl daemon-reload; mount -o remount /dev/shm",
        note="shared memory: noexec",
    )
    _swap(swap_mb(settings))
    _sysctl(settings)
    if "db" in host.groups:
        _set_huge_pages(huge_pages(settings.mongodb_version))


def blocked_modules(settings: Settings) -> str:
    """The text of the file that keeps modules from loading."""
    protocols, devices = (
        [name for name in names if name not in settings.loadable_modules]
        for names in (PROTOCOL_MODULES, DEVICE_MODULES)
    )
    return render("kernel/modprobe.conf", protocols=protocols, devices=devices)


def _swap(megabytes: int) -> None:
    """A swap file of this size; 0 removes it, and keeps a swap partition of the provider's."""
    if megabytes == 0:
        ensure(
            name="Remove the swap file",
            check="! grep -q '^/swapfile ' /proc/swaps /etc/fstab && [ ! -e /swapfile ]",
            command="{ ! grep -q '^/swapfile ' /proc/swaps || swapoff /swapfile; }"
            " && sed -i '/^\\/swapfile /d' /etc/fstab && rm -f /swapfile",
            note="/swapfile: removed",
        )
        return
    ensure(
        name=f"Create a swap file of {megabytes} MiB",
        # An owner's need not be a multiple of a MiB.
        check=f"[ $(($(stat -c %s /swapfile || echo 0) / {2**20})) = {megabytes} ]",
        # Renamed into place when complete: the check looks only at the size.
        command=(
            "new=/swapfile.new; umask 077; rm -f $new"
            # Btrfs accepts one only without copy-on-write, which is set while it is empty, btrfs(5).
            " && { [ $(stat -f -c %T /) != btrfs ] || { : > $new && chattr +C $new; }; }"
            f" && {{ fallocate -l {megabytes}M $new || dd if=/dev/zero of=$new bs=1M count={megabytes} status=none; }}"
            " && mkswap $new >/dev/null && sync $new && { ! grep -q '^/swapfile ' /proc/swaps || swapoff /swapfile; }"
            " && mv -fT $new /swapfile"
        ),
        note=f"/swapfile: {megabytes} MiB",
    )
    ensure(
        name="Add the swap file to /etc/fstab",
        check="grep -q '^/swapfile ' /etc/fstab",
        command="echo '/swapfile none swap sw 0 0' >> /etc/fstab && sync /etc/fstab",
    )
    ensure(name="Enable the swap file", check="grep -q '^/swapfile ' /proc/swaps", command="swapon /swapfile")


def sysctl(settings: Settings, found: Mapping[str, int] | None = None) -> str:
    """The text of the file with the kernel parameters. `found` are values of the host's other files, of which larger
    ones stay."""
    return render("kernel/sysctl.conf", rp_filter=settings.rp_filter, found=found or {})


def _sysctl(settings: Settings) -> None:
    text = sysctl(settings, larger(host.get_fact(Output, command=OTHER_FILES), host.get_fact(Machine).get("os", "")))
    ensure(
        name="Disable UFW's kernel parameters",
        check="grep -qx 'IPT_SYSCTL=' /etc/default/ufw",
        # UFW starts later at boot, so its values would win.
        command="sed -i 's/^IPT_SYSCTL=.*/IPT_SYSCTL=/' /etc/default/ufw && sync /etc/default/ufw",
        note="/etc/default/ufw: its own sysctl.conf is not loaded",
    )
    ensure(
        name="Disable the crash reports of Ubuntu",
        check="! systemctl is-enabled --quiet apport.service",
        # They hold a program's memory, its secrets too, and each start sets fs.suid_dumpable anew.
        command="systemctl disable --quiet --now apport.service",
        note="apport.service: disabled",
    )
    # The last file that sets a parameter wins: after the distribution's and the provider's 99-*.
    put(name="Set kernel parameters", path=FILE, content=text)
    wanted = parameters(text)
    names, values = " ".join(wanted), "\n".join(wanted.values())
    in_force = f"[ \"$(sysctl -n {names})\" = '{values}' ]"
    ensure(
        name="Load kernel parameters",
        check=in_force,
        command=f"systemctl restart systemd-sysctl && {in_force}",
        note=f"kernel parameters: as in {FILE}",
    )


def parameters(text: str) -> dict[str, str]:
    """The `name = value` lines of a sysctl.d file."""
    lines = (line.partition(" = ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def huge_pages(mongodb_version: str) -> str:
    """MongoDB up to 7.0 recommends transparent huge pages off; since 8.0, with its new allocator, on.

    https://www.mongodb.com/docs/manual/tutorial/disable-transparent-huge-pages/
    """
    return "always" if int(mongodb_version.split(".")[0]) >= 8 else "never"


def _set_huge_pages(mode: str) -> None:
    put_template(
        "/etc/systemd/system/slipway-thp.service",
        "kernel/thp.service",
        {"mode": mode},
        name=f"Configure the service that sets transparent huge pages to {mode!r}",
    )
    service(name="Enable the transparent huge pages service", unit="slipway-thp.service")
    ensure(
        name=f"Set transparent huge pages to {mode!r}",
        check=f"grep -qF '[{mode}]' /sys/kernel/mm/transparent_hugepage/enabled",
        command="systemctl daemon-reload && systemctl restart slipway-thp",
        note=f"/sys/kernel/mm/transparent_hugepage/enabled: {mode}",
    )
