"""All settings of a host, of the sections, and what follows from them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, PrivateAttr, ValidationInfo, field_validator

from slipway.dependencies.indexes import Index, login_names
from slipway.project import path
from slipway.secrets.store import AUTHORITY, known_names, read_as_before, read_authority, read_secrets
from slipway.settings import alarms, limits, members
from slipway.settings.access import Access
from slipway.settings.adoption import Adoption
from slipway.settings.alarms import Alarms
from slipway.settings.arguments import Arguments
from slipway.settings.backend import Backend, index_secrets
from slipway.settings.backup import Backup, secret_names
from slipway.settings.balancing import Balancing, missing_authority
from slipway.settings.environment import PLACEHOLDERS
from slipway.settings.fail2ban import Fail2ban
from slipway.settings.firewall import Firewall
from slipway.settings.frontend import Frontend
from slipway.settings.limits import Limits
from slipway.settings.mongodb import MongoDB
from slipway.settings.network import Network
from slipway.settings.nginx import Nginx
from slipway.settings.peers import Peer
from slipway.settings.releases import Releases
from slipway.settings.routes import Place, place_of, places, route
from slipway.settings.secrets import Secrets
from slipway.settings.services import Service, Services, problems_among
from slipway.settings.site import Site
from slipway.settings.sites import of_another_site
from slipway.settings.system import System
from slipway.settings.tls import ACME_DIRECTORIES, Tls
from slipway.settings.valkey import Valkey

if TYPE_CHECKING:
    from slipway.secrets.authority import Authority

# Where Nginx finds certificates, a folder for each site.
TLS_FOLDER = "/etc/nginx/tls"


def _ports(data: dict[str, Any]) -> dict[int, str]:
    """Ports of the host that others than services have."""
    backend = str(data.get("backend_listen", "")).rpartition(":")[2]
    found = {int(backend): "the backend"} if backend.isdigit() else {}
    return {**found, int(data.get("mongodb_port", 0)): "MongoDB"}


# pydantic checks the fields of the last base first: a default may follow from those of the bases below it.
class Settings(
    Alarms,
    Backup,
    Valkey,
    Releases,
    Tls,
    Nginx,
    Services,
    Frontend,
    Secrets,
    Backend,
    MongoDB,
    Fail2ban,
    Firewall,
    Balancing,
    Network,
    System,
    Access,
    Adoption,
    Site,
):
    """All settings of one host."""

    model_config = ConfigDict(defer_build=False)
    # Of a further site: the name of the host's first one.
    _first_site: str = PrivateAttr(default="")
    _arguments: Arguments = PrivateAttr(default_factory=Arguments.model_construct)
    _peers: tuple[Peer, ...] = PrivateAttr(default=())

    @field_validator("backend_secrets")
    @classmethod
    def _not_in_plain(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if twice := {*value} & {*info.data.get("backend_environment", {})}:
            raise ValueError(f"names without {', '.join(sorted(twice))}, which backend_environment sets")
        return value

    @field_validator("services")
    @classmethod
    def _apart(cls, value: list[Service], info: ValidationInfo) -> list[Service]:
        paths = info.data.get("backend_paths", [])
        taken = dict.fromkeys((place for text in paths for place in route(text).locations), "the backend")
        taken |= dict.fromkeys(info.data.get("shared_urls", {}), "shared_urls")
        if info.data.get("frontend_source") and info.data.get("frontend_assets"):
            taken[info.data.get("frontend_assets", "")] = "the frontend's files"
        names = [info.data.get("site_domain", ""), *info.data.get("site_aliases", [])]
        if problems := problems_among(value, taken, dict.fromkeys(names, "the site"), _ports(info.data)):
            raise ValueError("; ".join(problems))
        made = [one.variable for one in PLACEHOLDERS.values() if one.variable]
        known = {*info.data.get("backend_secrets", []), *made}
        if unknown := {name for service in value for name in service.secrets or ()} - known:
            raise ValueError(
                f"secrets of backend_secrets, or {', '.join(made)}; found {', '.join(sorted(unknown))} besides"
            )
        return value

    @property
    def arguments(self) -> Arguments:
        """What the run was asked to release or to go back to."""
        return self._arguments

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The servers of the inventory, this one among them."""
        return self._peers

    def peers_with(self, role: str) -> list[Peer]:
        """Those of them that have a role, in the inventory's order."""
        return [peer for peer in self._peers if role in peer.roles]

    @property
    def here(self) -> Peer | None:
        """This one of them; None where no inventory is known."""
        return next((peer for peer in self._peers if peer.is_here), None)

    @property
    def is_balancer(self) -> bool:
        """Whether this is the load balancer."""
        return bool(self.here and "lb" in self.here.roles)

    @property
    def is_behind(self) -> bool:
        """Whether this is an application server behind a load balancer."""
        return bool(self.peers_with("lb") and self.here and "web" in self.here.roles)

    @property
    def is_direct(self) -> bool:
        """Whether it is one of these, and still serves visitors that come without the load balancer."""
        return self.is_behind and self.lb_direct

    @property
    def is_public(self) -> bool:
        """Whether visitors reach this host's Nginx, if it has one, without a load balancer before it."""
        return not self.is_behind or self.is_direct

    @property
    def web_ports(self) -> list[int]:
        """The TCP ports of this host's Nginx."""
        return [*([80, 443] if self.is_public else []), *([self.lb_port] if self.is_behind else [])]

    @property
    def has_authority(self) -> bool:
        """Whether the servers know each other by certificates of their own authority."""
        return bool(self.peers_with("lb")) or members.has_certificates(self)

    @cached_property
    def authority(self) -> Authority:
        """That authority. Raises ValueError where there is none, or it is damaged."""
        from slipway.secrets.authority import Authority  # few need it, and it takes long to import

        found = read_authority(self.secrets_file, self.secrets_identity)
        if len(found) < len(AUTHORITY):
            raise ValueError(missing_authority(self.secrets_file))
        return Authority.load(found)

    @property
    def authority_problem(self) -> str:
        """What is wrong with it, "" for nothing."""
        try:
            _ = self.authority
        except ValueError as error:
            return str(error)
        return ""

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

    @property
    def own_tests(self) -> Path:
        """The folder of the site's own tests of a server, beside its backend; it need not be there."""
        backend, top = path(self.backend_source).resolve(), path(".").resolve()
        return (backend if backend == top else backend.parent) / "tests/server"

    @property
    def shared_root(self) -> str:
        """The folder on the server of the folders that stay when a release changes."""
        return f"{self.site_root}/shared"

    @property
    def shared_places(self) -> dict[str, str]:
        """Where on the server what stays is, by its path in the backend. The application may make files beside a file,
        and no folder is beside those: root would follow what leads there."""
        folders = {path: f"{self.shared_root}/{path}" for path in self.shared_paths}
        return folders | {path: f"{self.site_root}/shared-files/{path}" for path in self.shared_files}

    @cached_property
    def all_sites(self) -> list[Settings]:
        """The settings of each site of the host, these first."""
        own = {name: getattr(self, name) for name in Settings.model_fields}
        others = []
        for site in self.sites:
            other = Settings(**of_another_site(own, site))
            other._first_site, other._arguments, other._peers = self.site_name, self._arguments, self._peers
            others.append(other)
        return [self, *others]

    @property
    def is_further_site(self) -> bool:
        """Whether these are the settings of one of `sites`."""
        return bool(self._first_site)

    @property
    def released(self) -> Settings:
        """The settings of the site that a release is of."""
        wanted = self.arguments.release_site or self.site_name
        return next(site for site in self.all_sites if site.site_name == wanted)

    @property
    def backend(self) -> Service:
        """The backend as one of the services: it answers what no other one does."""
        return Service.model_construct(
            name="backend",
            app=self.backend_app,
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
        return [service for service in self.all_services if service.is_web]

    @cached_property
    def places(self) -> list[Place]:
        """Nginx's locations that a service answers."""
        of_services = {service.name: service.path for service in self.services if service.path}
        return places(self.backend_paths, of_services, self.has_frontend)

    @property
    def locations(self) -> list[str]:
        return [place.location for place in self.places]

    @property
    def login(self) -> Place | None:
        """The place of the path that logins are posted to, None where nothing answers there."""
        return place_of(self.nginx_login_path, self.places) if self.nginx_login_path else None

    @property
    def has_frontend(self) -> bool:
        return bool(self.frontend_source)

    @property
    def parts(self) -> list[str]:
        """The parts that a release of the site has."""
        return ["backend", *(["frontend"] if self.has_frontend else [])]

    @property
    def released_parts(self) -> list[str]:
        """Those of them that the run was asked to release."""
        return [part for part in self.parts if part in self.arguments.release_parts]

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

    def health_setting(self, service: Service, what: str) -> str:
        """The setting of a service's health: "path", "status", or "seconds", which it may take until it is healthy."""
        is_backend = service.name == "backend"
        return f"backend_health_{what}" if is_backend else f"health_{what} of the service {service.name}"

    def weak_health(self, service: Service) -> str:
        """What is weak about a service's health check, "" for nothing."""
        if not service.health_is_any:
            return ""
        setting = self.health_setting(service, "status" if service.health_path else "path")
        found = service.health_status if service.health_path else '""'
        return f"{setting} is {found}: any answer below 500 of {service.asked_path} counts as healthy"

    def own_address(self, name: str) -> str:
        """A regular expression of the URLs that a service on a port finds itself at, "" for another one."""
        ports = [str(port) for service in self.services if service.name == name for port in service.ports]
        return rf"https?://(?:localhost|127\.0\.0\.1):(?:{'|'.join(ports)})" if ports else ""

    def host_name(self, service: Service) -> str:
        """The host name that visitors ask a service by."""
        return service.host or self.site_domain

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
        """The file in which earlier versions had the backend's secrets as environment variables."""
        return f"/etc/{self.site_name}/backend.env"

    @property
    def mongodb_local(self) -> str:
        """The address that MongoDB is reached at."""
        return members.local_address(self)

    @property
    def mongodb_listens(self) -> list[str]:
        """The addresses that mongod listens on."""
        return members.listens(self)

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The secrets that are given, by name, as `check` has found them to be in order."""
        # Backups and alarms are the host's.
        more = [] if self.is_further_site else self.host_secrets
        of_indexes = index_secrets(self.python_indexes)
        names = known_names(self.backend_secrets, [*more, *of_indexes])
        return read_secrets(self.secrets_file, names, [*self.generated_secrets, *of_indexes], self.secrets_identity)

    @property
    def indexes(self) -> list[Index]:
        """The package indexes beside PyPI, with the logins that are given."""
        known = self.secrets if self.python_indexes else {}
        return [
            Index(name, url, tuple((one, known[one]) for one in login_names(name) if one in known))
            for name, url in self.python_indexes.items()
        ]

    @property
    def host_secrets(self) -> list[str]:
        """The secrets that backups and alarms need."""
        of_alarms = alarms.secret_names(lambda name: getattr(self, name))
        return [*secret_names(self.backup_repositories, self.backup_secrets), *of_alarms]

    def is_read_otherwise(self, name: str, digest: str) -> bool:
        """Whether a secret of this digest (SHA-256) is what an earlier version has read in secrets_file, and another
        one now."""
        before = read_as_before(self.secrets_file, self.secrets_identity).get(name)
        return before is not None and hashlib.sha256(before.encode()).hexdigest() == digest
