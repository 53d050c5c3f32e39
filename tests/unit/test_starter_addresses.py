"""Where a frontend's variables and handlers say that its API is."""

from __future__ import annotations

import json

import pytest

from support.repositories import APP, notes_of, settings_of

API = f"{APP}@app.get('/api/orders')\ndef orders(): ...\n@app.get('/api/me')\ndef me(): ...\n"


def package(tool: str, version: str = "1") -> str:
    return json.dumps({"scripts": {"build": "x build"}, "dependencies": {tool: version}})


VITE = {"web/package.json": package("vite"), "web/package-lock.json": "{}", "api/main.py": API}
NEXT = {"web/package.json": package("next", "15"), "web/package-lock.json": "{}", "api/main.py": API}


def build(top, files: dict[str, str]) -> str:
    """The command that builds the frontend."""
    found = settings_of(top, files, site_domain="shop.example.org")
    return found.get("frontend_build") or found.get("backend_build") or ""


def test_a_variable_of_a_rewrite_is_needed(tmp_path):
    config = (
        "if (!process.env.BACKEND_URL) { console.warn('none'); }\n"
        "module.exports = { rewrites: () => [{\n  source: '/api/:path*',\n"
        "  destination: `${process.env.BACKEND_URL}/api/:path*`,\n}] };\n"
    )
    files = {**NEXT, "web/next.config.js": config}
    assert " BACKEND_URL=https://shop.example.org npm run build" in build(tmp_path, files)


def test_a_public_variable_of_a_configuration_is_found(tmp_path):
    config = "export default { define: { API: JSON.stringify(process.env.VITE_API_URL) } };\n"
    assert " VITE_API_URL=https://shop.example.org npm run build" in build(
        tmp_path, {**VITE, "web/vite.config.js": config}
    )


@pytest.mark.parametrize(
    "config",
    [
        "export default { server: { proxy: { '/api': { target: process.env.VITE_API_URL } } } };\n",
        "export default { build: { outDir: process.env.BUILD_SERVER_URL } };\n",
        "export default { url: 'http://localhost:8000' };\n",
    ],
)
def test_what_only_a_configuration_uses_is_not_of_the_api(tmp_path, config):
    files = {**VITE, "web/vite.config.js": config}
    assert "_URL=" not in build(tmp_path, files)
    assert "localhost" not in notes_of(tmp_path, {})


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("new WebSocket(`wss://${import.meta.env.VITE_WS_BASE}/watch`)", "shop.example.org"),
        ("new WebSocket('wss://' + import.meta.env.VITE_SOCKET_URL + '/watch')", "shop.example.org"),
        ("connect(import.meta.env.VITE_API_HOST)", "shop.example.org"),
        ("fetch(`${import.meta.env.VITE_API_HOST}/orders`)", "https://shop.example.org"),
        ("connect(import.meta.env.VITE_API_HOST || 'localhost:8000')", "shop.example.org"),
        ("connect(import.meta.env.VITE_API_HOST || 'http://localhost:8000')", "https://shop.example.org"),
        ("new WebSocket(import.meta.env.VITE_WS_URL)", "wss://shop.example.org"),
    ],
)
def test_a_host_gets_no_scheme(tmp_path, code, value):
    assert f"={value} npm run build" in build(tmp_path, {**VITE, "web/src/main.js": code})


def test_what_falls_back_to_the_address_of_the_page_is_left_alone(tmp_path):
    code = "new WebSocket(`wss://${import.meta.env.VITE_API_HOST || window.location.host}/watch`)"
    assert "VITE_API_HOST" not in build(tmp_path, {**VITE, "web/src/main.js": code})


@pytest.mark.parametrize(("host", "is_local"), [("backend", True), ("other", False), ("api.example.net", False)])
def test_a_container_is_no_address_of_a_server(tmp_path, host, is_local):
    files = {
        **NEXT,
        "web/app/page.js": f"fetch(process.env.API_URL || 'http://{host}:8000')",
        "docker-compose.yml": "services:\n  backend:\n    build: api\n",
    }
    found = settings_of(tmp_path, files)
    assert (found["services"][0]["environment"].get("API_URL") == "https://{site_domain}") is is_local
    assert ("add API_URL=https://shop.example.org to backend_build" in notes_of(tmp_path, {}, site_domain="shop.example.org")) is not is_local  # fmt: skip


def test_an_address_without_a_path_needs_none(tmp_path):
    files = {
        **VITE,
        "web/src/main.js": "const base = 'http://localhost:8000'\nconst all = 'http://localhost:8000/api/orders'",
    }
    said = notes_of(tmp_path, files)
    assert "main.js:1: 'http://localhost:8000' is the visitor's own machine; use '' instead of it" in said
    assert "request '/api/orders'" in said


@pytest.mark.parametrize(
    ("tool", "handler", "path"),
    [
        ("next", "app/api/auth/[...all]/route.ts", "/api/auth/"),
        ("next", "src/app/(site)/api/env/route.js", "/api/env"),
        ("next", "pages/api/env.ts", "/api/env"),
        ("nuxt", "server/api/env.get.ts", "/api/env"),
    ],
)
def test_a_handler_below_a_path_of_the_backend_is_reported(tmp_path, tool, handler, path):
    files = {**NEXT, "web/package.json": package(tool, "15"), f"web/{handler}": "export const GET = () => null\n"}
    assert (
        f"web/{handler}: the frontend answers {path} itself, but backend_paths proxies /api/ to the backend; list the"
        " backend's own paths there: '/api/me/', '/api/orders/'"
    ) in notes_of(tmp_path, files)


def test_a_handler_beside_the_backend_s_paths_is_none_of_its_business(tmp_path):
    files = {**NEXT, "web/app/feed/route.ts": "export const GET = () => null\n"}
    assert "the frontend answers" not in notes_of(tmp_path, files)
