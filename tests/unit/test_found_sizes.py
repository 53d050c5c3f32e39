"""The swap file and the journal of an existing server, which stay unless the settings name other sizes."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import names
from slipway.facts.earlier import Earlier
from slipway.facts.machine import Machine
from slipway.facts.sizes import JOURNAL_KEPT, JOURNALD, Sizes
from slipway.facts.ssh import Sshd
from slipway.tasks import sizes
from support.described import MACHINE, described, run_deploy


@pytest.mark.parametrize(
    ("found", "given", "swap", "to_make", "journal"),
    [
        ({}, {}, 1024, 1024, 500),
        ({"swap": "2048", "journal": "3072"}, {}, 2048, 0, 4000),
        # After the apply.
        ({"swap": "2048", "limit": "4000"}, {}, 2048, 0, 4000),
        ({"swap": "2048", "limit": "4000"}, {"swap_mb": 512, "journal_max_mb": 300}, 512, 512, 300),
        ({"swap": "2048", "journal": "80"}, {"swap_mb": 1024, "journal_max_mb": 500}, 1024, 1024, 500),
        ({"swap": "1024", "journal": "500"}, {"swap_mb": 0}, 0, 0, 500),
        ({"limit": "100"}, {}, 1024, 1024, 500),
    ],
)
def test_sizes_that_are_not_set_are_as_the_server_has_them(settings_with, found, given, swap, to_make, journal):
    settings = settings_with(**given)
    with described(settings) as (_, host):
        host.answers = {Sizes: found}
        assert (sizes.swap_mb(settings), sizes.journal_max_mb(settings)) == (swap, journal)
        assert sizes.new_swap_mb(settings) == to_make
        assert len(sizes.remarks(settings)) == (swap != settings.swap_mb) + (journal != settings.journal_max_mb)


def test_an_existing_swap_file_and_journal_are_no_obstacle(settings_with):
    earlier = {"swapfile": "2000000000", "journal": "3072"}
    answers = {Earlier: earlier, Sizes: {"swap": "1907", "journal": "3072"}}
    answers |= {Sshd: {"port": ["22"], "authorizedkeysfile": [".ssh/authorized_keys"]}}
    with described(settings_with()) as (server, host):
        host.answers = answers | {Machine: {**MACHINE, "clock": host.machine["clock"]}}
        run_deploy()
    assert server.about(JOURNALD).arguments["content"].endswith(f"{JOURNAL_KEPT}\nSystemMaxUse=4000M\n")
    assert [one.name for one in server.operations if "swap file of" in one.name] == ["Create a swap file of 1907 MiB"]


def test_a_swap_file_of_a_size_that_is_no_multiple_of_a_mebibyte_is_one_of_its_setting():
    (one,) = names.swap_file({"swapfile": "2000000000"}, 1024)
    assert one.need == "swap_mb = 1907"
    assert [*names.swap_file({"swapfile": "2000000000"}, 1907)] == []
    assert [*names.swap_file({"swapfile": "1073741824"}, 1024)] == []


def test_the_sizes_are_found(tmp_path):
    for folder in ("etc/systemd/journald.conf.d", "var/log/journal/abc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "var/log/journal/abc/system.journal").write_bytes(b"x" * 3 * 2**20)
    (tmp_path / "etc/machine-id").write_text("abc\n")
    script = Sizes().command()
    for path in ("/etc/", "/var/log", "/swapfile"):
        script = script.replace(path, f"{tmp_path}{path}")

    def ask() -> dict[str, str]:
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return Sizes().process(done.stdout.splitlines())

    assert ask() in ({"journal": "3"}, {"journal": "4"})
    (tmp_path / "swapfile").write_bytes(b"\0" * 3_000_000)
    journald = tmp_path / "etc/systemd/journald.conf.d/slipway.conf"
    journald.write_text("[Journal]\nSystemMaxUse=4000M\n")
    # Edited by hand, or the limit of a setting that is gone.
    assert ask() == {}
    journald.write_text(f"[Journal]\n{JOURNAL_KEPT}\nSystemMaxUse=4000M\n")
    assert ask() == {"limit": "4000"}
    subprocess.run(["/sbin/mkswap", tmp_path / "swapfile"], capture_output=True, check=True)
    assert ask() == {"swap": "2", "limit": "4000"}
