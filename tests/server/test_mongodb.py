"""MongoDB, by its own answers."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from typing import Any

import yaml

from slipway.facts.mongodb import MongodbUsers
from slipway.server_tests.exposure import exposure_of, limits_of
from slipway.settings.balancing import AUTHORITY_FILE
from slipway.settings.members import certificate_names, has_certificates, is_several, names
from slipway.settings.mongodb import MIN_OPLOG_MB
from slipway.settings.types import is_ipv4
from slipway.tasks.authority import MONGODB
from slipway.tasks.kernel import huge_pages
from slipway.tasks.mongodb_series import SOURCES
from slipway.tasks.mongodb_users import differences, users_of
from slipway.upkeep.upgrade import series_of

# mongosh takes seconds to start: all administrator's queries run at once, and are cached by host.
IN_FORCE: dict[str, dict[str, Any]] = {}
ASKED = """{
    options: db.adminCommand({getCmdLineOpts: 1}).parsed,
    cache: Number(db.serverStatus().wiredTiger.cache["maximum bytes configured"]),
    tls: db.adminCommand({getParameter: 1, tlsMode: 1}).tlsMode,
    hello: (({setName, isWritablePrimary, secondary, primary, hosts}) =>
        ({setName, isWritablePrimary, secondary, primary, hosts}))(db.hello()),
    oplog: Number(db.getSiblingDB("local").oplog.rs.stats().maxSize || 0)
}"""


def in_its_own_home(command: str) -> str:
    """A program that would write to its user's home: a history, or keys."""
    return f"home=$(mktemp -d); HOME=$home {command}; code=$?; rm -rf $home; exit $code"


def in_force(server) -> dict[str, Any]:
    """mongosh's answer to ASKED as the administrator, whose password is in no command line."""
    if server.name not in IN_FORCE:
        settings = server.settings
        file = f"{settings.credentials_folder}/MONGODB_ADMIN_PASSWORD"
        script = f"""
db = connect("mongodb://{settings.mongodb_local}:{settings.mongodb_port}/admin");
db.auth("{settings.mongodb_admin_user}", require("fs").readFileSync("{file}", "utf8"));
print(JSON.stringify({ASKED}))"""
        shown = server.host.check_output(in_its_own_home(f"mongosh --quiet --nodb --eval {shlex.quote(script)}"))
        IN_FORCE[server.name] = json.loads(shown.splitlines()[-1])
    return IN_FORCE[server.name]


def anybody(server, *expressions: str) -> list[str]:
    """MongoDB's answer to each expression without a login, on the host."""
    url = f"mongodb://{server.settings.mongodb_local}:{server.settings.mongodb_port}/{server.settings.mongodb_database}"
    tries = (
        f"try {{ print(JSON.stringify({one})) }} catch (error) {{ print(JSON.stringify(error.message)) }}"
        for one in expressions
    )
    asked = f"mongosh --quiet '{url}' --eval {shlex.quote('; '.join(tries))}"
    return server.host.check_output(in_its_own_home(asked)).splitlines()


def test_nobody_gets_in_without_a_password(server, figure):
    tries = "db.users.findOne()", "db.users.insertOne({})", "db.getSiblingDB('admin').runCommand({listDatabases: 1})"
    answers = anybody(server, *tries)
    refused = len(answers) == len(tries) and all("requires authentication" in answer for answer in answers)
    figure("MongoDB without a password", "refused" if refused else " | ".join(answers), "refused", refused)


def test_its_users_have_exactly_their_roles(server):
    wanted = users_of(server.settings)
    files = tuple((user.key, f"{server.settings.credentials_folder}/{user.secret}") for user in wanted)
    fact, settings = MongodbUsers(), server.settings
    command = fact.command(address=settings.mongodb_local, port=settings.mongodb_port, users=files)
    found = fact.process(server.host.check_output(command).splitlines())
    assert found["server"] == "closed"
    assert differences(found, settings, wanted) == []


def test_it_is_pinned_to_its_series_which_is_the_configured_one_or_the_one_before_an_upgrade(server):
    package = server.host.package("mongodb-org-server")
    assert package.is_installed
    series = series_of(package.version)
    assert f"Pin: version {series}.*" in server.host.file("/etc/apt/preferences.d/mongodb").content_string
    # `slipway upgrade` installs a new series, and goes back to the package of before if that does not start.
    sources = server.host.file(SOURCES).content_string
    suites = [line.rpartition("/")[2] for line in sources.splitlines() if line.startswith("Suites: ")]
    assert suites == [*dict.fromkeys([server.settings.mongodb_version, series])]


def test_its_packages_come_from_a_repository_with_the_right_key(server):
    show = "gpg --batch --show-keys --with-colons /usr/share/keyrings/mongodb-server.asc"
    shown = server.host.check_output(in_its_own_home(show))
    lines = shown.splitlines()
    keys = [after for line, after in pairwise(lines) if line.startswith("pub:")]
    assert keys == [f"fpr:::::::::{server.settings.mongodb_key_fingerprint}:"]
    source = server.host.file("/etc/apt/sources.list.d/mongodb.sources").content_string
    assert "Signed-By: /usr/share/keyrings/mongodb-server.asc" in source


