"""Writing to a repository, with a fake restic that records its calls."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import pytest

from slipway.backups import restic
from slipway.backups.host import Facts, Failed, last_lines
from slipway.backups.oplog import documents
from slipway.backups.restic import Repository, explained, pump, ssh_words

RESTIC = """#!/bin/sh
# A snapshot is there when the input has come to its end, as with restic itself.
case "$*" in
  *silent.archive*) exec sleep 60;;
  *gone.archive*) echo 'the connection is lost' >&2; exit 1;;
  *forget*) [ -e {0}/free ] || {{ touch {0}/free; echo 'repository is already locked' >&2; exit 1; }};;
  *"cat config"*) [ ! -e {0}/said ] || cat {0}/said >&2; [ ! -e {0}/silent ] || exec sleep 60; exit 1;;
  *"-- /srv/files"*) cat {0}/said >&2; exit 3;;
  *--stdin*) cat > {0}/partial; [ ! -e {0}/full ] || {{ echo 'no space left on device' >&2; exit 1; }}
    mv {0}/partial {0}/snapshot; echo "$*" > {0}/words; env > {0}/environment;;
  *) echo "Fatal: wrong password or no key found" >&2; exit 1;;
esac
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/restic").write_text(RESTIC.format(tmp_path))
    (tmp_path / "bin/restic").chmod(0o755)
    for name in ("BACKUP_PASSWORD", "AWS_SECRET_ACCESS_KEY", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"):
        (tmp_path / name).write_text(f"the-{name}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    variables = ["AWS_SECRET_ACCESS_KEY", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"]
    values = dict.fromkeys(Facts._fields, "")
    given = {"repositories": {"far": "rest:https://backup.example/shop"}, "credentials": str(tmp_path)}
    return Repository(Facts(**{**values, **given, "variables": variables}), "far")


def test_a_stream_becomes_a_snapshot_with_its_tags_and_no_secret_on_the_command_line(repository, tmp_path):
    writing = repository.storing("mongodb.archive", {"full": "", "id": "A"})
    pump(io.BytesIO(b"x" * 3_000_000), [writing])
    writing.end()
    assert (tmp_path / "snapshot").stat().st_size == 3_000_000
    words = (tmp_path / "words").read_text()
    assert "--tag slipway,full,id=A --stdin --stdin-filename mongodb.archive" in words
    assert "the-" not in words
    environment = (tmp_path / "environment").read_text()
    login = "the-RESTIC_REST_USERNAME:the-RESTIC_REST_PASSWORD"
    assert f"RESTIC_REPOSITORY=rest:https://{login}@backup.example/shop" in environment
    assert "AWS_SECRET_ACCESS_KEY=the-AWS_SECRET_ACCESS_KEY" in environment
    assert f"RESTIC_PASSWORD_FILE={tmp_path}/BACKUP_PASSWORD" in environment


def test_a_stream_that_is_given_up_leaves_no_snapshot(repository, tmp_path):
    def give_up() -> None:
        with repository.storing("mongodb.archive", {"full": ""}) as writing:
            writing.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        give_up()
    assert not (tmp_path / "snapshot").exists()


def test_a_repository_that_fails_keeps_no_other_one_from_its_stream(repository, tmp_path):
    one, other = (repository.storing(name, {"full": ""}) for name in ("gone.archive", "mongodb.archive"))
    one.process.wait()
    pump(io.BytesIO(b"x" * 3_000_000), [one, other])
    other.end()
    assert (tmp_path / "snapshot").stat().st_size == 3_000_000
    with pytest.raises(Failed, match="repository far: the connection is lost"):
        one.end()
    (tmp_path / "full").touch()
    full = repository.storing("mongodb.archive", {"full": ""})
    pump(io.BytesIO(b"x" * 3_000_000), [full])
    with pytest.raises(Failed, match="the disk of the repository is full"):
        full.end()


def test_a_repository_that_takes_nothing_is_given_up_and_the_others_get_all(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(restic, "STALL_SECONDS", 0.3)
    silent, other = (repository.storing(name, {"full": ""}) for name in ("silent.archive", "mongodb.archive"))
    pump(io.BytesIO(b"x" * 3_000_000), [silent, other])
    other.end()
    assert (tmp_path / "snapshot").stat().st_size == 3_000_000
    with pytest.raises(Failed, match=r"repository far: it took nothing for 0\.3 s"):
        silent.end()
    monkeypatch.setattr(restic, "END_SECONDS", 0.3)
    small = repository.storing("silent.archive", {"full": ""})
    small.write(b"x")
    with pytest.raises(Failed, match=r"repository far: it had no answer for 0\.3 s"):
        small.end()
    assert small.process.returncode


def test_a_repository_that_is_silent_is_waited_for_a_while(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(restic, "ANSWER_SECONDS", 0.3)
    (tmp_path / "silent").touch()
    for ask in (repository.snapshots, lambda: repository.prepare(is_new=True)):
        with pytest.raises(Failed, match=r"repository far: restic had no answer for 0\.3 s"):
            ask()


def test_an_error_says_what_to_do(repository):
    with pytest.raises(Failed, match="BACKUP_PASSWORD is not the one that the repository was created with"):
        repository.run("stats")


def test_sftp_uses_its_own_key_and_the_host_keys_that_are_set(repository, tmp_path):
    (tmp_path / "BACKUP_SSH_KEY").write_text("key")
    facts = repository.facts._replace(
        repositories={"far": "sftp:backup@backup.example:shop"}, known_hosts="/etc/known", variables=[]
    )
    (_, option) = Repository(facts, "far").options
    assert option.startswith(f"sftp.command=ssh -i {tmp_path}/BACKUP_SSH_KEY -o IdentitiesOnly=yes")
    assert "-o UserKnownHostsFile=/etc/known -o StrictHostKeyChecking=yes " in option
    # ssh itself waits for a host that has vanished without an end.
    assert "-o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4 " in option
    assert option.endswith(" backup@backup.example -s sftp")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("sftp:backup@backup.example:/srv/shop", ["backup@backup.example"]),
        ("sftp://u1@u1.your-storagebox.de:23/shop", ["-p", "23", "u1@u1.your-storagebox.de"]),
        ("sftp://backup.example/shop", ["backup.example"]),
        ("sftp://u@[2001:db8::1]:23//srv/shop", ["-p", "23", "u@2001:db8::1"]),
    ],
)
def test_ssh_gets_the_port_of_a_place_by_sftp(place, words):
    assert ssh_words(place) == words


def test_a_file_that_comes_only_in_part_is_refused(repository, tmp_path):
    facts = repository.facts
    (tmp_path / "bin/restic").write_text("#!/bin/sh\nprintf whole\n")
    with Repository(facts, "far").streaming("a", "oplog.bson") as source:
        assert source.read() == b"whole"
    (tmp_path / "bin/restic").write_text("#!/bin/sh\nprintf half; echo 'the connection is lost' >&2; exit 1\n")
    for read in (list, lambda source: [*documents(source)]):
        streaming = Repository(facts, "far").streaming("a", "oplog.bson")
        with pytest.raises(Failed, match="repository far: the connection is lost"), streaming as source:
            read(source)


def test_a_password_for_a_url_may_have_any_character_and_is_in_no_error(repository, tmp_path):
    (tmp_path / "RESTIC_REST_PASSWORD").write_text("abc/DEF+ghi=%")
    assert repository.environment["RESTIC_REPOSITORY"].endswith(":abc%2FDEF%2Bghi%3D%25@backup.example/shop")
    (tmp_path / "said").write_text('parse "https://u:abc%2FDEF%2Bghi%3D%25@backup.example/shop": abc/DEF+ghi=%')
    with pytest.raises(Failed) as failure:
        repository.is_there()
    assert "DEF" not in str(failure.value)
    assert "(RESTIC_REST_PASSWORD)@backup.example" in str(failure.value)


AWS = "The AWS Access Key Id you provided does not exist in our records."
SIGNATURE = "The request signature we calculated does not match the signature you provided. Check your key and signing"
# 0.17 and later look again and again for a bucket that is not there, or with a key that is refused.
AGAIN = "Stat(<config/>) returned error, retrying after 37.848843573s: Stat: "


@pytest.mark.parametrize(
    ("said", "is_there"),
    [
        ("unable to open config file: stat /srv/config: no such file or directory", False),
        ("unable to open config file: Lstat: file does not exist", False),
        ("unable to open config file: <config/> does not exist", False),
        ("repository does not exist: unable to open config file: <config/> does not exist", False),
        ("unable to open config file: Stat: The specified key does not exist.", False),
        ("unable to open config file: Stat: The specified bucket does not exist.", False),
        ("unable to open config file: googleapi: Error 404: Not Found", False),
        ("unable to open config file: Head https://backup.example: dial tcp: connection refused", None),
        ("unable to open config file: dial tcp: lookup backup.example: no such host", None),
        ("unable to open config file: read tcp 10.0.0.1:40404->10.0.0.2:404: connection refused", None),
        (f"unable to open config file: Stat: {AWS}", None),
        (f"unable to open config file: Stat: {SIGNATURE}", None),
        ("unable to open config file: unexpected HTTP response (401): 401 Unauthorized", None),
    ],
)
def test_a_repository_that_does_not_answer_is_not_one_that_is_not_there(repository, tmp_path, said, is_there):
    # The name of the place is no reason.
    place = "s3:https://backup.example/404/not exist"
    (tmp_path / "said").write_text(f"Fatal: {said}\nIs there a repository at the following location?\n{place}\n")
    if is_there is None:
        with pytest.raises(Failed, match=r"connection refused|no such host|it refuses the user, password or key"):
            repository.is_there()
        return
    assert repository.is_there() is is_there
    with pytest.raises(Failed, match=r"found none at .*, where it was: is its disk mounted"):
        repository.prepare(is_new=False)


def test_what_is_tried_until_the_time_is_over_is_told_with_its_reason(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(restic, "ANSWER_SECONDS", 0.3)
    (tmp_path / "silent").touch()
    (tmp_path / "said").write_text(f"{AGAIN}The specified bucket does not exist.\n")
    assert repository.is_there() is False
    (tmp_path / "said").write_text(f"{AGAIN}{AWS}\n{AGAIN}{SIGNATURE}\n")
    with pytest.raises(Failed) as failure:
        repository.is_there()
    wanted = f"repository far: restic had no answer for 0.3 s: Stat: {SIGNATURE}; it refuses the user, password or key"
    assert str(failure.value).startswith(wanted)


REMOVED = "blob not removed, server response: 403 Forbidden (403)"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("unexpected HTTP response (401): 401 Unauthorized", "it refuses the user, password or key"),
        (f"Stat: {SIGNATURE}", "it refuses the user, password or key"),
        ("Stat: No user exists with the provided access key ID.", "it refuses the user, password or key"),
        ("client.MakeBucket: Access Denied.", "it refuses the user, password or key"),
        (f"Remove(<snapshot/56a2>) returned error, retrying after 1.0s: {REMOVED}", "it removes nothing"),
        (f"unable to remove <snapshot/56a2> from the repository\n{REMOVED}", "it removes nothing"),
        ("x509: certificate signed by unknown authority", "does not trust the certificate's authority"),
        ("Pack ID does not match, want a4, got cb", "the repository is damaged"),
        ("ReadFull(<data/48>): EOF", "the repository is damaged"),
        (
            "ReadFull(<data/48>): unexpected HTTP response (416): partial out of bounds read",
            "the repository is damaged",
        ),
        ("ReadFull(<data/48>): The requested range is not satisfiable", "the repository is damaged"),
        ("read /srv/backup/data/48: unexpected EOF", "the repository is damaged"),
        ("restic repair snapshots --forget\n\nFatal: repository contains errors", "the repository is damaged"),
        ("unable to start the sftp session, error: server unexpectedly closed connection: unexpected EOF", ""),
        ('Get "https://s3.example/shop": unexpected EOF', ""),
    ],
)
def test_what_a_server_says_gets_the_hint_of_its_kind_alone(said, hint):
    rest = explained(said).removeprefix(said)
    assert rest.count(";") == bool(hint)
    assert hint in rest


