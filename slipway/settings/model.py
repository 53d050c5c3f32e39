"""The typed model of every setting, and the errors that a wrong one gets.

`group_data/all.py` holds the defaults and their meaning; this module says what is a valid value. A check collects all
errors of all hosts, and each says where the setting is, what was found, what is expected and, for an unknown name,
which one was probably meant.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from paramiko.pkey import PublicBlob
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)
from pyinfra.api.arguments import all_global_arguments
from pyinfra.connectors.ssh import ConnectorData

from slipway.secrets.store import MONGO_URL, MONGODB_ADMIN, MONGODB_BACKEND, known_names, read_secrets, recipient
from slipway.settings import limits
from slipway.settings.limits import Limits
from slipway.settings.services import Service, problems_among
from slipway.settings.types import Domain, EnvName, HttpUrl, PlainLine, PlainText, Port, UrlPath, UserName, matching

ACME_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
# pyinfra's own data, which shares the namespace: the connection (ssh_port, ...) and global arguments (_sudo, ...).
PYINFRA_NAMES = {*ConnectorData.__annotations__, *(name for name, _ in all_global_arguments())}
# Where Nginx finds certificates, a folder for each site.
TLS_FOLDER = "/etc/nginx/tls"
# In seconds.
YEAR = 31_536_000
# What mongod takes beside its cache, for connections and sorting; and a backend of one worker, in MiB.
MIN_BESIDE_CACHE_MB, MIN_BACKEND_MB = 256, 128


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


def _timezone(value: str) -> str:
    expected = 'a time zone as "Europe/Berlin"'
    if not re.fullmatch(r"[A-Z][\w+-]*(/[\w+-]+)*", value):
        raise ValueError(expected)
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, OSError):
        # There are none on a machine without time zone data: the host has its own then.
        if available_timezones():
            raise ValueError(expected) from None
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


class Settings(BaseModel):
    """All settings of one host. Meaning, unit and default of each: `group_data/all.py`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    # Of a further site: the name of the host's first one.
    _first_site: str = PrivateAttr(default="")

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
    # Checked as a whole by `check`: each is settings of its own.
    sites: list[dict[str, Any]]

    admin_user: Annotated[
        str, matching(r"(?!root$)[a-z_][a-z0-9_-]{0,31}", 'a user\'s name other than "root", as useradd(8) takes it')
    ]
    admin_keys: Annotated[list[Annotated[str, AfterValidator(public_key)]], Field(min_length=1)]
    sshd_port: Port
    lockout_rollback_seconds: Annotated[int, Field(ge=5, le=3600)]
    timeout_scale: Annotated[float, Field(ge=0.01, le=100, strict=False)]
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
    backend_health_status: Annotated[int, Field(ge=200, le=599)]
    backend_health_body: PlainLine
    backend_health_seconds: Annotated[int, Field(ge=1, le=3600)]
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
    frontend_build_on: Literal["here", "server"]
    frontend_assets: Annotated[
        str, matching(r"/(?!api/)[\w.-]+/", 'a URL path between slashes as "/static/", not "/api/"')
    ]

    services: list[Service]

    nginx_max_body_mb: Annotated[int, Field(ge=1, le=10240)]
    nginx_backend_timeout: Annotated[int, Field(ge=1, le=3600)]
    # systemd ends a reload that takes 90 s.
    nginx_reload_drain_seconds: Annotated[int, Field(ge=0, le=60)]
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
    # As git-check-ref-format(1) forbids, and nothing that git would take for an option.
    release_site: str
    release_ref: Annotated[str, matching(r"([^\s~^:?*\[\\-][^\s:?*\[\\]*)?", "a branch, tag or commit")]
    release_path: str
    release_parts: Annotated[list[Literal["backend", "frontend"]], Field(min_length=1)]
    release_id: Annotated[str, matching(r"([0-9][\w.-]*)?", "a release's id, as `slipway releases` shows it")]
    release_before: PlainLine
    release_after: PlainLine
    release_hook_seconds: Annotated[int, Field(ge=1, le=86_400)]
    release_drain_seconds: Annotated[int, Field(ge=1, le=3600)]
    release_worker_seconds: Annotated[int, Field(ge=0, le=600)]
    release_max_mb: Annotated[int, Field(ge=1, le=4096)]

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

    @field_validator("release_path")
    @classmethod
    def _holds_the_sources(cls, value: str, info: ValidationInfo) -> str:
        if value and not Path(value).is_dir():
            raise ValueError("a folder on this machine, relative to the project")
        if value and info.data.get("release_ref"):
            raise ValueError("'' with release_ref: one of the two says what is released")
        return value

    @field_validator("mongodb_memory_max_mb")
    @classmethod
    def _more_than_the_cache(cls, value: int, info: ValidationInfo) -> int:
        least = int(info.data.get("mongodb_cache_gb", 0) * 1024) + MIN_BESIDE_CACHE_MB
        if 0 < value < least:
            raise ValueError(f"0, or at least {least}: mongodb_cache_gb and {MIN_BESIDE_CACHE_MB} MiB for the rest")
        return value

    @field_validator("backend_memory_max_mb")
    @classmethod
    def _enough_for_python(cls, value: int) -> int:
        if 0 < value < MIN_BACKEND_MB:
            raise ValueError(f"0, or at least {MIN_BACKEND_MB}")
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

    @field_validator("services")
    @classmethod
    def _apart(cls, value: list[Service], info: ValidationInfo) -> list[Service]:
        paths = {"/api/": "the backend", info.data.get("frontend_assets", ""): "the frontend's files"}
        names = [info.data.get("site_domain", ""), *info.data.get("site_aliases", [])]
        if problems := problems_among(value, paths, dict.fromkeys(names, "the site")):
            raise ValueError("; ".join(problems))
        known = {*info.data.get("backend_secrets", []), MONGO_URL}
        if unknown := {name for service in value for name in service.secrets or ()} - known:
            raise ValueError(f"secrets of backend_secrets, or {MONGO_URL}; found {', '.join(sorted(unknown))} besides")
        if info.data.get("backend_secrets_in") == "environment" and any(s.secrets is not None for s in value):
            raise ValueError('no secrets of their own, or backend_secrets_in = "credentials": one file has them all')
        return value

    @field_validator("sshd_settings")
    @classmethod
    def _others_settings(cls, value: dict[str, str]) -> dict[str, str]:
        if owned := SSHD_OWN & {name.lower() for name in value}:
            raise ValueError(f"settings without {', '.join(sorted(owned))}, which Slipway's own settings decide")
        return value

    @cached_property
    def limits(self) -> Limits:
        """The time limits of the host, by timeout_scale."""
        return limits.scaled(self.timeout_scale)

    @property
    def acme_directory(self) -> str:
        """URL of the ACME server's directory."""
        return ACME_DIRECTORIES.get(self.tls_acme_server, self.tls_acme_server)

    @property
    def domains(self) -> list[str]:
        """The names in the certificate, the main one first."""
        return [self.site_domain, *self.site_aliases, *(service.host for service in self.services if service.host)]

    @property
    def site_root(self) -> str:
        """The folder on the server that holds releases and the links to them."""
        return f"/var/www/{self.site_name}"

    @cached_property
    def all_sites(self) -> list[Settings]:
        """The settings of each site of the host, these first."""
        return [self, *_others(self)]

    @property
    def is_further_site(self) -> bool:
        """Whether these are the settings of one of `sites`."""
        return bool(self._first_site)

    @property
    def released(self) -> Settings:
        """The settings of the site that a release is of."""
        return next(site for site in self.all_sites if site.site_name == (self.release_site or self.site_name))

    @property
    def backend(self) -> Service:
        """The backend as one of the services: it answers what no other one does."""
        return Service(
            name="backend",
            app=self.backend_app,
            path="/api/",
            workers=self.backend_workers,
            environment=self.backend_environment,
            memory_max_mb=self.backend_memory_max_mb,
            tasks_max=self.backend_tasks_max,
            health_path=self.backend_health_path,
            health_status=self.backend_health_status,
            health_body=self.backend_health_body,
            health_seconds=self.backend_health_seconds,
        )

    @property
    def all_services(self) -> list[Service]:
        return [self.backend, *self.services]

    @property
    def web_services(self) -> list[Service]:
        """Those that answer requests."""
        return [service for service in self.all_services if service.app]

    def service_at(self, path: str) -> Service:
        """The one that answers a path below "/api/": the one with the longest prefix of it."""
        return max(
            (service for service in self.web_services if service.path and path.startswith(service.path)),
            key=lambda service: len(service.path),
        )

    @property
    def tls_folder(self) -> str:
        """The folder of the certificate that Nginx serves the site with, a link to where it is."""
        return f"{TLS_FOLDER}/{self.site_name}"

    @property
    def backend_unit(self) -> str:
        """Name of the backend's units, and of the system user that runs all services, without a suffix."""
        return f"{self.site_name}-backend"

    def unit(self, service: Service) -> str:
        """Name of a service's units, without a suffix."""
        return f"{self.site_name}-{service.name}"

    def socket(self, service: Service, is_next: bool = False) -> str:
        """The unix socket of a service, or of the next release's."""
        return f"/run/{self.unit(service)}/{'next' if is_next else service.name}.sock"

    def listen(self, service: Service) -> str:
        """Where Nginx finds a service: the path of a link to one of its sockets; address:port of a TCP one."""
        return self.backend_listen if service.name == "backend" else f"/run/{self.unit(service)}.sock"

    def is_tcp(self, service: Service) -> bool:
        return not self.listen(service).startswith("/")

    def health_setting(self, service: Service) -> str:
        """What decides how long a service may take until it is healthy."""
        is_backend = service.name == "backend"
        return "backend_health_seconds" if is_backend else f"health_seconds of the service {service.name}"

    @property
    def backend_is_tcp(self) -> bool:
        return self.is_tcp(self.backend)

    @property
    def credentials_folder(self) -> str:
        """The folder on the server that holds secrets, a file each."""
        return f"/etc/{self.site_name}/credentials"

    @property
    def admin_credentials_folder(self) -> str:
        """The one that holds the password of MongoDB's administrator: the first site's."""
        return f"/etc/{self._first_site or self.site_name}/credentials"

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


