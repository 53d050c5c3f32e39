"""The backups' measurements: what a restored database must have, and the aims."""

from __future__ import annotations

import hashlib

from benchmarks.backup.results import Findings, Loss, Rebuilt, Second, Size, lines
from benchmarks.backup.writing import expected


def test_what_is_expected_of_a_restore_is_exactly_the_writes_up_to_its_second():
    text = f"0:{0:064d};1:{1:064d};".encode()
    assert expected([0, 1]) == (2, 1, hashlib.sha256(text).hexdigest())
    assert expected([0, 1]) != expected([0, 2])
    assert expected([]) == (0, -1, hashlib.sha256().hexdigest())


def test_the_worst_death_and_each_wrong_restore_count():
    losses = [Loss(40, 30, 100, 5000, 0, 20), Loss(70, 55, 150, 5000, 2, 22)]
    found = {
        name: (value, aim)
        for name, value, aim in lines(Findings(losses, [Second(True, 10, 20), Second(False, 11, 20)], None, [0, 31.5]))
    }
    assert found == {
        "writes lost, repository near, 2 deaths": ("42 s median, 55 s worst", "≤ 60 s"),
        "writes lost, repository far, 2 deaths": ("55 s median, 70 s worst", "≤ 300 s"),
        "acknowledged writes lost before the newest restored one": ("2", "0"),
        "restores to a second, right by hash": ("1 of 2", "all"),
        "memory of backups and alarms between their runs": ("0 MiB", "0 MiB"),
    }


def test_backups_are_compared_with_mongodbs_own_tools():
    seconds = {
        "mongodump --archive": 10.0,
        "slipway backup, full": 12.0,
        "mongorestore": 20.0,
        "slipway restore": 30.0,
    }
    size = Size(10**9, seconds, 10, 15, 0)
    assert [line[1] for line in lines(Findings(size=size))] == ["1.20", "1.50", "1.5 (10 and 15 ms)", "0"]
    assert size.rate("mongorestore") == 50

    *_, again = lines(Findings(size=size, rebuilt=Rebuilt(100.0, 80.0, True)))
    assert again[1:] == ("100 s", "≤ 106 s: provisioning (80), 1.3 times mongorestore (20)")
    *_, again = lines(Findings(size=size, rebuilt=Rebuilt(100.0, 80.0, False)))
    assert again[1] == "documents are missing"
