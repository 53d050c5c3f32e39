"""Login hardening: limits, password hashes, banners. The components admin and ssh say who may log in."""

from __future__ import annotations

from slipway.engine.components import Drift, component
from slipway.ops.commands import ensure
from slipway.ops.files import put_all
from slipway.ops.templates import render
from slipway.settings.model import Settings

# ssh accepts only keys; a password set for the provider's console must be a strong one.
PACKAGES = ["libpam-pwquality"]
# Names and values of login.defs(5), each with its reason.
LOGIN_DEFS = {
    # Homes and files that a login creates are not world-readable.
    "UMASK": "027",
    # For programs that still use SHA-512: a stolen hash takes longer to crack than with the default of 5,000.
    "SHA_CRYPT_MIN_ROUNDS": "65536",
    "SHA_CRYPT_MAX_ROUNDS": "65536",
    # An intruder in a session can't exhaust the password history by repeated changes.
    "PASS_MIN_DAYS": "1",
}
LOGIN_DEFS_FILE = "/etc/login.defs"


DRIFTS = {
    "core dumps enabled": Drift("echo '* hard core unlimited' >> /etc/security/limits.d/slipway.conf", "Harden logins"),
    "a laxer umask": Drift(
        f"sed -i 's/^UMASK.*/UMASK 022/' {LOGIN_DEFS_FILE}", "Harden new users' homes and passwords"
    ),
    "another banner": Drift("echo hello > /etc/issue.net"),
}


@component(packages=PACKAGES, drifts=DRIFTS)
def logins(settings: Settings) -> None:
    put_all(name="Harden logins", files=files())
    ensure(
        name="Harden new users' homes and passwords",
        check=has_login_defs(),
        command=set_login_defs(),
        note=f"{LOGIN_DEFS_FILE}: " + ", ".join(f"{name} {value}" for name, value in LOGIN_DEFS.items()),
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


def has_login_defs() -> str:
    wanted = " && ".join(f'"{name} {value}" in has' for name, value in LOGIN_DEFS.items())
    return f"awk 'NF == 2 {{has[$1 \" \" $2]}} END {{exit !({wanted})}}' {LOGIN_DEFS_FILE}"


def set_login_defs() -> str:
    """Change only these lines: the rest of the file is the distribution's, and changes with it."""
    delete = "|".join(LOGIN_DEFS)
    lines = "".join(f"{name} {value}\\n" for name, value in LOGIN_DEFS.items())
    new = f"{LOGIN_DEFS_FILE}.new"
    return (
        f"{{ grep -vE '^({delete})\\s' {LOGIN_DEFS_FILE}; printf '{lines}'; }} > {new}"
        f" && chmod 644 {new} && sync {new} && mv -fT {new} {LOGIN_DEFS_FILE}"
    )