# What another site of the same host may have of its own, and what it has where it says nothing.
OWN_PREFIXES = ("site_", "backend_", "frontend_", "nginx_csp", "nginx_login", "releases_", "release_")
OWN_NAMES = {"services", "secrets_file", "generated_secrets", "mongodb_database", "mongodb_backend_user"}


def of_another_site(own: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a site of `sites`: the host's first site's, but for what must differ."""
    name = str(site.get("site_name", ""))
    differing = {
        "site_aliases": [],
        "backend_listen": f"/run/{name}-backend.sock",
        "services": [],
        "mongodb_database": name,
        "mongodb_backend_user": name,
        "sites": [],
    }
    return {**own, **differing, **site}


def _others(settings: Settings) -> Iterator[Settings]:
    own = {name: getattr(settings, name) for name in Settings.model_fields}
    for site in settings.sites:
        other = Settings(**of_another_site(own, site))
        other._first_site = settings.site_name
        yield other


def _sites_problems(own: Mapping[str, Any], where: Any) -> list[str]:
    """What is wrong with the further sites, each by itself and beside the others."""
    problems, taken = [], {}
    for number, site in enumerate([{}, *own["sites"]]):
        label = f"sites[{number - 1}]"

        def at(name: str, label: str = label) -> str:
            return f"{where('sites')}: {label}"

        if number:
            problems += [
                f"{at(name)}: {name}: found a setting that sites of a host share, expected one of a site's own"
                for name in site
                if name in Settings.model_fields and not (name in OWN_NAMES or name.startswith(OWN_PREFIXES))
            ]
            problems += [
                f"{at(name)}: {name}: found nothing, expected a value"
                for name in ("site_name", "site_domain")
                if name not in site
            ]
        its = of_another_site(own, site) if number else own
        try:
            found = Settings(**its)
        except ValidationError as error:
            problems += [_problem(dict(detail), at) for detail in error.errors()]
            continue
        if number:
            problems += _secrets_problems(its, at)
        claims = [("site_name", found.site_name), ("mongodb_backend_user", found.mongodb_backend_user)]
        claims += [("mongodb_database", found.mongodb_database), ("backend_listen", found.backend_listen)]
        claims += [("host name", domain) for domain in found.domains]
        claims += [("unit", found.unit(service)) for service in found.all_services]
        for claim in claims:
            if claim in taken:
                problems.append(f"{at(claim[0])}: {claim[0]}: found {claim[1]!r}, expected one that no other site has")
            taken[claim] = number
    names = [its.get("site_name", "") for its in (own, *own["sites"])]
    if own["release_site"] not in ("", *names):
        problems.append(_line(where, "release_site", own["release_site"], f"'' or one of {', '.join(names)}"))
    return problems


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
    first = {**own, "sites": []} if isinstance(own.get("sites"), list) else own
    for model, values in ((Settings, first), (Connection, {name: data[name] for name in data.keys() - own.keys()})):
        try:
            model(**values)
        except ValidationError as error:
            problems += [_problem(dict(detail), where) for detail in error.errors()]
            wrong |= {detail["loc"][0] for detail in error.errors()}
    if not wrong & {"secrets_file", "backend_secrets", "generated_secrets", "secrets_identity"}:
        problems += _secrets_problems(own, where)
    if not problems:
        problems = _shape_problems(own["sites"], where) or _sites_problems(own, where)
    if problems:
        raise SettingsError(problems)
    return Settings(**own)


def _shape_problems(sites: list[Any], where: Any) -> list[str]:
    return [
        _line(
            where,
            f"sites[{number}]",
            site,
            "settings of another site as {'site_name': ..., 'site_domain': ...}",
            "sites",
        )
        for number, site in enumerate(sites)
        if not (isinstance(site, dict) and all(isinstance(name, str) for name in site))
    ]


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
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) > 1:
        keys = ", ".join(Service.model_fields)
        return f"{where(name)}: {name}{at}: there is no such key; expected some of {keys}"
    if detail["type"] == "missing" and len(detail["loc"]) > 1:
        return f"{where(name)}: {name}{at}: found nothing, expected a value"
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
