"""Searches a server for known secret values in places where others could read them.

The values are sent on standard input, as the search itself would otherwise put them into the process list.

An owner may have imported secrets that are in older places of the server, too: an application's file in a home, a log,
a unit. Slipway has not made these and does not change them, so they are told apart by their age.
"""

from __future__ import annotations

import base64
import json
from typing import Any

# Run by root, which sees all processes; "others" is what the user nobody sees of /proc.
PROGRAM = r"""
import json, os, pathlib, stat, subprocess, sys
values = [value.encode() for value in json.load(sys.stdin)]
FOLDERS = ["/etc", "/var", "/run", "/usr/local", "/tmp", "/home"]
# The first apply made the first of these, before it brought a secret.
MARKS = ["/var/backups/slipway/by-hand", "/var/lib/slipway", "/usr/lib/slipway", *sys.argv[1:]]

def born(path):
    # When a file was made, 0 if its file system does not know: Python can't tell.
    said = subprocess.run(["stat", "-c", "%W", path], capture_output=True).stdout
    return int(said) if said.strip().isdigit() else 0

begin = min(filter(None, map(born, MARKS)), default=0)

def is_older(path):
    # Logs of the system are older than Slipway and would have its leaks; in homes it adds to no file.
    return 0 < born(path) < begin and (path.startswith("/home/") or os.stat(path).st_mtime < begin)

def holds(data):
    return any(value in data for value in values)

def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""

seen, older = [], []
for place, span in (("the journal", "--since"), ("the journal from before Slipway", "--until")):
    command = ["journalctl", "--no-pager", "--output=export", f"{span}=@{begin}"]
    if (begin or span == "--since") and holds(subprocess.run(command, capture_output=True).stdout):
        (seen if span == "--since" else older).append(place)
units = {}
for shown in subprocess.run(["systemctl", "show", "*"], capture_output=True).stdout.split(b"\n\n"):
    options = dict(line.split("=", 1) for line in shown.decode(errors="replace").splitlines() if "=" in line)
    files = [options.get("FragmentPath", ""), *options.get("DropInPaths", "").split()]
    name = options.get("Id", "")
    units[name] = holds(shown) and all(map(is_older, files))
    if holds(shown):
        (older if units[name] else seen).append(f"what systemctl shows of {name}")
processes = [name for name in os.listdir("/proc") if name.isdigit()]
for p in processes:
    if holds(read(f"/proc/{p}/cmdline")):
        unit = read(f"/proc/{p}/cgroup").decode().strip().rpartition("/")[2]
        (older if units.get(unit) else seen).append(f"the command line of {read(f'/proc/{p}/comm').decode().strip()}")
child = os.fork()
if not child:
    os.setgid(65534); os.setgroups([]) if os.getuid() == 0 else None; os.setuid(65534)
    os._exit(any(holds(read(f"/proc/{p}/environ")) for p in processes))
if os.waitpid(child, 0)[1]:
    seen.append("an environment that everybody can read")

def visit(folder):
    for entry in os.scandir(folder):
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if status.st_mode & stat.S_IXOTH and status.st_mode & stat.S_IROTH:
                    visit(entry.path)
            elif stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH and status.st_size < 2**26:
                looked.append(entry.path)
                if holds(read(entry.path)):
                    (older if is_older(entry.path) else seen).append(entry.path)
        except OSError:
            pass

looked = []
for folder in FOLDERS:
    visit(folder)
print(json.dumps({"seen": seen, "older": older, "looked": len(looked)}))
"""
# Reads the secrets on the host, for those that are generated there. The user's name of an index or of a REST server,
# and a region, may be any word.
VALUES = (
    "import json, pathlib, sys; files = pathlib.Path(sys.argv[1]).iterdir();"
    ' words = ("UV_INDEX_*_USERNAME", "RESTIC_REST_USERNAME", "AWS_DEFAULT_REGION");'
    " print(json.dumps([f.read_text() for f in files if not any(map(f.match, words))]))"
)


def program(values: str, folder: str) -> str:
    """A shell script that searches for the values that the shell command `values` prints as JSON; `folder` has those of
    a site."""
    encoded = base64.b64encode(PROGRAM.encode()).decode()
    return f'{values} | python3 -c "$(echo {encoded} | base64 -d)" {folder}'


def secrets_seen(server: Any, folder: str) -> tuple[list[str], list[str], int]:
    """The places where secrets of a folder on the host are visible, those from before Slipway, and the number of
    searched files."""
    found = json.loads(server.host.check_output(program(f"python3 -c '{VALUES}' {folder}", folder)))
    return found["seen"], found["older"], found["looked"]
