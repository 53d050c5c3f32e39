"""A release that goes from application server to application server behind a load balancer: one first, the canary, then
batches of release_batch. Where one fails, no further one gets it, and those that have it go back.

pyinfra runs an operation on all hosts before the next one, so each batch has operations of its own. It knows an order
among those of different hosts only by operations that they share: `hold`, before each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pyinfra import host
from pyinfra.api import Host, operation
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import across, notes
from slipway.engine.components import in_order
from slipway.facts.base import Output
from slipway.ops.commands import Commands
from slipway.settings.model import Settings
from slipway.tasks.balancing import SERVER_LINE, UPSTREAM
from slipway.tasks.release_steps import command

# Those of servers with releases.
ROLES = ("web", "app")


def is_rolling(settings: Settings) -> bool:
    return settings.is_behind and len(settings.peers_with("web")) > 1


def is_shared(settings: Settings) -> bool:
    """Whether other hosts have the backend, too, behind a load balancer or each by itself."""
    return len(settings.peers_with("app")) > 1


def is_first(settings: Settings) -> bool:
    """Whether this host does what is done once for all backends."""
    return not is_shared(settings) or host.name == _servers(settings, "app")[0].name


def check_all_here(settings: Settings) -> None:
    """Raises PyinfraError if the run is without some of the servers: a page of one release would load files of its own
    from another one."""
    wanted = _all_servers(settings)
    there = {one.name for role in ROLES for one in _servers(settings, role)} if wanted else set()
    if not (absent := [name for name in wanted if name not in there]):
        return
    if settings.arguments.release_partial:
        _check_drained(settings, absent)
        return
    run = " ".join(f"--limit {name}" for name in (*_balancers(settings), *sorted(there)))
    raise PyinfraError(
        f"found a run without {', '.join(absent)}, expected all application servers, or visitors get pages of one"
        " release and files of another; nothing was changed. Without --limit all are asked; of one that is down:"
        f" {f'slipway drain {absent[0]}, and ' if settings.is_behind else ''}{run} --partial (with plain pyinfra:"
        " --data release_partial=True)"
    )


def _all_servers(settings: Settings) -> dict[str, None]:
    """The servers that have the same releases as this one, in the inventory's order."""
    if not is_rolling(settings) and not is_shared(settings):
        return {}
    domain = settings.site_domain
    peers = [peer for role in ROLES for peer in settings.peers_with(role)]
    return {peer.name: None for peer in peers if peer.given.get("site_domain", domain) == domain}


def _balancers(settings: Settings) -> list[str]:
    return [peer.name for peer in settings.peers_with("lb")] if settings.is_behind else []


def _check_drained(settings: Settings, absent: Sequence[str]) -> None:
    """Raises PyinfraError if a load balancer passes requests to a server that the release is not for."""
    if not (balancers := _balancers(settings)):
        return
    said = across.facts(host, balancers, lambda _: (Output, {"command": f"cat /etc/nginx/{UPSTREAM}"}))
    if not said:
        raise PyinfraError(
            f"--partial: found a run without {', '.join(balancers)}, need it, as it knows whether"
            f" {', '.join(absent)} is drained: --limit {balancers[0]}, too; nothing was changed"
        )
    serving = {name for text in said.values() for down, name in SERVER_LINE.findall(text) if not down}
    if found := [name for name in absent if name in serving]:
        raise PyinfraError(
            f"--partial: found {', '.join(found)} in rotation, need it drained, or it serves its release beside this"
            f" one: slipway drain {found[0]}; nothing was changed"
        )


def release_before(settings: Settings) -> str:
    """The release that all servers go back to. Raises PyinfraError if that is not clear."""
    command = f"cd {settings.site_root} && for link in current previous; do readlink $link || echo; done"
    names = [one.name for one in _servers(settings)]
    found = across.facts(host, names, lambda _: (Output, {"command": command}))
    links = {name: [link.removeprefix("releases/") for link in text.split("\n")] for name, text in found.items()}
    return before_of({name: (its[0], its[1] if its[1:] else "") for name, its in links.items()})


