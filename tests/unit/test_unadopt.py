"""The script that undoes an adoption: it is valid, and does nothing without an adoption."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from slipway.engine.errors import RunFailed
from slipway.engine.executor import Executor
from slipway.engine.outcome import Outcome
from slipway.engine.remote_shell import Answer
from slipway.tasks.owners import ASIDE
from slipway.tasks.unadopt import BEGIN, LETSENCRYPT, RENEW, REST, SYSTEMD, UNITS, _same_renewal, _site, script
from support.fake_session import FakeSession


def test_the_script_is_one_that_a_shell_takes(settings_with):
    subprocess.run(["sh", "-n"], input=script(settings_with()), text=True, check=True)


def test_without_an_adoption_nothing_is_restored(settings_with, tmp_path):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"nothing was adopted here: found no {tmp_path}/by-hand\n"
    assert not (tmp_path / "by-hand").exists()


def test_configurations_are_checked_before_anything_moves(settings_with):
    text = script(settings_with())
    first_move = text.index("back etc/mongod.conf")
    assert all(text.index(check) < first_move for check in ("nginx -t -q", "sshd -t", "--outputConfig"))


def test_what_is_put_back_is_a_copy_and_what_it_replaces_is_kept(tmp_path):
    place, kept, ours = (tmp_path / name for name in ("place", "kept", "ours"))
    before = kept / str(place)[1:]
    for folder, text in ((place, "by Slipway"), (before, "by hand")):
        (folder / "sites").mkdir(parents=True)
        (folder / "sites/shop").write_text(text)
    (place / "sites/more").touch()
    (before / "sites/shop").chmod(0o600)
    text = f"{BEGIN.replace(ASIDE, str(kept))}\nours={ours}; back {str(place)[1:]}"
    subprocess.run(["sh", "-c", text], check=True)
    assert [file.name for file in (place / "sites").iterdir()] == ["shop"]
    assert ((place / "sites/shop").read_text(), (place / "sites/shop").stat().st_mode & 0o777) == ("by hand", 0o600)
    assert (before / "sites/shop").read_text() == "by hand"
    there = ours / str(place)[1:] / "sites"
    assert {file.name: file.read_text() for file in there.iterdir()} == {"shop": "by Slipway", "more": ""}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "ours", "place"]


def test_slipways_own_units_stop_whatever_was_there_before(tmp_path):
    place, ours, kept = (tmp_path / name for name in ("units", "ours", "kept"))
    texts = {
        "shop-backend.service": "# Slipway: a unit of a site\n# The backend, by Slipway.",
        "shop-backend.socket": "# The listening socket, by Slipway.",
        "slipway-alarms.service": "# Sends alarms, by Slipway.",
        "slipway-alarms.timer": "[Timer]",
        "shop-valkey.service": "# Slipway: the Valkey of a site",
    }
    stays = {"slipway-thp.service": "# Huge pages, by Slipway.", "theirs.service": "[Service]", "theirs.timer": ""}
    (place / "multi-user.target.wants").mkdir(parents=True)
    kept.mkdir()
    for name, text in (texts | stays).items():
        (place / name).write_text(text)
    told = f'systemctl() {{ echo "$*" >> {tmp_path}/told; }}'
    text = f"{BEGIN.replace(ASIDE, str(kept))}\nours={ours}; {told}\n{UNITS}"
    subprocess.run(["sh", "-c", text.replace(SYSTEMD[1:], str(place)[1:]), "sh", "an argument"], check=True)
    assert sorted(path.name for path in place.iterdir() if path.is_file()) == sorted(stays)
    assert sorted(path.name for path in ours.rglob("*.*") if path.is_file()) == sorted(texts)
    stop, reload = (tmp_path / "told").read_text().splitlines()
    assert sorted({*stop.split()[3:]}) == sorted(texts)
    assert (stop.split()[:3], reload) == (["disable", "--quiet", "--now"], "daemon-reload")


def test_what_an_interrupted_adoption_keeps_running_ends_before_the_old_unit_starts(settings_with):
    text = script(settings_with())
    kept = text.index("disable --now codementee-backend-by-hand.service")
    scope = text.index("systemctl stop codementee-backend-by-hand.scope")
    assert kept < scope < text.index("systemctl enable --quiet --now codementee-backend.service")


def test_time_zone_and_logins_are_restored_and_what_stays_is_told(tmp_path):
    kept, ours = tmp_path / "kept", tmp_path / "ours"
    files = {"timezone": "Asia/Kolkata", "login.defs": "UMASK 022", "fstab": "old", "hosts": "same"}
    for folder, texts in ((kept, files), (tmp_path, dict.fromkeys(files, "by Slipway") | {"hosts": "same"})):
        place = folder / str(tmp_path / "etc")[1:] if folder == kept else tmp_path / "etc"
        place.mkdir(parents=True)
        for name, text in texts.items():
            (place / name).write_text(text)
        (place / "localtime").symlink_to(f"/usr/share/zoneinfo/{'Asia/Kolkata' if folder == kept else 'Etc/UTC'}")
    told = f'systemctl() {{ echo "$*" >> {tmp_path}/told; }}; command() {{ return 1; }}; failed='
    script = REST
    for place in ("etc/", "var/lib/"):
        script = script.replace(f" /{place}", f" {tmp_path}/{place}").replace(
            f" {place}", f" {str(tmp_path)[1:]}/{place}"
        )
    text = f"{BEGIN.replace(ASIDE, str(kept))}\nours={ours}; mkdir $ours; {told}\n{script}"
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert (tmp_path / "etc/localtime").readlink().match("Asia/Kolkata")
    names = ("timezone", "login.defs", "fstab")
    assert [(tmp_path / "etc" / name).read_text() for name in names] == ["Asia/Kolkata", "UMASK 022", "by Slipway"]
    assert done.stdout.splitlines()[1:] == [
        f"not restored, as they were before in {ours}/by-hand: {tmp_path}/etc/fstab"
    ]
    assert "try-restart cron" in (tmp_path / "told").read_text()


# certbot that renews the lineages in renewable/, and openssl that finds those of valid/ valid.
PROGRAMS = """\
timeout() { shift; "$@"; }
certbot() {
  for name do :; done; echo $name >> told
  [ -e renewable/$name ] && touch valid/$name || { echo "no answer for $name" >&2; return 1; }
}
openssl() { for file do :; done; [ -e valid/$(basename $(dirname $file)) ]; }
"""


@pytest.mark.parametrize("may_renew", [True, False])
def test_certificates_that_ended_since_the_adoption_are_renewed(settings_with, tmp_path, may_renew):
    settings, kept, place = settings_with(), tmp_path / "kept", tmp_path / "letsencrypt"
    for name in ("renewable", "valid", "letsencrypt/renewal", "kept/etc/nginx"):
        (tmp_path / name).mkdir(parents=True)
    (place / "renewal/old.conf.by-hand").write_text("by hand")
    (place / "renewal/codementee.conf").write_text("by Slipway")
    if may_renew:
        (tmp_path / "renewable/old").touch()
    text = "\n".join([BEGIN, PROGRAMS, RENEW, _site(settings), 'printf %s "$failed"'])
    done = subprocess.run(
        ["sh", "-c", text.replace(ASIDE, str(kept)).replace(LETSENCRYPT, str(place))],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    ours = "codementee.conf" + ".by-slipway" * may_renew
    assert {file.name for file in (place / "renewal").iterdir()} == {"old.conf", ours}
    assert (tmp_path / "told").read_text() == "old\n"
    assert (done.stdout == "") == may_renew
    assert may_renew or done.stdout.startswith("certificate old: certbot could not renew it")
    assert may_renew or done.stdout.endswith("no answer for old\n")


def test_the_renewal_of_a_certificate_with_slipways_name_is_restored(settings_with, tmp_path):
    place, kept = tmp_path / "letsencrypt", tmp_path / "kept"
    for folder, text in ((place / "renewal", "by Slipway"), (kept / str(place / "renewal")[1:], "by hand")):
        folder.mkdir(parents=True)
        (folder / "codementee.conf").write_text(text)
    (place / "live/codementee").mkdir(parents=True)
    text = f'{BEGIN}\nours={tmp_path}/ours; {_same_renewal(settings_with())}; echo "$@"'
    text = text.replace(ASIDE, str(kept)).replace(LETSENCRYPT[1:], str(place)[1:])
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "codementee\n"
    assert (place / "renewal/codementee.conf").read_text() == "by hand"
    (saved,) = (tmp_path / "ours").rglob("codementee.conf")
    assert saved.read_text() == "by Slipway"


def test_nothing_is_put_back_without_a_yes(run, settings_with, monkeypatch):
    monkeypatch.setattr(FakeSession, "settings", {"one": settings_with(), "two": settings_with()})
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, _, errors = run(Outcome([], [], 0, 0.0), "unadopt", "lab")
    assert (code, run.session.last.said) == (1, [])
    assert "confirm with --yes" in errors
    code, _, _ = run(Outcome([], [], 0, 0.0), "unadopt", "lab", "--yes")
    assert code == 0
    assert len(run.session.last.said) == 2


def test_why_it_failed_is_told_with_the_host(settings_with, tmp_path, monkeypatch):
    text = script(settings_with()).replace(ASIDE, str(tmp_path / "by-hand"))
    connector, failures = SimpleNamespace(host=SimpleNamespace(name="box")), {}

    def by_root(script: Callable[[Any], str]) -> list[tuple[Any, Answer]]:
        done = subprocess.run(["sh", "-c", script(connector.host)], stdout=subprocess.PIPE, text=True, check=False)
        return [(connector, Answer(done.returncode, done.stdout))]

    hosts = SimpleNamespace(
        by_root=by_root,
        deploy="",
        log=None,
        failures=failures,
        fail=lambda host, text: failures.update({host.name: text}),
    )
    executor = Executor(SimpleNamespace(connections=hosts, state=None, run=None))
    monkeypatch.setattr(executor, "_lock", lambda: None)
    monkeypatch.setattr(executor, "_unlock", lambda done, seconds: None)
    with pytest.raises(RunFailed, match=r"^\[box\] nothing was adopted here: found no "):
        executor.carry_out("unadopt", lambda host: text)
