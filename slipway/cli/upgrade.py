"""`slipway upgrade`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click
from pyinfra.api.host import Host

from slipway.cli.backup_program import Job, backup_script, run_job, start_script
from slipway.cli.options import examples, on_hosts, pass_console
from slipway.cli.running import carry_out, confirmed, connected, end_with_failures, names_of, plan_report
from slipway.engine.components import Component
from slipway.engine.deployed import deployed
from slipway.engine.errors import RunFailed, failing, in_words
from slipway.engine.outcome import Change
from slipway.engine.session import Session
from slipway.facts.mongodb import program
from slipway.ops.packages import FINISH, REFRESH_ALL, UNATTENDED, WITH_PARTS
from slipway.secrets.store import MONGODB_ADMIN
from slipway.settings.members import is_several
from slipway.settings.model import Settings
from slipway.tasks.mongodb import PREFERENCES
from slipway.tasks.mongodb_members import in_turn
from slipway.tasks.mongodb_series import KEYRING_BEFORE, SOURCES
from slipway.tasks.mongodb_set import begins, clients_wait
from slipway.tasks.nginx import UNIT as NGINX
from slipway.tasks.nginx import connections_wait
from slipway.ui.console import Console, escape, plain
from slipway.upkeep import on_host as host_program
from slipway.upkeep.upgrade import PARTS, Mongodb, Packages, lines_of, mongodb_of, packages_of, series_of

JOB = Job("slipway-upgrade", "/run/slipway-upgrade/said", "another upgrade is running on this host")
MONGOD = "mongod.service"


@dataclass
class Planned:
    """What is to be done to a host."""

    packages: list[Packages] = field(default_factory=list)
    mongodb: Mongodb | None = None
    # Of a replica set with several members.
    is_primary: bool = False
    # Packages whose installation was cut off, and files of sources that apt can't use.
    interrupted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@click.command(
    epilog=examples(
        "slipway upgrade                       # shows what would change, and asks",
        "slipway upgrade --only os,mongodb",
        "slipway upgrade --only mongodb --yes",
        "slipway upgrade --raise-features      # after a new series of MongoDB has proven itself",
    )
)
@on_hosts
@click.option("--only", multiple=True, metavar="PART,...", help=f"Of {', '.join(PARTS)}; repeatable.")
@click.option("--raise-features", is_flag=True, help="Raise MongoDB's feature compatibility version to its series.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_console
def upgrade(
    console: Console,
    environment: str,
    limit: tuple[str, ...],
    data: tuple[str, ...],
    only: tuple[str, ...],
    raise_features: bool,
    yes: bool,
) -> None:
    """Upgrade the system's packages (os), MongoDB, Node.js (node), and what Slipway has installed (slipway: an apply by
    this version). Shows first what changes from what to what, and what restarts. Each service restarts once, and none
    that need not."""
    if raise_features and only:
        raise click.UsageError("found --raise-features with --only, expected it alone")
    parts = parts_of(only)
    session = Session(environment, "deploy.py", limit, data)
    with connected(session, console):
        with console.doing(f"Asking {names_of(session)}"):
            given = givens(session, with_mongodb=raise_features or "mongodb" in parts)
            found = look(session, given)
        if raise_features:
            _raise_features(session, console, found, given, yes)
            return
        plans = planned(session, found, parts)
        outcome = session.plan() if "slipway" in parts else None
        show(console, session, plans)
        if outcome and outcome.changes and console.level >= 0:
            console.say("[bold]slipway[/]: an apply by this version")
            console.plan(plan_report(session, outcome), session)
        end_with_failures(outcome.failures if outcome else session.connections.failures)
        if not outcome or not outcome.changes:
            outcome = None
        if not outcome and not any([*scripts(its, given[name])] for name, its in plans.items()):
            return
        if not (yes or confirmed()):
            return
        carry_out_upgrades(session, console, plans, given)
        if outcome:
            carry_out(session, console)


def parts_of(only: tuple[str, ...]) -> list[str]:
    """Raises UsageError for an unknown part."""
    parts = [name for names in only for name in names.split(",")] or [*PARTS]
    if unknown := [name or "''" for name in parts if name not in PARTS]:
        raise click.UsageError(f"--only: found {', '.join(unknown)}, expected {', '.join(PARTS)}")
    return parts


def givens(session: Session, with_mongodb: bool) -> dict[str, dict[str, Any]]:
    """What the program on each host is given, by the host's name. MongoDB is asked only where it is to change."""
    with failing(session.connections.log), in_words():
        components = deployed()
    return {
        host.name: given_of(session.connections.settings[host.name], host, components, with_mongodb)
        for host in session.connections.active_hosts()
    }


