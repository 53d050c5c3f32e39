"""An SSH server on this machine that accepts every login and runs commands here, for the tests of the engine.

It is a process of its own: python local_sshd.py KEY_FILE MAX_SESSIONS PREFIX prints its port. PREFIX is what a login
shell does before the command that it is given.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO

import paramiko


class Server(paramiko.ServerInterface):
    def __init__(self, max_sessions: int, prefix: str) -> None:
        self.free = threading.Semaphore(max_sessions)
        self.prefix = prefix

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if not self.free.acquire(blocking=False):
            return paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_pty_request(self, *arguments: object) -> bool:
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self.run, args=(channel, command.decode()), daemon=True).start()
        return True

    def run(self, channel: paramiko.Channel, command: str) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with channel, subprocess.Popen(["sh", "-c", f"{self.prefix}{command}"], **pipes) as process:
            threading.Thread(target=feed, args=(channel, process.stdin), daemon=True).start()
            outputs = [(process.stdout, channel.sendall), (process.stderr, channel.sendall_stderr)]
            copying = [threading.Thread(target=copy, args=output, daemon=True) for output in outputs]
            for thread in copying:
                thread.start()
            code = process.wait()
            # As sshd does, wait for the command's remaining output, unless the client has disconnected.
            while any(thread.is_alive() for thread in copying) and not channel.closed:
                copying[0].join(0.05)
            if not channel.closed:
                channel.send_exit_status(code if code >= 0 else 128 - code)
        # sshd is not immediate either.
        time.sleep(0.2)
        self.free.release()


def feed(channel: paramiko.Channel, stdin: IO[bytes]) -> None:
    try:
        while data := channel.recv(2**16):
            stdin.write(data)
            stdin.flush()
        stdin.close()
    except OSError:
        return


def copy(output: IO[bytes], send: Callable[[bytes], None]) -> None:
    try:
        while data := output.read1(2**16):  # type: ignore[attr-defined]
            send(data)
    except OSError:
        return


def main(key_file: str, max_sessions: str, prefix: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        transport = paramiko.Transport(connection)
        transport.add_server_key(paramiko.ECDSAKey(filename=key_file))
        # A client that disconnects after it has seen the key must not end the server.
        with suppress(paramiko.SSHException, EOFError):
            transport.start_server(server=Server(int(max_sessions), prefix))


if __name__ == "__main__":
    main(*sys.argv[1:])
