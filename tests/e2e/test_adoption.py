"""A server built by hand (by_hand/provision.sh) is adopted with everything that is on it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
import urllib3

from slipway.lab import hosts, snapshots
from slipway.site import Site
from support.checkout import PROJECT
from support.lab_host import LabHost, bring_up
from support.step_worker import END
from support.waiting import wait_until

BY_HAND = Path(__file__).parent / "by_hand"
LABEL = "by-hand"
# The owner's application reads its secrets from the environment and has its own health path.
AS_IT_IS = (
    *("--data", "backend_secrets=[]", "--data", "backend_secrets_delivery=environment", "--data", "secrets_file="),
    *("--data", 'generated_secrets=["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"]'),
    *("--data", 'backend_environment={"GREETING": "hello"}', "--data", 'shared_paths=["uploads"]'),
)

# The backend runs as a user who is not root, reads a file of root's, and writes uploads.
AS_A_USER = """
set -e; cd /var/www/codementee/backend; useradd --system shop
echo GREETING=hello > .env; chmod 644 .env
mkdir uploads; echo before > uploads/before; chown -R shop: uploads
sed -i 's/^User=root/User=shop/' /etc/systemd/system/codementee-backend.service
systemctl daemon-reload; systemctl restart codementee-backend
"""

# Another site, by http and https.
BLOG = "blog.example"
BESIDE = f"""
set -e; mkdir /var/www/blog; echo blog > /var/www/blog/index.html
echo 'server {{ listen 80; listen 443 ssl; server_name {BLOG}; root /var/www/blog;
  ssl_certificate /etc/nginx/ssl/c.pem; ssl_certificate_key /etc/nginx/ssl/k.pem; }}' > /etc/nginx/sites-enabled/blog
nginx -t -q; systemctl reload nginx
"""

# The server already has a mongod.
MONGOD = """
echo "deb [trusted=yes] {url}/debian bookworm/mongodb-org/{version} main" > /tmp/x.list
apt="apt-get -qq -o Dir::Etc::SourceList=/tmp/x.list -o Dir::Etc::SourceParts=-"
cd /tmp; $apt update; $apt download mongodb-org-server; dpkg-deb -x mongodb-org-server_*.deb mongod
mv mongod/usr/bin/mongod /usr/bin/mongod; rm -r mongod mongodb-org-server_*.deb x.list
"""


def token_of(site: Site) -> dict[str, str]:
    """The Authorization header after a login."""
    answer = site.post("/api/auth/login", json={"email": "a@b.c", "password": "pw"})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


class Visitor(threading.Thread):
    """Logs in once, then requests the page, the list and the other site in a loop; counts failures and the longest time
    without an answer. Pauses while somebody holds `away`."""

    def __init__(self, host: LabHost) -> None:
        super().__init__(daemon=True)
        self.site, self.ended, self.away = host.site(), threading.Event(), threading.Lock()
        self.site.session.verify = False  # its certificate is self-signed
        self.token = token_of(self.site)
        self.asked: dict[str, int] = {"/": 0, "/api/companies": 0, BLOG: 0}
        self.failures: list[str] = []
        # Whether the connection has answered before; requests that were repeated by another one.
        self.is_kept, self.repeated = False, 0
        self.gaps: dict[str, float] = dict.fromkeys(self.asked, 0.0)

    def run(self) -> None:
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        self.answered = dict.fromkeys(self.asked, time.monotonic())
        while not self.ended.wait(0.05):
            with self.away:
                for path in self.asked:
                    self.ask(path)

    def ask(self, path: str) -> None:
        self.asked[path] += 1
        status = self.status(path)
        if status == "ConnectionError" and self.is_kept:
            # The owner's Nginx closes kept connections as it reloads, and a request may be on its way: browsers repeat
            # it (RFC 9110, section 9.2.2).
            self.repeated += 1
            status = self.status(path)
        self.is_kept = status == "200"
        now = time.monotonic()
        if self.is_kept:
            self.gaps[path] = max(self.gaps[path], now - self.answered[path])
            self.answered[path] = now
        else:
            self.failures.append(f"{path}: {status}")

    def status(self, path: str) -> str:
        try:
            if path == BLOG:
                # By a connection of its own each time: a reload of Nginx waits for those to port 443 only.
                fresh = {"Connection": "close"}
                return str(
                    self.site.session.get(f"http://{BLOG}/", headers=fresh, timeout=self.site.seconds).status_code
                )
            return str(self.site.get(path, headers=self.token).status_code)
        except requests.RequestException as error:
            return type(error).__name__


class Visitors:
    """Several at a time: a moment that fails a request is short."""

    def __init__(self, host: LabHost, number: int = 3) -> None:
        self.each = [Visitor(host) for _ in range(number)]
        for one in self.each:
            one.start()

    @contextmanager
    def away(self) -> Iterator[None]:
        with ExitStack() as stack:
            for one in self.each:
                stack.enter_context(one.away)
            yield

    @property
    def repeated(self) -> int:
        return sum(one.repeated for one in self.each)

    @property
    def failures(self) -> list[str]:
        return [failure for one in self.each for failure in one.failures]

    def stop(self) -> str:
        """End them; what they have seen."""
        for one in self.each:
            one.ended.set()
        for one in self.each:
            one.join()
        asked = {path: sum(one.asked[path] for one in self.each) for path in self.each[0].asked}
        gaps = {path: round(max(one.gaps[path] for one in self.each), 1) for path in asked}
        return f"requests: {asked}, failed: {self.failures}, repeated: {self.repeated}, longest gaps in s: {gaps}"


# Prints the number of documents and a hash of them all, with the libraries that the owner installed.
DOCUMENTS = """
import hashlib, os, sys, bson, pymongo
database = pymongo.MongoClient(sys.stdin.read().strip()).codementee
documents = sorted(bson.encode(d) for c in database.list_collection_names() for d in database[c].find())
print(len(documents), hashlib.sha256(b"".join(documents)).hexdigest())
"""


def documents(host: LabHost, url: str) -> str:
    """`url` is a shell command that prints MongoDB's URL."""
    return host.ssh(f"{url} | python3 -c '{DOCUMENTS}'")


