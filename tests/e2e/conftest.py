"""The hosts that the tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from support.lab_host import INSTANCE, LabHost, bring_up

# A shell ignores Ctrl-C in what it starts in the background, and so would the applies that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def ci_lab() -> Iterator[None]:
    """Nothing of an earlier run is there before, nothing of this one after."""
    anyone = LabHost("any", INSTANCE)
    anyone.slipway("lab", "down", "--all")
    yield
    done = anyone.slipway("lab", "down", "--all")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def server(ci_lab: None) -> LabHost:
    """A fresh host, provisioned by `slipway apply` once and shared; a test leaves it as it found it."""
    host = bring_up("codementee")
    host.first_apply = host.apply()  # type: ignore[attr-defined]
    host.apt_runs = host.ssh("grep ^Commandline: /var/log/apt/history.log").splitlines()  # type: ignore[attr-defined]
    return host


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Tell a figure to whoever watches the tests."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", flush=True)

    return tell
