"""The backend's settings: credentials and environment variables, checked once, when it starts."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator


class Settings(BaseModel):
    """Each field is the credential or environment variable of its name in capitals, and says what it expects."""

    mongo_url: SecretStr = Field(
        SecretStr("mongodb://127.0.0.1:27017/codementee"),
        description="a URL with the database's name as its path, such as mongodb://127.0.0.1:27017/codementee",
    )
    jwt_secret: SecretStr = Field(
        min_length=32, description="at least 32 characters that nobody can guess: openssl rand -hex 32"
    )
    admin_email: str = Field("admin@codementee.io", pattern=r"^[^@\s]+@[^@\s]+$", description="an email address")
    admin_password: SecretStr = Field(description="the password that the admin logs in with")
    cors_origins: list[str] = Field(
        [], description="origins with commas between them, such as https://a.io,https://b.io"
    )
    token_minutes: int = Field(60, ge=1, le=10080, description="minutes until a login ends, from 1 to 10080 (a week)")

    @field_validator("mongo_url")
    @classmethod
    def _names_a_database(cls, url: SecretStr) -> SecretStr:
        scheme, _, rest = url.get_secret_value().partition("://")
        database = rest.partition("/")[2].partition("?")[0]
        if scheme not in ("mongodb", "mongodb+srv") or not database:
            raise ValueError("not a MongoDB URL with a database")
        return url

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: list[str]) -> list[str]:
        # A browser's Origin header never ends in a slash, so one that does would silently match nothing.
        if not all(origin.startswith(("http://", "https://")) and origin.count("/") == 2 for origin in origins):
            raise ValueError("not an origin")
        return origins


def with_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, and in it the files that systemd put into $CREDENTIALS_DIRECTORY (LoadCredential=)."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    files = Path(folder).iterdir() if folder else ()
    return {**environment, **{file.name: file.read_bytes().decode() for file in files}}


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings, or the process exits with one line that names the variable to correct."""
    environment = with_credentials(environment)
    # An empty variable counts as absent.
    given = {name: environment[name.upper()] for name in Settings.model_fields if environment.get(name.upper())}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        wrong = [str(part["loc"][0]) for part in error.errors()]
    # Never the value itself: this line ends up in a log.
    complaints = (
        f"{name.upper()} {'is wrong' if name in given else 'is missing'}: {Settings.model_fields[name].description}"
        for name in wrong
    )
    raise SystemExit(f"codementee backend: {'; '.join(complaints)}")
