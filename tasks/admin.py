"""The administrator: a user with keys and sudo, whose login is tested before any other login is closed."""

from __future__ import annotations

import shlex
from base64 import b64encode

from pyinfra import host
from pyinfra.api import operation

from slipway.engine.components import Drift, component
from slipway.engine.login import Login
from slipway.engine.ssh import connected_port
from slipway.facts.base import Output
from slipway.facts.files import FileState
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import is_in_place, tell_difference, write_script
from slipway.settings.model import Settings
from slipway.tasks.guard import guarded

PACKAGES = ["sudo"]


def drifts(settings: Settings) -> dict[str, Drift]:
    user = settings.admin_user
    keys = f"/home/{user}/.ssh/authorized_keys"
    return {
        "other rights by sudo": Drift(f"echo '# edited' >> /etc/sudoers.d/{user}", f"Authorize {user}'s keys and sudo"),
        "another key let in": Drift(f"echo '# a key' >> {keys}"),
        "the keys readable": Drift(f"chmod 644 {keys}"),
    }


@component(needs=("guard",), packages=PACKAGES, drifts=drifts)
def admin(settings: Settings) -> None:
    user = settings.admin_user
    ensure(
        name=f"Create the administrator {user}",
        check=f"getent passwd {user}",
        # No password, so none to guess; sudo needs none. The default, "!", is a locked account for sshd without PAM,
        # sshd(8).
        command=f"useradd --create-home --user-group --password '*' --shell /bin/bash {user}",
        note=f"user {user}: new",
    )
    access(name=f"Authorize {user}'s keys and sudo", settings=settings)


@operation()
def access(settings: Settings) -> Commands:
    """The administrator's keys and sudo rights, both tested by a login before anything relies on them."""
    user = settings.admin_user
    found = host.get_fact(Output, command=f"getent passwd {user} && id -gn {user}").splitlines()
    home, group = (found[0].split(":")[5], found[1]) if len(found) == 2 else (f"/home/{user}", user)
    keys, rights = f"{home}/.ssh/authorized_keys", f"/etc/sudoers.d/{user}"
    lines = "".join(f"{key}\n" for key in settings.admin_keys)
    files = [
        (keys, lines, user, group, "600", None),
        (rights, f"{user} ALL=(ALL) NOPASSWD: ALL\n", "root", "root", "440", "visudo -q -c -f {}"),
    ]
    script = [f"install -d -m 700 -o {user} -g {group} {home}/.ssh"]
    for path, content, owner, its_group, mode, check in files:
        state, data = host.get_fact(FileState, path=path), content.encode()
        if not is_in_place(state, data, mode, owner, its_group):
            tell_difference(path, state, data, mode, owner, its_group)
            write = write_script(path, mode, owner, its_group, check)
            script.append(f"printf %s {b64encode(data).decode()} | sh -euc {shlex.quote(write)}")
    if len(script) > 1:
        login = Login(user, connected_port(host))
        yield from guarded(settings, "access", [keys, rights], "\n".join(script), ":", login)
