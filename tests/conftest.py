"""gevent, which pyinfra runs on, must patch the standard library before anything imports it."""

import pyinfra_cli  # noqa: F401
