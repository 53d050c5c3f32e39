"""`slipway inspect` with recorded answers of hosts."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import pytest

from slipway.inspection import databases, services, system, users, web
from slipway.inspection.masking import masked
from slipway.inspection.questions import SERVICES, _mongodb_program, parts, questions
from slipway.inspection.report import Key
from support import recorded


@pytest.fixture(scope="module")
def report():
    return recorded.report()


def named(things, name):
    return next(one for one in things if one.name == name)


@pytest.mark.parametrize("name", questions())
def test_a_question_is_a_script_of_sh(name):
    fact, arguments = questions()[name]
    script = fact().command(**arguments)
    done = subprocess.run(["dash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_the_machine_is_reported_with_the_end_of_its_support(report):
    its = report.system
    assert (its.title, its.architecture, its.virtualisation) == (
        "Debian GNU/Linux 12 (bookworm)",
        "amd64",
        "systemd-nspawn",
    )
    assert (its.support_end, its.long_support_end) == (date(2026, 7, 11), date(2028, 6, 30))
    assert (its.timezone, its.by_slipway, its.swap) == ("Asia/Kolkata", False, {})


def test_swap_is_reported_in_the_size_of_its_file():
    found = system.system("swap:/swapfile=file 1048572\nswap:/dev/vda2=partition 524284", {})
    assert found.swap == {"/swapfile": 1024, "/dev/vda2": 512}


def test_only_file_systems_with_data_are_disks(report):
    assert [disk.mount for disk in report.disks] == ["/"]
    assert report.folders["/var/lib/mongodb"] == 301


def test_listeners_are_reported_with_their_units(report):
    found = {port.port: (port.program, port.unit, port.versions) for port in report.ports}
    assert found[22] == ("sshd", "ssh.service", [4, 6])
    assert found[8001] == ("python3", "codementee-backend.service", [4])
    assert found[27017] == ("mongod", "mongod.service", [4])


def test_a_container_that_listens_is_reported_by_its_id():
    from slipway.inspection.ports import ports

    line = 'tcp LISTEN 0 4096 *:3000 *:* users:(("node",pid=7,fd=3))'
    (port,) = ports(f"{line}\n== groups\n7 0::/system.slice/docker-0123456789abcdef.scope")
    assert (port.unit, port.versions) == ("docker 0123456789ab", [4, 6])


def test_programs_that_no_package_has_brought_are_reported(report):
    assert [(one.kind, one.name) for one in report.services] == [
        ("systemd", "codementee-backend.service"),
        ("systemd", "listener.service"),
        ("systemd", "worker.service"),
        ("systemd", "mongod.service"),
        ("pm2", "api"),
        ("supervisor", "queue"),
    ]
    backend = named(report.services, "codementee-backend.service")
    assert backend.command.startswith("/usr/local/bin/uvicorn server:app --host 0.0.0.0 --port 8001")
    assert (backend.user, backend.ports, backend.database) == ("root", ["8001/tcp"], "codementee")
    assert backend.variables == ["JWT_SECRET", "RAZORPAY_KEY", "DATABASE_URL", "DB_NAME"]
    assert backend.variables_from == ["/var/www/codementee/backend/.env"]
    assert named(report.services, "worker.service").variables == ["SMTP_PASSWORD", "API", "PLAIN"]


def test_containers_and_platforms_are_reported():
    container = "docker\tweb\tnginx:1\tUp 2 days\t0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
    text = f"== containers\n{container}\n== platforms\nCapRover"
    web, platform = services.services(text, [])
    assert (web.kind, web.name, web.command, len(web.ports)) == ("docker", "web", "nginx:1", 2)
    assert platform.name == "CapRover"


def test_jobs_are_told_those_of_packages_apart(report):
    own = [(job.kind, job.when, job.user) for job in report.jobs if not job.packaged]
    assert own == [("cron", "15 3 * * *", "root"), ("cron", "@reboot", "root")]
    timer = named(report.jobs, "certbot.timer")
    assert (timer.when, timer.packaged) == ("*-*-* 00,12:00:00", True)


def test_users_are_reported_with_keys_and_rights(report):
    assert [user.name for user in report.users] == ["root", "lab", "deploy", "eve"]
    deploy, eve = named(report.users, "deploy"), named(report.users, "eve")
    assert (deploy.sudo, deploy.groups, deploy.password) == ("no password", ["sudo"], False)
    assert deploy.keys[0].fingerprint.startswith("SHA256:")
    assert (eve.sudo, eve.password, eve.keys) == ("", True, [])


@pytest.mark.parametrize(
    ("rules", "rights"),
    [
        (["/etc/sudoers u ALL=(ALL:ALL) ALL"], "password"),
        (["/etc/sudoers.d/u u ALL=(ALL) NOPASSWD:ALL"], "no password"),
        (["/etc/sudoers %sudo ALL=(ALL) ALL", "/etc/sudoers.d/u u ALL=NOPASSWD: ALL"], "no password"),
        (["/etc/sudoers.d/u u ALL=(root) NOPASSWD: /bin/systemctl restart x"], "some commands"),
        (["/etc/sudoers other ALL=(ALL) ALL"], ""),
    ],
)
def test_rights_to_sudo(rules, rights):
    text = "\n".join(["u:x:1:1::/home/u:/bin/bash", "== groups", "sudo:x:27:u", "== sudoers", *rules])
    assert users.users(text)[0].sudo == rights


# Of the key below, by `ssh-keygen -lf`.
FINGERPRINT = "SHA256:nEvl22Opz461ScyPF1e9mmvuJ5ViN2OsCtFrRPdi16s"


def test_a_key_is_reported_by_its_fingerprint_with_its_options():
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN"
    told = users.key_of(f'from="10.0.0.0/8",command="/bin/backup x" ssh-ed25519 {key} a comment')
    assert told == Key(
        kind="ssh-ed25519",
        fingerprint=FINGERPRINT,
        comment="a comment",
        options='from="10.0.0.0/8",command="/bin/backup x"',
    )
    assert users.key_of("no key") is None


def test_mongodb_is_reported_with_its_databases(report):
    (mongodb,) = report.databases
    assert (mongodb.version, mongodb.running, mongodb.port, mongodb.bind) == ("6.0.5", True, 27017, "127.0.0.1")
    assert (mongodb.data_folder, mongodb.data_mb, mongodb.authorization) == ("/var/lib/mongodb", 301, False)
    assert [one.name for one in mongodb.databases] == ["codementee"]


MONGOD_CONF = """\
storage:
  dbPath: /srv/mongo
