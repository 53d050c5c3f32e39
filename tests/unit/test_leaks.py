"""The search for secrets that others could read: what Slipway has made is told from what its owner left there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from slipway.server_tests.leaks import PROGRAM, VALUES

SECRET = "a7f3-kept-0c6a5d9e"


@pytest.fixture
def search(tmp_path):
    """Run the search on folders of a server that Slipway has come to later than the first files."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "journalctl").write_text(f"#!/bin/sh\nfor last do :; done; cat {tmp_path}/${{last%%=*}} 2> /dev/null")
    (programs / "systemctl").write_text(f"#!/bin/sh\ncat {tmp_path}/units 2> /dev/null")
    for program in programs.iterdir():
        program.chmod(0o755)
    for folder in ("etc", "var/log", "run", "tmp", "usr/local", "home/dev/app"):
        (tmp_path / folder).mkdir(parents=True)

    def run() -> dict:
        text = re.sub(r'"(?=/(etc|var|run|tmp|home|usr)\b)', f'"{tmp_path}', PROGRAM)
        env = {"PATH": f"{programs}:/usr/bin:/bin"}
        command = [sys.executable, "-c", text, str(tmp_path / "etc/shop/credentials")]
        given = json.dumps([SECRET])
        done = subprocess.run(command, input=given, env=env, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.replace(str(tmp_path), ""))
        return {name: found[name] for name in ("seen", "older")}

    return run


def slipway_comes(tmp_path) -> None:
    """A file system tells when a file was made by the second."""
    time.sleep(1.1)
    (tmp_path / "etc/shop/credentials").mkdir(parents=True)
    time.sleep(1.1)


def test_copies_from_before_slipway_are_told_from_its_leaks(search, tmp_path):
    log, unit = tmp_path / "var/log/history.log", tmp_path / "etc/worker.service"
    for file in (tmp_path / "home/dev/app/.env", tmp_path / "etc/app.conf", log, unit):
        file.write_text(f"KEY={SECRET}\n")
    (tmp_path / "units").write_text(
        f"Id=worker.service\nFragmentPath={unit}\nEnvironment=KEY={SECRET}\n\nId=x.service\n"
    )
    (tmp_path / "--until").write_text(SECRET)
    slipway_comes(tmp_path)
    with log.open("a") as more:
        more.write("apt-get install\n")
    found = search()
    before = ["the journal from before Slipway", "what systemctl shows of worker.service"]
    assert sorted(found["older"]) == sorted([*before, "/etc/app.conf", "/etc/worker.service", "/home/dev/app/.env"])
    assert found["seen"] == ["/var/log/history.log"]


def test_what_is_made_later_is_a_leak(search, tmp_path):
    slipway_comes(tmp_path)
    (tmp_path / "etc/shop.conf").write_text(SECRET)
    (tmp_path / "home/dev/copy").write_text(SECRET)
    (tmp_path / "units").write_text(f"Id=x.service\nFragmentPath={tmp_path}/etc/shop.conf\nEnvironment={SECRET}\n")
    (tmp_path / "--since").write_text(SECRET)
    found = search()
    assert found["older"] == []
    leaks = ["the journal", "what systemctl shows of x.service", "/etc/shop.conf", "/home/dev/copy"]
    assert sorted(found["seen"]) == sorted(leaks)


def test_a_users_name_or_a_region_is_no_secret_as_it_may_be_any_word(tmp_path):
    for name in ("RESTIC_REST_USERNAME", "AWS_DEFAULT_REGION", "UV_INDEX_OUR_USERNAME", "RESTIC_REST_PASSWORD"):
        (tmp_path / name).write_text(name)
    command = [sys.executable, "-c", VALUES, str(tmp_path)]
    assert json.loads(subprocess.check_output(command)) == ["RESTIC_REST_PASSWORD"]
