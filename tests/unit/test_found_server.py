"""Obstacles of an existing server, apart from Nginx and MongoDB."""

from __future__ import annotations

import subprocess

import pytest

from slipway.adoption import (
    Obstacle,
    apt,
    backend,
    in_the_way,
    jobs,
    names,
)
from slipway.facts.earlier import Earlier
from support.obstacles import SERVICE, told


def test_each_obstacle_says_what_was_found_what_is_needed_and_how_to_do_without():
    one = Obstacle("database old", "it", "mongodb_database")
    must = Obstacle("sshd", "it", "another", may_go=False)
    lines = in_the_way([one, must, one], [])
    assert lines == [
        'database old: found it, need mongodb_database, or "database old" in adopt_without',
        "sshd: found it, need another",
    ]
    assert in_the_way([one, must], ["database old", "sshd"]) == ["sshd: found it, need another"]


def test_the_question_is_a_shell_script_whose_answer_is_read_by_sections():
    fact = Earlier()
    command = fact.command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    assert subprocess.run(["sh", "-n"], input=command, text=True, check=False).returncode == 0
    lines = ["", "=== mongod", "exe=/usr/bin/mongod", "", "=== file /etc/mongod.conf", "net:", "  port: 1"]
    assert fact.process(lines) == {"mongod": "exe=/usr/bin/mongod", "file /etc/mongod.conf": "net:\n  port: 1"}


# --- apt -------------------------------------------------------------------------------------------------------------

URL = "https://repo.mongodb.org/apt"


@pytest.mark.parametrize(
    ("file", "text", "is_same"),
    [
        ("m.list", f"deb [ signed-by=/k ] {URL}/debian bookworm/mongodb-org/7.0 main", True),
        ("m.list", "deb http://repo.mongodb.org/apt/debian/ bookworm/mongodb-org/7.0 main", True),
        ("m.list", f"# deb {URL}/debian bookworm/mongodb-org/7.0 main", False),
        ("m.list", "deb https://repo.mongodb.org/aptly/debian bookworm main", False),
        ("m.sources", f"Types: deb\nURIs: {URL}/debian\nSuites: x", True),
        ("m.sources", f"Types: deb\nURIs:\n https://a.example\n {URL}/debian\nSuites: x", True),
        ("m.sources", f"Types: deb\nURIs: {URL}/debian\nSuites: x\nEnabled: no", False),
    ],
)
def test_the_same_repository_is_known_in_each_form(file, text, is_same):
    path = f"/etc/apt/sources.list.d/{file}"
    assert apt.same_repository({path: text}, URL) == ([path] if is_same else [])
    changed = apt.without(path, text, URL)
    assert apt.same_repository({path: changed}, URL) == []
    assert is_same or changed.strip() == text


