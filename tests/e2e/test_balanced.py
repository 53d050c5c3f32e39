"""A site on two application servers behind a load balancer, under visitors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.balanced import FIRST, PORT, SECOND, Balanced, logged, unanswered
from support.lab_host import BUILT, LabHost, bring_up
from support.releases import COUNTING, PATIENT, WEBSOCKETS, Visits, backend, echoed, is_settled, websocket
from support.waiting import wait_until

pytestmark = pytest.mark.thorough

MONGODB = 27017
NEXT = "codementee-backend-next.service"
# What a server asks for as it dies, so that it does not come back by itself.
DEAD = "systemctl kill --signal KILL nginx; systemctl stop nginx codementee-backend.socket codementee-backend.service"
# Nginx last: a request waits for a backend that is starting, on a busy machine longer than these visitors do.
HANG, GO_ON = (f"systemctl kill --signal {signal} codementee-backend.service" for signal in ("STOP", "CONT"))
HEALTH = "curl -sf --unix-socket /run/codementee-backend.sock http://localhost/api/health"
# As docs/scale.md has it for a server that is removed.
STOP = 'systemctl disable --now $(systemctl list-unit-files --plain "codementee-*" | grep -o "^codementee-[^ ]*")'
ALIVE = f"systemctl start codementee-backend.service; until {HEALTH}; do sleep 0.5; done; systemctl start nginx"


@pytest.fixture(scope="module")
def balanced() -> Iterator[Balanced]:
    found = Balanced()
    found.must("apply", "lab", "--yes", *BUILT)
    yield found
    for host in found.hosts:
        host.remove()


@pytest.fixture
def visits(balanced: Balanced) -> Iterator[Visits]:
    visits = Visits(balanced.site())
    time.sleep(1)
    yield visits
    visits.process.kill()


def failed(visits: Visits, method: str = "") -> dict[str, dict[str, int]]:
    """The failures that visitors have noticed, of requests of a method."""
    noticed = visits.noticed()
    assert all(its["requests"] >= 50 for its in noticed.values()), "too few to notice anything"
    return {habit: its["failed"] for habit, its in noticed.items() if its["failed"] and habit.startswith(method)}


def passed(server: LabHost) -> int:
    """How many requests a server passes to its backend in two seconds; it does not log those that it refuses."""
    count = "grep -c ' /api/' /var/log/nginx/access.log || :"
    before = int(server.ssh(count))
    time.sleep(2)
    return int(server.ssh(count)) - before


def test_it_is_what_it_should_be_and_a_second_apply_changes_nothing(balanced: Balanced) -> None:
    assert "nothing to change" in balanced.must("apply", "lab", "--yes", *BUILT)
    verified = balanced.slipway("verify", "lab", *BUILT)
    assert verified.returncode == 0, verified.stdout[-3000:]


def test_both_servers_answer_and_know_the_visitor_and_the_id_of_the_request(balanced: Balanced) -> None:
    site = balanced.site()
    assert {site.get("/api/health").status_code for _ in range(10)} == {200}
    time.sleep(2)  # the log is buffered
    here, there = logged(balanced.balancer), [logged(server) for server in balanced.servers]
    visitor = f"{balanced.balancer.record.address.rpartition(chr(46))[0]}.1"
    for its in there:
        assert {*its} & {*here}, "none of its requests came through the load balancer"
        assert all(here[identifier] == address == visitor for identifier, address in its.items() if identifier in here)


def test_each_port_is_open_to_exactly_the_servers_that_need_it(balanced: Balanced) -> None:
    found = balanced.reachable((22, 80, 443, PORT, MONGODB))
    ssh = {(one.name, other.name, 22) for one in balanced.hosts for other in balanced.hosts if one is not other}
    web = {(server.name, balanced.balancer.name, port) for server in balanced.servers for port in (80, 443)}
    behind = {(balanced.balancer.name, server.name, PORT) for server in balanced.servers}
    database = {(balanced.second.name, balanced.first.name, MONGODB)}
    assert found == {"4": ssh | web | behind | database, "6": ssh | web}


def test_a_login_by_one_server_is_good_on_the_others(balanced: Balanced) -> None:
    site, counted = balanced.site(), "grep -c ' /api/companies ' /var/log/nginx/access.log || :"
    password = balanced.first.ssh("cat /etc/codementee/credentials/ADMIN_PASSWORD")
    before = [int(server.ssh(counted)) for server in balanced.servers]
    answer = site.post("/api/auth/login", json={"email": "admin@codementee.io", "password": password})
    own = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert {site.get("/api/companies", headers=own).status_code for _ in range(20)} == {200}
    time.sleep(2)  # the log is buffered
    after = [int(server.ssh(counted)) for server in balanced.servers]
    assert [new > old for new, old in zip(after, before, strict=True)] == [True, True]


def test_only_the_load_balancer_is_answered(balanced: Balanced) -> None:
    """Not a client at its address without its certificate, or with another server's."""
    url, host = f"https://{balanced.first.record.address}:{PORT}/", f"Host: {balanced.balancer.record.domain}"
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' -k -H '{host}'"
    assert balanced.balancer.ssh(f"{ask} {url}") == "400"
    own = "--cert /etc/slipway/tls/server.pem"
    assert balanced.balancer.ssh(f"{ask} {own} {url}") == "200"
    other = balanced.second.ssh("cat /etc/slipway/tls/server.pem")
    balanced.balancer.ssh(f"cat > /run/other.pem <<'END'\n{other}\nEND")
    assert balanced.balancer.ssh(f"{ask} --cert /run/other.pem {url}") == "403"


