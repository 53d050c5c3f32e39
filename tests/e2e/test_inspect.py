"""`slipway inspect` on a provisioned host, a bare one, and one that its owner built: it only reads, and it predicts
what a plan and an apply do."""

from __future__ import annotations

import base64
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slipway.inspection.nginx import files_of, parse, sites_of
from support.inspected import CONNECTION, STAND_INS, STATE, arguments, fates, inspect
from support.lab_host import PENDING, LabHost, bring_up

PROJECT = Path(__file__).resolve().parents[2]
BY_HAND = Path(__file__).parent / "by_hand"


def unchanged(host: LabHost, user: str = "") -> dict[str, Any]:
    """The report of a host, which must leave it unchanged."""
    before = host.ssh(STATE)
    report = inspect(host, user)
    after = host.ssh(STATE)
    assert sorted({*before.splitlines()} ^ {*after.splitlines()}) == []
    return report


def fingerprint(host: LabHost) -> dict[str, str]:
    """The state of a host, as far as an apply sets it."""
    program = (PROJECT / "tests/support/host_state.py").read_text()
    host.ssh(f"cat > /run/host_state.py <<'END_OF_FILE'\n{program}\nEND_OF_FILE")
    found: dict[str, str] = json.loads(host.ssh("python3 -B /run/host_state.py"))
    return found


def test_a_provisioned_host_is_shown_and_left_as_it_is(server: LabHost) -> None:
    before = fingerprint(server)
    report = unchanged(server)
    assert fingerprint(server) == before
    assert (report["user"], report["without_root"], report["refusals"]) == ("admin", "", [])
    assert report["system"]["by_slipway"]
    assert fates(report, "sites", "names")["codementee.test"] == "keep"
    assert {service["name"] for service in report["services"]} >= {"codementee-backend.service"}
    for kind, key in (("ports", "port"), ("services", "name"), ("databases", "kind"), ("certificates", "path")):
        assert {*fates(report, kind, key).values()} == {"keep"}, report[kind]
    (mongodb,) = report["databases"]
    assert (mongodb["authorization"], mongodb["unseen"]) == (True, "MongoDB requires a login")
    (certificate,) = [one for one in report["certificates"] if "codementee.test" in one["names"]]
    assert certificate["renewal"].startswith("certbot, webroot")
    reach = {f"{port['port']}/{port['protocol']}": port["reach"] for port in report["ports"]}
    assert {name for name, its in reach.items() if its == "open"} == {"22/tcp", "80/tcp", "443/tcp"}
    # What is read from Nginx's files is what Nginx itself reports.
    by_nginx = {name for site in sites_of(parse(files_of(server.ssh("nginx -T 2>/dev/null")))) for name in site.names}
    assert {name for site in report["sites"] for name in site["names"]} == by_nginx


@pytest.mark.thorough
def test_a_bare_host_is_shown() -> None:
    bare = bring_up("inspected")
    report = unchanged(bare, "root")
    assert (report["sites"], report["databases"], report["services"]) == ([], [], [])
    assert report["firewall"]["fate"]["verdict"] == "replace"
    assert fates(report, "users", "name")["root"] == "remove"
    assert {site["name"] for site in report["settings"]} <= {"timezone", "locale", "swap_mb"}
    assert report["refusals"] == []
    bare.remove()


# --- A server that its owner built, with what is beside its site

MONGOD = """
apt-get update -qq
echo "deb [trusted=yes] {url}/debian bookworm/mongodb-org/{version} main" > /etc/apt/sources.list.d/x.list
apt-get update -qq; cd /tmp; apt-get download -qq mongodb-org-server; dpkg-deb -x mongodb-org-server_*.deb mongod
mv mongod/usr/bin/mongod /usr/bin/mongod; rm -r mongod mongodb-org-server_*.deb /etc/apt/sources.list.d/x.list
apt-get update -qq
"""
# The owner's application reads its secrets from the environment; the lab replaces Internet services.
SETTINGS = {
    "backend_secrets_delivery": "environment",
    "secrets_file": "",
    "frontend_build": "[ -e build/index.html ]",
    "frontend_output": "build",
}


@pytest.fixture(scope="module")
def built() -> LabHost:
    host = bring_up("owners")
    data = host.data
    host.ssh(MONGOD.format(url=data["mongodb_apt_url"], version=data["mongodb_version"]))
    for name in ("app.py", "provision.sh", "beside.sh"):
        text = (BY_HAND / name).read_text().replace("codementee.test", "owners.test")
        host.ssh(f"echo {base64.b64encode(text.encode()).decode()} | base64 -d > /root/{name}")
    host.ssh("bash /root/provision.sh && bash /root/beside.sh")
    return host


