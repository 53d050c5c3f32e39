"""The variables that a backend reads, and the settings for them."""

from __future__ import annotations

import subprocess

import pytest

from slipway.secrets.committed import env_files
from support.repositories import APP, notes_of, read, settings_of

SETTINGS = "from pydantic_settings import BaseSettings, SettingsConfigDict\nfrom pydantic import Field, SecretStr\n"


def values(top, code: str, **more: str) -> dict[str, str]:
    """backend_environment of an application that reads its variables in config.py."""
    found = read(top, {"main.py": f"import config\n{APP}", "config.py": code, **more}).all_found
    return next((one.value for one in found if one.setting == "backend_environment"), {})


def secrets(top, code: str, **more: str) -> list[str]:
    return settings_of(top, {"main.py": f"import config\n{APP}", "config.py": code, **more}).get("backend_secrets", [])


def names(top, code: str) -> set[str]:
    """All variables that are read."""
    found = read(top, {"main.py": f"import config\n{APP}", "config.py": code})
    return {one.name for one in found.project.backend.variables.found}


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.environ['NAME']",
        "import os\nos.environ.get('NAME')",
        "import os\nos.getenv('NAME', 'x')",
        "from os import environ, getenv\ngetenv(key='NAME')",
        "from os import environ\nx = environ['NAME']",
        "import os\nenv = os.environ\nenv['NAME']",
        "import os\nKEY = 'NAME'\nos.getenv(KEY)",
        "from decouple import config\nconfig('NAME', default='x', cast=int)",
        "import decouple as env\nenv.config('NAME', default='x')",
        "import decouple\ndecouple.config('NAME')",
        "from starlette.config import Config\nconfig = Config('.env')\nconfig('NAME', cast=str, default='x')",
        "from environs import Env\nenv = Env()\nenv.read_env()\nenv.str('NAME')",
        "from environs import Env\nenv = Env()\nenv('NAME')",
        "import os\ndef read(name, default=None):\n    return os.environ.get(name, default)\nx = read('NAME')",
        "import os\nclass Config:\n    NAME = os.getenv('NAME')",
        "import os\ndef later():\n    return os.environ['NAME']",
        f"{SETTINGS}class S(BaseSettings):\n    name: str",
        f"{SETTINGS}class S(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='NA')\n    me: str",
        f"{SETTINGS}class S(BaseSettings):\n    model_config = {{'env_prefix': 'NA'}}\n    me: str",
        f"{SETTINGS}class S(BaseSettings):\n    me: str\n    class Config:\n        env_prefix = 'NA'",
        f"{SETTINGS}class S(BaseSettings):\n    other: str = Field(alias='NAME')",
        f"{SETTINGS}class S(BaseSettings):\n    other: str = Field(default='x', validation_alias='NAME')",
        f"{SETTINGS}from pydantic import AliasChoices\nclass S(BaseSettings):\n"
        "    other: str = Field(validation_alias=AliasChoices('NAME', 'n'))",
        f"{SETTINGS}from typing import Annotated\nclass S(BaseSettings):\n    other: Annotated[str, Field(alias='NAME')]",
        f"{SETTINGS}class Base(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='NA')\nclass S(Base):\n    me: int",
        "import os\nfrom pydantic import BaseModel\nclass Settings(BaseModel):\n    NAME: str\ns = Settings(**os.environ)",
        "import os\nfrom pydantic import BaseModel\nclass Settings(BaseModel):\n    name: str\n"
        "s = Settings(**{key.lower(): value for key, value in os.environ.items()})\nenvironment = dict(os.environ)",
        "from pydantic import BaseSettings\nfrom decouple import config\nclass S(BaseSettings):\n    other = config('NAME')",
        f"import os\n{SETTINGS}class S(BaseSettings):\n    other: str = os.getenv('NAME', 'x')",
        "from pydantic import BaseSettings, Field\nclass S(BaseSettings):\n    other: str = Field(..., env='NAME')",
        "from pydantic import BaseSettings\nclass S(BaseSettings):\n    other: str\n"
        "    class Config:\n        fields = {'other': {'env': 'NAME'}}",
    ],
)  # fmt: skip
def test_a_variable_is_found(tmp_path, code):
    assert names(tmp_path, f"{code}\n") == {"NAME"}