def test_it_runs_and_starts_at_boot(server):
    service = server.host.service("mongod")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_only_on_the_configured_address(server):
    port = server.settings.mongodb_port
    listening = server.host.check_output(f"ss -Hltn sport = :{port}").splitlines()
    assert {line.split()[3] for line in listening} == {f"{one}:{port}" for one in server.settings.mongodb_listens}


def test_it_is_not_reachable_from_outside(server):
    if server.settings.mongodb_bind.startswith("127."):
        # Other servers of the inventory may come in, this machine may not.
        assert not server.site.accepts(server.settings.mongodb_port)


def test_it_runs_with_its_configuration_file(server):
    written = yaml.safe_load(server.host.file("/etc/mongod.conf").content_string)
    settings, found = server.settings, in_force(server)
    options = found["options"]
    assert options["security"]["authorization"] == "enabled"
    assert options["net"]["bindIp"] == written["net"]["bindIp"] == ",".join(settings.mongodb_listens)
    wanted = (
        {"on": "preferTLS", "allow": "allowTLS"}[settings.mongodb_tls] if has_certificates(settings) else "disabled"
    )
    assert found["tls"] == options["net"]["tls"]["mode"] == written["net"]["tls"]["mode"] == wanted
    cache = written["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"]
    assert options["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"] == cache


def test_other_hosts_can_verify_its_certificate(server):
    settings = server.settings
    for name in certificate_names(settings) if has_certificates(settings) else []:
        asks = f"openssl s_client -connect {settings.mongodb_local}:{settings.mongodb_port} -CAfile {AUTHORITY_FILE}"
        # An address is looked for among the addresses of the certificate alone.
        option = "-verify_ip" if is_ipv4(name) else "-verify_hostname"
        server.host.check_output(f"{asks} -verify_return_error {option} {shlex.quote(name)} < /dev/null")
    if has_certificates(settings):
        file = server.host.file(MONGODB)
        assert (file.user, file.group, file.mode) == ("mongodb", "mongodb", 0o600)


def test_it_is_a_replica_set_that_accepts_writes(server):
    settings, found = server.settings, in_force(server)
    if not settings.mongodb_replica_set:
        assert "setName" not in found["hello"]
        return
    assert found["hello"]["setName"] == settings.mongodb_replica_set
    hello = found["hello"]
    assert hello["isWritablePrimary"] or (is_several(settings) and hello["secondary"] and hello["primary"])
    assert found["oplog"] // 2**20 >= (settings.mongodb_oplog_mb or MIN_OPLOG_MB)
    # Drivers on this host resolve all by their names.
    assert len(hello["hosts"]) == len(names(settings))
    for member in hello["hosts"]:
        name = member.rpartition(":")[0]
        reached = server.host.check_output(f"getent ahostsv4 {shlex.quote(name)}").split()[0]
        # A set that was there keeps the name that it has.
        assert reached == dict(names(settings)).get(name, settings.mongodb_local)
    key = server.host.file("/etc/mongod.keyfile")
    assert (key.user, key.group, key.mode) == ("mongodb", "mongodb", 0o400)


def test_its_cache_leaves_room_for_the_backend(server):
    memory = int(server.host.check_output("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024
    assert in_force(server)["cache"] <= max(memory * 0.26, 256 * 2**20, server.settings.mongodb_cache_gb * 2**30)


def test_its_log_is_in_the_journal(server):
    lines = server.host.check_output("journalctl -u mongod -n 50 --no-pager -o cat _COMM=mongod").splitlines()
    assert any('"msg"' in line for line in lines)


def test_its_files_are_its_own(server):
    data = server.host.file(server.settings.mongodb_data)
    assert (data.user, data.group, data.mode) == ("mongodb", "mongodb", 0o750)
    config = server.host.file("/etc/mongod.conf")
    assert (config.user, config.group, config.mode) == ("root", "mongodb", 0o640)


def test_it_runs_as_its_own_user_with_its_limits(server):
    # A container may run another mongod.
    pid = server.host.check_output("systemctl show --property=MainPID --value mongod")
    process = server.host.process.get(pid=int(pid))
    assert process.user == "mongodb"
    limits = server.host.check_output(f"grep 'Max open files' /proc/{process.pid}/limits").split()
    allowed = int(server.host.check_output("cat /proc/sys/fs/nr_open"))
    assert int(limits[3]) >= min(20000, allowed)


def test_it_is_sandboxed(server, figure):
    exposure = exposure_of(server, "mongod.service")
    figure("systemd-analyze security, mongod", exposure, "at most 1.7", exposure <= 1.7)


def test_its_memory_and_threads_are_limited_and_it_is_killed_last(server):
    limits = limits_of(server, "mongod.service")
    cache = yaml.safe_load(server.host.file("/etc/mongod.conf").content_string)["storage"]["wiredTiger"]
    assert limits["MemoryMax"] > limits["MemoryHigh"] > cache["engineConfig"]["cacheSizeGB"] * 2**30
    assert limits["TasksMax"] == server.settings.mongodb_tasks_max
    assert limits["OOMScoreAdjust"] < 0


def test_transparent_huge_pages_are_as_its_series_recommends(server, own_kernel):
    mode = server.host.check_output("cat /sys/kernel/mm/transparent_hugepage/enabled")
    assert f"[{huge_pages(server.settings.mongodb_version)}]" in mode
