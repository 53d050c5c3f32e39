"""Facts, with their commands run on this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pyinfra.api import StringCommand

from slipway.engine import query_cache
from slipway.engine.connector import _question
from slipway.engine.remote_shell import Question, merged
from slipway.facts.certificates import Certificate
from slipway.facts.files import FileState, FileStates, Modified
from slipway.facts.machine import Machine
from slipway.facts.packages import Packages
from slipway.facts.units import Unit


def shown(text: str, path: Path | None = None) -> list[str]:
    """The lines that a shell command prints, with the programs in `path` before all others."""
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


def program(path: Path, name: str, script: str) -> None:
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{script}\n")
    (path / name).chmod(0o755)


@pytest.fixture
def there(tmp_path):
    """A folder with something of each kind."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "empty").write_text("")
    (tmp_path / "two words").write_text("text")
    (tmp_path / "folder").mkdir(0o750)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("/nowhere/at all")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to pipe").symlink_to("pipe")
    return tmp_path


def test_the_state_of_each_kind_of_file_is_found_alone_and_among_others(there):
    names = [*(path.name for path in there.iterdir()), "absent"]
    facts = {name: FileState() for name in names}
    questions = [
        _question(StringCommand(fact.command(str(there / name))), {}, fact.script) for name, fact in facts.items()
    ]
    (one,) = {*merged(questions)}
    together = shown(one.text)
    states = {name: fact.process(together) for name, fact in facts.items()}
    for name in names:
        alone = FileState()
        assert states[name] == alone.process(shown(alone.command(str(there / name))))
    digest = hashlib.sha256(b"text").hexdigest()
    assert states["file"]["mode"] == "640"
    assert (states["file"]["kind"], states["file"]["sha256"]) == ("regular file", digest)
    assert (states["two words"]["kind"], states["two words"]["sha256"]) == ("regular file", digest)
    assert (states["empty"]["kind"], states["empty"]["sha256"]) == ("regular file", hashlib.sha256().hexdigest())
    assert (states["folder"]["kind"], states["folder"]["mode"]) == ("directory", "750")
    assert (states["link"]["kind"], states["link"]["target"]) == ("symbolic link", "file")
    assert (states["dangling"]["kind"], states["dangling"]["target"]) == ("symbolic link", "/nowhere/at all")
    # Whoever read a pipe would wait for ever.
    assert "sha256" not in states["pipe"]
    assert "sha256" not in states["link to pipe"]
    assert states["absent"] == {}


def test_the_states_of_several_files_are_those_of_each(there):
    paths = (str(there / "file"), str(there / "absent"))
    fact, one = FileStates(), FileState()
    assert fact.process(shown(fact.command(paths))) == {
        paths[0]: one.process(shown(one.command(paths[0]))),
        paths[1]: {},
    }


def test_the_newest_change_counts_of_links_and_of_what_they_lead_to(there):
    def modified(*names: str) -> int:
        fact = Modified()
        return fact.process(shown(fact.command(tuple(str(there / name) for name in names))))

    os.utime(there / "file", (1000, 1000))
    os.utime(there / "empty", (2000, 2000))
    os.utime(there / "link", (500, 500), follow_symlinks=False)
    assert modified("file", "empty", "absent") == 2000
    assert modified("link") == 1000
    os.utime(there / "link", (3000, 3000), follow_symlinks=False)
    assert modified("link", "empty") == 3000
    assert modified("absent") == 0


def test_packages_are_told_apart_from_those_that_others_have_asked_for(tmp_path):
    lines = "ok=installed=nginx", "ok=installed=aide", "ok=config-files=curl", "reinstreq=unpacked=tzdata"
    program(tmp_path / "bin", "dpkg-query", f"printf '%s\\n' {' '.join(lines)}")
    first, second = Packages(), Packages()
    first.command(("nginx", "curl", "absent"))
    output = shown(f"set -- nginx curl absent aide\n{Packages.script}", tmp_path / "bin")
    second.command(("aide",))
    assert first.process(output) == {"installed": {"nginx"}, "broken": {"tzdata"}}
    assert second.process(output) == {"installed": {"aide"}, "broken": {"tzdata"}}