@pytest.mark.parametrize(
    "code",
    [
        "import os\nif __name__ == '__main__':\n    os.environ['NAME']",
        "x = {'NAME': 1}\nx['NAME']",
        "# os.environ['NAME']",
        f"{SETTINGS}from typing import ClassVar\nclass S(BaseSettings):\n    NAME: ClassVar[str] = 'x'",
    ],
)
def test_what_is_no_variable_of_the_backend_is_not(tmp_path, code):
    assert names(tmp_path, f"{code}\n") == set()


def test_variables_of_a_newer_syntax_are_found(tmp_path):
    assert names(tmp_path, "import os\ndef f[T](x: T):\n    return os.getenv('NAME')\n# os.getenv('NOT')\n") == {"NAME"}


def test_only_what_the_application_imports_is_read(tmp_path):
    files = {"main.py": APP, "seed.py": "import os\nos.environ['SEED_PASSWORD']\n"}
    assert "backend_secrets" not in settings_of(tmp_path, files)


def test_names_are_as_the_application_reads_them(tmp_path):
    code = (
        f"{SETTINGS}class S(BaseSettings):\n    model_config = SettingsConfigDict(case_sensitive=True)\n    Name: str\n"
    )
    assert names(tmp_path, code) == {"Name"}


def test_models_in_settings_are_read_with_their_delimiter(tmp_path):
    code = (
        f"{SETTINGS}from pydantic import BaseModel\nclass Mail(BaseModel):\n    password: str\nclass S(BaseSettings):\n"
        "    model_config = SettingsConfigDict(env_nested_delimiter='__')\n    mail: Mail\n"
    )
    assert names(tmp_path, code) == {"MAIL__PASSWORD"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.environ['JWT_SECRET']", ["JWT_SECRET"]),
        ("os.environ['STRIPE_API_KEY']", ["STRIPE_API_KEY"]),
        ("os.getenv('SMTP_PASSWORD')", ["SMTP_PASSWORD"]),
        # One that is written in the code is none.
        ("os.getenv('ADMIN_PASSWORD', 'admin')", ["ADMIN_PASSWORD"]),
        # The backend does without it.
        ("os.getenv('SENTRY_DSN', '')", []),
        ("os.getenv('SENTRY_DSN', None)", []),
        # No secrets, for all their names.
        ("os.environ['ACCESS_TOKEN_EXPIRE_MINUTES']", []),
        ("os.environ['STRIPE_PUBLISHABLE_KEY']", []),
        ("os.environ['PASSWORD_MIN_LENGTH']", []),
        ("os.getenv('CORS_ALLOW_CREDENTIALS', 'true')", []),
        ("os.environ['PATH']", []),
    ],
)
def test_secrets_are_known_by_their_names(tmp_path, code, expected):
    assert secrets(tmp_path, f"import os\n{code}\n") == expected


def test_a_secret_is_known_by_its_type(tmp_path):
    code = f"{SETTINGS}class S(BaseSettings):\n    mailgun: SecretStr\n    other: SecretStr | None = None\n"
    assert secrets(tmp_path, code) == ["MAILGUN"]


