"""Every time limit of Slipway's own, in seconds.

Each says what it waits for, and how long that takes on an ordinary server. The slowest supported host has a tenth of
its speed (an emulated virtual machine, a throttled server), so a limit is at least ten times that, and a margin. One
that only bounds a hang is generous; one that a user waits out whenever something is down stays short. The setting
`timeout_scale` multiplies all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HINT = "on a slow host raise timeout_scale"


@dataclass(frozen=True)
class Limits:
    # A TCP connection to the host: a round trip, 0.3 s across the world. Waited out where the host is down.
    connect: int = 10
    # The rest of a handshake, and the login: 0.3 s here, and sshd answers late on a host that is starting.
    handshake: int = 30
    # One question of a plan, a hang beyond it: the slowest tries apt's sources with a new one among them, which fetches
    # and unpacks their lists, in 5 s; 30 s where none answers.
    answer: int = 300
    # One command of an operation, a hang beyond it: a whole provisioning takes a minute, most of it one installation of
    # packages. 10 min, and a mirror may be slow.
    command: int = 3600
    # A free session of sshd, which counts one that has just ended for 10 ms more (MaxSessions).
    session: int = 10
    # An acknowledgement of the host's TCP: its kernel's, which owes it at once. Waited out where a host is gone.
    silence: int = 45
    # What is asked of a host that has failed, for the error alone: 0.1 s. Waited out where it is gone.
    last_words: int = 10

    # A new login after a change that could lock out, sshd's restart included: 0.5 s. Waited out after each lockout,
    # so below lockout_rollback_seconds.
    login: int = 20
    # Such a change itself, a hang beyond it: 5 s for UFW's first start.
    guarded_change: int = 600

    # A service that does its work after a start: 1 s for fail2ban. Waited out where it does not.
    ready: int = 60
    # One that has been running, and may be away while the database that it needs comes back: MongoDB starts in 2 s.
    # Waited out by each plan of a server whose backend is unhealthy, so it is short of ten times that.
    patience: int = 10
    # A new process of a service after a reload: 0.2 s. Waited out where it keeps its old ones.
    reload: int = 20
    # One answer of a health path, or of fail2ban's socket: 0.05 s, and 1 s for a backend's first one.
    probe: int = 10

    # mongosh, which starts in 2 s and gives two users in 1 s: a hang beyond it, as MongoDB is up already.
    mongosh: int = 300
    # One answer of MongoDB to a login: 0.1 s, most of it for the password's 15,000 hashes.
    mongodb_answer: int = 30
    # A new member's copy of all data: 10 s for a few MB, 20 min for 100 GB. Short of `command`: the next apply goes on.
    initial_sync: int = 3000
    # The key of MongoDB's repository, 2 kB: 1 s. Each of four tries; waited out where the site says nothing.
    download: int = 60

    # A connection to a repository, before the first change: a round trip. Waited out for each that is out of reach.
    reach: int = 10
    # Another step of a release that is at work: a start's 60 s of health and 30 s of draining, for several services.
    release_step: int = 600
    # One answer of the site to `slipway verify`: 0.1 s. Waited out where nothing answers.
    visit: int = 30


# What limits are before timeout_scale. A test may put others here.
SHIPPED = Limits()

# In units of systemd, which applies them after a daemon-reload. timeout_scale leaves them alone, so that a run with
# another one changes no file.

# mongod's start: 2 s, minutes after a crash with a large journal. To end a recovery would only begin it again.
MONGOD_START_SECONDS = 900
# A backend's start until its program runs, for the next release with the import of it: 2 s. Waited out by a release
# whose import hangs.
BACKEND_START_SECONDS = 90
# Its end: 0.5 s; one that holds a stream open is killed then. Waited out in each restart of such a backend.
BACKEND_STOP_SECONDS = 30


def scaled(by: float) -> Limits:
    """The limits of a host whose timeout_scale is `by`, in whole seconds."""
    return Limits(**{name: max(1, round(seconds * by)) for name, seconds in asdict(SHIPPED).items()})


def of_host(host: Any) -> Limits:
    """The limits of a pyinfra host."""
    return scaled(host.data.get("timeout_scale") or 1)
