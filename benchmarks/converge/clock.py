"""python clock.py FILE COMMAND...: run a command, and write its time and memory to FILE.

A small process of its own: the kernel counts the parent's memory at the fork as the command's.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    began = time.monotonic()
    code = subprocess.call(sys.argv[2:])
    seconds = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # ru_maxrss is in KiB and of the largest process, getrusage(2).
    took = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "memory_mb": used.ru_maxrss / 1024}
    Path(sys.argv[1]).write_text(json.dumps(took))
    return code


if __name__ == "__main__":
    sys.exit(main())
