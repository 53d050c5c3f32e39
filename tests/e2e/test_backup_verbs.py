"""Each verb of backups with each of its options, as a person types them, mistakes too: on a server with uploads and two
repositories. What is restored is judged by its content, and mistakes and dry runs change nothing."""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from slipway.secrets import env_file
from support.backups import CHANGES, PASSWORD, PROGRAM, hashes, now, state
from support.lab_host import LabHost, mongosh
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

NEAR, FAR = "/srv/backup", "/srv/far/backup"
SITE = 'db.getSiblingDB("codementee")'
COUNTS = f"mongosh --quiet $MONGO_URL --eval '{SITE}.orders.countDocuments()'"
HIDE = f'{SITE}.users.updateMany({{}}, {{ $set: {{ email: "nobody@example.org" }} }})'
GIVEN = {
    "backup_repositories": json.dumps({"far": FAR, "near": NEAR}),
    "backup_paths": json.dumps(["/srv/uploads", "/srv/one.txt"]),
    **dict.fromkeys(("backup_keep_daily", "backup_keep_weekly", "backup_keep_monthly"), "1"),
    "backup_check": f"test $({COUNTS}) -gt 0",
    "backup_anonymise": f"mongosh --quiet $MONGO_URL --eval '{HIDE}' > /dev/null",
}
# What is in slices alone.
MORE = """
const site = db.getSiblingDB("codementee");
site.orders.updateMany({ n: { $lt: 400 } }, { $set: { sent: true }, $inc: { n: 9000 } });
site.orders.deleteMany({ n: { $gt: 9300 } });
site.drafts.insertOne({ x: 1 }); site.drafts.renameCollection("letters"); site.letters.createIndex({ x: 1 });
site.gone.insertOne({ x: 1 }); site.gone.drop();
const session = db.getMongo().startSession();
session.startTransaction();
session.getDatabase("codementee").orders.insertOne({ _id: "in another transaction", n: 70001 });
session.getDatabase("codementee").letters.insertOne({ _id: "in the same" });
session.commitTransaction();
"""
# A MongoDB of the person who has the kit.
OWN = 27999


def settings(**others: str) -> list[str]:
    return [word for name, value in {**GIVEN, **others}.items() for word in ("--data", f"{name}={value}")]


def typed(server: LabHost, *words: str) -> subprocess.CompletedProcess[str]:
    return server.slipway(*words, "lab", *settings())