@pytest.fixture(scope="module")
def refused(built: LabHost) -> dict[str, Any]:
    """The report of the unchanged server."""
    return unchanged(built, "root")


@pytest.fixture(scope="module")
def without(refused: dict[str, Any]) -> str:
    """The setting that permits the removal of everything that is refused."""
    found = [re.findall(r'or ("(?:[^"\\]|\\.)*") in adopt_without$', text) for text in refused["refusals"]]
    return f"--data=adopt_without={json.dumps([json.loads(name) for (name,) in found])}"


@pytest.fixture(scope="module")
def report(built: LabHost, without: str) -> dict[str, Any]:
    return inspect(built, "root", without)


@pytest.mark.thorough
def test_what_an_apply_would_not_keep_of_it_is_refused(refused: dict[str, Any]) -> None:
    names = {text.partition(": found")[0] for text in refused["refusals"]}
    unit, site = "codementee-backend.service", "/etc/nginx/sites-enabled/codementee"
    assert names == {
        f"{site}: server old.example.org",
        *(f"{unit}: {name}" for name in ("DATABASE_URL", "DB_NAME", "JWT_SECRET", "RAZORPAY_KEY")),
        *("user eve", "nft inet own in", "iptables -A INPUT -p tcp -m tcp --dport 9999 -j ACCEPT"),
        "ufw allow from 203.0.113.0/24 to any port 9000 proto tcp",
    }
    assert fates(refused, "sites", "names") == {
        "blog.example.org": "keep",
        "owners.test": "refuse",
        "old.example.org": "refuse",
    }
    # Of the port, its rule is refused.
    assert (fates(refused, "users", "name")["eve"], fates(refused, "ports", "port")["9000"]) == ("refuse", "remove")


@pytest.mark.thorough
def test_a_server_that_its_owner_built_is_shown(report: dict[str, Any]) -> None:
    assert report["refusals"] == []
    assert fates(report, "sites", "names") == {
        "blog.example.org": "keep",
        "owners.test": "replace",
        "old.example.org": "remove",
    }
    assert fates(report, "services", "name") == {
        "codementee-backend.service": "adopt",
        "mongod.service": "replace",
        **dict.fromkeys(["listener.service", "worker.service", "api", "queue"], "keep"),
    }
    assert fates(report, "databases", "kind") == {"MongoDB": "adopt"}
    reach = {port["port"]: port["reach"] for port in report["ports"]}
    assert reach == {
        **{22: "open", 80: "open", 443: "open", 8443: "open", 9999: "open"},
        **{8001: "closed", 9000: "limited", 27017: "local"},
    }
    assert "hunter2" not in json.dumps(report)


@pytest.mark.thorough
def test_a_user_with_sudo_sees_the_same_and_one_without_gets_an_error(built: LabHost, refused: dict[str, Any]) -> None:
    report = refused
    built.ssh("runuser -u deploy -- sudo -n true")  # which notes its first use in the user's home
    by_sudo = unchanged(built, "deploy")
    for kind in ("sites", "services", "users", "ports", "firewall"):
        assert json.dumps(by_sudo[kind]) == json.dumps(report[kind])
    built.ssh("install -m 600 -o eve -g eve /root/.ssh/authorized_keys /home/eve/.ssh/authorized_keys")
    without = unchanged(built, "eve")
    built.ssh("rm /home/eve/.ssh/authorized_keys")
    assert without["without_root"] == "eve is not root, and sudo: a password is required"
    assert {site["names"][0] for site in without["sites"]} == {site["names"][0] for site in report["sites"]}
    assert {thing["fate"] is None for thing in (*without["sites"], *without["ports"], *without["users"])} == {True}
    assert "hunter2" not in json.dumps(without)


