"""The components of a server: each is a module of tasks/, which declares what it needs beside its operations.

The declarations are read by slipway/deploy.py and by packages and preflight, by `slipway status` and `verify`, and by
the tests of drifts: none of them names a component. The operations of a component bear its name in a plan, and
`slipway plan --only nginx` looks at it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar, Union, cast

from pyinfra import host

from slipway.engine import run

if TYPE_CHECKING:
    from slipway.settings.model import Settings

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Task = Callable[["Settings"], None]
# A value, or what gives it for the settings of a host.
Given = Union[T, Callable[["Settings"], T]]  # noqa: UP007  an alias that takes a type
# The component of what is in none.
OTHER = "other"
# By name.
registry: dict[str, Component] = {}
steps: list[Step] = []


class Drift(NamedTuple):
    """What somebody or something does to a server, as a shell script, and the operation of a plan that must notice.

    Tests compare the plans of Slipway and of plain pyinfra, too, unless `is_compared` is false: one does not stay as it
    is from one plan to the next, or takes long. Without an operation they do nothing else.
    """

    script: str
    operation: str = ""
    is_compared: bool = True


@dataclass
class Component:
    """The decorator of a component's function, with what the component declares.

    What may be a callable gets the settings of the host; of a component that is `per_site`, those of each site.
    """

    # A host must have one of these; () for every host.
    roles: tuple[str, ...] = ()
    # Its function is called for each site.
    per_site: bool = False
    # Components that deploy.py must name before it.
    needs: tuple[str, ...] = ()
    # Where this is false its function is not called, and nothing that follows is asked.
    wanted: Callable[[Settings], bool] = lambda settings: True
    # Debian packages, and those that must be there before all others are installed.
    packages: Given[Sequence[str]] = ()
    early_packages: Given[Sequence[str]] = ()
    # What takes long and goes on beside the installation of the packages.
    begin: Task | None = None
    # What must be in place before the packages are: their repository, a unit that keeps them from starting.
    before_packages: Task | None = None
    # URLs of the repositories that this adds, and the files below /etc/apt/sources.list.d in which it does.
    repositories: Given[Sequence[str]] = ()
    sources: Given[Sequence[str]] = ()
    # TCP ports, and the program that listens there, as ss(8) names it.
    ports: Given[Mapping[int, str]] = field(default_factory=dict)
    # Units that `slipway status` shows; versions, by title, as a shell command that prints one or nothing; shell tests
    # of health, by unit.
    units: Given[Sequence[str]] = ()
    versions: Given[Mapping[str, str]] = field(default_factory=dict)
    health: Given[Mapping[str, str]] = field(default_factory=dict)
    # What `slipway status` tells besides, by title: a shell command that prints a line.
    reports: Given[Mapping[str, str]] = field(default_factory=dict)
    # What keeps a host from having it, a line each: what was found, what is needed, what to do. Asked once for a host,
    # before anything changes.
    preflight: Callable[[Settings], Sequence[str]] = lambda settings: ()
    # By what is done.
    drifts: Given[Mapping[str, Drift]] = field(default_factory=dict)
    name: str = field(default=OTHER, init=False)
    task: Callable[..., None] = field(default=lambda: None, init=False)

    def __post_init__(self) -> None:
        if callable(self.roles):
            raise TypeError("@component needs parentheses: @component()")
        for name, value in (("roles", self.roles), ("needs", self.needs)):
            if isinstance(value, str):
                raise TypeError(f'{name} of a component: found {value!r}, expected a tuple as ("{value}",)')

    def __call__(self, task: Callable[P, None]) -> Callable[P, None]:
        """Register the component by the name of the function's module."""
        self.name = _module_of(task)
        self.task = labelled = _labelled(self.name, task)
        registry[self.name] = self
        return labelled

    def has_role(self, groups: Collection[str]) -> bool:
        """Whether a host of these groups is one for it."""
        return not self.roles or any(role in groups for role in self.roles)

    def is_on(self, groups: Collection[str], settings: Settings) -> bool:
        """Whether a host has it."""
        return self.has_role(groups) and bool(self.sites(settings))

    def sites(self, settings: Settings) -> list[Settings]:
        """The settings that it is asked and called with: of each site that wants it, or of the host."""
        return [one for one in (settings.all_sites if self.per_site else [settings]) if self.wanted(one)]

    def listed(self, given: Given[Sequence[T]], settings: Settings) -> list[T]:
        """What one of its declarations gives, for all of its sites."""
        return list(dict.fromkeys(chain.from_iterable(_given(given, one) for one in self.sites(settings))))

    def mapped(self, given: Given[Mapping[K, V]], settings: Settings) -> dict[K, V]:
        return {key: value for one in self.sites(settings) for key, value in _given(given, one).items()}


component = Component


@dataclass(frozen=True)
class Step:
    """Something that a component does before or after another one, at most once for a host."""

    component: str
    task: Task
    before: str
    after: str


def component_step(before: str = "", after: str = "") -> Callable[[Callable[P, None]], Callable[P, None]]:
    """The decorator of a further function of a component. Where deploy.py names the component `before` or `after` which
    it is due, it is done there on hosts of the roles of both; else right after its own. With neither it is for others
    to call."""

    def decorate(task: Callable[P, None]) -> Callable[P, None]:
        labelled = _labelled(_module_of(task), task)
        if before or after:
            steps.append(Step(_module_of(task), labelled, before, after))  # type: ignore[arg-type]
        return labelled

    return decorate


def in_order(calls: Sequence[Callable[[], None]]) -> None:
    """Call one after the other, so that pyinfra takes their operations in this order.

    pyinfra orders the operations of several hosts by the line numbers of the call stack, and takes two with the same
    numbers for one operation. From a loop all would have the loop's line, and what decided would be the lines inside
    the functions. So each call is one frame deeper than the one before, and comes from an earlier line than the rest:
    its numbers are smaller than those of all that follow. All hosts must have the same calls: one that a host does not
    want does nothing.
    https://docs.pyinfra.com/en/latest/deploy-process.html
    """
    if calls:
        calls[0]()
        in_order(calls[1:])


def _given(given: Given[T], settings: Settings) -> T:
    return cast("T", given(settings) if callable(given) else given)


def _module_of(task: Callable[..., None]) -> str:
    return task.__module__.rpartition(".")[2]


def _labelled(name: str, task: Callable[P, None]) -> Callable[P, None]:
    """The task, whose operations are the component's; nothing in a run that looks at others alone."""

    @wraps(task)
    def perform(*args: P.args, **kwargs: P.kwargs) -> None:
        current = run.of(host.state)
        if not current.wants(name):
            return
        before = len(host.op_hash_order)
        try:
            task(*args, **kwargs)
        finally:
            current.component_of.update({(host.name, op_hash): name for op_hash in host.op_hash_order[before:]})

    return perform
