"""The operating system: packages, time, memory, logs, kernel settings."""

from __future__ import annotations

from pyinfra import host

from slipway.facts import Machine, Output, is_container
from slipway.operations import ensure, link, packages, put, put_template, restart, service
from slipway.report import skipped
from slipway.settings import Settings

PACKAGES = ["ca-certificates", "curl", "gnupg", "logrotate", "procps", "tzdata", "unattended-upgrades"]


def base(settings: Settings) -> None:
    """What every host has, whatever its role."""
    put(
        name="Let apt wait for its lock",
        path="/etc/apt/apt.conf.d/00-slipway",
        # Without it an apt command fails at once while unattended-upgrades is at work, as it is on a fresh server.
        content=f'DPkg::Lock::Timeout "{settings.apt_lock_timeout}";\n',
    )
    packages(name="Install the base packages", names=[*PACKAGES, *settings.extra_packages])
    put(
        name="Install security updates daily",
        path="/etc/apt/apt.conf.d/20auto-upgrades",
        content='APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n',
    )
    _time(settings)
    _locale(settings)
    journal = put(
        name="Limit the journal's size",
        path="/etc/systemd/journald.conf.d/slipway.conf",
        content=f"[Journal]\nStorage=persistent\nSystemMaxUse={settings.journal_max_mb}M\n",
    )
    restart(name="Restart the journal", unit="systemd-journald.service", _if=journal.did_change)
    _kernel(settings)


def _time(settings: Settings) -> None:
    link(name="Set the time zone", path="/etc/localtime", target=f"/usr/share/zoneinfo/{settings.timezone}")
    put(name="Name the time zone", path="/etc/timezone", content=f"{settings.timezone}\n")
    if is_container(host.get_fact(Machine)):
        skipped("time synchronisation", "a container has its host's clock")
    elif host.get_fact(Output, command="systemctl is-active chrony ntpsec ntp | grep -x active") == "":
        packages(name="Install time synchronisation", names=["systemd-timesyncd"])
        service(name="Start time synchronisation", unit="systemd-timesyncd.service")


def _locale(settings: Settings) -> None:
    if settings.locale != "C.UTF-8":
        packages(name="Install the locales", names=["locales"])
        pattern = settings.locale.replace(".UTF-8", ".utf8")
        ensure(
            name=f"Generate the locale {settings.locale}",
            check=f"locale -a | grep -qx '{pattern}'",
            command=f"echo '{settings.locale} UTF-8' >> /etc/locale.gen && locale-gen",
        )
    put(name="Set the locale", path="/etc/default/locale", content=f"LANG={settings.locale}\n")


def _kernel(settings: Settings) -> None:
    """Kernel settings are the host's; a container shares its kernel and can't set them."""
    if is_container(host.get_fact(Machine)):
        for what in ("swap", "kernel parameters (sysctl)", "transparent huge pages"):
            skipped(what, f"a container ({host.get_fact(Machine)['container']}) has its host's kernel")
        return
    _swap(settings.swap_mb)
    parameters = put_template("/etc/sysctl.d/60-slipway.conf", "base/sysctl.conf", {}, name="Set kernel parameters")
    restart(name="Load kernel parameters", unit="systemd-sysctl.service", _if=parameters.did_change)
    if "db" in host.groups:
        # Up to 7.0 MongoDB wants transparent huge pages off; since 8.0, with its new allocator, on.
        # https://www.mongodb.com/docs/manual/tutorial/disable-transparent-huge-pages/
        mode = "always" if int(settings.mongodb_version.split(".")[0]) >= 8 else "never"
        pages = put_template(
            "/etc/systemd/system/slipway-thp.service",
            "base/thp.service",
            {"mode": mode},
            name=f"Set transparent huge pages to {mode!r}",
        )
        service(name="Keep transparent huge pages set", unit="slipway-thp.service")
        restart(name="Apply transparent huge pages", unit="slipway-thp.service", _if=pages.did_change)


def _swap(megabytes: int) -> None:
    if megabytes == 0:
        return
    ensure(
        name=f"Make {megabytes} MiB of swap",
        check=f'[ "$(stat -c %s /swapfile)" = {megabytes * 1024 * 1024} ]',
        command=(
            "swapoff /swapfile 2>/dev/null; rm -f /swapfile; umask 077;"
            f" fallocate -l {megabytes}M /swapfile && mkswap /swapfile >/dev/null"
        ),
    )
    ensure(
        name="Use the swap file at boot",
        check="grep -q '^/swapfile ' /etc/fstab",
        command="echo '/swapfile none swap sw 0 0' >> /etc/fstab",
    )
    ensure(name="Use the swap file", check="grep -q '^/swapfile ' /proc/swaps", command="swapon /swapfile")
