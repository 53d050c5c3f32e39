"""The environment of services: placeholders in values, and how values reach a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.releases import launcher
from slipway.settings import environment
from slipway.settings.check import SettingsError, check
from slipway.settings.environment import Secret, credentials_of, parsed, plain_of
from slipway.tasks.backend_units import of_service, quoted_for_systemd, unit_values

PASSWORD = Secret("MONGODB_BACKEND_PASSWORD")
MAILER = {"name": "mailer", "command": "python -m mailer"}

# --- Values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{mongo_host}:{mongo_port}/{mongo_database}", ("127.0.0.1:27017/codementee",)),
        ("{mongo_user}", ("backend",)),
        ("https://{site_domain}/", ("https://codementee.io/",)),
        ("{mongo_password}", (PASSWORD,)),
        ("{secrets.MONGODB_BACKEND_PASSWORD}", (PASSWORD,)),
        ("a {secrets.JWT_SECRET} b", ("a ", Secret("JWT_SECRET"), " b")),
        ("amqp://app:{secrets.JWT_SECRET:url}@mq", ("amqp://app:", Secret("JWT_SECRET", in_url=True), "@mq")),
        ('{"url": "{mongo_password}"}', ('{"url": "', PASSWORD, '"}')),
        ("", ()),
    ],
)
def test_a_value_may_name_what_slipway_knows(settings_with, text, value):
    assert parsed(text, settings_with()) == value


def test_the_mongo_url_has_the_password_percent_encoded(settings_with):
    start, password, end = parsed("{mongo_url}", settings_with(mongodb_backend_user="me", mongodb_database="shop"))
    assert (start, password) == ("mongodb://me:", Secret("MONGODB_BACKEND_PASSWORD", in_url=True))
    assert str(end).startswith("@127.0.0.1:27017/shop?authSource=admin")


LITERAL = [
    '["https://a.example", "https://b.example"]',
    '{"a": {"b": [1, {"c": {}}]}}',
    "/users/{id}/{name}",
    "{level} {message} {time:YYYY-MM-DD}",
    "{{ jinja }} {{x}} ${HOME} $x %s %(asctime)s",
    "{}{{}}{ mongo_url }",
    "{MONGO_URL}",
    'a "quoted" \\ back\\slash\nof two\tlines äö€😀',
]


@pytest.mark.parametrize("text", LITERAL)
def test_all_other_braces_are_text(defaults, settings_with, text):
    assert check({**defaults, "backend_environment": {"A": text}})
    assert parsed(text, settings_with()) == (text,)


def test_a_name_twice_in_braces_is_text(defaults, settings_with):
    for name in ("mongo_url", "secrets.JWT_SECRET", "mongo_ulr"):
        assert check({**defaults, "backend_environment": {"A": f"{{{{{name}}}}}"}})
        assert parsed(f"x {{{{{name}}}}}", settings_with()) == (f"x {{{name}}}",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{mongo_ulr}", "found {mongo_ulr}, which Slipway does not know; did you mean {mongo_url}?"),
        ("{mongodb_url}", "did you mean {mongo_url}?"),
        ("{mongo_uri}", "did you mean {mongo_url}?"),
        ("{mongo_collection}", "there are: {mongo_url}, {mongo_host}"),
        ("{site_domian}", "did you mean {site_domain}?"),
        ("{secrets.JWT_SECERT}", "which is no secret of this site; did you mean {secrets.JWT_SECRET}?"),
        ("{secret.JWT_SECRET}", "did you mean {secrets.JWT_SECRET}?"),
        ("{secrets.JWT_SECRET:json}", "did you mean {secrets.JWT_SECRET}?"),
        ("{secrets.STRIPE}", "there are: {secrets.JWT_SECRET}, {secrets.ADMIN_PASSWORD}, {secrets.MONGODB_BACKEND"),
        ("{secrets.MONGODB_ADMIN_PASSWORD}", "which is no secret of this site"),
        ("{mongo_ulr}", "for the text itself write {{mongo_ulr}}"),
    ],
)
def test_a_misspelt_name_is_reported_with_the_nearest_one(defaults, text, said):
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "backend_environment": {"URL": f"a {text} b"}})
    (line,) = caught.value.problems
    assert line.startswith("group_data/all.py: backend_environment['URL']: found {")
    assert said in line


def test_a_misspelt_name_of_a_service_or_a_further_site_is_reported_with_its_place(defaults):
    blog = {"site_name": "blog", "site_domain": "blog.example.org", "backend_environment": {"U": "{mongo_ulr}"}}
    services = [MAILER | {"environment": {"U": "{mongo_ulr}"}}]
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "services": services})
    assert "services[0]['environment']['U']: found {mongo_ulr}" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "sites": [blog]})
    assert "sites[0]: backend_environment['U']: found {mongo_ulr}" in str(caught.value)


def test_with_a_database_elsewhere_its_url_may_be_named_and_our_own_databases_place_may_not(
    defaults, settings_with, monkeypatch
):
    monkeypatch.setenv("SLIPWAY_SECRET_MONGO_URL", "mongodb+srv://u:p@cluster.example.net/db")
    own = {
        "backend_secrets": ["MONGO_URL"],
        "generated_secrets": ["MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"],
    }
    Path(defaults["secrets_file"]).write_text("")
    settings = settings_with(**own, backend_environment={"MONGODB_URI": "{mongo_url}"})
    assert parsed("{mongo_url}", settings) == (Secret("MONGO_URL"),)
    assert credentials_of(settings, settings.backend) == {"MONGO_URL": "MONGO_URL", "MONGODB_URI": "MONGODB_URI"}
    with pytest.raises(SettingsError, match="MONGO_URL is one of backend_secrets: the database is yours"):
        check({**defaults, **own, "backend_environment": {"HOST": "{mongo_host}"}})


def test_mongo_url_may_be_another_one_and_is_no_plain_url(defaults, settings_with):
    settings = settings_with(backend_environment={"MONGO_URL": "{mongo_url}&tls=false"})
    assert (
        environment.composed(settings)["MONGO_URL"][-1]
        == "@127.0.0.1:27017/codementee?authSource=admin&journal=true&tls=false"
    )
    with pytest.raises(SettingsError, match="found a URL in plain"):
        check({**defaults, "backend_environment": {"MONGO_URL": "mongodb://{mongo_host}/d"}})


def test_a_component_adds_what_its_values_are(settings_with, monkeypatch):
    """As one for Valkey would: a name for values, and a variable that the backend gets."""
    url = environment.Placeholder(
        lambda settings: ("redis://:", Secret("JWT_SECRET", in_url=True), "@127.0.0.1"),
        lambda settings: "" if settings.swap_mb else "valkey = True installs it",
        variable="VALKEY_URL",
    )
    monkeypatch.setitem(environment.PLACEHOLDERS, "valkey_url", url)
    settings = settings_with(backend_environment={"CELERY_BROKER_URL": "{valkey_url}/1"})
    assert credentials_of(settings, settings.backend).keys() >= {"VALKEY_URL", "CELERY_BROKER_URL"}
    assert "VALKEY_URL" not in credentials_of(settings_with(swap_mb=0), settings.backend)
    with pytest.raises(SettingsError, match="which this site does not have: valkey = True installs it"):
        settings_with(swap_mb=0, backend_environment={"CELERY_BROKER_URL": "{valkey_url}/1"})


@pytest.mark.parametrize(("value", "text"), [(["https://a"], """'["https://a"]'"""), (30, "'30'"), (True, "'true'")])
def test_a_value_that_is_no_text_is_reported_as_which_text(defaults, value, text):
    with pytest.raises(SettingsError) as caught:
        check({**defaults, "backend_environment": {"A": value}})
    assert caught.value.problems == [
        f"group_data/all.py: backend_environment['A']: found {value!r}, expected text, as {text}"
    ]


@pytest.mark.parametrize("name", ["LISTEN_FDS", "CREDENTIALS_DIRECTORY", "1A", "A-B", "A B", "Ä"])
def test_what_is_no_variable_of_the_users_is_refused(defaults, name):
    with pytest.raises(SettingsError, match="an environment variable's name"):
        check({**defaults, "backend_environment": {name: ""}})


# --- What a service gets ---------------------------------------------------------------------------------------------

VALUES = {
    "PLAIN": "x",
    "DOMAIN": "{site_domain}",
    "DATABASE_URL": "{mongo_url}",
    "TOKEN": "{secrets.JWT_SECRET}",
    "BOTH": "{secrets.JWT_SECRET}{secrets.ADMIN_PASSWORD}",
}


def test_the_backend_gets_its_variables_and_what_is_secret_of_them_as_credentials(settings_with):
    settings = settings_with(backend_environment=VALUES)
    assert plain_of(settings, settings.backend) == {"PLAIN": "x", "DOMAIN": "codementee.io"}
    secret = ["JWT_SECRET", "ADMIN_PASSWORD", "MONGO_URL", "DATABASE_URL", "TOKEN", "BOTH"]
    assert credentials_of(settings, settings.backend) == {name: name for name in secret}


def test_a_service_gets_what_the_backend_has_and_its_own_over_it(settings_with):
    own = {"PLAIN": "its own", "TOKEN": "{secrets.ADMIN_PASSWORD}", "MORE": "1"}
    settings = settings_with(backend_environment=VALUES, services=[{**MAILER, "environment": own}])
    (mailer,) = settings.services
    assert plain_of(settings, mailer) == {"PLAIN": "its own", "DOMAIN": "codementee.io", "MORE": "1"}
    ours = credentials_of(settings, settings.backend)
    # What is another value is another file.
    assert credentials_of(settings, mailer) == {**ours, "TOKEN": "mailer.TOKEN"}
    assert environment.composed(settings)["mailer.TOKEN"] == (Secret("ADMIN_PASSWORD"),)


@pytest.mark.parametrize(
    ("secrets", "has"),
    [
        ([], []),
        (["JWT_SECRET"], ["JWT_SECRET", "TOKEN"]),
        (["MONGO_URL"], ["MONGO_URL", "DATABASE_URL"]),
        (["JWT_SECRET", "ADMIN_PASSWORD"], ["JWT_SECRET", "ADMIN_PASSWORD", "TOKEN", "BOTH"]),
    ],
)
def test_a_service_with_secrets_of_its_own_gets_no_value_with_another_one_in_it(settings_with, secrets, has):
    settings = settings_with(backend_environment=VALUES, services=[{**MAILER, "secrets": secrets}])
    (mailer,) = settings.services
    assert [*credentials_of(settings, mailer)] == has
    assert plain_of(settings, mailer) == {"PLAIN": "x", "DOMAIN": "codementee.io"}


def test_a_service_gets_what_it_names_itself(settings_with):
    services = [{**MAILER, "secrets": [], "environment": {"URL": "{mongo_url}"}}]
    settings = settings_with(services=services)
    assert credentials_of(settings, settings.services[0]) == {"URL": "mailer.URL"}


def test_a_variable_of_a_service_that_is_one_of_its_secrets_too_is_reported(defaults):
    services = [{**MAILER, "environment": {"JWT_SECRET": "x"}}]
    with pytest.raises(SettingsError, match=r"\['environment'\]\['JWT_SECRET'\]: found a secret of this name, too"):
        check({**defaults, "services": services})
    assert check({**defaults, "services": [{**services[0], "secrets": ["ADMIN_PASSWORD"]}]})


def test_each_site_has_values_of_its_own(settings_with):
    blog = {"site_name": "blog", "site_domain": "blog.example.org"}
    _, other = settings_with(backend_environment=VALUES, sites=[blog]).all_sites
    assert plain_of(other, other.backend)["DOMAIN"] == "blog.example.org"
    assert "blog:" in str(environment.composed(other)["DATABASE_URL"][0])


# --- Units -----------------------------------------------------------------------------------------------------------


def of_backend(settings):
    return of_service(settings, settings.backend, unit_values(settings, 819, database_is_here=True))


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('["https://a"]', r'"A=[\"https://a\"]"'),
        ("%d $HOME \\n", r'"A=%%d $HOME \\n"'),
        ("two\nlines\tä", r'"A=two\nlines\tä"'),
        ("", '"A="'),
    ],
)
def test_a_plain_value_is_one_line_of_a_unit_in_systemds_quoting(settings_with, text, quoted):
    assert of_backend(settings_with(backend_environment={"A": text}))["environment"] == [quoted]


def test_a_dollar_is_doubled_in_a_command_alone():
    assert quoted_for_systemd("$x") == '"$$x"'


def test_services_start_by_the_launcher_where_secrets_are_variables_and_there_are_some(settings_with):
    settings = settings_with(services=[{**MAILER, "secrets": []}])
    assert of_backend(settings)["launcher"] == "/usr/lib/slipway/with-credentials "
    assert of_backend(settings_with(backend_secrets_delivery="credentials"))["launcher"] == ""
    values = unit_values(settings, 819, database_is_here=True)
    assert of_service(settings, settings.services[0], values)["launcher"] == ""


# --- The launcher ----------------------------------------------------------------------------------------------------


def launch(*command: str, folder: Path | None = None, **env: str) -> subprocess.CompletedProcess[bytes]:
    # In the locale C Python would set one, whatever it runs.
    env |= {"LC_ALL": "C.UTF-8"} | ({"CREDENTIALS_DIRECTORY": str(folder)} if folder else {})
    return subprocess.run(
        [sys.executable, "-IS", launcher.__file__, *command], env=env, capture_output=True, check=False
    )


def test_the_launcher_makes_each_credential_a_variable_byte_for_byte(tmp_path):
    values = {
        "PEM": b"-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n",
        "ODD": "a\"b'c`d$e ${f} %g \\h äЀ\u2028😀".encode() + bytes(range(1, 32)) + b"\x81\xff",
        "EMPTY": b"",
        "lower_1": b"x",
    }
    for name, value in values.items():
        (tmp_path / name).write_bytes(value)
    # None is a variable's name.
    (tmp_path / "not-one").touch()
    (tmp_path / "1").touch()
    done = launch("/usr/bin/env", "-0", folder=tmp_path, OTHER="kept", ODD="of the unit")
    found = dict(pair.split(b"=", 1) for pair in done.stdout.rstrip(b"\0").split(b"\0"))
    expected = {os.fsencode(name): value for name, value in values.items()}
    given = {b"OTHER": b"kept", b"LC_ALL": b"C.UTF-8", b"CREDENTIALS_DIRECTORY": os.fsencode(tmp_path)}
    assert found == {**expected, **given}


def test_the_launcher_becomes_the_command_and_keeps_what_it_was_given(tmp_path):
    (tmp_path / "TOKEN").write_text("recognisable")
    code = "import json, os, sys; print(json.dumps([os.getppid(), sys.argv[1:], os.environ['TOKEN']]))"
    done = launch(sys.executable, "-c", code, "a b", "$c", "", folder=tmp_path)
    parent, arguments, token = json.loads(done.stdout)
    # Its parent is ours: there is no process between.
    assert (parent, arguments, token) == (os.getpid(), ["a b", "$c", ""], "recognisable")
    assert launch(sys.executable, "-c", "raise SystemExit(3)", folder=tmp_path).returncode == 3


def test_a_program_knows_itself_by_the_release_that_it_was_started_from(tmp_path):
    """A worker that it starts after a switch has its own release's packages."""
    for folder in ("releases/1", "venvs/a/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    (tmp_path / "releases/1/.venv").symlink_to("../../venvs/a")
    (tmp_path / "venvs/a/bin/python").symlink_to(sys.executable)
    command = [f"{tmp_path}/current/.venv/bin/python", "-ISc", "import sys; print(sys.executable)"]
    done = launch(*command)
    assert done.stdout.decode().strip() == f"{tmp_path}/venvs/a/bin/python"


def test_the_launcher_needs_no_credentials(tmp_path):
    assert launch("/usr/bin/env", A="1").stdout.split() == [b"A=1", b"LC_ALL=C.UTF-8"]


@pytest.mark.parametrize(
    ("content", "command", "said"),
    [
        (b"recognisable\0", ["/usr/bin/env"], "embedded null byte"),
        (b"recognisable", ["/no/such/program"], "/no/such/program: "),
        (b"recognisable", [], "usage: "),
    ],
)
def test_what_the_launcher_can_not_do_is_reported_without_a_value(tmp_path, content, command, said):
    (tmp_path / "TOKEN").write_bytes(content)
    done = launch(*command, folder=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert b"recognisable" not in done.stderr
    assert b"Traceback" not in done.stderr