def before_of(links: Mapping[str, tuple[str, str]]) -> str:
    """The release before, by the current and previous one of each server; "" if there is none.

    After an interrupted release, some servers have the release before as the current one, the others as the previous
    one. After an interrupted rollback the bad release is in the same places, so only one that is older than all others
    in place counts. A server that was added later has none before.
    """
    current, previous = ({pair[place] for pair in links.values()} - {""} for place in (0, 1))
    if len(current) > 1:
        on_all = [one for one in current if all(one in pair for pair in links.values())]
        # An id begins with the time of its release.
        if on_all and (oldest := min(current)) in on_all:
            return oldest
    if len(previous) > 1 or (len(current) > 1 and current & previous):
        said = ", ".join(f"{name} {its}" for name, (_, its) in links.items())
        raise PyinfraError(f"the releases before differ: {said}; nothing was changed. Name one: slipway rollback ID")
    return next(iter(previous), "")


def batches(names: Sequence[str], release_batch: str) -> list[list[str]]:
    """The servers in the order of their turns: one, then as many at once as `release_batch` says, "2" or "25%"."""
    share = release_batch.removesuffix("%")
    size = int(share) if share == release_batch else len(names) * int(share) // 100
    size = max(size, 1)
    return [[*names[:1]], *([*names[at : at + size]] for at in range(1, len(names), size))]


def one_by_one(settings: Settings, change: Callable[[], None], wanted: Callable[[], str]) -> None:
    """Carry out `change`, which activates the release `wanted`, on the servers in turn, and go back if it fails."""
    turns = batches([one.name for one in _servers(settings)], settings.release_batch)
    before, previous = _leads_to(settings, "current"), _leads_to(settings, "previous")
    in_order([partial(_in_turn, settings, turns[number:], change) for number in range(len(turns))])
    go_back(name="Go back to the release before", settings=settings, wanted=wanted, before=before, previous=previous)
    hold(name="Check that all servers have the release", settings=settings)


def _in_turn(settings: Settings, turns: Sequence[Sequence[str]], change: Callable[[], None]) -> None:
    """The first of the turns that are left."""
    is_waiting = any(host.name in batch for batch in turns)
    hold(name=f"Let {', '.join(turns[0])} activate it", settings=settings, is_waiting=is_waiting)
    if host.name in turns[0]:
        change()


@operation()
def hold(settings: Settings, is_waiting: bool = True) -> Commands:
    """Wait for the other servers, and stop here if one has failed, unless this one has the release already."""
    if is_waiting and (failed := _failed()):
        live = f"$(readlink {settings.site_root}/current) is live here"
        # Two lines: the report would show a one-line command as one to run by hand.
        yield f'echo "{", ".join(failed)} failed; {live}" >&2\nexit 1'


@operation()
def go_back(settings: Settings, wanted: Callable[[], str], before: str, previous: str) -> Commands:
    """Activate the release `before` again if another server has failed, and remember the `previous` one."""
    failed = _failed()
    if not failed or not before or before == wanted():
        return
    notes.note(f"current -> releases/{before} (was releases/{wanted()}): {', '.join(failed)} failed")
    if "app" in host.groups:
        yield command(settings, "begin", before, "keep")
    yield command(settings, "switch", before)
    if "app" in host.groups:
        yield command(settings, "take_over")
    yield command(settings, "remember", previous)


def _failed() -> list[str]:
    """The servers of the run that have failed in it, by name."""
    return sorted(one.name for one in host.state.failed_hosts & host.state.activated_hosts)


def _servers(settings: Settings, role: str = "web") -> list[Host]:
    """The application servers of the run that could be connected, in the inventory's order."""
    names = {peer.name for peer in settings.peers_with(role)}
    return [one for one in host.inventory if one.name in names and one in host.state.activated_hosts]


def _leads_to(settings: Settings, link: str) -> str:
    """The id of the release that a link leads to, "" for none."""
    found = host.get_fact(Output, command=f"readlink {settings.site_root}/{link}")
    return found.strip().removeprefix("releases/")
