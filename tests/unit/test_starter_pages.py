"""Frontends whose pages a program makes, or whose files the backend serves itself."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from support.repositories import APP, notes_of, read, settings_of


def package(name: str, version: str = "1") -> str:
    return json.dumps({"scripts": {"build": "x build"}, "dependencies": {name: version}})


NEXT = {"web/package.json": package("next", "15"), "web/package-lock.json": "{}", "api/main.py": APP}
STANDALONE = (
    "cp -R .next/standalone $OUTPUT/web && cp -R .next/static $OUTPUT/web/.next/static"
    " && if [ -d public ]; then cp -R public $OUTPUT/web/; fi"
)


def test_a_server_that_makes_the_pages_becomes_a_service(tmp_path):
    found = settings_of(tmp_path, NEXT)
    assert found["frontend_source"] == ""
    assert found["backend_build"] == (
        "cd ../web && npm ci --no-audit --no-fund"
        f" && NEXT_PRIVATE_OUTPUT_TRACE_ROOT=$PWD NEXT_PRIVATE_STANDALONE=1 npm run build && {STANDALONE}"
    )
    assert found["services"] == [
        {
            **{"name": "web", "command": "node web/server.js", "listen": 3000, "path": "/"},
            # Without a request to the API, which the first release cannot answer yet.
            **{"health_path": "/favicon.ico", "health_status": 0},
            "environment": {"NODE_ENV": "production", "HOSTNAME": "127.0.0.1"},
            "secrets": [],
        }
    ]
    assert found["extra_packages"] == ["nodejs"]
    assert not {"frontend_build", "frontend_output", "frontend_assets"} & found.keys()


@pytest.mark.parametrize(
    ("files", "build", "command"),
    [
        (
            {"web/next.config.mjs": "export default { output: 'standalone' }"},
            "=$PWD npm run build",
            "node web/server.js",
        ),
        # In a workspace, whose lock is above, Next.js keeps the folders.
        (
            {"web/package-lock.json": None, "package-lock.json": "{}"},
            '="$(cd .. && pwd)" NEXT_PRIVATE_STANDALONE=1 npm run build',
            "node web/web/server.js",
        ),
        (
            {
                "web/package.json": package("@sveltejs/kit"),
                "web/svelte.config.js": "import a from '@sveltejs/adapter-node'",
            },
            "npm run build && mkdir $OUTPUT/web && cp -R build package.json package-lock.json $OUTPUT/web/"
            " && cd $OUTPUT/web && npm ci --omit=dev",
            "node web/build",
        ),
        (
            {
                "web/package.json": json.dumps(
                    {
                        "scripts": {"build": "react-router build"},
                        "dependencies": {"@react-router/serve": "7"},
                        "devDependencies": {"@react-router/dev": "7"},
                    }
                ),
                "web/package-lock.json": None,
                "web/pnpm-lock.yaml": "",
            },
            "cp -R build package.json pnpm-lock.yaml $OUTPUT/web/ && cd $OUTPUT/web && pnpm install --prod",
            "env --chdir=web node_modules/.bin/react-router-serve build/server/index.js",
        ),
        (
            {"web/package.json": '{"scripts": {"build": "nuxt build"}, "dependencies": {"nuxt": "^3"}}'},
            "npm run build && cp -R .output $OUTPUT/web",
            "node web/server/index.mjs",
        ),
    ],
)
def test_where_its_program_is(tmp_path, files, build, command):
    every = {name: text for name, text in {**NEXT, **files}.items() if text is not None}
    found = settings_of(tmp_path, every)
    assert build.replace("\\", "") in found["backend_build"]
    assert found["services"][0]["command"] == command


@pytest.mark.parametrize(
    "files",
    [
        {"web/next.config.js": "module.exports = { output: 'export' }"},
        {"web/package.json": '{"scripts": {"build": "nuxt generate"}, "dependencies": {"nuxt": "^3"}}'},
        {
            "web/package.json": '{"scripts": {"build": "nuxt build"}, "dependencies": {"nuxt": "^3"}}',
            "web/nuxt.config.ts": "export default defineNuxtConfig({ ssr: false })",
        },
    ],
)
def test_pages_that_are_files_need_no_server(tmp_path, files):
    found = settings_of(tmp_path, {**NEXT, **files})
    assert found["frontend_source"] == "web"
    assert not {"backend_build", "services", "extra_packages"} & found.keys()


def test_a_server_that_makes_pages_reads_where_the_api_is_too(tmp_path):
    page = "const url = process.env.API_URL ?? 'http://localhost:8000'; const own = process.env.NEXT_PUBLIC_API_URL;"
    found = settings_of(tmp_path, {**NEXT, "web/app/page.tsx": page}, site_domain="shop.example.org")
    its = "API_URL=https://shop.example.org NEXT_PUBLIC_API_URL=https://shop.example.org npm run build"
    assert its in found["backend_build"]
    environment = found["services"][0]["environment"]
    assert environment["API_URL"] == environment["NEXT_PUBLIC_API_URL"] == "https://{site_domain}"


def test_a_prefix_that_a_rewrite_of_next_strips_leads_to_the_backend(tmp_path):
    config = """
    module.exports = { async rewrites() { return [
        { source: '/api/:path*', destination: `${process.env.BACKEND}/:path*` },
    ] } }"""
    files = {"web/next.config.js": config, "api/main.py": f"{APP}@app.get('/users')\ndef f(): ...\n"}
    assert settings_of(tmp_path, {**NEXT, **files})["backend_paths"][0] == "/api/ -> /"


SERVING = """import os
from pathlib import Path
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
DIST = Path(__file__).parent.parent / "client" / "dist"
app = FastAPI()
app.mount("/assets", StaticFiles(directory=DIST / "assets"))
@app.get("/{path:path}")
def page(path: str):
    return FileResponse(DIST / "index.html")