# --- Jobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "is_open", "is_named"),
    [
        ("/var/spool/cron/crontabs/root:0 3 * * * certbot renew --quiet", True, False),
        (
            "/etc/cron.d/x:0 3 * * * root test -x /usr/bin/certbot && sleep 9 && certbot -q renew > /srv/certbot.log",
            True,
            False,
        ),
        ("/etc/cron.d/x:0 3 * * * root certbot renew --deploy-hook 'systemctl reload nginx'", True, False),
        ("/etc/cron.d/x:0 3 * * * root certbot renew --post-hook 'systemctl restart nginx'", True, True),
        ("/etc/cron.d/x:0 3 * * * root certbot renew --pre-hook 'service nginx stop'", True, True),
        ("/etc/cron.d/x:0 3 * * * root certbot renew -q --standalone", True, True),
        ("/etc/cron.d/x:0 3 1 * * root certbot renew --force-renewal", True, True),
        ("/etc/cron.d/x:0 3 1 * * root certbot --nginx -n -d codementee.io", True, True),
        ("/etc/cron.d/x:0 3 1 * * root certbot certificates > /srv/certificates", True, False),
        (
            '/var/spool/cron/crontabs/root:8 0 * * * "/root/.acme.sh"/acme.sh --cron --home "/root/.acme.sh"',
            True,
            False,
        ),
        ("/etc/cron.d/backup:0 1 * * * root mongodump --out /srv/backup", True, True),
        ("/etc/cron.d/backup:0 1 * * * root mongodump --out /srv/backup", False, False),
        ("/etc/cron.d/backup:0 1 * * * root mongodump --uri mongodb://u:p@127.0.0.1/x", True, False),
        ("/etc/cron.d/web:0 1 * * * root systemctl restart nginx", True, True),
        ("/etc/cron.d/web:0 1 * * * root systemctl reload nginx", True, False),
        ("/etc/cron.d/pull:* * * * * root cd /var/www/codementee/backend && git pull", True, True),
        ("/etc/cron.d/x:0 1 * * * root tar czf /srv/site.tgz /var/www/codementee", True, False),
        ("/etc/cron.d/x:0 1 * * * root tar -C /var/www/codementee -xzf /srv/site.tgz", True, True),
        ("/etc/cron.d/x:0 1 * * * root tar cz /var/www/codementee --remove-files -f /srv/x", True, True),
        ("/etc/cron.d/x:0 1 * * * root rsync -a /var/www/codementee/ nas:/srv >> /var/log/rsync 2>&1", True, False),
        (
            "/etc/cron.d/x:0 1 * * * root rsync -a --delete /srv/build/ /var/www/codementee/frontend > /dev/null",
            True,
            True,
        ),
        ("/etc/cron.d/x:0 1 * * * root restic -r s3:x backup /var/www/codementee /etc", True, False),
        ("/etc/cron.d/x:0 1 * * * root restic -r s3:x restore latest --target /var/www/codementee", True, True),
        ("/etc/cron.d/x:0 1 * * * root cd /var/www/codementee && tar c backend | gzip > /srv/x.tgz", True, False),
        ("/etc/cron.d/x:0 1 * * * root cd /var/www/codementee && ls backend/tmp | xargs rm", True, True),
        ("/etc/cron.d/x:0 1 * * * root du -sm /var/www/codementee > /var/www/codementee/frontend/size", True, True),
        ("/etc/cron.d/x:0 1 * * * root tar -czf /var/www/codementee/site.tgz /var/www/codementee/backend", True, True),
        ("/etc/cron.d/x:0 1 * * * root cd /var/www/codementee && tar czf site.tgz backend", True, True),
        (
            "/etc/cron.d/x:0 1 * * * root cd /var/www/codementee/backend && zip -qr /srv/site.zip . > /dev/null 2>&1",
            True,
            False,
        ),
        ("/etc/cron.d/x:0 1 * * * root find /var/www/codementee -mtime +7 -delete", True, True),
        ("/etc/cron.d/x:0 1 * * * root find /var/www/codementee -print0 | xargs -0 chmod 644", True, True),
        ("/etc/cron.d/x:0 1 * * * root tar c /var/www/codementee | tar x -C /srv/copy/var/www/codementee", True, False),
        ("/etc/cron.d/x:0 1 * * * root /var/www/codementee-blog/cron.sh", True, False),
        ("/etc/rc.local:iptables-restore < /etc/iptables.rules", True, True),
        ("/etc/cron.d/x:0 1 * * * root iptables-save > /srv/rules", True, False),
        ("/etc/cron.d/x:0 1 * * * root /usr/sbin/ufw status | mail root", True, False),
        (
            "/etc/cron.d/x:0 1 * * * root iptables -t nat -nvL; nft list ruleset; grep BLOCK /var/log/ufw.log",
            True,
            False,
        ),
        ("/etc/systemd/system/fw.service:ExecStart=/sbin/iptables -A INPUT -j DROP", True, True),
        (f"/etc/systemd/system/{SERVICE}:ExecStart=/var/www/codementee/backend/venv/bin/uvicorn", True, False),
        ("/etc/systemd/system/dump.service:ExecStart=/usr/bin/mongodump", True, True),
    ],
)
def test_a_job_that_would_fail_or_fight_with_slipways_is_named(settings_with, line, is_open, is_named):
    assert bool(told(jobs.obstacles({"jobs": line}, settings_with(), is_open))) == is_named


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["/root/n:mongodump --out /srv/b"], ["/root/n: mongodump --out /srv/b"]),
        (["/root/n:URI=mongodb://u:p@127.0.0.1/x", "/root/n:mongodump --uri $URI"], []),
        (["/root/n:URI=mongodb://127.0.0.1/x", "/root/n:mongodump --uri $URI"], ["/root/n: mongodump --uri $URI"]),
        (["/root/fw:iptables -F", "/root/fw:  iptables -P INPUT DROP"], ["/root/fw: iptables -F"]),
        (["/root/pull:cd /var/www/codementee && git pull"], ["/root/pull: cd /var/www/codementee && git pull"]),
        (["/var/www/codementee/venv/bin/celery:#!/var/www/codementee/venv/bin/python"], []),
        (["/root/web:systemctl reload nginx"], []),
    ],
)
def test_what_a_script_of_a_job_does_is_named_once(settings_with, lines, names):
    assert told(jobs.obstacles({"scripts": "\n".join(lines)}, settings_with(), is_open=True)) == names


