"""The report of `slipway inspect`: its model, for JSON and for the text output."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

# keep: unchanged. adopt: Slipway takes it over with its data. replace: by Slipway's own, with a backup. remove: it is
# removed. refuse: `apply` stops before any change.
Verdict = Literal["keep", "adopt", "replace", "remove", "refuse"]
# From outside, by the host's firewall. limited: from some addresses; local: it listens only on loopback.
Reach = Literal["local", "open", "limited", "closed", "unknown"]


class Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Fate(Described):
    """What `slipway apply` would do with a thing."""

    verdict: Verdict
    reason: str = ""


class Thing(Described):
    fate: Fate | None = None
    """None if unknown: without root, or if the plan failed."""


class System(Thing):
    title: str = ""
    kernel: str = ""
    newest_kernel: str = ""
    architecture: str = ""
    virtualisation: str = ""
    """As systemd-detect-virt prints it; "none" for none."""
    hostname: str = ""
    addresses: list[str] = []
    cores: int = 0
    memory_mb: int = 0
    swap: dict[str, int] = {}
    """MiB by file or device."""
    up_seconds: int = 0
    timezone: str = ""
    locale: str = ""
    support_end: date | None = None
    """The end of the distribution's regular security support."""
    long_support_end: date | None = None
    """The end of Debian's LTS."""
    by_slipway: bool = False
    """Whether Slipway has provisioned it."""


class Port(Thing):
    port: int
    protocol: Literal["tcp", "udp"]
    addresses: list[str]
    versions: list[int]
    """IP versions: 4, 6."""
    program: str
    """"" if it is not visible."""
    unit: str = ""
    reach: Reach = "unknown"
    reach_by: dict[int, Reach] = {}
    """By version of IP, where they differ; `reach` is the widest then."""
    past_ufw: bool = False
    """Published by a container, whose rules precede UFW's."""


class Proxy(Described):
    path: str
    target: str
    """Without user and password."""


class Site(Thing):
    """A web server's site: the server blocks of one file with the same names."""

    server: str
    names: list[str]
    listen: list[str]
    file: str
    real_file: str = ""
    """The link's target, if the file is a link."""
    root: str = ""
    proxies: list[Proxy] = []
    redirect: str = ""
    """The target, if all requests are redirected; otherwise ""."""
    certificate: str = ""
    """The file."""
    max_body_mb: int | None = None
    default_of: list[str] = []
    """The addresses and ports for which it is the default server."""
    by_slipway: bool = False


class WebServer(Described):
    name: str
    version: str
    active: bool


class Certificate(Thing):
    path: str
    issuer: str
    names: list[str]
    end: datetime
    days_left: int
    self_signed: bool
    renewal: str = ""
    """A description of its renewal; "" if none was found."""
    acme_server: str = ""
    """certbot's ACME directory for it."""


class Database(Described):
    name: str
    mb: float


class DatabaseServer(Thing):
    kind: Literal["MongoDB", "PostgreSQL", "MySQL", "Redis"]
    version: str
    running: bool
    config: str = ""
    data_folder: str = ""
    data_mb: int | None = None
    bind: str = ""
    port: int = 0
    replica_set: str = ""
    authorization: bool | None = None
    """None if unknown."""
    package: str = ""
    databases: list[Database] = []
    unseen: str = ""
    """Why the databases are unknown."""
    by_slipway: bool = False


class Service(Thing):
    """A program that is not the distribution's."""

    kind: str
    """systemd, pm2, supervisor, docker, podman, or a platform's name."""
    name: str
    command: str = ""
    """Secrets are masked."""
    user: str = ""
    state: str = ""
    folder: str = ""
    file: str = ""
    variables: list[str] = []
    """Names of its environment variables."""
    variables_from: list[str] = []
    """The files that define them; empty if only the unit does."""
    database: str = ""
    """From its environment."""
    ports: list[str] = []
    memory_mb: int | None = None
    by_slipway: bool = False


class Key(Described):
    kind: str
    fingerprint: str
    comment: str
    options: str = ""


class User(Thing):
    name: str
    home: str
    shell: str
    password: bool | None
    """Whether it has a usable one; None if unknown."""
    sudo: str
    """"" for none, "password", or "no password"."""
    groups: list[str] = []
    keys: list[Key] = []
    keys_unseen: bool = False


class Job(Thing):
    kind: Literal["timer", "cron"]
    name: str
    when: str
    user: str = ""
    command: str = ""
    packaged: bool = False


class Rule(Thing):
    text: str


class Firewall(Thing):
    seen: bool = False
    active: bool = False
    defaults: str = ""
    rules: list[Rule] = []
    """UFW's, as `ufw show added` prints them."""
    others: list[Rule] = []
    """The kernel's other chains and tables, with the number of their rules."""


class Source(Thing):
    """A source of packages outside the distribution."""

    url: str
    origin: str
    file: str
    signed_by: str = ""


class Packages(Described):
    sources: list[Source] = []
    elsewhere: list[str] | None = None
    """Installed packages that are not the distribution's; None if apt has no lists."""
    held: list[str] = []
    snaps: list[str] = []
    updates: list[str] = []
    security_updates: list[str] = []
    lists_age_days: int | None = None
    reboot_required: bool = False


class Disk(Thing):
    mount: str
    kind: str
    size_mb: int
    free_mb: int


class Proposal(Described):
    """A setting that matches the host, as `slipway init --from HOST` writes it."""

    name: str
    value: Any
    where: str


class Report(Described):
    """The whole report about a host."""

    schema_version: Literal[1] = 1
    slipway_version: str
    when: datetime
    """UTC."""
    host: str
    user: str
    """The user of the connection."""
    without_root: str
    """Why the connection had no root rights; "" if it had."""
    unseen: list[str] = []
    """What is unknown without root."""
    refusals: list[str] = []
    """Why `slipway apply` would refuse, in its own words."""
    system: System
    ports: list[Port] = []
    web_servers: list[WebServer] = []
    sites: list[Site] = []
    certificates: list[Certificate] = []
    databases: list[DatabaseServer] = []
    services: list[Service] = []
    users: list[User] = []
    jobs: list[Job] = []
    firewall: Firewall = Firewall()
    packages: Packages = Packages()
    disks: list[Disk] = []
    folders: dict[str, int] = {}
    """MiB of folders that are often large."""
    settings: list[Proposal] = []
