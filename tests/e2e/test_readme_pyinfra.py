"""The same server by plain pyinfra, with the shipped inventory: Slipway then finds nothing to change."""

from __future__ import annotations

import re

import pytest

from support.lab_host import PROJECT, LabHost, bring_up
from support.walk import User

DOMAIN = "plain.test"
AS_ROOT = "--data ssh_user=root --data _sudo=False"


@pytest.fixture(scope="module")
def server() -> LabHost:
    return bring_up("plain")


@pytest.fixture(scope="module")
def user(server: LabHost, tmp_path_factory: pytest.TempPathFactory) -> User:
    user = User(tmp_path_factory.mktemp("user"), server, DOMAIN)
    inventory = user.clone / "inventory.py"
    inventory.write_text(inventory.read_text().replace("codementee.io", DOMAIN))
    secrets = user.clone / "secrets/production.env"
    secrets.parent.mkdir(exist_ok=True)
    secrets.touch(mode=0o600)
    secrets.write_text("ADMIN_PASSWORD=correct-horse-battery\n")
    lab = {name: value for name, value in server.data.items() if name.startswith(("mongodb_", "tls_acme"))}
    frontend = PROJECT / "examples/codementee/frontend"
    own = {
        "site_domain": DOMAIN,
        "secrets_file": "secrets/production.env",
        # Built once per run; test_readme.py builds it for each release, as a user does.
        "frontend_source": str(frontend),
        "frontend_build": "[ -e build/index.html ] || { npm ci --no-audit --no-fund && npm run build; }",
        **lab,
    }
    settings = user.clone / "group_data/all.py"
    with settings.open("a") as file:
        file.writelines(f"{name} = {value!r}\n" for name, value in own.items())
    user.types(f"ssh root@{DOMAIN} true")
    return user


def test_plain_pyinfra_makes_the_same_server_and_releases_and_rolls_back(user: User) -> None:
    assert "`pyinfra inventory.py deploy.py`" in (PROJECT / "README.md").read_text()
    code, shown = user.types(f"pyinfra -y {AS_ROOT} inventory.py deploy.py")
    assert code == 0, shown
    code, shown = user.types("slipway plan")
    assert code == 0, shown
    for deploy in ("release.py", "rollback.py"):
        code, shown = user.types(f"pyinfra -y inventory.py {deploy}")
        assert code == 0, shown
    code, shown = user.types("slipway plan")
    assert code == 0, shown
    code, shown = user.types("slipway releases")
    assert len(re.findall(r"^.*\d{14}-", shown, re.MULTILINE)) == 2, shown
    assert user.server.site(DOMAIN).get("/api/health").status_code == 200
