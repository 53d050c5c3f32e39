"""The site's settings, packages and files, for the ways other than Slipway.

Files are rendered from Slipway's own templates. What tasks/ writes without a template is repeated here; if the two
differ, the plan after a run shows it.
"""

from __future__ import annotations

import base64
import io
import os
import runpy
import secrets
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import PROJECT
from slipway.lab.record import Host, pyinfra_data
from slipway.ops.files import tar
from slipway.ops.templates import render
from slipway.releases import launcher
from slipway.releases import program as release_program
from slipway.secrets.store import MONGODB_ADMIN, MONGODB_BACKEND
from slipway.settings import environment
from slipway.settings.check import check
from slipway.settings.model import TLS_FOLDER, Settings
from slipway.systems import SYSTEMS
from slipway.tasks import (
    admin,
    auditing,
    backend,
    backend_units,
    base,
    fail2ban,
    firewall,
    guard,
    logins,
    mongodb,
    mongodb_users,
    nginx,
    release,
    release_steps,
    ssh,
    tls,
    updates,
)

# The system of lab hosts, lab/image.py.
SYSTEM = SYSTEMS["debian-12"]
MACHINE = {"os": SYSTEM.os, "codename": SYSTEM.codename, "arch": "amd64"}
# In Slipway's list, but not in this system's sshd: new in OpenSSH 9.9.
# https://www.openssh.com/txt/release-9.9
LATER_ALGORITHMS = {"mlkem768x25519-sha256"}
UNCONFIGURED = "/etc/systemd/system/nginx.service.d/unconfigured.conf"


@dataclass(frozen=True)
class File:
    """A file on the host."""

    path: str
    content: str
    mode: int = 0o644
    group: str = "root"
    owner: str = "root"


def settings_of(host: Host) -> Settings:
    """The settings that Slipway has for a lab host."""
    defaults = runpy.run_path(str(PROJECT / "group_data/all.py"))
    own = {name: value for name, value in defaults.items() if not name.startswith("__")}
    return check({**own, **pyinfra_data(host)})


def base_packages(settings: Settings) -> list[str]:
    return [*base.PACKAGES, *mongodb.KEY_PACKAGES, *settings.extra_packages]


def packages(settings: Settings) -> list[str]:
    """The Debian packages of a host in every role."""
    others = (*firewall.PACKAGES, *backend.PACKAGES, *nginx.PACKAGES, *nginx.BROTLI_PACKAGES, *tls.PACKAGES)
    others += (*updates.PACKAGES, *admin.PACKAGES, *logins.PACKAGES, *fail2ban.PACKAGES, *auditing.PACKAGES)
    return sorted({*base_packages(settings), *mongodb.packages(settings), *others})


def open_ports(settings: Settings) -> list[str]:
    return [f"{settings.sshd_port}/tcp", "80/tcp", "443/tcp", *settings.firewall_allow]


def files(settings: Settings) -> list[File]:
    """The files of a host in every role. A lab host shares this machine's kernel: swap, kernel parameters,
    transparent huge pages and auditing are left alone, as by Slipway."""
    return [*_base(settings), *_access(settings), *_mongodb(settings), *_backend(settings), *_web(settings)]


def _base(settings: Settings) -> list[File]:
    journal = f"[Journal]\nStorage=persistent\nSystemMaxUse={settings.journal_max_mb}M\n"
    system = {
        **updates.files(settings),
        **logins.files(),
        **auditing.files(),
        "/etc/modprobe.d/slipway.conf": render("kernel/modprobe.conf"),
        f"/etc/fail2ban/{fail2ban.JAILS}": fail2ban.jails(settings, is_web=True),
    }
    return [
        File("/etc/apt/apt.conf.d/00-slipway", f'DPkg::Lock::Timeout "{settings.apt_lock_timeout}";\n'),
        *(File(path, content) for path, content in system.items()),
        File("/etc/timezone", f"{settings.timezone}\n"),
        File("/etc/default/locale", f"LANG={settings.locale}\n"),
        File("/etc/systemd/journald.conf.d/slipway.conf", journal),
    ]


def _access(settings: Settings) -> list[File]:
    """The files for logins, and for the rollback of Slipway's next change that locks out."""
    user = settings.admin_user
    keys = "".join(f"{key}\n" for key in settings.admin_keys)
    undo = guard.template_values(settings)
    units = ("slipway-undo.service", guard.TIMER)
    known = {keyword: set(names) - LATER_ALGORITHMS for keyword, names in ssh.ALGORITHMS.items()}
    # A lab host's own RSA key is too small for Slipway, lab/seed.py.
    lines = ssh.configuration(settings, [ssh.ED25519, ssh.RSA_LARGE], known)
    return [
        File(f"/home/{user}/.ssh/authorized_keys", keys, 0o600, user, user),
        File(f"/etc/sudoers.d/{user}", f"{user} ALL=(ALL) NOPASSWD: ALL\n", 0o440),
        File(ssh.DROP_IN, render("ssh/sshd.conf", lines=lines)),
        File(guard.SCRIPT, render("guard/undo", **undo), 0o755),
        *(File(f"/etc/systemd/system/{unit}", render(f"guard/{unit}", **undo)) for unit in units),
    ]


