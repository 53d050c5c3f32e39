"""Simulates a distant link to SSH servers nearby, with latency and TCP's slow start.

It needs no netem, which is not in every kernel, and delays only the SSH of a few hosts: this machine's own
connections to them are redirected to our process, which forwards them. It ends with its parent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from asyncio import Queue, StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from slipway.lab.steps import StepFailed, run

PROJECT = Path(__file__).resolve().parents[2]
# RFC 6928: ten Ethernet segments before the first acknowledgement.
FIRST_WINDOW = 10 * 1448
# Our own connections have this mark, so that they are not redirected again.
MARK = 0x51AB
SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h

# Connects to a client's original destination.
Connect = Callable[[socket.socket], Awaitable[tuple[StreamReader, StreamWriter]]]
# Data in flight: the arrival time by the loop's clock, and the bytes, empty at the end.
Flight = Queue[tuple[float, bytes]]


class Window:
    """The bytes that may be in flight in one direction: doubles with each round trip (RFC 5681, slow start)."""

    def __init__(self) -> None:
        self.size = FIRST_WINDOW
        self._flying = 0
        self._acknowledged = asyncio.Event()

    async def room(self) -> int:
        """The number of bytes that may be sent, as soon as any may."""
        while self._flying >= self.size:
            self._acknowledged.clear()
            await self._acknowledged.wait()
        return self.size - self._flying

    def leave(self, count: int) -> None:
        self._flying += count

    def acknowledge(self, count: int) -> None:
        # An unused window does not grow (RFC 7661).
        if 2 * self._flying >= self.size:
            self.size += count
        self._flying -= count
        self._acknowledged.set()


async def serve(round_trip: float, connect: Connect, reader: StreamReader, writer: StreamWriter) -> None:
    """Forward a client's connection. To the client it is open at once; what it sends before TCP's handshake would have
    ended is held back until then."""
    there, back = Window(), Window()
    up, down = Flight(), Flight()
    trip = round_trip / 2
    with closing(writer), suppress(asyncio.CancelledError):  # the link may end before the connection
        await asyncio.sleep(round_trip)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(depart(reader, up, there, trip))
                await asyncio.sleep(trip)
                far_reader, far_writer = await connect(writer.get_extra_info("socket"))
                with closing(far_writer):
                    upward = tasks.create_task(arrive(up, far_writer, there, trip))
                    tasks.create_task(depart(far_reader, down, back, trip))
                    await asyncio.gather(upward, arrive(down, writer, back, trip))
        except* OSError:
            pass  # one side has closed; so close the other


async def depart(reader: StreamReader, flight: Flight, window: Window, trip: float) -> None:
    data = b"-"
    while data:
        data = await reader.read(await window.room())
        window.leave(len(data))
        flight.put_nowait((asyncio.get_running_loop().time() + trip, data))


async def arrive(flight: Flight, writer: StreamWriter, window: Window, trip: float) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due, data = await flight.get()
        await asyncio.sleep(due - loop.time())
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()
        loop.call_later(trip, window.acknowledge, len(data))


async def where_it_wanted_to(client: socket.socket) -> tuple[StreamReader, StreamWriter]:
    found = client.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", found)
    own = socket.socket()
    own.setblocking(False)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    await asyncio.get_running_loop().sock_connect(own, (socket.inet_ntoa(address), port))
    return await asyncio.open_connection(sock=own)


def rules(table: str, addresses: Iterable[str], port: int, near_port: int) -> str:
    """The nftables script that redirects this machine's connections to `port` of the addresses to `near_port` here."""
    return f"""
{gone(table)}
table ip {table} {{
  chain led {{
    type nat hook output priority -100;
    meta mark != {MARK} ip daddr {{ {", ".join(addresses)} }} tcp dport {port} redirect to :{near_port}
  }}
}}
"""


def gone(table: str) -> str:
    """The nftables script that removes the table, whether or not it is there."""
    return f"table ip {table}\ndelete table ip {table}\n"


async def _lead(table: str, round_trip: float, port: int, addresses: list[str]) -> None:
    """Hold the link until our standard input ends."""
    async with await asyncio.start_server(partial(serve, round_trip, where_it_wanted_to), "127.0.0.1", 0) as server:
        near_port = server.sockets[0].getsockname()[1]
        try:
            run("Make the link", ["nft", "-f", "-"], input=rules(table, addresses, port, near_port))
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)
        finally:
            run("Remove the link", ["nft", "-f", "-"], input=gone(table))


@contextmanager
def distant(table: str, round_trip: float, port: int, addresses: Iterable[str]) -> Iterator[None]:
    """During the block, `port` of the addresses is so many seconds away. Raises StepFailed."""
    command = [sys.executable, "-m", "benchmarks.converge.link", table, str(round_trip), str(port), *addresses]
    # A session of its own, so that Ctrl-C does not end it before us.
    process = subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdin
    assert process.stdout
    try:
        if process.stdout.readline() != "ready\n":
            raise StepFailed("Make the link", "it has not started; its output is above", argv=command)
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    try:
        asyncio.run(_lead(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
    except StepFailed as error:
        sys.exit(str(error))