net: {port: 27018, bindIp: "0.0.0.0"}
security.authorization: enabled
replication:
  replSetName: rs0
"""


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (
            "running=7\nversion=7.0.14\nauthorization=on\n",
            ("/srv/mongo", 27018, "rs0", True, "MongoDB requires a login"),
        ),
        (
            "running=7\nargument=mongod\nargument=--dbpath\nargument=/data\nargument=--port=27019\nversion=7.0.14\nauthorization=off\n",
            ("/data", 27019, "rs0", False, ""),
        ),
        (
            "running=7\nversion=7.0.14\nauthorization=off\nbehind=/data/db\n",
            ("/data/db", 27018, "rs0", False, ""),
        ),
        ("installed=7.0.14\nconfig=/etc/mongod.conf\n", ("/srv/mongo", 27018, "rs0", True, "mongod does not run")),
        (
            "running=7\ngroup=0::/docker-0123456789ab.scope\nversion=7.0.14\n",
            ("/srv/mongo", 27018, "rs0", True, "it runs in a container"),
        ),
    ],
)
def test_a_mongod_is_reported_by_its_configuration_and_its_command_line(head, expected):
    (one,) = databases.servers(f"{head}== text\n{MONGOD_CONF}", "")
    assert (one.data_folder, one.port, one.replica_set, one.authorization, one.unseen) == expected


@pytest.mark.parametrize(
    ("configuration", "unseen"),
    [
        ("net: {tls: {mode: requireTLS}}", "MongoDB answers connections with TLS only (net.tls.mode: requireTLS)"),
        ("net: {port: 27018}", "MongoDB did not answer (Connection refused)"),
    ],
)
def test_why_a_mongod_did_not_answer_is_reported(configuration, unseen):
    (one,) = databases.servers(f"running=7\nversion=7.0.14\naway=Connection refused\n== text\n{configuration}", "")
    assert one.unseen == unseen


def test_without_mongod_none_is_reported():
    assert databases.servers("config=/etc/mongod.conf\n", "") == []


def test_other_databases_are_reported():
    text = """\
