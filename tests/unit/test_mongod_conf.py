"""MongoDB's configuration file, and the source of its packages."""

from __future__ import annotations

import pytest
import yaml

from slipway.ops.templates import render
from slipway.settings.check import SettingsError
from slipway.systems import SYSTEMS
from slipway.tasks.mongodb_packages import packaged_for

MACHINE = {"os": "debian", "codename": "bookworm", "arch": "amd64"}


def test_mongod_is_on_loopback_without_tls_and_without_what_7_0_removed(settings_with):
    text = render(
        "mongodb/mongod.conf", settings=settings_with(), cache_gb=0.5, keyfile="/etc/mongod.keyfile", certificate=""
    )
    config = yaml.safe_load(text)
    assert config["net"] == {"port": 27017, "bindIp": "127.0.0.1", "tls": {"mode": "disabled"}}
    assert config["storage"]["wiredTiger"]["engineConfig"]["cacheSizeGB"] == 0.5
    # https://www.mongodb.com/docs/manual/release-notes/7.0-compatibility/ and 6.1's: removed options stop mongod.
    assert "journal" not in config["storage"]
    # Without systemLog it writes to standard output, which is the journal.
    assert set(config) == {"storage", "net", "security", "replication", "processManagement"}
    assert config["security"] == {"authorization": "enabled", "keyFile": "/etc/mongod.keyfile"}
    assert config["replication"] == {"replSetName": "rs0"}


@pytest.mark.parametrize(("wanted", "mode"), [("on", "preferTLS"), ("allow", "allowTLS")])
def test_mongod_talks_to_other_hosts_by_tls(settings_with, wanted, mode):
    files = {"certificate": "/own.pem", "authority": "/authority.pem"}
    settings = settings_with(mongodb_tls=wanted)
    config = yaml.safe_load(render("mongodb/mongod.conf", settings=settings, cache_gb=0.5, keyfile="/key", **files))
    tls = {"certificateKeyFile": "/own.pem", "CAFile": "/authority.pem", "allowConnectionsWithoutCertificates": True}
    assert config["net"]["tls"] == {"mode": mode, **tls}


def test_mongod_without_a_replica_set_has_nothing_of_one(settings_with):
    config = yaml.safe_load(
        render("mongodb/mongod.conf", settings=settings_with(mongodb_replica_set=""), cache_gb=0.5, certificate="")
    )
    assert set(config) == {"storage", "net", "security", "processManagement"}
    assert config["security"] == {"authorization": "enabled"}


def test_mongodbs_repository_is_the_official_one_with_its_key(settings_with):
    values = {"machine": MACHINE, "system": SYSTEMS["debian-12"], "keyring": "/k.asc", "before": None}
    text = render("mongodb/mongodb.sources", settings=settings_with(), **values)
    fields = dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert fields == {
        "Types": "deb",
        "URIs": "https://repo.mongodb.org/apt/debian",
        "Suites": "bookworm/mongodb-org/7.0",
        "Components": "main",
        "Architectures": "amd64",
        "Signed-By": "/k.asc",
    }


def test_on_debian_13_the_packages_are_those_of_the_release_that_is_set(settings_with):
    settings, machine = settings_with(mongodb_apt_suite="bookworm"), MACHINE | {"release": "13", "codename": "trixie"}
    values = {"machine": machine, "system": packaged_for(machine, settings), "keyring": "/k.asc", "before": None}
    assert "Suites: bookworm/mongodb-org/7.0\n" in render("mongodb/mongodb.sources", settings=settings, **values)


@pytest.mark.parametrize("folder", ["/home/db", "/tmp/db", "/var/lib/../../home/db", "/etc"])
def test_a_folder_that_the_sandbox_hides_is_none_for_data(settings_with, folder):
    with pytest.raises(SettingsError, match="mongodb_data: found"):
        settings_with(mongodb_data=folder)


def test_options_that_slipway_sets_are_not_configurable(settings_with):
    with pytest.raises(SettingsError, match=r"mongodb_settings: found .* without storage.dbPath"):
        settings_with(mongodb_settings={"storage.dbPath": "/x"})
