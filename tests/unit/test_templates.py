"""Every template, rendered with the defaults and validated by the program that reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest

from slipway.engine.deployed import deployed
from slipway.lab.instance import cache_dir, folder_lock
from slipway.ops import templates
from slipway.ops.templates import render
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.tasks import auditing, backend_health, fail2ban, kernel, logins, updates
from slipway.tasks.backend_units import all_units, of_service, release_units, unit_values
from slipway.tasks.nginx import BROTLI_PACKAGES, configuration, links
from slipway.tasks.nginx import unit_values as nginx_unit_values
from slipway.tasks.release import PARTS
from slipway.tasks.release_steps import as_json, facts
from slipway.tasks.ssh import ALGORITHMS, mismatches
from slipway.tasks.ssh import configuration as sshd_configuration
from support.checkout import PROJECT
from support.described import commands_of, deploy

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.fixture(scope="session")
def nginx() -> Path:
    """Debian's Nginx, unpacked and not installed: an installation would start it on this machine's ports.

    Each version is downloaded once: what needs no host needs no network either.
    """
    newest = ["apt-cache", "show", "--no-all-versions", "nginx"]
    shown = subprocess.run(newest, capture_output=True, text=True, check=True).stdout
    (version,) = re.findall(r"^Version: (\S+)$", shown, re.MULTILINE)
    folder = cache_dir() / f"nginx-{version}"
    folder.mkdir(parents=True, exist_ok=True)
    # The workers of pytest-xdist share one.
    with folder_lock(folder):
        if not (folder / "root").exists():
            names = ["nginx", "nginx-common", *BROTLI_PACKAGES]
            subprocess.run(["apt-get", "download", "-q", *names], cwd=folder, capture_output=True, check=True)
            for package in folder.glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", package, folder / "new"], check=True)
            (folder / "new").rename(folder / "root")
    return folder / "root"


def judge_nginx(root: Path, settings: Settings, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """`nginx -t` of the configuration as it will lie in /etc/nginx."""
    etc = tmp_path / "etc-nginx"
    shutil.copytree(root / "etc/nginx", etc, symlinks=True)
    for link in (etc / "sites-enabled").iterdir():
        link.unlink()
    modules = (f"load_module {module};\n" for module in (root / "usr/lib/nginx/modules").iterdir())
    (etc / "modules-enabled/all.conf").write_text("".join(modules))
    tls = etc / "tls" / settings.site_name
    tls.mkdir(parents=True)
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2"]
    command += ["-keyout", str(tls / "privkey.pem"), "-out", str(tls / "fullchain.pem")]
    subprocess.run(command, capture_output=True, check=True)
    for site in settings.all_sites[1:]:
        shutil.copytree(tls, etc / "tls" / site.site_name)
    shutil.copy(tls / "fullchain.pem", etc / "tls/authority.pem")
    (etc / "tls/server.pem").write_text((tls / "fullchain.pem").read_text() + (tls / "privkey.pem").read_text())
    for name, text in configuration(settings).items():
        for absolute, here in (
            ("/etc/nginx/tls", etc / "tls"),
            ("/etc/nginx/sites-enabled", etc / "sites-enabled"),
            ("/var/log/nginx", tmp_path),
            ("/run/", f"{tmp_path}/"),
            ("/etc/slipway/tls", etc / "tls"),
            ("10.0.0.2:8443", "127.0.0.1:8443"),
        ):
            text = text.replace(f" {absolute}", f" {here}")
        # Where the package's own folders for temporary files are not, as it is not installed.
        paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in TEMPORARY)
        (etc / name).write_text(text.replace("http {", f"http {{ {paths}", 1))
    for name, target in links(settings).items():
        (etc / name).symlink_to(target)
    return subprocess.run(
        [root / "usr/sbin/nginx", "-t", "-c", etc / "nginx.conf", "-p", tmp_path, "-e", "stderr"],
        capture_output=True,
        text=True,
        check=False,
    )


SERVICES = [
    {"name": "auth", "app": "auth.main:app", "path": "/api/auth/", "health_path": "/api/auth/health", "workers": 2},
    {"name": "pay", "app": "pay:app", "host": "pay.codementee.io", "health_path": "/well", "secrets": ["JWT_SECRET"]},
    {"name": "web", "command": "node server.js --from '$PORT'", "listen": 3000, "path": "/shop/", "health_path": ""},
    {"name": "go", "command": "./server", "listen": "fd", "path": "/go/ -> /", "health_path": "/well"},
    {"name": "mailer", "command": 'python -m mailer --from "100 % $us"', "environment": {"PORT": "25"}},
    {"name": "report", "command": "python -m report", "schedule": "*-*-* 03:00", "memory_max_mb": 200},
]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"site_aliases": ["www.codementee.io"]},
        {"backend_listen": "127.0.0.1:8001"},
        {"services": SERVICES, "sites": [{"site_name": "blog", "site_domain": "blog.example.org", "nginx_csp": ""}]},
        {"nginx_hsts_seconds": 0, "nginx_csp": "", "nginx_login_rate_per_minute": 0},
        {"backend_paths": ["/", "/docs", "= /openapi.json", "/v1/ -> /", "= /api/auth/login"]},
        {
            "frontend_source": "",
            "shared_paths": ["up"],
            "shared_urls": {"/up/": "up"},
            "site_domain": f"{'a' * 63}.org",
        },
        {"sites": [{"site_name": "an-api", "site_domain": "api.example.org", "frontend_source": ""}]},
    ],
    ids=[
        *("defaults", "an alias", "a TCP backend", "services and sites", "no headers, no limit"),
        *("many routes", "no frontend", "a further site without a frontend"),
    ],
)
def test_nginx_accepts_its_configuration(nginx, settings_with, tmp_path, changes):
    done = judge_nginx(nginx, settings_with(**changes), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.parametrize(("here", "changes"), [("lb", {}), ("one", {}), ("one", {"lb_direct": True})])
def test_nginx_accepts_it_on_both_sides_of_a_load_balancer(nginx, balanced_with, tmp_path, monkeypatch, here, changes):
    sites = [{"site_name": "blog", "site_domain": "blog.example.org"}]
    done = judge_nginx(nginx, balanced_with(here, services=SERVICES, sites=sites, **changes), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_nginx_would_refuse_a_broken_one(nginx, settings_with, tmp_path):
    done = judge_nginx(nginx, settings_with(frontend_assets="/a;b/"), tmp_path)
    assert done.returncode != 0


def verify_units(folder: Path) -> str:
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            "--recursive-errors=no",
            *sorted([*folder.glob("*.service"), *folder.glob("*.socket"), *folder.glob("*.timer")]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("listen", ["/run/codementee-backend.sock", "127.0.0.1:8001"])
def test_systemd_accepts_the_units(settings_with, tmp_path, listen):
    settings = settings_with(backend_listen=listen, services=SERVICES, pre_activate="echo \"100 %\" '$HOME' \\\\")
    values = unit_values(settings, 819, database_is_here=True)
    units = {Path(path).name: text for path, text in release_units(settings, values).items()}
    for service in settings.all_services:
        kinds = ["backend.socket", "backend.service"] if service.is_web else ["worker.service"]
        kinds += ["worker.timer"] if service.schedule else []
        for kind in kinds:
            text = render(f"backend/{kind}", **of_service(settings, service, values))
            units[f"{settings.unit(service)}.{kind.partition('.')[2]}"] = text
    assert {*units} == {*all_units(settings)}
    for name, text in units.items():
        # The program comes with a release; here another stands for it.
        for release in ("current", "next"):
            text = text.replace(f"{settings.site_root}/{release}/backend/.venv/bin/python", "/bin/true")
        (tmp_path / name).write_text(text)
    (tmp_path / "slipway-thp.service").write_text(render("kernel/thp.service", mode="never"))
    values = {"script": "/bin/true", "folder": "/var/lib/slipway/undo", "seconds": 60}
    for unit in ("slipway-undo.service", "slipway-undo.timer"):
        (tmp_path / unit).write_text(render(f"guard/{unit}", **values))
    complaints = [line for line in verify_units(tmp_path).splitlines() if str(tmp_path) in line]
    assert complaints == []


def test_systemd_would_complain_of_a_broken_unit(tmp_path):
    (tmp_path / "broken.service").write_text("[Service]\nExecStart=/bin/true\nProtectSystm=strict\n")
    assert "ProtectSystm" in verify_units(tmp_path)


def test_a_unix_socket_is_for_nginx_alone_and_a_tcp_one_has_no_mode(settings_with):
    def socket(settings):
        values = unit_values(settings, 819, database_is_here=True)
        return render("backend/backend.socket", **of_service(settings, settings.backend, values))

    unix = socket(settings_with())
    assert "SocketMode=0660" in unix
    assert "SocketGroup=www-data" in unix
    tcp = socket(settings_with(backend_listen="127.0.0.1:8001"))
    assert "ListenStream=127.0.0.1:8001" in tcp
    assert "SocketMode" not in tcp


def test_the_backend_is_neither_root_nor_on_a_port(settings_with):
    settings = settings_with()
    values = of_service(settings, settings.backend, unit_values(settings, 819, database_is_here=False))
    unit = render("backend/backend.service", **values)
    assert "User=codementee-backend\n" in unit
    assert "--host" not in unit
    assert "mongod.service" not in unit


def test_no_secret_is_in_any_template(settings_with):
    settings = settings_with()
    rendered = [*configuration(settings).values()]
    values = unit_values(settings, 819, database_is_here=True)
    rendered += release_units(settings, values).values()
    rendered += [render("backend/backend.service", **of_service(settings, settings.backend, values))]
    rendered += [as_json(facts(settings, PARTS))]
    assert not [secret for secret in settings.secrets.values() for text in rendered if secret in text]


def test_the_answer_for_programs_is_json():
    assert json.loads(render("nginx/unavailable.json"))["detail"]


@pytest.fixture
def rendered(settings_with, balanced_with, monkeypatch) -> dict[str, str]:
    """All files of a server with every component, by path; and "templates", the names of what renders them."""
    names: list[str] = []
    get_template = templates._templates.get_template

    def noted(name: str, *arguments: Any) -> Any:
        names.append(name)
        return get_template(name, *arguments)

    monkeypatch.setattr(templates._templates, "get_template", noted)
    optional = {one.name: True for one in deployed() if one.name in Settings.model_fields}
    monkeypatch.setenv("SLIPWAY_SECRET_BACKUP_PASSWORD", "of-the-repositories")
    monkeypatch.setenv("SLIPWAY_SECRET_ALARM_URL_TEAM", "https://hooks.example/token")
    more = {"backup_repositories": {"near": "/srv/backup"}, "alarm_webhooks": {"team": "slack"}}
    server = deploy(settings_with(services=SERVICES, **optional, **more))
    server.operations[:0] = deploy(settings_with(**more), "app").operations
    for one in server.operations:
        # Some render what they compare.
        if one.kind in ("sync_credentials", "users", "sshd"):
            commands_of(one)
    for here in ("lb", "one"):
        configuration(balanced_with(here, **more))
    behind = backend_health.files(balanced_with("one", services=SERVICES, **more))
    found = {"templates": "\n".join(sorted({*names}))}
    for one in server.operations:
        if "content" in one.arguments:
            found[one.subject] = one.arguments["content"]
        elif "files" in one.arguments and isinstance(one.arguments["files"], dict):
            root = one.arguments.get("root", "")
            found |= {f"{root}/{name}" if root else name: text for name, text in one.arguments["files"].items()}
    return found | behind


def test_every_template_is_of_a_component_that_renders_it(rendered):
    folder = PROJECT / "templates"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert there == {*rendered["templates"].splitlines()}


def test_systemd_accepts_every_unit(rendered, tmp_path):
    """Programs that exist only on a server are replaced by another one."""
    for path, text in rendered.items():
        if not path.startswith("/etc/systemd/system/"):
            continue
        name = path.removeprefix("/etc/systemd/system/").replace("/", "-")
        program = re.sub(r"^(Exec\w+=)([-+!@:]*)\S+", r"\1\2/bin/true", text, flags=re.MULTILINE)
        is_added = name.endswith(".conf")
        (tmp_path / (f"{name.removesuffix('.conf')}.service" if is_added else name)).write_text(
            f"[Service]\nExecStart=/bin/true\n{program}" if is_added else program
        )
    assert len([*tmp_path.iterdir()]) > 10
    complaints = [line for line in verify_units(tmp_path).splitlines() if str(tmp_path) in line]
    assert complaints == []


def test_every_script_is_a_shells(rendered):
    scripts = {path: text for path, text in rendered.items() if text.startswith("#!/bin/sh")}
    assert {"/usr/local/lib/slipway/undo", "/etc/letsencrypt/renewal-hooks/deploy/reload-nginx"} <= {*scripts}
    for path, text in scripts.items():
        assert subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode == 0, path


def test_every_system_file_is_valid(settings_with, tmp_path):
    texts = {**updates.files(settings_with()), **logins.files(), **auditing.files()}
    for name in ("/etc/profile.d/slipway.sh", updates.RESTART):
        assert subprocess.run(["sh", "-n"], input=texts[name], text=True, check=False).returncode == 0
    for unit in ("slipway-integrity.service", "slipway-integrity.timer"):
        (tmp_path / unit).write_text(texts[f"/etc/systemd/system/{unit}"])
    assert [line for line in verify_units(tmp_path).splitlines() if "slipway-integrity" in line] == []
    apt = tmp_path / "52slipway"
    apt.write_text(texts["/etc/apt/apt.conf.d/52slipway"])
    shown = subprocess.run(["apt-config", "dump", "-c", apt], capture_output=True, text=True, check=True).stdout
    assert 'Unattended-Upgrade::Automatic-Reboot-Time "04:00";' in shown
    never = updates.files(settings_with(reboot_time=""))["/etc/apt/apt.conf.d/52slipway"]
    assert 'Automatic-Reboot "false"' in never
    assert "Automatic-Reboot-Time" not in never


def test_networks_with_ssh_access_are_never_banned(settings_with):
    settings = settings_with(fail2ban_ignore=["203.0.113.7"], firewall_ssh_from=["2001:db8::/32"], sshd_port=2222)
    read = ConfigParser(interpolation=None)
    read.read_string(fail2ban.jails(settings, is_web=False))
    assert read["nginx-limit-req"]["ignoreip"].split() == ["127.0.0.0/8", "::1", "203.0.113.7"]
    assert read["sshd"]["ignoreip"].split() == ["127.0.0.0/8", "::1", "203.0.113.7", "2001:db8::/32"]
    assert read["sshd"]["port"] == "2222"
    assert read["nginx-limit-req"]["enabled"] == "false"


def test_a_jail_of_others_keeps_its_times_its_action_and_whom_it_spares(settings_with):
    read = ConfigParser(interpolation=None)
    read.read_string("[DEFAULT]\nbantime = 1w\nbanaction = ufw\nignoreip = 192.0.2.1\nbackend = systemd\n[postfix]\n")
    before = dict(read["postfix"])
    read.read_string(fail2ban.jails(settings_with(), is_web=True))
    assert dict(read["postfix"]) == before
    for jail in ("sshd", "nginx-limit-req"):
        assert read[jail]["banaction"].startswith("nftables")
        assert read[jail]["ignoreip"] == "127.0.0.0/8 ::1"
    assert read["nginx-limit-req"]["backend"] == "auto"


def test_a_ban_lasts_as_long_as_is_set_whatever_a_section_in_jail_local_says(settings_with):
    read = ConfigParser(interpolation=None)
    read.read_string("[DEFAULT]\nbantime = 1d\n[sshd]\nbantime = 1w\nbantime.increment = false\nfindtime = 1d\n")
    read.read_string(fail2ban.jails(settings_with(), is_web=True))
    for jail in ("sshd", "nginx-limit-req"):
        times = [read[jail][name] for name in ("findtime", "bantime", "bantime.increment", "bantime.maxtime")]
        assert times == ["10m", f"{settings_with().fail2ban_minutes}m", "true", "1d"]


def test_sysctl_reads_the_kernel_parameters(settings_with):
    lines = [line for line in kernel.sysctl(settings_with()).splitlines() if line and not line.startswith("#")]
    names = [line.split(" = ")[0] for line in lines]
    assert names[:4] == ["vm.swappiness", "vm.max_map_count", "net.ipv4.tcp_keepalive_time", "net.core.somaxconn"]
    # Whether each of them exists and is in force, tests/server asks a host with a kernel of its own.
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("unit", ["mongodb/mongod.service.conf", "nginx/nginx.service.conf", "nginx/unconfigured.conf"])
def test_systemd_accepts_what_is_added_to_the_packages_units(settings_with, tmp_path, unit):
    values = {**nginx_unit_values(settings_with()), "tls_folder": TLS_FOLDER, "memory_max_mb": 1228}
    values |= {"writable": [], "member_names": "/etc/mongod.members"}
    added = render(unit, **values)
    (tmp_path / "added.service").write_text(f"[Service]\nExecStart=/bin/true\n{added}")
    assert [line for line in verify_units(tmp_path).splitlines() if "added.service" in line] == []


def test_apt_keeps_mongodb_in_its_series(settings_with):
    stanzas = render("mongodb/preferences", series="7.0").split("\n\n")
    assert "Pin: version 7.0.*\nPin-Priority: 1001" in stanzas[0]
    assert "Pin: version *\nPin-Priority: -1" in stanzas[1]


def test_the_page_for_people_says_what_to_do():
    assert "try again" in render("nginx/unavailable.html")


def test_the_renewal_hook_is_a_shell_script(tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(render("tls/reload-nginx"))
    assert subprocess.run(["sh", "-n", hook], check=False).returncode == 0
    assert "nginx -t -q && systemctl reload nginx" in hook.read_text()


def test_the_rollback_is_a_shell_script(tmp_path):
    script = tmp_path / "undo"
    script.write_text(render("guard/undo", folder="/var/lib/slipway/undo"))
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_sshds_file_has_what_its_user_sets_before_slipways_own_and_only_algorithms_that_sshd_knows(settings_with):
    known = {keyword: {*names} - {"mlkem768x25519-sha256"} for keyword, names in ALGORITHMS.items()}
    lines = sshd_configuration(settings_with(sshd_settings={"MaxAuthTries": "3"}), ["/key"], known)
    text = render("ssh/sshd.conf", lines=lines)
    assert [line for line in text.splitlines() if line.startswith("MaxAuthTries")] == ["MaxAuthTries 3"]
    assert {"Port 22", "HostKey /key", "PermitRootLogin no", "PasswordAuthentication no"} <= {*text.splitlines()}
    assert "mlkem" not in text


def test_differences_of_sshd_are_reported():
    found = mismatches([("PermitRootLogin", "no"), ("Port", "22")], {"permitrootlogin": ["yes"], "port": ["22"]})
    assert found == ["permitrootlogin: sshd has yes, need no"]
