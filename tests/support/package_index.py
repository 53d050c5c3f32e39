"""An index of Python packages in a folder. https://packaging.python.org/en/latest/specifications/simple-repository-api/"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class PackageIndex:
    """Wheels with only their metadata, and padding where they are to be large."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self,
        name: str,
        version: str,
        requires: str = "",
        python: str = "",
        tag: str = "py3-none-any",
        data: bytes = b"",
        module: str = "",
    ) -> None:
        info, place = f"{name}-{version}.dist-info", self.folder / name
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requires}"] if requires else []
        lines += [f"Requires-Python: {python}"] if python else []
        place.mkdir(parents=True, exist_ok=True)
        wheel = place / f"{name}-{version}-{tag}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            archive.writestr(f"{info}/RECORD", "")
            if module:
                archive.writestr(f"{name}.py", module)
            if data:
                archive.writestr(f"{name}/data.bin", data)
        self._list(wheel, python)

    def add_source(self, name: str, version: str, files: dict[str, str]) -> None:
        """A source distribution of these files."""
        place = self.folder / name
        place.mkdir(parents=True, exist_ok=True)
        source = place / f"{name}-{version}.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for path, text in {
                "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
                **files,
            }.items():
                member = tarfile.TarInfo(f"{name}-{version}/{path}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self._list(source)

    def _list(self, file: Path, python: str = "") -> None:
        link = f"{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}"
        with (file.parent / "index.html").open("a") as page:
            page.write(f'<a href="{link}" data-requires-python="{escape(python)}">{file.name}</a>\n')

    def digest(self, name: str, version: str) -> str:
        """The SHA-256 of a package's wheel."""
        (wheel,) = (self.folder / name).glob(f"{name}-{version}-*.whl")
        return hashlib.sha256(wheel.read_bytes()).hexdigest()

    @contextmanager
    def behind_login(self, user: str, password: str, address: str = "127.0.0.1") -> Iterator[str]:
        """Serve it over HTTP with basic authentication; yields the URL."""
        wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers.get("Authorization") == wanted:
                    # Who has read enough of a wheel hangs up.
                    with suppress(BrokenPipeError, ConnectionResetError):
                        super().do_GET()
                    return
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer((address, 0), partial(Handler, directory=str(self.folder))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://{address}:{server.server_port}"
            server.shutdown()
