"""Answers every request on some sockets, in a process of its own, until its standard input is closed.

The first line of that is `{"SOCKET": [PART, ...]}`. A PART is a text that is sent, or a number of seconds to wait.
"ready" is printed once all sockets listen.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

Parts = Sequence[str | float]


def response(status: int, body: str) -> list[str | float]:
    return [f"HTTP/1.1 {status} Status\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"]


def answer(connection: socket.socket, parts: Parts) -> None:
    with connection, suppress(OSError):
        request = b""
        while b"\r\n\r\n" not in request:
            received = connection.recv(4096)
            if not received:
                return
            request += received
        for part in parts:
            if isinstance(part, str):
                # A test may look at the request.
                connection.sendall(part.replace("{request}", repr(request)).encode())
            else:
                time.sleep(part)


def serve(place: str, parts: Parts) -> None:
    if place.startswith("/"):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(place)
        listening.listen()
    else:
        address, _, port = place.rpartition(":")
        listening = socket.create_server((address, int(port)))

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection, parts), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


@contextmanager
def answering(places: Mapping[str, Parts]) -> Iterator[None]:
    """Serve each of these sockets with its parts."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    try:
        process.stdin.write(f"{json.dumps(places)}\n".encode())
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    for place, parts in json.loads(sys.stdin.readline()).items():
        serve(place, parts)
    print("ready", flush=True)
    sys.stdin.read()
