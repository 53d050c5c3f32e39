"""Golden cases: what an operation would run on a host, asserted as a value, without a host.

A case is a file `<module>.<operation>/<case>.yaml` of two YAML documents. The first is written by hand:

    args: the operation's arguments
    settings: settings that differ from the defaults, for an operation that takes `settings`
    secrets: given secrets by name
    peers: the servers of the inventory, each as the fields of settings.peers.Peer
    host: {groups: [web, app, db], port: 22, data: {}, failed: []}, its roles, the port that it is connected by, its
      settings where pyinfra is asked for them, and the names of other hosts that have failed
    facts: a list of a fact with its arguments and its answer. A fact that the list lacks fails the case, and so does
      an answer that nobody asked for. Of an argument `command`, a shell command, a distinctive part is enough.

The second holds the notes, the commands in the order that they are yielded in, and the error if one is raised:
`pytest tests/unit/test_operations.py --rewrite-golden` writes it. Standard input is decoded, secrets are masked, and a
long rendered template is shown by its name: tests/unit/test_templates.py judges those.

Tags: `!nginx TEXT` is the configuration in what `nginx -T` prints, `!sha256 TEXT` a digest, `!call VALUE` a function
that returns it, `!login [USER, PORT]` and `!ready [CHECK, SECONDS]` what their classes say, and YAML's own
`!!set {a, b}` a set.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import io
import json
import pkgutil
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jinja2
import pytest
import yaml
from pyinfra.api import FunctionCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from slipway import ops, tasks
from slipway.adoption.nginx import Found
from slipway.adoption.nginx_config import Tree
from slipway.dependencies.model import File, Locked, Package
from slipway.engine import across, run
from slipway.engine.login import Login
from slipway.engine.run import Run
from slipway.facts import mongodb_data, mongodb_members, mongodb_set
from slipway.facts.apt import Sources
from slipway.facts.mongodb import alone
from slipway.ops.units import Ready
from slipway.releases import artifact, build_tools, sources
from slipway.settings.model import Settings
from slipway.settings.peers import Peer
from slipway.tasks import python_environment

SEPARATOR = "\n---\n"
# A rendered template of more lines is shown by its name.
MAX_RENDERED_LINES = 20
# A command that is longer, and all in one line, is folded.
MAX_LINE = 100
SENT = (mongodb_data, mongodb_members, mongodb_set)
# 2026-01-01T00:00:00Z
NOW = 1767225600
ENVIRONMENT = python_environment.Environment(Locked("uv.lock", (Package("fastapi", "0.115.0", (File("0" * 64),)),)))
RELEASE_ID, ARCHIVE = "20260101000000-abc1234", "an archive"


# Each certificate that it issues has a key of its own.
AUTHORITY = SimpleNamespace(
    issue=lambda name, names, **_: f"a certificate of {name} for {', '.join(names)}\n",
    reason_to_issue=lambda found, **_: "" if found else "there is none",
)


class Loader(yaml.CSafeLoader):
    pass


Loader.add_constructor("!sha256", lambda loader, node: hashlib.sha256(node.value.encode()).hexdigest())
Loader.add_constructor("!sources", lambda loader, node: Sources(**loader.construct_mapping(node, deep=True)))
Loader.add_constructor("!nginx", lambda loader, node: Found(Tree(node.value)))
Loader.add_constructor("!login", lambda loader, node: Login(*loader.construct_sequence(node)))
Loader.add_constructor("!ready", lambda loader, node: Ready(*loader.construct_sequence(node)))


def _call(loader: yaml.CSafeLoader, node: yaml.Node) -> Callable[[], Any]:
    is_list = isinstance(node, yaml.SequenceNode)
    value = loader.construct_sequence(node) if is_list else loader.construct_scalar(node)  # type: ignore[arg-type]
    return lambda: value


Loader.add_constructor("!call", _call)


class Failed(NamedTuple):
    """Another host, which has failed."""

    name: str


class Reached:
    """Another host of the run."""

    connected = True

    def __init__(self, name: str, like: FakeHost) -> None:
        self.name, self.connector, self.get_fact = name, like.connector, like.get_fact


class FakeHost:
    """A host that answers facts from a case."""

    name = "server.invalid"
    current_op_hash = None

    def __init__(self, facts: list[dict[str, Any]], on: Mapping[str, Any]) -> None:
        self.groups = on.get("groups", ["web", "app", "db"])
        batches = SimpleNamespace(elsewhere=nullcontext, asking=nullcontext)
        client = SimpleNamespace(_ssh_config={"port": on.get("port", 22)})
        self.connector = SimpleNamespace(client=client, batches=batches)
        self.data = on.get("data", {})
        failed = {Failed(name) for name in on.get("failed", [])}
        self.state = SimpleNamespace(
            is_executing=False, failed_hosts=failed, activated_hosts=failed, is_host_in_limit=lambda other: True
        )
        # Another host of the run has the same answers.
        self.inventory = SimpleNamespace(get_host=lambda name: Reached(name, self))
        self._facts = facts
        self._asked: list[int] = []

    def noop(self, description: str) -> None:
        pass

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        asked = {key: value for key, value in arguments.items() if not key.startswith("_")}
        for number, entry in enumerate(self._facts):
            if fact.__name__ in entry and _matches(entry[fact.__name__] or {}, asked):
                self._asked.append(number)
                return entry["answer"]
        pytest.fail(f"the case has no answer to {fact.__name__}: {asked}", pytrace=False)

    def not_asked(self) -> list[dict[str, Any]]:
        return [entry for number, entry in enumerate(self._facts) if number not in self._asked]


def _matches(wanted: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    def is_same(key: str) -> bool:
        if key == "command":
            return wanted[key] in asked[key]
        return json.dumps(wanted[key]) == json.dumps(asked[key])

    return wanted.keys() == asked.keys() and all(map(is_same, wanted))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@cache
def operations() -> dict[str, Callable[..., Any]]:
    """All operations of the code base, by `<module>.<operation>`, without pyinfra's wrapper."""
    found = {}
    for package in (ops, tasks):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(import_module(module.name)).items():
                inner = getattr(value, "_inner", None)
                if inner and inner.__module__ == module.name:
                    found[f"{module.name.rpartition('.')[2]}.{name}"] = inner
    return found


