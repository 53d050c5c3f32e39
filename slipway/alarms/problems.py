"""What a check finds.

Installed on the host next to the program. Standard library only, Python 3.10 or later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

DAY, HOUR, MINUTE = 86400, 3600, 60


class Problem(NamedTuple):
    """What is wrong, what it means, and the command to look further. `at_once`: report it on the first detection."""

    text: str
    meaning: str
    command: str
    at_once: bool = False


# What the checks store between two runs.
Memory = dict[str, Any]
Found = Iterator[tuple[str, Problem]]
