"""What is found of a previous backend on servers as people have them."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from pathlib import Path

import pytest

from slipway.facts import searches
from support.previous_backend import ROOT, RUNUSER, SYSTEMCTL, ask, server_in, write

LATER = 1_790_000_000


@pytest.fixture
def server(tmp_path):
    return server_in(tmp_path)


def chown(path: Path, user: str) -> None:
    if os.getuid() == 0:
        os.chown(path, pwd.getpwnam(user).pw_uid, -1)


def test_without_python_the_sections_are_there_and_empty(server):
    write(server / "bin/python3", "#!/bin/sh\nexit 127\n")
    (server / "bin/python3").chmod(0o755)
    write(server / ROOT[1:] / "backend/app.db")
    assert ask(server) == {"written": [], "environment": [], "databases": [], "stores": []}


def test_a_program_that_fails_is_not_taken_for_an_empty_answer(server):
    write(server / "bin/python3", "#!/bin/sh\nexit 1\n")
    (server / "bin/python3").chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        ask(server)


def test_a_backend_in_another_folder_is_read_there(server):
    folder = server / "home/dev/apps/shop"
    text = "DB_NAME=there\nUPLOADS=./uploads\nFILES=./../files\nAROUND=../\nSRV=mongodb+srv://own.example/x\n"
    write(folder / ".env", text)
    write(server / ROOT[1:] / "backend/.env", "DB_NAME=not_this\n")
    (server / "proc/7/environ").write_bytes(b"DB_NAME=running\0")
    for name in ("main.py", "uploads/1.pdf", "app.db"):
        write(folder / name, 'client["there"]\n', time=1)
    (server / "home/dev/apps/files").mkdir()
    found = ask(server, FOLDER=f"!{folder}")
    assert sorted(found["written"]) == ["/home/dev/apps/shop/app.db", "/home/dev/apps/shop/uploads/1.pdf"]
    assert found["databases"] == ["DB_NAME - - running", "SRV own.example own.example x", "code - - there"]
    assert found["stores"] == ["FILES /home/dev/apps/files"]


def test_what_is_newer_of_a_user_of_its_own_was_written_by_the_backend(server):
    user = "daemon" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    for name in ("srv/a/1.pdf", "srv/a/2.pdf", "opt/1/2/3/4/5/6.pdf", "opt/1/2/3/4/5/6/7.pdf", "opt/code.py"):
        write(server / name, time=LATER)
        chown(server / name, user)
    write(server / "srv/old/1.pdf", time=1)
    chown(server / "srv/old/1.pdf", user)
    chown(server / "proc/7", user)
    found = [re.sub(r"\d[.]pdf", "N.pdf", line) for line in ask(server, BY=user)["stores"]]
    assert sorted(found) == ["newer /opt/1/2/3/4/5/N.pdf", "newer /srv/a/N.pdf"]
    write(server / "bin/runuser", "#!/bin/sh\nexit 1\n")
    assert ask(server, BY=user)["stores"] == [], "it may not write there"
    # By the same user runs something else, and so any of the two has written it.
    write(server / "bin/runuser", f"#!/bin/sh\n{RUNUSER}\n")
    write(server / "proc/8/cgroup", "0::/system.slice/other.service\n")
    chown(server / "proc/8", user)
    assert ask(server, BY=user)["stores"] == []
    write(server / "proc/8/cgroup", "0::/user.slice/user-1000.slice/session-1.scope\n")
    assert len(ask(server, BY=user)["stores"]) == 2
    assert ask(server, BY="nosuchuser")["stores"] == []


def test_of_a_backend_that_was_never_started_only_databases_are_told(server):
    write(server / "bin/systemctl", "#!/bin/sh\n" + SYSTEMCTL.replace("echo '2026-01-01 00:00:00 UTC'", "echo"))
    write(server / ROOT[1:] / "backend/data/1.json", time=int(time.time()) - 60)
    write(server / ROOT[1:] / "backend/app.sqlite3", time=1)
    assert ask(server)["written"] == [f"{ROOT}/backend/app.sqlite3"]


def test_pipes_and_links_in_a_circle_hold_nothing_up_and_any_name_is_told(server):
    top = server / ROOT[1:] / "backend"
    for name in ("pipe.py", ".env", "pipe.pdf", "uploads/pipe"):
        (top / name).parent.mkdir(exist_ok=True)
        os.mkfifo(top / name)
    (top / "circle").symlink_to(top)
    (server / "srv/a").symlink_to("b")
    (server / "srv/b").symlink_to("a")
    write(top.parent / ".env", f"A={server}/srv/a\n")
    for name in (b"no\xfftext", b"two\nlines"):
        write(top / os.fsdecode(name) / "1.pdf", time=LATER)
    began = time.monotonic()
    found = ask(server)
    assert time.monotonic() - began < 10, "no search has waited"
    assert sorted(found["written"]) == [f"{ROOT}/backend/no\udcfftext/1.pdf", f"{ROOT}/backend/two?lines/1.pdf"]
    assert found["stores"] == []


def test_of_many_places_100_are_told_and_of_a_large_file_its_beginning(server):
    top = server / ROOT[1:] / "backend"
    for number in range(120):
        write(top / f"{number}/1.json", time=LATER)
    names = "".join(f'client["n{number}"]\n' for number in range(120))
    write(top / "names.py", "#" * searches.MAX_FILE_BYTES + f"\n{names}")
    found = ask(server)
    assert len(found["written"]) == 100
    assert found["databases"] == ["DB_NAME - - of_the_unit"]
    write(top / "names.py", names)
    write(top / "more.py", names.replace('"n', '"m'))
    assert len(ask(server)["databases"]) == 101


@pytest.mark.parametrize("url", ["mongodb://u:hunter?2@db.internal/x", "mongodb://u:hunter2/3?@db.internal/x"])
def test_no_part_of_a_password_is_told_for_a_host(server, url):
    write(server / ROOT[1:] / "backend/.env", f"MONGO_URL={url}\nOTHER=mongodb://db.internal/x?appName=a\n")
    assert ask(server)["databases"][1:] == ["OTHER db.internal db.internal x"]


def test_a_search_that_never_ends_is_left_with_what_it_has_found(monkeypatch):
    def find(seconds: float):
        yield "found"
        time.sleep(seconds)
        yield "late"

    monkeypatch.setattr(searches, "MAX_SEARCH", 0.5)
    began = time.monotonic()
    begun = [searches.Search(find, 60) for _ in range(3)]
    assert [one.lines() for one in begun] == [["found"]] * 3
    assert time.monotonic() - began < 5
    assert searches.Search(find, 0).lines() == ["found", "late"]


def test_code_behind_a_link_is_read_and_a_package_of_the_name_media_holds_no_uploads(server):
    top, real = server / ROOT[1:] / "backend", server / "home/dev/real"
    for name in ("media/__init__.py", "media/font.bin", "env/old.bin", "two.sqlite3", "three.sqlite3"):
        write(top / name, 'client["linked"]\n', time=1)
    assert sorted(ask(server)["written"]) == [f"{ROOT}/backend/three.sqlite3", f"{ROOT}/backend/two.sqlite3"]
    top.rename(real)
    top.symlink_to(real)
    assert "code - - linked" in ask(server)["databases"]


def test_open_files_count_of_the_units_processes_alone_and_not_what_the_unit_opens(server):
    for process, descriptor in (("7", 1), ("7", 12), ("9", 12)):
        folder = server / "proc" / process
        write(server / f"srv/{process}/{descriptor}.txt")
        write(folder / f"fdinfo/{descriptor}", "flags:\t0100001\n")
        (folder / "fd").mkdir(exist_ok=True)
        (folder / f"fd/{descriptor}").symlink_to(server / f"srv/{process}/{descriptor}.txt")
    write(server / "proc/9/cgroup", "0::/system.slice/other.service\n")
    assert ask(server)["stores"] == ["open /srv/7/12.txt"]


def test_a_variable_that_systemd_quotes_is_one(server):
    write(server / "bin/systemctl", "#!/bin/sh\n" + SYSTEMCTL.replace("A=b c", "LOG_DB=quoted x"))
    assert ask(server)["databases"] == ["DB_NAME - - of_the_unit", "LOG_DB - - quoted"]