def given_of(settings: Settings, host: Host, components: list[Component], with_mongodb: bool = True) -> dict[str, Any]:
    here = [one for one in components if one.is_on(host.groups, settings)]
    ready = {unit: test for one in here for unit, test in one.mapped(one.health, settings).items()}
    given: dict[str, Any] = {"seconds": settings.limits.ready, "ready": ready, "around": {}}
    given["apt"] = {"refresh": REFRESH_ALL, "without_left_out": WITH_PARTS.split(), "finish": FINISH}
    if {"lb", "web"} & {*host.groups}:
        given["around"][NGINX] = connections_wait(settings)
    if "db" in host.groups:
        password = f"{settings.admin_credentials_folder}/{MONGODB_ADMIN}"
        where = [settings.mongodb_local, settings.mongodb_port, settings.limits.mongodb_answer]
        given["mongodb"] = [*where, settings.mongodb_admin_user, password] if with_mongodb else None
        given["settles"] = [SOURCES, PREFERENCES, KEYRING_BEFORE]
        if is_ready := in_turn(settings) if is_several(settings) else begins(settings):
            ready[MONGOD] = is_ready.check
        if settings.mongodb_replica_set and not is_several(settings):
            # Of several members, drivers find another one; and these members must find each other.
            given["around"][MONGOD] = clients_wait(settings)
    return given


def asked(step: str, given: Mapping[str, Any]) -> str:
    """The command of a step of the program on a host."""
    return f"{UNATTENDED} {program(host_program, step, json.dumps(given))}"


