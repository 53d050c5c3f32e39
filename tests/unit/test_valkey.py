"""Valkey: what a site gets, and the errors."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from pyinfra.api.exceptions import PyinfraError

from slipway.settings import environment
from slipway.settings.check import SettingsError
from support.described import deploy, described, run_deploy

UNIT, FILE = "codementee-valkey.service", "/etc/systemd/system/codementee-valkey.service"
SITES = [{"site_name": "blog", "site_domain": "blog.example.org"}]


def installed(server) -> set[str]:
    return {name for one in server.all("install") for names in one.arguments["packages"].values() for name in names}


def test_it_is_disabled_by_default(settings_with):
    server = deploy(settings_with())
    assert [one.name for one in server.operations if "Valkey" in one.name] == ["Stop Valkey where it is switched off"]
    assert installed(server) & {"redis-server", "valkey-server"} == set()
    assert "VALKEY_URL" not in environment.composed(settings_with())


def test_it_starts_before_the_services_that_get_its_url(settings_with):
    server = deploy(settings_with(valkey=True))
    order = [one.name for one in server.operations]
    assert order.index("Start Valkey") < order.index("Install the backend's secrets") < order.index("Start the backend")
    assert "redis-server" in installed(server)
    assert "valkey-server" in installed(deploy(settings_with(valkey=True), "app", release="13", codename="trixie"))
    assert (
        "LoadCredential=VALKEY_URL"
        in server.about("/etc/systemd/system/codementee-backend.service").arguments["content"]
    )


@pytest.mark.parametrize(
    "changed", ["/etc/codementee/credentials/VALKEY_PASSWORD", "/etc/codementee/valkey.conf", FILE]
)
def test_a_change_restarts_it_and_nothing_else(settings_with, changed):
    assert deploy(settings_with(valkey=True)).reactions(changed) == {("restart", UNIT)}


def test_a_site_that_wants_it_has_its_own(settings_with):
    server = deploy(settings_with(sites=[{**SITES[0], "valkey": True}]))
    subjects = {one.subject for one in server.operations}
    assert "blog-valkey.service" in subjects
    assert UNIT not in subjects
    both = deploy(settings_with(valkey=True, sites=SITES))
    assert {UNIT, "blog-valkey.service"} <= {one.subject for one in both.operations}


def test_its_url_holds_the_password_whatever_is_in_it(settings_with):
    value = environment.composed(settings_with(valkey=True))["VALKEY_URL"]
    url = urlsplit(environment.text_of(value, {"VALKEY_PASSWORD": "p@ss:w/rd?#%"}))
    assert (url.scheme, url.path, url.query) == ("unix", "/run/codementee-valkey/valkey.sock", "db=0")
    assert unquote(url.password or "") == "p@ss:w/rd?#%"


def test_a_value_may_name_it_if_it_is_enabled(settings_with):
    values = {"CACHE": "{valkey_url}"}
    assert "CACHE" in environment.composed(settings_with(valkey=True, backend_environment=values))
    with pytest.raises(SettingsError, match=r"found \{valkey_url\}, which this site does not have: valkey is False"):
        settings_with(backend_environment=values)


def test_a_service_of_its_name_is_reported(settings_with):
    service = {"name": "valkey", "command": "python -m cache"}
    with pytest.raises(SettingsError, match="expected False, or no service named 'valkey'"):
        settings_with(valkey=True, services=[service])
    assert settings_with(services=[service]).services[0].name == "valkey"


def test_more_than_half_of_the_memory_is_refused(settings_with):
    settings = settings_with(valkey=True, valkey_memory_mb=600, sites=SITES)
    with described(settings), pytest.raises(PyinfraError, match="valkey_memory_mb: found 1200 MiB, need at most 1024"):
        run_deploy()
    with described(settings_with(valkey=True, valkey_memory_mb=1024)) as (server, _):
        run_deploy()
    assert "MemoryMax=2112M" in server.about(FILE).arguments["content"]
