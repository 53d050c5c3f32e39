"""sshd: keys only, no root, modern algorithms, the configured port. Compared by `sshd -T`, not by a file's text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.host import Host

from slipway.engine import notes
from slipway.engine.components import Drift, component
from slipway.engine.login import Login, remember_keys
from slipway.engine.ssh import connected_port
from slipway.facts.base import Output
from slipway.facts.files import FileText
from slipway.facts.ssh import HostCertificates, HostKeys, Sshd, SshPort
from slipway.ops.commands import Commands, checked, ensure
from slipway.ops.files import tell_text
from slipway.ops.templates import render
from slipway.settings.model import Settings
from slipway.tasks.guard import guarded

DROP_IN = "/etc/ssh/sshd_config.d/00-slipway.conf"
ED25519, RSA, RSA_LARGE = (f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "rsa", "rsa_4096"))
RSA_BITS = 4096
# The algorithms of a host certificate, by the host key that it is for. ssh-audit's policies know them as optional.
CERTIFIED = {
    ED25519: ["ssh-ed25519-cert-v01@openssh.com"],
    **{key: ["rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com"] for key in (RSA, RSA_LARGE)},
}
# Diffie-Hellman groups below 3072 bits are removed; the file has their size minus one, moduli(5).
MIN_MODULUS = 3071
# Those that the installed sshd supports (ssh -Q) are used, in the order of ssh-audit's hardening guides.
# https://www.ssh-audit.com/hardening_guides.html
ALGORITHMS = {
    "KexAlgorithms": [
        *("mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"),
        *("curve25519-sha256", "curve25519-sha256@libssh.org", "diffie-hellman-group16-sha512"),
        *("diffie-hellman-group18-sha512", "diffie-hellman-group-exchange-sha256"),
    ],
    "HostKeyAlgorithms": ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"],
    "Ciphers": [
        *("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes192-ctr"),
        *("aes128-gcm@openssh.com", "aes128-ctr"),
    ],
    "MACs": ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-128-etm@openssh.com"],
}
# OpenSSH 10's guide prefers the longer one, to match its post-quantum key exchange.
MACS_FROM_10 = ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "umac-128-etm@openssh.com"]
# Key exchanges that OpenSSH 10's guide removes. Kept for clients without post-quantum ones: paramiko 4, which Slipway
# uses, and OpenSSH before 8.5.
CLASSICAL = {name for name in ALGORITHMS["KexAlgorithms"] if name.startswith(("curve25519", "diffie-hellman"))}
PENALTIES = "PerSourcePenalties"
REVIVE = """\
mkdir -p /run/sshd
if systemctl is-active --quiet ssh.socket; then
  # The socket can't start while the service that it has started runs, and sessions outlive both.
  systemctl daemon-reload; systemctl stop ssh.service; systemctl restart ssh.socket
else
  systemctl restart ssh.service