def look(session: Session, given: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What each host says, by its name. Raises RunFailed."""
    found = {}
    for connector, answer in session.connections.by_root(lambda host: asked("look", given[host.name])):
        if answer.code:
            session.connections.fail(connector.host, f"[{connector.host.name}] {answer.output.strip()}")
        else:
            found[connector.host.name] = json.loads(answer.output)
    end_with_failures(session.connections.failures)
    return found


def planned(session: Session, found: Mapping[str, dict[str, Any]], parts: list[str]) -> dict[str, Planned]:
    """The plan of each host, by its name. Raises RunFailed with all that prevents it."""
    plans, problems = {}, []
    for name, its in found.items():
        settings = session.connections.settings[name]
        kinds = [kind for kind in ("os", "mongodb", "node") if kind in parts]
        plan = Planned([packages_of(its, kind) for kind in kinds])
        plan.interrupted, plan.left_out = its["interrupted"], its["left_out"]
        if "mongodb" in parts and its["server"]:
            maker = backups_by(settings, name)
            backed_up = found.get(maker, {}).get("server") if settings.backup_repositories else None
            plan.is_primary = its["server"]["is_primary"] and is_several(settings)
            there = {**its["server"], "drill": backed_up["drill"] if backed_up else None}
            other = maker if maker != name and settings.backup_repositories else ""
            plan.mongodb = mongodb_of(there, settings.mongodb_version, bool(backed_up), backups_by=other)
            problems += [f"[{name}] {problem}" for problem in plan.mongodb.problems]
        plans[name] = plan
    if problems:
        raise RunFailed("\n".join([*problems, "nothing was changed"]))
    return plans


def backups_by(settings: Settings, name: str) -> str:
    """The host that makes a host's backups: of a replica set's members the first one of the inventory."""
    return settings.peers_with("db")[0].name if is_several(settings) else name


def show(console: Console, session: Session, plans: Mapping[str, Planned]) -> None:
    if console.level < 0:
        return
    roles = session.connections.roles()
    for name, plan in plans.items():
        console.host(name, roles[name])
        left_out = [f"left out, as apt can't refresh its lists: {file} (fix or remove it)" for file in plan.left_out]
        lines = lines_of(plan.packages, plan.mongodb, plan.interrupted) or ["up to date"]
        for line in [*left_out, *lines]:
            console.say(escape(plain(line)), "  ")


def scripts(plan: Planned, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is done to a host, step by step: in words, and the script that starts it as a job."""
    if plan.mongodb and plan.mongodb.new:
        its = {**given, "old": plan.mongodb.old, "new": plan.mongodb.new}
        yield f"MongoDB {plan.mongodb.new}", start_script(asked("mongodb", its), JOB)
    names = [name for one in plan.packages for name in one.names]
    restarts = [*dict.fromkeys(unit for one in plan.packages for unit in one.restarts)]
    if names or restarts or plan.interrupted:
        what = f"{len(names)} packages" if names else "restarts" if restarts else "interrupted packages"
        yield what, start_script(asked("packages", {**given, "names": names, "restarts": restarts}), JOB)


def carry_out_upgrades(
    session: Session, console: Console, plans: Mapping[str, Planned], given: Mapping[str, dict[str, Any]]
) -> None:
    """One host after the other, MongoDB first. Raises RunFailed at the first failure."""
    backed_up = set()
    # In the inventory's order the next member becomes the primary, and steps down in its turn: an election each time.
    for name, plan in sorted(plans.items(), key=lambda item: item[1].is_primary):
        steps = [*scripts(plan, given[name])]
        if not steps:
            continue
        settings = session.connections.settings[name]
        # Any of them may restart MongoDB.
        is_member = "db" in session.connections.roles()[name] and is_several(settings)
        leaves = f"{in_turn(settings).before} 2>&1 || exit 1\n" if is_member else ""
        with session.executor.locked("upgrade") as done:
            if plan.mongodb and plan.mongodb.new and plan.mongodb.has_backups:
                maker = plan.mongodb.backups_by or name
                if maker not in backed_up:
                    console.say("a full backup", f"  {escape(maker)}: ")
                    run_job(session, console, {maker: backup_script(["now"])})
                    backed_up.add(maker)
            for what, script in steps:
                console.say(escape(what), f"  {escape(name)}: ")
                run_job(session, console, {name: f"{leaves}{script}"}, JOB)
                done.append(Change(name, f"upgrade: {what}"))
    # Those of the series before can't be restored to this one.
    for name, its in ((name, plan.mongodb) for name, plan in plans.items()):
        if its and its.has_backups and not its.backups_by and its.new and series_of(its.new) != series_of(its.old):
            console.say(f"a full backup of MongoDB {series_of(its.new)}", f"  {escape(name)}: ")
            run_job(session, console, {name: backup_script(["now"])})


def _raise_features(
    session: Session,
    console: Console,
    found: Mapping[str, dict[str, Any]],
    given: Mapping[str, dict[str, Any]],
    yes: bool,
) -> None:
    """Once the features of a series are used, its data can't go back to the one before. Those of a replica set are
    raised on its primary, for all members. Raises RunFailed where one of them has another series."""
    sets = {
        name: ".".join(its["server"]["installed"].split(".")[:2])
        for name, its in found.items()
        if its["server"] and is_several(session.connections.settings[name])
    }
    members = {peer.name for name in sets for peer in session.connections.settings[name].peers_with("db")}
    if missing := sorted(members - {*sets}):
        raise RunFailed(
            f"MongoDB: found {', '.join(missing)} not in this run, expected all members of the replica set, as each"
            " must have the series: omit --limit; nothing was changed"
        )
    if len({*sets.values()}) > 1:
        there = ", ".join(f"{series} on {name}" for name, series in sets.items())
        raise RunFailed(
            f"MongoDB: found {there}, expected one series on all members: slipway upgrade --only mongodb; nothing was"
            " changed"
        )
    plans = {
        name: mongodb_of(its["server"], ".".join(its["server"]["installed"].split(".")[:2]), False)
        for name, its in found.items()
        if its["server"] and (name not in sets or its["server"]["is_primary"])
    }
    wanted = {name: plan.features_wait for name, plan in plans.items() if plan.features_wait}
    if not wanted:
        console.say("nothing to raise: MongoDB's features are those of its series")
        return
    for name, series in wanted.items():
        present = found[name]["server"]["feature_version"]
        console.say(f"features {present} -> {series}; afterwards there is no way back to {present}", f"{name}: ")
    if yes or confirmed():
        for name, series in wanted.items():
            with session.executor.locked("upgrade") as done:
                script = start_script(asked("features", {**given[name], "series": series}), JOB)
                run_job(session, console, {name: script}, JOB)
                done.append(Change(name, f"upgrade: features of MongoDB {series}"))
