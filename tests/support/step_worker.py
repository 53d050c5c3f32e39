"""Applies to the lab's host operation by operation: `python step_worker.py NAME=VALUE...`.

After each operation that has changed something it prints the name, and waits for a line on standard input: "stop" ends
the apply there, as Ctrl-C does. The last line that it prints is END.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
END = "end of the apply"


def tell(host: str, operation: str, state: str, seconds: float) -> None:
    if state != "changed":
        return
    print(operation, flush=True)
    if sys.stdin.readline().strip() == "stop":
        raise KeyboardInterrupt


def main(items: list[str]) -> None:
    from slipway.engine.session import Session

    with Session("lab", "deploy.py", items=items) as session:
        session.plan()
        session.apply(tell)
    print(END, flush=True)


if __name__ == "__main__":
    os.chdir(PROJECT)
    sys.path.append(str(PROJECT))
    main(sys.argv[1:])