# Where an everyday run stops an apply: the new backend runs and Nginx still proxies to the old one; Nginx has changed
# and MongoDB still has no access control.
STOPS = ("Start the backend", "Stop the previous backend")
# A thorough run looks at the server after each operation, and lets another apply go on after so many.
STOP_EVERY = 6


@pytest.fixture(scope="module")
def by_hand() -> LabHost:
    """An owner's server, not adopted yet; the snapshot LABEL has its disk."""
    host = bring_up("byhand")
    settings = host.data
    host.ssh(MONGOD.format(url=settings["mongodb_apt_url"], version=settings["mongodb_version"]))
    for name in ("app.py", "provision.sh"):
        text = (BY_HAND / name).read_text().replace("codementee.test", "byhand.test")
        host.ssh(f"cat > /root/{name} <<'END_OF_FILE'\n{text}\nEND_OF_FILE")
    host.ssh("bash /root/provision.sh")
    host.ssh("until [ $(journalctl -u codementee-backend | grep -c 'startup complete') = 2 ]; do sleep 0.2; done")
    host.ssh(AS_A_USER)
    host.ssh(BESIDE)
    hosts.stop(host.name)
    snapshots.take(LABEL, host.name)
    hosts.up([host.name])
    wait_until("the server built by hand answers", lambda: is_up(host))
    return host


def answers(host: LabHost) -> bool:
    """Whether a visitor gets the page and, after a login, data from the database."""
    site = host.site()
    site.session.verify = False
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
    try:
        page, found = site.get("/"), site.get("/api/companies", headers=token_of(site))
        return "CodeMentee" in page.text and page.status_code == 200 and len(found.json()) in (50, 100)
    except (OSError, ValueError, KeyError):
        return False


def is_up(host: LabHost) -> bool:
    """The same of each worker of Nginx: one that found the backend down does not ask it again for 10 s."""
    return all(answers(host) for _ in range(8))


# Of the certificate that visitors get.
SERVED = "openssl s_client -connect 127.0.0.1:443 -servername byhand.test < /dev/null 2> /dev/null | openssl x509"


