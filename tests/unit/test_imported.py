"""The import of an application's .env: secrets, settings, and values that Slipway replaces."""

from __future__ import annotations

import pytest

from slipway.settings.environment import parsed
from slipway.settings.imported import imported, is_secret

SECRETS = {
    "JWT_SECRET": "not-in-production",
    "SECRET_KEY": "x",
    "jwtSecret": "x",
    "SMTP_PASSWORD": "hunter22",
    "POSTGRES_PASSWORD": "123456",
    "PGPASSWORD": "hunter2",
    "COOKIE_SECRET": "correct-horse-battery",
    "API_KEYS": "one,two",
    "REDIS_AUTH": "hunter2",
    "FIREBASE_CONFIG": '{"private_key": "-----BEGIN PRIVATE KEY-----"}',
    "STORAGE": "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=ab12==",
    "STRIPE_SECRET_KEY": "sk_test_51H",
    "OPENAI": "sk-proj-1",
    "RESEND": "re_1234",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "GOOGLE_CLIENT_SECRET": "GOCSPX",
    "REDIS": "redis://:pa55@cache.example.net:6379/0",
    "CELERY_BROKER_URL": "amqp://app:pa55@mq/",
    "SLACK": "https://hooks.slack.com/services/T0001/B0001/a1B2c3D4e5F6g7H8i9J0k1L2",
    "SENTRY_DSN": "x",
    "SEED": "9f86d081884c7d659a2feaa0c55ad015",
    "FIREBASE": "-----BEGIN PRIVATE KEY-----\nMIIE\n",
    "PASSWORD": "",
}
PLAIN = {
    "ACCESS_TOKEN_EXPIRE_MINUTES": "30",
    "JWT_ALGORITHM": "HS256",
    "AUTH_PROVIDER": "google",
    "COOKIE_NAME": "session",
    "TOKEN_URL": "https://login.example.org/token",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_abc",
    "USE_API_KEY": "true",
    "CORS_ORIGINS": '["https://a.example", "https://b.example"]',
    "ENVIRONMENT": "production",
    "SMTP_HOST": "smtp.eu.mailgun.org",
    "SMTP_USER": "postmaster@mg.example.org",
    "LOG_FORMAT": "{level} {message}",
    "PORT": "8000",
    "PROJECT_NAME": "Full Stack FastAPI Project number 1",
    "SESSION_COOKIE_NAME": "session",
    "FRONTEND_URL": "http://localhost:3000",
    "EMPTY": "",
}


@pytest.mark.parametrize("name", SECRETS)
def test_what_looks_like_a_secret_is_one(name):
    assert is_secret(name, SECRETS[name])


@pytest.mark.parametrize("name", PLAIN)
def test_what_does_not_is_a_setting(name):
    assert not is_secret(name, PLAIN[name])
    assert imported({name: PLAIN[name]}).environment == {name: PLAIN[name]}


MONGODBS = [
    *(
        "mongodb://localhost:27017",
        "mongodb://127.0.0.1:27017/app",
        "mongodb://root:example@mongo:27017/?authSource=admin",
    ),
    *("mongodb://mongodb", "mongodb://[::1]:27017/x", "mongodb://m1:27017,m2:27017/x?replicaSet=rs0"),
]


@pytest.mark.parametrize("url", MONGODBS)
@pytest.mark.parametrize("name", ["MONGO_URL", "MONGODB_URI", "DATABASE_URL", "MONGO_DETAILS"])
def test_the_url_of_a_database_beside_the_application_is_slipways(name, url):
    found = imported({name: url})
    assert (found.environment, found.ours, found.secrets) == ({name: "{mongo_url}"}, [name], {})


def test_its_parts_are_slipways(settings_with):
    found = imported(
        {
            "MONGO_HOST": "mongo",
            "MONGO_PORT": "27017",
            "MONGODB_USERNAME": "root",
            "MONGO_PASSWORD": "example",
            "MONGO_DB": "app",
            "DB_NAME": "app",
            "DB_COLLECTION_NAME": "users",
            "DB_PORT": "5432",
            "MONGO_INITDB_ROOT_PASSWORD": "example",
        }
    )
    assert found.environment == {
        "MONGO_HOST": "{mongo_host}",
        "MONGO_PORT": "{mongo_port}",
        "MONGODB_USERNAME": "{mongo_user}",
        "MONGO_PASSWORD": "{mongo_password}",
        "MONGO_DB": "{mongo_database}",
        "DB_NAME": "{mongo_database}",
        "DB_COLLECTION_NAME": "users",
        "DB_PORT": "5432",
    }
    assert "DB_PORT" not in found.ours
    assert found.left_out == {
        "MONGO_INITDB_ROOT_PASSWORD": "of MongoDB's container, for which Slipway installs MongoDB"
    }


def test_a_database_elsewhere_stays_the_applications_own():
    url = "mongodb+srv://app:pa55@cluster0.abcde.mongodb.net/app"
    found = imported({"MONGODB_URI": url, "DB_NAME": "app"})
    assert (found.secrets, found.environment, found.ours) == ({"MONGODB_URI": url}, {"DB_NAME": "app"}, [])
    found = imported({"MONGO_HOST": "db.example.org", "MONGO_PASSWORD": "pa55", "MONGO_DB": "app"})
    assert (found.secrets, found.ours) == ({"MONGO_PASSWORD": "pa55"}, [])


def test_without_a_database_nothing_is_taken_for_one():
    assert imported({"DB_NAME": "app", "DATABASE_URL": "postgresql://localhost/app"}).ours == []


def test_what_is_chosen_is_a_secret_whatever_it_looks_like():
    found = imported({"MODE": "fast and loose", "MONGO_URL": "mongodb://localhost"}, chosen=["MODE", "MONGO_URL"])
    assert found.secrets == {"MODE": "fast and loose", "MONGO_URL": "mongodb://localhost"}


@pytest.mark.parametrize(
    ("value", "why"), [("changeme", "a placeholder"), ("<your key>", "a placeholder"), ("", "nothing")]
)
def test_a_placeholder_is_no_secret_yet(value, why):
    found = imported({"API_KEY": value})
    assert (found.wanted, found.secrets, found.environment) == ({"API_KEY": why}, {}, {})


def test_what_no_variable_may_be_is_left_out_and_said():
    found = imported({"a-b": "x", "LISTEN_FDS": "1", "BELL": "\a"})
    assert found.left_out.keys() == {"a-b", "LISTEN_FDS", "BELL"}


@pytest.mark.parametrize("value", ["{mongo_url}", "{{mongo_url}}", "a {mongo_ulr} {secrets.X}", "{x} {{y}} {}"])
def test_a_text_that_looks_like_a_name_stays_a_text(settings_with, value):
    found = imported({"TEMPLATE": value}).environment["TEMPLATE"]
    assert parsed(found, settings_with()) == (value,)
