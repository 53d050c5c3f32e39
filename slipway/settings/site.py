"""Settings of the site itself, and of further sites of the host."""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from slipway.settings.types import Domain, Section, Words, matching


class Site(Section):
    """The site"""

    per_site = frozenset({"site_name", "site_domain", "site_aliases"})

    # With "-backend" it names a user, of at most 32 characters (useradd(8)), and beside these two a file of Nginx's.
    site_name: Annotated[
        str,
        matching(
            r"(?!(default|placeholder)$)[a-z][a-z0-9-]{0,23}",
            'lower-case letters, digits, dashes; at most 24; not "default" or "placeholder"',
        ),
    ]
    """Short name of the site. It names the systemd unit (`SITE-backend.service`), the folder (`/var/www/SITE`), the
    Nginx site (`/etc/nginx/sites-available/SITE`) and the database. Renaming a site makes a new one."""

    site_domain: Domain
    """The host name that visitors type. It must resolve to the server before a certificate can be issued."""

    site_aliases: list[Domain] = Field([])
    """Further host names of the site, such as `"www.example.org"`. They redirect to `site_domain` and share its
    certificate."""

    # Checked with the rest as a whole: each is settings of its own.
    sites: list[Annotated[dict[str, Any], Words("dictionary of a site's own settings")]] = Field([])
    """Further sites of the host: `{"site_name": "blog", "site_domain": "blog.example.org", "backend_source": ...,
    "frontend_source": ..., "secrets_file": ...}`. Each has folders, units, users, a database and a certificate of its
    own. A setting that it does not set is derived from its own `site_name`, or is the first site's."""

    @field_validator("site_aliases")
    @classmethod
    def _each_once(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if info.data.get("site_domain") in value or len(set(value)) < len(value):
            raise ValueError("further names, each once, without site_domain")
        return value