== postgresql
15 main 5432 online postgres /var/lib/postgresql/15/main /var/log/postgresql/postgresql-15-main.log
database shop 8388608
== mysql
version mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)
active active inactive
data 120\t/var/lib/mysql
== redis
version Redis server v=7.0.15 sha=00000000:0
active inactive"""
    found = databases.servers("", text)
    assert [(one.kind, one.version, one.running) for one in found] == [
        ("PostgreSQL", "15", True),
        ("MySQL", "10.11.6", True),
        ("Redis", "7.0.15", False),
    ]
    assert [(one.name, one.mb) for one in found[0].databases] == [("shop", 8.0)]
    assert found[1].data_mb == 120


KEYRING, MONGODB = "/usr/share/keyrings/mongodb-server-7.0.gpg", "https://repo.mongodb.org/apt/debian"
POLICY = f"""\
== policy
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 https://user:hunter2@repo.example.org/apt stable/main amd64 Packages
     release o=Example,a=stable,n=stable,l=Example,c=main,b=amd64
     origin repo.example.org
 500 https://repo.mongodb.org/apt/debian bookworm/mongodb-org/7.0/main amd64 Packages
     release o=mongodb,a=bookworm,n=bookworm,l=mongodb,c=main,b=amd64
 500 http://deb.debian.org/debian bookworm/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
Pinned packages:
== files
/etc/apt/sources.list.d/mongodb-org-7.0.list:deb [ signed-by={KEYRING} ] {MONGODB} bookworm/mongodb-org/7.0 main
== held
nginx
== elsewhere
mongodb-org-server/now 7.0.14 amd64 [installed,local]
== updates
libzstd1/oldstable-security 1.5.4+dfsg2-5+deb12u1 amd64 [upgradable from: 1.5.4+dfsg2-5]
tzdata/oldstable-updates 2026b all [upgradable from: 2026a]
== lists
1795900000"""


def test_packages_from_elsewhere_and_pending_updates_are_reported():
    found = system.packages(POLICY, "kernel=6.1.0-18-amd64\nnewest_kernel=6.1.0-20-amd64", 1795952800)
    assert [(one.url, one.origin) for one in found.sources] == [
        ("https://***@repo.example.org/apt", "Example"),
        ("https://repo.mongodb.org/apt/debian", "mongodb"),
    ]
    assert found.sources[1].file == "/etc/apt/sources.list.d/mongodb-org-7.0.list"
    assert found.sources[1].signed_by == KEYRING
    assert (found.held, found.elsewhere) == (["nginx"], ["mongodb-org-server"])
    assert (found.updates, found.security_updates) == (["libzstd1", "tzdata"], ["libzstd1"])
    assert (found.lists_age_days, found.reboot_required) == (0, True)


def test_without_lists_of_packages_nothing_is_told_to_be_from_elsewhere():
    found = system.packages("== policy\n== elsewhere\nbash/now 5.2 amd64 [installed,local]", "", 0)
    assert found.elsewhere is None


def test_a_kernel_of_the_host_of_a_container_wants_no_reboot():
    text = "kernel=6.18.44-fc-v595\nnewest_kernel=6.1.0-20-amd64"
    assert not system.packages("", text, 0).reboot_required


def test_certificates_are_reported_with_what_renews_them(report):
    by_name = {certificate.names[0]: certificate for certificate in report.certificates}
    assert by_name["byhand.test"].self_signed
    assert by_name["byhand.test"].renewal == ""
    blog = by_name["blog.example.org"]
    assert (blog.issuer, blog.days_left) == ("An Authority R1", 19)
    assert blog.renewal == "certbot, nginx, installer nginx, its own renew_hook, hooks deploy/copy"


def test_a_renewal_that_no_timer_runs_is_reported():
    text = "== lineage x\nauthenticator = standalone\n== timers\ninactive inactive\n== programs\nsnap"
    told = web.renewal("/etc/letsencrypt/live/x/fullchain.pem", "/etc/letsencrypt/archive/x/fullchain1.pem", text)
    assert told == "certbot (snap), standalone, no timer runs it"


def test_a_certificate_of_acme_sh_is_reported():
    text = "== programs\nacme.sh /root\n== acme.sh\nLe_RealFullChainPath='/etc/ssl/x.pem'"
    assert web.renewal("/etc/ssl/x.pem", "/etc/ssl/x.pem", text) == "acme.sh"
    assert web.renewal("/etc/ssl/y.pem", "/etc/ssl/y.pem", text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "mongodb://app:hunter2@127.0.0.1/x",
        "mongodb+srv://app:hunt/er2@db.example.org/x",
        "https://hunter2@github.com/x.git",
        "run --password hunter2",
        "run --db-password=hunter2",
        'run --api-key "hunter2 hunter2"',
        "PGPASSWORD=hunter2 pg_dump",
        "docker run -e STRIPE_SECRET_KEY=hunter2 x",
        'curl -d \'{"password": "hunter2"}\'',
        "curl -H 'Authorization: Bearer hunter2'",
        "curl -u admin:hunter2 x",
        "mysqldump -u root -phunter2 shop",
    ],
)
def test_secrets_are_masked(text):
    assert "hunter2" not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "uvicorn auth.main:app --host 0.0.0.0 --port 8001",
        "/usr/bin/mongod --config /etc/mongod.conf",
        "http://localhost:8001/x",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert masked(text) == text


def test_nothing_that_is_told_has_a_secret(report):
    assert "hunter2" not in report.model_dump_json()


ENVIRONMENT = """\
JWT_SECRET="c2VjcmV0 abcd=="
# COMMENT=hunter2
export  SPACED = hunter2
  INDENTED='x y=hunter2'