def test_a_server_without_its_backend_costs_no_visitor_a_page(balanced: Balanced, visits: Visits) -> None:
    """Requests that a backend has got as it dies fail, as on a single server: they might end another one, too."""
    balanced.second.ssh("mv /run/codementee-backend.sock /run/away.sock")
    time.sleep(20)
    balanced.second.ssh("mv /run/away.sock /run/codementee-backend.sock")
    wait_until("its backend answers again", lambda: balanced.answered(balanced.second) > 0)
    assert failed(visits, "GET") == {}


def test_a_dead_server_costs_no_visitor_a_page_and_comes_back(balanced: Balanced, visits: Visits) -> None:
    balanced.second.ssh(DEAD)
    time.sleep(10)
    balanced.second.ssh(ALIVE)
    wait_until("the server is back in rotation", lambda: balanced.answered(balanced.second) > 0)
    assert failed(visits, "GET") == {}


def test_a_server_that_vanishes_costs_no_later_visitor_a_page(balanced: Balanced) -> None:
    """Without a word, as of one without power: neither a connection nor its end is answered."""
    rules = (f"INPUT -p tcp --dport {PORT} -j DROP", f"OUTPUT -p tcp --sport {PORT} -j DROP")
    balanced.second.ssh("; ".join(f"iptables -I {rule}" for rule in rules))
    try:
        time.sleep(5)
        visits = Visits(balanced.site())
        time.sleep(60)
    finally:
        balanced.second.ssh("; ".join(f"iptables -D {rule}" for rule in rules))
    wait_until("the server is back in rotation", lambda: balanced.answered(balanced.second) > 0)
    assert failed(visits, "GET") == {}


def test_a_server_whose_backend_hangs_costs_no_visitor_a_request_once_that_is_noticed_and_comes_back(
    balanced: Balanced, visits: Visits
) -> None:
    balanced.second.ssh(HANG)
    try:
        wait_until("its server has noticed", lambda: unanswered(balanced.second), 10)
        # The visitors of before have requests that wait.
        later = Visits(balanced.site())
        time.sleep(20)
        assert passed(balanced.second) == 0
        assert failed(later) == {}
    finally:
        balanced.second.ssh(GO_ON)
    wait_until("its backend gets requests again", lambda: passed(balanced.second) > 0, 20)
    assert not unanswered(balanced.second)
    said = balanced.second.ssh("journalctl --no-pager -o cat -u slipway-backend-health | grep ^codementee")
    assert said.splitlines()[-2:] == [
        "codementee-backend does not answer: Nginx refuses requests for it",
        "codementee-backend answers again",
    ]


