"""The kernel's effective settings."""

from __future__ import annotations

from slipway.adoption.kernel import AT_LEAST
from slipway.tasks.kernel import parameters, sysctl


def test_kernel_parameters_are_effective(server, own_kernel):
    wanted = parameters(sysctl(server.settings))
    shown = server.host.check_output(f"sysctl -n {' '.join(wanted)}").splitlines()
    in_force = dict(zip(wanted, shown, strict=True))
    # A larger value of another file stays.
    kept = {name: value for name, value in in_force.items() if name in AT_LEAST and int(value) >= int(wanted[name])}
    assert in_force == {**wanted, **kept}


def test_the_swap_file_is_in_use_at_its_size(server, own_kernel):
    shown = server.host.check_output("swapon --show=NAME,SIZE --bytes --noheadings").splitlines()
    sizes = dict(line.split() for line in shown)
    # The first page is the header, mkswap(8).
    size = (int(sizes["/swapfile"]) + 4096) // 2**20 if "/swapfile" in sizes else 0
    # If it is not set, an adopted server's keeps its size.
    assert size == server.settings.swap_mb or (size and "swap_mb" not in server.settings.model_fields_set)


def test_no_blacklisted_module_can_be_loaded(server):
    lines = server.host.check_output("modprobe --showconfig 2>/dev/null | grep '^install '").splitlines()
    for name in ("dccp", "sctp", "rds", "tipc", "usb_storage", "firewire_core"):
        if name.replace("_", "-") in server.settings.loadable_modules:
            continue
        assert f"install {name} /bin/false" in lines
