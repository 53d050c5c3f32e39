"""A restore takes the place of nothing until it is proven, and one that is killed is undone: by programs and a
repository of the test's own, without a MongoDB."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from slipway.backups import host, mongo, program, replacing, restoring, slicing, steps
from slipway.backups.host import Facts, Failed, read_state
from support.backed_up import DATA, Kept, Server, backed_up_host, kept_in, live, restored_in

KILLED = 9


@pytest.fixture
def facts(tmp_path, monkeypatch) -> Facts:
    return backed_up_host(tmp_path, monkeypatch)


@pytest.fixture
def kept(monkeypatch) -> Kept:
    return kept_in(monkeypatch)


@pytest.fixture
def restored(facts, kept, monkeypatch):
    return restored_in(kept, monkeypatch)


def what(facts: Facts, suffix: str = "") -> str:
    file = Path(f"{facts.data}{suffix}/what")
    return file.read_text() if file.exists() else "nothing"


def test_what_is_restored_takes_the_place_while_the_site_is_closed_and_the_data_of_before_stay(
    facts, restored, monkeypatch, tmp_path
):
    server = live(monkeypatch, Server())
    restoring.restore(facts, restored, "", False, False)
    # Documents that have expired are compared, too.
    assert [one["ttlMonitorEnabled"] for one in server.asked if "setParameter" in one] == [False, True]
    assert (what(facts), what(facts, ".before-restore"), what(facts, ".restore")) == ("new", "old", "nothing")
    said = (tmp_path / "said").read_text().splitlines()
    # Workers and jobs would change what is compared.
    assert said[:5] == [
        # It may wait for a repository that does not answer.
        "open: stop slipway-slice.service",
        "closed: stop shop-job.timer shop.service shop-job.service",
        *("closed: stop mongod.service", "closed: start mongod.service", "closed: start mongod.service"),
    ]
    assert said[5] == "closed: start shop-job.timer shop.service"
    assert not (tmp_path / "maintenance").exists()
    assert read_state()["awaits"]


def test_a_repository_that_does_not_answer_keeps_no_site_closed(facts, restored, monkeypatch, capsys):
    def takes_long(facts, seconds):
        assert seconds <= 60
        raise Failed("repository far: it was not done after 60 s")

    live(monkeypatch, Server())
    monkeypatch.setattr(replacing, "take", takes_long)
    restoring.restore(facts, restored, "", False, False)
    said = "Without the last slice of the present data: repository far: it was not done after 60 s"
    assert (what(facts), said in capsys.readouterr().out) == ("new", True)


def test_a_site_that_was_closed_before_a_restore_is_closed_after_it(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server())
    (tmp_path / "maintenance").touch()
    restoring.restore(facts, restored, "", False, False)
    assert (tmp_path / "maintenance").exists()


def test_what_differs_from_its_backup_takes_the_place_of_nothing(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server())
    restored.scratch.shows = {"shop.orders": [1, "of one order"]}
    with pytest.raises(
        Failed, match=r"the restored data differ from the backup's record:\nshop\.orders: 2 -> 1 documents"
    ):
        restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".restore")) == ("old", "nothing")
    assert (tmp_path / "said").read_text() == "", "MongoDB runs on"


def test_what_differs_once_it_is_in_place_goes_again(facts, restored, monkeypatch, tmp_path):
    live(monkeypatch, Server(data={}))
    with pytest.raises(Failed, match="the restored data differ after the exchange"):
        restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".restore")) == ("old", "nothing")
    assert (tmp_path / "said").read_text().splitlines()[-2:] == [
        "closed: start mongod.service",
        "closed: start shop-job.timer shop.service",
    ]
    assert not (tmp_path / "maintenance").exists()
    assert "awaits" not in read_state()


def test_a_connection_that_breaks_after_the_exchange_brings_the_data_of_before_back(facts, restored, monkeypatch):
    server = live(monkeypatch, Server())

    def breaks(moment=None):
        raise ConnectionResetError("by peer")

    monkeypatch.setattr(server, "fingerprint", breaks)
    with pytest.raises(ConnectionResetError):
        restoring.restore(facts, restored, "", False, False)
    assert what(facts) == "old"
    assert not replacing.is_marked(facts.data)
    assert read_state()["closed"] == []


def test_data_of_before_that_have_gone_keep_mongodb_from_no_start(facts, restored, monkeypatch):
    live(monkeypatch, Server())
    monkeypatch.setattr(restoring, "_start", die)
    killed(facts, restored)
    shutil.rmtree(f"{facts.data}.restore")
    assert replacing.undo(facts)
    assert (what(facts), replacing.is_marked(facts.data)) == ("new", False)


def test_what_a_restore_drops_is_in_a_backup_up_to_its_last_write(facts, restored, monkeypatch, tmp_path):
    """A replica set of several members keeps no folder of before."""
    live(monkeypatch, Server(ends=(200, 1)))
    host.change_state(reached={"near": "199:7"})
    exchanging = replacing.in_place(facts, restored, False, False, drops=True)
    with pytest.raises(Failed, match="the present data are in no backup up to now"), exchanging:
        pytest.fail("the collections would be exchanged")
    assert not (tmp_path / "maintenance").exists()
    monkeypatch.setattr(replacing, "take", lambda facts, seconds: host.change_state(reached={"near": "200:1"}))
    with replacing.in_place(facts, restored, False, False, drops=True):
        pass
    assert {"time", "until"} == {*read_state()["restored"]}


def test_one_collection_whose_copy_differs_is_thrown_away_and_the_present_one_stays(facts, restored, monkeypatch):
    live(monkeypatch, Server(data={"shop.orders.slipway_restored": [1, "of one order"]}))
    with pytest.raises(Failed, match=r"shop\.orders: the copy differs from the restored data; nothing was changed"):
        restoring.restore(facts, restored, "shop.orders", False, False)
    right = live(monkeypatch, Server(data={"shop.orders.slipway_restored": DATA["shop.orders"]}))
    restoring.restore(facts, restored, "shop", False, False)
    (move,) = [one for one in right.asked if "renameCollection" in one]
    assert (move["renameCollection"], move["to"]) == ("shop.orders.slipway_restored", "shop.orders")
    assert move["dropTarget"], "at once"


def test_a_backup_of_another_series_is_refused_before_anything_changes(facts, restored, monkeypatch):
    live(monkeypatch, Server())
    full = restored.chosen.full._replace(version="8.0.4")
    restored.chosen = restored.chosen._replace(full=full)
    with pytest.raises(Failed, match=r"backup A is of MongoDB 8\.0\.4, this host has 7\.0\.5: restore it"):
        restoring.restore(facts, restored, "", False, False)
    assert (what(facts), what(facts, ".restore")) == ("old", "nothing")
    restored.chosen = restored.chosen._replace(full=full._replace(version="7.0.1"))
    restoring.restore(facts, restored, "", False, False)
    assert what(facts) == "new"


# --- A restore that is killed ----------------------------------------------------------------------------------------


def killed(facts: Facts, restored, with_files: bool = False) -> None:
    """Restore in a process that ends as by SIGKILL where a test has put `die`."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            restoring.restore(facts, restored, "", with_files, False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED, "the restore ended by itself"


