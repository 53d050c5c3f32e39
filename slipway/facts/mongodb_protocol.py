"""MongoDB's wire protocol, for programs that Slipway runs on a host with the host's Python.

https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg
https://bsonspec.org/spec.html
https://www.rfc-editor.org/rfc/rfc5802 (SCRAM), https://www.rfc-editor.org/rfc/rfc7677 (with SHA-256)
"""

from __future__ import annotations

# The half of the module socket that is written in C: the other half takes a fifth of a program's run time to import.
import _socket
import binascii
import hashlib
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # its import would take a third of a program's run time
    from typing import Any

OP_MSG = 2013
UNAUTHORIZED = 13
# The ports up to this one are root's.
PRIVILEGED_PORTS = 1023


class Typed(bytes):
    """A value that is encoded as BSON already, of a type that Python lacks: its BSON type (kind) and bytes."""

    kind: int

    def __new__(cls, kind: int, data: bytes) -> Typed:
        made = super().__new__(cls, data)
        made.kind = kind
        return made


def encode(document: dict[str, Any]) -> bytes:
    """BSON of a dictionary of numbers, strings, bytes, lists, dictionaries and Typed values."""
    body = b""
    for name, value in document.items():
        if isinstance(value, bool):
            kind, data = 8, struct.pack("<?", value)
        elif isinstance(value, int):
            kind, data = 16, struct.pack("<i", value)
        elif isinstance(value, float):
            kind, data = 1, struct.pack("<d", value)
        elif isinstance(value, Typed):
            kind, data = value.kind, bytes(value)
        elif isinstance(value, bytes):
            kind, data = 5, struct.pack("<iB", len(value), 0) + value
        elif isinstance(value, dict):
            kind, data = 3, encode(value)
        elif isinstance(value, list):
            kind, data = 4, encode({str(number): item for number, item in enumerate(value)})
        else:
            text = value.encode() + b"\0"
            kind, data = 2, struct.pack("<i", len(text)) + text
        body += bytes([kind]) + name.encode() + b"\0" + data
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def decode(data: bytes) -> dict[str, Any]:
    """A BSON document as a dictionary, an array as a list; values of types not decoded here stay bytes."""
    fixed = {
        1: "<d",
        8: "<?",
        16: "<i",
        18: "<q",
        9: "<q",
        17: "<Q",
        7: "12s",
        19: "16s",
        6: "",
        10: "",
        127: "",
        255: "",
    }
    document: dict[str, Any] = {}
    value: Any
    at = 4
    while data[at]:
        kind, end = data[at], data.index(b"\0", at)
        name, at = data[at + 1 : end].decode(), end + 1
        if kind in fixed:
            size = struct.calcsize(fixed[kind])
            value = (*struct.unpack_from(fixed[kind], data, at), None)[0]
        else:
            (length,) = struct.unpack_from("<i", data, at)
            size = length if kind in (3, 4) else length + 4 + (kind == 5)
            content = data[at : at + size]
            if kind in (3, 4):
                value = decode(content)
                value = list(value.values()) if kind == 4 else value
            else:
                value = content[5:] if kind == 5 else content[4:-1].decode()
        document[name], at = value, at + size
    return document


def state_of(hello: dict[str, Any]) -> str:
    """What a server is to its replica set, by its answer to `hello`: alone (a standalone), new (started as a member of
    a set that is not initiated), primary, secondary (of a primary), or waiting (no primary, or not yet the data)."""
    if hello.get("isreplicaset"):
        return "new"
    if "setName" not in hello:
        return "alone"
    if hello.get("isWritablePrimary"):
        return "primary"
    return "secondary" if hello.get("secondary") and hello.get("primary") else "waiting"


def encoded(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def bind_as_root(socket: _socket.socket) -> None:
    """Bind to a port below 1024 that is free."""
    for port in range(PRIVILEGED_PORTS, PRIVILEGED_PORTS // 2, -1):
        try:
            socket.bind(("", port))
            return
        except OSError:
            continue
    raise OSError("no port below 1024 is free")


class Connection:
    def __init__(self, address: str, port: int, seconds: int, from_root: bool = False, authority: str = "") -> None:
        """`address` is an IP address, a name with an IPv4 address, or the path of a Unix socket. `from_root`: from a
        port that only root may use. `authority`: by TLS, with a certificate for `address` of this file's authority."""
        is_path = address.startswith("/")
        family = _socket.AF_UNIX if is_path else _socket.AF_INET6 if ":" in address else _socket.AF_INET
        self.socket = _socket.socket(family, _socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        if from_root and not is_path:
            bind_as_root(self.socket)
        self.socket.connect(address if is_path else (address, port))
        if authority:
            import ssl  # takes long, and few need it

            context = ssl.create_default_context(cafile=authority)
            plain: Any = self.socket
            self.socket = context.wrap_socket(plain, server_hostname=address)

    def run(self, command: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        """The answer to a command to a database."""
        return decode(self.answer(command, database))

    def answer(self, command: dict[str, Any], database: str = "admin") -> bytes:
        """The answer to a command as BSON."""
        # A secondary answers, too. https://www.mongodb.com/docs/manual/core/read-preference/
        reads = {"$readPreference": {"mode": "primaryPreferred"}}
        message = struct.pack("<iB", 0, 0) + encode({**command, **reads, "$db": database})
        self.socket.sendall(struct.pack("<iiii", len(message) + 16, 1, 0, OP_MSG) + message)
        (length,) = struct.unpack("<i", self.receive(4))
        return self.receive(length - 4)[17:]

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise OSError("the server closed the connection")
            data += part
        return bytes(data)

    def logs_in(self, user: str, password: str, database: str = "admin") -> bool:
        """Whether a user of `database` can log in with this password."""
        import hmac  # missing from python3-minimal, all that a fresh host has

        nonce = encoded(os.urandom(18))
        first = f"n={user},r={nonce}"
        start = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": f"n,,{first}".encode()}
        answer = self.run(start, database)
        if not answer["ok"]:
            return False
        challenge = answer["payload"].decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        if not fields["r"].startswith(nonce):
            return False
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), binascii.a2b_base64(fields["s"]), int(fields["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={fields['r']}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{challenge},{last}".encode(), "sha256")
        proof = encoded(bytes(a ^ b for a, b in zip(key, signature, strict=True)))
        conversation = answer["conversationId"]
        follow = {"saslContinue": 1, "conversationId": conversation}
        answer = self.run({**follow, "payload": f"{last},p={proof}".encode()}, database)
        if answer["ok"] and not answer["done"]:
            answer = self.run({**follow, "payload": b""}, database)
        return bool(answer["ok"])
