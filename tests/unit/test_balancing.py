"""Several servers behind a load balancer: what is refused, Nginx on both sides, and who may connect."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime

import pytest

from slipway.adoption.ufw import lost_rules
from slipway.cli.drain import script
from slipway.engine.components import registry
from slipway.secrets.authority import create
from slipway.settings import balancing
from slipway.settings.peers import Peer
from slipway.tasks import tls  # noqa: F401  registers
from slipway.tasks.balancing import BEHIND, OWN_HEADERS, PASS, UPSTREAM
from slipway.tasks.firewall import expected_rules, rules
from slipway.tasks.nginx import configuration, connections_wait, links, unit_values

SITE = "sites-available/codementee"


@pytest.fixture(autouse=True)
def _authority(monkeypatch):
    given = create(datetime.now(UTC)) | {"MONGODB_BACKEND_PASSWORD": "p@ss"}
    for name, value in given.items():
        monkeypatch.setenv(f"SLIPWAY_SECRET_{name}", value)


# --- What is refused


def test_an_inventory_with_a_load_balancer_is_in_order(balanced_with):
    assert [[*balancing.problems(balanced_with(name))] for name in ("lb", "one", "two")] == [[], [], []]


def test_without_a_load_balancer_nothing_is_asked(settings_with, monkeypatch):
    monkeypatch.delenv("SLIPWAY_SECRET_SERVERS_CA_KEY")
    settings = settings_with(shared_paths=["uploads"])
    settings._peers = (Peer("one", ("web", "app"), "", is_here=True), Peer("two", ("web",), ""))
    assert [*balancing.problems(settings)] == []


LB, ONE, TWO = (
    Peer("lb", ("lb",), "10.0.0.1"),
    Peer("one", ("web", "app"), "10.0.0.2"),
    Peer("two", ("web", "app"), "10.0.0.3"),
)


def here(peer: Peer, *roles: str, **changes: object) -> Peer:
    its = {"roles": roles or peer.roles, "address": peer.address, "given": peer.given, **changes}
    return Peer(peer.name, **its, is_here=True)


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ((here(LB, "lb", "db"), ONE), "found it in lb and in db, expected a load balancer in no other role"),
        (
            (here(LB, "lb", "web", "app"), ONE),
            "found it in lb and in web, app, expected a load balancer in no other role",
        ),
        ((here(LB),), "found it in lb and no host in web, expected the application servers"),
        ((LB, here(ONE, "app"), TWO), "found it in app and not in web, expected it in both"),
        ((LB, here(ONE, "web"), TWO), "found it in web and not in app, expected it in both"),
        ((LB, here(ONE, address=""), TWO), "private_address: found '' and no address of the connection"),
        ((here(LB, address=""), ONE), "private_address: found '' and no address of the connection"),
        (
            (Peer("lb", ("lb",), "10.0.0.1", {"site_domain": "b.example"}), here(ONE)),
            "expected that of the load balancer",
        ),
    ],
)
def test_a_server_in_a_wrong_place_is_refused_with_what_to_do(settings_with, peers, said):
    settings = settings_with()
    settings._peers = peers
    (problem,) = balancing.problems(settings)
    assert said in problem


def test_the_missing_authority_is_told_once_with_the_command_that_makes_it(balanced_with, monkeypatch):
    monkeypatch.delenv("SLIPWAY_SECRET_SERVERS_CA_KEY")
    (problem,) = balancing.problems(balanced_with("lb"))
    assert "type `slipway secrets ca --print >> " in problem
    assert [*balancing.problems(balanced_with("one"))] == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("secrets/production.age", "in secrets/production.age: type `slipway secrets ca`"),
        ("secrets/staging.age", "type `slipway secrets ca staging`"),
        ("secrets/production.env", "type `slipway secrets ca --print >> secrets/production.env`"),
        (
            "",
            "`slipway secrets ca --print` makes both, for SLIPWAY_SECRET_SERVERS_CA_KEY and SLIPWAY_SECRET_SERVERS_CA",
        ),
    ],
)
def test_the_command_that_makes_an_authority_is_of_where_the_secrets_are(file, said):
    assert said in balancing.missing_authority(file)


def test_what_would_differ_between_the_servers_is_refused_for_the_first_of_several(balanced_with, tmp_path):
    unshared = {"shared_paths": ["uploads"], "shared_files": ["data.json"]}
    # Of the two that are generated, one is MongoDB's, which is on one server.
    secrets = {
        "backend_secrets": ["KEY"],
        "generated_secrets": ["KEY", "MONGODB_ADMIN_PASSWORD"],
        "secrets_file": "none",
    }
    paths, files, secret = balancing.problems(balanced_with("one", **unshared, **secrets))
    assert "shared_paths: found ['uploads'] with several application servers" in paths
    assert "shared_files: found ['data.json']" in files
    assert "generated_secrets: found KEY with several application servers" in secret
    assert "SLIPWAY_SECRET_KEY" in secret
    assert [*balancing.problems(balanced_with("two", **unshared, **secrets))] == []
    mounted = {**unshared, "shared_storage": "mounted"}
    assert len([*balancing.problems(balanced_with("one", **mounted, **secrets))]) == 1


def test_frontends_that_each_server_would_build_for_itself_are_refused_behind_a_load_balancer(
    balanced_with, settings_with
):
    (problem,) = balancing.problems(balanced_with("one", frontend_build_on="server"))
    assert problem.startswith('frontend_build_on: found "server" with several application servers, expected "local"')
    alone = settings_with(frontend_build_on="server")
    alone._peers = (LB, here(ONE))
    assert [*balancing.problems(alone)] == []


# --- Nginx


def test_the_load_balancer_passes_on_encrypted_to_each_server_that_it_can_verify(balanced_with):
    files = configuration(balanced_with("lb"))
    servers = re.findall(r"^    server (.*)$", files[UPSTREAM].partition("}")[0], re.MULTILINE)
    assert servers == [
        f"10.0.0.{number}:8443 max_fails=3 fail_timeout=5s; # {name}" for number, name in ((2, "one"), (3, "two"))
    ]
    assert "proxy_pass https://slipway-servers;" in files[SITE]
    assert "http://" not in re.sub("#.*", "", files[SITE])
    passed = files[PASS].splitlines()
    assert {"proxy_ssl_verify on;", "proxy_ssl_name web.slipway.internal;"} <= {*passed}
    # Nothing that may have had an effect is sent twice, and an error that the backend answers is no reason.
    assert [line for line in passed if line.startswith("proxy_next_upstream")] == ["proxy_next_upstream error timeout;"]
    assert f"include {UPSTREAM};" in files["nginx.conf"]


def test_a_drained_server_is_down_and_the_others_are_not(balanced_with):
    upstream = configuration(balanced_with("lb"), drained=["two"])[UPSTREAM]
    assert "10.0.0.2:8443 max_fails=3 fail_timeout=5s; # one" in upstream
    assert "10.0.0.3:8443 max_fails=3 fail_timeout=5s down; # two" in upstream


def test_a_server_is_reached_by_the_port_that_it_has(settings_with):
    settings = settings_with()
    one = Peer("one", ("web", "app"), "10.0.0.2", {"lb_port": 9443})
    settings._peers = (here(LB), one, TWO)
    upstream = configuration(settings)[UPSTREAM]
    assert re.findall(r"^    server (\S+) ", upstream.partition("}")[0], re.MULTILINE) == [
        "10.0.0.2:9443",
        "10.0.0.3:8443",
    ]


@pytest.mark.parametrize("is_sticky", [False, True])
def test_a_visitor_stays_at_a_server_only_where_that_is_set(balanced_with, is_sticky):
    upstream = configuration(balanced_with("lb", lb_sticky=is_sticky))[UPSTREAM]
    assert ("hash $remote_addr consistent;" in upstream) is is_sticky


def test_a_request_that_a_server_refuses_goes_to_the_others_and_only_the_last_may_not_refuse_it(settings_with):
    settings = settings_with()
    settings._peers = (here(LB), ONE, TWO, Peer("three", ("web", "app"), "10.0.0.4"))
    files = configuration(settings, drained=["three"])
    groups = dict(re.findall(r"^upstream (\S+) {\n(.*?)^}", files[UPSTREAM], re.MULTILINE | re.DOTALL))
    servers = {name: re.findall(r"# (\w+)$", text, re.MULTILINE) for name, text in groups.items()}
    others = {"slipway-without-1": ["two", "three"], "slipway-without-2": ["one", "three"]}
    assert servers == {"slipway-servers": ["one", "two", "three"], **others, "slipway-without-3": ["one", "two"]}
    assert all("10.0.0.4:8443 max_fails=3 fail_timeout=5s down; # three" in groups[name] for name in others)
    assert '"~(^| )10[.]0[.]0[.]3:8443$" slipway-without-2;' in files[UPSTREAM]
    # Three servers: two may refuse it.
    assert '"~^(.* : ){1}." "";' in files[UPSTREAM]
    assert "proxy_set_header X-Slipway-Refusable $slipway_refusable;" in files[PASS]
    assert "proxy_pass https://$slipway_others;" in files[SITE]


@pytest.mark.parametrize(
    ("sent", "is_repeatable"),
    [
        *(("GET 120", True), ("PUT 120", True), ("POST 0", True), ("POST 120 : 0", True), ("POST 120 : 0, 0", True)),
        *(("POST 120", False), ("PATCH 120 : 0 : 40", False), ("POST 100 : 0, 10", False)),
    ],
)
def test_what_may_have_had_an_effect_is_not_sent_again(balanced_with, sent, is_repeatable):
    upstream = configuration(balanced_with("lb"))[UPSTREAM]
    (pattern,) = re.findall(r'"~(.*)" no;', upstream.partition("$slipway_repeatable")[2])
    assert (re.search(pattern, sent) is None) is is_repeatable


def test_a_single_application_server_gets_what_it_has_refused(settings_with):
    settings = settings_with()
    settings._peers = (here(LB), ONE)
    upstream = configuration(settings)[UPSTREAM]
    assert upstream.count("server 10.0.0.2:8443") == 2
    assert '"~^(.* : ){0}." "";' in upstream


def test_only_answers_of_its_own_get_the_load_balancers_headers(balanced_with):
    files = configuration(balanced_with("lb"))
    assert files[SITE].count(f"include {OWN_HEADERS};") == 1
    maps = dict(
        re.findall(r'map \$upstream_status (\$own_\w+) {\n        "" (.*);\n        default "";', files["nginx.conf"])
    )
    assert [line.split()[2] for line in files[OWN_HEADERS].splitlines() if line.startswith("add_header")] == [*maps]
    plain = dict(
        line.split(maxsplit=2)[1:] for line in files["snippets/slipway-headers.conf"].splitlines() if line[:3] == "add"
    )
    assert {*maps.values()} == {value.removesuffix(" always;") for value in plain.values()}


def test_an_application_server_listens_for_the_load_balancer_alone(balanced_with):
    files = configuration(balanced_with("one", site_aliases=["www.codementee.io"]))
    listens = {
        line.strip() for text in files.values() for line in text.splitlines() if line.strip().startswith("listen ")
    }
    assert listens == {"listen 10.0.0.2:8443 ssl default_server;", "listen 10.0.0.2:8443 ssl;"}
    assert {"ssl_verify_client on;", "if ($is_of_balancer = no) {"} <= {
        line.strip() for line in files[BEHIND].splitlines()
    }
    assert re.findall(r"set_real_ip_from (.*);", files[BEHIND]) == ["10.0.0.1"]
    servers = files[SITE].count("server {") + files["sites-available/default"].count("server {")
    assert sum(text.count(f"include {BEHIND};") for text in files.values()) == servers == 2


def test_a_server_whose_backend_accepts_no_connection_closes_that_of_the_load_balancer(balanced_with):
    """Also where a connection that was kept has ended before."""
    own = configuration(balanced_with("one"))[SITE]
    assert 'if ($upstream_connect_time ~ "-$") {\n            return 444;' in own
    assert "444" not in configuration(balanced_with("lb"))[SITE]


def test_a_server_refuses_only_what_the_load_balancer_can_pass_on_and_nothing_that_needs_no_service(balanced_with):
    service = {"name": "pay", "app": "pay:app", "host": "pay.codementee.io", "health_path": "/well"}
    settings = balanced_with("one", services=[service], lb_direct=True)
    files = configuration(settings)
    assert (
        "$unanswered {\n        yes /run/slipway-backend-health;\n        default /nonexistent;" in files["nginx.conf"]
    )
    locations = re.split(r"\n    location ", files[SITE])
    passing = {text.partition(" {")[0] for text in locations if "proxy_pass" in text}
    assert {text.partition(" {")[0] for text in locations if "@refused" in text} == passing
    assert files[SITE].count("if (-f $unanswered/codementee-pay)") == 1
    assert "@refused" not in files[f"{SITE}-direct"]
    assert 'proxy_set_header X-Slipway-Refusable "";' in files["snippets/slipway-backend.conf"]


def test_an_application_server_has_the_visitors_request_id_and_limits_no_logins(balanced_with):
    files = configuration(balanced_with("one"))
    assert "proxy_set_header X-Request-ID $known_request_id;" in files["snippets/slipway-backend.conf"]
    assert '"id":"$known_request_id"' in files["nginx.conf"]
    assert "limit_req" not in files[SITE]
    assert "limit_req zone=codementee-login" in configuration(balanced_with("lb"))[SITE]


def test_a_reload_waits_for_connections_at_the_port_that_the_host_has(balanced_with):
    assert unit_values(balanced_with("one"))["hexadecimal"] == "20FB"
    assert unit_values(balanced_with("lb"))["hexadecimal"] == "01BB"
    assert "for port in 8443; do" in connections_wait(balanced_with("one")).before


def test_a_server_that_visitors_still_reach_has_both_sides(balanced_with):
    settings = balanced_with("one", lb_direct=True)
    files = configuration(settings)
    behind, direct = files[SITE], files[f"{SITE}-direct"]
    assert "listen 10.0.0.2:8443 ssl;" in behind
    assert "listen 443" not in behind
    assert "listen 443 ssl http2;" in direct
    assert "10.0.0.2:8443" not in direct
    # What both use is said once.
    assert "upstream codementee-backend" in behind
    assert "upstream codementee" not in direct
    assert "limit_req_zone" in direct
    # The challenges of the load balancer's certificate come here.
    assert "try_files $uri @elsewhere;" in direct
    assert "upstream slipway-challenges {\n        server 10.0.0.1:80;\n    }" in files["nginx.conf"]
    assert "listen 10.0.0.2:8443 ssl default_server;" in files["sites-available/default"]
    assert "ssl_reject_handshake on;" in files["sites-available/default"]
    # Only the load balancer gives a request its id.
    assert "yes $http_x_request_id;" in files["nginx.conf"]
    assert links(settings)["sites-enabled/codementee-direct"] == "../sites-available/codementee-direct"
    assert registry["tls"].is_on(["web"], settings)
    assert {"allow 80/tcp", "allow 443/tcp"} <= {*rules(settings, ["22"], is_web=True)}
    assert unit_values(settings)["hexadecimal"] == "(01BB|20FB)"
    assert f"{SITE}-direct" not in configuration(balanced_with("one"))


def test_a_second_load_balancer_passes_on_to_the_same_servers_and_each_gets_a_certificate(settings_with):
    settings = settings_with()
    settings._peers = (LB, here(Peer("lb2", ("lb",), "10.0.0.9")), ONE, TWO)
    assert [*balancing.problems(settings)] == []
    files = configuration(settings)
    assert "server 10.0.0.2:8443" in files[UPSTREAM]
    assert "upstream slipway-challenges {\n        server 10.0.0.1:80;\n    }" in files["nginx.conf"]
    assert "try_files $uri @elsewhere;" in files[SITE]
    settings._peers = (LB, Peer("lb2", ("lb",), "10.0.0.9"), here(ONE), TWO)
    assert "set_real_ip_from 10.0.0.9;" in configuration(settings)[BEHIND]
    assert "allow from 10.0.0.9 to any port 8443 proto tcp" in rules(settings, ["22"], is_web=True)
    settings._peers = (here(LB), ONE)
    assert "slipway-challenges" not in "".join(configuration(settings).values())


def test_only_an_application_server_behind_a_load_balancer_is_reached_without_it(balanced_with, settings_with):
    assert [*balancing.problems(balanced_with("one", lb_direct=True))] == []
    (problem,) = balancing.problems(balanced_with("lb", lb_direct=True))
    assert problem.startswith("lb_direct: found True and a host that is not in web")
    (problem,) = balancing.problems(settings_with(lb_direct=True))
    assert problem.startswith("lb_direct: found True and no lb host")


def test_the_certificate_is_the_load_balancers(balanced_with):
    assert registry["tls"].is_on(["lb"], balanced_with("lb"))
    assert not registry["tls"].is_on(["web"], balanced_with("one"))


# --- The firewall


def test_the_port_of_an_application_server_is_open_to_the_load_balancer_alone(balanced_with):
    one = rules(balanced_with("one"), ["22"], is_web=True)
    assert [rule for rule in one if "27017" not in rule] == [
        "allow 22/tcp",
        "allow from 10.0.0.1 to any port 8443 proto tcp",
    ]
    assert "-A ufw-user-input -s 10.0.0.1/32 -p tcp -m tcp --dport 8443 -j ACCEPT" in expected_rules(one)
    assert not [line for line in expected_rules(one) if "8443" in line and "ufw6" in line]
    assert rules(balanced_with("lb"), ["22"], is_web=True) == ["allow 22/tcp", "allow 80/tcp", "allow 443/tcp"]


def test_the_rule_for_the_load_balancer_is_none_that_would_be_lost(balanced_with):
    settings = balanced_with("one")
    found = rules(settings, ["22"], is_web=True)
    assert [*lost_rules(expected_rules(found), settings, ["22"], found)] == []
    ours = [f"ufw {rule}" for rule in found if " from " in rule]
    assert sorted(one.name for one in lost_rules(expected_rules(found), settings, ["22"])) == sorted(ours)


# --- slipway drain


@pytest.fixture
def balancer(tmp_path, balanced_with):
    """Runs the script of `slipway drain` or `undrain` in a folder with a load balancer's configuration."""
    for name in ("nginx", "systemctl"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} $* >> {tmp_path}/called\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "snippets").mkdir()
    (tmp_path / UPSTREAM).write_text(configuration(balanced_with("lb"))[UPSTREAM])

    def run(name: str, out: bool) -> subprocess.CompletedProcess[str]:
        (tmp_path / "called").write_text("")
        text = f"PATH={tmp_path}:$PATH\n{script(name, out)}".replace("/etc/nginx", str(tmp_path))
        return subprocess.run(["sh"], input=text, capture_output=True, text=True, check=False)

    return run


