"""The facts of Nginx's configuration, with their commands run on this machine."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from slipway.adoption.nginx_config import MAIN
from slipway.facts.nginx import BEHIND, NginxFuture, NginxInForce


def test_what_nginx_says_is_told_apart_from_its_configuration():
    lines = [
        "stock=/etc/nginx/sites-available/default",
        "link=/etc/nginx/sites-enabled/x=/etc/nginx/sites-available/default",
    ]
    there = NginxInForce().process([*lines, "nginx: [warn] x", f"# configuration file {MAIN}:", "events {}"])
    assert there.is_stock("/etc/nginx/sites-enabled/x")
    assert (there.error, [*there.tree.files]) == ("", [MAIN])
    broken = NginxInForce().process(["nginx: [emerg] unknown directive in /etc/nginx/nginx.conf:3"])
    assert broken.error == "unknown directive in /etc/nginx/nginx.conf:3"
    logged = NginxFuture().process(["2026/11/29 13:16:01 [emerg] 4436#4436: unknown directive", "nginx: test failed"])
    assert logged[1] == "unknown directive"
    assert NginxInForce().process([]) is None
    assert NginxFuture().process(["unshare: unshare failed: Operation not permitted"])[1] == ""


@pytest.fixture
def etc(tmp_path):
    """A folder in place of /etc/nginx, and a fact of how it would be, by an Nginx that prints all of it."""
    if os.geteuid() != 0:
        pytest.skip("a mount namespace is root's")
    folder, log, printing = tmp_path / "etc", tmp_path / "log", tmp_path / "nginx"
    for made in (folder / "sites-available", folder / "sites-enabled", folder / "conf.d", log):
        made.mkdir(parents=True)
    (folder / "conf.d/old.conf").write_text("old\n")
    printing.write_text(
        f'#!/bin/sh\ncd {folder}; for file in */*; do echo "# configuration file $file:"; cat $file; echo; done'
    )
    printing.chmod(0o755)
    places = {"/etc/nginx": folder, "/var/log/nginx": log, "/usr/sbin/nginx": printing}

    def future(text: str = "new") -> dict[str, str]:
        fact = NginxFuture()
        names = {"sites-available/default": text}, {"sites-enabled/default": "../sites-available/default"}
        command = fact.command(*names, removed=("/etc/nginx/conf.d/old.conf",))
        for path, place in places.items():
            command = command.replace(path, str(place))
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        return fact.process(done.stdout.splitlines())[0].files

    return folder, future


def test_how_a_configuration_would_be_is_tried_in_a_copy(etc):
    folder, future = etc
    assert future() == {"sites-available/default": "new", "sites-enabled/default": "new"}
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["old.conf"]


def test_a_module_that_comes_with_the_apply_is_left_out_of_the_trial(etc):
    folder, future = etc
    assert future("a\n    brotli_static off;\nb") == {
        "sites-available/default": "a\nb",
        "sites-enabled/default": "a\nb",
    }
    (folder / "modules-enabled").mkdir()
    (folder / "modules-enabled/50-brotli.conf").touch()
    assert "brotli_static off;" in future("a\n    brotli_static off;\nb")["sites-available/default"]


def test_a_certificate_that_comes_with_the_apply_has_one_of_the_trial_in_its_place(etc):
    folder, future = etc
    with (folder.parent / "nginx").open("a") as printing:
        printing.write(f"; openssl x509 -in {folder}/tls/a/fullchain.pem -noout -subject -pubkey")
        printing.write(f"; openssl pkey -in {folder}/tls/a/privkey.pem -pubout")
    site = f"    ssl_certificate {folder}/tls/a/fullchain.pem;\n    ssl_certificate_key {folder}/tls/a/privkey.pem;"
    files = future(site)
    assert files["sites-available/default"] == site
    subject, certified, own = re.split(r"(?=-----BEGIN)", files["tls/a"])
    assert "subject=CN = trial" in subject
    assert certified.strip() == own.strip()
    assert not (folder / "tls").exists()


@pytest.mark.parametrize("name", ["sites-available", "conf.d"])
def test_no_trial_writes_or_removes_a_file_behind_a_link(etc, tmp_path, name):
    folder, future = etc
    (folder / name).rename(tmp_path / "checkout")
    (folder / name).symlink_to(tmp_path / "checkout")
    (tmp_path / "checkout/default").write_text("of the owner")
    before = {path.name: path.read_text() for path in (tmp_path / "checkout").iterdir()}
    assert future() == {}
    assert {path.name: path.read_text() for path in (tmp_path / "checkout").iterdir()} == before


def test_links_that_lead_to_a_home_are_found_among_the_paths_of_a_configuration(tmp_path):
    home, srv = tmp_path / "home", tmp_path / "srv"
    for folder in (home / "media", home / "in", srv / "blog"):
        folder.mkdir(parents=True)
    (srv / "media").symlink_to(home / "media")
    (srv / "blog/in").symlink_to(home / "in")
    (srv / "blog/elsewhere").symlink_to("/usr")
    dump = f"root {srv}/blog; alias '{srv}/media/'; ssl_certificate {srv}/none.pem; root {srv}/$host;"
    command = BEHIND.replace("/home/*", f"{home}/*").replace(" | /tmp/*", "")
    shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env={**os.environ, "dump": dump})
    expected = {f"link={srv}/media={home}/media", f"link={srv}/blog/in={home}/in"}
    assert {*shown.stdout.splitlines()} == expected
