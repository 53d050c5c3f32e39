"""What a run has to say beyond an operation's name: diffs, and what was skipped and why.

Under `slipway plan` and `slipway apply` a listener collects the notes; under plain pyinfra they go to its log.
"""

from __future__ import annotations

from collections.abc import Callable

from pyinfra import host, logger

# (host name, hash of the operation or None outside of one, text)
Listener = Callable[[str, str | None, str], None]
_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """Send all further notes to `listener`; None gives them back to pyinfra's log."""
    global _listener
    _listener = listener


def note(text: str) -> None:
    """Say what the operation at hand will change."""
    if _listener is not None:
        _listener(host.name, host.current_op_hash, text)
    elif host.state.config.DIFF or host.current_op_hash is None:
        for line in text.splitlines():
            logger.info(f"{host.print_prefix}{line}")


def skipped(what: str, why: str) -> None:
    """Say that something asked for is not done on this host: "skipped swap: a container"."""
    note(f"skipped {what}: {why}")
