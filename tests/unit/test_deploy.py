"""The operations of deploy.py: their order, their reactions, and their checks."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.engine import run
from slipway.ops.files import write_script
from slipway.tasks import mongodb
from slipway.tasks.backend import settled
from slipway.tasks.backend_units import described_by
from support.described import commands_of, deploy, described, run_deploy

BACKEND = "codementee-backend.service"


@pytest.fixture
def server(settings_with):
    return deploy(settings_with())


@pytest.fixture
def sh(tmp_path, monkeypatch):
    """Runs a shell script with programs of the test's own, given by name."""

    def run(script: str, **programs: str) -> subprocess.CompletedProcess[str]:
        for name, text in programs.items():
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        env = {"PATH": f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        return subprocess.run(["sh", "-euc", script], env=env, capture_output=True, text=True, check=False)

    return run


# --- Order -----------------------------------------------------------------------------------------------------------


def test_nothing_is_begun_on_a_host_that_is_not_ready(settings_with):
    with described(settings_with(), memory_mb="512") as (server, _), pytest.raises(PyinfraError, match="512 MiB"):
        run_deploy()
    assert server.operations == []


def test_lockout_risks_come_after_the_dead_mans_switch_and_no_port_closes_before_sshd_has_moved(server):
    order = [one.subject for one in server.operations]
    guarded = [name for name in order if name in ("slipway.tasks.admin", "slipway.tasks.firewall", "slipway.tasks.ssh")]
    assert guarded == ["slipway.tasks.admin", "slipway.tasks.firewall", "slipway.tasks.ssh", "slipway.tasks.firewall"]
    assert order.index("/etc/systemd/system/slipway-undo.timer") < order.index("slipway.tasks.admin")


def test_a_server_built_by_hand_is_kept_aside_before_anything_is_put_on_it(server):
    assert {one.subject for one in server.operations[:3]} == {"slipway.tasks.adoption"}
    assert server.operations[3].kind == "put"


def test_a_host_gets_what_its_roles_want_and_no_more(settings_with):
    database = {one.subject for one in deploy(settings_with(), "db").operations}
    assert "mongod.service" in database
    assert {"nginx.service", BACKEND, "certbot.timer", "/var/www/codementee"} & database == set()
    web = {one.subject for one in deploy(settings_with(), "web").operations}
    assert "nginx.service" in web
    assert {"mongod.service", BACKEND} & web == set()


def test_what_is_no_longer_configured_is_removed_from_the_host(server):
    found = {"codementee-old.service": "", "/etc/systemd/system": "codementee-old.service\ncodementee-backend.socket\n"}
    (services,) = [one for one in server.all("retire") if one.subject == "slipway.tasks.backend"]
    (command,) = commands_of(services, answers=found)
    assert "rm -f codementee-old.service" in command
    assert "codementee-backend.socket" not in command


def test_a_site_that_is_no_longer_configured_leaves_nginx_with_the_next_configuration(settings_with):
    with described(settings_with()) as (server, host):
        host.answers = {"cd /etc/nginx/sites-enabled": "codementee\ndefault\nold-site\n"}
        run_deploy()
    assert server.about("/etc/nginx").arguments["removed"] == ["/etc/nginx/sites-enabled/old-site"]


# --- Reactions -------------------------------------------------------------------------------------------------------


def test_nothing_restarts_without_a_change(server):
    assert server.all("restart")
    assert server.reactions() == set()


@pytest.mark.parametrize(
    ("changed", "reactions"),
    [
        ("/etc/systemd/journald.conf.d/slipway.conf", {("restart", "systemd-journald.service")}),
        ("/etc/mongod.conf", {("restart", "mongod.service")}),
        (mongodb.LIMITS, {("restart", "mongod.service")}),
        ("slipway.tasks.credentials", {("restart", BACKEND)}),
        (f"/etc/systemd/system/{BACKEND}", {("restart", BACKEND)}),
        (
            "/etc/systemd/system/codementee-backend.socket",
            {("restart", "codementee-backend.socket"), ("restart", BACKEND)},
        ),
        ("/etc/systemd/system/nginx.service.d/slipway.conf", {("restart", "nginx.service")}),
        ("/etc/nginx", {("reload", "nginx.service")}),
        ("slipway.tasks.tls", {("reload", "nginx.service")}),
        ("/etc/nginx/tls/codementee", {("reload", "nginx.service")}),
        ("/etc/fail2ban", {("restart", "fail2ban.service")}),
    ],
)
def test_a_change_restarts_what_runs_with_it_and_nothing_else(server, changed, reactions):
    assert server.reactions(changed) == reactions


def test_the_live_release_covers_for_a_web_service_that_restarts(settings_with):
    services = [
        {"name": "auth", "app": "auth:app", "path": "/api/auth/", "health_path": "/well"},
        {"name": "mailer", "command": "python -m mailer"},
    ]
    operations = deploy(settings_with(services=services)).operations
    for name, unit in (("backend", BACKEND), ("auth", "codementee-auth.service")):
        around = [
            one.arguments["ready"] for one in operations if one.kind in ("restart", "service") and one.subject == unit
        ]
        assert [(one.before, one.after) for one in around] == [
            (f"/usr/lib/slipway/release codementee cover {name}", f"/usr/lib/slipway/release codementee uncover {name}")
        ] * 2
    (mailer, _) = [one for one in operations if one.subject == "codementee-mailer.service"]
    assert mailer.arguments["ready"] is None


def test_the_launcher_is_there_before_a_unit_names_it_and_where_there_is_a_backend_alone(settings_with):
    order = [one.subject for one in deploy(settings_with()).operations]
    assert order.index("/usr/lib/slipway/with-credentials") < order.index(f"/etc/systemd/system/{BACKEND}")
    assert "/usr/lib/slipway/with-credentials" not in [one.subject for one in deploy(settings_with(), "web").operations]


def test_secrets_go_only_after_every_unit_that_names_them(server):
    names = [one.name for one in server.operations]
    gone = names.index("Remove unused secrets")
    assert gone > max(names.index("Start the backend"), names.index("Configure the release's units"))


def test_a_change_that_requires_no_restart_restarts_nothing(settings_with):
    with described(settings_with()) as (server, host):
        run_deploy()
        for number, one in enumerate(server.operations):
            one._hash = str(number)
            run.of(host.state).without_restart.add((host.name, one._hash))
        kept = {one.subject for one in server.all("put") if one.arguments.get("rollback_unit")}
        assert "/etc/mongod.conf" in kept
        assert server.reactions(*kept) == set()


def test_nginx_restarts_once_where_its_limits_and_its_configuration_change(server):
    limits = "/etc/systemd/system/nginx.service.d/slipway.conf"
    assert server.reactions(limits, "/etc/nginx") == {("restart", "nginx.service")}


def test_a_service_is_judged_by_every_file_that_it_runs_with(server, settings_with):
    """These make up for a restart that an interrupted run missed."""
    files = {one.subject: {*one.arguments["files"]} for one in server.all("service") if "files" in one.arguments}
    settings = settings_with()
    assert files["mongod.service"] == {"/etc/mongod.conf", mongodb.LIMITS}
    assert described_by(settings, settings.backend) in files[BACKEND]
    assert {"/etc/codementee/credentials/JWT_SECRET", "/etc/codementee/credentials/MONGO_URL"} < files[BACKEND]
    assert files["fail2ban.service"] == {"/etc/fail2ban/jail.d/slipway.local"}


def test_all_units_run_and_start_at_boot(server):
    expected = {"mongod.service", BACKEND, "codementee-backend.socket", "nginx.service", "fail2ban.service"}
    expected |= {"auditd.service", "certbot.timer", "apt-daily.timer", "apt-daily-upgrade.timer"}
    expected |= {"slipway-integrity.timer", "slipway-nginx-logs.timer", "slipway-thp.service"}
    expected |= {"systemd-timesyncd.service"}
    assert {one.subject for one in server.all("service")} == expected


def test_the_release_program_is_there_before_the_script_that_it_replaces_goes_and_before_it_is_asked_to_settle(
    server, settings_with
):
    order = [one.subject for one in server.operations]
    installed = ["/usr/lib/slipway/slipway/releases/host.py", "/usr/lib/slipway/release"]
    installed += ["/usr/lib/slipway/release-codementee.json", "/usr/lib/slipway/release-codementee"]
    assert sorted(installed, key=order.index) == installed
    assert server.about(installed[-1]).kind == "absent"
    (settle,) = [one for one in server.all("ensure") if "settle" in one.arguments["command"]]
    assert settle.arguments["command"] == "/usr/lib/slipway/release codementee settle"
    assert settle.arguments["check"] == settled(settings_with())
    assert server.operations.index(server.about(installed[-1])) < server.operations.index(settle)


def test_the_release_program_is_installed_once_for_several_sites_and_configured_for_each(settings_with):
    sites = [{"site_name": "blog", "site_domain": "blog.example.org"}]
    subjects = [one.subject for one in deploy(settings_with(sites=sites)).operations]
    assert subjects.count("/usr/lib/slipway/release") == 1
    assert {"/usr/lib/slipway/release-codementee.json", "/usr/lib/slipway/release-blog.json"} <= {*subjects}


# --- Files -----------------------------------------------------------------------------------------------------------


def test_programs_can_be_run_and_what_others_need_not_read_is_closed_to_them(server):
    modes = {one.subject: one.arguments.get("mode", "644") for one in server.operations if "path" in one.arguments}
    assert modes["/etc/letsencrypt/renewal-hooks/deploy/reload-nginx"] == "755"
    assert modes["/usr/local/lib/slipway/undo"] == "755"
    assert modes["/usr/lib/slipway/release"] == "755"
    assert (modes["/etc/mongod.conf"], modes["/var/lib/mongodb"]) == ("640", "750")
    assert [path for path, mode in modes.items() if int(mode, 8) & 0o022] == [], "nobody but the owner writes"


def test_the_locale_is_where_a_boot_of_the_system_leaves_it(settings_with):
    old, new = (deploy(settings_with(), "app", release=release) for release in ("12", "13"))
    assert old.about("/etc/default/locale").kind == "put"
    assert (new.about("/etc/locale.conf").kind, new.about("/etc/default/locale").kind) == ("put", "link")


def test_the_certificate_that_certbot_holds_is_the_one_that_is_served(server):
    assert server.about("/etc/nginx/tls/codementee").arguments["target"] == "/etc/letsencrypt/live/codementee"


def test_the_journal_has_its_limit(settings_with):
    text = deploy(settings_with(journal_max_mb=77)).about("/etc/systemd/journald.conf.d/slipway.conf")
    assert text.arguments["content"] == "[Journal]\nStorage=persistent\nSystemMaxUse=77M\n"


REFUSES = {"sed": "cat > /dev/null", "nginx": "exit 1", "mongod": "exit 1"} | {"fail2ban-server": "exit 1"}


@pytest.mark.parametrize("subject", ["/etc/mongod.conf", "/etc/nginx", "/etc/fail2ban"])
def test_a_configuration_is_checked_by_its_own_program_and_kept_until_the_service_is_up_with_it(
    server, sh, tmp_path, subject
):
    described = server.about(subject)
    check = described.arguments["check"].replace("{}", str(tmp_path))
    (tmp_path / "nginx.conf").touch()
    assert sh(check, **REFUSES).returncode == 1
    assert sh(check, **{name: "exit 0" for name in REFUSES}).returncode == 0
    assert described.arguments["rollback_unit"] in {"mongod.service", "nginx.service", "fail2ban.service"}


def test_the_right_to_sudo_is_checked_before_it_counts_and_keys_are_their_owners_alone(server, monkeypatch):
    monkeypatch.setattr("slipway.tasks.admin.guarded", lambda settings, what, paths, script, *rest: [paths, script])
    keys, rights = "/home/admin/.ssh/authorized_keys", "/etc/sudoers.d/admin"
    (access,) = server.all("access")
    paths, script = commands_of(access)
    assert paths == [keys, rights]
    assert shlex.quote(write_script(keys, "600", "admin", "admin", None)) in script
    assert shlex.quote(write_script(rights, "440", "root", "root", "visudo -q -c -f {}")) in script
    assert "install -d -m 700 -o admin -g admin /home/admin/.ssh\n" in script


# --- MongoDB's key ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "is_trusted"),
    [
        ("pub:\nfpr:::::::::{0}:", True),
        ("pub:\nfpr:::::::::BAD:", False),
        ("pub:\nfpr:::::::::{0}:\npub:\nfpr:::::::::BAD:", False),
    ],
    ids=["the key that is set", "another key", "another key beside it"],
)
def test_a_key_is_trusted_only_where_it_is_the_one_that_is_set_and_no_other_is_with_it(
    settings_with, sh, tmp_path, monkeypatch, shown, is_trusted
):
    monkeypatch.setattr(mongodb, "KEYRING", str(tmp_path / "keyring.asc"))
    settings = settings_with()
    gpg = "cat <<'END'\n" + shown.format(settings.mongodb_key_fingerprint) + "\nEND"
    done = sh(mongodb._fetch_key(settings), curl="exit 0", gpg=gpg)
    assert (done.returncode == 0, (tmp_path / "keyring.asc").exists()) == (is_trusted, is_trusted)


def test_each_user_has_a_group_of_its_name_whatever_login_defs_says(settings_with):
    server = deploy(settings_with(valkey=True))
    commands = [one.arguments["command"] for one in server.all("ensure") if "useradd" in one.arguments["command"]]
    assert len(commands) >= 2
    assert [command for command in commands if " --user-group " not in command] == []
