"""The certificate of a site."""

from __future__ import annotations

import ssl
import time

from slipway.facts.certificates import is_overdue, renew_before


def lifetime(server) -> tuple[int, int]:
    """The start and end of the served certificate."""
    with server.site.handshake() as connection:
        certificate = connection.getpeercert()
    start, end = (int(ssl.cert_time_to_seconds(certificate[name])) for name in ("notBefore", "notAfter"))
    return start, end


def test_the_certificate_has_all_names_and_does_not_expire_soon(server):
    with server.site.handshake() as connection:
        certificate = connection.getpeercert()
    names = {name for kind, name in certificate["subjectAltName"] if kind == "DNS"}
    assert names == set(server.settings.domains)
    assert not is_overdue(*lifetime(server), time.time())


def test_the_certificate_is_renewed_by_timer_and_nginx_reloaded(server):
    assert server.host.service("certbot.timer").is_running
    assert server.host.service("certbot.timer").is_enabled
    hook = server.host.file("/etc/letsencrypt/renewal-hooks/deploy/reload-nginx")
    assert (hook.user, hook.mode) == ("root", 0o755)
    renewal = server.host.file(f"/etc/letsencrypt/renewal/{server.settings.site_name}.conf").content_string
    assert f"server = {server.settings.acme_directory}" in renewal
    assert f"renew_before_expiry = {renew_before(*lifetime(server))} hours" in renewal.splitlines()
    profile = [line for line in renewal.splitlines() if line.startswith("preferred_profile = ")]
    assert profile == [f"preferred_profile = {server.settings.tls_profile}"] * bool(server.settings.tls_profile)


def test_the_private_key_is_readable_only_by_root(server):
    key = server.host.check_output(f"realpath /etc/nginx/tls/{server.settings.site_name}/privkey.pem")
    assert server.host.file(key).user == "root"
    assert server.host.file(key).mode & 0o077 == 0