"""
SERVED = {
    "server/main.py": SERVING,
    "server/requirements.txt": "fastapi\nuvicorn\n",
    "client/package.json": package("vite"),
    "client/package-lock.json": "{}",
}


def test_a_frontend_that_the_backend_serves_is_built_where_that_looks_for_it(tmp_path):
    found = settings_of(tmp_path, SERVED)
    assert (found["backend_source"], found["backend_app"], found["frontend_source"]) == (".", "main:app", "")
    assert found["backend_requirements"] == "server/requirements.txt"
    assert found["backend_environment"]["PYTHONPATH"] == "server"
    assert found["backend_build"] == (
        "cd client && npm ci --no-audit --no-fund && npm run build"
        " && mkdir -p $OUTPUT/client/dist && cp -R dist/. $OUTPUT/client/dist/"
    )
    assert not {"backend_paths", "frontend_build", "frontend_output", "shared_paths"} & found.keys()
    assert "serves" not in notes_of(tmp_path, SERVED)
    assert "matches any path" not in notes_of(tmp_path, SERVED)


def test_a_class_of_the_backends_own_that_serves_a_frontend_is_known_by_its_name(tmp_path):
    own = "class SPAStaticFiles(StaticFiles): ...\napp = FastAPI()\n"
    mount = 'app.mount("/", SPAStaticFiles(directory=DIST, html=True))\n'
    code = SERVING.partition('app.mount("/assets"')[0].replace("app = FastAPI()\n", own)
    found = settings_of(tmp_path, {**SERVED, "server/main.py": f"{code}{mount}"})
    assert found["frontend_source"] == ""
    assert "cp -R dist/. $OUTPUT/client/dist/" in found["backend_build"]


def test_a_build_that_is_written_into_the_backend_stays_there(tmp_path):
    files = {
        **SERVED,
        "server/main.py": SERVING.replace('.parent.parent / "client" / "dist"', '.parent / "static"'),
        "client/vite.config.ts": "export default { build: { outDir: '../server/static' } }",
    }
    found = settings_of(tmp_path, files)
    assert found["backend_source"] == "server"
    assert "PYTHONPATH" not in found.get("backend_environment", {})
    assert found["backend_build"] == (
        "cd ../client && npm ci --no-audit --no-fund && npm run build"
        " && mkdir -p $OUTPUT/static && cp -R ../server/static/. $OUTPUT/static/"
    )
    assert "shared_paths" not in found
    assert "the build is written to" not in notes_of(tmp_path, files)


@pytest.mark.parametrize(
    "code",
    [
        # It serves something else.
        SERVING.replace('"client" / "dist"', '"media"'),
        # It needs the folder that it is started in.
        f"from fastapi.templating import Jinja2Templates\npages = Jinja2Templates('pages')\n{SERVING}",
    ],
)
def test_any_other_frontend_is_served_by_nginx(tmp_path, code):
    found = settings_of(tmp_path, {**SERVED, "server/main.py": code})
    assert (found["backend_source"], found["frontend_source"]) == ("server", "client")
    assert "backend_build" not in found


BUILT = '<script type="module" src="/assets/index-Bx7Yz12a.js"></script>'
OWN = """from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
app = FastAPI()
@app.get("/api/books")
def books(): ...
"""
AT_ROOT = 'app.mount("/", StaticFiles(directory="pages", html=True))\n'
AT_PAGE = 'app.mount("/login", StaticFiles(directory="pages", html=True))\n'
ANY_NAME = '@app.get("/{name}")\ndef short(name: str): ...\n'
OWN_FILES: dict[str, str | bytes] = {
    "server/main.py": OWN + AT_PAGE + AT_ROOT,
    "server/requirements.txt": "fastapi\nuvicorn\n",
    "server/pages/index.html": BUILT,
    "server/pages/assets/index-Bx7Yz12a.js": "",
    "client/package.json": package("vite"),
    "client/package-lock.json": "{}",
}


@pytest.mark.parametrize(
    ("code", "place"),
    [
        (AT_PAGE + AT_ROOT, "server/main.py:7: the backend answers /login"),
        (ANY_NAME + AT_ROOT, "server/main.py:7: the backend answers /{name}"),
        (
            '@app.get("/login")\n@app.get("/")\ndef page():\n    return FileResponse("pages/index.html")\n',
            "server/main.py:7: the backend answers /login",
        ),
        (f'{AT_PAGE}@app.get("/{{path:path}}")\ndef page():\n    return FileResponse("pages/index.html")\n', "/login"),
    ],
)
def test_a_build_in_git_is_left_to_the_backend_that_serves_it_beside_more(tmp_path, code, place):
    files = {**OWN_FILES, "server/main.py": OWN + code}
    found = settings_of(tmp_path, files)
    assert (found["backend_source"], found["frontend_source"]) == ("server", "")
    assert not {"backend_paths", "backend_build", "frontend_build", "shared_paths"} & found.keys()
    notes = notes_of(tmp_path, files)
    assert place in notes
    assert "start over with slipway init --set frontend_source=client" in notes
    assert "matches any path" not in notes


def test_a_frontend_that_is_asked_for_is_built_nevertheless(tmp_path):
    read_again = read(tmp_path, OWN_FILES, frontend_source="client")
    found = {one.setting: one.value for one in read_again.settings}
    assert found["backend_paths"] == ["/api/", "/login/"]
    assert "backend_build" not in found


def test_a_build_in_git_that_is_served_at_the_top_alone_is_replaced(tmp_path):
    files = {**OWN_FILES, "server/main.py": OWN + AT_ROOT}
    assert settings_of(tmp_path, files)["frontend_source"] == "client"
    notes = notes_of(tmp_path, files)
    assert "server/main.py:7: serves server/pages, a build in git; Nginx serves a new one of client instead" in notes
    assert "/ goes to the frontend" not in notes


@pytest.mark.parametrize(
    "files",
    [
        # At a path of its own; a page that no tool built; one without its files; one that releases do not have.
        {"server/main.py": OWN + AT_PAGE},
        {"server/pages/index.html": '<script src="/assets/site.js"></script>', "server/pages/assets/site.js": ""},
        {"server/pages/index.html": BUILT.replace("Bx7Yz12a", "Cx7Yz12a")},
        {".gitignore": "pages/\n"},
        # No other one could be built.
        {"client/package.json": "{}"},
    ],
)
def test_other_pages_of_a_backend_change_nothing(tmp_path, files):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    read_here = read(tmp_path, {**OWN_FILES, **files})
    assert read_here.project.replaced is None
    assert "a build in git" not in notes_of(tmp_path, {})


def test_nuxt_is_told_where_the_api_is_while_it_runs(tmp_path):
    config = """export default defineNuxtConfig({ runtimeConfig: {
        internalUrl: process.env.INTERNAL ?? 'http://127.0.0.1:8000',
        public: { apiBase: "http://localhost:8000/api/", title: 'shop' },
    } })"""
    files = {"web/package.json": package("nuxt", "^3"), "web/nuxt.config.ts": config, "main.py": APP}
    assert settings_of(tmp_path, files)["services"][0]["environment"] == {
        "NODE_ENV": "production",
        "NUXT_INTERNAL_URL": "https://{site_domain}",
        "NUXT_PUBLIC_API_BASE": "https://{site_domain}/api",
    }


def test_folders_with_spaces_and_quotes_are_one_word_each_of_the_build(tmp_path):
    files = {name.replace("client/", "client's (new)/"): text for name, text in SERVED.items()}
    files["server/main.py"] = SERVING.replace('"client"', '"client\'s (new)"')
    words = shlex.split(settings_of(tmp_path, files)["backend_build"])
    assert words[:2] == ["cd", "client's (new)"]
    assert words[-1] == "$OUTPUT/client's (new)/dist/"


def test_what_else_a_server_of_pages_reads_is_reported(tmp_path):
    code = "export const a = { secret: process.env.AUTH_SECRET, id: process.env['GITHUB_ID'], dev: process.env.NODE_ENV, own: process.env.NEXT_PUBLIC_NAME, port: process.env.PORT ?? '3000', days: process.env.DAYS ?? '7' }"
    said = notes_of(tmp_path, {**NEXT, "web/src/auth.ts": code})
    assert "secrets" not in settings_of(tmp_path, {})["services"][0]
    assert "web/src/auth.ts:1: the server of the pages reads AUTH_SECRET, GITHUB_ID: set what it needs" in said
    files = {**NEXT, "web/src/auth.ts": code, "web/next.config.js": "module.exports = { output: 'export' }"}
    assert "reads AUTH_SECRET" not in notes_of(tmp_path / "static", files)


def test_another_folder_of_next_is_taken(tmp_path):
    found = settings_of(tmp_path, {**NEXT, "web/next.config.js": "module.exports = { distDir: './out/' }"})
    assert "cp -R out/standalone $OUTPUT/web && cp -R out/static $OUTPUT/web/out/static" in found["backend_build"]


@pytest.mark.parametrize(
    "code",
    [
        "import { env } from '$env/dynamic/private'\nconst api = env.API_URL ?? 'http://localhost:8000'",
        "import { env as own } from '$env/dynamic/private'\nconst api = own.API_URL || 'http://localhost:8000'",
        "import { API_URL } from '$env/static/private'",
    ],
)
def test_a_variable_of_sveltekit_s_server_is_set_for_its_build_and_the_service(tmp_path, code):
    files = {
        "web/package.json": package("@sveltejs/kit"),
        "web/package-lock.json": "{}",
        "web/svelte.config.js": "import a from '@sveltejs/adapter-node'",
        "web/src/routes/+page.server.js": code,
        "api/main.py": APP,
    }
    found = settings_of(tmp_path, files, site_domain="shop.example.org")
    assert " API_URL=https://shop.example.org npm run build" in found["backend_build"]
    assert found["services"][0]["environment"]["API_URL"] == "https://{site_domain}"
    assert found["services"][0]["health_path"] == "/_app/version.json"


@pytest.mark.parametrize(("version", "is_served"), [(10, True), (8, True), (6, False)])
def test_the_packages_of_a_pages_server_are_installed_by_the_yarn_of_the_lock(tmp_path, version, is_served):
    files = {
        "web/package.json": package("@sveltejs/kit"),
        "web/yarn.lock": f"__metadata:\n  version: {version}\n",
        "web/svelte.config.js": "import a from '@sveltejs/adapter-node'",
        "api/main.py": APP,
    }
    build = settings_of(tmp_path, files).get("backend_build", "")
    assert build.endswith(" && YARN_NODE_LINKER=node-modules yarn workspaces focus --all --production") is is_served
    assert ("yarn install --immutable" in build) is is_served