def parts(path: Path) -> tuple[str, str]:
    """The text of a case's two documents."""
    given, _, expected = path.read_text().partition(SEPARATOR)
    return f"{given}\n", expected


def expected(path: Path) -> dict[str, Any]:
    return yaml.load(parts(path)[1], yaml.CSafeLoader) or {}


def rewrite(path: Path, found: dict[str, Any]) -> None:
    path.write_text(parts(path)[0].rstrip("\n") + SEPARATOR + dump(found))


def difference(path: Path, found: dict[str, Any]) -> str:
    lines = difflib.unified_diff(
        dump(expected(path)).splitlines(), dump(found).splitlines(), "expected", "found", n=3, lineterm=""
    )
    return "\n".join(lines)


class Runner:
    """Runs operations against fake hosts."""

    def __init__(self, settings_with: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._settings_with, self._monkeypatch = settings_with, monkeypatch
        # Programs that are sent as an argument, also of a command that is one itself.
        sent = {f"<{module.__name__.replace('.', '/')}.py>": shlex.quote(alone(module)) for module in SENT}
        self._rendered = {text: name for name, text in sent.items()}
        self._rendered |= {shlex.quote(text)[1:-1]: name for name, text in sent.items()}
        render = jinja2.Template.render

        def rendered(template: jinja2.Template, *args: Any, **kwargs: Any) -> str:
            text = render(template, *args, **kwargs)
            if text.count("\n") > MAX_RENDERED_LINES:
                self._rendered[text.rstrip()] = f"<templates/{template.name}>"
            return text

        monkeypatch.setattr(jinja2.Template, "render", rendered)
        monkeypatch.setattr(import_module("slipway.tasks.tls"), "time", SimpleNamespace(time=lambda: NOW))
        # What a release is made of is built elsewhere.
        monkeypatch.setattr(artifact, "release_id", lambda settings: RELEASE_ID)
        monkeypatch.setattr(artifact, "begin", lambda settings, builds: None)
        archive = folder / "release.tar.gz"
        archive.write_text(ARCHIVE)
        release = artifact.Release(RELEASE_ID, archive, ("frontend/build/kept.js",))
        monkeypatch.setattr(artifact, "build", lambda settings, parts, builds, there, more, shared: release)
        monkeypatch.setattr(python_environment, "of", lambda settings: ENVIRONMENT)
        monkeypatch.setattr(build_tools, "problems_here", lambda settings: [])
        # What another host prints is shown by how it is asked.
        said = "what [{}] {} prints"
        monkeypatch.setattr(across, "output", lambda other, command: _encoded(said.format(other.name, command)))
        monkeypatch.setattr(sources, "of", lambda settings: sources.Sources(folder, folder, "", ""))

    def run(self, operation: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
        """What `operation` says and yields. No secret may be in a note or a command line."""
        arguments = {**given.get("args", {})}
        secrets = {"<content>": arguments["content"]} if arguments.get("secret") else {}
        for name, value in given.get("secrets", {}).items():
            self._monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", value)
        if "settings" in operation.__annotations__:
            settings = arguments["settings"] = self._settings_with(**given.get("settings", {}))
            settings._peers = tuple(Peer(**{**one, "roles": tuple(one["roles"])}) for one in given.get("peers", []))
            settings.__dict__["authority"] = AUTHORITY
            secrets |= {f"<{name}>": value for name, value in settings.secrets.items()}
        if "parts" in arguments:
            arguments["parts"] = tuple(arguments["parts"])
        host = FakeHost(given.get("facts", []), given.get("host", {}))
        current = run.start(host.state, Run(collects_notes=True))
        found: dict[str, Any] = {}
        try:
            with ctx_host.use(host):
                found["commands"] = [self._shown(command, secrets) for command in operation(**arguments)]
        except PyinfraError as error:
            found["error"] = str(error)
        finally:
            ctx_host.reset()
        if host.not_asked():
            pytest.fail(f"the operation does not ask for these facts of the case: {host.not_asked()}", pytrace=False)
        notes = [note.text for said in current.notes.values() for note in said]
        assert not [secret for secret in secrets.values() if any(secret in note for note in notes)]
        return {key: value for key, value in {"notes": notes, **found}.items() if value}

    def _shown(self, command: Any, secrets: Mapping[str, str]) -> Any:
        if isinstance(command, FunctionCommand):
            return {"function": command.function.__name__, "arguments": [*map(_argument, command.args)]}
        text = command.get_raw_value() if isinstance(command, StringCommand) else command
        assert not [name for name, secret in secrets.items() if secret in text], "a secret is in a command line"
        shown: dict[str, Any] = {"command": self._short(text)}
        if isinstance(command, StringCommand) and command.bits[:2] == ("sh", "-euc"):
            shown = {"script": self._short(*shlex.split(command.bits[2]))}
        if isinstance(command, StringCommand) and "_stdin" in command.connector_arguments:
            shown["stdin"] = self._stdin(base64.b64decode("".join(command.connector_arguments["_stdin"])), secrets)
        return shown["command"] if [*shown] == ["command"] else shown

    def _stdin(self, data: bytes, secrets: Mapping[str, str]) -> Any:
        if not tarfile.is_tarfile(io.BytesIO(data)):
            return self._text(data, secrets)
        found = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                found[member.name] = self._text(file.read(), secrets) if file else f"-> {member.linkname}"
        return found

    def _text(self, data: bytes, secrets: Mapping[str, str]) -> str:
        text = self._short(data.decode())
        for name, secret in secrets.items():
            encoded = "".join(f"%{byte:02x}" for byte in secret.encode())
            text = text.replace(secret, name).replace(encoded, f"{name[:-1]}, percent-encoded>")
        return text

    def _short(self, text: str) -> str:
        for rendered, name in self._rendered.items():
            text = text.replace(rendered, name)
        return text


def _argument(value: Any) -> Any:
    """An argument of a function: settings, of which there are a hundred, and functions by their names."""
    if isinstance(value, Settings):
        return "Settings"
    return value if isinstance(value, str | int) else value.__name__ if callable(value) else repr(value)


def dump(found: Mapping[str, Any]) -> str:
    """A case's second document, with scripts that a person can read."""
    text = "".join(_lines(found, 0)) or "{}\n"
    assert (yaml.safe_load(text) or {}) == dict(found), "a text that a golden case can't hold"
    return text


def _lines(value: Any, indent: int) -> Iterator[str]:
    entries: list[tuple[str, Any]] = (
        [(f"{_scalar(key, 0)}:", item) for key, item in value.items()]
        if isinstance(value, Mapping)
        else [("-", item) for item in value]
    )
    for mark, item in entries:
        if isinstance(item, Mapping | list) and item:
            inner = "".join(_lines(item, indent + 2))
            # The first key of a mapping is beside its dash.
            yield " " * indent + (f"- {inner.lstrip(' ')}" if mark == "-" else f"{mark}\n{inner}")
        else:
            yield f"{' ' * indent}{mark} {_scalar(item, indent + 2)}\n"


def _scalar(value: Any, indent: int) -> str:
    """A text as a block, a literal one or, with long lines, a folded one."""
    if not isinstance(value, str):
        return json.dumps(value)
    end = {True: "", False: "-"}[value.endswith("\n")]
    lines = value.removesuffix("\n").split("\n")
    if re.fullmatch(r"[\w/<][\w/<>.+-]*", value) and yaml.safe_load(value) == value:
        return value
    style = "|"
    if any(len(line) > MAX_LINE for line in lines) and not any(line[:1].isspace() for line in lines):
        # In a folded block a newline is a space, and an empty line a newline.
        style, lines = ">", "\n\n".join(lines).replace("; ", ";\n").split("\n")
    block = f"{style}{end}\n" + "\n".join(f"{' ' * indent}{line}" if line else "" for line in lines)
    is_plain = indent and (len(lines) > 1 or len(value) > MAX_LINE)
    try:
        if is_plain and yaml.safe_load(f"{' ' * (indent - 2)}- {block}\n") == [value]:
            return block
    except yaml.YAMLError:
        pass
    return json.dumps(value, ensure_ascii=False)
