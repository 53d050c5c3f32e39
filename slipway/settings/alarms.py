"""Settings of alarms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.types import Derived, PlainLine, Section, Unit, Words, matching

ALARM_SMTP_PASSWORD, ALARM_HEARTBEAT_URL = "ALARM_SMTP_PASSWORD", "ALARM_HEARTBEAT_URL"

Address = Annotated[str, matching(r"[^\s@<>,;\"]+@[A-Za-z0-9.-]+", 'an e-mail address as "ops@example.org"')]
# "mail" is the channel of alarm_mail_to.
Name = Annotated[
    str, matching(r"(?!mail$)[a-z][a-z0-9_]{0,31}", 'lower-case letters, digits and _, a letter first, not "mail"')
]
Percent = Annotated[int, Field(ge=1, le=100), Unit("percent")]


def url_secret(name: str) -> str:
    """The name of the secret with a webhook's URL: anyone who has the URL can post."""
    return f"ALARM_URL_{name.upper()}"


class Alarms(Section):
    """Alarms

    Off until there is somebody to tell: `alarm_mail_to`, `alarm_webhooks` or `alarm_heartbeat`
    ([alarms.md](alarms.md)).
    """

    alarm_mail_to: list[Address] = Field([])
    """Who gets an e-mail when something breaks, and when it is resolved."""

    alarm_smtp: Annotated[
        str, matching(r"|[A-Za-z0-9.-]+:\d{1,5}", 'a mail server and its port as "smtp.example.org:587", or ""')
    ] = ""
    """The mail server that takes them, with its port. While it is away they wait, for up to three days."""

    alarm_smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection to it is encrypted; `"tls"` is usual at port 465, `"none"` only on this host."""

    alarm_smtp_user: PlainLine = ""
    """The user that logs in to it, with the secret `ALARM_SMTP_PASSWORD`; `""` for no login."""

    alarm_mail_from: Address = Field(default_factory=Derived("slipway@{site_domain}"))
    """The sender."""

    alarm_webhooks: Annotated[
        dict[Name, Literal["json", "slack"]], Words('dictionary of a name to "json" or "slack"'), Field(max_length=8)
    ] = Field({})
    """Webhooks by a name of yours, and the form of what they get: `{"team": "slack"}`. The URL of `team` is the secret
    `ALARM_URL_TEAM`."""

    alarm_heartbeat: bool = False
    """Ask the URL that the secret `ALARM_HEARTBEAT_URL` has each time that all checks pass, as
    [healthchecks](https://healthchecks.io/docs/http_api/) wants it: a server that is down cannot say so itself."""

    alarm_disk_percent: Percent = 90
    """What may be used of a file system, of its space and of its inodes."""

    alarm_errors_percent: Percent = 5
    """What part of the answers of five minutes may be errors of the server (5xx), where there are at least 20."""

    alarm_memory_percent: Percent = 20
    """For what part of five minutes programs may have waited for memory
    ([PSI](https://docs.kernel.org/accounting/psi.html))."""

    alarm_slow_per_minute: Annotated[int, Field(ge=1, le=400), Unit("operations")] = 30
    """How many slow operations MongoDB may log in a minute, on average of five minutes: of 100 ms and above, or as
    `operationProfiling.slowOpThresholdMs` of `mongodb_settings` says."""

    alarm_logins: bool = False
    """Tell of a login by ssh from an address that none came from before."""

    @field_validator("alarm_smtp")
    @classmethod
    def _with_a_server(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("alarm_mail_to") and not value:
            raise ValueError('a mail server and its port as "smtp.example.org:587", as alarm_mail_to has addresses')
        return value


def secret_names(given: Any) -> list[str]:
    """The secrets that alarms need, by their settings."""
    hooks = given("alarm_webhooks") or {}
    names = [url_secret(name) for name in hooks] if isinstance(hooks, dict) else []
    names += [ALARM_SMTP_PASSWORD] if given("alarm_mail_to") and given("alarm_smtp_user") else []
    return names + ([ALARM_HEARTBEAT_URL] if given("alarm_heartbeat") else [])
