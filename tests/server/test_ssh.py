"""Logins: from outside, and by sshd's effective configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import paramiko
import pytest
from ssh_audit.builtin_policies import BUILTIN_POLICIES

from slipway.facts.base import key_values
from slipway.facts.ssh import Sshd
from slipway.systems import system_of
from slipway.tasks.ssh import CLASSICAL


def port_of(server) -> int:
    return server.way.port


def test_logins_accept_only_keys(server):
    with paramiko.Transport((server.address, port_of(server))) as transport:
        transport.start_client(timeout=15)
        with pytest.raises(paramiko.BadAuthenticationType) as refused:
            transport.auth_none(server.settings.admin_user)
    assert refused.value.allowed_types == ["publickey"]


def test_sshd_accepts_neither_root_nor_passwords_and_listens_on_the_configured_port(server):
    effective = Sshd().process(server.host.check_output(Sshd().command()).splitlines())
    wanted = {"permitrootlogin": ["no"], "passwordauthentication": ["no"], "port": [str(server.settings.sshd_port)]}
    assert {name: effective[name] for name in wanted} == wanted


def test_ssh_audits_policy_for_the_system_is_met(server, figure):
    lines = server.host.check_output("sed -n 's/\"//g; s/^ID=/os=/p; s/^VERSION_ID=/release=/p' /etc/os-release")
    system = system_of(key_values(lines.splitlines()))
    assert system
    title = system.title.replace("Ubuntu", "Ubuntu Server")
    policies = sorted(name for name in BUILTIN_POLICIES if name.startswith(f"Hardened {title}"))
    if not policies:
        pytest.skip(f"ssh-audit has no policy for {system.title}")
    command = [sys.executable, "-m", "ssh_audit.ssh_audit", "--json", "--policy", policies[-1]]
    command += ["--port", str(port_of(server)), server.address]
    audit = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert audit.stdout, f"ssh-audit got no answer from sshd: {audit.stderr}"
    errors = [error for error in json.loads(audit.stdout)["errors"] if not is_excepted(error)]
    figure(f"ssh-audit, {policies[-1]}", errors or "passed", "passed", not errors)


def is_excepted(error: dict[str, Any]) -> bool:
    """Whether the only difference is the classical key exchanges (tasks/ssh.py), or an authority's own key."""
    if error["mismatched_field"].startswith("CA signature"):
        return True
    if error["mismatched_field"] != "Key exchanges":
        return False
    return [name for name in error["actual"] if name not in CLASSICAL] == error["expected_required"]