MONGO_URL=mongodb://app:hunt/er2@127.0.0.1:27017/shop?authSource=admin
not an assignment hunter2=
NAME
"""


def test_of_variables_the_names_alone_leave_the_host(tmp_path):
    (tmp_path / ".env").write_text(ENVIRONMENT)
    unit = """\
[Service]
Environment="SMTP_PASSWORD=hunter2 hunter2=" 'API=1' PLAIN=hunter2==
Environment=MONGODB_DB=other
"""
    _, definition, rest = SERVICES.partition("assignments() {")
    script = definition + rest.partition("\nfor unit in")[0]
    script += f"""
cat <<'X' | sed -n 's/^Environment=//p' | assignments | names one
{unit}X
sed -E 's/^[[:space:]]*(export[[:space:]]+)?([A-Za-z0-9_]+)[[:space:]]*=[[:space:]]*/\\2=/' {tmp_path}/.env | names two
"""
    done = subprocess.run(["dash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [
        "name one SMTP_PASSWORD",
        "name one API",
        "name one PLAIN",
        "name one MONGODB_DB",
        "database one other",
        *(f"name two {name}" for name in ("JWT_SECRET", "SPACED", "INDENTED", "MONGO_URL")),
        "database two shop",
        "",
    ]


def test_parts_of_an_answer():
    assert parts("a\n\n== one\nb\n== two\n== one\nc") == {"": ["a"], "one": ["b", "c"], "two": []}


def test_without_root_a_report_says_what_is_not_seen():
    report = recorded.report(without_root="eve is not root", firewall="")
    assert "the firewall's rules" in report.unseen
    assert {port.reach for port in report.ports} == {"local", "unknown"}
    assert report.refusals == []


TEXTS = sorted(name for name, answer in recorded.answers("by_hand").items() if isinstance(answer, str))
GARBAGE = "== nft\n== units\n== timers\n== cron\n== policy\n x y z\n\x00 tcp : : : :\n[[[ {{{ ;;; \" ' = == :::\n- -\n"


@pytest.mark.parametrize("name", TEXTS)
def test_an_answer_that_is_cut_off_or_is_something_else_is_no_error(name):
    answer = recorded.answers("by_hand")[name]
    marks = [line for line in answer.split("\n") if line.startswith("== ")]
    odd = "\n".join(f"{mark}\n{GARBAGE}" for mark in ["", *marks])
    swapped = "\n".join(" ".join(reversed(line.split(" "))) for line in answer.split("\n"))
    for text in ("", GARBAGE, odd, swapped, *(answer[: len(answer) * part // 7] for part in range(7))):
        assert recorded.report(**{name: text}).host == "byhand.test"


def test_mongodb_is_asked_by_a_program_that_needs_no_module_of_ours():
    done = subprocess.run(
        [sys.executable, "-ISc", _mongodb_program(), "127.0.0.1", "1"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("away=Connection refused\n", "")