def test_a_file_that_goes_during_a_backup_is_no_failure_and_one_that_can_not_be_read_is(repository, tmp_path):
    warning = "Warning: at least one source file could not be read\n"
    (tmp_path / "said").write_text(f"error: lstat /srv/files/1: no such file or directory\n{warning}")
    repository.store_paths({"files": ""}, ["/srv/files"])
    (tmp_path / "said").write_text(f"error: open /srv/files/2: input/output error\n{warning}")
    with pytest.raises(Failed, match="restic ended with 3: error: open /srv/files/2: input/output error"):
        repository.store_paths({"files": ""}, ["/srv/files"])


def test_what_needs_a_repository_alone_waits_for_a_slice(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(restic, "time", SimpleNamespace(monotonic=lambda: 0, sleep=lambda seconds: None))
    repository.run_alone("forget", "a")
    (tmp_path / "free").unlink()
    monkeypatch.setattr(restic, "TURN_SECONDS", 0)
    with pytest.raises(Failed, match="already locked"):
        repository.run_alone("forget", "a")


def test_of_many_attempts_the_last_one_is_told():
    attempt = "Load(<data/480a9b4aa7>, 207, 0) returned error, retrying after 3.2s: EOF\n"
    assert last_lines(f"first\n{attempt * 9}loading failed: EOF\n") == "first\nloading failed: EOF"
    assert last_lines(attempt * 9) == "EOF"


def test_a_stack_trace_hides_no_reason():
    said = """\
write /srv/backup/locks/ab12: no space left on device
github.com/restic/restic/internal/backend/local.(*Local).Save
\tgithub.com/restic/restic/internal/backend/local/local.go:147
runtime.goexit
\truntime/asm_amd64.s:1594
unable to create lock in backend
"""
    wanted = "write /srv/backup/locks/ab12: no space left on device\nunable to create lock in backend"
    assert last_lines(said) == wanted
    assert explained(last_lines(said)) == f"{wanted}; the disk of the repository is full"
