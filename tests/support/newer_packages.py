"""Newer versions of packages that a host has, in a repository of its own on the host."""

from __future__ import annotations

from support.lab_host import LabHost

FOLDER = "/srv/newer"
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


def withdraw(server: LabHost) -> None:
    server.ssh(f"rm -rf {FOLDER} /etc/apt/sources.list.d/newer.list; apt-get -q update")
