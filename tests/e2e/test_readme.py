"""The README's first server, typed word for word: Slipway by pipx, a user's own project, a bare server."""

from __future__ import annotations

import re
import shutil

import pytest

from support.lab_host import PENDING, PROJECT, LabHost, bring_up
from support.walk import User, commands_of_readme

SERVER = "shop.example.org"
NAME, DOMAIN = "walk", "walk.test"


@pytest.fixture(scope="module")
def server() -> LabHost:
    """A bare server as a provider delivers it: root logs in by key."""
    return bring_up(NAME)


@pytest.fixture(scope="module")
def user(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(tmp_path_factory.mktemp("user"), server, DOMAIN)


def settings_of(server: LabHost, recipient: str) -> list[tuple[str, str]]:
    """Edits of group_data/all.py: what every user sets, and the lab's package mirror and ACME server."""
    lab = {name: value for name, value in server.data.items() if name.startswith(("mongodb_", "tls_acme"))}
    edits = [('# secrets_recipients = ["age1..."]', f'secrets_recipients = ["{recipient}"]')]
    return edits + [("", f"{name} = {value!r}") for name, value in lab.items()]


def test_a_first_server_by_the_readme_word_for_word(user: User, server: LabHost) -> None:
    commands = commands_of_readme("A first server")
    install, change, init, keygen, edit_settings, edit_secrets, login, *verbs = commands
    assert install == "pipx install git+https://YOUR-FORK"
    user.has_pipx()
    code, shown = user.types(install.replace("https://YOUR-FORK", f"file://{user.clone}"))
    assert code == 0, shown
    assert change == "cd YOUR-REPOSITORY"
    repository = user.folder / "shop"
    # Without its tests, which belong to a project of Slipway's: a stranger's repository has none.
    ignored = shutil.ignore_patterns("node_modules", "build", "__pycache__", "tests")
    shutil.copytree(PROJECT / "examples/codementee", repository, ignore=ignored)
    user.goes_to(repository)

    assert init == "slipway init"
    # The host name; the defaults for the server and the short name.
    code, shown = user.types(init, f"{DOMAIN}\n\n\n")
    assert code == 0, shown
    assert 'backend_app = "server:app"' in shown
    assert '"ADMIN_PASSWORD",  # backend/settings.py:' in shown
    assert f"git+file://{user.clone}@" in (repository / "requirements-slipway.txt").read_text()

    assert keygen == "slipway secrets keygen"
    code, shown = user.types(keygen)
    assert code == 0, shown
    assert edit_settings == "$EDITOR group_data/all.py"
    user.edits({"all.py": settings_of(server, re.findall(r"age1[0-9a-z]+", shown)[0])})
    code, shown = user.types(edit_settings)
    assert code == 0, shown

    assert edit_secrets == "slipway secrets edit"
    user.edits({"": [("", "ADMIN_PASSWORD=correct-horse-battery\nJWT_SECRET=3b4f0c6a5d9e8f7a6b5c4d3e2f1a0b9c")]})
    code, shown = user.types(edit_secrets)
    assert code == 0, shown
    assert "correct-horse" not in (repository / "secrets/production.age").read_text(errors="replace")
    assert login == f"ssh root@{SERVER} true"
    code, shown = user.types(login.replace(SERVER, DOMAIN))
    assert code == 0, shown

    assert verbs == [f"slipway {verb}" for verb in ("lock", "plan", "apply", "verify", "release", "rollback")]
    lock, plan, apply, verify, release, rollback = verbs
    code, shown = user.types(lock)
    assert code == 0, shown
    assert "is locked by a file of its own" in shown
    code, shown = user.types(plan)
    assert code == PENDING, shown

    # "Interrupted: run it again to resume."
    code, shown = user.types_and_interrupts(apply, "y\n", "Pin MongoDB to the ")
    assert code == 130, shown
    assert "run it again" in shown
    code, shown = user.types(apply, "y\n")
    assert code == 0, shown
    code, shown = user.types(plan)
    assert code == 0, shown
    code, shown = user.types(verify)
    assert code == 0, shown
    assert re.search(r"secrets seen in journal, process list, world-readable files +none", shown), shown
    code, shown = user.types(release, "y\n")
    assert code == 0, shown
    code, shown = user.types(rollback, "y\n")
    assert code == 0, shown
    code, shown = user.types("slipway status")
    assert code == 0, shown
    assert re.search(r"last apply +.* ago by ", shown), shown
    code, shown = user.types("slipway releases")
    assert code == 0, shown
    assert len(re.findall(r"^.* \d{14} ", shown, re.MULTILINE)) == 2, shown
