"""A program beside the API that answers HTTP by itself: on $PORT, or on the socket that systemd passes."""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{VERSION} {self.path} {self.headers['X-Forwarded-Proto']} {os.environ.get('FLAVOUR', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass

    def address_string(self) -> str:
        return ""


class Server(ThreadingHTTPServer):
    # More than wait while it starts.
    request_queue_size = 128


if sys.argv[1:] == ["fd"]:
    assert os.environ["LISTEN_PID"] == str(os.getpid())
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket = socket.socket(fileno=3)
else:
    assert "LISTEN_FDS" not in os.environ
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), Handler)
server.serve_forever()
