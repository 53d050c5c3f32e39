"""The typed model of every setting, and the errors that a wrong one gets.

`group_data/all.py` holds the defaults and their meaning; this module says what is a valid value. A check collects all
errors of all hosts, and each says where the setting is, what was found, what is expected and, for an unknown name,
which one was probably meant.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from paramiko.pkey import PublicBlob
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import ConnectorData

from slipway.secrets import MONGO_URL, MONGODB_ADMIN, MONGODB_BACKEND, known_names, read_secrets, recipient

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
# pyinfra's own data, which shares the namespace: the connection (ssh_port, ...) and global arguments (_sudo, ...).
PYINFRA_NAMES = {*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments())}
# A label of a host name, RFC 1035 section 2.3.1 with RFC 1123's leading digit.
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

# In seconds.
YEAR = 31_536_000
# What mongod takes beside its cache, for connections and sorting; and a backend of one worker, in MiB.
LEAST_BESIDE_CACHE_MB, LEAST_BACKEND_MB = 256, 128


# What pyinfra would complain of one by one, and only when it connects.
_connection: dict[str, Any] = {name: (kind, None) for name, kind in ConnectorData.__annotations__.items()}
Connection = create_model("Connection", __config__=ConfigDict(strict=True), **_connection)


# What settings of Slipway's own decide, or what it must be able to rely on, in lower case.
SSHD_OWN = {"port", "include", "match", "hostkey", "permitrootlogin", "passwordauthentication", "authorizedkeysfile"}


class SettingsError(Exception):
    """Every wrong setting at once; `str()` is what the user reads."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        count = len(self.problems)
        heading = "1 setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__(f"{heading}; no host was touched.\n" + "\n".join(f"  - {p}" for p in self.problems))


