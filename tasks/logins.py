"""Login hardening: limits, password hashes, banners. The components admin and ssh say who may log in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyinfra import host

from slipway.engine.components import Drift, component
from slipway.facts.base import Output
from slipway.ops.commands import ensure
from slipway.ops.files import put_all
from slipway.ops.templates import render
from slipway.settings.model import Settings

# ssh accepts only keys; a password set for the provider's console must be a strong one.
PACKAGES = ["libpam-pwquality"]
# Names and values of login.defs(5), each with its reason.
LOGIN_DEFS = {
    # Homes are not world-readable.
    "UMASK": "027",
    # For programs that still use SHA-512: a stolen hash takes longer to crack than with the default of 5,000.
    "SHA_CRYPT_MIN_ROUNDS": "65536",
    "SHA_CRYPT_MAX_ROUNDS": "65536",
    # An intruder in a session can't exhaust the password history by repeated changes.
    "PASS_MIN_DAYS": "1",
}
LOGIN_DEFS_FILE = "/etc/login.defs"
# pam_umask(8) takes UMASK for sessions, too: files that root writes for another site (`sudo git pull`) would be closed
# to its web server. There HOME_MODE is for homes alone; prints "umask" with pam_umask, and "0700" for a stricter one.
ASKED = (
    "! grep -qsE '^[^#]*pam_umask' /etc/pam.d/common-session /etc/pam.d/common-session-noninteractive || echo umask;"
    f' awk \'$1 == "HOME_MODE" && $2 ~ /^0?700$/ {{print "0700"}}\' {LOGIN_DEFS_FILE}'
)


DRIFTS = {
    "core dumps enabled": Drift("echo '* hard core unlimited' >> /etc/security/limits.d/slipway.conf", "Harden logins"),
    "weaker password hashes": Drift(
        f"sed -i '/^SHA_CRYPT_MIN_ROUNDS/d' {LOGIN_DEFS_FILE}", "Harden new users' homes and passwords"
    ),
    "another banner": Drift("echo hello > /etc/issue.net"),
}


@component(packages=PACKAGES, drifts=DRIFTS)
def logins(settings: Settings) -> None:
    put_all(name="Harden logins", files=files())
    wanted = login_defs(host.get_fact(Output, command=ASKED).split())
    ensure(
        name="Harden new users' homes and passwords",
        check=has_login_defs(wanted),
        command=set_login_defs(wanted),
        note=f"{LOGIN_DEFS_FILE}: " + ", ".join(f"{name} {value}" for name, value in wanted.items()),
    )


def files() -> dict[str, str]:
    banner = render("logins/issue")
    return {
        "/etc/issue": banner,
        "/etc/issue.net": banner,
        "/etc/profile.d/slipway.sh": render("logins/profile.sh"),
        "/etc/security/limits.d/slipway.conf": render("logins/limits.conf"),
        "/etc/systemd/coredump.conf.d/slipway.conf": render("logins/coredump.conf"),
    }


def login_defs(found: Sequence[str]) -> dict[str, str]:
    """The values for a server, by the answer to ASKED."""
    if "umask" not in found:
        return LOGIN_DEFS
    homes = {} if "0700" in found else {"HOME_MODE": "0750"}
    return homes | {name: value for name, value in LOGIN_DEFS.items() if name != "UMASK"}


def has_login_defs(wanted: Mapping[str, str] = LOGIN_DEFS) -> str:
    are_there = " && ".join(f'"{name} {value}" in has' for name, value in wanted.items())
    return f"awk 'NF == 2 {{has[$1 \" \" $2]}} END {{exit !({are_there})}}' {LOGIN_DEFS_FILE}"


def set_login_defs(wanted: Mapping[str, str] = LOGIN_DEFS) -> str:
    """Change only these lines: the rest of the file is the distribution's, and changes with it."""
    delete = "|".join(wanted)
    lines = "".join(f"{name} {value}\\n" for name, value in wanted.items())
    new = f"{LOGIN_DEFS_FILE}.new"
    return (
        f"{{ grep -vE '^({delete})\\s' {LOGIN_DEFS_FILE}; printf '{lines}'; }} > {new}"
        f" && chmod 644 {new} && sync {new} && mv -fT {new} {LOGIN_DEFS_FILE}"
    )