fi"""


DRIFTS = {
    "sshd overridden by another file": Drift(
        "echo 'X11Forwarding yes' > /etc/ssh/sshd_config.d/00-before.conf", "Harden sshd"
    ),
    "small primes": Drift("echo '20120821044046 2 6 100 2047 2 DA57B18976E9C55CEAC3BFFF' >> /etc/ssh/moduli"),
    "sshd's file edited": Drift(f"echo '# edited' >> {DROP_IN}"),
    "no ssh after a reboot": Drift("systemctl disable ssh.service", "Start sshd at boot"),
    "the host key gone": Drift(f"mv {ED25519} /etc/ssh/aside"),
}


def ports(settings: Settings) -> dict[int, str]:
    return {settings.sshd_port: "sshd"}


@component(needs=("guard", "admin"), ports=ports, units=("ssh.service",), drifts=DRIFTS)
def ssh(settings: Settings) -> None:
    rsa = _host_keys()
    ensure(
        name="Remove small Diffie-Hellman moduli",
        check=f"! awk '$1 !~ /^#/ && $5 < {MIN_MODULUS} {{found = 1}} END {{exit !found}}' /etc/ssh/moduli",
        command=f"cd /etc/ssh && awk '$1 ~ /^#/ || $5 >= {MIN_MODULUS}' moduli > moduli.new && sync moduli.new"
        " && mv -fT moduli.new moduli",
        note=f"/etc/ssh/moduli: those of at least {MIN_MODULUS + 1} bits",
    )
    sshd(name="Harden sshd", settings=settings, host_keys=[ED25519, rsa])
    ensure(
        name="Start sshd at boot",
        # The links that `systemctl is-enabled` checks, by the units' WantedBy=, and no mask.
        check="cd /etc/systemd/system && [ ! -L ssh.service ]"
        " && { [ -e multi-user.target.wants/ssh.service ] || [ -e sockets.target.wants/ssh.socket ]; }",
        command="systemctl unmask ssh.service && systemctl enable ssh.service",
        note="ssh.service: enabled",
    )


def _host_keys() -> str:
    """Generate missing host keys; existing ones are kept. Returns the file of the RSA key."""
    ensure(name="Generate a host key (ed25519)", check=f"[ -s {ED25519} ]", command=_make_key(ED25519, "ed25519"))
    bits = host.get_fact(Output, command=f"[ -e {RSA_LARGE} ] || ssh-keygen -l -f {RSA} | cut -d' ' -f1")
    if bits.isdigit() and int(bits) >= RSA_BITS:
        return RSA
    name = f"Generate a host key (rsa, {RSA_BITS} bits)"
    ensure(name=name, check=f"[ -s {RSA_LARGE} ]", command=_make_key(RSA_LARGE, "rsa"))
    return RSA_LARGE


def _make_key(file: str, kind: str) -> str:
    return (
        f"rm -f {file}.new {file}.new.pub; ssh-keygen -q -t {kind} -b {RSA_BITS} -N '' -C '' -f {file}.new"
        f" && sync {file}.new && mv -fT {file}.new.pub {file}.pub && mv -fT {file}.new {file}"
    )


def configuration(
    settings: Settings,
    host_keys: list[str],
    known: dict[str, set[str]],
    has_penalties: bool = False,
    certified: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """The lines of Slipway's sshd configuration; `known` are the algorithms that sshd supports, by keyword,
    `has_penalties` is for OpenSSH since 9.8, and `certified` are the host keys with a certificate."""
    algorithms = {**ALGORITHMS, **({"MACs": MACS_FROM_10} if "mlkem768x25519-sha256" in known["KexAlgorithms"] else {})}
    chosen = {keyword: [name for name in names if name in known[keyword]] for keyword, names in algorithms.items()}
    chosen["HostKeyAlgorithms"][:0] = [name for key in host_keys if key in certified for name in CERTIFIED[key]]
    own = [
        ("Port", str(settings.sshd_port)),
        *(("HostKey", file) for file in host_keys),
        ("PermitRootLogin", "no"),
        ("PasswordAuthentication", "no"),
        ("KbdInteractiveAuthentication", "no"),
        ("PermitEmptyPasswords", "no"),
        ("X11Forwarding", "no"),
        ("AllowAgentForwarding", "no"),
        # Allows a tunnel to the database, but no port that the server opens to others.
        ("AllowTcpForwarding", "local"),
        # Compression before encryption leaks content by the size of packets.
        ("Compression", "no"),
        # Slipway uses two per connection, people one; clients that need more open another connection.
        ("MaxSessions", "2"),
        # An agent may offer several keys: a limit of three would lock out a user with four.
        ("MaxAuthTries", "6"),
        ("LoginGraceTime", "30"),
        # Dead connections are closed after three minutes, by encrypted keep-alives; those of TCP can be forged.
        ("TCPKeepAlive", "no"),
        ("ClientAliveInterval", "60"),
        ("ClientAliveCountMax", "2"),
        # By default sshd refuses an address after a few failed or aborted connections, the client's after a
        # `slipway verify` too. fail2ban bans guessers, and can be told which address to spare.
        *([(PENALTIES, "no")] if has_penalties else []),
        # Logs the key of each login.
        ("LogLevel", "VERBOSE"),
        *((keyword, ",".join(names)) for keyword, names in chosen.items()),
    ]
    theirs = {name.lower() for name in settings.sshd_settings}
    return [*settings.sshd_settings.items(), *((name, value) for name, value in own if name.lower() not in theirs)]


def host_certificates(effective: dict[str, list[str]]) -> dict[str, str]:
    """The host certificates in sshd's effective configuration (facts.Sshd), and for each the host key of Slipway's that
    it is for, "" for none."""
    files = tuple(effective.get("hostcertificate", []))
    found: dict[str, tuple[str, int]] = (
        host.get_fact(HostCertificates, files=files, host_keys=(*CERTIFIED,)) if files else {}
    )
    return {file: "" if key == RSA and bits < RSA_BITS else key for file, (key, bits) in found.items()}


def known_algorithms(effective: dict[str, list[str]]) -> dict[str, set[str]]:
    """The algorithms that sshd supports, by keyword: the effective ones (facts.Sshd), or, if one of ours is missing
    there, those that `ssh -Q` lists."""
    known = {keyword: {*",".join(effective.get(keyword.lower(), [])).split(",")} for keyword in ALGORITHMS}
    for keyword, wanted in ALGORITHMS.items():
        if not known[keyword].issuperset(wanted):
            known[keyword] = {*host.get_fact(Output, command=f"ssh -Q {keyword}").split()}
    return known


def mismatches(lines: list[tuple[str, str]], effective: dict[str, list[str]]) -> list[str]:
    """Where sshd's effective configuration (facts.Sshd) differs from `lines`, a sentence each."""
    wanted: dict[str, list[str]] = {}
    for name, value in lines:
        wanted.setdefault(name.lower(), []).append(value)
    return [
        f"{name}: sshd has {', '.join(effective.get(name, ['nothing']))}, need {', '.join(values)}"
        for name, values in wanted.items()
        if effective.get(name) != values
    ]