def matching(pattern: str, expected: str) -> AfterValidator:
    """A validator for strings: the whole must match `pattern`; `expected` says so in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


Domain = Annotated[
    str,
    matching(
        rf"(?=.{{4,253}}$)({LABEL}\.)+[a-z]([a-z0-9-]*[a-z0-9])?",
        'a host name in lower case with at least one dot, as "example.org"',
    ),
]


def _is_ipv4(value: str) -> bool:
    try:
        IPv4Address(value)
    except ValueError:
        return False
    return True


def _ipv4(value: str) -> str:
    if not _is_ipv4(value):
        raise ValueError("an IPv4 address")
    return value


def _listen(value: str) -> str:
    address, _, port = value.rpartition(":")
    is_tcp = _is_ipv4(address) and port.isdigit() and 1 <= int(port) <= 65535
    if not is_tcp and not re.fullmatch(r"(/[\w.@-]+)+", value):
        raise ValueError('a socket\'s absolute path, or address:port as "127.0.0.1:8001"')
    return value


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError('an IPv4 or IPv6 address or network as "203.0.113.0/24" or "2001:db8::/32"') from None
    return value


def _opened(value: str) -> str:
    port, _, protocol = value.partition("/")
    if not (port.isdigit() and 1 <= int(port) <= 65535 and protocol in ("tcp", "udp")):
        raise ValueError('port/protocol as "8443/tcp"')
    return value


# It reads all of the machine's time zones, and settings are checked more than once.
_timezones = cache(available_timezones)


def _timezone(value: str) -> str:
    known = _timezones()  # empty on a machine without time zone data: the host has its own then
    if value not in known if known else not re.fullmatch(r"[\w+-]+(/[\w+-]+)*", value):
        raise ValueError('a time zone as "Europe/Berlin"')
    return value


def public_key(item: str) -> str:
    """The line of a public ssh key: `item` itself, or what is in the file that it names. Raises ValueError."""
    expected = 'a public key as "ssh-ed25519 AAAA... name", or the file of one on this machine (ssh-keygen -t ed25519)'
    if item.startswith(("/", "~", ".")):
        try:
            item = Path(item).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{expected}; there is no such file") from None
        if "PRIVATE KEY" in item:
            raise ValueError(f"{expected}; this is the private one, which never leaves your machine")
    try:
        PublicBlob.from_string(item)
    except (ValueError, IndexError):
        raise ValueError(expected) from None
    if "\n" in item:
        raise ValueError(f"{expected}, one an item")
    return item


def _recipient(value: str) -> str:
    recipient(value)
    return value.strip()


Port = Annotated[int, Field(ge=1, le=65535)]
UnixPath = Annotated[str, matching(r"(/[\w.@-]+)+", "an absolute path")]
EnvName = Annotated[str, matching(r"[A-Z_][A-Z0-9_]*", "an environment variable's name: A-Z, 0-9 and _")]
UrlPath = Annotated[str, matching(r"/[\w./-]*", 'a URL path that begins with "/"')]
HttpUrl = Annotated[str, matching(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", "an http(s) URL")]
UserName = Annotated[str, matching(r"[A-Za-z][\w-]{0,62}", "letters, digits, _ and -, a letter first")]
# systemd and Nginx read these lines: a newline or a quote would begin another setting.
PlainText = Annotated[str, matching(r"[^\x00-\x1f\"\\]*", "one line without quotes or backslashes")]


class Settings(BaseModel):
    """All settings of one host. Meaning, unit and default of each: `group_data/all.py`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # With "-backend" it names a user, of at most 32 characters (useradd(8)), and beside these two a file of Nginx's.
    site_name: Annotated[
        str,
        matching(
            r"(?!(default|placeholder)$)[a-z][a-z0-9-]{0,23}",
            'lower-case letters, digits, dashes; at most 24; not "default" or "placeholder"',
        ),
    ]
    site_domain: Domain
    site_aliases: list[Domain]

    admin_user: Annotated[
        str, matching(r"(?!root$)[a-z_][a-z0-9_-]{0,31}", 'a user\'s name other than "root", as useradd(8) takes it')
    ]
    admin_keys: Annotated[list[Annotated[str, AfterValidator(public_key)]], Field(min_length=1)]
    sshd_port: Port
    sshd_settings: dict[
        Annotated[str, matching(r"[A-Z][A-Za-z0-9]+", "a keyword of sshd_config(5)")],
        Annotated[str, matching(r"[^\x00-\x1f]+", "its value, on one line")],
    ]

    timezone: Annotated[str, AfterValidator(_timezone)]
    locale: Annotated[str, matching(r"[A-Za-z_]+(\.UTF-8)?", 'a locale as "en_GB.UTF-8"')]
    swap_mb: Annotated[int, Field(ge=0, le=65536)]
    journal_max_mb: Annotated[int, Field(ge=16, le=102400)]
    apt_lock_timeout: Annotated[int, Field(ge=0, le=3600)]
    reboot_window: Annotated[str, matching(r"(([01]\d|2[0-3]):[0-5]\d)?", 'a time of day as "04:00", or "" for never')]
    extra_packages: list[Annotated[str, matching(r"[a-z0-9][a-z0-9.+-]+", "a Debian package's name")]]

    firewall_allow: list[Annotated[str, AfterValidator(_opened)]]
    firewall_ssh_from: list[Annotated[str, AfterValidator(_network)]]

    fail2ban_ignore: list[Annotated[str, AfterValidator(_network)]]
    fail2ban_failures: Annotated[int, Field(ge=3, le=1000)]
    fail2ban_minutes: Annotated[int, Field(ge=1, le=1440)]

    mongodb_version: Annotated[str, matching(r"\d\.\d", 'a series as "7.0"')]
    mongodb_apt_url: HttpUrl
    mongodb_key_url: HttpUrl
    mongodb_key_fingerprint: Annotated[str, matching(r"[0-9A-F]{40}", "40 hexadecimal digits, upper case")]
    mongodb_tools: bool
    mongodb_bind: Annotated[str, AfterValidator(_ipv4)]
    mongodb_port: Port
    mongodb_cache_gb: Annotated[float, Field(ge=0, le=1024, strict=False)]
    mongodb_memory_max_mb: Annotated[int, Field(ge=0, le=2**22)]
    mongodb_tasks_max: Annotated[int, Field(ge=200, le=100_000)]
    mongodb_database: Annotated[
        str,
        # https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
        matching(r"(?!(admin|local|config)$)[A-Za-z0-9_-]{1,63}", "letters, digits, _ and -; not MongoDB's own names"),
    ]
    mongodb_admin_user: UserName
    mongodb_backend_user: UserName

    backend_source: str
    backend_app: Annotated[str, matching(r"[\w.]+:[\w.]+", 'module:attribute as "server:app"')]
    backend_workers: Annotated[int, Field(ge=1, le=64)]
    backend_listen: Annotated[str, AfterValidator(_listen)]
    backend_health_path: UrlPath
    backend_environment: dict[EnvName, PlainText]
    backend_secrets: list[EnvName]
    secrets_file: str
    backend_secrets_in: Literal["credentials", "environment"]
    backend_memory_max_mb: Annotated[int, Field(ge=0, le=2**22)]
    backend_tasks_max: Annotated[int, Field(ge=16, le=100_000)]

    generated_secrets: list[EnvName]
    secrets_recipients: list[Annotated[str, AfterValidator(_recipient)]]
    secrets_identity: Annotated[str, matching(r".*\S.*", "a file's name")]

    frontend_source: str
    frontend_build: Annotated[str, matching(r".*\S.*", "a shell command")]
    frontend_output: Annotated[str, matching(r"(?!\.\.)[\w.-]+(/(?!\.\.)[\w.-]+)*", "a folder below frontend_source")]
    frontend_assets: Annotated[
        str, matching(r"/(?!api/)[\w.-]+/", 'a URL path between slashes as "/static/", not "/api/"')
    ]

    nginx_max_body_mb: Annotated[int, Field(ge=1, le=10240)]
    nginx_backend_timeout: Annotated[int, Field(ge=1, le=3600)]
    # Twice as many descriptors must stay below the kernel's limit for a process, fs.nr_open.
    nginx_worker_connections: Annotated[int, Field(ge=64, le=500_000)]
    nginx_hsts_seconds: Annotated[int, Field(ge=0, le=10 * YEAR)]
    nginx_hsts_subdomains: bool
    nginx_hsts_preload: bool
    nginx_csp: Annotated[str, matching(r"[^\x00-\x1f\"\\$]*", "one line without double quotes, backslashes or $")]
    nginx_login_path: Annotated[str, matching(r"/api/[\w./-]+", 'a URL path below "/api/"')]
    nginx_login_rate_per_minute: Annotated[int, Field(ge=0, le=10_000)]

    tls_acme_server: str
    tls_email: Annotated[str, matching(r"([^@\s]+@[^@\s]+\.[^@\s]+)?", 'an e-mail address, or "" for none')]

    releases_kept: Annotated[int, Field(ge=2, le=100)]

    @field_validator("site_aliases")
    @classmethod
    def _others(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("site_domain") in value or len(set(value)) < len(value):
            raise ValueError("further names, each once, without site_domain")
        return value

    @field_validator("mongodb_version", mode="before")
    @classmethod
    def _series(cls, value: Any) -> Any:
        # pyinfra's own --data reads 7.0 as a number.
        return f"{value:.1f}" if isinstance(value, float) else value

    @field_validator("tls_acme_server")
    @classmethod
    def _acme_server(cls, value: str) -> str:
        if value not in ACME_DIRECTORIES and not value.startswith("https://"):
            raise ValueError(f"{', '.join(ACME_DIRECTORIES)}, or an https URL")
        return value

    @field_validator("backend_source", "frontend_source")
    @classmethod
    def _folder(cls, value: str, info: ValidationInfo) -> str:
        if not Path(value).is_dir():
            raise ValueError("a folder on this machine, relative to the project")
        if info.field_name == "backend_source" and not (Path(value) / "requirements.txt").is_file():
            raise ValueError("a folder with a requirements.txt in it")
        return value

    @field_validator("mongodb_memory_max_mb")
    @classmethod
    def _more_than_the_cache(cls, value: int, info: ValidationInfo) -> int:
        least = int(info.data.get("mongodb_cache_gb", 0) * 1024) + LEAST_BESIDE_CACHE_MB
        if 0 < value < least:
            raise ValueError(f"0, or at least {least}: mongodb_cache_gb and {LEAST_BESIDE_CACHE_MB} MiB for the rest")
        return value

    @field_validator("backend_memory_max_mb")
    @classmethod
    def _enough_for_python(cls, value: int) -> int:
        if 0 < value < LEAST_BACKEND_MB:
            raise ValueError(f"0, or at least {LEAST_BACKEND_MB}")
        return value

    @field_validator("nginx_hsts_preload")
    @classmethod
    def _may_be_preloaded(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not (info.data.get("nginx_hsts_subdomains") and info.data.get("nginx_hsts_seconds", 0) >= YEAR):
            raise ValueError(
                f"False, or nginx_hsts_subdomains = True and nginx_hsts_seconds of at least {YEAR} with it"
            )
        return value

    @field_validator("mongodb_backend_user")
    @classmethod
    def _another_user(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("mongodb_admin_user"):
            raise ValueError("another user than mongodb_admin_user")
        return value

    @field_validator("backend_environment")
    @classmethod
    def _nothing_secret(cls, value: dict[str, str]) -> dict[str, str]:
        if MONGO_URL in value:
            raise ValueError(
                f"variables without {MONGO_URL}, which holds a password: Slipway makes it of mongodb_database and"
                f" mongodb_backend_user; for a database elsewhere name {MONGO_URL} in backend_secrets"
            )
        return value

    @field_validator("backend_secrets")
    @classmethod
    def _the_backends_own(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if owned := {MONGODB_ADMIN, MONGODB_BACKEND} & {*value}:
            raise ValueError(f"names without {', '.join(sorted(owned))}: the backend gets {MONGO_URL} instead")
        if twice := {*value} & {*info.data.get("backend_environment", {})}:
            raise ValueError(f"names without {', '.join(sorted(twice))}, which backend_environment has in plain")
        return value

    @field_validator("generated_secrets")
    @classmethod
    def _of_the_site(cls, value: list[str], info: ValidationInfo) -> list[str]:
        names = known_names(info.data.get("backend_secrets", value))
        if unknown := [name for name in value if name not in names]:
            raise ValueError(f"names without {', '.join(unknown)}; the secrets of this site are {', '.join(names)}")
        if MONGO_URL in value:
            raise ValueError(f"names without {MONGO_URL}, which nobody can make up")
        return value

    @field_validator("sshd_settings")
    @classmethod
    def _others_settings(cls, value: dict[str, str]) -> dict[str, str]:
        if owned := SSHD_OWN & {name.lower() for name in value}:
            raise ValueError(f"settings without {', '.join(sorted(owned))}, which Slipway's own settings decide")
        return value

    @property
    def acme_directory(self) -> str:
        """URL of the ACME server's directory."""
        return ACME_DIRECTORIES.get(self.tls_acme_server, self.tls_acme_server)

    @property
    def domains(self) -> list[str]:
        """The names in the certificate, the main one first."""
        return [self.site_domain, *self.site_aliases]

    @property
    def site_root(self) -> str:
        """The folder on the server that holds releases and the links to them."""
        return f"/var/www/{self.site_name}"

    @property
    def backend_unit(self) -> str:
        """Name of the backend's units, and of the system user that runs them, without a suffix."""
        return f"{self.site_name}-backend"

    @property
    def backend_is_tcp(self) -> bool:
        return not self.backend_listen.startswith("/")

    @property
    def credentials_folder(self) -> str:
        """The folder on the server that holds secrets, a file each."""
        return f"/etc/{self.site_name}/credentials"

    @property
    def environment_file(self) -> str:
        """The file on the server with the backend's secrets as environment variables, where it wants them so."""
        return f"/etc/{self.site_name}/backend.env"

    @property
    def mongodb_local(self) -> str:
        """The address that MongoDB is reached at."""
        return "127.0.0.1" if self.mongodb_bind == "0.0.0.0" else self.mongodb_bind  # noqa: S104

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The secrets that are given, by name, as `check` has found them to be in order."""
        names = known_names(self.backend_secrets)
        return read_secrets(self.secrets_file, names, self.generated_secrets, self.secrets_identity)


def parse_items(items: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """NAME=VALUE items of the command line as settings, and a problem for each item that is none.

    A text setting is taken as it is, any other as JSON.
    """
    data: dict[str, Any] = {}
    problems = []
    for item in items:
        name, found, value = item.partition("=")
        if not found:
            problems.append(f"--data: found {item!r}, expected NAME=VALUE")
            continue
        field = Settings.model_fields.get(name)
        is_text = field is not None and field.annotation is str
        try:
            data[name] = value if is_text else json.loads(value)
        except ValueError:
            data[name] = value  # what is wrong with it, the check says
    return data, problems


def check(data: Mapping[str, Any], origin: Mapping[str, str] | str = "group_data/all.py") -> Settings:
    """The settings of one host from its merged `data`; pyinfra's own names (ssh_port, _sudo, ...) are left alone.

    `origin` says in which file a setting was found, by its name, or for all of them. Raises SettingsError.
    """
    own = {name: value for name, value in data.items() if name not in PYINFRA_NAMES}

    def where(name: str) -> str:
        return origin if isinstance(origin, str) else origin.get(name, "group_data/all.py")

    problems, wrong = [], set()
    for model, values in ((Settings, own), (Connection, {name: data[name] for name in data.keys() - own.keys()})):
        try:
            model(**values)
        except ValidationError as error:
            problems += [_problem(dict(detail), where) for detail in error.errors()]
            wrong |= {detail["loc"][0] for detail in error.errors()}
    if not wrong & {"secrets_file", "backend_secrets", "generated_secrets", "secrets_identity"}:
        problems += _secrets_problems(own, where)
    if problems:
        raise SettingsError(problems)
    return Settings(**own)


def _secrets_problems(own: Mapping[str, Any], where: Any) -> list[str]:
    """A line for each secret that is missing, wrong or can't be read; no value is in any."""
    file, names = own["secrets_file"], known_names(own["backend_secrets"])
    try:
        values = read_secrets(file, names, own["generated_secrets"], own["secrets_identity"])
    except ValueError as error:
        return [f"{where('secrets_file')}: secrets_file = {file!r}: {line}" for line in str(error).split("\n")]
    if own.get("backend_secrets_in") != "environment":
        return []
    return [
        f"{where('backend_secrets_in')}: backend_secrets_in: found 'environment' and a control character in {name},"
        ' which systemd does not put into an environment; expected "credentials"'
        for name, value in values.items()
        if name in own["backend_secrets"] and re.search(r"[\x00-\x08\x0b-\x1f\x7f]", value)
    ]


def _problem(detail: dict[str, Any], where: Any) -> str:
    """One line from one of pydantic's error dictionaries."""
    name = str(detail["loc"][0])
    at = "".join(f"[{part!r}]" for part in detail["loc"][1:] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, [*Settings.model_fields, *PYINFRA_NAMES], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "group_data/all.py lists every setting"
        return f"{where(name)}: {name}: there is no such setting; {hint}"
    if detail["type"] == "missing":
        return (
            f"{where(name)}: {name}: found nothing, expected a value (copy its line from Slipway's group_data/all.py)"
        )
    expected = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return _line(where, name + at, detail["input"], expected, name)


def _line(where: Any, label: str, found: Any, expected: str, name: str | None = None) -> str:
    return f"{where(name or label)}: {label}: found {found!r}, expected {expected}"
