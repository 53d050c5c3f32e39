"""Settings of ssh, and of the administrator."""

from typing import Annotated

from paramiko.pkey import PublicBlob
from pydantic import AfterValidator, Field, field_validator

from slipway.project import path
from slipway.settings.types import Port, Seconds, Section, Words, matching

# What settings of Slipway's own decide, or what it must be able to rely on, in lower case.
SSHD_OWN = {"port", "include", "match", "hostkey", "permitrootlogin", "passwordauthentication", "authorizedkeysfile"}


def public_key(item: str) -> str:
    """The line of a public ssh key: `item` itself, or what is in the file that it names. Raises ValueError."""
    expected = 'a public key as "ssh-ed25519 AAAA... name", or the file of one on this machine (ssh-keygen -t ed25519)'
    if item.startswith(("/", "~", ".")):
        try:
            item = path(item).read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{expected}; there is no such file") from None
        if "PRIVATE KEY" in item:
            raise ValueError(f"{expected}; this is the private one, which never leaves your machine")
    try:
        PublicBlob.from_string(item)
    except (ValueError, IndexError):
        raise ValueError(expected) from None
    if "\n" in item:
        raise ValueError(f"{expected}, one an item")
    return item


class Access(Section):
    """Connection, administrator and ssh

    The `ssh_` settings that tell pyinfra how to connect (`ssh_hostname`, `ssh_port`, `ssh_user`, `ssh_key`, ...) are
    pyinfra's own: https://docs.pyinfra.com/en/3.x/connectors/ssh.html. What they leave open is as in ssh's own
    configuration ([connection](connection.md)). The shipped `group_data/all.py` sets `ssh_strict_host_key_checking =
    "yes"`: a host is connected to only if its key is in `known_hosts` (run `ssh HOST true` once, and compare the
    fingerprint). pyinfra's own default, `"accept-new"`, trusts the first key that it sees.
    """

    timeout_scale: Annotated[float, Field(ge=0.01, le=100, strict=False)] = 1.0
    """Multiplies every time limit of Slipway's own (`slipway/settings/limits.py`): raise it for a very slow host or
    link, for example to 3. The shipped limits suit hosts with a tenth of an ordinary server's speed. Settings in
    seconds are not scaled."""

    admin_user: Annotated[
        str, matching(r"(?!root$)[a-z_][a-z0-9_-]{0,31}", 'a user\'s name other than "root", as useradd(8) takes it')
    ] = "admin"
    """The user with sudo that Slipway creates and logs in as. Root's login is closed once this user has logged in."""

    admin_keys: Annotated[
        list[Annotated[str, AfterValidator(public_key), Words('a public key "ssh-ed25519 AAAA... name", or its file')]],
        Field(min_length=1),
    ] = Field(["~/.ssh/id_ed25519.pub"])
    """The administrator's public keys, each a line or a file on your machine. No other keys open the account: a key
    that is removed here is removed on the server."""

    sshd_port: Port = 22
    """The port of sshd. A change takes one run; then update the host's `ssh_port` in the inventory, if it is set."""

    lockout_rollback_seconds: Annotated[Seconds, Field(ge=5, le=3600)] = 60
    """How long the host waits for a new login after a change of ssh, the firewall or the administrator's access.
    Without one it rolls the change back."""

    sshd_settings: Annotated[
        dict[
            Annotated[str, matching(r"[A-Z][A-Za-z0-9]+", "a keyword of sshd_config(5)")],
            Annotated[str, matching(r"[^\x00-\x1f]+", "its value, on one line")],
        ],
        Words("dictionary of sshd_config(5) keyword to value"),
    ] = Field({})
    """Further settings of sshd, which override Slipway's own: `{"AllowUsers": "admin ci"}`."""

    @field_validator("sshd_settings")
    @classmethod
    def _not_slipways(cls, value: dict[str, str]) -> dict[str, str]:
        if owned := SSHD_OWN & {name.lower() for name in value}:
            raise ValueError(f"settings without {', '.join(sorted(owned))}, which Slipway's own settings decide")
        return value