def stop_apply_at(host: LabHost, operation: str) -> None:
    """Interrupt an apply after an operation."""
    apply = host.start("apply", "lab", "--yes", "--verbose", *AS_IT_IS)
    apply.wait_for_operation(operation)
    apply.process.send_signal(signal.SIGINT)
    code, _, errors = apply.end()
    assert code in (0, 130), errors


def goes_on_after(host: LabHost, operation: str, visitors: Visitors) -> None:
    """The site must answer, also after a restart of its services, which the visitors do not see."""
    wait_until(f"the site answers after {operation!r}", lambda: answers(host), seconds=30)
    units = "mongod codementee-backend codementee-backend-by-hand"

    def with_nginx_restarted() -> bool:
        # The owner's Nginx answers 502 for 10 s once its backend was away, each worker by itself.
        host.ssh("systemctl restart nginx")
        return answers(host)

    with visitors.away():
        host.ssh(f"nginx -t -q && for unit in {units}; do systemctl try-restart $unit 2> /dev/null || :; done")
        wait_until(f"the site answers after {operation!r} and a restart", with_nginx_restarted, seconds=60, pause=2)


def steps(host: LabHost) -> Iterator[str]:
    """The operations of an adoption that change something, each as it has just ended. Every STOP_EVERY-th one is the
    last of its apply, and the next goes on."""
    program, items, done = PROJECT / "tests/support/step_worker.py", AS_IT_IS[1::2], 0
    while True:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, str(program), *items]
        worker = subprocess.Popen(command, env=host.env, cwd=PROJECT, text=True, **pipes)  # type: ignore[call-overload]
        said = "\n"
        while said == "\n":
            line = worker.stdout.readline().rstrip("\n")
            if line == END:
                worker.communicate()
                return
            assert line, worker.stderr.read()
            yield line
            done += 1
            said = "\n" if done % STOP_EVERY else "stop\n"
            worker.stdin.write(said)
            worker.stdin.flush()
        worker.communicate(timeout=60)


def test_a_server_built_by_hand_is_adopted_with_its_data_certificate_and_site(say, by_hand):
    host = by_hand
    plain = "echo mongodb://127.0.0.1:27017"
    before = documents(host, plain)
    # Each of its two workers may have inserted the first documents.
    assert before.split()[0] in ("51", "102")
    page, script = (
        host.ssh(f"sha256sum < /var/www/codementee/frontend/build/{f}") for f in ("index.html", "static/js/main.js")
    )

    plan = host.slipway("plan", "lab", *AS_IT_IS)
    assert "found an existing server; its data and its site are adopted" in plan.stdout, plan.stderr
    for part in (
        "the service codementee-backend",
        "/var/www/codementee/backend",
        "MongoDB's data",
        "the site /etc/nginx",
    ):
        assert part in plan.stdout

    visitors = Visitors(host)
    time.sleep(2)
    own = host.ssh(f"{SERVED} -noout -fingerprint")
    for operation in STOPS:
        stop_apply_at(host, operation)
        goes_on_after(host, operation, visitors)
        assert host.ssh(f"{SERVED} -noout -fingerprint") == own, "until there is another one, browsers know this one"
    host.apply(*AS_IT_IS)
    time.sleep(2)
    say(visitors.stop())
    assert visitors.failures == []

    assert host.plan(*AS_IT_IS) == []
    assert documents(host, "cat /etc/codementee/credentials/MONGO_URL") == before
    assert host.ssh("sha256sum < /var/www/codementee/frontend/build/index.html") == page
    assert host.ssh("sha256sum < /var/www/codementee/frontend/build/static/js/main.js") == script
    assert host.ssh("ls /var/www/codementee/releases").endswith("-by-hand")
    companies = host.site().get("/api/companies", headers=token_of(host.site()))
    assert len(companies.json()) == {"51": 50, "102": 100}[before.split()[0]]
    for aside in ("etc/nginx/sites-available/codementee", "etc/systemd/system/codementee-backend.service"):
        assert host.ssh(f"grep -c . /var/backups/slipway/by-hand/{aside}")
    assert host.ssh("cmp /root/app.py /var/www/codementee/backend.by-hand/server.py && echo same") == "same"
    assert host.ssh("ls /etc/systemd/system | grep by-hand || echo none") == "none"


@pytest.fixture
def adopted(by_hand: LabHost) -> LabHost:
    """The owner's server, adopted: by the first test, or now."""
    by_hand.apply(*AS_IT_IS)
    return by_hand


