"""Whom fail2ban spares on an existing server."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import network
from slipway.facts import network as network_facts
from support.obstacles import told


def test_an_address_that_fail2ban_spares_now_is_named_with_the_setting(settings_with):
    earlier = {"ignored": "DEFAULT 127.0.0.1/8 ::1 localhost 203.0.113.7 Home.example.org 198.51.100.9"}
    (one,) = network.bans(earlier, settings_with(fail2ban_ignore=["198.51.100.0/24"]))
    assert one.need == 'fail2ban_ignore = ["198.51.100.0/24", "203.0.113.7/32", "home.example.org"]'
    known = ["198.51.100.0/24", "203.0.113.7", "home.example.org"]
    assert told(network.bans(earlier, settings_with(fail2ban_ignore=known))) == []
    assert told(network.bans({"ignored": "DEFAULT 127.0.0.1/8"}, settings_with())) == []


def test_what_fail2ban_spares_by_other_means_than_an_address_is_named(settings_with):
    earlier = {"ignored": "DEFAULT 203.0.113.7 %(office)s file:/etc/fail2ban/spared"}
    found = told(network.bans(earlier, settings_with(fail2ban_ignore=["203.0.113.7"])))
    assert found == ["fail2ban: ignoreip %(office)s", "fail2ban: ignoreip file:/etc/fail2ban/spared"]


@pytest.mark.parametrize(
    ("lines", "spared"),
    [
        # The last one counts.
        (["DEFAULT 192.0.2.1", "DEFAULT 192.0.2.2"], ["192.0.2.2/32"]),
        (["DEFAULT 192.0.2.1", "DEFAULT %(known/ignoreip)s 192.0.2.2"], ["192.0.2.1/32", "192.0.2.2/32"]),
        # Another jail keeps its own.
        (["DEFAULT 192.0.2.1", "postfix 192.0.2.2"], ["192.0.2.1/32"]),
        (["DEFAULT 192.0.2.1", "sshd 192.0.2.2"], ["192.0.2.2/32", "192.0.2.1/32"]),
        (["sshd %(ignoreip)s", "nginx-limit-req"], []),
    ],
)
def test_whom_slipways_jails_would_have_spared_counts(settings_with, lines, spared):
    found = [*network.bans({"ignored": "\n".join(lines)}, settings_with())]
    assert [one.found for one in found] == (
        [f"{', '.join(spared)}, which would be banned like others"] if spared else []
    )


def test_all_lines_of_what_fail2ban_spares_are_found_in_the_files_order(tmp_path):
    files = {
        "jail.conf": "[INCLUDES]\nbefore = paths.conf\n[DEFAULT]\n#ignoreip = 192.0.2.9\nignoreip = 192.0.2.1\n",
        "jail.d/own.conf": "[sshd]\n  enabled = true\n  IgnoreIP: 192.0.2.2\n  maxretry = 5\n",
        "jail.d/slipway.local": "# by Slipway\n[sshd]\nignoreip = 192.0.2.8\n",
        "jail.d/zz.local": "[nginx-limit-req]\nignoreip = 192.0.2.6",
        "jail.d/other": "[DEFAULT]\nignoreip = 192.0.2.7\n",
        "jail.local": "[DEFAULT]\r\nignoreip = 127.0.0.1/8, ::1 # own\r\n\r\n   203.0.113.10\r\n# office\r\n\t; x\r\n"
        "\toffice.example.org ; y\r\nbantime = 1w\r\n  10.0.0.0/8\r\n",
    }
    for name, text in files.items():
        path = tmp_path / "etc/fail2ban" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    command = network_facts.SECTIONS[network_facts.SECTIONS.index("s ignored") :].replace("/etc/", f"{tmp_path}/etc/")
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {command}"], capture_output=True, text=True, check=False)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["DEFAULT", "192.0.2.1"],
        ["sshd", "192.0.2.2"],
        ["DEFAULT", "127.0.0.1/8", "::1", "203.0.113.10", "office.example.org"],
        ["nginx-limit-req", "192.0.2.6"],
    ]