def test_if_all_backends_hang_they_get_requests_all_the_same_and_answer_when_they_can(balanced: Balanced) -> None:
    site = balanced.site()
    with ThreadPoolExecutor() as visitors:
        for server in balanced.servers:
            server.ssh(HANG)
        try:
            wait_until("both servers have noticed", lambda: all(map(unanswered, balanced.servers)), 30)
            waiting = [visitors.submit(site.get, "/api/health") for _ in range(4)]
            waiting.append(visitors.submit(site.post, "/api/companies"))
            assert site.get("/").status_code == 200
            time.sleep(2)
            assert not any(request.done() for request in waiting)
        finally:
            for server in balanced.servers:
                server.ssh(GO_ON)
        assert [request.result().status_code for request in waiting] == [200] * 4 + [405]
    wait_until("both are back in rotation", lambda: not any(map(unanswered, balanced.servers)), 20)
    visits = Visits(site)
    time.sleep(20)
    assert all(passed(server) for server in balanced.servers)
    assert failed(visits) == {}


def test_a_drained_server_gets_no_requests_until_it_is_put_back(balanced: Balanced, visits: Visits) -> None:
    balanced.must("drain", "lab", SECOND)
    time.sleep(1)
    assert balanced.answered(balanced.second) == 0
    plan = balanced.must("plan", "lab", *BUILT)
    assert "nothing to change" in plan
    assert f"{SECOND} is drained" in plan
    last = balanced.slipway("drain", "lab", FIRST)
    assert last.returncode == 1
    assert "last server in rotation" in last.stderr
    balanced.must("undrain", "lab", SECOND)
    wait_until("the server is back in rotation", lambda: balanced.answered(balanced.second) > 0)
    assert failed(visits) == {}


def test_a_server_that_was_away_as_maintenance_began_comes_back_without_visitors(balanced: Balanced) -> None:
    site, flag = balanced.site(), "/var/www/codementee/maintenance"
    balanced.must("maintenance", "on", "lab")
    balanced.second.ssh(f"rm {flag}")
    answers = [site.get(path) for path in ("/", "/api/health") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].headers["Retry-After"] == "5"
    assert "is in maintenance: visitors get 503" in balanced.must("plan", "lab", *BUILT)
    balanced.must("maintenance", "off", "lab")
    assert {site.get("/api/health").status_code for _ in range(10)} == {200}


def test_a_boot_that_writes_the_hosts_file_anew_loses_no_name_of_the_database(balanced: Balanced) -> None:
    second, since = balanced.second, "systemctl show -P ExecMainStartTimestamp slipway-names.service"
    before = second.ssh(since)
    assert before
    second.ssh("sed -i '/mongodb-1[.]internal$/d' /etc/hosts; ! getent hosts mongodb-1.internal")
    second.ssh("systemctl reboot", check=False)
    wait_until("it has rebooted", lambda: second.ssh(since, check=False) not in ("", before))
    wait_until("its backend is well", lambda: bool(second.ssh(f"{HEALTH} && echo yes", check=False)))
    assert second.ssh("getent ahostsv4 mongodb-1.internal").startswith(balanced.first.record.address)
    assert "nothing to change" in balanced.must("plan", "lab", *BUILT)


def test_a_release_goes_from_server_to_server_without_a_failed_request(balanced: Balanced, visits: Visits) -> None:
    (before,) = {*balanced.releases()}
    balanced.must("release", "lab", "--yes", *BUILT, "--data", "pre_activate=true")
    (after,) = {*balanced.releases()}
    assert after != before
    # Once, on the first.
    count = "journalctl -u codementee-backend-before --no-pager -o cat | grep -c ^Finished || :"
    assert [server.ssh(count) for server in balanced.servers] == ["1", "0"]
    assert "the servers differ" not in balanced.must("releases", "lab")
    # Plain pyinfra, too, takes one server after the other.
    balanced.pyinfra("rollback.py")
    assert {*balanced.releases()} == {before}
    assert all(map(is_settled, balanced.servers))
    assert failed(visits) == {}