def test_a_drained_server_is_as_an_apply_would_render_it_and_comes_back_so(balancer, balanced_with, tmp_path):
    for out, drained in ((True, ["two"]), (False, [])):
        assert balancer("two", out).returncode == 0
        assert (tmp_path / UPSTREAM).read_text() == configuration(balanced_with("lb"), drained=drained)[UPSTREAM]
        assert (tmp_path / "slipway-drained").read_text().split() == drained
        assert (tmp_path / "called").read_text() == "nginx -t -q\nsystemctl reload nginx\n"
        # Again: nothing to do.
        assert balancer("two", out).returncode == 0
        assert (tmp_path / "called").read_text() == ""


def test_the_last_server_is_not_drained(balancer, tmp_path):
    assert balancer("two", True).returncode == 0
    before = (tmp_path / UPSTREAM).read_text()
    done = balancer("one", True)
    assert (done.returncode, done.stdout) == (
        1,
        "one is the last server in rotation, expected another one: slipway undrain NAME\n",
    )
    assert (tmp_path / UPSTREAM).read_text() == before
    assert (tmp_path / "slipway-drained").read_text() == "two\n"
    assert not [path for path in [*tmp_path.iterdir(), *(tmp_path / "snippets").iterdir()] if path.suffix == ".new"]


def test_a_server_that_is_not_there_yet_is_out_from_its_first_moment(balancer, tmp_path):
    before = (tmp_path / UPSTREAM).read_text()
    assert balancer("three", True).returncode == 0
    assert (tmp_path / "slipway-drained").read_text() == "three\n"
    assert (tmp_path / UPSTREAM).read_text() == before
