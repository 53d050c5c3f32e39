"""docs/settings.md, made from group_data/all.py: `python -m slipway.settings.doc > docs/settings.md`."""

from __future__ import annotations

import re

from slipway.project import PROJECT

SOURCE = PROJECT / "group_data/all.py"
HEAD = """\
# Settings

Every setting with its default, made from [group_data/all.py](../group_data/all.py) by `python -m slipway.settings.doc`.

A value is looked up in this order, the first found counts:

1. `--data name=value` on the command line, for one run (text as it is, other types as JSON: `--data swap_mb=512`);
2. the host's own, in `inventory.py`: `("codementee.io", {"swap_mb": 512})`;
3. its role's, in `group_data/web.py`, `app.py` or `db.py`;
4. `group_data/all.py`.

All settings of all hosts are checked before anything connects. Each error says in which file the setting is, what was
found and what is expected; an unknown name is told with the nearest known one:

    slipway: 2 settings are wrong; no host was touched.
      - --data: mongodb_prot: there is no such setting; did you mean 'mongodb_port'?
      - group_data/all.py: mongodb_port: found 70000, expected less than or equal to 65535

Secrets are no settings: `backend_secrets` names them, and [secrets.md](secrets.md) says where their values are.
"""


def document(source: str) -> str:
    """The page, from the text of group_data/all.py: sections, comments, names, defaults."""
    lines, comment = [HEAD], []
    for line in source.splitlines():
        if section := re.fullmatch(r"# --- (.+?) -+", line):
            lines.append(f"\n## {section[1]}")
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        elif setting := re.fullmatch(r"(\w+) = (.+)", line):
            lines += [f"\n**`{setting[1]}`** = `{setting[2]}`  ", *comment]
            comment = []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(SOURCE.read_text()), end="")
