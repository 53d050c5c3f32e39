"""`slipway inspect` and `slipway init --from` without a host: output, files and errors."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from pathlib import Path

import pytest

from slipway.cli import main
from slipway.engine.connector import Connector
from slipway.engine.errors import RunFailed
from slipway.engine.one_host import OneHost, Target
from slipway.facts.base import Output
from slipway.facts.ssh import Sshd
from slipway.inspection import collect, fates
from slipway.inspection.collect import given, inspect, known_of
from slipway.inspection.plan import Plan, problems_in
from slipway.inspection.proposals import settings_of
from slipway.inspection.questions import questions
from slipway.inspection.report import Report
from slipway.settings.check import SettingsError
from slipway.starter.detect import reading
from slipway.starter.of_server import Server
from slipway.tasks.firewall import Ufw
from slipway.ui.inspection import as_html, sections
from support import recorded

REFUSAL = "memory: found 512 MiB, need 900 MiB (choose a larger server)"


@pytest.fixture
def report() -> Report:
    report = recorded.report()
    known = known_of(recorded.answers("by_hand"), settings_of(report.settings, {}), Plan(refusals=[REFUSAL]), True)
    fates.tell(report, known)
    return report


@pytest.fixture
def slipway(monkeypatch, capsys, report):
    """Runs a command line on a host that was recorded; returns its exit code, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("slipway.cli.inspect.inspected", lambda console, host, data: report)
        monkeypatch.setattr(Server, "asked", staticmethod(lambda host, data: Server(report)))
        monkeypatch.setattr(sys, "argv", ["slipway", *arguments])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capsys.readouterr())

    return run


def test_a_report_is_shown_with_what_apply_would_do(slipway):
    code, output, errors = slipway("inspect", "byhand.test")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == "byhand.test  as root"
    assert f"    - {REFUSAL}" in lines
    assert "    keep    8443/tcp  python3 (listener.service); IPv4; open to all" in lines
    assert "            Nginx 1.22.1  runs" in lines
    assert "    remove  eve  0 keys; has a password" in lines
    assert "              -> its login by password is disabled, and it has no key" in lines
    assert "            11 of packages  shown by --verbose" in lines
    assert '            firewall_allow = ["8443/tcp"]  ufw show added' in lines


def test_a_verbose_report_leaves_nothing_out_and_a_quiet_one_is_silent(slipway):
    assert "certbot.timer" in slipway("inspect", "byhand.test", "--verbose")[1]
    assert slipway("inspect", "byhand.test", "--quiet") == (0, "", "")


def test_reports_are_written(slipway, tmp_path):
    page, data = tmp_path / "x.html", tmp_path / "x.json"
    slipway("inspect", "byhand.test", "--html", str(page), "--json", str(data), "-q")
    assert Report.model_validate_json(data.read_text()).host == "byhand.test"
    assert "codementee-backend.service" in page.read_text()
    code, output, _ = slipway("inspect", "byhand.test", "--json", "-")
    assert (code, json.loads(output)["refusals"]) == (0, [REFUSAL])


def test_the_page_needs_nothing_but_itself_and_no_host_writes_into_it(report):
    report.sites[0].names = ["<script>alert(1)</script>"]
    page = as_html(report)
    assert "<script>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)|url\(|@import", page)
    assert REFUSAL in page


def test_nothing_that_is_shown_has_a_secret(slipway, report):
    shown = slipway("inspect", "byhand.test", "--verbose")[1] + as_html(report)
    assert "***" in shown
    assert "hunter2" not in shown


def test_what_a_host_says_is_for_a_terminal_to_show_and_not_to_obey(slipway, report):
    report.services[0].command = "run \x1b[2J [red]x[/]"
    output = slipway("inspect", "byhand.test")[1]
    assert "run \\x1b[2J [red]x[/]" in output


def test_without_root_what_is_not_seen_is_said(slipway, report):
    report.without_root, report.unseen = "eve is not root", ["the firewall's rules"]
    report.firewall.seen = False
    output = slipway("inspect", "byhand.test")[1]
    assert "eve is not root; not seen: the firewall's rules" in output
    assert "not seen  without root's rights" in output


