"""Settings of secrets: their names, and where they are. Their values are no settings."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from slipway.secrets.store import MONGO_URL, MONGODB_ADMIN, MONGODB_BACKEND, known_names, recipient
from slipway.settings.types import EnvName, OnThisMachine, Section, Words, matching


def public_age_key(value: str) -> str:
    """A recipient's line. Raises ValueError."""
    recipient(value)
    return value.strip()


RecipientKey = Annotated[str, AfterValidator(public_age_key), Words('a public age key "age1..."')]


class Secrets(Section):
    """Secrets

    Names and places only; [secrets.md](secrets.md) describes where the values are.
    """

    per_site = frozenset({"backend_secrets", "generated_secrets", "secrets_file", "backend_secrets_delivery"})

    backend_secrets: list[EnvName] = Field([])
    """Names of the secrets that the backend needs. It also gets `MONGO_URL`, which Slipway builds."""

    generated_secrets: list[EnvName] = Field([MONGODB_ADMIN, MONGODB_BACKEND])
    """Secrets that the server generates when they are not provided. They never leave it."""

    secrets_file: Annotated[str, OnThisMachine(), Words("a file on your machine, relative to the project")] = (
        "secrets/production.age"
    )
    """The file with the values: NAME=value lines, encrypted with age if its name ends in `.age` (`slipway secrets
    edit`), else plain, of mode 0600 and kept out of git; `""` for none. An environment variable `SLIPWAY_SECRET_<NAME>`
    takes precedence."""

    secrets_recipients: list[RecipientKey] = Field([])
    """Who can decrypt `secrets_file`. `slipway secrets keygen` creates a key pair and prints the public key."""

    secrets_identity: Annotated[str, matching(r".*\S.*", "a file's name")] = "~/.config/slipway/identity.txt"
    """The file on your machine with your private key. The environment variable `SLIPWAY_AGE_IDENTITY`, a key or a file,
    takes precedence."""

    backend_secrets_delivery: Literal["environment", "credentials"] = "environment"
    """How the site's services get their secrets: `"environment"`, as environment variables and as files in
    `$CREDENTIALS_DIRECTORY`; or `"credentials"`, as these files alone."""

    @field_validator("backend_secrets")
    @classmethod
    def _not_mongodbs(cls, value: list[str]) -> list[str]:
        if owned := {MONGODB_ADMIN, MONGODB_BACKEND} & {*value}:
            raise ValueError(f"names without {', '.join(sorted(owned))}: the backend gets {MONGO_URL} instead")
        return value

    @field_validator("generated_secrets")
    @classmethod
    def _of_the_site(cls, value: list[str], info: ValidationInfo) -> list[str]:
        names = known_names(info.data.get("backend_secrets", value))
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"names without {', '.join(unknown)}; the secrets of this site are {', '.join(names)}")
        if MONGO_URL in value:
            raise ValueError(f"names without {MONGO_URL}, which cannot be generated")
        return value