def test_a_release_that_fails_on_the_second_server_goes_back_on_the_first(balanced: Balanced, visits: Visits) -> None:
    (before,) = {*balanced.releases()}
    previous = [server.ssh("readlink /var/www/codementee/previous") for server in balanced.servers]
    folder = f"/run/systemd/system/{NEXT}.d"
    balanced.second.ssh(f"mkdir -p {folder}; printf '[Service]\\nExecStartPre=false\\n' > {folder}/sick.conf")
    try:
        done = balanced.slipway("release", "lab", "--yes", *BUILT, *PATIENT)
    finally:
        balanced.second.ssh(f"rm -r {folder}; systemctl daemon-reload")
    assert done.returncode == 1
    assert f"{SECOND} failed at: Start the release and check its health" in done.stderr
    assert f"{SECOND} failed; releases/{before} is live here" in done.stderr
    assert balanced.releases() == [before, before]
    assert [server.ssh("readlink /var/www/codementee/previous") for server in balanced.servers] == previous
    assert all(map(is_settled, balanced.servers))
    assert failed(visits) == {}


def test_a_server_that_is_added_gets_the_live_release_and_one_that_goes_is_missed_by_nobody(
    balanced: Balanced, visits: Visits
) -> None:
    balanced.must("release", "lab", "--yes", *BUILT)
    (live,) = {*balanced.releases()}
    third, before = bring_up("three"), balanced.servers
    try:
        balanced.take([*before, third])
        assert f"it gets {live}, which is live on {FIRST}" in balanced.slipway("plan", "lab", *BUILT).stdout
        # A run that does not reach it.
        balancer = ("--limit", balanced.balancer.name)
        balanced.must("apply", "lab", "--yes", *balancer, *BUILT)
        assert f" down; # {third.name}" in balanced.balancer.ssh("cat /etc/nginx/snippets/slipway-upstream.conf")
        assert "nothing to change" in balanced.must("plan", "lab", *balancer, *BUILT)
        balanced.must("apply", "lab", "--yes", *BUILT)
        assert {*balanced.releases()} == {live}
        assert balanced.answered(third) > 0
        assert "nothing to change" in balanced.must("plan", "lab", *BUILT)
        balanced.must("drain", "lab", third.name)
        assert third.ssh(f"{STOP}; systemctl list-units --plain --no-legend --state=active 'codementee-*'") == ""
        balanced.take(before)
        balanced.must("apply", "lab", "--yes", *BUILT)
        assert third.name not in balanced.balancer.ssh("cat /etc/nginx/slipway-drained")
    finally:
        balanced.take(before)
        third.remove()
    assert failed(visits) == {}


@pytest.mark.parametrize(
    "step",
    [
        *("Build and upload the release", f"Let {FIRST} activate it", "Activate the release"),
        *("Restart the backend with the release", f"Let {SECOND} activate it", "Remove old releases"),
    ],
)
def test_a_release_whose_controller_is_killed_is_made_good_by_the_next(
    balanced: Balanced, visits: Visits, step: str
) -> None:
    release = balanced.start("release", "lab", "--yes", "--verbose", *BUILT)
    release.wait_for_operation(step)
    release.kill()
    balanced.must("release", "lab", "--yes", *BUILT)
    (live,) = {*balanced.releases()}
    assert all(map(is_settled, balanced.servers))
    assert live in balanced.must("releases", "lab")
    assert failed(visits) == {}


def test_streams_and_websockets_come_through_and_outlast_the_switch_of_their_server(
    balanced: Balanced, tmp_path: Path
) -> None:
    balanced.must("release", "lab", "--yes", *BUILT, *backend(tmp_path, lambda text: text + COUNTING, WEBSOCKETS))
    site = balanced.site()
    began = time.monotonic()
    lines = site.get("/api/count", stream=True).iter_lines()
    assert next(lines) == b"0"
    assert time.monotonic() - began < 3, "it came only when all of it was there"
    connection = websocket(site, "/api/echo")
    assert echoed(connection, "before") == "before"
    release = balanced.start("release", "lab", "--yes", *BUILT)
    release.wait_for_operation("Activate the release")
    assert echoed(connection, "meanwhile") == "meanwhile"
    assert list(lines)[-1] == b"59"
    connection.close()
    assert release.end()[0] == 0
    assert all(map(is_settled, balanced.servers))


