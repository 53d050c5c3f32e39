"""Searches a server for known secret values in places where others could read them.

The values are sent on standard input, as the search itself would otherwise put them into the process list.
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

def holds(data):
    return any(value in data for value in values)

def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""

seen = []
journal = subprocess.run(["journalctl", "--no-pager", "--output=export"], capture_output=True).stdout
if holds(journal):
    seen.append("the journal")
if holds(subprocess.run(["systemctl", "show", "*"], capture_output=True).stdout):
    seen.append("what systemctl shows")
processes = [name for name in os.listdir("/proc") if name.isdigit()]
seen += [f"the command line of {read(f'/proc/{p}/comm').decode().strip()}" for p in processes
         if holds(read(f"/proc/{p}/cmdline"))]
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
                    seen.append(entry.path)
        except OSError:
            pass

looked = []
for folder in FOLDERS:
    visit(folder)
print(json.dumps({"seen": seen, "looked": len(looked)}))
"""
# Reads the secrets on the host, for those that are generated there. The user's name of an index may be any word.
VALUES = (
    "import json, pathlib, sys; files = pathlib.Path(sys.argv[1]).iterdir();"
    ' print(json.dumps([f.read_text() for f in files if not f.match("UV_INDEX_*_USERNAME")]))'
)


def program(values: str) -> str:
    """A shell script that searches for the values that the shell command `values` prints as JSON."""
    encoded = base64.b64encode(PROGRAM.encode()).decode()
    return f'{values} | python3 -c "$(echo {encoded} | base64 -d)"'


def secrets_seen(server: Any, folder: str) -> tuple[list[str], int]:
    """The places where secrets of a folder on the host are visible, and the number of searched files."""
    found = json.loads(server.host.check_output(program(f"python3 -c '{VALUES}' {folder}")))
    return found["seen"], found["looked"]