def test_the_scripts_of_jobs_are_found_by_the_paths_in_crontabs_and_units(tmp_path):
    for folder in ("etc/cron.d", "etc/systemd/system", "root", "var"):
        (tmp_path / folder).mkdir(parents=True)
    scripts = {
        "nightly": "#!/bin/sh\n# mongodump\nmongodump --out /srv\n",
        "rotate.sh": "certbot renew\n",
        "harmless": "#!/bin/sh\nls\n",
        "unit": "#!/bin/sh\niptables -F\n",
        "log": "mongodump done\n",
        "ours": "#!/bin/sh\n# by Slipway\nnginx\n",
        "site": "#!/bin/sh\nnginx\n",
        "unnamed": "#!/bin/sh\nnginx\n",
    }
    for name, text in scripts.items():
        (tmp_path / "root" / name).write_text(text)
    at = tmp_path / "root"
    cron = f"1 1 * * * root {at}/nightly >> {at}/log; bash {at}/rotate.sh\n#{at}/unnamed\n"
    cron += f"@reboot root {at}/harmless;{at}/ours\n"
    (tmp_path / "etc/cron.d/own").write_text(cron)
    for unit, name in (("own.service", "unit"), (SERVICE, "site")):
        (tmp_path / "etc/systemd/system" / unit).write_text(f"[Service]\nExecStart=-{at}/{name} --all\n")
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s scripts") : command.index("s timezone")]
    for folder in ("/etc/", "/var/spool"):
        script = script.replace(f" {folder}", f" {tmp_path}{folder}")
    done = subprocess.run(["sh", "-c", f"s() {{ :; }}; {script}"], capture_output=True, text=True, check=False)
    assert done.stdout.replace(str(tmp_path), "").splitlines() == [
        "/root/nightly:mongodump --out /srv",
        "/root/rotate.sh:certbot renew",
        "/root/unit:iptables -F",
    ]


def test_a_file_of_logrotates_that_would_be_a_duplicate_is_named(settings_with):
    files = {"rotated": "/etc/logrotate.d/nginx\n/etc/logrotate.d/mysite"}
    assert told(jobs.obstacles(files, settings_with(), is_open=False)) == ["/etc/logrotate.d/mysite"]


# --- Names -----------------------------------------------------------------------------------------------------------

