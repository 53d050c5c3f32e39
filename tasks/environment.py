"""The Python environment of a release: uv, which installs it, and the script that makes one on the host.

Releases with the same dependencies share an environment. Only what is locked by its hash is installed, and nothing of
a package runs while root installs it: wheels are unpacked.
"""

from __future__ import annotations

from slipway.dependencies import uv
from slipway.ops.commands import ensure
from slipway.settings.limits import Limits
from slipway.settings.model import Settings

UV = "/usr/lib/slipway/uv"
# The Python of the system.
SYSTEM_PYTHON = "/usr/bin/python3"
# What fetches uv and unpacks it.
PACKAGES = ["ca-certificates", "curl", "python3"]


def put_uv(limits: Limits) -> None:
    ensure(
        name=f"Install uv {uv.VERSION}",
        check=f"[ \"$(stat -c '%U %a' {UV})\" = 'root 755' ] && case $({UV} --version) in"
        f" 'uv {uv.VERSION}' | 'uv {uv.VERSION} '*) ;; *) false ;; esac",
        command=fetch_uv(limits),
        note=f"{UV}: {uv.VERSION}, from {uv.WHEEL_URL}",
    )


def fetch_uv(limits: Limits) -> str:
    """A command that puts uv in its place, if its wheel has the hash that it had when this version was chosen."""
    folder, _, name = UV.rpartition("/")
    unpack = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))"
    return (
        f"set -eu; umask 022; mkdir -p {folder}; new=$(mktemp -d {folder}/.{name}.XXXXXX); trap 'rm -rf $new' EXIT;"
        f" curl --fail --silent --show-error --location --proto =https --connect-timeout {limits.connect} --retry 3"
        f" --speed-limit 1000 --speed-time {limits.download} --output $new/wheel {uv.WHEEL_URL};"
        f" echo '{uv.WHEEL_SHA256}  '$new/wheel | sha256sum --check --quiet --strict;"
        f" {SYSTEM_PYTHON} -c '{unpack}' $new/wheel {uv.MEMBER} > $new/{name}; chmod 755 $new/{name};"
        f" $new/{name} --version > /dev/null; sync $new/{name}; mv -fT $new/{name} {UV}"
    )


def environment(settings: Settings, requirements: str) -> list[str]:
    """Steps of a shell script that make $venv the Python environment for a file with the locked dependencies."""
    venvs = f"{settings.site_root}/venvs"
    python = SYSTEM_PYTHON
    # uv's cache is beside the environments, so that files move by a link, and never two of them on a full disk.
    uv_run = f"env UV_CACHE_DIR={venvs}/.uv UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 {UV} --quiet"
    return [
        # Releases with the same locked dependencies, the same Python and the same uv share an environment.
        f"venv={venvs}/$( (cat {requirements}; {python} -V; {UV} --version) | sha256sum | cut -c1-16)",
        f"exec 9> {venvs}/.lock; flock 9",
        f"if [ ! -e $venv/.complete ]; then rm -rf $venv {venvs}/.uv; cd /; {uv_run} venv --python {python} $venv;"
        f" {uv_run} pip install --python $venv/bin/python --require-hashes --only-binary :all: -r {requirements};"
        # By Python itself: one of the environment would run what a package has put there for its start, as root.
        f" {python} -I -m compileall -qq -j 0 $venv/lib || true;"
        # On the disk before it is called complete, or a power cut would leave one that is for ever half.
        f" rm -rf {venvs}/.uv; sync -f $venv; touch $venv/.complete; fi; exec 9>&-",
    ]
