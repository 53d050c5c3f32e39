"""Places of backups beside the lab's hosts, each a program that people run as one: rclone, which serves the REST
protocol of restic's own rest-server, and Versity's S3 gateway, an object store that keeps its objects in a folder.

Both have the certificate of the lab's ACME directory, whose authority the hosts trust, and the lab's address.
https://rclone.org/commands/rclone_serve_restic/ https://github.com/versity/versitygw
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import requests

from slipway.lab import acme, network
from slipway.lab.instance import Instance, cache_dir, folder_lock
from support.go_programs import built
from support.waiting import wait_until

# Beside the lab's own ports (slipway/lab/network.py), and those of further ACME servers (support/pebble.py).
REST_PORT, S3_PORT = 14300, 14301
USER, PASSWORD = "shop", "rest/of+the%place-5d21"
KEY_ID, KEY = "AKIASLIPWAYTESTS", "s3/of+the/place-77c0"
SECRETS = {
    "RESTIC_REST_USERNAME": USER,
    "RESTIC_REST_PASSWORD": PASSWORD,
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": KEY,
}


@dataclass
class Place:
    """A server with its folder."""

    lab: Instance
    port: int
    folder: Path
    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://{network.of(self.lab).gateway}:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".log").open("ab") as log:
            environ = {**os.environ, **self.environ}
            self.process = subprocess.Popen(self.command, env=environ, stdout=log, stderr=log)
        wait_until(f"{self.command[0]} answers", self._answers)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, self.folder.with_suffix(".log").read_text()
        try:
            return bool(requests.get(self.url, verify=str(acme.ca_file(self.lab)), timeout=2).status_code)
        except requests.RequestException:
            return False


def rest(lab: Instance, folder: Path, program: Path) -> Place:
    """A REST server that only adds."""
    address, certificate = f"{network.of(lab).listen}:{REST_PORT}", lab.state / "acme"
    command = [
        *(str(program), "serve", "restic", "--config", "/dev/null", "--append-only", "--addr", address),
        # Tests change the files.
        *("--cache-objects=false", "--cert", f"{certificate}/directory.pem", "--key", f"{certificate}/directory.key"),
        str(folder),
    ]
    return Place(lab, REST_PORT, folder, command, {"RCLONE_USER": USER, "RCLONE_PASS": PASSWORD})


def s3(lab: Instance, folder: Path, program: Path) -> Place:
    """An object store without a bucket."""
    address, certificate = f"{network.of(lab).listen}:{S3_PORT}", lab.state / "acme"
    # Not each file system has room for an object's properties beside it.
    properties = folder.with_name("properties")
    properties.mkdir(parents=True)
    command = [
        *(str(program), "--quiet", "--port", address),
        *("--cert", f"{certificate}/directory.pem", "--key", f"{certificate}/directory.key", "posix"),
        *("--sidecar", str(properties), str(folder)),
    ]
    return Place(lab, S3_PORT, folder, command, {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": KEY})


def versitygw() -> Path | None:
    """Versity's S3 gateway; None if no Go can build it."""
    return built("versitygw_source", "github.com/versity/versitygw", "cmd/versitygw")


def rclone() -> Path | None:
    """The machine's rclone, or Debian's package, which is not installed; None if there is neither."""
    if found := shutil.which("rclone"):
        return Path(found)
    folder = cache_dir() / "rclone"
    program = folder / "usr/bin/rclone"
    if not shutil.which("apt-get"):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        if not program.exists():
            command = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "rclone"]
            if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
                return None
            (package,) = folder.glob("rclone_*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, capture_output=True)
            package.unlink()
    return program
