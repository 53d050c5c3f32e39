"""The settings of this checkout have the values from when all of them were in group_data/all.py."""

from __future__ import annotations

from typing import Any

from slipway.settings.check import PYINFRA_NAMES, check
from slipway.settings.model import Settings

# Of nobody.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0cWoRVeYh0DsKwGWEekVb8yWCM2esirnFXXVeSC+KN nobody"
# What group_data/all.py said then. Only what is meant to change a server may change it here.
THEN: dict[str, Any] = {
    "site_name": "codementee",
    "site_domain": "codementee.io",
    "site_aliases": [],
    "sites": [],
    "timeout_scale": 1.0,
    "admin_user": "admin",
    "sshd_port": 22,
    "lockout_rollback_seconds": 60,
    "sshd_settings": {},
    "timezone": "Etc/UTC",
    "locale": "C.UTF-8",
    "swap_mb": 1024,
    "journal_max_mb": 500,
    "apt_lock_timeout": 300,
    "reboot_time": "04:00",
    "extra_packages": [],
    "firewall_allow": [],
    "firewall_ssh_from": [],
    "private_address": "",
    "fail2ban_ignore": [],
    "fail2ban_failures": 10,
    "fail2ban_minutes": 10,
    "mongodb_version": "7.0",
    "mongodb_apt_url": "https://repo.mongodb.org/apt",
    "mongodb_key_url": "https://pgp.mongodb.com/server-7.0.asc",
    "mongodb_key_fingerprint": "E58830201F7DD82CD808AA84160D26BB1785BA38",
    "mongodb_tools": True,
    "mongodb_bind": "127.0.0.1",
    "mongodb_port": 27017,
    "mongodb_cache_gb": 0,
    "mongodb_memory_max_mb": 0,
    "mongodb_tasks_max": 32000,
    "mongodb_database": "codementee",
    "mongodb_admin_user": "admin",
    "mongodb_backend_user": "backend",
    "backend_source": "examples/codementee/backend",
    "backend_app": "server:app",
    "backend_workers": 2,
    "backend_listen": "/run/codementee-backend.sock",
    "backend_paths": ["/api/"],
    "backend_health_path": "/api/health",
    "backend_health_status": 200,
    "backend_health_body": "",
    "backend_health_seconds": 60,
    "backend_environment": {},
    "backend_secrets": ["JWT_SECRET", "ADMIN_PASSWORD"],
    "secrets_file": "secrets/production.age",
    "backend_secrets_delivery": "environment",
    "shared_paths": [],
    "shared_files": [],
    "shared_urls": {},
    "adopt_without": [],
    "mongodb_data": "/var/lib/mongodb",
    "mongodb_replica_set": "rs0",
    "mongodb_member": "mongodb-1.internal",
    "mongodb_oplog_mb": 0,
    "mongodb_settings": {},
    "backend_memory_max_mb": 0,
    "backend_tasks_max": 512,
    "backend_requirements": "",
    "backend_build_packages": [],
    "python_indexes": {},
    "python_version": "",
    "python_mirror": "https://github.com/astral-sh/python-build-standalone/releases/download",
    "services": [],
    "generated_secrets": ["JWT_SECRET", "MONGODB_ADMIN_PASSWORD", "MONGODB_BACKEND_PASSWORD"],
    "secrets_recipients": [],
    "secrets_identity": "~/.config/slipway/identity.txt",
    "frontend_source": "examples/codementee/frontend",
    "frontend_build": "npm ci --no-audit --no-fund && npm run build",
    "frontend_output": "build",
    "frontend_build_on": "local",
    "frontend_assets": "/static/",
    "frontend_node": ">=18",
    "nginx_max_body_mb": 10,
    "nginx_backend_timeout": 60,
    "nginx_reload_drain_seconds": 3,
    "nginx_worker_connections": 16384,
    "nginx_logs_max_mb": 1000,
    "nginx_hsts_seconds": 15768000,
    "nginx_hsts_subdomains": False,
    "nginx_hsts_preload": False,
    "nginx_csp": "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "nginx_docs_paths": ["/docs", "/redoc", "/api/docs", "/api/redoc"],
    "nginx_login_path": "/api/auth/login",
    "nginx_login_rate_per_minute": 20,
    "tls_acme_server": "letsencrypt",
    "tls_authorities": "",
    "tls_email": "",
    "keep_releases": 5,
    "pre_activate": "",
    "post_activate": "",
    "release_hook_seconds": 300,
    "release_drain_seconds": 30,
    "release_worker_seconds": 2,
    "release_max_mb": 500,
}


def test_the_effective_settings_are_the_same_value_for_value(in_group_data, monkeypatch):
    # The repository has no file of secrets.
    monkeypatch.setenv("SLIPWAY_SECRET_ADMIN_PASSWORD", "correct horse")
    own = {"admin_keys": [PUBLIC_KEY]}
    settings = check({**in_group_data, **own})
    assert {name: getattr(settings, name) for name in {**THEN, **own}} == {**THEN, **own}


def test_all_py_holds_what_differs_from_the_defaults_and_nothing_else(in_group_data):
    own = {name: value for name, value in in_group_data.items() if name not in PYINFRA_NAMES}
    assert [name for name, value in own.items() if Settings.model_fields[name].get_default() == value] == []
    assert in_group_data["ssh_strict_host_key_checking"] == "yes"
