"""How sshd's configuration is written: the commands run on a temporary /etc/ssh."""

from __future__ import annotations

import subprocess

import pytest

from slipway.facts.ssh import HostCertificates
from slipway.tasks import ssh
from slipway.tasks.ssh import ALGORITHMS, ED25519, RSA, RSA_LARGE, configuration, host_certificates, write_configuration

DEBIANS = """\
# A provider's first line
Port 22
PermitRootLogin yes
Include /etc/ssh/sshd_config.d/*.conf
"""


@pytest.fixture
def write(tmp_path):
    """Writes a configuration that a fake `sshd -t` accepts or rejects; returns the exit code."""
    (tmp_path / "ssh/sshd_config.d").mkdir(parents=True)
    (tmp_path / "ssh/sshd_config").write_text(DEBIANS)
    (tmp_path / "ssh/sshd_config.d/50-cloud-init.conf").write_text("PasswordAuthentication yes\nPort 2200\n")
    (tmp_path / "bin").mkdir()

    def write(text: str, refuses: bool = False) -> int:
        sshd = tmp_path / "bin/sshd"
        sshd.write_text(f'#!/bin/sh\ncp "$3" {tmp_path}/judged; echo "$1 $2" > {tmp_path}/told; exit {int(refuses)}\n')
        sshd.chmod(0o755)
        script = (
            write_configuration(text).replace("/etc/ssh", f"{tmp_path}/ssh").replace("/run/sshd", f"{tmp_path}/run")
        )
        script = script.replace("\\/etc\\/ssh", str(tmp_path / "ssh").replace("/", "\\/"))
        env = {"PATH": f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        done = subprocess.run(["sh", "-euc", script], env=env, capture_output=True, text=True, check=False)
        assert not (tmp_path / "ssh.slipway-new").exists(), "nothing is left beside it"
        return done.returncode

    return write


def files(tmp_path):
    folder = tmp_path / "ssh"
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_configuration_that_sshd_refuses_never_reaches_it(write, tmp_path):
    (tmp_path / "ssh/sshd_config").write_text(DEBIANS.replace("/etc/ssh", f"{tmp_path}/ssh"))
    before = files(tmp_path)
    assert write("Nonsense yes\n", refuses=True) != 0
    assert files(tmp_path) == before
    assert (tmp_path / "told").read_text() == "-t -f\n"


def test_slipways_file_is_read_first_and_no_other_adds_a_port(write, tmp_path):
    (tmp_path / "ssh/sshd_config").write_text(DEBIANS.replace("/etc/ssh", f"{tmp_path}/ssh"))
    assert write("Port 2222\n") == 0
    found = files(tmp_path)
    assert found["sshd_config.d/00-slipway.conf"] == "Port 2222\n"
    counts = [line for line in found["sshd_config"].splitlines() if not line.startswith("#")]
    assert counts[0] == f"Include {tmp_path}/ssh/sshd_config.d/*.conf"
    assert "#Port 2200" in found["sshd_config.d/50-cloud-init.conf"]
    assert [line for text in found.values() for line in text.splitlines() if line.startswith("Port")] == ["Port 2222"]


def test_what_a_file_sets_that_is_read_even_earlier_does_not_count(write, tmp_path):
    (tmp_path / "ssh/sshd_config.d/00-before.conf").write_text("X11Forwarding yes\nBanner none\n")
    assert write("X11Forwarding no\n") == 0
    found = files(tmp_path)
    assert found["sshd_config.d/00-before.conf"] == "#X11Forwarding yes\nBanner none\n"
    assert found["sshd_config.d/50-cloud-init.conf"].startswith("PasswordAuthentication yes\n")


def test_logins_without_a_key_and_as_root_are_refused(settings_with):
    known = {keyword: {*names} for keyword, names in ALGORITHMS.items()}
    lines = dict(configuration(settings_with(), ["/key"], known))
    closed = ["PermitRootLogin", "PasswordAuthentication", "KbdInteractiveAuthentication", "PermitEmptyPasswords"]
    assert {name: lines[name] for name in closed} == dict.fromkeys(closed, "no")


def test_openssh_10_gets_its_guides_order_and_bans_by_fail2ban_alone(settings_with):
    known = {keyword: {*names} for keyword, names in ALGORITHMS.items()}
    new = dict(configuration(settings_with(), ["/key"], known, has_penalties=True))
    assert new["MACs"].startswith("hmac-sha2-512-etm@openssh.com,")
    assert new["PerSourcePenalties"] == "no"
    known["KexAlgorithms"].remove("mlkem768x25519-sha256")
    old = dict(configuration(settings_with(), ["/key"], known))
    assert old["MACs"].startswith("hmac-sha2-256-etm@openssh.com,")
    assert "PerSourcePenalties" not in old


def test_a_host_key_with_a_certificate_gets_its_algorithms(settings_with):
    known = {keyword: {*names} for keyword, names in ALGORITHMS.items()}
    plain = "ssh-ed25519,rsa-sha2-512,rsa-sha2-256"
    keys = [ED25519, RSA_LARGE]
    of = lambda *certified: dict(configuration(settings_with(), keys, known, certified=certified))["HostKeyAlgorithms"]  # noqa: E731
    assert of() == plain
    assert of("", RSA) == plain
    assert of(ED25519) == f"ssh-ed25519-cert-v01@openssh.com,{plain}"
    assert of(RSA_LARGE) == f"rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,{plain}"


def test_the_host_key_of_a_certificate_is_found_by_its_fingerprint(tmp_path):
    def run(*command):
        subprocess.run(["ssh-keygen", "-q", *command], check=True, capture_output=True, cwd=tmp_path)

    for name, kind in (("authority", "ed25519"), ("ed25519", "ed25519"), ("rsa", "rsa"), ("ecdsa", "ecdsa")):
        run("-t", kind, "-N", "", "-C", "", "-f", name)
    for name in ("ed25519", "rsa", "ecdsa"):
        run("-s", "authority", "-I", name, "-h", f"{name}.pub")
    files = tuple(str(tmp_path / f"{name}-cert.pub") for name in ("ed25519", "rsa", "ecdsa", "missing"))
    keys = tuple(str(tmp_path / name) for name in ("ed25519", "rsa", "none"))
    command = HostCertificates().command(files=files, host_keys=keys)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    found = HostCertificates().process(done.stdout.splitlines())
    assert found == {files[0]: (keys[0], 256), files[1]: (keys[1], 3072), files[2]: ("", 256)}


def test_a_small_rsa_key_is_not_used_whatever_its_certificate(monkeypatch):
    class Host:
        def get_fact(self, fact, **arguments):
            return {"a": (ED25519, 256), "b": (RSA, 3072), "c": ("", 256)}

    monkeypatch.setattr(ssh, "host", Host())
    assert host_certificates({"hostcertificate": ["a", "b", "c"]}) == {"a": ED25519, "b": "", "c": ""}
    assert host_certificates({}) == {}
