"""What `slipway inspect` finds on a host, for programs and to read."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

# keep: stays as it is. adopt: Slipway takes it over with its data. replace: Slipway puts its own in its place, and
# keeps a copy. remove: it ends. refuse: `apply` stops before any change.
Verdict = Literal["keep", "adopt", "replace", "remove", "refuse"]
# From outside, by the firewall of the host. limited: from some addresses; local: it listens on loopback alone.
Reach = Literal["local", "open", "limited", "closed", "unknown"]


class Described(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Fate(Described):
    """What `slipway apply` would do with a thing."""

    verdict: Verdict
    reason: str = ""


class Thing(Described):
    fate: Fate | None = None
    """None where it can't be told: without root's rights, or where nothing is known of the site."""


class System(Thing):
    title: str = ""
    kernel: str = ""
    newest_kernel: str = ""
    architecture: str = ""
    virtualisation: str = ""
    """systemd-detect-virt's word; "none" for none."""
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
    """When the distribution's regular security support ends."""
    long_support_end: date | None = None
    """Debian's LTS."""
    by_slipway: bool = False
    """Whether Slipway has provisioned it before."""


class Port(Thing):
    port: int
    protocol: Literal["tcp", "udp"]
    addresses: list[str]
    versions: list[int]
    """Of IP: 4, 6."""
    program: str
    """"" where it can't be seen."""
    unit: str = ""
    reach: Reach = "unknown"
    past_ufw: bool = False
    """Published by a container: its rules come before UFW's."""


class Proxy(Described):
    path: str
    target: str
    """Without user and password."""


class Site(Thing):
    """What a web server serves under some names, of one file."""

    server: str
    names: list[str]
    listen: list[str]
    file: str
    real_file: str = ""
    """What the file leads to, where it is a link."""
    root: str = ""
    proxies: list[Proxy] = []
    redirect: str = ""
    """Where all requests are sent; "" where they are answered."""
    certificate: str = ""
    """The file."""
    max_body_mb: int | None = None
    default_of: list[str] = []
    """The addresses and ports at which it answers names that no other site has."""
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
    """How it is renewed, in words; "" where nothing renews it that was found."""
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
    """None where it is not known."""
    package: str = ""
    databases: list[Database] = []
    unseen: str = ""
    """Why the databases are not known."""
    by_slipway: bool = False


class Service(Thing):
    """A program that no package of the distribution has brought."""

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
    """The files that they are in; none for those of the unit itself."""
    database: str = ""
    """Named by its environment."""
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
    """Whether it has one that opens it; None where it is not known."""
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
    """What the kernel has beside them: chains and tables, with the number of their rules."""


class Source(Thing):
    """A source of packages outside the distribution."""

    url: str
    origin: str
    file: str
    signed_by: str = ""


class Packages(Described):
    sources: list[Source] = []
    elsewhere: list[str] | None = None
    """Installed packages that are not of the distribution; None where apt has no lists."""
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
    """A setting that describes what is there, as `slipway init --from HOST` writes it."""

    name: str
    value: Any
    where: str


class Report(Described):
    """What was found on a host."""

    schema_version: Literal[1] = 1
    slipway_version: str
    when: datetime
    """UTC."""
    host: str
    user: str
    """Who was logged in."""
    without_root: str
    """Why there were no root's rights; "" where there were."""
    unseen: list[str] = []
    """What can't be told without them."""
    refusals: list[str] = []
    """What keeps `slipway apply` from any change, as it says it."""
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
