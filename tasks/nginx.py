"""Nginx: TLS, the frontend's files, and the reverse proxy to the backend. It starts before there is a certificate."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from slipway.adoption import OURS
from slipway.adoption.nginx import DEFAULTS, observed, retired_files, taken_defaults
from slipway.adoption.nginx_needs import Needs, needs_of
from slipway.engine import notes
from slipway.engine.components import Drift, component
from slipway.facts.base import Output
from slipway.facts.certificates import Certificate
from slipway.facts.machine import Machine
from slipway.facts.nginx import NginxInForce
from slipway.ops.commands import Commands, ensure
from slipway.ops.files import config_tree, directory, put, put_template
from slipway.ops.templates import render
from slipway.ops.units import Around, restart, restarts, service, undone_by_timer
from slipway.releases.pages import SOURCE_LISTS, with_scripts
from slipway.settings import hashed_names
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.settings.routes import REST
from slipway.systems import system_of
from slipway.tasks import backend_health, balancing, nginx_logs, plain_http
from slipway.tasks.policies import SPECIAL, policies, runs_scripts, variable_of

PACKAGES = ["nginx", "openssl", "curl"]
BROTLI_PACKAGES = ["libnginx-mod-http-brotli-static"]
# certbot writes its HTTP-01 challenge files here, Nginx serves them on port 80.
ACME_WEBROOT = "/var/www/letsencrypt"
ERROR_PAGES = "/usr/share/slipway/errors"
# Exists for nginx_reload_drain_seconds before a reload: keep-alive connections close after a response.
CLOSING = "/run/nginx-closing"
# How long connections may stay open after a reload, at least.
SHUTDOWN_SECONDS = 60
# What `slipway report` reads; logrotate(8) rotates it with the others.
REQUESTS_LOG = "/var/log/nginx/requests.log"
# Logs of visitors that others may read, as a command that prints them.
READABLE_LOGS = f"find {nginx_logs.FOLDER} -maxdepth 1 \\( -name access.log -o -name requests.log \\) -perm /o=r"
UNIT = "nginx.service"
SANDBOX = "/etc/systemd/system/nginx.service.d/slipway.conf"
VERSION = "nginx -v 2>&1 | sed -n 's/^nginx version: nginx.//p'"
# After a site's name: its file for visitors that do not come through the load balancer.
DIRECT = "-direct"
# The files that pages load, by the ends of their names. A single-page application may have /users/jane.doe.
FILE_TYPES = (
    *("js", "mjs", "css", "map", "json", "wasm", "txt", "xml", "pdf", "webmanifest"),
    *("avif", "gif", "ico", "jpe?g", "png", "svg", "webp", "eot", "otf", "ttf", "woff2?"),
    *("mp3", "mp4", "ogg", "wav", "webm"),
)
# Included by several locations.
HEADERS, BACKEND = "snippets/slipway-headers.conf", "snippets/slipway-backend.conf"
# Check the copy's sites rather than the live ones. Nginx creates its logs even then: nobody else may read them.
CHECK = (
    "umask 027 && cd {} && cp -a nginx.conf nginx.conf.real"
    " && sed -i 's#include /etc/nginx/sites-#include sites-#' nginx.conf"
    " && nginx -t -q -c {}/nginx.conf && mv -fT nginx.conf.real nginx.conf"
)


def packages(settings: Settings) -> list[str]:
    return [*PACKAGES, *(BROTLI_PACKAGES if has_brotli() else [])]


def has_brotli() -> bool:
    machine = host.get_fact(Machine)
    return bool((system := system_of(machine)) and system.brotli)


def rejects_handshakes() -> bool:
    machine = host.get_fact(Machine)
    return not (system := system_of(machine)) or system.rejects_handshakes


def problems(settings: Settings) -> list[str]:
    """What prevents Nginx on this host."""
    own = [*balancing.address_problems(settings), *balancing.rotation_problems(settings)]
    return [*own, *nginx_logs.problems(settings), *_without_ipv6()]


def _without_ipv6() -> list[str]:
    if host.get_fact(Output, command="[ -e /proc/sys/net/ipv6 ] || echo off").strip() != "off":
        return []
    return ["IPv6: found it off in the kernel (ipv6.disable=1), need it on: Nginx listens on [::] too"]


def start_configured_only(settings: Settings) -> None:
    """Before the packages are installed. An existing Nginx keeps running, and can restart."""
    ensure(
        name="Create Nginx's folder of certificates",
        check=f"[ ! -e /usr/sbin/nginx ] || [ -d {TLS_FOLDER} ]",
        command=f"mkdir -p -m 755 {TLS_FOLDER}",
        note=f"{TLS_FOLDER}: new",
    )
    put_template(
        "/etc/systemd/system/nginx.service.d/unconfigured.conf",
        "nginx/unconfigured.conf",
        {"tls_folder": TLS_FOLDER},
        name="Prevent an unconfigured Nginx from starting",
    )


def drifts(settings: Settings) -> dict[str, Drift]:
    site, configured = settings.site_name, "Configure Nginx"
    return {
        "a configuration file edited": Drift(
            "sed -i 's/keepalive_timeout 65s/keepalive_timeout 5s/' /etc/nginx/nginx.conf", configured
        ),
        "the site's file removed": Drift(f"rm /etc/nginx/sites-available/{site}", configured),
        "the site disabled": Drift(f"rm /etc/nginx/sites-enabled/{site} && systemctl reload nginx", configured),
        "Nginx stopped and disabled": Drift("systemctl disable --now nginx", "Start Nginx"),
        "Nginx's sandbox removed": Drift("rm /etc/systemd/system/nginx.service.d/slipway.conf", "Sandbox Nginx"),
        "a header removed": Drift(f"sed -i /X-Frame/d /etc/nginx/{HEADERS}", configured),
        "Nginx would start unconfigured": Drift("rm /etc/systemd/system/nginx.service.d/unconfigured.conf"),
        "no folder for ACME answers": Drift(f"rm -r {ACME_WEBROOT}"),
        "the error page edited": Drift(f"echo '<!-- edited -->' >> {ERROR_PAGES}/unavailable.html"),
        "no placeholder": Drift(f"rm -r {TLS_FOLDER}/placeholder"),
        "no certificate served": Drift(f"rm {settings.tls_folder}"),
        "a snippet of Nginx's gone": Drift(f"rm /etc/nginx/{HEADERS}"),
        "requests that everybody can read": Drift(f"chmod 644 {nginx_logs.FOLDER}/*.log"),
        "another site of the same name": Drift(
            f"printf 'server {{ server_name {settings.site_domain}; }}' > /etc/nginx/conf.d/other.conf"
        ),
        **nginx_logs.DRIFTS,
    }


@component(
    roles=("lb", "web"),
    packages=packages,
    before_packages=start_configured_only,
    ports=lambda settings: dict.fromkeys(settings.web_ports, "nginx"),
    units=lambda settings: [UNIT, *backend_health.units(settings)],
    versions={"Nginx": VERSION},
    preflight=problems,
    drifts=drifts,
)
def nginx(settings: Settings) -> None:
    if not settings.is_public:
        # Without which Nginx does not start (nginx/unconfigured.conf).
        directory(name="Create Nginx's folder of certificates", path=TLS_FOLDER)
    else:
        directory(name="Create the ACME webroot", path=ACME_WEBROOT)
    for page in ("unavailable.html", "unavailable.json"):
        put(name=f"Write the error page {page}", path=f"{ERROR_PAGES}/{page}", content=render(f"nginx/{page}"))
    for site in settings.all_sites if settings.is_public else []:
        placeholder_certificate(site)
    there = host.get_fact(NginxInForce)
    rotation = balancing.rotation(settings)
    balancing.tell(settings, rotation)
    if settings.is_balancer:
        balancing.forget_removed(settings)
    taken = taken_defaults(there, settings) if there else ()
    plain = plain_http.plain_sites(settings)
    plain_http.tell(settings, plain)
    files = configuration(settings, taken, has_brotli(), rotation.out, plain, rejects_handshakes())
    config = config_tree(
        name="Configure Nginx",
        root="/etc/nginx",
        files=files,
        at_last=lambda: balancing.at_last(settings, rotation),
        links=links(settings),
        removed=[*(retired_files(there, settings) if there else ()), *_no_longer_configured(settings)],
        check=CHECK,
        rollback_unit=UNIT,
    )
    ensure(
        name="Hide the requests of visitors from other users",
        # `nginx -t` creates missing log files as root, with the umask of its caller.
        check=f"! {READABLE_LOGS} | grep -q .",
        command=f"{READABLE_LOGS} -exec chmod o-rwx {{}} +",
    )
    # After the configuration: a site that goes with it may write where the sandbox does not let Nginx.
    limits = put_template(
        SANDBOX,
        "nginx/nginx.service.conf",
        unit_values(settings, needs_of(there, settings) if there else None),
        name="Sandbox Nginx",
        rollback_unit=UNIT,
    )
    has_new_limits = restarts(limits)
    answers = observed(there, settings) if there else ""
    waiting = connections_wait(settings)
    restart(
        name="Restart Nginx with its sandbox",
        unit=UNIT,
        rehearse=True,
        observed=answers,
        around=waiting,
        _if=has_new_limits,
    )
    restart(
        name="Reload Nginx",
        unit=UNIT,
        reload=True,
        observed=answers,
        _if=lambda: config.did_change() and not has_new_limits(),
    )
    service(
        name="Start Nginx",
        unit=UNIT,
        files=[*(f"/etc/nginx/{name}" for name in files), *balancing.certificates(settings)],
        reloads=True,
        unit_files=[SANDBOX],
        around=waiting,
    )
    nginx_logs.limit_logs(settings)
    backend_health.watch_services(settings)


def redirect_to_https(settings: Settings) -> None:
    """Once there is a certificate, for the sites that were served by http until then."""
    names = [f"sites-available/{site}" for site in plain_http.plain_sites(settings)]
    if not names:
        return
    files = configuration(settings, brotli=has_brotli())
    redirected = config_tree(
        name="Redirect http to https",
        root="/etc/nginx",
        files={name: files[name] for name in names},
        links={},
        check=CHECK,
        rollback_unit=UNIT,
    )
    restart(name="Reload Nginx with the redirect", unit=UNIT, reload=True, _if=redirected.did_change)


def connections_wait(settings: Settings) -> Around:
    """Around a restart: keep-alive connections close after a response, and new ones wait instead of being refused. The
    kernel drops their first packet, which clients send again after a second (RFC 6298)."""
    tenths = settings.nginx_reload_drain_seconds * 10
    is_connected = f"grep -qsE ':{hexadecimal(settings)} [0-9A-F]+:[0-9A-F]+ 01 ' /proc/net/tcp /proc/net/tcp6"
    rules = (
        f"for tables in iptables ip6tables; do for port in {' '.join(map(str, settings.web_ports))}; do"
        " $tables -w 5 {} INPUT -p tcp --syn --dport $port -j DROP 2> /dev/null; done; done"
    )
    drained = f"for tenth in $(seq {tenths}); do {is_connected} || break; sleep 0.1; done"
    waiting = Around(f"touch {CLOSING}; {drained}; {rules.format('-I')}", f"{rules.format('-D')}; rm -f {CLOSING}")
    seconds = settings.nginx_reload_drain_seconds + settings.limits.reload
    return undone_by_timer(waiting, "connections-wait", seconds)


def hexadecimal(settings: Settings) -> str:
    """The ports of TLS as proc(5) shows them, as an extended regular expression."""
    found = [f"{port:04X}" for port in settings.web_ports if port != 80]
    return found[0] if len(found) == 1 else f"({'|'.join(found)})"


def _no_longer_configured(settings: Settings) -> list[str]:
    """The links of sites that were removed from `sites`; their folders, database and certificate are kept."""
    wanted = {*links(settings)}
    command = f"cd /etc/nginx/sites-enabled && grep -l -s '^# .*, {OURS}: changes made here' *"
    return [
        f"/etc/nginx/{name}"
        for name in sorted(
            {f"sites-enabled/{name}" for name in host.get_fact(Output, command=command).split()} - wanted
        )
    ]


def unit_values(settings: Settings, needs: Needs | None = None) -> dict[str, Any]:
    """The template values of nginx.service.conf; `needs` are those of other sites."""
    return {"settings": settings, "closing": CLOSING, "needs": needs or Needs(), "hexadecimal": hexadecimal(settings)}


def configuration(
    settings: Settings,
    taken: Collection[str] = (),
    brotli: bool = True,
    drained: Collection[str] = (),
    plain: Collection[str] = (),
    rejects: bool = True,
) -> dict[str, str]:
    """Nginx's files below /etc/nginx, by name. `taken` are keys of DEFAULTS with another default server, `drained` the
    names of servers that get no requests, `plain` those of sites that are served by http too; `rejects` is whether
    Nginx can reject a handshake."""
    values = {
        "settings": settings,
        "tls_folder": TLS_FOLDER,
        "acme_webroot": ACME_WEBROOT,
        "error_pages": ERROR_PAGES,
        "headers": HEADERS,
        "backend": BACKEND,
        "brotli": brotli,
        "rejects_handshakes": rejects,
        "hsts": hsts(settings),
        "variable_of": variable_of,
        "hashed_names": hashed_names.PATTERNS,
        "runs_scripts": runs_scripts,
        "policies": policies,
        "special_policies": SPECIAL,
        "with_scripts": with_scripts,
        "source_lists": SOURCE_LISTS,
        "lists_of_scripts": lambda name: "".join(f"$scripts_{number}_of_{name}" for number in range(SOURCE_LISTS)),
        "closing": CLOSING,
        "shutdown_seconds": max(SHUTDOWN_SECONDS, *(site.release_drain_seconds for site in settings.all_sites)),
        "requests_log": REQUESTS_LOG,
        "plain_mark": plain_http.MARK,
        "is_plain": False,
        "defaults": {
            port: [listen for socket, listen in DEFAULTS.items() if socket.endswith(f":{port}") and socket not in taken]
            for port in ("80", "443")
        },
        **balancing.values(settings, drained),
    }
    site_template = "nginx/balanced-site" if settings.is_balancer else "nginx/site"
    return {
        "nginx.conf": render("nginx/nginx.conf", **values),
        HEADERS: render("nginx/headers", **values),
        BACKEND: render("nginx/backend", **values),
        "sites-available/default": render("nginx/default", **values),
        **{name: render(template, **values) for name, template in balancing.files(settings).items()},
        **{
            f"sites-available/{site.site_name}": render(
                site_template, **{**values, **of_site(site), "is_plain": site.site_name in plain}
            )
            for site in settings.all_sites
        },
        **{
            f"sites-available/{site.site_name}{DIRECT}": render(
                site_template, **{**values, **of_site(site), "is_behind": False, "is_beside": True}
            )
            for site in settings.all_sites
            if settings.is_direct
        },
    }


def of_site(settings: Settings) -> dict[str, Any]:
    """The template values of a site's file."""
    rest = next((place for place in settings.places if place.location == REST), None)
    return {
        "settings": settings,
        "pages": pages(settings),
        "file_types": FILE_TYPES,
        # Special only beside a frontend; otherwise a location like any other.
        "rest": rest if settings.has_frontend else None,
    }