ADMIN, USER = "admin:x:1000:1000::/home/admin:/bin/bash", "codementee-backend:x:990:990::/nonexistent:/usr/sbin/nologin"
GROUP = "codementee-backend:x:990:"
OWN = {"accounts": f"{ADMIN}\n{USER}", "groups": "admin:x:1000:\ncodementee-backend:x:990:"}


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({}, None),
        (OWN, None),
        ({"groups": "admin:x:4:"}, "group admin"),
        ({"accounts": ADMIN.replace(":1000:1000", ":0:0")}, "user admin"),
        ({"accounts": ADMIN.replace("/bin/bash", "/usr/sbin/nologin")}, "user admin"),
        ({"accounts": ADMIN.replace(":1000:1000", ":104:104")}, "user admin"),
        ({"accounts": ADMIN, "groups": "admin:x:27:"}, "user admin"),
        ({"groups": "codementee-backend:x:5:"}, "group codementee-backend"),
        ({"accounts": USER.replace(":990:990", ":1001:1001"), "groups": GROUP}, "user codementee-backend"),
        ({"accounts": USER.replace("/usr/sbin/nologin", "/bin/sh"), "groups": GROUP}, "user codementee-backend"),
        ({"accounts": USER.replace("990:990", "990:33"), "groups": GROUP}, "user codementee-backend"),
        ({"accounts": "mongodb:x:101:65534::/:/bin/false"}, "group mongodb"),
        ({"immutable": "/etc/nginx/nginx.conf"}, "/etc/nginx/nginx.conf"),
        ({"immutable": "/etc/nginx/conf.d/own.conf"}, None),
        ({"links": "/etc/nginx"}, "/etc/nginx"),
        ({"links": "/etc/nginx/sites-available"}, "/etc/nginx/sites-available"),
        ({"links": "/etc/nginx/conf.d/team"}, "/etc/nginx/conf.d/team"),
        ({"links": "/etc/nginx/nginx.conf\n/etc/mongod.conf"}, None),
        ({"taken": "/etc/nginx/tls/codementee"}, "/etc/nginx/tls/codementee"),
        ({"folder /var/www/codementee": "link /srv/site"}, "/var/www/codementee"),
        (
            {"folder /var/www/codementee": "entry releases\nentry current\nentry shared\ncurrent -> /srv/r/1"},
            "/var/www/codementee",
        ),
        ({"folder /var/www/codementee": "entry releases\nentry current\nentry venvs\ncurrent -> releases/1"}, None),
        ({"folder /var/www/codementee": "entry backend\nentry frontend"}, None),
        (
            {"unit codementee-backend.socket": "path=/etc/systemd/system/codementee-backend.socket"},
            "unit codementee-backend.socket",
        ),
        ({f"unit {SERVICE}": "path=/etc/systemd/system/x"}, None),
    ],
)
def test_a_name_that_is_taken_is_named(settings_with, found, name):
    assert told(names.obstacles(found, settings_with())) == ([name] if name else [])


# --- The backend -----------------------------------------------------------------------------------------------------

UNIT = """path=/etc/systemd/system/codementee-backend.service
[Service]
Environment=PYTHONUNBUFFERED=1 "RAZORPAY_KEY=rzp x" MONGO_URL=mongodb://localhost
ExecStart=/usr/local/bin/uvicorn {} --host 0.0.0.0 --port 8001
"""


