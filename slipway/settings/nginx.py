"""Settings of Nginx."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.routes import place_of, places
from slipway.settings.types import HealthPath, Mebibytes, Seconds, Section, Unit, UrlPath, derived_by, matching

# In seconds.
YEAR = 31_536_000
# Where nothing answers there, there is nothing to limit.
LOGIN_PATH = "/api/auth/login"


# Build tools put small pictures and fonts into files as data: URLs, and component libraries make styles as they run.
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; style-src 'self' 'unsafe-inline';"
    " object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
# Of pages that a backend makes, nothing is known.
CSP_WITHOUT_PAGES = "object-src 'none'; base-uri 'self'; frame-ancestors 'none'"


def _csp(frontend_source: str) -> str:
    return CSP if frontend_source else CSP_WITHOUT_PAGES


class Nginx(Section):
    """Nginx"""

    per_site = frozenset({"nginx_csp", "nginx_docs_paths", "nginx_login_path", "nginx_login_rate_per_minute"})

    nginx_max_body_mb: Annotated[Mebibytes, Field(ge=1, le=10240)] = 10
    """Maximum size of a request body."""

    nginx_backend_timeout: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """How long Nginx waits for the backend's response."""

    # systemd ends a reload that takes 90 s.
    nginx_reload_drain_seconds: Annotated[Seconds, Field(ge=0, le=60)] = 3
    """How long Nginx drains connections before a reload: it closes each after its next response. A connection that is
    closed by the reload instead may lose a request."""

    # Twice as many descriptors must stay below the kernel's limit for a process, fs.nr_open.
    nginx_worker_connections: Annotated[int, Field(ge=64, le=500_000), Unit("connections")] = 16384
    """Maximum number of a worker's connections. A visitor behind a proxied request takes two."""

    nginx_logs_max_mb: Annotated[Mebibytes, Field(ge=10, le=2**20)] = 1000
    """Maximum size of `/var/log/nginx`, looked at every five minutes: above it, logs are rotated at once and the oldest
    removed. As long as it suffices, they are rotated daily and kept for 14 days."""

    nginx_hsts_seconds: Annotated[Seconds, Field(ge=0, le=10 * YEAR)] = 15_768_000
    """How long a browser that has visited the site uses https only (Strict-Transport-Security); 0 disables it, and
    revokes it in browsers that still visit. Other browsers cannot be told: half a year is the minimum that auditors ask
    for (180 days, Mozilla's first stage), and the most that a site should promise unasked. Once https has proven
    itself, set 63072000 (two years)."""

    nginx_hsts_subdomains: bool = False
    """Promise the same for every host name below `site_domain`."""

    nginx_hsts_preload: bool = False
    """Promise it permanently, by a list that browsers ship (https://hstspreload.org). It requires at least a year and
    `nginx_hsts_subdomains`."""

    nginx_csp: Annotated[str, matching(r"[^\x00-\x1f\"\\$]*", "one line without double quotes, backslashes or $")] = (
        derived_by(f'`"{CSP}"`, or `"{CSP_WITHOUT_PAGES}"` without a frontend', ["frontend_source"], _csp)
    )
    """What a page of the site may load and from where (Content-Security-Policy); `""` for no such header. The default
    allows the site's own files and no scripts from elsewhere. A release adds the hashes of the inline scripts in its
    pages, and lists other origins that they name with the directive that would allow them. A page with payments by
    Razorpay also needs `https://*.razorpay.com` in script-src, connect-src and frame-src. A policy that the backend
    sends itself counts for its answers. https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP"""

    nginx_docs_paths: list[UrlPath] = Field(["/docs", "/redoc", "/api/docs", "/api/redoc"])
    """Where FastAPI's documentation pages are, if the backend answers there. They load Swagger UI and ReDoc from
    `https://cdn.jsdelivr.net` by an inline script, which a policy of their own allows for these pages alone; `[]` for
    none."""

    nginx_login_path: HealthPath = LOGIN_PATH
    """The path that logins are posted to, which is rate limited; `""` for none."""

    nginx_login_rate_per_minute: Annotated[int, Field(ge=0, le=10_000), Unit("requests per minute")] = 20
    """How many logins an address (of IPv6, a /64 network) may post, with as many at once after a pause; 0 for no limit.
    Further ones are answered 429 and never reach the backend."""

    @field_validator("nginx_login_path")
    @classmethod
    def _is_answered(cls, value: str, info: ValidationInfo) -> str:
        own = {"backend_paths", "services", "frontend_source"}
        if value in ("", LOGIN_PATH) or not own <= {*info.data}:
            return value
        of_services = {service.name: service.path for service in info.data["services"] if service.path}
        there = places(info.data["backend_paths"], of_services, bool(info.data["frontend_source"]))
        if place_of(value, there) is None:
            raise ValueError("a path that the backend (backend_paths) or one of services answers")
        return value

    @field_validator("nginx_hsts_preload")
    @classmethod
    def _may_be_preloaded(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not (info.data.get("nginx_hsts_subdomains") and info.data.get("nginx_hsts_seconds", 0) >= YEAR):
            raise ValueError(
                f"False, or nginx_hsts_subdomains = True and nginx_hsts_seconds of at least {YEAR} with it"
            )
        return value