def test_it_is_known_since_when_a_unit_and_its_newest_child_run(tmp_path):
    # A process's age is known in whole seconds: 1.2 of them are at least one.
    script = f"sleep 1.2; sleep 60 & touch {tmp_path}/child; wait"
    main = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    began = time.time()
    try:
        while not (tmp_path / "child").exists():
            assert main.poll() is None
            time.sleep(0.02)
        blocks = (
            f"Names=one.service other.service\\nActiveState=active\\nMainPID={main.pid}",
            "Names=two.timer\\nActiveState=inactive\\nMainPID=0",
        )
        program(tmp_path / "bin", "systemctl", f"printf '{blocks[0]}\\n\\n{blocks[1]}\\n'")
        units = {name: Unit() for name in ("other.service", "two.timer", "three.service")}
        for name, fact in units.items():
            fact.command(name)
        output = shown(f"set -- {' '.join(units)}\n{Unit.script}", tmp_path / "bin")
        one, two, three = (fact.process(output) for fact in units.values())
    finally:
        os.killpg(main.pid, signal.SIGKILL)
        main.wait()
    assert (one["ActiveState"], two["ActiveState"], three) == ("active", "inactive", {})
    assert abs(int(one["Began"]) - began) <= 1.5
    assert 1 <= int(one["ChildBegan"]) - int(one["Began"]) <= 3
    assert "Began" not in two


def test_questions_are_one_only_where_nothing_but_their_subjects_differs():
    questions = [
        Question("stat", True, "a"),
        Question("date", True),
        Question("stat", True, "'b c'"),
        Question("stat", False, "d"),
    ]
    assert merged(questions) == [
        Question("stat", True, "a 'b c'"),
        Question("date", True),
        Question("stat", True, "a 'b c'"),
        Question("stat", False, "d"),
    ]


def test_questions_are_remembered_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    questions = [Question("stat", True, "a"), Question("date", False)]
    query_cache.keep(("lab", "host"), questions)
    assert query_cache.recall(("lab", "host"), by_sudo=True) == questions
    assert query_cache.recall(("lab", "host"), by_sudo=False) == questions[1:]


def pem(names: list[str], end: datetime) -> str:
    """A certificate for names, that ends then."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(90), end)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_certificate_is_read_with_the_server_that_it_is_from(tmp_path):
    end = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    (tmp_path / "fullchain.pem").write_text(pem(["one.test", "two.test"], end) + pem(["authority.test"], end))
    (tmp_path / "renewal.conf").write_text("account = a1\nserver = https://acme.test/directory?a=b\n")
    fact = Certificate()
    command = fact.command(f"{tmp_path}/fullchain.pem", "renewal").replace("/etc/letsencrypt/renewal", str(tmp_path))
    found = fact.process(shown(command))
    assert int(found.pop("start")) < int(found["end"])
    assert found == {
        "end": str(int(end.timestamp())),
        "names": "one.test two.test",
        "server": "https://acme.test/directory?a=b",
    }


@pytest.mark.parametrize("content", [None, "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_certificate_that_can_not_be_read_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "fullchain.pem").write_text(content)
    fact = Certificate()
    assert fact.process(shown(fact.command(f"{tmp_path}/fullchain.pem"))) == {}


def test_a_certificate_without_names_has_an_end(tmp_path):
    (tmp_path / "fullchain.pem").write_text(pem([], datetime(2031, 2, 3, tzinfo=UTC)))
    fact = Certificate()
    assert fact.process(shown(fact.command(f"{tmp_path}/fullchain.pem")))["names"] == ""


def test_of_this_machine_the_same_is_found_as_its_programs_tell():
    fact = Machine()
    found = fact.process(shown(fact.command()))
    assert found["uid"] == str(os.getuid())
    memory_kb = Path("/proc/meminfo").read_text().split()[1]
    assert found["memory_mb"] == str(int(memory_kb) // 1024)
    assert found["init"] == Path("/proc/1/comm").read_text().strip()
    assert found["kernel"] == os.uname().release
    assert f"Python {found['python']}" in shown("/usr/bin/python3 -V || echo 'Python '")
    assert f"glibc {found['glibc']}" in shown("getconf GNU_LIBC_VERSION || echo 'glibc '")
    if "/swapfile " not in Path("/proc/swaps").read_text():
        assert [found["root"]] == shown("stat -f -c %T /")
    for folder in Machine.DISK_FOLDERS:
        there = folder if Path(folder).is_dir() else str(Path(folder).parent)
        mount, free, *_ = found[f"disk:{folder}"].split()
        assert mount == shown(f"df --output=target {there}")[-1]
        assert abs(int(free) - int(shown(f"df -m --output=avail {there}")[-1])) < 500