@pytest.mark.thorough
def test_an_adopted_server_passes_verify(adopted):
    done = adopted.slipway("verify", "lab", *AS_IT_IS)
    assert done.returncode == 0, done.stdout


@pytest.mark.thorough
def test_an_adoption_can_be_undone_and_repeated(adopted):
    host = adopted
    before = documents(host, "cat /etc/codementee/credentials/MONGO_URL")
    backend = "/var/www/codementee/backend"
    host.ssh(f"runuser -u codementee-backend -- sh -c 'umask 027; echo since > {backend}/uploads/since'")
    shown = "cd {0}/etc; cat issue timezone login.defs; readlink localtime"
    earlier = host.ssh(shown.format("/var/backups/slipway/by-hand"))
    host.ssh("mkdir -p /var/lib/aide; echo baseline > /var/lib/aide/aide.db.by-hand")
    done = host.slipway("unadopt", "lab", "--yes", *AS_IT_IS)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until("the site answers as before", lambda: answers(host), seconds=30)
    assert (host.ssh(shown.format("")), host.ssh("cat /var/lib/aide/aide.db")) == (earlier, "baseline")
    assert host.ssh("grep -l 'by Slipway' /etc/nginx/nginx.conf /etc/mongod.conf || echo none") == "none"
    assert "/usr/local/bin/uvicorn" in host.ssh("systemctl show -p ExecStart codementee-backend")
    uses = "cat .env uploads/before uploads/since; touch uploads/after uploads/since"
    assert host.ssh(f"cd {backend}; runuser -u shop -- sh -ec '{uses}'").split() == [
        "GREETING=hello",
        "before",
        "since",
    ]
    assert host.ssh(f"cd {backend}; stat -c '%a %U' .env uploads/").split() == ["644", "root", "755", "shop"]
    assert host.ssh(f"cmp /root/app.py {backend}/server.py && echo same") == "same"
    assert documents(host, "echo mongodb://127.0.0.1:27017") == before
    host.ssh("systemctl restart nginx mongod codementee-backend")
    wait_until("the site answers after a restart", lambda: answers(host), seconds=60)
    own_units = (
        "systemctl list-units --all --plain --no-legend 'slipway-*' '*-by-hand*' | grep -v slipway-thp || echo none"
    )
    assert host.ssh(own_units) == "none"
    stop_apply_at(host, STOPS[0])
    assert "by-hand.scope" in host.ssh("systemctl list-units --plain '*-by-hand.scope'")
    done = host.slipway("unadopt", "lab", "--yes", *AS_IT_IS)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until("the site answers as before", lambda: answers(host), seconds=30)
    assert host.ssh(own_units) == "none"
    assert host.ssh("systemctl is-active codementee-backend") == "active"
    host.apply(*AS_IT_IS)
    assert host.plan(*AS_IT_IS) == []
    assert answers(host)


@pytest.mark.thorough
def test_no_visitor_notices_an_adoption(say, by_hand):
    snapshots.restore(LABEL, by_hand.name)
    wait_until("the server built by hand answers", lambda: is_up(by_hand))
    visitors = Visitors(by_hand)
    by_hand.apply(*AS_IT_IS)
    time.sleep(5)
    say(visitors.stop())
    assert visitors.failures == []
    # Nginx reloads once with its owner's configuration.
    assert visitors.repeated <= len(visitors.each)


@pytest.mark.thorough
def test_an_apply_that_stops_at_any_operation_keeps_the_site_up(say, by_hand):
    snapshots.restore(LABEL, by_hand.name)
    wait_until("the server built by hand answers", lambda: is_up(by_hand))
    visitors = Visitors(by_hand)
    failed: dict[str, list[str]] = {}
    passed = []
    for operation in steps(by_hand):
        passed.append(operation)
        known = len(visitors.failures)
        goes_on_after(by_hand, operation, visitors)
        if visitors.failures[known:]:
            failed[operation] = visitors.failures[known:]
    say(f"{len(passed)} operations, {visitors.stop()}")
    assert {*STOPS} <= {*passed}
    assert failed == {}
    assert visitors.failures == []
    assert by_hand.plan(*AS_IT_IS) == []