def test_a_release_to_some_of_the_servers_is_refused(balanced: Balanced) -> None:
    done = balanced.slipway("release", "lab", "--yes", "--limit", FIRST, *BUILT)
    assert done.returncode == 1
    assert f"found a run without {SECOND}" in done.stderr


def test_servers_that_differ_go_back_together_and_one_that_lacks_a_release_copies_it(
    balanced: Balanced, visits: Visits
) -> None:
    (before,) = {*balanced.releases()}
    partial = ("release", "lab", "--yes", "--limit", balanced.balancer.name, "--limit", FIRST, "--partial", *BUILT)
    done = balanced.slipway(*partial)
    assert done.returncode == 1
    assert f"found {SECOND} in rotation, need it drained" in done.stderr
    balanced.must("drain", "lab", SECOND)
    balanced.must(*partial)
    newer, other = balanced.releases()
    assert (newer != before, other) == (True, before)
    balanced.must("rollback", "lab", "--yes")
    assert balanced.releases() == [before, before]
    balanced.must("undrain", "lab", SECOND)
    balanced.must("rollback", "lab", newer, "--yes")
    assert balanced.releases() == [newer, newer]
    assert all(map(is_settled, balanced.servers))
    assert failed(visits) == {}


def test_a_second_load_balancer_serves_the_same_site_when_the_first_is_gone(balanced: Balanced) -> None:
    servers, other = balanced.servers, bring_up("standby")
    domain = balanced.balancer.record.domain
    try:
        other.ssh(f"echo '{balanced.balancer.record.address} {domain}' >> /etc/hosts")
        balanced.take(servers, other)
        balanced.must("apply", "lab", "--yes", *BUILT)
        assert "nothing to change" in balanced.must("plan", "lab", *BUILT)
        # The name leads to the first one: it has passed the challenge on.
        site = other.site(domain)
        assert site.get("/").status_code == site.get("/api/health").status_code == 200
        balanced.must("drain", "lab", SECOND)
        for balancer in balanced.balancers:
            assert SECOND in balancer.ssh("cat /etc/nginx/slipway-drained")
        # One that was away meanwhile.
        balanced.balancer.ssh(
            "rm /etc/nginx/slipway-drained; sed -i 's/ down; /; /' /etc/nginx/snippets/slipway-upstream.conf"
        )
        balanced.must("apply", "lab", "--yes", "--limit", "lb", *BUILT)
        assert f" down; # {SECOND}" in balanced.balancer.ssh("cat /etc/nginx/snippets/slipway-upstream.conf")
        assert f"(by what {other.name} remembers)" in balanced.must("plan", "lab", *BUILT)
        balanced.must("undrain", "lab", SECOND)
        balanced.balancer.ssh("systemctl stop nginx")
        assert {site.get("/api/health").status_code for _ in range(10)} == {200}
    finally:
        balanced.balancer.ssh("systemctl start nginx")
        balanced.take(servers)
        balanced.must("apply", "lab", "--yes", *BUILT)
        other.remove()


def test_files_of_the_next_release_are_there_before_it_is_live(balanced: Balanced) -> None:
    """On a server whose turn has not come: visitors may have a page from another one."""
    root, name, later = "/var/www/codementee", "only-there-0a1b2c3d.js", "releases/later/frontend/build/static"
    for server in balanced.servers:
        link = "ln -sfn releases/later next-assets"
        server.ssh(f"cd {root} && mkdir -p {later} && echo 1 > {later}/{name} && {link}")
    site = balanced.site()
    assert {site.get(f"/static/{name}").status_code for _ in range(8)} == {200}
    for server in balanced.servers:
        server.ssh(f"cd {root} && ln -sfn $(readlink current) next-assets && rm -r releases/later")
