"""The cache of queries for the next run."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from pyinfra.api import FactBase, HiddenValue, StringCommand

from slipway.engine import query_cache
from slipway.engine.remote_shell import Question
from slipway.facts.base import Fact
from support.connected import Counted, Shown
from support.limited import limited


class Unlisted(FactBase[str]):
    """The same fact, not declared free of secrets."""

    def command(self, command: str) -> str:
        return command

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


class Masked(Fact[str]):
    def command(self, secret: str) -> StringCommand:
        return StringCommand("echo", HiddenValue(secret), "| wc -c")

    def process(self, output: list[str]) -> str:
        return "\n".join(output)


def test_only_cacheable_facts_are_cached_and_none_with_a_secret(host):
    host.get_fact(Shown, command="echo kept")
    host.get_fact(Unlisted, command="echo s3cr3t-1")
    host.get_fact(Masked, secret="s3cr3t-2")
    host.get_fact(Shown, command="echo $TOKEN", _env={"TOKEN": HiddenValue("s3cr3t-3")})
    host.get_fact(Shown, command="echo $TOKEN", _env={"TOKEN": "s3cr3t-4"})
    assert [question.command for question in host.connector.to_remember] == ["echo kept"]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


KEY = ("lab", "deploy.py", "box")
KEPT = [Question("echo 'it''s'\n", by_sudo=True), Question("id", by_sudo=False)]


def test_queries_are_cached_in_a_private_file_without_answers(cache):
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == KEPT
    assert query_cache.recall(KEY, by_sudo=False) == KEPT[1:]
    assert query_cache.recall((*KEY, "other"), by_sudo=True) == []
    [file] = (path for path in cache.rglob("*") if path.is_file())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text()) == [[q.command, q.by_sudo, q.subjects] for q in KEPT]


@pytest.mark.parametrize("text", ["", "{", "null", "3", '["echo"]', '[["echo"]]', '{"a": 1}', "\x00", "[[1, 2, 3, 4]]"])
def test_a_broken_cache_is_ignored(cache, text):
    query_cache.keep(KEY, KEPT)
    [file] = (path for path in cache.rglob("*") if path.is_file())
    file.write_text(text)
    assert query_cache.recall(KEY, by_sudo=True) == []
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == KEPT


def test_a_cache_that_others_can_write_is_ignored(cache):
    """Root on the host runs it."""
    query_cache.keep(KEY, KEPT)
    [file] = (path for path in cache.rglob("*") if path.is_file())
    file.chmod(0o622)
    assert query_cache.recall(KEY, by_sudo=True) == []
    if os.geteuid() == 0:
        file.chmod(0o600)
        os.chown(file, 65534, -1)
        assert query_cache.recall(KEY, by_sudo=True) == []


def test_a_cache_that_can_not_be_written_is_no_error(cache):
    cache.write_text("a file where a folder should be")
    query_cache.keep(KEY, KEPT)
    assert query_cache.recall(KEY, by_sudo=True) == []


def test_cached_queries_are_sent_at_once_and_not_again(host, monkeypatch):
    counted = Counted(host, monkeypatch)
    host.connector.batches.fetch([Question("echo a", False), Question("echo b", False)])
    assert [host.get_fact(Shown, command=f"echo {name}") for name in "ab"] == ["a", "b"]
    assert counted.batches == [["echo a", "echo b"]]


def test_an_outdated_cached_query_does_no_harm(host, monkeypatch):
    from slipway.engine.connections import _try_fetch

    limited(monkeypatch, answer=1)
    _try_fetch(host.connector, [Question("echo a", False), Question("sleep 60", False)])
    assert host.get_fact(Shown, command="echo a") == "a"
