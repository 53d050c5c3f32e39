"""docs/settings.md, made from the models: `python -m slipway.settings.doc > docs/settings.md`."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slipway.settings.arguments import OPTIONS, Arguments
from slipway.settings.model import Settings
from slipway.settings.renamed import NAMES, VALUES
from slipway.settings.services import Service, Services
from slipway.settings.sites import own_names
from slipway.settings.types import Derived, DerivedBy, Section
from slipway.settings.words import type_of, unit_of

WIDTH = 120
HEAD = """\
# Settings

Every setting, generated from the models in [slipway/settings](../slipway/settings) by `python -m slipway.settings.doc`.

[group_data/all.py](../group_data/all.py) contains only what differs from the defaults. A value is looked up in this
order, the first found counts:

1. `--data name=value` on the command line, for one run (text as it is, other types as JSON: `--data swap_mb=512`);
2. the host's own, in `inventory.py`: `("codementee.io", {"swap_mb": 512})`;
3. its role's, in `group_data/lb.py`, `web.py`, `app.py` or `db.py`;
4. `group_data/all.py`;
5. the default, which may be derived from another setting.

A host that is listed more than once has one value of each setting: two are an error. So is a file in `group_data/` that
is named after no role or group of an inventory, unless its name begins with `_`.

All settings of all hosts are checked before Slipway connects. Each error names the file, what was found and what is
expected; for an unknown name it suggests the nearest known one:

    slipway: 2 settings are wrong; no host was touched.
      - --data: mongodb_prot: there is no such setting; did you mean 'mongodb_port'?
      - group_data/all.py: mongodb_port: found 70000, expected less than or equal to 65535

Secrets are no settings: `backend_secrets` names them, and [secrets.md](secrets.md) describes where their values are.

"Per site" marks what each site of `sites` may set. All other settings are shared by the sites of a host.
"""


def document() -> str:
    """The page, from the models."""
    return "\n\n".join([HEAD.strip(), *_blocks()]) + "\n"


def _blocks() -> Iterator[str]:
    for section in sections():
        yield from _section(section)
        if section is Services:
            yield from _section(Service)
    yield from _section(Arguments)
    yield "## Renamed settings"
    yield "The old names are still read, with a warning."
    rows = [(f"`{old}`", f"`{new}`") for old, new in NAMES.items()]
    rows += [(f'`{name} = "{old}"`', f'`{name} = "{new}"`') for name in VALUES for old, new in VALUES[name].items()]
    yield "\n".join(f"| {' | '.join(row)} |" for row in [("old", "new"), ("---", "---"), *rows])


def sections() -> list[type[BaseModel]]:
    """The models of the settings, in the order in which their fields are checked."""
    bases = [base for base in reversed(Settings.__mro__) if issubclass(base, Section)]
    return [base for base in bases if base not in (Section, Settings)]


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model, by the field's name."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[name] = meaning
    return found


def default_of(field: FieldInfo) -> str:
    """The default in words."""
    if isinstance(field.default_factory, DerivedBy):
        return f"derived: {', '.join(field.default_factory.sources)}; {field.default_factory.text}"
    if isinstance(field.default_factory, Derived):
        return f"derived: {', '.join(field.default_factory.sources)}, `{literal(field.default_factory.text)}`"
    return "required" if field.is_required() else f"default: `{literal(field.default)}`"


def literal(value: Any) -> str:
    """A value as it stands in a file of settings."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"[{', '.join(map(literal, value))}]" if isinstance(value, list) else repr(value)


def _section(model: type[BaseModel]) -> Iterator[str]:
    title, _, introduction = inspect.cleandoc(model.__doc__ or "").partition("\n")
    yield f"{'###' if model is Service else '##'} {title}"
    if introduction:
        yield _wrapped(introduction)
    for name, facts, meaning in entries(model):
        yield f"**`{name}`**  \n{_wrapped(facts)}  \n{_wrapped(meaning)}"


def entries(model: type[BaseModel]) -> Iterator[tuple[str, str, str]]:
    """Of each field of a model its name, its type and default in words, and its meaning."""
    texts = meanings(model)
    for name, field in model.model_fields.items():
        unit, option = unit_of(field), OPTIONS.get(name)
        facts = [type_of(field), *([f"unit: {unit}"] if unit else []), default_of(field)]
        facts += ["per site"] if name in own_names() else []
        facts += [f"option: `{option}`"] if option else []
        yield name, "; ".join(facts), texts[name]


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    print(document(), end="")
