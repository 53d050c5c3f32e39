"""What is read if the user names an application or a frontend."""

from __future__ import annotations

import pytest

from support.repositories import APP, PINNED, read, settings_of

KEY = "import os\nos.environ['{}']\n"
SEVERAL = {
    "main.py": f"from lib import app\n{KEY.format('TOP_API_KEY')}",
    "lib.py": "app = None\n",
    "api/main.py": f"{KEY.format('API_API_KEY')}{APP}",
    "shop/admin/main.py": f"{KEY.format('ADMIN_API_KEY')}{APP}",
    "shop/requirements.txt": PINNED,
    "shop/start/__init__.py": f"{KEY.format('START_API_KEY')}from unknown import server\n",
}


@pytest.mark.parametrize(
    ("answers", "secrets"),
    [
        ({}, ["API_API_KEY"]),
        ({"backend_source": "shop"}, ["ADMIN_API_KEY"]),
        ({"backend_source": "shop/admin", "backend_app": "main:app"}, ["ADMIN_API_KEY"]),
        ({"backend_source": "shop", "backend_app": "admin.main:app"}, ["ADMIN_API_KEY"]),
        ({"backend_app": "api.main:app"}, ["API_API_KEY"]),
        # Not found by the search.
        ({"backend_source": ".", "backend_app": "main:app"}, ["TOP_API_KEY"]),
        ({"backend_source": "shop", "backend_app": "start:server"}, ["START_API_KEY"]),
        ({"backend_app": "start:server"}, ["START_API_KEY"]),
        ({"backend_app": "shop.start:server()"}, ["START_API_KEY"]),
        # Not there.
        ({"backend_source": "shop", "backend_app": "other:app"}, None),
        ({"backend_source": "../elsewhere", "backend_app": "main:app"}, None),
        ({"backend_source": "../elsewhere"}, None),
        ({"backend_app": "other:app"}, None),
        ({"backend_app": "/etc/passwd:app"}, None),
    ],
)
def test_the_named_application_is_read(tmp_path, answers, secrets):
    found = {one.setting: one.value for one in read(tmp_path, SEVERAL, **answers).settings}
    assert found.get("backend_secrets") == secrets
    if secrets and "backend_source" not in answers and answers:
        target = answers["backend_app"].partition(":")[0].replace(".", "/")
        file = tmp_path / found["backend_source"] / target
        assert file.with_suffix(".py").exists() or (file / "__init__.py").exists()


@pytest.mark.parametrize(
    ("answers", "path", "list_of_packages"),
    [
        ({"backend_source": "."}, "server/src", "server/requirements.txt"),
        ({"backend_source": "server", "backend_app": "src.main:app"}, "src", None),
        ({"backend_source": "server/src"}, None, "../requirements.txt"),
    ],
)
def test_what_follows_is_of_the_named_folder(tmp_path, answers, path, list_of_packages):
    files = {"server/src/main.py": f"import lib\n{APP}", "server/src/lib.py": "", "server/requirements.txt": PINNED}
    found = settings_of(tmp_path, files, **answers)
    assert found.get("backend_environment", {}).get("PYTHONPATH") == path
    assert found.get("backend_requirements") == list_of_packages


def test_the_named_frontend_is_read(tmp_path):
    package = '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "6"}}'
    files = {"main.py": APP, "web/package.json": package, "admin/package.json": package}
    files |= {f"{name}/src/a.js": f"fetch(import.meta.env.VITE_{name.upper()}_API_URL)" for name in ("web", "admin")}
    assert "VITE_ADMIN_API_URL" in settings_of(tmp_path, files, frontend_source="admin")["frontend_build"]
    assert "VITE_WEB_API_URL" in settings_of(tmp_path, files)["frontend_build"]
