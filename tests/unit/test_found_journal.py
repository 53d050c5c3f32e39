"""The journal of an existing server, which a smaller limit would shorten."""

from __future__ import annotations

import subprocess

from slipway.adoption import names
from slipway.facts.earlier import Earlier
from support.obstacles import SERVICE


def test_a_journal_that_would_be_shortened_is_named_with_the_setting_that_keeps_it():
    journal = {"journal": "3072"}
    (one,) = names.journal(journal, 500)
    assert (one.need, one.may_go) == ("journal_max_mb = 3572", True)
    assert [*names.journal(journal, 3572)] == []
    assert [*names.journal({"journal": "500"}, 500)] == []


def test_the_size_of_a_journal_is_asked_until_slipway_limits_it(tmp_path):
    for folder in ("etc/systemd/journald.conf.d", "var/log/journal/abc", "var/log/journal/of-another-system"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "system.journal").write_bytes(b"x" * 3 * 2**20)
    (tmp_path / "etc/machine-id").write_text("abc\n")
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s journal") : command.index("s keys")]
    for folder in ("/etc/", "/var/log"):
        script = script.replace(folder, f"{tmp_path}{folder}")

    def asked() -> str:
        done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    assert asked() in ("3", "4")
    (tmp_path / "etc/systemd/journald.conf.d/slipway.conf").touch()
    assert asked() == ""
