"""Plans the lab's host over and over: `python plan_worker.py pyinfra`, as pyinfra alone does, or `... slipway`; by
`... apply` each plan is also carried out.

Each line on standard input asks for a plan; each line of output is one: the names of the pending operations in their
order, as a JSON list; or why there is no plan, as the only one. pyinfra counts the reactions that would follow from a
change only; so they are judged here.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
INVENTORY, DEPLOY = "lab/inventory.py", "deploy.py"


def planned_by_slipway() -> list[str]:
    from slipway.engine.session import Session

    with Session("lab", DEPLOY) as session:
        return [change.operation for change in session.plan().changes]


def applied() -> list[str]:
    from slipway.engine.session import Session

    with Session("lab", DEPLOY) as session:
        pending = [change.operation for change in session.plan().changes]
        session.apply(lambda *_: None)
    return pending


def planned_by_pyinfra() -> list[str]:
    import pyinfra
    from pyinfra.api import Config, State
    from pyinfra.api.connect import connect_all, disconnect_all
    from pyinfra.api.operation import OperationMeta
    from pyinfra.api.state import StateStage
    from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state
    from pyinfra_cli.inventory import make_inventory
    from pyinfra_cli.util import load_deploy_file

    pyinfra.is_cli = True
    state, config = State(check_for_changes=True), Config()
    state.cwd = str(PROJECT)
    ctx_state.set(state)
    ctx_config.set(config)
    config.lock_current_state()
    inventory = make_inventory(INVENTORY, cwd=state.cwd)
    ctx_inventory.set(inventory)
    state.init(inventory, config)
    state.set_stage(StateStage.Connect)
    connect_all(state)
    for host in inventory:
        # This only makes it faster.
        host.connector.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    state.set_stage(StateStage.Prepare)
    pending: dict[OperationMeta, str] = {}
    # Reactions hold it as the operations that they react to are described.
    OperationMeta.did_change = lambda meta: meta in pending  # type: ignore[method-assign,assignment]
    load_deploy_file(state, DEPLOY)
    disconnect_all(state)
    for op_hash in state.get_op_order():
        for host in inventory:
            operation = state.ops[host][op_hash]
            conditions = operation.global_arguments.get("_if") or []
            with ctx_host.use(host):
                follows = all(one() for one in (conditions if isinstance(conditions, list) else [conditions]))
            if operation.operation_meta.will_change and follows:
                pending[operation.operation_meta] = ", ".join(sorted(state.op_meta[op_hash].names))
    return list(pending.values())


def main(plan: Callable[[], list[str]]) -> None:
    os.chdir(PROJECT)
    sys.path.append(str(PROJECT))
    for _ in sys.stdin:
        try:
            found = plan()
        except (Exception, SystemExit) as error:
            # An sshd that restarted without a known host key is refused, with a different message in each way.
            is_refused = "host key" in str(error).lower()
            found = ["the host key is refused" if is_refused else f"no plan: {error}"]
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main({"pyinfra": planned_by_pyinfra, "slipway": planned_by_slipway, "apply": applied}[sys.argv[1]])