def pages(settings: Settings) -> dict[str, str]:
    """The locations of pages, with try_files' arguments. Build tools write the page /about as about.html or
    about/index.html."""
    found = {"= /": "/index.html", "/": "$uri $uri.html $uri/index.html"}
    return {
        location: files for location, files in found.items() if location == "/" or not is_answered(settings, location)
    }


def is_answered(settings: Settings, location: str) -> bool:
    return any(place.location == location for place in settings.places)


def links(settings: Settings) -> dict[str, str]:
    """The links that enable the sites, by name."""
    names = ["default", *(site.site_name for site in settings.all_sites)]
    if settings.is_direct:
        names += [f"{site.site_name}{DIRECT}" for site in settings.all_sites]
    return {f"sites-enabled/{name}": f"../sites-available/{name}" for name in names}


def hsts(settings: Settings) -> str:
    """The value of Strict-Transport-Security, RFC 6797 section 6.1: "max-age=15768000; includeSubDomains"."""
    promised = {"includeSubDomains": settings.nginx_hsts_subdomains, "preload": settings.nginx_hsts_preload}
    return "; ".join(
        [f"max-age={settings.nginx_hsts_seconds}", *(name for name, is_made in promised.items() if is_made)]
    )


def placeholder_certificate(settings: Settings) -> None:
    """A self-signed certificate until certbot has one: without any, Nginx could not start and serve the challenge."""
    folder = settings.tls_folder
    placeholder = f"{TLS_FOLDER}/placeholder"
    ensure(
        name="Create a placeholder certificate",
        check=f"[ -s {placeholder}/fullchain.pem ] && [ -s {placeholder}/privkey.pem ]",
        command=(
            f"install -d -m 700 {placeholder} && umask 077 && openssl req -x509 -newkey ec"
            " -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=placeholder"
            f" -keyout {placeholder}/privkey.pem -out {placeholder}/fullchain.pem 2>/dev/null"
            f" && sync -f {placeholder}"
        ),
    )
    serve_placeholder(name="Link the placeholder certificate", folder=folder)


@operation()
def serve_placeholder(folder: str) -> Commands:
    """Link the placeholder if there is no valid certificate, as Nginx would not start."""
    has_key = host.get_fact(Output, command=f"openssl pkey -noout -in {folder}/privkey.pem && echo yes")
    if has_key and host.get_fact(Certificate, path=f"{folder}/fullchain.pem"):
        return
    notes.note(f"{folder} -> placeholder")
    yield f"ln -sfn placeholder {folder}.new && mv -fT {folder}.new {folder}"