def test_what_the_previous_backend_is_given_and_the_next_one_would_lack_is_named_without_its_value(settings_with):
    settings = settings_with()
    found = {
        f"unit {SERVICE}": UNIT.format(settings.backend_app),
        "environment /var/www/codementee": "DB_NAME\nJWT_SECRET",
    }
    lines = [str(one) for one in backend.obstacles(found, settings)]
    assert [line.partition(": found")[0] for line in lines] == [f"{SERVICE}: DB_NAME", f"{SERVICE}: RAZORPAY_KEY"]
    assert "rzp" not in "".join(lines)
    given = settings_with(backend_environment={"DB_NAME": "x", "RAZORPAY_KEY": "y"})
    assert [*backend.obstacles(found, given)] == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("ExecStartPre=/srv/venv/bin/alembic -x password=hunter2 upgrade head", "ExecStartPre"),
        ("ExecStartPost=-/usr/bin/curl http://localhost:8001/warm", "ExecStartPost"),
        ("SupplementaryGroups=docker", "SupplementaryGroups"),
        ("ExecStart=/var/www/codementee/start.sh --token hunter2", "ExecStart"),
        ("ExecStart=/srv/venv/bin/uvicorn {} --root-path /api", "--root-path"),
        ("LoadCredential=key:/etc/shop.key", "LoadCredential"),
        ("SetCredential=key:hunter2", "SetCredential"),
        ("BindPaths=/srv/uploads:/uploads", "BindPaths"),
        ("StateDirectory=shop", "StateDirectory"),
        ("ReadWritePaths=/var/www/codementee/backend /srv/uploads", "ReadWritePaths"),
        ("AmbientCapabilities=CAP_NET_BIND_SERVICE", "AmbientCapabilities"),
        ("CPUQuota=50%", "CPUQuota"),
        ("ExecStart=/srv/venv/bin/uvicorn {} \\\n  --root-path /api", "--root-path"),
        # Of ordinary units.
        ("Type=notify\nUser=www-data\nGroup=www-data\nWorkingDirectory=/srv/app\nNotifyAccess=all", ""),
        ("Restart=on-failure\nRestartSec=5s\nTimeoutStopSec=5\nKillSignal=SIGINT\nSyslogIdentifier=shop", ""),
        ("NoNewPrivileges=true\nProtectSystem=full\nReadWritePaths=-/var/www/codementee /tmp\nPrivateNetwork=no", ""),
        ("MemoryMax=1G\nTasksMax=200\nOOMScoreAdjust=100\nUMask=007\nCacheDirectory=shop\nAmbientCapabilities=", ""),
        ("[Unit]\nRequires=mongod.service\nStartLimitBurst=5\n[Install]\nAlias=shop.service\n[X-Own]\nKey=1", ""),
        ("ExecStartPre=-/bin/mkdir -p /run/gunicorn", ""),
        ("ExecStartPre=", ""),
        ("SupplementaryGroups=www-data", ""),
        ("ExecStart=/srv/venv/bin/gunicorn --bind unix:/run/g.sock -w 3 -k uvicorn.workers.UvicornWorker {}", ""),
        ("ExecStart=/bin/bash -c 'source venv/bin/activate && exec uvicorn {} --port 8001'", ""),
        ("ExecStart=/srv/venv/bin/python main.py", ""),
        ("ExecReload=/bin/kill -s HUP $MAINPID\nExecStop=/bin/kill -s TERM $MAINPID\nKillMode=mixed", ""),
        ("RuntimeDirectory=gunicorn\nPrivateTmp=true\nLimitNOFILE=65536\nStandardOutput=append:/var/log/x.log", ""),
    ],
)
def test_what_the_previous_unit_does_beside_its_application_is_named(settings_with, line, name):
    text = f"path=/etc/systemd/system/{SERVICE}\n[Service]\n{line.format(settings_with().backend_app)}\n"
    found = [*backend.obstacles({f"unit {SERVICE}": text}, settings_with())]
    assert told(found) == ([f"{SERVICE}: {name}"] if name else [])
    assert "hunter2" not in "".join(map(str, found))


def test_a_unit_of_the_previous_backend_in_another_folder_is_named(settings_with):
    text = UNIT.replace("/etc", "/lib").format(settings_with().backend_app)
    first, *_ = backend.obstacles({f"unit {SERVICE}": text}, settings_with())
    assert (first.name, first.found, first.may_go) == (f"unit {SERVICE}", "it in /lib/systemd/system", False)


def test_what_the_previous_backend_writes_beside_its_code_is_named(settings_with):
    found = {"written /var/www/codementee": "/var/www/codementee/backend/uploads/1.pdf"}
    assert told(backend.obstacles(found, settings_with())) == ["/var/www/codementee/backend/uploads/1.pdf"]
    taken_over = {**found, "folder /var/www/codementee": "backend -> current/backend"}
    assert told(backend.obstacles(taken_over, settings_with())) == []


def test_what_the_previous_backend_writes_elsewhere_is_named(settings_with):
    (one,) = backend.obstacles({"written /var/www/codementee": "/srv/app/uploads/1.pdf"}, settings_with())
    assert one.name == "/srv/app/uploads/1.pdf"
    assert "/var/www/codementee/backend" in one.need