@pytest.fixture(scope="module")
def project(built: LabHost, report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The owner's repository, after `slipway init --from`."""
    folder = tmp_path_factory.mktemp("owners")
    (folder / "backend").mkdir()
    shutil.copy(BY_HAND / "app.py", folder / "backend/server.py")
    requirements = PROJECT / "examples/codementee/backend/requirements.txt"
    shutil.copy(requirements, folder / "backend/requirements.txt")
    (folder / "web/build").mkdir(parents=True)
    (folder / "web/build/index.html").write_text("x")
    (folder / "web/package.json").write_text('{"scripts": {"build": "true"}}')
    host, *data = arguments(built, "root", CONNECTION)
    done = slipway(built, folder, "init", "--yes", "--from", host, *data)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def slipway(host: LabHost, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slipway", *words]
    return subprocess.run(command, cwd=folder, env=host.env, capture_output=True, text=True, check=False)


def on(host: LabHost, folder: Path, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the written project on the host, with the lab's replacements for Internet services."""
    names = ("ssh_key", "ssh_known_hosts_file", "admin_keys", *STAND_INS)
    data = {**{name: host.data[name] for name in names}, **SETTINGS}
    items = (f"--data={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in data.items())
    return slipway(host, folder, verb, *items, *more)


@pytest.mark.thorough
def test_a_project_from_a_server_describes_it(built: LabHost, report: dict[str, Any], project: Path) -> None:
    written = runpy.run_path(str(project / "group_data/all.py"))
    for proposed in report["settings"]:
        assert written[proposed["name"]] == proposed["value"]
    assert (written["site_domain"], written["site_name"], written["backend_app"]) == (
        "owners.test",
        "codementee",
        "server:app",
    )
    assert (written["timezone"], written["firewall_allow"]) == ("Asia/Kolkata", ["8443/tcp"])


@pytest.mark.thorough
def test_a_plan_of_that_project_changes_what_inspect_predicts_and_nothing_else(
    built: LabHost, report: dict[str, Any], without: str, project: Path
) -> None:
    done = on(built, project, "plan", "--json", "-", without)
    assert done.returncode == PENDING, done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    changes = [change for part in host["components"] for change in part["changes"]]
    said = "\n".join(line for change in changes for line in (*change["reasons"], *change["diffs"]))
    lines = said.splitlines()
    assert not [change for change in changes if change["operation"] == "Set the time zone"]

    def is_touched(path: str) -> bool:
        return any(line.startswith((f"{path}:", f"{path} ->", f"--- {path}")) for line in lines)

    for site in report["sites"]:
        assert is_touched(site["file"]) == (site["fate"]["verdict"] != "keep"), site
    for service in report["services"]:
        if service["kind"] == "systemd" and service["name"] != "mongod.service":  # a package ships another one
            assert is_touched(service["file"]) == (service["fate"]["verdict"] != "keep"), service
    for rule in report["firewall"]["rules"]:
        assert (f"- {rule['text']}" in lines) == (rule["fate"]["verdict"] == "remove"), rule
    assert is_touched("/etc/mongod.conf")
    assert any(line.startswith("/var/backups/slipway/by-hand: ") and "/etc/nginx" in line for line in lines)


@pytest.mark.thorough
def test_an_apply_does_what_inspect_predicts(
    built: LabHost, report: dict[str, Any], without: str, project: Path
) -> None:
    def http(name: str, path: str = "/") -> str:
        return built.ssh(
            f"curl -s -o /dev/null -w '%{{http_code}}' -H 'Host: {name}' http://127.0.0.1{path}", check=False
        )

    assert (http("blog.example.org"), http("old.example.org")) == ("200", "200")
    done = on(built, project, "apply", "--yes", without)
    assert done.returncode == 0, done.stdout + done.stderr
    after = inspect(built, "admin")
    # Sites.
    assert http("blog.example.org") == "200"
    # The other site was the first, and answers for all other names as before.
    assert built.ssh("curl -s -H 'Host: old.example.org' http://127.0.0.1/") == "blog"
    assert built.site().get("/").status_code == 200
    for aside in ("nginx/sites-available/codementee", "systemd/system/codementee-backend.service", "mongod.conf"):
        assert built.ssh(f"ls /var/backups/slipway/by-hand/etc/{aside}")
    assert built.ssh("ls -d /var/www/codementee/releases/*-by-hand")
    # Programs, ports and the firewall.
    for name, told in fates(report, "services", "name").items():
        if told == "keep" and name.endswith(".service"):
            assert built.ssh(f"systemctl is-active {name}") == "active"
    opened = {port["port"] for port in after["ports"] if port["reach"] in ("open", "limited")}
    for port in report["ports"]:
        if port["reach"] in ("open", "limited"):
            assert (port["port"] in opened) == (port["fate"]["verdict"] == "keep"), port
            site = built.site()
            if port["port"] not in (80, 443):
                assert site.accepts(port["port"]) == (port["fate"]["verdict"] == "keep")
    assert 8001 not in {port["port"] for port in after["ports"]}
    kept = [rule["text"] for rule in report["firewall"]["rules"] if rule["fate"]["verdict"] == "keep"]
    assert [rule["text"] for rule in after["firewall"]["rules"]] == kept
    # People.
    assert not built.may_log_in("root")
    assert built.may_log_in("deploy")
    assert "password" not in built.ssh("sshd -T | grep ^passwordauthentication").removeprefix(
        "passwordauthentication no"
    )
    # The database has what it had, and wants a login.
    (mongodb,) = after["databases"]
    assert (mongodb["authorization"], mongodb["data_folder"]) == (True, "/var/lib/mongodb")
    assert {*fates(after, "sites", "names").values()} == {"keep"}
    built.remove()
