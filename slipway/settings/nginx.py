"""Settings of Nginx."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.types import Mebibytes, Seconds, Section, Unit, matching

# In seconds.
YEAR = 31_536_000


class Nginx(Section):
    """Nginx"""

    per_site = frozenset({"nginx_csp", "nginx_login_path", "nginx_login_rate_per_minute"})

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
        "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    """What a page of the site may load and from where (Content-Security-Policy); `""` for no such header. The default
    allows the site's own files, and no inline scripts or styles. A page with payments by Razorpay also needs
    `https://*.razorpay.com` in script-src, connect-src and frame-src.
    https://developer.mozilla.org/docs/Web/HTTP/Guides/CSP"""

    nginx_login_path: Annotated[str, matching(r"/api/[\w./-]+", 'a URL path below "/api/"')] = "/api/auth/login"
    """The path that logins are posted to, which is rate limited."""

    nginx_login_rate_per_minute: Annotated[int, Field(ge=0, le=10_000), Unit("requests per minute")] = 20
    """How many logins an address (of IPv6, a /64 network) may post, with as many at once after a pause; 0 for no limit.
    Further ones are answered 429 and never reach the backend."""

    @field_validator("nginx_hsts_preload")
    @classmethod
    def _may_be_preloaded(cls, value: bool, info: ValidationInfo) -> bool:
        if value and not (info.data.get("nginx_hsts_subdomains") and info.data.get("nginx_hsts_seconds", 0) >= YEAR):
            raise ValueError(
                f"False, or nginx_hsts_subdomains = True and nginx_hsts_seconds of at least {YEAR} with it"
            )
        return value