@pytest.mark.parametrize(
    ("name", "is_generated"),
    [
        ("SECRET_KEY", True), ("JWT_SECRET", True), ("JWT_SECRET_KEY", True), ("SESSION_SECRET", True), ("APP_SECRET_KEY", True),
        ("JWT_REFRESH_SECRET_KEY", True), ("SECRET", True), ("STRIPE_SECRET_KEY", False), ("CLIENT_SECRET", False),
        ("AWS_SECRET_ACCESS_KEY", False), ("GOOGLE_CLIENT_SECRET", False), ("ADMIN_PASSWORD", False), ("API_KEY", False),
        ("TOTP_SECRET_KEY", False), ("JWT_PRIVATE_KEY", False), ("ENCRYPTION_KEY", False),
    ],
)  # fmt: skip
def test_only_the_applications_own_keys_are_generated(tmp_path, name, is_generated):
    found = settings_of(tmp_path, {"main.py": f"import os\n{APP}os.environ['{name}']\n"})
    assert (name in found.get("generated_secrets", [])) == is_generated


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.environ['FRONTEND_URL']", {"FRONTEND_URL": "https://{site_domain}"}),
        ("os.getenv('API_URL', 'http://localhost:8000/api')", {"API_URL": "https://{site_domain}/api"}),
        ("os.getenv('API_URL', 'https://api.example.org')", {}),
        ("os.getenv('CORS_ORIGINS', 'http://localhost:3000').split(',')", {"CORS_ORIGINS": "https://{site_domain}"}),
        ("os.getenv('ALLOWED_ORIGINS', '[\"http://localhost\"]')", {"ALLOWED_ORIGINS": '["https://{site_domain}"]'}),
        ("os.environ['ENVIRONMENT']", {"ENVIRONMENT": "production"}),
        ("os.getenv('APP_ENV', 'development')", {"APP_ENV": "production"}),
        ("os.getenv('APP_ENV', 'production')", {}),
        ("os.getenv('DEBUG', 'True')", {"DEBUG": "false"}),
        ("os.getenv('LOG_LEVEL', 'info')", {}),
        # As a number, if the code makes one of it.
        ("bool(int(os.environ.get('DEBUG'), 0))", {"DEBUG": "0"}),
        ("os.getenv('DEBUG', '1') == '1'", {"DEBUG": "0"}),
        ("from decouple import config\nconfig('APP_DEBUG', cast=int)", {"APP_DEBUG": "0"}),
        ("int(os.environ['LOG_LEVEL'])", {}),
        # Any text is true.
        ("bool(os.getenv('DEBUG'))", {"DEBUG": ""}),
        ("bool(os.environ.get('DEBUG', 'true'))", {"DEBUG": ""}),
        ("int(os.environ['MODE'])", {}),
        ("os.environ['VITE_BACKEND_APP_API_URL']", {"VITE_BACKEND_APP_API_URL": "https://{site_domain}"}),
        ("os.environ['PAYMENT_API_URL']", {}),
        ("os.environ['PORT']", {}),
        # What most have there.
        ("os.environ['JWT_ALGORITHM']", {"JWT_ALGORITHM": "HS256"}),
        ("os.environ['ACCESS_TOKEN_EXPIRE_MINUTES']", {"ACCESS_TOKEN_EXPIRE_MINUTES": "30"}),
    ],
)
def test_what_follows_from_the_site_is_set(tmp_path, code, expected):
    assert values(tmp_path, f"import os\n{code}\n") == expected


def test_a_list_of_pydantics_is_json(tmp_path):
    code = f"{SETTINGS}class S(BaseSettings):\n    cors_origins: list[str] = ['http://localhost:3000']\n"
    assert values(tmp_path, code) == {"CORS_ORIGINS": '["https://{site_domain}"]'}


COMPOSE = """services:
  mailhog: {image: x, container_name: outbox, networks: {inner: {ipv4_address: 172.20.0.5, aliases: [post]}}}
  web: {image: x}
"""


@pytest.mark.parametrize(
    ("name", "example", "is_copied"),
    [
        ("SMTP_HOST", "mailhog", False),
        ("SMTP_HOST", "outbox", False),
        ("SMTP_HOST", "post", False),
        ("SMTP_HOST", "172.20.0.5", False),
        ("SMTP_SERVER", "mailhog:1025", False),
        ("PAYMENTS", "http://web:8000/pay", False),
        ("PAYMENTS", "http://10.1.2.3/pay", False),
        ("SMTP_HOST", "smtp.example.org", True),
        ("PAYMENTS", "https://web.example.org/pay", True),
        # Not an address, whatever services are called.
        ("BUCKET", "web", True),
        ("RELEASE", "1.2.3", True),
    ],
)
@pytest.mark.parametrize("is_default", [True, False])
def test_an_address_of_a_container_is_not_copied(tmp_path, name, example, is_copied, is_default):
    code = f"os.getenv('{name}', '{example}')" if is_default else f"os.environ['{name}']"
    files = {"main.py": f"import os\n{code}\n{APP}", "compose.yaml": COMPOSE, ".env.example": f"{name}={example}\n"}
    found = settings_of(tmp_path, files).get("backend_environment", {})
    assert found == ({name: example} if is_copied and not is_default else {})
    notes = notes_of(tmp_path, files)
    assert (f"{name} is '{example}' by default" in notes) is (is_default and not is_copied)
    assert (f"variables with unknown values: {name}" in notes) is (not is_default and not is_copied)


