"""restic repositories: reading and writing snapshots. No secret is on a command line.

https://restic.readthedocs.io/en/stable/075_scripting.html
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlsplit

from slipway.backups.chain import MARK
from slipway.backups.host import CACHE, Busy, Facts, Failed, last_lines, run, secret, text_of

# The block size for reading a dump from a pipe, and what a pipe takes at once.
PART, PIPE_SIZE = 2**20, 2**16
# restic's exit code for a backup without some of its files. https://restic.readthedocs.io/en/stable/040_backup.html
INCOMPLETE = 3
# A shorter value is a word like others, as a region.
SECRET_LENGTH = 8
# How long a command waits for its turn.
TURN_SECONDS = 600
# How long a repository may take for an answer: restic itself waits for a silent one without limit, or retries for 15
# minutes. Its list, or a new one, takes longer.
ANSWER_SECONDS, LIST_SECONDS = 60, 1800
# How long it may take nothing of a stream: MongoDB closes a cursor that nobody reads for 10 minutes, and the dump to
# all repositories would fail with it. And how long it may take for the last parts, which restic has in memory.
STALL_SECONDS, END_SECONDS = 480, 1800
# ssh gives up a host that has vanished after a minute. https://man.openbsd.org/ssh_config#ServerAliveInterval
SSH_LIMITS = "-o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"

# What restic 0.12 to 0.18 say as they look for a repository, before the line with its place. 0.17 and later look again
# and again for a bucket that is not there.
LOOKED = re.compile(r"(?:unable to open config file|had no answer for [\d.]+ s): (.*)")
# The reason where there is none, and not the end of an address; that of a file which has gone before it was read.
ABSENT = re.compile(r"no such file|not exist|doesn't exist|NoSuchKey|NoSuchBucket|(?<![\w.:])404\b|Not Found")
GONE = "no such file or directory"
# The place answers, and refuses: an unknown access key "does not exist", and a signature "does not match".
REFUSED = re.compile(
    r"401 Unauthorized|403 Forbidden|Access ?Denied|access key id|InvalidAccessKeyId|request signature"
    r"|SignatureDoesNotMatch|no credentials found",
    re.IGNORECASE,
)
REMOVING = re.compile(r"not removed|unable to remove|Remove\(")
# Files that are not what they were. A connection can come to an unexpected end, too.
DAMAGE = re.compile(
    r"ciphertext verification failed|does not match|doesn't match|wrong data returned|repository contains errors"
    r"|^(?!.*(?:connection|session|://)).*unexpected EOF|ReadFull\(.*(?:EOF|range is not satisfiable|out of bounds)",
    re.MULTILINE,
)


class Repository:
    def __init__(self, facts: Facts, name: str) -> None:
        self.facts, self.name, self.place = facts, name, facts.repositories[name]

    @property
    def environment(self) -> dict[str, str]:
        """restic's environment, with secrets: only root can read that of root's processes."""
        facts = self.facts
        variables = {name: text_of(secret(facts, name)) for name in facts.variables}
        place = self.place
        user, password = (variables.pop(f"RESTIC_REST_{name}", "") for name in ("USERNAME", "PASSWORD"))
        if place.startswith("rest:") and user:
            scheme, _, rest = place.partition("://")
            place = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
        return {
            **variables,
            "RESTIC_REPOSITORY": place,
            "RESTIC_PASSWORD_FILE": secret(facts, "BACKUP_PASSWORD"),
            "RESTIC_CACHE_DIR": CACHE,
            "HOME": CACHE,
            "GOGC": "20",
        }

    @property
    def options(self) -> list[str]:
        if not self.place.startswith("sftp:"):
            return []
        # This replaces the host and the port that restic would give to ssh.
        where = " ".join(ssh_words(self.place))
        key = secret(self.facts, "BACKUP_SSH_KEY")
        known = f"-o UserKnownHostsFile={self.facts.known_hosts} -o StrictHostKeyChecking=yes -o BatchMode=yes"
        return ["-o", f"sftp.command=ssh -i {key} -o IdentitiesOnly=yes {known} {SSH_LIMITS} {where} -s sftp"]

    def run(self, *words: str, timeout: float | None = None) -> str:
        """The output of a restic command. Raises Failed."""
        try:
            return run(["restic", *self.options, *words], self.environment, timeout)
        except Failed as failure:
            raise _kind(str(failure))(f"repository {self.name}: {self.explained(str(failure))}") from None

    def run_alone(self, *words: str) -> str:
        """The same for a command that no other restic may run beside, while slices come and go. Raises Failed."""
        end = time.monotonic() + TURN_SECONDS
        while True:
            try:
                return self.run(*words)
            except Busy as busy:
                if time.monotonic() >= end:
                    raise Failed(str(busy)) from None
                time.sleep(2)

    def explained(self, text: str) -> str:
        """What restic says, with what to do, and without the secrets of its environment."""
        for name in (*self.facts.variables, "BACKUP_PASSWORD"):
            value = text_of(secret(self.facts, name))
            if len(value) >= SECRET_LENGTH and not name.endswith("_USERNAME"):
                text = text.replace(value, f"({name})").replace(quote(value, safe=""), f"({name})")
        return explained(text)

    def snapshots(self) -> list[dict[str, Any]]:
        self.answer()
        words = ("snapshots", "--json", "--no-lock", "--tag", MARK)
        found: list[dict[str, Any]] = json.loads(self.run(*words, timeout=LIST_SECONDS)) or []
        return found

    def answer(self) -> None:
        """Raises Failed where there is no repository, or none that answers soon."""
        self.run("cat", "config", "--no-lock", timeout=ANSWER_SECONDS)

    def is_there(self) -> bool:
        try:
            self.answer()
        except Failed as failure:
            looked = LOOKED.search(str(failure))
            if looked and ABSENT.search(looked[1]) and not REFUSED.search(looked[1]):
                return False
            raise
        return True

    def prepare(self, is_new: bool) -> None:
        """Create the repository if there is none; one that has been there is not created again. Raises Failed."""
        if self.is_there():
            return
        if not is_new:
            raise Failed(
                f"repository {self.name}: found none at {self.place}, where it was: is its disk mounted? A new one:"
                " slipway backup now --anyway"
            )
        self.run("init", timeout=LIST_SECONDS)

    def unlock(self) -> None:
        """Remove the locks of those that were killed."""
        self.run("unlock", timeout=LIST_SECONDS)

    def store(self, name: str, tags: Mapping[str, str], data: bytes) -> None:
        """Store one file as a snapshot. Raises Failed."""
        with self.storing(name, tags) as writing:
            writing.write(data)
        writing.end()

    def storing(self, name: str, tags: Mapping[str, str]) -> Writing:
        return Writing(self, ["backup", "--quiet", "--host", MARK, *_tags(tags), "--stdin", "--stdin-filename", name])

    def store_paths(self, tags: Mapping[str, str], paths: Sequence[str]) -> None:
        """Store folders and files. Those that go meanwhile are no failure: restic stores the others. Raises Failed."""
        words = ["restic", *self.options, "backup", "--quiet", "--host", MARK, *_tags(tags), "--", *paths]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        have_gone = bool(errors) and all(GONE in line for line in errors)
        if done.returncode and not (done.returncode == INCOMPLETE and have_gone):
            said = self.explained(last_lines(done.stderr))
            raise _kind(done.stderr)(f"repository {self.name}: restic ended with {done.returncode}: {said}")

    def read(self, snapshot: str, name: str) -> bytes:
        done = subprocess.run(
            ["restic", *self.options, "dump", "--no-lock", snapshot, f"/{name}"],
            env={**os.environ, **self.environment},
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"repository {self.name}: {self.explained(last_lines(done.stderr.decode(errors='replace')))}")
        return done.stdout

    @contextmanager
    def streaming(self, snapshot: str, name: str) -> Iterator[IO[bytes]]:
        """A stored file, which may be larger than the memory, as it is read. Raises Failed where it is not whole."""
        with tempfile.TemporaryFile() as errors:
            process = self.reading(snapshot, name, errors)
            assert process.stdout
            problem: Exception | None = None
            try:
                yield process.stdout
            except ValueError as error:
                problem = error
            finally:
                process.stdout.close()
                code = process.wait()
            if problem or code:
                errors.seek(0)
                said = last_lines(errors.read().decode(errors="replace")) or str(problem or "")
                raise Failed(f"repository {self.name}: {self.explained(said)}")

    def reading(self, snapshot: str, name: str, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["restic", *self.options, "dump", "--no-lock", snapshot, f"/{name}"],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def ssh_words(place: str) -> list[str]:
    """The user and host of a place by SFTP as words for ssh, with its port: only the form of a URL has one.
    https://restic.readthedocs.io/en/stable/030_preparing_a_new_repo.html#sftp"""
    if not place.startswith("sftp://"):
        return [place.removeprefix("sftp:").partition(":")[0]]
    url = urlsplit(place)
    user, host = f"{url.username}@" if url.username else "", url.hostname or ""
    return [*(["-p", str(url.port)] if url.port else []), f"{user}{host}"]