def _memory_mb() -> int:
    """The memory of this machine, and of its containers."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def _mongodb(settings: Settings) -> list[File]:
    memory_mb = _memory_mb()
    values = {"machine": MACHINE, "system": SYSTEM, "keyring": mongodb.KEYRING, "before": None}
    source = render("mongodb/mongodb.sources", settings=settings, **values)
    config = render("mongodb/mongod.conf", **mongodb.config_values(settings, memory_mb))
    return [
        File("/etc/apt/sources.list.d/mongodb.sources", source),
        File("/etc/apt/preferences.d/mongodb", render("mongodb/preferences", series=settings.mongodb_version)),
        File("/etc/mongod.conf", config, 0o640, "mongodb"),
        File(
            mongodb.LIMITS,
            render(
                "mongodb/mongod.service.conf",
                settings=settings,
                memory_max_mb=mongodb.memory_max_mb(settings, memory_mb),
            ),
        ),
    ]


def set_users(settings: Settings) -> dict[str, str]:
    """A shell script that creates MongoDB's users, and its standard input, by file name."""
    documents = base64.encodebytes(tar(mongodb_users.documents(settings))).decode()
    return {"set-users": mongodb_users.set_users(settings), "set-users.input": documents}


def _backend(settings: Settings) -> list[File]:
    unit = f"/etc/systemd/system/{settings.backend_unit}"
    memory_max_mb = backend_units.memory_max_mb(settings, _memory_mb())
    values = backend_units.unit_values(settings, memory_max_mb, database_is_here=True)
    made_up = {name: secrets.token_hex(32) for name in ("JWT_SECRET", MONGODB_ADMIN, MONGODB_BACKEND)}
    known = {**made_up, **settings.secrets}
    composed = environment.composed(settings).items()
    handed_over = {**known, **{file: environment.text_of(value, known) for file, value in composed}}
    its = backend_units.of_service(settings, settings.backend, values)
    return [
        *(File(f"{settings.credentials_folder}/{name}", text, 0o600) for name, text in handed_over.items()),
        File(f"{unit}.socket", render("backend/backend.socket", **its)),
        File(f"{unit}.service", render("backend/backend.service", **its)),
        *(File(path, text) for path, text in backend_units.release_units(settings, values).items()),
        *(File(release_steps.place_of(one), release_steps.text_of(one)) for one in release_steps.MODULES),
        File(release_steps.PROGRAM, release_steps.text_of(release_program), 0o755),
        File(release_steps.LAUNCHER, release_steps.text_of(launcher), 0o755),
        File(release_steps.facts_file(settings), release_steps.as_json(release_steps.facts(settings, release.PARTS))),
    ]


def _web(settings: Settings) -> list[File]:
    pages = ("unavailable.html", "unavailable.json")
    return [
        *(File(f"/etc/nginx/{name}", text) for name, text in nginx.configuration(settings).items()),
        *(File(f"{nginx.ERROR_PAGES}/{page}", render(f"nginx/{page}")) for page in pages),
        File(UNCONFIGURED, render("nginx/unconfigured.conf", tls_folder=TLS_FOLDER)),
        File(
            "/etc/systemd/system/nginx.service.d/slipway.conf",
            render("nginx/nginx.service.conf", **nginx.unit_values(settings)),
        ),
        File("/etc/letsencrypt/renewal-hooks/deploy/reload-nginx", render("tls/reload-nginx"), 0o755),
    ]


def links(settings: Settings) -> dict[str, str]:
    """Targets of symbolic links, by path."""
    sites = {f"/etc/nginx/{name}": target for name, target in nginx.links(settings).items()}
    usual = {f"{settings.site_root}/{part}": f"current/{part}" for part in ("backend", "frontend")}
    return {"/etc/localtime": f"/usr/share/zoneinfo/{settings.timezone}", **sites, **usual}


def archive(contents: Sequence[File], targets: Mapping[str, str]) -> bytes:
    """A tar of files and symbolic links with their owners by name, to be unpacked in the root folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in contents:
            data = file.content.encode()
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode, member.uname, member.gname = len(data), file.mode, file.owner, file.group
            # Now: Slipway restarts services that are older than their files.
            member.mtime = int(time.time())
            tar.addfile(member, io.BytesIO(data))
        for path, target in targets.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()