def test_a_compose_file_that_cannot_be_read_is_ignored(tmp_path):
    for number, text in enumerate(
        ("services: [", "services: {a: !x b, 1: {}}", "- 1", "services: {a: {networks: [x], build: .}}")
    ):
        files = {
            "main.py": f"import os\nos.environ['SMTP_HOST']\n{APP}",
            "compose.yaml": text,
            ".env.example": "SMTP_HOST=m\n",
        }
        assert settings_of(tmp_path / str(number), files)["backend_environment"] == {"SMTP_HOST": "m"}


@pytest.mark.parametrize(
    ("test", "is_required"),
    [
        ("if not A: raise ValueError", True),
        ("if A is None or not B:\n    print('no')\n    sys.exit(1)", True),
        ("if not all([A, B]): raise ValueError", True),
        ("if not (A and B): raise ValueError", True),
        ("if A: raise ValueError", False),
        ("if not A and not B: raise ValueError", False),
        ("if not A: print('no')", False),
    ],
)
def test_a_variable_without_which_the_code_raises_is_required(tmp_path, test, is_required):
    code = f"import os, sys\nA, B = os.getenv('SIZE'), os.getenv('PLACE')\n{test}\n"
    notes = notes_of(tmp_path, {"main.py": f"{code}{APP}"})
    assert ("variables with unknown values: SIZE" in notes) is is_required
    assert ("variables without a default: SIZE" in notes) is not is_required


def test_a_number_of_pydantics_is_one(tmp_path):
    assert values(tmp_path, f"{SETTINGS}class S(BaseSettings):\n    debug: int\n") == {"DEBUG": "0"}


@pytest.mark.parametrize(
    ("kind", "value"), [("AnyHttpUrl", "https://{site_domain}"), ("AnyUrl | None", "https://{site_domain}"), ("str", "{site_domain}")]
)  # fmt: skip
def test_a_host_is_a_url_if_its_type_is_one(tmp_path, kind, value):
    code = f"{SETTINGS}from pydantic import AnyHttpUrl, AnyUrl\nclass S(BaseSettings):\n    SERVER_HOST: {kind}\n"
    assert values(tmp_path, code) == {"SERVER_HOST": value}


def test_a_stage_is_one_of_its_choices(tmp_path):
    code = f"{SETTINGS}from typing import Literal\nclass S(BaseSettings):\n    env: Literal['dev', 'prod'] = 'dev'\n"
    assert values(tmp_path, code) == {"ENV": "prod"}
    code = code.replace("'prod'", "'live'")
    assert values(tmp_path, code) == {}


def test_values_that_are_no_secrets_come_from_the_example(tmp_path):
    example = "ALGORITHM=HS256  # of the token\nMAIL_HOST='smtp.example.org'\nMAIL_FROM=your-address\nBROKER=http://localhost\n"
    code = "import os\n" + "".join(
        f"os.environ['{name}']\n" for name in ("ALGORITHM", "MAIL_HOST", "MAIL_FROM", "BROKER")
    )
    found = values(tmp_path, code, **{".env.example": example})
    assert found == {"ALGORITHM": "HS256", "MAIL_HOST": "smtp.example.org"}
    assert "variables with unknown values: MAIL_FROM, BROKER" in notes_of(tmp_path, {})


def test_no_value_of_a_secret_is_copied(tmp_path):
    code = "import os\nos.environ['STRIPE_API_KEY']\nos.environ['SECRET_KEY']\n"
    found = read(tmp_path, {"main.py": f"import config\n{APP}", "config.py": code, ".env": "STRIPE_API_KEY=hunter2\n"})
    assert "hunter2" not in repr(found.all_found)