def die(*_: object) -> None:
    os._exit(KILLED)


@pytest.fixture
def uploads(facts, restored, kept, monkeypatch, tmp_path):
    """A folder of uploads, and its backup."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "1.pdf").write_text("today's")
    restored.manifest["paths"] = [str(folder)]

    def run(*words):
        if words[0] == "stats":
            return '{"total_size": 10}'
        if words[-1] == str(folder):
            place = Path(f"{words[words.index('--target') + 1]}{folder}")
            place.mkdir(parents=True)
            (place / "1.pdf").write_text("the backup's")
        return ""

    monkeypatch.setattr(kept, "run", run)
    return folder


def test_a_restore_that_is_killed_before_its_data_are_accepted_is_undone_and_the_site_opened(
    facts, restored, monkeypatch, tmp_path
):
    live(monkeypatch, Server())
    monkeypatch.setattr(restoring, "_start", die)
    killed(facts, restored)
    assert (what(facts), (tmp_path / "maintenance").exists()) == ("new", True)
    (tmp_path / "said").write_text("")
    monkeypatch.setattr(steps, "repositories", lambda facts: [])
    slicing.take_slices(facts)
    assert (tmp_path / "said").read_text() == "closed: start --no-block slipway-reopen.service\n"
    restoring.reopen(facts)
    assert (what(facts), (tmp_path / "maintenance").exists()) == ("old", False)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[1:3] == ["closed: stop mongod.service", "closed: start mongod.service"]
    assert said[-1] == "closed: start shop-job.timer shop.service"
    slicing.take_slices(facts)
    assert (tmp_path / "said").read_text().splitlines() == said


def test_what_a_killed_restore_has_beside_the_data_is_removed(facts, restored, monkeypatch):
    live(monkeypatch, Server())
    monkeypatch.setattr(restored.scratch, "fingerprint", die)
    killed(facts, restored)
    place = Path(host.place_of(f"{facts.data}.restore"))
    beside = Path(f"{facts.data}.restore-oplog")
    assert (place.exists(), beside.exists()) == (True, True)
    restoring.reopen(facts)
    assert not place.exists()
    assert not beside.exists()
    # And one that is not reopened is no obstacle to the next.
    for _ in range(2):
        shutil.rmtree(f"{facts.data}.restore")
        killed(facts, restored)


def test_it_is_undone_before_mongodb_starts_unless_the_restore_still_runs(facts, restored, monkeypatch):
    live(monkeypatch, Server())
    monkeypatch.setattr(restoring, "_start", die)
    killed(facts, restored)
    with host.alone("restore"):
        assert not replacing.undo(facts)
    assert what(facts) == "new"
    assert replacing.undo(facts)
    assert what(facts) == "old"
    assert not replacing.undo(facts)


def test_a_restore_that_is_killed_once_its_data_are_accepted_keeps_them(
    facts, restored, uploads, monkeypatch, tmp_path
):
    live(monkeypatch, Server())
    monkeypatch.setattr(replacing, "_take_place", die)
    killed(facts, restored, with_files=True)
    restoring.reopen(facts._replace(paths=[str(uploads)]))
    assert (what(facts), what(facts, ".before-restore")) == ("new", "old")
    assert (uploads / "1.pdf").read_text() == "today's"
    assert sorted(one.name for one in tmp_path.glob(".slipway-restore-*")) == []
    assert "start --no-block slipway-backup.service" in (tmp_path / "said").read_text()


def test_uploads_that_a_new_server_does_not_have_are_restored_and_what_is_not_is_named(
    facts, restored, uploads, monkeypatch, tmp_path, capsys
):
    live(monkeypatch, Server())
    shutil.rmtree(uploads)
    restored.manifest["paths"] += [str(tmp_path / "never"), "/etc/app", "/etc/shop/credentials"]
    secret = tmp_path / "JWT_SECRET"
    secret.write_text("present")
    restoring.restore(facts._replace(secrets=[str(secret)]), restored, "", True, True)
    assert (uploads / "1.pdf").read_text() == "the backup's"
    said = capsys.readouterr().out
    assert f"{tmp_path}/never: found nothing in backup A; it stays as it is" in said
    assert "/etc/app: not restored, as it is below /etc" in said
    assert "credentials:" not in said
    assert f"{secret}: found none in backup A; the present one stays" in said
    assert secret.read_text() == "present"


def test_uploads_are_not_restored_to_where_nothing_is_mounted_and_a_link_is_no_folder(
    facts, restored, uploads, kept, monkeypatch, tmp_path, capsys
):
    live(monkeypatch, Server())
    mounted = facts._replace(uploads={f"{uploads}/of-all": str(tmp_path)})
    restored.manifest["paths"] = [f"{uploads}/of-all"]
    with pytest.raises(Failed, match="of-all: found nothing there, expected the uploads' folder: mount it first"):
        restoring.restore(mounted, restored, "", True, False)
    assert what(facts) == "old"

    def run(*words):
        if words[0] == "restore":
            link = Path(f"{words[words.index('--target') + 1]}{words[-1]}")
            link.parent.mkdir(parents=True)
            link.symlink_to("/srv/elsewhere")
        return '{"total_size": 10}'

    monkeypatch.setattr(kept, "run", run)
    restored.manifest["paths"] = [str(uploads)]
    restoring.restore(facts, restored, "", True, False)
    assert (
        f"{uploads}: not restored, as the backup has no more than a link to /srv/elsewhere" in capsys.readouterr().out
    )
    assert (uploads / "1.pdf").read_text() == "today's"


def test_uploads_without_room_are_refused_before_the_site_is_closed(facts, restored, uploads, kept, monkeypatch):
    live(monkeypatch, Server())
    monkeypatch.setattr(kept, "run", lambda *words: '{"total_size": 1000000000000000}')
    with pytest.raises(Failed, match="MiB free, need 95367"):
        restoring.restore(facts, restored, "", True, False)
    assert (what(facts), (uploads / "1.pdf").read_text()) == ("old", "today's")


def test_uploads_take_their_place_after_the_data_and_those_of_before_stay(facts, restored, uploads, monkeypatch):
    live(monkeypatch, Server(data={}))
    with pytest.raises(Failed, match="differ after the exchange"):
        restoring.restore(facts, restored, "", True, False)
    assert (uploads / "1.pdf").read_text() == "today's"
    live(monkeypatch, Server())
    restoring.restore(facts, restored, "", True, False)
    assert (uploads / "1.pdf").read_text() == "the backup's"
    assert Path(f"{uploads}.before-restore/1.pdf").read_text() == "today's"


def test_a_mongodb_that_does_not_start_is_refused_with_the_way_to_restore_it(facts, restored, monkeypatch):
    def away(facts, patience=0):
        raise Failed("MongoDB does not answer at 127.0.0.1:27017: refused")

    monkeypatch.setattr(mongo, "live", away)
    with pytest.raises(Failed, match=r"refused; a restore needs one that runs, with any data \(docs/runbooks\.md\)"):
        restoring.restore(facts._replace(replica_set="rs0"), restored, "", False, False)
    assert not Path(f"{facts.data}.restore").exists()


ITSELF = "this server has backed them up, or restored them, itself"


@pytest.mark.parametrize(
    ("state", "others", "reason"),
    [
        ({}, [], ""),
        ({"full": {"id": "A"}, "set": "another"}, [], ""),
        ({"full": {"id": "A"}, "set": "since its beginning"}, [], ITSELF),
        ({"restored": {"time": 1}, "awaits": True}, [], ITSELF),
        ({}, ["two:27017"], "this is one of several members, which have them"),
    ],
)
def test_a_server_that_is_not_new_keeps_its_data(facts, monkeypatch, capsys, state, others, reason):
    server = live(monkeypatch, Server())
    monkeypatch.setattr(server, "ask", lambda command: {"setName": "shop", "hosts": ["one:27017", *others]})
    monkeypatch.setattr(program, "carry_out", lambda *_: print("restored"))
    facts = facts._replace(replica_set="shop")
    host.change_state(**state)
    assert program.why_kept(facts) == reason
    program.restore(facts, ["--files", "--secrets", "--if-new"])
    said = capsys.readouterr().out
    assert (f"The data stay as they are: {reason}" in said, "restored\n" in said) == (bool(reason), not reason)
