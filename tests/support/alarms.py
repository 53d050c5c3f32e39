"""Who takes the alarms of a lab host, on the host itself, and how a test sees what they took."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from support.lab_host import LabHost

# Logs webhooks and heartbeats, a line each. Refuses them while /run/refuse exists; while /run/hang does, it does not
# answer those to /away.
TAKER = """
import http.server, json, pathlib, time
class Taker(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        while self.path == "/away" and pathlib.Path("/run/hang").exists(): time.sleep(1)
        refuses = pathlib.Path("/run/refuse").exists()
        if not refuses:
            with open("/root/taken", "a") as file: print(self.path, body, file=file)
        self.send_response(503 if refuses else 200); self.end_headers()
    do_GET = do_POST
    log_message = lambda *_: None
http.server.ThreadingHTTPServer(("127.0.0.1", 9099), Taker).serve_forever()
"""
TOKEN = "token-d81c7f"
URL = "http://127.0.0.1:9099"
MAIL = [
    *("--data", 'alarm_mail_to=["ops@localhost"]', "--data", "alarm_smtp=127.0.0.1:25"),
    *("--data", "alarm_smtp_security=none"),
]
FOLDER, LOCK = "/var/lib/slipway/alarms", "/run/slipway-alarms/lock"
STATE, DELAYS, QUEUE = f"{FOLDER}/state.json", f"{FOLDER}/delays.json", f"{FOLDER}/queue"


def install_takers(server: LabHost) -> None:
    """A real mail server, which delivers on the host to the user ops, and one for webhooks."""
    server.ssh(
        "export DEBIAN_FRONTEND=noninteractive; echo 'postfix postfix/main_mailer_type string Local only'"
        " | debconf-set-selections; apt-get install -y -q postfix > /dev/null; useradd -m ops; touch /root/taken"
    )
    server.ssh(f"cat > /root/taker.py <<'END'\n{TAKER}\nEND\nsystemd-run --quiet --unit=taker python3 /root/taker.py")


def taken(server: LabHost, path: str = TOKEN) -> list[dict[str, Any]]:
    """What the webhook received."""
    lines = server.ssh("cat /root/taken").splitlines()
    return [json.loads(line.partition(" ")[2]) for line in lines if line.startswith(f"/{path} ")]


class Told(NamedTuple):
    """What messages said: of what broke with its command, and of what is well."""

    broken: dict[str, str]
    well: list[str]


def told(messages: list[dict[str, Any]]) -> Told:
    """Each problem once: a second message about it is an error."""
    broken: dict[str, str] = {}
    well = []
    for line in (line for message in messages for line in message["lines"]):
        if line.endswith(": resolved"):
            well.append(line.partition(" (since ")[0])
            continue
        found = re.fullmatch(r"(.*) \(since .*\)\n  means: (.+)\n  type:  (.+)", line)
        assert found, line
        assert found[1] not in broken, f"told twice: {line}"
        broken[found[1]] = found[3]
    assert len({*well}) == len(well), well
    return Told(broken, well)


def look(server: LabHost, times: int = 2) -> None:
    """Look as the timer does, without the 30 s between two looks."""
    server.ssh("; ".join(["systemctl start slipway-alarms || exit 1"] * times))


def age(server: LabHost, script: str) -> None:
    """Change what the alarms remember, as only hours or days would, by a script in Python on `memory`."""
    server.ssh(
        f"""
flock {LOCK} python3 - <<'END'
import json
MINUTE, HOUR, DAY = 60, 3600, 86400
state = json.load(open("{STATE}"))
memory = state["memory"]
{script}
json.dump(state, open("{STATE}", "w"))
END"""
    )
