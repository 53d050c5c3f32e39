"""gevent, which pyinfra runs on, must patch the standard library before anything imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyinfra_cli  # noqa: F401
import pytest
from gevent import monkey


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish() -> Iterator[None]:
    """Let pytest remove the folders of earlier runs: gevent puts off closing each, so the open files would run out."""
    put_off, os.close = os.close, monkey.get_original("os", "close")
    try:
        return (yield)
    finally:
        os.close = put_off