def _tags(tags: Mapping[str, str]) -> list[str]:
    return ["--tag", ",".join([MARK, *(f"{name}={value}" if value else name for name, value in tags.items())])]


def _kind(text: str) -> type[Failed]:
    """The exception of a failure: Busy if the repository is locked."""
    return Busy if "already locked" in text else Failed


def explained(text: str) -> str:
    """What restic says, with what to do."""
    if REFUSED.search(text):
        return f"{text}; " + (
            "it removes nothing: for an append-only repository set backup_prune = False (docs/backups.md)"
            if REMOVING.search(text)
            else "it refuses the user, password or key that backup_secrets names: slipway secrets edit, slipway apply"
        )
    hints = {
        "wrong password": "BACKUP_PASSWORD is not the one that the repository was created with",
        "no space left": "the disk of the repository is full",
        "already locked": "another restic uses it, or a killed one has left its lock: backups remove one that is"
        " 30 minutes old",
        "unknown authority": "this host does not trust the certificate's authority (docs/backups.md)",
    }
    said = [hint for sign, hint in hints.items() if sign in text]
    damage = ["the repository is damaged (docs/runbooks.md)"] if DAMAGE.search(text) else []
    return "; ".join([text, *said, *damage])


class Writing:
    """A snapshot being written. An abandoned one leaves none: restic is killed before it sees the end of its input."""

    def __init__(self, repository: Repository, words: Sequence[str]) -> None:
        self.repository = repository
        self.failure = ""
        self.unwritten = bytearray()
        self.process = subprocess.Popen(
            ["restic", *repository.options, *words],
            env={**os.environ, **repository.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin
        self.pipe = self.process.stdin.fileno()
        os.set_blocking(self.pipe, False)

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind:
            self.abandon()

    def write(self, data: bytes) -> None:
        if self.failure:
            return
        self.unwritten += data
        if len(self.unwritten) >= PIPE_SIZE:
            self._flush()

    def _flush(self) -> None:
        rest = memoryview(bytes(self.unwritten))
        self.unwritten.clear()
        try:
            while rest:
                if not select.select([], [self.pipe], [], STALL_SECONDS)[1]:
                    self.abandon()
                    self.failure = f"it took nothing for {STALL_SECONDS} s"
                    return
                rest = rest[os.write(self.pipe, rest) :]
        except OSError:
            self.failure = self._errors() or "restic has ended"

    def abandon(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End restic's input; `end` waits for it."""
        if self.process.stdin and not self.failure:
            self._flush()
        if self.process.stdin and not self.failure:
            self.process.stdin.close()
            self.process.stdin = None

    def end(self) -> None:
        """Complete the snapshot. Raises Failed if that fails."""
        self.close()
        if not self.failure:
            try:
                _, errors = self.process.communicate(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                self.failure = f"it had no answer for {END_SECONDS} s"
            except BaseException:
                self.abandon()
                raise
            else:
                if self.process.returncode:
                    said = last_lines(errors.decode(errors="replace"))
                    self.failure = said or f"restic ended with {self.process.returncode}"
        if self.failure:
            self.abandon()
            raise _kind(self.failure)(f"repository {self.repository.name}: {self.repository.explained(self.failure)}")

    def _errors(self) -> str:
        assert self.process.stderr
        return last_lines(self.process.stderr.read().decode(errors="replace"))


def pump(source: IO[bytes], targets: Sequence[Writing], count: Callable[[int], None] = lambda size: None) -> None:
    """Copy a stream to all targets at once; failed ones are skipped."""
    while part := source.read(PART):
        for target in targets:
            target.write(part)
        count(len(part))