def test_another_application_and_a_drop_in_are_named(settings_with):
    found = {f"unit {SERVICE}": UNIT.format("app.other:api").replace("RAZORPAY_KEY", "HOME")}
    (one,) = backend.obstacles(found, settings_with())
    assert one.need == 'backend_app = "app.other:api"'
    dropin = {f"file /etc/systemd/system/{SERVICE}.d/override.conf": "[Service]\nUser=root\n"}
    assert told(backend.obstacles(dropin, settings_with())) == [f"/etc/systemd/system/{SERVICE}.d/override.conf"]


JOBS = {"local times": "cron jobs and timers"}


@pytest.mark.parametrize(
    ("found", "wanted", "others", "users"),
    [
        ("America/New_York", "UTC", JOBS, "cron jobs and timers"),
        ("America/New_York", "UTC", {"local times": "containers"}, "containers"),
        ("America/New_York", "UTC", {"sites": "yes", **JOBS}, "cron jobs and timers and sites"),
        (
            "America/New_York",
            "UTC",
            {"listeners": "*:3000 node blog.service", "services": "blog.service"},
            "blog.service",
        ),
        ("America/New_York", "UTC", {"listeners": "*:25 master postfix.service", "services": "agent.service"}, ""),
        ("Etc/UTC", "UTC", JOBS, ""),
        ("Etc/UTC", "Europe/Berlin", JOBS, "cron jobs and timers"),
        ("Etc/UTC", "Europe/Berlin", {"sites": "yes", "local times": "containers"}, ""),
        ("Europe/Berlin", "Europe/Berlin", JOBS, ""),
        ("", "UTC", JOBS, ""),
    ],
)
def test_a_time_zone_that_something_of_the_owners_goes_by_is_named(settings_with, found, wanted, others, users):
    settings = settings_with(timezone=wanted)
    told = [*jobs.obstacles({"timezone": found, **others}, settings, is_open=False, has_sites="sites" in others)]
    assert [one.found for one in told] == ([f"{found}, by which {users} run"] if users else [])


def test_what_goes_by_local_time_is_found(tmp_path):
    texts = {
        "etc/crontab": "SHELL=/bin/sh\n17 * * * * root cd / && run-parts --report /etc/cron.hourly\n",
        "etc/cron.d/certbot": "0 0 * * * root certbot\n",
        "etc/cron.d/.placeholder": "",
        "etc/rc.local": "#!/bin/sh\n",
    }
    more = {
        "etc/cron.daily/report": "#!/bin/sh\n",
        "etc/crontab": "0 5 * * * root /srv/report\n",
        "var/spool/cron/atjobs/a0001": "#!/bin/sh\n",
        "home/dev/.config/systemd/user/report.timer": "[Timer]\nOnCalendar=02:00\n",
        "etc/systemd/system/report.timer": "[Timer]\nOnCalendar=02:00\n",
    }
    (tmp_path / "dpkg").write_text("#!/bin/sh\ncase $2 in */certbot) ;; *) exit 1 ;; esac\n")
    (tmp_path / "dpkg").chmod(0o755)
    command = Earlier().command(("admin",), ("admin",), (SERVICE,), ("/var/www/x",), 27017)
    script = command[command.index("s 'local times'") : command.index("s services;")]
    for folder in ("/etc/", "/var/", "/home/", "/root/"):
        script = script.replace(folder, f"{tmp_path}{folder}")

    def ask():
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(
            ["sh", "-c", f"s() {{ :; }}; {script}"], env=env, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines()

    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert ask() == []
    for name, text in more.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        before = (tmp_path / name).read_text() if (tmp_path / name).exists() else None
        (tmp_path / name).write_text(text)
        assert ask() == ["cron jobs and timers"], name
        (tmp_path / name).write_text(before) if before else (tmp_path / name).unlink()
    assert ask() == []
