"""`slipway backup` and `slipway restore` without a host."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from slipway.backups import copying, program
from slipway.backups import host as backup_host
from slipway.backups.host import Facts, Failed
from slipway.cli import backup, backup_program
from slipway.cli.backup_program import makers
from slipway.cli.restore import restore, source_for
from slipway.engine.connector import HostFailed
from slipway.engine.errors import RunFailed
from slipway.engine.outcome import Outcome
from slipway.settings.backup import content_of
from slipway.settings.check import SettingsError, check
from slipway.settings.peers import Peer
from slipway.ui.console import Console
from support.fake_session import FakeSession


@pytest.fixture
def settings(settings_with, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")
    monkeypatch.setenv("SLIPWAY_SECRET_AWS_SECRET_ACCESS_KEY", "of-the-bucket")
    return settings_with(
        backup_repositories={"far": "s3:https://s3.example/shop"}, backup_secrets=["AWS_SECRET_ACCESS_KEY"]
    )


def test_a_list_names_the_backups_and_the_repository_that_does_not_answer(run, monkeypatch):
    near = {"backups": [{"id": "A", "since": "today", "mongodb": "8.0"}], "newest": "now", "slices": 1, "gaps": []}
    far = {"backups": [], "newest": "", "slices": 0, "gaps": [], "error": "repository far:\nno answer"}
    monkeypatch.setattr(backup, "ask_host", lambda *_, **__: {"one": json.dumps({"near": near, "far": far})})
    code, output, errors = run(Outcome([], [], 0, 0.0), "backup", "list")
    assert (code, "[one] repository far: no answer" in errors) == (1, True)
    assert "one, near: every second up to now\n" in output
    assert "far: every second" not in output
    code, output, _ = run(Outcome([], [], 0, 0.0), "backup", "list", "--json")
    assert (code, json.loads(output)) == (1, {"one": {"near": near, "far": far}})


def test_nothing_is_restored_without_a_yes(run, monkeypatch):
    asked: list[list[str]] = []

    def run_there(session, console, words):
        asked.append(words)
        session.said.append("dry run" if "--dry-run" in words else "restored")

    monkeypatch.setattr("slipway.cli.restore.run_there", run_there)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    at = ("--at", "2026-11-29T15:00:01Z")
    code, _, errors = run(Outcome([], [], 0, 0.0), "restore", "lab", *at)
    assert (code, asked) == (1, [["restore", *at, "--dry-run"]])
    assert "confirm with --yes" in errors
    code, _, _ = run(Outcome([], [], 0, 0.0), "restore", "lab", *at, "--dry-run", "--yes")
    assert (code, len(asked)) == (0, 2)
    code, _, _ = run(Outcome([], [], 0, 0.0), "restore", "lab", *at, "--yes")
    assert (code, asked[3:]) == (0, [["restore", *at]])
    # No apply runs meanwhile.
    assert run.session.last.said == ["dry run", "restore: locked", "restored", "restore: unlocked"]


@pytest.mark.parametrize(
    ("repositories", "said"),
    [
        ({"far": "backup.example:/shop"}, "found 'backup.example:/shop' for far"),
        ({"far": "rest:https://user:password@backup.example/"}, "places without a password, found one in far"),
        ({"Far": "/srv/backup"}, "lower-case letters"),
        ({"far": "sftp://u@backup.example:23"}, "found 'sftp://u@backup.example:23' for far"),
        ({"far": "sftp:-oProxyCommand=x:shop"}, "found 'sftp:-oProxyCommand=x:shop' for far"),
    ],
)
def test_a_place_that_restic_does_not_know_is_refused(settings_with, repositories, said):
    with pytest.raises(Exception, match=said):
        settings_with(backup_repositories=repositories)


def test_without_their_password_there_are_no_backups(monkeypatch, tmp_path):
    monkeypatch.delenv("SLIPWAY_SECRET_BACKUP_PASSWORD", raising=False)
    given = {"site_domain": "shop.example.org", "backup_repositories": {"near": "/srv/backup"}}
    with pytest.raises(SettingsError, match="BACKUP_PASSWORD"):
        check(given)
    with pytest.raises(SettingsError, match="BACKUP_SSH_KEY among them"):
        check({**given, "backup_repositories": {"far": "sftp:a@b.example:shop"}})


def test_what_the_program_says_is_read_as_it_comes_and_ends_with_its_exit_code(tmp_path):
    job = backup_program.BACKUP._replace(said=str(tmp_path / "asked"))
    (tmp_path / "asked").write_text("one\ntwo\n")

    def look(begin):
        shown = subprocess.run(
            ["sh", "-c", backup_program.look_script(begin, job)], capture_output=True, text=True, check=True
        )
        text, _, end = shown.stdout.rpartition(f"\n{backup_program.END}")
        return text, end.strip()

    # Its unit is not there.
    assert look(4) == ("two\n", "8 gone")
    (tmp_path / "asked.code").write_text("3\n")
    assert look(0) == ("one\ntwo\n", "8 3")
    assert look(8) == ("", "8 3")


@pytest.mark.parametrize(
    "words", [["--at", "2026-11-29T15:00:01Z", "--id", "A"], ["--only", "shop.orders", "--files"], ["--at", ""]]
)
def test_options_that_contradict_each_other_are_refused_before_a_host_is_asked(words):
    done = CliRunner().invoke(restore, words)
    assert done.exit_code == 2


def hosts_of(**repositories: dict[str, str]) -> SimpleNamespace:
    """A session of hosts that are all in the role db, by the repositories of each."""
    its = {
        name: SimpleNamespace(
            backup_repositories=places,
            peers_with=lambda role: [],
            backup_secrets=["BACKUP_SSH_KEY", "AWS_SECRET_ACCESS_KEY"],
            backup_known_hosts=["far.example ssh-ed25519 AAAA"],
            secrets={"BACKUP_PASSWORD": "p", "BACKUP_SSH_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "OTHER": "o"},
        )
        for name, places in repositories.items()
    }
    inventory = [SimpleNamespace(name=name, groups=["db"]) for name in repositories]
    return SimpleNamespace(connections=SimpleNamespace(inventory=inventory, settings=its))


def test_another_host_gets_the_repositories_that_it_can_reach_and_their_secrets():
    session = hosts_of(shop={"near": "/srv/backup", "far": "sftp:a@far.example:shop"}, staging={"near": "/srv/backup"})
    assert json.loads(source_for(session, "staging", (), "")) == {
        "repositories": {"far": "sftp:a@far.example:shop"},
        "secrets": {"BACKUP_PASSWORD": "p", "BACKUP_SSH_KEY": "k\n", "AWS_SECRET_ACCESS_KEY": "s"},
        "variables": ["AWS_SECRET_ACCESS_KEY"],
        "known_hosts": "far.example ssh-ed25519 AAAA\n",
    }


@pytest.mark.parametrize(
    ("hosts", "limit", "repository", "said"),
    [
        ({"staging": {"far": "rest:https://a"}}, (), "", "found no other host with backups, need the one"),
        (
            {"a": {"x": "rest:https://a"}, "b": {"x": "rest:https://b"}, "staging": {}},
            (),
            "",
            "found a, b with backups",
        ),
        ({"a": {"near": "/srv/backup"}, "staging": {}}, (), "", "are folders of its own disk"),
        ({"a": {"near": "/srv/backup", "far": "rest:https://a"}, "staging": {}}, (), "near", "of its own disk"),
        ({"a": {"far": "rest:https://a"}, "staging": {}}, (), "fra", "--from: found fra, expected .* of a: far"),
    ],
)
def test_a_restore_to_another_host_needs_one_source_that_it_can_reach(hosts, limit, repository, said):
    with pytest.raises(RunFailed, match=said):
        source_for(hosts_of(**hosts), "staging", limit, repository)


def test_of_a_replica_sets_members_the_first_makes_backups(settings_with):
    three = [Peer(name, ("db",), "") for name in ("a", "b", "c")]
    settings = {}
    for here in three:
        settings[here.name] = settings_with()
        settings[here.name]._peers = tuple(replace(one, is_here=one is here) for one in three)
    hosts = [SimpleNamespace(name=name) for name in settings]
    session = SimpleNamespace(connections=SimpleNamespace(settings=settings, hosts=lambda: hosts))
    assert makers(session) == ["a"]
    # A server by itself.
    settings["c"]._peers = ()
    assert makers(session) == ["a", "c"]


def test_one_of_two_sources_is_chosen_by_limit():
    hosts = {"a": {"x": "rest:https://a"}, "b": {"x": "rest:https://b"}, "staging": {}}
    assert "https://b" in source_for(hosts_of(**hosts), "staging", ("b",), "")


def test_the_program_takes_the_repositories_of_another_host_from_a_file_that_is_gone_then(tmp_path, monkeypatch):
    source = tmp_path / "source.json"
    monkeypatch.setattr(copying, "SOURCE", str(source))
    monkeypatch.setattr(backup_host, "RUN", str(tmp_path / "run"))
    its = {"repositories": {"far": "rest:https://a"}, "variables": ["X"], "known_hosts": "k", "secrets": {"X": "x"}}
    source.write_text(json.dumps(its))
    facts = Facts(**{name: None for name in Facts._fields})._replace(credentials=str(tmp_path), data="/var/lib/mongodb")
    with copying.of_another_host(facts) as given:
        assert not source.exists()
        assert (given.repositories, given.variables, given.data) == (
            {"far": "rest:https://a"},
            ["X"],
            "/var/lib/mongodb",
        )
        names = {file.name: file.read_text() for file in Path(given.credentials).iterdir()}
        assert names == {"X": "x", "known_hosts": "k"}
    assert not Path(given.credentials).exists()
    # They are read: what the restore writes, as a slice of what it replaces, is for the host's own.
    source.write_text(json.dumps(its))
    asked = []
    monkeypatch.setattr(program, "carry_out", lambda *words: asked.append(words[:2]))
    program.restore(facts, ["--of-another-host"])
    ((own, read),) = asked
    assert (own, read.repositories) == (facts, its["repositories"])
    with pytest.raises(Failed, match="run `slipway restore --to` again"), copying.of_another_host(facts):
        pass


@pytest.mark.parametrize(
    ("name", "value", "content"),
    [("BACKUP_SSH_KEY", "k", "k\n"), ("BACKUP_SSH_KEY", "k\n", "k\n"), ("BACKUP_PASSWORD", "p", "p")],
)
def test_a_key_ends_with_a_newline_as_openssh_needs_it(name, value, content):
    assert content_of(name, value) == content


def test_what_slipway_starts_leaves_mongodb_its_memory_and_an_upgrade_has_no_limit():
    limits = "-p MemoryHigh=50% -p MemoryMax=60% -p OOMScoreAdjust=500 --description"
    assert limits in backup_program.backup_script(["drill"])
    assert "Memory" not in backup_program.start_script("true", backup_program.Job("a", "/run/a", "busy"))


def test_a_copy_goes_to_a_folder_that_is_there(run, settings, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeSession, "settings", {"one": settings})
    monkeypatch.setattr(FakeSession, "roles", {"one": ["db"]})
    code, _, errors = run(Outcome([], [], 0, 0.0), "backup", "pull", "lab", "-o", str(tmp_path / "no/copy.gz"))
    assert (code, f"found no folder {tmp_path}/no; make it, or name another file" in errors) == (1, True)


def test_a_host_to_restore_to_is_one_of_the_inventory(run, monkeypatch):
    init = FakeSession.__init__

    def with_inventory(self, *arguments):
        init(self, *arguments)
        self.connections.inventory = self.connections.hosts()

    monkeypatch.setattr(FakeSession, "__init__", with_inventory)
    code, _, errors = run(Outcome([], [], 0, 0.0), "restore", "lab", "--to", "three", "--yes")
    assert (code, "--to: found three, expected a host of the inventory: one, two" in errors) == (1, True)


@pytest.fixture
def found() -> SimpleNamespace:
    """The input of a restore."""
    full = SimpleNamespace(id="A", end=(100, 1), files="f", version="6.0.5")
    manifest = {"collections": {"shop.orders": [3, "h"]}, "paths": ["/srv/uploads", "/etc/app"], "bytes": 5}
    chosen = SimpleNamespace(full=full, until=(100, 1), slices=[])
    return SimpleNamespace(repository=SimpleNamespace(name="near"), chosen=chosen, manifest=manifest)


def test_a_dry_run_names_uploads_and_secrets_and_refuses_what_a_restore_would(found, monkeypatch, capsys, tmp_path):
    facts = Facts(**{name: None for name in Facts._fields})._replace(data=str(tmp_path / "db"), secrets=["/etc/s/JWT"])
    monkeypatch.setattr(program.restoring, "find", lambda *_: found)
    monkeypatch.setattr(program.restoring, "run", lambda words: "db version v6.0.5")
    program.restore(facts, ["--files", "--secrets", "--dry-run"])
    said = capsys.readouterr().out
    assert "Uploads as of 1970-01-01T00:01:40Z: /srv/uploads\n" in said
    assert "Secrets as of 1970-01-01T00:01:40Z: /etc/s/JWT\n" in said
    program.restore(facts, ["--only", "shop", "--dry-run"])
    assert "not in the full backup" not in capsys.readouterr().out
    program.restore(facts, ["--only", "shop.order", "--dry-run"])
    assert "shop.order: not in the full backup; restored if it came later" in capsys.readouterr().out
    found.manifest["bytes"] = 10**15
    with pytest.raises(Failed, match="MiB free, need"):
        program.restore(facts, ["--dry-run"])
    found.chosen.full.version = "7.0.5"
    with pytest.raises(Failed, match=r"backup A is of MongoDB 7.0.5, this host has 6.0.5"):
        program.restore(facts, ["--dry-run"])


def test_a_repository_that_is_not_there_is_named_with_those_that_are(monkeypatch):
    facts = Facts(**{name: None for name in Facts._fields})._replace(repositories={"near": "/a", "far": "/b"})
    with pytest.raises(Failed, match="--from: found fra, expected one of this host's repositories: near, far"):
        program.restoring.find(facts, None, "", "fra")


def test_what_only_replaces_is_named_before_it_is():
    recorded = ["shop.carts", "shop.orders.items", "shops.orders"]
    assert program.replaced(recorded, "shop.orders") == "shop.orders"
    assert "of shop that the backup has (carts, orders.items in" in program.replaced(recorded, "shop")


class Answering:
    """A host whose answers a test gives; the last one comes again."""

    def __init__(self, *answers):
        self.host, self.answers = SimpleNamespace(name="one"), [*answers]

    def by_root(self, script):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return SimpleNamespace(code=0, output=answer)


@pytest.fixture
def follow(monkeypatch):
    """Runs a job on a host with these answers; returns what it said."""
    monkeypatch.setattr(backup_program, "POLL_SECONDS", 0)

    def run(*answers):
        one, failures = Answering("", *answers), {}
        connections = SimpleNamespace(
            connectors=lambda: [one], failures=failures, fail=lambda host, text: failures.update({host.name: text})
        )
        session, console = SimpleNamespace(connections=connections), Console()
        return backup_program.run_job(session, console, {"one": "start", "elsewhere": "start"})

    return run


def test_a_job_is_followed_to_its_end(follow, capsys):
    assert follow("a\nb\nslipway-asked-end:4 ", "c\n\nslipway-asked-end:6 0") == {"one": "a\nbc\n"}
    assert capsys.readouterr().out.split() == ["one:", "a", "one:", "bc"]
    # Steps that take long are shown meanwhile.
    with pytest.raises(RunFailed, match="gone"):
        follow("a\nb\n\nslipway-asked-end:4 ", "\nslipway-asked-end:4 ", HostFailed("[one] gone"))
    assert capsys.readouterr().out.split() == ["one:", "a", "one:", "b"]
    with pytest.raises(RunFailed, match=r"\[one\] why"):
        follow("what\nwhy\nslipway-asked-end:4 1")
    # What is shown as the error is not shown before, though it comes before the exit code.
    with pytest.raises(RunFailed, match=r"\[one\] why"):
        follow("what\nwhy\n\nslipway-asked-end:4 ", "\nslipway-asked-end:4 1")
    assert capsys.readouterr().out.split() == ["one:", "what"] * 2


def test_a_job_goes_on_where_the_connection_breaks_or_its_user_leaves(follow):
    with pytest.raises(RunFailed, match="gone; it goes on there: /run/slipway-backup/asked tells"):
        follow(HostFailed("[one] gone"))
    with pytest.raises(KeyboardInterrupt, match=r"\[one\] goes on with it"):
        follow(KeyboardInterrupt())
