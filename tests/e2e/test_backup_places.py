"""Backups in an append-only REST server and in an S3 bucket, each a real one beside the host, over TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support import places
from support.backups import CHANGES, LOSSES, PASSWORD, PROGRAM, hashes, now, state
from support.lab_host import LabHost, mongosh
from support.places import Place
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

NAMES = ("kept", "bucket")
# By the program's own modules: a full backup that never became complete is what a prune removes first.
INCOMPLETE = """python3 -c '
import sys
sys.path.insert(0, "/usr/lib/slipway")
from slipway.backups.host import load
from slipway.backups.restic import Repository
facts = load("/usr/lib/slipway")
for name in facts.repositories:
    Repository(facts, name).store("mongodb.archive", {"full": "", "id": "20200101T000000Z"}, b"half")
'"""
CREDENTIALS = "/etc/codementee/credentials"


@pytest.fixture(scope="module")
def there(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """Both places by the names of their repositories."""
    rclone, versitygw = places.rclone(), places.versitygw()
    if not rclone:
        pytest.skip("there is no rclone: neither installed nor a package of Debian's")
    if not versitygw:
        pytest.skip("Versity's S3 gateway can't be built: no Go of 1.25 or newer")
    folder = tmp_path_factory.mktemp("places")
    found = {
        "kept": places.rest(server.lab, folder / "rest", rclone),
        "bucket": places.s3(server.lab, folder / "s3", versitygw),
    }
    try:
        for place in found.values():
            place.start()
        yield found
    finally:
        for place in found.values():
            place.stop()


@pytest.fixture(scope="module")
def settings(server: LabHost, there: dict[str, Place]) -> tuple[str, ...]:
    """What makes both repositories; the first backup has ended."""
    for name, value in {"BACKUP_PASSWORD": PASSWORD, **places.SECRETS}.items():
        server.env[f"SLIPWAY_SECRET_{name}"] = value
    repositories = {"kept": f"rest:{there['kept'].url}/shop", "bucket": f"s3:{there['bucket'].url}/shop/db"}
    on = (
        *("--data", f"backup_repositories={json.dumps(repositories)}"),
        *("--data", f"backup_secrets={json.dumps([*places.SECRETS])}"),
        *("--data", "backup_prune=False"),
    )
    server.apply(*on)
    wait_until("there is a full backup", lambda: "full" in state(server), seconds=180)
    return on


def slipway(server: LabHost, settings: tuple[str, ...], *words: str) -> str:
    done = server.slipway(*words, "lab", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lists(server: LabHost, settings: tuple[str, ...]) -> dict:
    return json.loads(slipway(server, settings, "backup", "list", "--json"))[server.name]


def gaps(server: LabHost, settings: tuple[str, ...]) -> list:
    return [gap for its in lists(server, settings).values() for gap in its["gaps"]]


def wait_for_a_full_backup(server: LabHost) -> None:
    wait_until("there is another full backup", lambda: not state(server).get("awaits", True), seconds=180)
    wait_until("it has ended", lambda: server.ssh("systemctl is-active slipway-backup", check=False) == "inactive")


def test_the_first_backup_makes_the_repositories_and_the_units_fill_them(
    server: LabHost, there: dict[str, Place], settings: tuple[str, ...]
) -> None:
    assert state(server)["full"]["failures"] == []
    assert {*state(server)["fulls"]} == {*NAMES}
    assert (there["kept"].folder / "shop/config").exists()
    assert (there["bucket"].folder / "shop/db/config").exists()
    wait_until("it has ended", lambda: server.ssh("systemctl is-active slipway-backup", check=False) == "inactive")
    server.ssh(mongosh(CHANGES))
    # As the timers do, in the services' sandbox.
    for unit in ("slice", "check", "backup", "slice"):
        server.ssh(f"systemctl start slipway-{unit} || {{ journalctl -u slipway-{unit} -n 20; exit 1; }}")
    found = lists(server, settings)
    assert {name: len(its["backups"]) for name, its in found.items()} == dict.fromkeys(NAMES, 2)
    assert gaps(server, settings) == []
    said = slipway(server, settings, "backup", "check")
    assert all(f"{name}: no errors" in said for name in NAMES)
    done = server.slipway("verify", "lab", *settings)
    assert done.returncode == 0, done.stdout
    assert server.plan(*settings) == []


@pytest.mark.parametrize("name", NAMES)
def test_each_alone_restores_a_second(server: LabHost, settings: tuple[str, ...], name: str) -> None:
    server.ssh(mongosh(f'db.getSiblingDB("codementee").orders.updateMany({{}}, {{ $set: {{ by: "{name}" }} }})'))
    before, second = hashes(server), now(server)
    server.ssh(mongosh(LOSSES))
    server.ssh(f"{PROGRAM} slice")
    said = slipway(server, settings, "restore", "--from", name, "--at", second, "--yes")
    assert f" from {name}," in said
    assert "documents: equal to the backup's record" in said
    assert hashes(server) == before
    wait_for_a_full_backup(server)


def test_the_bucket_is_pruned_and_what_only_adds_says_how_to_leave_it_alone(
    server: LabHost, settings: tuple[str, ...]
) -> None:
    server.ssh(INCOMPLETE)
    before = gaps(server, settings)
    done = server.slipway("backup", "prune", "lab", *settings)
    assert done.returncode == 1
    assert "bucket: 1 snapshots forgotten" in done.stdout
    assert "repository kept: " in done.stderr
    assert "set backup_prune = False (docs/backups.md)" in done.stderr
    # With this setting its absence is no failure of any unit.
    for unit in ("backup", "check", "slice"):
        server.ssh(f"systemctl start slipway-{unit}")
    # A slice of a whole hour may have closed one of before.
    assert [one for one in gaps(server, settings) if one not in before] == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("kept", "RESTIC_REST_PASSWORD"),
        ("kept", "RESTIC_REST_USERNAME"),
        ("bucket", "AWS_SECRET_ACCESS_KEY"),
        ("bucket", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_login_that_is_refused_is_told_as_one(
    server: LabHost, settings: tuple[str, ...], name: str, secret: str
) -> None:
    other = next(one for one in NAMES if one != name)
    server.ssh(f"printf wrong-one-4b7e > {CREDENTIALS}/{secret}")
    try:
        done = server.slipway("backup", "list", "lab", *settings)
        assert done.returncode == 1
        assert f"repository {name}: " in done.stderr
        assert "it refuses the user, password or key that backup_secrets names" in done.stderr
        assert f"repository {other}: " not in done.stderr
        assert "damaged" not in done.stderr
        if not secret.endswith("_USERNAME"):
            assert "wrong-one-4b7e" not in done.stdout + done.stderr
        # It is not taken for one that is not there.
        done = server.slipway("backup", "now", "lab", *settings)
        assert done.returncode == 1
        assert "it refuses the user, password or key that backup_secrets names" in done.stderr
        assert "is its disk mounted" not in done.stderr
    finally:
        server.ssh(f"printf %s '{places.SECRETS[secret]}' > {CREDENTIALS}/{secret}")


def test_a_wrong_password_of_the_repositories_is_told_as_one(server: LabHost, settings: tuple[str, ...]) -> None:
    server.ssh(f"printf wrong-one-4b7e > {CREDENTIALS}/BACKUP_PASSWORD")
    try:
        done = server.slipway("backup", "list", "lab", *settings)
        assert done.returncode == 1
        said = "BACKUP_PASSWORD is not the one that the repository was created with"
        assert done.stderr.count(said) == len(NAMES)
        assert "wrong-one-4b7e" not in done.stdout + done.stderr
    finally:
        server.ssh(f"printf %s '{PASSWORD}' > {CREDENTIALS}/BACKUP_PASSWORD")


def test_a_place_that_was_away_gets_what_it_missed(
    server: LabHost, there: dict[str, Place], settings: tuple[str, ...]
) -> None:
    before = gaps(server, settings)
    # Each slice is the test's own.
    server.ssh("systemctl stop slipway-slice.timer slipway-slice.service")
    for name in NAMES:
        other = next(one for one in NAMES if one != name)
        there[name].stop()
        try:
            server.ssh(mongosh(f'db.getSiblingDB("codementee").away.insertOne({{ name: "{name}" }})'))
            reached = state(server)["reached"]
            said = server.ssh(f"{PROGRAM} slice 2>&1 && echo it succeeded", check=False)
            assert f"repository {name}: " in said
            assert "connection refused" in said
            assert "it succeeded" not in said
            assert state(server)["reached"][name] == reached[name]
            assert state(server)["reached"][other] != reached[other]
            done = server.slipway("backup", "now", "lab", *settings)
            assert done.returncode == 1
            assert f"repository {name}: " in done.stderr
            assert "is its disk mounted" not in done.stderr
        finally:
            there[name].start()
        server.ssh(f"{PROGRAM} slice")
        assert state(server)["reached"][name] != reached[name]
    server.ssh("systemctl start slipway-slice.timer")
    # A slice of a whole hour may have closed one of before.
    assert [one for one in gaps(server, settings) if one not in before] == []
    slipway(server, settings, "backup", "now")


def test_a_repository_or_bucket_that_is_gone_is_not_made_anew(
    server: LabHost, there: dict[str, Place], settings: tuple[str, ...]
) -> None:
    moved = {name: place.folder / "shop" for name, place in there.items()}
    for folder in moved.values():
        folder.rename(folder.with_name("moved"))
    try:
        done = server.slipway("backup", "now", "lab", *settings)
        assert done.returncode == 1
        assert done.stderr.count("where it was: is its disk mounted?") == len(NAMES)
        assert not [folder for folder in moved.values() if folder.exists()]
    finally:
        for folder in moved.values():
            folder.with_name("moved").rename(folder)
    slipway(server, settings, "backup", "now")


def test_the_server_removes_by_itself_where_it_may(server: LabHost, settings: tuple[str, ...]) -> None:
    only = {"bucket": json.loads(settings[1].partition("=")[2])["bucket"]}
    changed = ("--data", f"backup_repositories={json.dumps(only)}", *settings[2:4])
    server.apply(*changed)
    server.ssh(INCOMPLETE)
    server.ssh("systemctl start slipway-backup")
    assert "bucket: 1 snapshots forgotten" in server.ssh("journalctl -u slipway-backup -o cat -n 20")
    assert server.plan(*changed) == []
