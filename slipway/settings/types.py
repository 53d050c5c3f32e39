"""What the sections of the settings are made of: their base class, and the types of values that several of them
take."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from slipway.project import path

# The settings that a site may set, where they are all of a section.
ALL = frozenset({"*"})


class Section(BaseModel):
    """A group of settings. Each field has its type, its default and, as the text below it, its meaning; the class's own
    text is the section's title and introduction in docs/settings.md."""

    # What each site of `sites` may set of it, by name. All else is of the host.
    per_site: ClassVar[frozenset[str]] = frozenset()
    # Only what combines the sections is built at import.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True, defer_build=True)


# --- Marks of a field -------------------------------------------------------------------------------------------------


class Unit(str):
    """In an Annotated: what a number counts."""


class Words(str):
    """In an Annotated: the type in words, where the validator does not say it."""


class OnThisMachine:
    """In an Annotated: a file's name, relative to the project; on the command line, to where the user stands."""


class Derived:
    """A default that follows from other settings, which come before it: "/run/{site_name}-backend.sock"."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, data: dict[str, Any]) -> str:
        return self.text.format(**data)

    @property
    def sources(self) -> list[str]:
        """The settings that it follows from."""
        return re.findall(r"\{(\w+)\}", self.text)


class DerivedBy(Derived):
    """A default that a function makes of other settings, which come before it; the text says what it is, in words."""

    def __init__(self, text: str, sources: list[str], make: Callable[..., str]) -> None:
        super().__init__(text)
        self._sources, self.make = sources, make

    def __call__(self, data: dict[str, Any]) -> str:
        return self.make(*(data[name] for name in self._sources))

    @property
    def sources(self) -> list[str]:
        return self._sources


def derived(text: str) -> Any:
    """The default of a field that follows from others."""
    return Field(default_factory=Derived(text))


def derived_by(text: str, sources: list[str], make: Callable[..., str]) -> Any:
    """The default of a field that a function makes of others."""
    return Field(default_factory=DerivedBy(text, sources, make))


class Check:
    """In an Annotated: a validator for strings, with what it expects in words."""

    def __init__(self, is_valid: Callable[[str], Any], expected: str) -> None:
        self.is_valid, self.expected = is_valid, expected

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # An AfterValidator would look at signatures, which takes longer than all else of it.
        return no_info_after_validator_function(self.check, handler(kind))

    def check(self, value: str) -> str:
        if not self.is_valid(value):
            raise ValueError(self.expected)
        return value


def matching(pattern: str, expected: str) -> Check:
    """The whole text must match `pattern`; `expected` says so in words."""
    return Check(lambda value: re.fullmatch(pattern, value), expected)


def is_ipv4(value: str) -> bool:
    try:
        IPv4Address(value)
    except ValueError:
        return False
    return True


def _status(value: int) -> int:
    if value and not 200 <= value <= 599:
        raise ValueError("an HTTP status from 200 to 599, or 0 for any below 500")
    return value


def _folder(value: str) -> str:
    if not path(value).is_dir():
        raise ValueError("a folder on this machine, relative to the project")
    return value


# --- Types of values --------------------------------------------------------------------------------------------------

# A label of a host name, RFC 1035 section 2.3.1 with RFC 1123's leading digit.
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"(?=.{{4,253}}$)({LABEL}\.)+[a-z]([a-z0-9-]*[a-z0-9])?"
A_DOMAIN = 'a host name in lower case with at least one dot, as "example.org"'

Seconds = Annotated[int, Unit("seconds")]
Mebibytes = Annotated[int, Unit("MiB")]
# What a service of one worker takes, in MiB.
MIN_SERVICE_MB = 128
# 0 is for a computed limit.
MemoryLimit = Annotated[Mebibytes, Field(ge=0, le=2**22)]
Domain = Annotated[str, matching(DOMAIN, A_DOMAIN)]
Port = Annotated[int, Field(ge=1, le=65535)]
# Without systemd's own:
# https://www.freedesktop.org/software/systemd/man/252/systemd.exec.html#Environment%20Variables%20in%20Spawned%20Processes
ENV_NAME = (
    r"(?!(CREDENTIALS_DIRECTORY|INVOCATION_ID|JOURNAL_STREAM|LISTEN_[A-Z]+|MAINPID|MANAGERPID|NOTIFY_SOCKET"
    r"|SYSTEMD_EXEC_PID)$)[A-Za-z_][A-Za-z0-9_]*"
)
EnvName = Annotated[
    str, matching(ENV_NAME, "an environment variable's name: letters, digits and _, none of systemd's own")
]
# What systemd puts into an environment; no surrogates, which UTF-8 does not have.
ENV_TEXT = r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]*"
EnvText = Annotated[str, matching(ENV_TEXT, "text without control characters but tab and newline")]
# uvicorn's own notation, and gunicorn's for a function that makes the application.
AppTarget = Annotated[
    str,
    matching(r"[\w.]+:[\w.]+(\(\))?", 'module:attribute as "server:app", or a factory as "server:create_app()"'),
]
UrlPath = Annotated[str, matching(r"/[\w./-]*", 'a URL path that begins with "/"')]
HealthPath = Annotated[str, matching(r"(/[\w./-]*)?", 'a URL path that begins with "/", or ""')]
HealthStatus = Annotated[int, AfterValidator(_status), Words("an HTTP status from 200 to 599, or 0")]
HttpUrl = Annotated[str, matching(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", "an http(s) URL")]
UserName = Annotated[str, matching(r"[A-Za-z][\w-]{0,62}", "letters, digits, _ and -, a letter first")]
LocalFolder = Annotated[
    str, AfterValidator(_folder), OnThisMachine(), Words("a folder on your machine, relative to the project")
]
OptionalFolder = Annotated[
    str,
    AfterValidator(lambda value: value and _folder(value)),
    OnThisMachine(),
    Words('a folder on your machine, relative to the project, or "" for none'),
]
# Relative to the folder of the backend, in a release.
RELATIVE = r"(?!\.\.?(/|$))[\w.@+-]+(/(?!\.\.?(/|$))[\w.@+-]+)*"
RelativePath = Annotated[str, matching(RELATIVE, 'a path below the backend\'s folder as "data/uploads"')]
Command = Annotated[str, matching(r".*\S.*", "a shell command")]
# systemd and Nginx read these lines: a newline would begin another setting.
PlainLine = Annotated[str, matching(r"[^\x00-\x1f]*", "one line")]