def slipway(server: LabHost, *words: str) -> str:
    done = typed(server, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fails(server: LabHost, *words: str) -> str:
    """The errors of a command that is refused, which are shown once."""
    done = typed(server, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for line in done.stderr.splitlines():
        assert line.removeprefix("slipway: ").removeprefix(f"[{server.name}] ") not in done.stdout or not line
    return done.stderr


def files(server: LabHost, folder: str = "") -> str:
    return server.ssh(f"cd {folder or '/'} && find srv/uploads srv/one.txt -type f | sort | xargs head -v")


def everything(server: LabHost) -> tuple[object, ...]:
    """The data, the uploads, what lies beside them, and the process of MongoDB."""
    beside = "ls -d /var/lib/mongodb* /srv/* /srv/uploads/*; systemctl show -P MainPID mongod codementee-backend"
    return hashes(server), files(server), server.ssh(beside, check=False)


def backed_up_again(server: LabHost) -> None:
    """After a restore a full backup begins by itself."""
    wait_until("there is another full backup", lambda: not state(server).get("awaits", True))
    active = "systemctl is-active slipway-backup"
    wait_until("it has ended", lambda: server.ssh(active, check=False) not in ("active", "activating"))
    server.ssh(f"{PROGRAM} slice")


@pytest.fixture(scope="module", autouse=True)
def backed_up(server: LabHost) -> None:
    server.env["SLIPWAY_SECRET_BACKUP_PASSWORD"] = PASSWORD
    server.ssh("mkdir -p /srv/uploads/a; echo first > /srv/uploads/a/1.pdf; echo one > /srv/one.txt")
    server.ssh(mongosh(CHANGES))
    server.apply(*settings())
    wait_until("there is a full backup", lambda: {"near", "far"} == {*state(server).get("fulls", {})})
    wait_until("a slice", lambda: {"near", "far"} == {*state(server).get("sliced", {})})
    # Before the first second has passed none can be restored.
    server.ssh("sleep 2")
    server.ssh(mongosh(f"{SITE}.last.insertOne({{ _id: 1 }})"))
    server.ssh(f"{PROGRAM} slice")


def test_a_list_names_what_can_be_restored_to_the_second(server: LabHost) -> None:
    said = slipway(server, "backup", "list")
    assert "gap" not in said
    found = json.loads(slipway(server, "backup", "list", "--json"))[server.name]
    assert [*found] == ["far", "near"]
    for name, its in found.items():
        assert re.search(f"{server.name}, {name}: every second up to 20..-", said)
        # What is listed can be typed.
        assert f"as of {its['newest']}" in slipway(
            server, "restore", "--from", name, "--at", its["newest"], "--dry-run"
        )
        id_ = its["backups"][-1]["id"]
        assert f"    backup {id_}  since " in said
        assert f"backup {id_} from {name}" in slipway(server, "restore", "--from", name, "--id", id_, "--dry-run")


def test_mistakes_are_refused_in_a_line_and_change_nothing(server: LabHost, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gz"
    before = everything(server)
    for words, said in {
        ("restore", "--at", "2100-01-01T00:00:00Z", "--yes"): "the newest second that can be restored is 20",
        ("restore", "--at", "2020-01-01 00:00:00", "--yes"): "the oldest second that can be restored is 20",
        ("restore", "--at", "yesterday", "--yes"): "found the time 'yesterday', expected one in UTC as 2026-11-29T",
        ("restore", "--at", "2026-02-30T00:00:00Z", "--yes"): "found the time '2026-02-30T00:00:00Z', expected one",
        ("restore", "--at", "", "--yes"): "empty value",
        ("restore", "--id", "20200101T000000Z", "--yes"): "found no backup 20200101T000000Z; there are: 20",
        ("restore", "--from", "nowhere", "--yes"): "--from: found nowhere, expected one of this host's repositories",
        ("restore", "--only", "nowhere", "--yes"): "found no nowhere in the backup; available: codementee.",
        ("restore", "--only", "codementee.no", "--yes"): "found no codementee.no in the backup; available: codementee.",
        ("restore", "--only", "a b", "--yes"): "found 'a b', expected a database or a collection",
        ("restore", "--only", "codementee", "--files", "--yes"): "found --only with --files or --secrets, expected",
        ("restore", "--to", "nowhere", "--yes"): "--to: found nowhere, expected a host of the inventory: ",
        ("restore", "--to", server.name, "--yes"): f"--to {server.name}: found no other host with backups",
        ("restore", "--limit", "nowhere", "--yes"): "--limit nowhere: no such host or role",
        ("restore",): "confirm with --yes",
        ("rebuild", "--only", "codementee", "--yes"): "found --only, expected all databases",
        ("backup", "kit"): "found lab, expected a file",
        ("backup", "pull", "--id", "20200101T000000Z", "-o", str(copy)): "found no backup 20200101T000000Z",
        ("backup", "pull", "--only", "nowhere", "-o", str(copy)): "found no nowhere in the backup",
        ("backup", "pull", "--from", "nowhere", "-o", str(copy)): "--from: found nowhere, expected one of",
        ("backup", "pull", "-o", str(tmp_path / "no/copy.gz")): f"found no folder {tmp_path}/no; make it, or",
    }.items():
        assert said in fails(server, *words), words
    assert everything(server) == before
    assert [*tmp_path.iterdir()] == []


def test_a_dry_run_says_what_would_be_restored_and_restores_nothing(server: LabHost) -> None:
    before = everything(server)
    said = slipway(server, "restore", "--files", "--secrets", "--dry-run", "--yes")
    assert "All databases as of 20" in said
    assert re.search("Uploads as of 20.*: /srv/uploads, /srv/one.txt", said)
    assert re.search("Secrets as of 20.*: .*/etc/codementee/credentials/JWT_SECRET", said)
    said = slipway(server, "restore", "--only", "codementee.orders", "--dry-run")
    assert "Replaced: codementee.orders; all others stay" in said
    assert "not in the full backup" in slipway(server, "restore", "--only", "codementee.no", "--dry-run")
    assert "The data stay as they are: this server has backed them up" in slipway(
        server, "restore", "--if-new", "--yes"
    )
    assert everything(server) == before


def test_a_backup_is_restored_by_its_id_with_its_uploads(server: LabHost) -> None:
    before, uploads = hashes(server), files(server)
    slipway(server, "backup", "now")
    id_ = json.loads(slipway(server, "backup", "list", "--json"))[server.name]["near"]["backups"][-1]["id"]
    server.ssh("echo later > /srv/uploads/a/1.pdf; echo new > /srv/uploads/a/2.pdf; echo two > /srv/one.txt")
    server.ssh(mongosh(f"{SITE}.orders.deleteMany({{}}); {SITE}.later.insertOne({{ _id: 1 }})"))
    slipway(server, "backup", "now")
    said = slipway(server, "restore", "--id", id_, "--from", "near", "--files", "--yes")
    assert f"backup {id_} from near" in said
    assert (hashes(server), files(server)) == (before, uploads)
    assert server.ssh("cat /srv/uploads.before-restore/a/*.pdf /srv/one.txt.before-restore") == "later\nnew\ntwo"
    assert server.is_healthy()
    backed_up_again(server)


def test_a_database_and_a_second_are_restored_from_the_repository_that_is_left(server: LabHost) -> None:
    before, second = hashes(server), now(server)
    server.ssh(mongosh(f'{SITE}.orders.drop(); db.getSiblingDB("other").things.insertOne({{ _id: "stays" }})'))
    server.ssh(f"{PROGRAM} slice")
    lost = hashes(server)
    server.ssh(f"mv {FAR} {FAR}.away")
    try:
        assert "repository far: " in fails(server, "restore", "--from", "far", "--at", second, "--yes")
        assert hashes(server) == lost
        assert "from near" in slipway(server, "restore", "--only", "codementee", "--at", second, "--yes")
        assert hashes(server) == {**before, "other": lost["other"]}
        slipway(server, "restore", "--from", "near", "--at", second, "--yes")
    finally:
        server.ssh(f"mv {FAR}.away {FAR}")
    assert hashes(server) == before
    assert server.is_healthy()
    slipway(server, "backup", "now")
    backed_up_again(server)


def test_a_path_that_is_not_there_is_named_and_the_others_are_stored(server: LabHost) -> None:
    wrong = settings(backup_paths=json.dumps(["/srv/uploads", "/srv/one.txt", "/srv/ntoes"]))
    server.apply(*wrong)
    done = server.slipway("backup", "now", "lab", *wrong)
    assert done.returncode == 1
    assert "/srv/ntoes: found nothing there, expected a folder or file" in done.stderr
    assert "ntoes" in server.slipway("status", "lab", *wrong).stdout
    assert re.search(
        "Uploads as of 20.*: /srv/uploads, /srv/one.txt", slipway(server, "restore", "--files", "--dry-run")
    )
    server.apply(*settings())
    slipway(server, "backup", "now")
    assert "ntoes" not in slipway(server, "status")


def test_a_prune_removes_what_the_policy_gives_up_and_no_more(server: LabHost) -> None:
    restic = f"export RESTIC_REPOSITORY={FAR} RESTIC_PASSWORD={PASSWORD} HOME=/root; restic"
    # Two full backups of which the newer one is kept, a slice of the older one, and a backup that was cut off.
    older, newer = ("begin=1577836800:1,end=1577836801:1", "begin=1580515200:1,end=1580515201:1")
    for tags in (
        *("full,id=20200101T000000Z", "files,id=20200101T000000Z", f"slice,{older}"),
        f"manifest,id=20200101T000000Z,{older},witness=1577836801:1,version=6.0.5",
        "full,id=20200201T000000Z",
        f"manifest,id=20200201T000000Z,{newer},witness=1580515201:1,version=6.0.5",
        "full,id=20200301T000000Z",
    ):
        server.ssh(f"echo {{}} | ({restic} backup -q --stdin --stdin-filename old --tag slipway,{tags})")
    server.ssh(f"echo mine | ({restic} backup -q --stdin --stdin-filename mine --tag mine)")
    before = json.loads(slipway(server, "backup", "list", "--json"))[server.name]
    assert before["far"]["backups"][0]["id"] == "20200101T000000Z"
    said = slipway(server, "backup", "prune")
    assert "far: 5 snapshots forgotten" in said
    assert "near: 0 snapshots forgotten" in said
    after = json.loads(slipway(server, "backup", "list", "--json"))[server.name]
    assert after["far"]["backups"] == before["far"]["backups"][1:]
    assert after["near"]["backups"] == before["near"]["backups"]
    assert "far: 0 snapshots forgotten" in slipway(server, "backup", "prune")
    # What others keep in the repository is theirs.
    assert server.ssh(f"{restic} dump --tag mine latest mine") == "mine"
    assert "far: no errors" in slipway(server, "backup", "check")


def test_the_users_own_check_judges_the_drill(server: LabHost) -> None:
    before = everything(server)
    said = slipway(server, "backup", "drill")
    assert said.index("equal to the present data of") < said.index("Running backup_check") < said.index("drill passed")
    # As the timer does, in the services' sandbox.
    server.ssh("systemctl start slipway-drill")
    wrong = settings(backup_check="echo no invoices >&2; exit 3")
    server.apply(*wrong)
    done = server.slipway("backup", "drill", "lab", *wrong)
    assert done.returncode == 1
    assert "the drill failed: backup_check: the command ended with 3: no invoices" in done.stderr
    assert "drill failed" in server.slipway("status", "lab", *wrong).stdout
    server.apply(*settings())
    slipway(server, "backup", "drill")
    assert "drill passed" in slipway(server, "status")
    assert everything(server) == before


def test_a_developers_copy_is_what_was_asked_for_and_anonymised(server: LabHost, tmp_path: Path) -> None:
    before, second, copy = hashes(server), now(server), tmp_path / "copy.gz"
    server.ssh(mongosh(f"{SITE}.users.insertOne({{ _id: 1, email: 'late@example.org' }})"))
    server.ssh(f"{PROGRAM} slice")
    slipway(server, "backup", "pull", "--only", "codementee", "--at", second, "-o", str(copy))
    assert copy.stat().st_mode & 0o777 == 0o600
    own(server)
    mongorestore = f"mongorestore --port {OWN} --gzip --archive --drop --nsExclude 'admin.*'"
    with copy.open("rb") as reading:
        subprocess.run(server.record.ssh_argv(mongorestore), stdin=reading, check=True, capture_output=True)
    there = own_hashes(server)
    assert there["codementee"].pop("users") != before["codementee"].pop("users")
    assert there["codementee"] == before["codementee"]
    assert there["other"] == {}
    emails = shlex.quote(f'{SITE}.users.distinct("email").join()')
    assert server.ssh(f"mongosh --quiet --port {OWN} --eval {emails}") == "nobody@example.org"
    # A command that fails leaves nothing.
    wrong = settings(backup_anonymise="exit 4")
    server.apply(*wrong)
    done = server.slipway("backup", "pull", "lab", "-o", str(tmp_path / "other.gz"), *wrong)
    assert done.returncode == 1
    assert "backup_anonymise: the command ended with 4: it printed nothing" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["copy.gz"]
    assert server.ssh("ls /var/lib | grep pull || echo none") == "none"
    server.apply(*settings())


def own(server: LabHost) -> None:
    """An empty MongoDB without users."""
    end = f"mongosh --quiet --port {OWN} --eval 'db.getSiblingDB(\"admin\").shutdownServer()' > /dev/null 2>&1 || :"
    start = f"mongod --dbpath /root/own --port {OWN} --bind_ip 127.0.0.1 --fork --logpath /root/own.log > /dev/null"
    server.ssh(f"{end}; rm -rf /root/own; mkdir /root/own; {start}")


def own_hashes(server: LabHost) -> dict[str, dict[str, str]]:
    text = 'JSON.stringify(["codementee", "other"].map((name) => db.getSiblingDB(name).runCommand({ dbHash: 1 })))'
    answers = json.loads(server.ssh(f"mongosh --quiet --port {OWN} --eval {shlex.quote(text)}"))
    return dict(zip(("codementee", "other"), (one["collections"] for one in answers), strict=True))


def test_with_the_kit_alone_the_data_come_back_without_slipway_and_with_it(
    server: LabHost, fresh_server: LabHost, tmp_path: Path
) -> None:
    file = tmp_path / "kit.txt"
    done = server.slipway("backup", "kit", "lab", str(file), *settings())
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    server.ssh(mongosh(MORE))
    server.ssh(f"{PROGRAM} slice")
    before, uploads = hashes(server), files(server)
    secret = server.ssh("cat /etc/codementee/credentials/JWT_SECRET")
    # From here on there are the kit and a copy of the far repository.
    kit = file.read_text()
    assert f"far: {FAR}   (a folder of the server: lost with its disk)\n" in kit
    secrets = env_file.parse(kit[kit.index("BACKUP_PASSWORD=") : kit.index("\nRepositories")])
    packed = server.ssh("tar -C /srv -c far | base64 -w 0")
    unpack = fresh_server.record.ssh_argv("base64 -d | tar -C /srv -x")
    subprocess.run(unpack, input=packed, text=True, check=True, capture_output=True)
    fresh_server.env |= {f"SLIPWAY_SECRET_{name}": value for name, value in secrets.items()}
    fresh_server.apply(*settings())
    by_restic_alone(fresh_server, kit, secrets)
    assert own_hashes(fresh_server) == {name: before[name] for name in ("codementee", "other")}
    assert files(fresh_server, "/root/folder") == uploads
    assert fresh_server.ssh("cat /root/folder/etc/codementee/credentials/JWT_SECRET") == secret
    slipway(fresh_server, "rebuild", "--yes")
    assert (hashes(fresh_server), files(fresh_server)) == (before, uploads)
    assert fresh_server.ssh("cat /etc/codementee/credentials/JWT_SECRET") == secret
    fresh_server.wait_until_healthy()
    assert fresh_server.plan(*settings()) == []


def by_restic_alone(server: LabHost, kit: str, secrets: dict[str, str]) -> None:
    """The commands of the kit's last part, with the names that `restic snapshots` shows."""
    own(server)
    lines = [line.strip() for line in kit[kit.index("Without Slipway") :].splitlines()]
    load, folders = (next(one for one in lines if one.startswith(f"restic {verb}")) for verb in ("dump F", "restore"))
    begin = next(number for number, one in enumerate(lines) if one.startswith("restic dump SLICE"))
    replay = "; ".join(lines[begin : begin + 2])
    login = f"export RESTIC_REPOSITORY={FAR} RESTIC_PASSWORD={shlex.quote(secrets['BACKUP_PASSWORD'])} HOME=/root"

    def run(command: str) -> str:
        script = f"{login}; cd /root; {command.replace('mongorestore', f'mongorestore --port {OWN}')}"
        # sudo writes command lines to the journal, where no secret may be.
        return server.ssh(f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | sh -e")

    shown = []
    for one in json.loads(run("restic snapshots --tag slipway --json")):
        shown.append((one["short_id"], dict(tag.partition("=")[::2] for tag in one["tags"])))
    newest = max((tags for _, tags in shown if "manifest" in tags), key=lambda tags: tags["id"])
    its = {kind: name for name, tags in shown for kind in tags if tags.get("id") == newest["id"]}
    run(load.replace("FULL", its["full"]))
    run(folders.replace("FILES", its["files"]).replace("FOLDER", "/root/folder"))
    for name, tags in shown:
        if "slice" in tags and moment(tags["end"]) > moment(newest["begin"]):
            run(replay.replace("SLICE", name))


def moment(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(":"))