@operation()
def sshd(settings: Settings, host_keys: list[str]) -> Commands:
    """sshd's configuration: one file that sorts first, checked by `sshd -t` before and by a login after the change."""
    effective = host.get_fact(Sshd)
    certified = [*host_certificates(effective).values()]
    lines = configuration(settings, host_keys, known_algorithms(effective), PENALTIES.lower() in effective, certified)
    text = render("ssh/sshd.conf", lines=lines)
    found = host.get_fact(FileText, path=DROP_IN)
    # A setting of the user's may have several lines, in sshd's own order: only the file's text is compared.
    theirs = {name for name, _ in settings.sshd_settings.items()}
    differs = mismatches([line for line in lines if line[0] not in theirs], effective)
    if found == text and not differs:
        return
    if found != text:
        tell_text(DROP_IN, found, text)
    else:
        notes.note("\n".join(differs))
    # This connection's port may be forwarded by a router.
    moves = host.get_fact(SshPort, _sudo=False) != str(settings.sshd_port)
    login = Login(settings.admin_user, settings.sshd_port if moves else connected_port(host))
    yield from guarded(
        settings,
        "ssh",
        ["/etc/ssh"],
        write_configuration(text),
        REVIVE,
        login,
        before_login=lambda host: _remember(host, login.port, host_keys),
    )


def write_configuration(text: str) -> str:
    """A shell script that gives `text` precedence over all other files, if `sshd -t` accepts the result."""
    stage = "/etc/ssh.slipway-new"
    others = f"{stage}/sshd_config $(ls {stage}/sshd_config.d/*.conf | grep -v /00-slipway.conf || :)"
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    test = checked(f"sshd -t -f {stage}/check", **{f"{stage}/check": "/etc/ssh/sshd_config", stage: "/etc/ssh"})
    set_here = "|".join(sorted({line.split()[0] for line in lines}))
    return f"""\
umask 022; rm -rf {stage}; trap 'rm -rf {stage}' EXIT; cp -a /etc/ssh {stage}; mkdir -p {stage}/sshd_config.d
printf %s {shlex.quote(text)} > {stage}/sshd_config.d/00-slipway.conf; chmod 644 {stage}/sshd_config.d/00-slipway.conf
# These add up instead of the first one counting.
sed -i -E 's/^[[:space:]]*(Port|HostKey)[[:space:]]/#&/I' {others}
# Of all others the first one counts: files that are included before this one must not set them.
for file in $(cd {stage}/sshd_config.d && LC_ALL=C ls *.conf | sed '/^00-slipway.conf$/,$d'); do
  sed -i -E 's/^[[:space:]]*({set_here})[[:space:]]/#&/I' {stage}/sshd_config.d/$file
done
# Before anything else, or what comes before it would count.
if ! grep -v -E '^[[:space:]]*(#|$)' {stage}/sshd_config | head -n 1 | grep -q '^Include /etc/ssh/sshd_config.d/'; then
  sed -i -E 's/^[[:space:]]*Include[[:space:]]+\\/etc\\/ssh\\/sshd_config.d\\//#&/I' {stage}/sshd_config
  sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' {stage}/sshd_config
fi
sed 's#^Include /etc/ssh/#Include {stage}/#' {stage}/sshd_config > {stage}/check
mkdir -p /run/sshd; {test}; rm {stage}/check; sync -f {stage}
cd {stage}; mkdir -p /etc/ssh/sshd_config.d
for file in sshd_config sshd_config.d/*.conf; do
  cmp -s $file /etc/ssh/$file || mv -fT $file /etc/ssh/$file
done"""


def _remember(host: Host, port: int, host_keys: list[str]) -> None:
    remember_keys(host, port, host.get_fact(HostKeys, files=tuple(host_keys)))
