"""Invalid settings are reported in one line each, all at once, before any host is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.settings.check import SettingsError, check, parse_items
from slipway.settings.mongodb import KEYS

BLOG = {"site_name": "blog", "site_domain": "blog.example.org"}


def problems(data) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        check(data)
    return caught.value.problems


def test_the_defaults_are_in_order(defaults):
    assert check(defaults).site_domain == "codementee.io"


WRONG = {
    "site_name": ("Code Mentee", "lower-case letters"),
    "site_domain": ("codementee", "a host name"),
    "site_aliases": (["-bad.example"], "a host name"),
    "admin_user": ("root", 'a user\'s name other than "root"'),
    "admin_keys": (["~/.ssh/no-such-key.pub"], "there is no such file"),
    "timeout_scale": (0, "greater than or equal to 0.01"),
    "lockout_rollback_seconds": (4, "greater than or equal to 5"),
    "nginx_reload_drain_seconds": (61, "less than or equal to 60"),
    "release_worker_seconds": (-1, "greater than or equal to 0"),
    "sshd_port": (0, "greater than or equal to 1"),
    "firewall_ssh_from": (["203.0.113.0/33"], "an IPv4 or IPv6 address or network"),
    "timezone": ("../etc/passwd", "a time zone"),
    "frontend_build": (" ", "a shell command"),
    "frontend_output": ("../..", "a folder below frontend_source"),
    "locale": ("en_GB.latin1", "a locale"),
    "swap_mb": (-1, "greater than or equal to 0"),
    "journal_max_mb": ("500M", "a valid integer"),
    "extra_packages": (["no such package"], "a Debian package's name"),
    "firewall_allow": (["https"], "port/protocol"),
    "mongodb_version": ("seven", 'a series as "7.0"'),
    "mongodb_port": (70000, "less than or equal to 65535"),
    "mongodb_bind": ("localhost", "an IPv4 address"),
    "mongodb_key_fingerprint": ("e588", "40 hexadecimal digits"),
    "mongodb_apt_url": ("ftp://example.org", "an http(s) URL"),
    "mongodb_memory_max_mb": (200, "0, or at least 256"),
    "mongodb_tasks_max": (10, "greater than or equal to 200"),
    "backend_memory_max_mb": (64, "0, or at least 128"),
    "backend_tasks_max": (1, "greater than or equal to 16"),
    "nginx_hsts_seconds": (-1, "greater than or equal to 0"),
    "nginx_hsts_subdomains": ("yes", "a valid boolean"),
    "nginx_hsts_preload": (True, "False, or nginx_hsts_subdomains = True and nginx_hsts_seconds of at least 31536000"),
    "nginx_csp": ('default-src "self"', "without double quotes"),
    "nginx_login_path": ("/login", "a path that the backend (backend_paths) or one of services answers"),
    "backend_paths": (["api"], 'a URL path: "/api/" for it'),
    "shared_paths": (["../uploads"], "a path below the backend's folder"),
    "nginx_login_rate_per_minute": (-1, "greater than or equal to 0"),
    "backend_source": ("no/such/folder", "a folder on this machine"),
    "backend_app": ("server.py", "module:attribute"),
    "backend_workers": (0, "greater than or equal to 1"),
    "backend_listen": ("run/backend.sock", "a socket's absolute path"),
    "backend_health_path": ("health", 'a URL path that begins with "/"'),
    "backend_environment": ({"A": "bell\a"}, "text without control characters"),
    "backend_secrets_delivery": ("files", "'environment' or 'credentials'"),
    "mongodb_database": ("admin", "not MongoDB's own names"),
    "mongodb_admin_user": ("a:b", "a letter first"),
    "mongodb_backend_user": ("a@b", "a letter first"),
    "secrets_recipients": (["age1nobody"], "a public key of age's"),
    "secrets_identity": ("", "a file's name"),
    "backend_secrets": (["LISTEN_FDS"], "none of systemd's own"),
    "frontend_assets": ("static", "a URL path between slashes"),
    "nginx_max_body_mb": (1.5, "a valid integer"),
    "tls_acme_server": ("http://acme.example", "an https URL"),
    "tls_email": ("nobody", "an e-mail address"),
    "tls_authorities": ("README.md", "a file with certificates of authorities (PEM), relative to the project"),
    "tls_profile": ("short lived", 'the name of a profile, or ""'),
    "mongodb_apt_suite": ("trixie", '"", or one of bookworm, jammy, noble'),
    "reboot_time": ("4 o'clock", 'a time of day as "04:00"'),
    "frontend_build_on": ("elsewhere", "'local' or 'server'"),
    "keep_releases": (1, "greater than or equal to 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_reported_with_its_name_what_was_found_and_what_is_expected(defaults, name):
    value, expected = WRONG[name]
    (line,) = problems({**defaults, name: value})
    found = next(iter(value.values())) if isinstance(value, dict) else value[0] if isinstance(value, list) else value
    assert line.startswith(f"group_data/all.py: {name}")
    assert f"found {found!r}" in line
    assert expected in line


def test_an_administrators_key_is_a_line_or_a_file_and_never_the_private_half(defaults, tmp_path):
    public, private = tmp_path / "key.pub", tmp_path / "key"
    (public_key,) = defaults["admin_keys"]
    public.write_text(f"{public_key}\n")
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert check({**defaults, "admin_keys": [str(public)]}).admin_keys == [public_key]
    for wrong in (str(private), "ssh-rsa AAAA", public_key[8:]):
        (line,) = problems({**defaults, "admin_keys": [wrong]})
        assert "expected a public key" in line


def test_an_administrator_without_any_key_is_refused(defaults):
    (line,) = problems({**defaults, "admin_keys": []})
    assert "admin_keys: found []" in line


@pytest.mark.parametrize("keyword", ["Port", "PermitRootLogin", "Match"])
def test_sshd_settings_that_would_undo_slipways_are_refused(defaults, keyword):
    (line,) = problems({**defaults, "sshd_settings": {keyword: "1"}})
    assert f"settings without {keyword.lower()}" in line


def test_mongods_memory_must_hold_the_cache_that_is_set(defaults):
    (line,) = problems({**defaults, "mongodb_cache_gb": 2.0, "mongodb_memory_max_mb": 2048})
    assert "mongodb_memory_max_mb: found 2048, expected 0, or at least 2304" in line


def test_hsts_may_be_preloaded_for_a_year_with_all_names_below(defaults):
    promised = {"nginx_hsts_preload": True, "nginx_hsts_subdomains": True, "nginx_hsts_seconds": 31_536_000}
    assert check({**defaults, **promised}).nginx_hsts_preload
    assert len(problems({**defaults, **promised, "nginx_hsts_seconds": 15_768_000})) == 1


def test_an_unknown_name_is_reported_with_the_nearest_known_one(defaults):
    (line,) = problems({**defaults, "mongodb_prot": 27017})
    assert line == "group_data/all.py: mongodb_prot: there is no such setting; did you mean 'mongodb_port'?"


def test_a_misspelt_name_of_pyinfras_is_reported_too(defaults):
    (line,) = problems({**defaults, "ssh_prt": 22})
    assert line.endswith("ssh_prt: there is no such setting; did you mean 'ssh_port'?")


def test_what_connects_is_checked_with_the_rest(defaults):
    lines = problems({**defaults, "ssh_port": "22", "ssh_user": 0, "swap_mb": -1, "ssh_key": "k", "_sudo": True})
    assert [line.split(":")[1].strip() for line in sorted(lines)] == ["ssh_port", "ssh_user", "swap_mb"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ssh_strict_host_key_checking", "maybe", "found 'maybe', expected 'yes', 'accept-new', 'ask', 'no' or 'off'"),
        ("_sudo", "maybe", "found 'maybe', expected a valid boolean"),
        ("_use_sudo_login", 1, "found 1, expected a valid boolean"),
        ("ssh_user", "", "found '', expected text without blanks"),
        ("ssh_user", "a b", "found 'a b', expected text without blanks"),
        ("ssh_hostname", "-oProxyCommand=x", "found '-oProxyCommand=x', expected text without blanks"),
        ("ssh_port", 70000, "found 70000, expected"),
    ],
)
def test_values_that_pyinfra_would_take_for_something_else_are_reported(defaults, name, value, expected):
    (line,) = problems({**defaults, name: value})
    assert line.startswith(f"group_data/all.py: {name}: {expected}")


def test_what_pyinfra_takes_to_connect_is_taken(defaults):
    for policy in ("yes", "accept-new", "ask", "no", "off"):
        check({**defaults, "ssh_strict_host_key_checking": policy})
    # A key of an agent, or of another machine than this one.
    check({**defaults, "_sudo": None, "_retries": 3, "ssh_key": "~/.ssh/none", "ssh_user": "LDAP\\\\admin@example.org"})


def test_a_switch_of_the_command_line_is_as_pyinfra_has_it():
    assert parse_items(["_sudo=False", "_use_sudo_login=true"]) == ({"_sudo": False, "_use_sudo_login": True}, [])


def test_all_errors_are_reported_at_once_and_where_each_is(defaults):
    wrong = {**defaults, "swap_mb": "big", "site_domain": "x", "locle": "C"}
    with pytest.raises(SettingsError) as caught:
        check(wrong, {"swap_mb": "inventory.py (one)", "locle": "--data"})
    assert len(caught.value.problems) == 3
    assert "3 settings are wrong; no host was touched" in str(caught.value)
    assert any(line.startswith("inventory.py (one): swap_mb") for line in caught.value.problems)
    assert any(line.startswith("--data: locle") for line in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "value"), [("site_name", "default"), ("site_name", "a" * 25), ("frontend_assets", "/api/")]
)
def test_a_name_that_would_collide_on_the_server_is_refused(defaults, name, value):
    assert len(problems({**defaults, name: value})) == 1


def test_numbers_in_texts_are_checked_too(defaults):
    wrong = {
        "firewall_allow": ["99999/tcp"],
        "mongodb_bind": "999.1.1.1",
        "backend_listen": "127.0.0.1:70000",
        "timezone": "No/Such",
        "site_aliases": ["codementee.io"],
    }
    assert len(problems({**defaults, **wrong})) == len(wrong)


def test_a_wrong_secrets_file_is_reported_together_with_wrong_settings(defaults):
    assert len(problems({**defaults, "swap_mb": -1, "secrets_file": "none.env"})) == 2


def test_what_is_pyinfras_own_is_left_alone(defaults):
    assert check({**defaults, "ssh_port": 2222, "_sudo": True})


def test_a_missing_secrets_file_is_reported_with_how_to_make_it(defaults):
    (line,) = problems({**defaults, "secrets_file": "secrets/none.env"})
    assert "found no such file" in line
    assert "install -m 600 /dev/null secrets/none.env" in line


def test_a_secrets_file_that_others_can_read_is_refused(defaults):
    Path(defaults["secrets_file"]).chmod(0o644)
    (line,) = problems(defaults)
    assert "chmod 600" in line


def test_a_missing_secret_is_named_and_no_value_is_shown(defaults):
    (line,) = problems({**defaults, "backend_secrets": ["JWT_SECRET", "ADMIN_PASSWORD", "RAZORPAY_KEY"]})
    assert "found no value for RAZORPAY_KEY" in line
    assert "3b4f0c6a" not in line


def test_data_on_the_command_line_is_text_where_the_setting_is_and_json_elsewhere():
    data, problems = parse_items(
        ("mongodb_version=7.0", "swap_mb=512", 'firewall_allow=["8443/tcp"]', "mongodb_tools=false")
    )
    assert data == {
        "mongodb_version": "7.0",
        "swap_mb": 512,
        "firewall_allow": ["8443/tcp"],
        "mongodb_tools": False,
    }
    assert problems == []


def test_data_on_the_command_line_without_a_value_is_reported():
    assert parse_items(("swap_mb", "locale=C.UTF-8")) == (
        {"locale": "C.UTF-8"},
        ["--data: found 'swap_mb', expected NAME=VALUE"],
    )


# --- What follows from other settings --------------------------------------------------------------------------------


def test_what_is_named_after_the_site_follows_from_its_name(defaults):
    shop = check({**defaults, "site_name": "shop"})
    assert (shop.mongodb_database, shop.backend_listen) == ("shop", "/run/shop-backend.sock")
    assert shop.mongodb_backend_user == "backend"
    own = check({**defaults, "site_name": "shop", "mongodb_database": "orders", "backend_listen": "127.0.0.1:8001"})
    assert (own.mongodb_database, own.backend_listen) == ("orders", "127.0.0.1:8001")


def test_a_series_has_the_key_that_is_known_of_it_and_another_one_needs_its_own(defaults):
    assert check({**defaults, "mongodb_version": "8.0"}).mongodb_key_fingerprint == KEYS["8.0"]
    (line,) = problems({**defaults, "mongodb_version": "9.0"})
    assert "mongodb_key_fingerprint: found '', derived from mongodb_version, expected 40 hexadecimal digits" in line
    assert check({**defaults, "mongodb_version": "9.0", "mongodb_key_fingerprint": "A" * 40}).mongodb_version == "9.0"


def test_the_key_of_another_mongodb_series_is_where_its_name_says(defaults):
    settings = check({**defaults, "mongodb_version": "8.0"})
    assert settings.mongodb_key_url == "https://pgp.mongodb.com/server-8.0.asc"


def test_a_derived_value_that_is_wrong_is_reported_with_what_it_follows_from(defaults):
    (line,) = problems({**defaults, "site_name": "local"})
    assert line == (
        "group_data/all.py: mongodb_database: found 'local', derived from site_name, expected letters, digits, _ and -;"
        " not MongoDB's own names"
    )


def test_a_default_that_is_wrong_on_this_machine_is_reported_as_such(defaults, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    del defaults["admin_keys"]
    (line,) = problems(defaults)
    assert line.startswith(
        "group_data/all.py: admin_keys[0]: found the default '~/.ssh/id_ed25519.pub', expected a public"
    )


def test_what_has_no_default_must_be_set(defaults):
    needed = ("site_name", "site_domain", "backend_source", "frontend_source")
    lines = problems({name: value for name, value in defaults.items() if name not in needed})
    assert len(lines) == len(needed)
    assert (
        "group_data/all.py: site_domain: found nothing, expected a host name in lower case with at least one dot"
        in ("\n".join(lines))
    )


def test_an_unknown_name_that_is_like_no_other_is_reported_with_the_page(defaults):
    (line,) = problems({**defaults, "zzz": 1})
    assert line.endswith("zzz: there is no such setting; `slipway settings` lists every setting")


# --- Arguments of one run --------------------------------------------------------------------------------------------


def test_an_argument_of_one_run_in_a_file_is_refused_with_the_option(defaults):
    lines = problems({**defaults, "release_ref": "v1", "sites": [{**BLOG, "release_id": "2026"}]})
    assert lines == [
        "group_data/all.py: release_ref: found an argument of one run, which is no setting; remove it, and use the"
        " option: slipway release --ref REF (with plain pyinfra: --data release_ref=...)",
        "group_data/all.py: sites[0]: release_id: found an argument of one run, which is no setting; remove it, and use"
        " the option: slipway rollback ID (with plain pyinfra: --data release_id=...)",
    ]


def test_the_arguments_of_the_command_line_reach_the_site_that_they_name(defaults):
    given = {"release_site": "blog", "release_parts": ["frontend"], "release_id": 20261126031500}
    settings = check({**defaults, "sites": [BLOG], **given}, dict.fromkeys(given, "--data"))
    assert settings.released.site_name == "blog"
    assert settings.released.arguments.release_parts == ["frontend"]
    # As pyinfra's own --data reads it.
    assert settings.released.arguments.release_id == "20261126031500"
    assert check(defaults).arguments.release_parts == ["backend", "frontend"]


# --- Old names -------------------------------------------------------------------------------------------------------

OLD = {
    "reboot_window": "03:00",
    "releases_kept": 3,
    "release_before": "migrate",
    "release_after": "announce",
    "backend_secrets_in": "environment",
    "frontend_build_on": "here",
}


def test_old_names_are_read_and_each_is_warned_of_once_with_its_file_and_its_new_name(defaults):
    warnings: list[str] = []
    origin = {"reboot_window": "group_data/web.py", "frontend_build_on": "inventory.py (one)"}
    settings = check({**defaults, **OLD}, origin, warnings.append)
    found = (settings.reboot_time, settings.keep_releases, settings.pre_activate, settings.post_activate)
    assert found == ("03:00", 3, "migrate", "announce")
    assert (settings.backend_secrets_delivery, settings.frontend_build_on) == ("environment", "local")
    assert warnings == [
        "group_data/web.py: reboot_window is deprecated; rename it to reboot_time",
        "group_data/all.py: releases_kept is deprecated; rename it to keep_releases",
        "group_data/all.py: release_before is deprecated; rename it to pre_activate",
        "group_data/all.py: release_after is deprecated; rename it to post_activate",
        "group_data/all.py: backend_secrets_in is deprecated; rename it to backend_secrets_delivery",
        "inventory.py (one): frontend_build_on = 'here' is deprecated; change it to 'local'",
    ]


def test_an_old_name_beside_the_new_one_is_refused(defaults):
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "reboot_window": "", "reboot_time": ""}, {"reboot_window": "group_data/web.py"})
    assert caught.value.problems == [
        "group_data/web.py: reboot_window: found together with reboot_time (group_data/all.py), which is its new name;"
        " remove reboot_window"
    ]


def test_a_wrong_value_under_an_old_name_is_reported_with_its_file(defaults):
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "releases_kept": 1}, {"releases_kept": "--data"})
    assert caught.value.problems == ["--data: keep_releases: found 1, expected greater than or equal to 2"]


def test_old_names_of_a_further_site_are_read(defaults):
    warnings: list[str] = []
    first, blog = check({**defaults, "sites": [{**BLOG, "releases_kept": 9}]}, warn=warnings.append).all_sites
    assert (first.keep_releases, blog.keep_releases) == (5, 9)
    assert warnings == ["group_data/all.py: sites[0]: releases_kept is deprecated; rename it to keep_releases"]


def test_an_old_name_on_the_command_line_is_a_text_where_the_new_one_is():
    assert parse_items(["release_before=1", "release_ref=20261126"])[0] == {
        "release_before": "1",
        "release_ref": "20261126",
    }
