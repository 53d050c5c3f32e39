"""A mistake in a project's file is one line with its place, without a traceback or a connection."""

from __future__ import annotations

import json

from slipway.engine import pyinfra_compat  # isort: skip  patches first

import pytest
from pyinfra.api import Config, State

from slipway.settings import inventory
from slipway.settings.inventory import problems
from support.checkout import PROJECT
from support.mistakes import told
from support.typed import slipway


def test_without_a_mistake_it_connects(project):
    assert "server.invalid] Could not resolve hostname" in told(project, "plan")


MISTAKES = {
    "a syntax error in a setting": (
        "group_data/all.py",
        "\nswap_mb = = 3\n",
        "group_data/all.py, line {line}: invalid syntax: swap_mb = = 3",
    ),
    "an undefined name in a setting": (
        "group_data/all.py",
        "\nswap_mb = lots\n",
        "group_data/all.py, line {line}: NameError: name 'lots' is not defined",
    ),
    "a bracket that is left open": ("inventory.py", "\nweb = [\n", "inventory.py, line {line}: '[' was never closed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_file_is_reported_with_its_line(project, mistake):
    name, added, said = MISTAKES[mistake]
    file = project / name
    text = file.read_text() + added
    file.write_text(text)
    assert said.format(line=text.count("\n")) in told(project, "plan")


def test_a_syntax_error_in_a_file_that_the_inventory_imports_is_reported_with_that_files_line(project):
    (project / "names.py").write_text("ours = = 1\n")
    inventory = project / "inventory.py"
    inventory.write_text(f"import names\n{inventory.read_text()}")
    assert "names.py, line 1: invalid syntax: ours = = 1" in told(project, "plan")


def test_a_file_in_another_encoding_is_named_with_its_line(project):
    file = project / "group_data/all.py"
    file.write_bytes(b"# one\n# caf\xe9\n" + file.read_bytes())
    assert "group_data/all.py, line 2: found the byte 0xe9, expected text in UTF-8" in told(project, "plan")
    file.write_bytes(b"swap_mb = 1\0\n")
    assert "group_data/all.py: found a NUL, expected text in UTF-8" in told(project, "plan")


def test_files_that_python_can_not_read_are_reported_together(project):
    for name in ("app", "db"):
        (project / f"group_data/{name}.py").write_text("\nswap_mb = = 3\n")
    (project / "group_data/web.py").write_bytes(b"# caf\xe9\n")
    (project / "inventory.py").write_text(f"{ROLES}more = lots\n")
    assert told(project, "plan").splitlines() == [
        "slipway: inventory.py, line 2: NameError: name 'lots' is not defined: more = lots",
        "group_data/app.py, line 2: invalid syntax: swap_mb = = 3",
        "group_data/db.py, line 2: invalid syntax: swap_mb = = 3",
        "group_data/web.py, line 1: found the byte 0xe9, expected text in UTF-8",
    ]


@pytest.mark.parametrize("name", ["inventory.py", "group_data/all.py"])
def test_a_file_that_is_missing_is_named(project, name):
    (project / name).unlink()
    assert f"{name}: found no such file" in told(project, "plan")


HOST = '("server.invalid", {"ssh_user": "admin"})'
ROLES = f"web = app = db = [{HOST}]\n"
# Each a server of its own.
TWO = 'web = app = db = ["server.invalid", ("other.invalid", {"site_domain": "other.example.org"})]\n'
# What an inventory may have wrong, and what is said of it.
WRONG_INVENTORIES = {
    "a host that is no list": (
        f"{ROLES}one = {HOST}\n",
        "one: found a single host, expected a list of hosts: one = [('server.invalid', {...})]; a name that is not a"
        " group of hosts begins with _",
    ),
    "a role that is a host": (
        f"{ROLES}web = {HOST}\n",
        "web: found a single host, expected a list of hosts: web = [('server.invalid', {...})]",
    ),
    "a text": (
        f'{ROLES}web = "server.invalid"\n',
        "web: found the text 'server.invalid', expected a list of hosts: web = ['server.invalid']",
    ),
    "a tuple of hosts": (
        f'{ROLES}web = ("server.invalid", "other.invalid")\n',
        "web: found a tuple, expected a list of hosts: web = [...]",
    ),
    "a set of hosts": (
        f'{ROLES}web = {{"server.invalid"}}\n',
        "web: found a value of type set, expected a list of hosts: web = [...]",
    ),
    "a member that is no host": (
        f'{ROLES}more = ["server.invalid", 7, ["nested"]]\n',
        'more[1]: found 7, expected a host\'s name, or (name, settings) as ("codementee.io", {...})',
    ),
    "a member with something beside its settings": (
        f'{ROLES}more = [("server.invalid", {{"ssh_password": "s3cr3t"}}, 22)]\n',
        "more[0]: found a value of type tuple, expected a host's name, or (name, settings)",
    ),
    "a host with its user": (
        f'{ROLES}more = ["root@server.invalid"]\n',
        "more[0]: found 'root@server.invalid', expected a host's name or address; user and port are settings:",
    ),
    "a host with its port": (
        f'{ROLES}more = [("server.invalid:2222", {{}})]\n',
        "more[0]: found 'server.invalid:2222', expected a host's name or address",
    ),
    "a URL": (f'{ROLES}more = ["https://server.invalid"]\n', "more[0]: found 'https://server.invalid', expected"),
    "a host with two values of a setting": (
        'web = [("server.invalid", {"ssh_port": 1, "swap_mb": 100})]\n'
        'app = db = ["server.invalid", ("server.invalid", {"ssh_port": 3, "ssh_password": "s3cr3t"})]\n',
        "web[0] and app[1]: found 'server.invalid' with two values of ssh_port, expected one: give a host its settings"
        ' once, as _one = ("server.invalid", {...}), and list _one in its groups',
    ),
    "a host twice in a list": (
        'web = app = db = [("server.invalid", {"ssh_port": 1}), ("server.invalid", {"ssh_port": 2})]\n',
        "web[0] and web[1]: found 'server.invalid' with two values of ssh_port, expected one",
    ),
    "the name of a setting that is no text": (
        'web = app = db = [("server.invalid", {5: 3})]\n',
        'web[0]: found 5 as the name of a setting, expected text, as {"swap_mb": 512}',
    ),
    "such a name of a group's setting": (
        'web = app = db = (["server.invalid"], {5: 3})\n',
        "web[1]: found 5 as the name of a setting, expected text",
    ),
    "a role that is misspelt": (
        f"web = apps = db = [{HOST}]\n",
        "apps: found a group that is no role, expected app: rename it",
    ),
    "a role that is missing": (
        f"web = db = [{HOST}]\n",
        "app: found no such name, expected a list of hosts: app = [...], or app = [] for none",
    ),
}


@pytest.mark.parametrize("mistake", WRONG_INVENTORIES)
def test_a_mistake_in_the_inventory_is_one_line_that_says_what_to_type(project, mistake):
    text, line = WRONG_INVENTORIES[mistake]
    (project / "inventory.py").write_text(text)
    said = told(project, "plan")
    assert f"  - inventory.py: {line}" in said
    assert "in the inventory; no host was touched" in said
    assert "s3cr3t" not in said


def test_all_mistakes_in_the_inventory_are_reported_at_once(project):
    (project / "inventory.py").write_text(f'one = {HOST}\nweb = ["a b"]\ndb = "server.invalid"\n')
    lines = [line for line in told(project, "plan").splitlines() if line.startswith("  - inventory.py: ")]
    assert [line.split(": ")[1] for line in lines] == ["one", "web[0]", "db", "app"]


@pytest.mark.parametrize(
    "text",
    [
        f"import os\nfrom pathlib import Path\n{ROLES}europe = web\n_one = {HOST}\nPORT = 22\ndef ours(): pass\n",
        'web = app = (["server.invalid"], {"swap_mb": 0})\ndb = app[0]\n',
        # Settings of a host's roles, which are merged.
        'web = [("one", {"swap_mb": 0, "ssh_port": 1})]\napp = ["one"]\ndb = [("one", {"ssh_port": 1, "_x": 2})]\n',
        'web = app = db = ["192.0.2.7", "2001:db8::7", "@local", "my_alias", "server.invalid."]\n',
    ],
)
def test_what_pyinfra_takes_for_an_inventory_is_no_mistake(text):
    names: dict[str, object] = {}
    exec(text, names)
    assert inventory.problems(names) == []


def test_a_host_without_a_role_is_no_clean_plan(project):
    (project / "inventory.py").write_text(f'{ROLES}more = ["other.invalid"]\n')
    assert "found other.invalid in none of the roles lb, web, app, db" in told(project, "plan")
    (project / "inventory.py").write_text("web = app = db = []\n")
    assert "found no host" in told(project, "plan")


def test_group_data_that_no_host_has_are_reported_with_the_name_that_was_meant(project):
    (project / "group_data/wbe.py").write_text("swap_mb = 1\n")
    (project / "group_data/_shared.py").write_text("lots = 1\n")
    line = "  - group_data/wbe.py: found wbe, which is no group of hosts, expected web: rename it"
    assert line in told(project, "plan")
    # With wrong settings.
    said = told(project, "plan", "--data", "swap_mb=lots")
    assert line in said
    assert "1 setting is wrong" in said
    # With the mistakes of the inventory.
    (project / "inventory.py").write_text(f'{ROLES}db = "server.invalid"\n')
    said = told(project, "plan")
    assert "2 mistakes in the inventory" in said
    assert line in said


def test_group_data_of_any_group_and_of_another_inventory_are_no_mistake(project):
    for name in ("europe", "empty", "staging", "eu", "inventory", "app"):
        (project / f"group_data/{name}.py").write_text("swap_mb = 1\n")
    (project / "inventory.py").write_text(f"{ROLES}europe = web\nempty = []\n")
    (project / "staging.py").write_text('web = app = db = ["staging.invalid"]\neu = web\n')
    assert "server.invalid] Could not resolve hostname" in told(project, "plan")
    # The lab's inventory has none of them.
    assert inventory.group_data_problems(project, []) == []


def test_the_shipped_inventory_is_one_server_of_every_role():
    wrong: list[str] = []
    state, config = State(check_for_changes=False), Config()
    config.lock_current_state()
    with pyinfra_compat.ctx_state.use(state), pyinfra_compat.ctx_config.use(config):
        (host,) = pyinfra_compat.load_inventory(
            "inventory.py", {}, str(PROJECT), lambda names: wrong.extend(inventory.problems(names))
        )
    assert wrong == []
    assert (host.name, host.data.ssh_user, host.data._sudo) == ("codementee.io", "admin", True)
    assert [role for role in inventory.ROLES if role in host.groups] == ["web", "app", "db"]


def test_verify_tells_a_wrong_setting_in_the_same_words(project):
    said = told(project, "verify", "--data", "swap_mb=lots", "--data", "nonsense")
    assert "2 settings are wrong; no host was touched" in said
    assert "--data: swap_mb: found 'lots', expected a valid integer" in said
    assert "--data: found 'nonsense', expected NAME=VALUE" in said


def test_verify_tells_once_of_a_host_that_it_can_not_reach(project):
    hosts = '[("127.0.0.1", {"ssh_port": 1}), ("localhost", {"ssh_port": 1, "site_domain": "other.example.org"})]'
    (project / "inventory.py").write_text(f"web = app = db = {hosts}\n")
    done = slipway("verify", cwd=project)
    assert done.returncode == 1
    for name in ("127.0.0.1", "localhost"):
        assert f"[{name}] ssh: connect to host {name} port 1: Connection refused\n  is the server up" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) < 12


def test_wrong_settings_are_reported_together_before_any_host_is_touched(project):
    said = told(project, "apply", "--yes", "--data", "mongodb_prot=1", "--data", "site_domain=no dots")
    assert "did you mean 'mongodb_port'?" in said
    assert "site_domain: found 'no dots'" in said
    assert "no host was touched" in said
    assert "resolve hostname" not in said


def test_wrong_secrets_are_reported_together_before_any_host_is_touched(project, monkeypatch):
    monkeypatch.setenv("SLIPWAY_SECRET_ADMIN_PASSWORD", "changeme")
    monkeypatch.setenv("SLIPWAY_SECRET_MONGODB_ADMIN_PASSWORT", "abc")
    said = told(project, "apply", "--yes")
    assert "found a placeholder for ADMIN_PASSWORD" in said
    assert "did you mean MONGODB_ADMIN_PASSWORD?" in said
    assert "no host was touched" in said
    assert "resolve hostname" not in said


def test_a_host_that_is_not_in_the_inventory_is_reported_with_what_is(project):
    said = told(project, "plan", "--limit", "nosuch")
    assert "--limit nosuch: no such host or role; there are: app, db, " in said
    assert "server.invalid" in said
    assert "resolve hostname" not in said


@pytest.mark.parametrize("only", ["", ",", "nginx,"])
def test_an_option_that_names_nothing_is_not_everything(project, only):
    said = told(project, "apply", "--yes", "--only", only)
    assert f"--only {only!r}: found an empty name, expected components; there are: a" in said
    assert "resolve hostname" not in said


def test_wrong_options_and_settings_are_reported_together(project):
    said = told(project, "plan", "--limit", "nosuch", "--only", "ngnx", "--data", "swap_mb=lots", "--data", "nonsense")
    assert "4 settings are wrong" in said
    assert "  - --data: found 'nonsense', expected NAME=VALUE" in said
    assert "  - --data: swap_mb: found 'lots', expected a valid integer" in said
    assert "  - --limit nosuch: no such host or role; there are: app, db" in said
    assert "  - --only ngnx: found no component ngnx; there are: a" in said


def answering(name: str, path: str) -> dict[str, str]:
    return {"name": name, "app": f"{name}:app", "path": path, "health_path": f"{path}health"}


TWICE = [answering("auth", "/api/tokens/"), answering("booking", "/api/tokens/")]
WRONG_SERVICES = {
    "a key that there is not": ([*TWICE, {"name": "x", "comand": "y"}], "services[2]['comand']: there is no such key"),
    "a pattern": ([*TWICE, answering("payments", "/api/(a|b)/")], 'a URL path: "/api/" for it'),
    "a path of two services": (TWICE, "found /api/tokens/ for auth and for booking"),
}


@pytest.mark.parametrize("wrong", WRONG_SERVICES)
def test_wrong_services_are_reported_before_any_host_is_touched(project, wrong):
    services, said = WRONG_SERVICES[wrong]
    errors = told(project, "plan", "--data", f"services={json.dumps(services)}")
    assert said in errors
    assert "no host was touched" in errors


def test_a_text_in_an_inventory_that_is_no_role_is_the_users_own():
    hosts = ["server.invalid"]
    assert problems({"domain": "example.org", "web": hosts, "app": hosts, "db": hosts}) == []


OLD_NAME = "group_data/all.py: reboot_window is deprecated; rename it to reboot_time"


def test_an_old_name_of_a_setting_is_warned_of_once_before_a_host_is_asked(project):
    with (project / "group_data/all.py").open("a") as file:
        file.write('reboot_window = "03:00"\n')
    (project / "inventory.py").write_text(TWO)
    said = told(project, "plan")
    assert said.startswith(f"slipway: warning: {OLD_NAME}\n")
    assert said.count("deprecated") == 1
    assert "resolve hostname" in said
    assert "deprecated" not in told(project, "plan", "--quiet")


def test_an_argument_of_one_run_among_the_settings_is_reported_with_its_file_and_the_option(project):
    with (project / "group_data/web.py").open("a") as file:
        file.write('release_ref = "v1"\n')
    said = told(project, "release", "--yes")
    assert "group_data/web.py: release_ref: found an argument of one run" in said
    assert "slipway release --ref REF" in said
