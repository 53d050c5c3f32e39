"""The id of each request, as Nginx has made and logged it, in the backend's log too."""

import logging
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIds:
    """ASGI middleware that keeps the id for the time of a request. Nginx overwrites a visitor's own header."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            found = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id")
            request_id.set(next(found, "-"))
        await self.app(scope, receive, send)


def log_them() -> None:
    """Put the id before the visitor's address in uvicorn's access log."""
    logging.getLogger("uvicorn.access").addFilter(_with_id)


def _with_id(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and record.args:
        record.args = (f"{request_id.get()} {record.args[0]}", *record.args[1:])
    return True