def test_a_file_of_secrets_in_git_is_reported(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    files = {
        "api/main.py": APP,
        "api/.env": "SECRET_KEY=hunter2\nPORT=1\n",
        "web/.env": "VITE_API_URL=/api\nJWT_SECRET=\n",
    }
    assert "in git" not in notes_of(tmp_path, files)
    env_files.cache_clear()
    subprocess.run(["git", "-C", str(tmp_path), "add", "-A"], check=True)
    said = notes_of(tmp_path, files)
    assert "api/.env: in git, with SECRET_KEY; run git rm --cached api/.env" in said
    assert "web/.env" not in said
    assert "hunter2" not in said


def test_what_reads_only_a_file_is_reported(tmp_path):
    code = "from dotenv import dotenv_values\nconfig = dotenv_values('.env')\nurl = config['ATLAS_URI']\n"
    assert "main.py:6: ATLAS_URI is read only from a .env file" in notes_of(tmp_path, {"main.py": f"{APP}\n{code}"})


def test_other_servers_are_reported(tmp_path):
    assert "main.py:1: uses Kafka, which Slipway does not install" in notes_of(
        tmp_path, {"main.py": f"import kafka\n{APP}"}
    )


def test_redis_is_valkey(tmp_path):
    code = "import os, redis\nredis.from_url(os.getenv('REDIS_URL', 'redis://localhost:6379'))\n"
    rows = settings_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert rows["valkey"] is True
    assert rows["backend_environment"] == {"REDIS_URL": "{valkey_url}"}
    assert "Redis" not in notes_of(tmp_path, {})


def test_redis_without_a_url_is_reported(tmp_path):
    code = "import os, redis\nredis.Redis(host=os.getenv('REDIS_HOST', 'localhost'))\n"
    assert "valkey" not in settings_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert "main.py:3: connects to Redis by host name" in notes_of(tmp_path, {})


def test_defaults_stand_beside_as_comments(tmp_path):
    found = read(tmp_path, {"main.py": f"import os\n{APP}os.getenv('LOG_LEVEL', 'info')\n"}).all_found
    (environment,) = (one for one in found if one.setting == "backend_environment")
    assert environment.more == ('"LOG_LEVEL": "info",  # main.py:4',)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("import os\nHOSTS = os.environ['ALLOWED_HOSTS'].split(',')\n", "{site_domain}"),
        ("from pydantic_settings import BaseSettings\nclass Settings(BaseSettings):\n    TRUSTED_HOSTS: list[str]\n", '["{site_domain}"]'),
        ("import os\nHOSTS = os.getenv('ALLOWED_HOSTS', 'localhost,127.0.0.1')\n", "{site_domain}"),
        ("import os\nHOSTS = os.getenv('ALLOWED_HOSTS', '*')\n", None),
    ],
)  # fmt: skip
def test_the_hosts_that_an_application_answers_are_the_sites(tmp_path, code, value):
    found = settings_of(tmp_path, {"main.py": f"{APP}{code}"}).get("backend_environment", {})
    assert found.get("ALLOWED_HOSTS", found.get("TRUSTED_HOSTS")) == value


def test_a_url_that_only_redis_over_tcp_may_have_is_reported(tmp_path):
    code = "from pydantic import RedisDsn\nfrom pydantic_settings import BaseSettings\nimport redis\nclass Settings(BaseSettings):\n    REDIS_URL: RedisDsn\n"
    assert "main.py: RedisDsn accepts no unix socket" in notes_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert "RedisDsn" not in notes_of(tmp_path / "str", {"main.py": f"{APP}{code.replace('RedisDsn', 'str')}"})


def test_variables_of_a_file_are_known_by_their_names(tmp_path):
    code = "from dotenv import dotenv_values\nfrom pymongo import MongoClient\nenv = dotenv_values('.env.local')\n@app.on_event('startup')\ndef up():\n    app.db = MongoClient(env['ATLAS_URI'])[env['DB_NAME']]\n"
    found = settings_of(tmp_path, {"main.py": f"{APP}{code}"})
    assert found["backend_environment"] == {"ATLAS_URI": "{mongo_url}", "DB_NAME": "{mongo_database}"}


@pytest.mark.parametrize(
    ("key", "call", "name"),
    [
        ("f'{PREFIX}_{name}'", "env('MONGO_URI')", "SHOP_MONGO_URI"),
        ("PREFIX + '_' + name", "env('MONGO_URI')", "SHOP_MONGO_URI"),
        ("f'SHOP_{name.upper()}_V2'", "env('mongo_uri')", "SHOP_MONGO_URI_V2"),
        ("name.upper()", "env('mongo_uri')", "MONGO_URI"),
        # Of two unknown parts nothing is known.
        ("f'{stage}_{name}'", "env('MONGO_URI')", ""),
    ],
)
def test_a_function_that_puts_the_name_of_a_variable_together_is_followed(tmp_path, key, call, name):
    code = f"import os\nfrom pymongo import MongoClient\nPREFIX = 'SHOP'\ndef env(name, default=None, stage=''):\n    return os.getenv({key}, default)\nclient = MongoClient({call})\n"
    found = values(tmp_path, code)
    assert found == ({name: "{mongo_url}"} if name else {})