def test_every_kind_of_thing_has_a_section(report):
    empty = {section.title for section in sections(report) if not section.rows}
    assert empty == set()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("shop", Target("shop")),
        ("root@203.0.113.7:2222", Target("203.0.113.7", "root", 2222)),
        ("2001:db8::1", Target("2001:db8::1")),
        ("deploy@[2001:db8::1]:22", Target("2001:db8::1", "deploy", 22)),
    ],
)
def test_a_host_is_named_as_ssh_names_it(text, target):
    assert Target.parse(text) == target


@pytest.mark.parametrize("text", ["", "a b", "-oProxyCommand=x", "x@", "a:0", "a:99999", "a:ssh", "@a", "-x@a"])
def test_another_name_is_an_error_that_says_what_is_expected(text):
    with pytest.raises(ValueError, match=r"expected \[user@\]name\[:port\]"):
        Target.parse(text)


def test_a_name_that_is_wrong_is_reported_without_a_traceback(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["slipway", "inspect", "a b"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 1
    assert "HOST: found 'a b', expected [user@]name[:port]" in capsys.readouterr().err


def test_data_tells_how_to_connect_and_what_to_judge_by():
    assert given(["ssh_key=/x", "_sudo=false", "timeout_scale=2", "sshd_port=2222"]) == (
        {"ssh_key": "/x", "_sudo": False, "timeout_scale": 2},
        {"sshd_port": 2222},
    )
    with pytest.raises(SettingsError) as error:
        given(["sshd_port=0", "nonsense=1", "x"])
    assert [text.split(": ")[1] for text in error.value.problems] == [
        "found 'x', expected NAME=VALUE",
        "sshd_port",
        "nonsense",
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A repository with the backend that the recorded server runs, and another module."""
    (tmp_path / "api").mkdir()
    (tmp_path / "api/requirements.txt").write_text("fastapi\n")
    for name in ("main", "server"):
        (tmp_path / f"api/{name}.py").write_text("from fastapi import FastAPI\napp = FastAPI()\n")
    (tmp_path / "web").mkdir()
    (tmp_path / "web/package.json").write_text('{"scripts": {"build": "vite build"}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_project_is_written_for_a_server(slipway, folder):
    code, output, errors = slipway("init", "--yes", "--from", "byhand.test")
    assert (code, errors) == (0, "")
    text = (folder / "group_data/all.py").read_text()
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
    }
    assert values == {
        "ssh_strict_host_key_checking": "yes",
        "site_name": "codementee",
        "site_domain": "byhand.test",
        "backend_source": "api",
        "backend_health_path": "",
        "frontend_assets": "/assets/",
        "frontend_output": "dist",
        "backend_app": "server:app",
        "frontend_source": "web",
        "mongodb_database": "codementee",
        "mongodb_version": "6.0",
        "timezone": "Asia/Kolkata",
        "firewall_allow": ["8443/tcp"],
    }
    for name, where in (
        ("site_domain", "server_name in /etc/nginx/sites-enabled/codementee"),
        ("timezone", "/etc/localtime"),
        ("firewall_allow", "ufw show added"),
    ):
        assert f"# byhand.test: {where}\n{name} = " in text
    assert '("byhand.test", {"ssh_user": "admin", "_sudo": True})' in (folder / "inventory.py").read_text()
    assert f"note: slipway apply would refuse: {REFUSAL}" in output
    assert "JWT_SECRET" in output


def test_an_answer_that_is_given_wins_over_the_server(slipway, folder):
    slipway("init", "--yes", "--from", "byhand.test", "--set", "site_domain=shop.example.org", "--set", "server=shop")
    assert 'site_domain = "shop.example.org"' in (folder / "group_data/all.py").read_text()
    assert '("shop", {' in (folder / "inventory.py").read_text()


def test_the_projects_own_application_is_kept_where_the_servers_is_not_in_it(report, folder):
    (folder / "api/server.py").unlink()
    told = {one.setting: one.value for one in Server(report).settings(folder, reading(folder, folder, {}).settings)}
    assert told["backend_app"] == "main:app"


def test_a_value_that_is_no_valid_setting_is_left_out(report, folder):
    report.settings[0].value = "not a domain"
    assert "site_domain" not in {one.setting for one in Server(report).settings(folder, [])}


@pytest.mark.parametrize(
    ("user", "without_root", "port", "login"),
    [
        ("root", "", 0, '{"ssh_user": "admin", "_sudo": True}'),
        ("ubuntu", "", 0, '{"ssh_user": "ubuntu", "_sudo": True}'),
        ("eve", "eve is not root", 0, '{"ssh_user": "admin", "_sudo": True}'),
        ("root", "", 2222, '{"ssh_user": "admin", "_sudo": True, "ssh_port": 2222}'),
        ("root", "", 22, '{"ssh_user": "admin", "_sudo": True}'),
    ],
)
def test_the_inventory_logs_in_as_somebody_who_is_there(report, user, without_root, port, login):
    report.user, report.without_root = user, without_root
    assert Server(report, port).login == login


# --- By a connection, to a server of ssh on this machine


@pytest.fixture
def few_questions(monkeypatch) -> list[int]:
    """Only quick queries; returns the sizes of the batches."""
    quick = ("machine", "system", "listeners", "users")
    asked = {name: ask if name in quick else (Output, {"command": f": {name}"}) for name, ask in questions().items()}
    asked["sshd"], asked["ufw"] = (Sshd, {}), (Ufw, {})
    monkeypatch.setattr("slipway.inspection.collect.questions", lambda: asked)
    batches: list[int] = []
    ask_shell = Connector._ask_shell

    def counted(self, batch, *tell):
        batches.append(len(batch))
        return ask_shell(self, batch, *tell)

    monkeypatch.setattr(Connector, "_ask_shell", counted)
    return batches


def test_a_user_who_may_not_sudo_sees_what_is_there_for_all_to_see(sshd, few_questions):
    data = sshd.start(sudo="no-sudo")
    target = Target("127.0.0.1", "eve", data.pop("ssh_port"))
    with OneHost(target, data) as one:
        report = inspect(one, {})
    assert report.without_root.startswith("eve is not root, and sudo")
    assert "a password is required" in report.without_root
    assert report.system.kernel == os.uname().release
    assert report.unseen
    assert {user.fate for user in report.users} == {None}


def test_a_user_who_may_sudo_is_asked_all_facts_in_one_round_trip(sshd, few_questions):
    data = sshd.start()
    with OneHost(Target("127.0.0.1", "deploy", data.pop("ssh_port")), data) as one:
        answers = one.answers(collect.questions())
    assert few_questions == [len(questions())]
    assert one.without_root == ""
    assert answers["system"]


def test_where_roots_login_names_another_user_that_one_is_taken(sshd, few_questions):
    said = 'Please login as the user \\"debian\\" rather than the user \\"root\\".'
    data = sshd.start(prefix=f'echo "{said}"; exit 142; ')
    with OneHost(Target("127.0.0.1", "", data.pop("ssh_port")), data) as one:
        assert one.user == "debian"


def test_an_alias_of_sshs_configuration_is_reached_as_ssh_reaches_it(sshd, few_questions, tmp_path):
    data = sshd.start()
    config = tmp_path / "config"
    config.write_text(
        f"Host shop\n HostName {data['ssh_hostname']}\n Port {data['ssh_port']}\n User deploy\n"
        f" IdentityFile {data['ssh_key']}\n UserKnownHostsFile {data['ssh_known_hosts_file']}\n"
    )
    with OneHost(Target("shop"), {"ssh_config_file": str(config)}) as one:
        assert one.user == "deploy"
        assert one.answers(collect.questions())["system"]


def test_an_unknown_host_key_is_reported_with_the_command_that_accepts_it(sshd, tmp_path):
    data = {**sshd.start(), "ssh_known_hosts_file": str(tmp_path / "known_hosts")}
    with pytest.raises(RunFailed) as error, OneHost(Target("127.0.0.1", "root", data.pop("ssh_port")), data):
        pass
    assert "No host key for" in str(error.value)
    assert "127.0.0.1 true`" in str(error.value), "the command that makes it known"


def test_problems_of_an_error_are_told_one_by_one():
    assert problems_in("h is not ready to be provisioned.\n  - a: x\n  - b: y") == ["a: x", "b: y"]
    assert problems_in("the host\nis gone") == ["the host is gone"]
