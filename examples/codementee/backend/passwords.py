"""Passwords, kept as bcrypt hashes.

bcrypt takes about a quarter of a second of processor time, by design. It runs in a thread, so that the event loop goes
on answering everybody else.
"""

import asyncio
import base64
import hashlib

import bcrypt


def _fitted(password: str) -> bytes:
    """A password of any length in 44 bytes: bcrypt itself reads no more than 72, and stops at a zero byte."""
    return base64.b64encode(hashlib.sha256(password.encode()).digest())


async def hashed(password: str) -> bytes:
    return await asyncio.to_thread(bcrypt.hashpw, _fitted(password), bcrypt.gensalt())


async def matches(password: str, hash_: bytes) -> bool:
    return await asyncio.to_thread(bcrypt.checkpw, _fitted(password), hash_)


# The hash of random bytes that nobody has kept. Checked for an unknown user, so that the answer takes as long as for a
# known one. Made once: each worker would take a quarter of a second longer to start.
NOBODY = b"$2b$12$jBoctF/CZYMtUWr6c1TH7uQU90hY341mmZzoAj0PzDQfLnGE8WvIe"
