"""Which paths and folders of a backend are found."""

from __future__ import annotations

import pytest

from support.repositories import APP, PINNED, notes_of, read, settings_of

WEB = {"web/package.json": '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "6"}}'}
ROUTER = "from fastapi import APIRouter\n"


def paths(top, code: str, **more: str) -> set[str]:
    """All paths that main.py answers."""
    found = read(top, {"main.py": f"{APP}{code}\n", **more})
    return {path for path, _ in found.project.backend.paths}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("@app.get('/a')\ndef a(): ...", {"/a"}),
        ("@app.api_route(path='/a', methods=['GET'])\nasync def a(): ...", {"/a"}),
        ("@app.websocket('/ws')\nasync def a(socket): ...", {"/ws"}),
        ("app.add_api_route('/a', print)", {"/a"}),
        (f"{ROUTER}r = APIRouter(prefix='/a')\n@r.get('/b')\ndef b(): ...\napp.include_router(r, prefix='/v1')", {"/v1/a/b"}),
        (f"{ROUTER}r = APIRouter(prefix='/a')\n@r.post('')\ndef b(): ...\napp.include_router(r)", {"/a"}),
        (f"{ROUTER}r = APIRouter()\n@r.get('/b')\ndef b(): ...\n", set()),
        (f"{ROUTER}P = '/api'\nr = APIRouter()\n@r.get('/b')\ndef b(): ...\napp.include_router(r, prefix=P + '/v2')", {"/api/v2/b"}),
        (f"{ROUTER}a, b = APIRouter(), APIRouter(prefix='/b')\nb = APIRouter(prefix='/b')\n@b.get('/c')\ndef c(): ...\n"
         "a = APIRouter(prefix='/a')\na.include_router(b)\napp.include_router(a)", {"/a/b/c"}),
        (f"{ROUTER}r = APIRouter(prefix='/a')\n@r.get('/b')\ndef b(): ...\nfor one in [r]:\n    app.include_router(one, prefix='/x')",
         {"/x/a/b"}),
        ("from library import users\napp.include_router(users.router(), prefix='/users')", {"/users"}),
        ("from fastapi.staticfiles import StaticFiles\napp.mount('/media', StaticFiles(directory='media'))", {"/media"}),
        ("other = FastAPI()\n@other.get('/b')\ndef b(): ...\napp.mount('/api', other)", {"/api/b"}),
        ("class Client: ...\nclient = Client()\nclient.get('/no')", set()),
    ],
)  # fmt: skip
def test_paths_are_read(tmp_path, code, expected):
    assert paths(tmp_path, code) == expected


def test_paths_are_read_across_modules(tmp_path):
    more = {
        "api/__init__.py": f"from . import users\n{ROUTER}router = APIRouter()\nrouter.include_router(users.router, prefix='/users')\n",
        "api/users.py": f"{ROUTER}router = APIRouter()\n@router.get('/{{id}}')\ndef get(id): ...\n",
        "config.py": "class Config:\n    PREFIX = '/api/v1'\nconfig = Config()\n",
    }
    code = "from api import router as all_of_it\nfrom config import config\napp.include_router(all_of_it, prefix=config.PREFIX)"
    assert paths(tmp_path, code, **more) == {"/api/v1/users/{id}"}


def test_paths_are_read_where_a_module_includes_routers_in_an_application_of_another_one(tmp_path):
    files = {
        "shop/app.py": APP,
        "shop/main.py": "from shop.app import app\nfrom shop import users\napp.include_router(users.router)\n",
        "shop/users.py": f"{ROUTER}router = APIRouter(prefix='/users')\n@router.get('/me')\ndef me(): ...\n",
        "Procfile": "web: uvicorn shop.main:app\n",
    }
    found = read(tmp_path, files).project.backend
    assert found.app.target == "shop.main:app"
    assert {path for path, _ in found.paths} == {"/users/me"}


def test_paths_of_a_factory_are_read(tmp_path):
    factory = (
        f"from fastapi import FastAPI\n{ROUTER}r = APIRouter()\n@r.get('/b')\ndef b(): ...\ndef routes(app):\n"
        "    app.include_router(r, prefix='/api')\ndef create_app():\n    app = FastAPI()\n    routes(app)\n    return app\n"
    )
    files = {"factory.py": factory, "main.py": "from factory import create_app\napp = create_app()\n"}
    found = read(tmp_path, files)
    assert found.project.backend.app.target == "main:app"
    assert [path for path, _ in found.project.backend.paths] == ["/api/b"]


def test_paths_of_routers_that_a_factory_is_given_are_read(tmp_path):
    code = (
        f"{ROUTER}one = APIRouter(prefix='/a')\n@one.get('/health')\ndef health(): ...\n"
        "def make(router, prefix):\n    made = FastAPI()\n    made.include_router(router, prefix=prefix)\n"
        "    return made\nservice = make(router=one, prefix='/v1')\n"
    )
    assert paths(tmp_path, code) == {"/v1/a/health"}


def test_a_router_in_the_place_of_its_module(tmp_path):
    more = {"users.py": f"{ROUTER}router = APIRouter(prefix='/u')\n@router.get('/b')\ndef b(): ...\n"}
    code = "import users\nROUTERS = [users]\nfor one in ROUTERS:\n    app.include_router(one.router)"
    assert paths(tmp_path, code, **more) == {"/u/b"}


def test_a_router_that_cannot_be_followed_is_reported(tmp_path):
    files = {"main.py": f"{APP}import plugins\nfor one in plugins.all():\n    app.include_router(one)\n", **WEB}
    assert "main.py:5: found a router that could not be followed" in notes_of(tmp_path, files)


def test_paths_of_a_description_count(tmp_path):
    assert "/items" in paths(tmp_path, "", **{"openapi.json": '{"openapi": "3.1.0", "paths": {"/items": {}}}'})
    assert paths(tmp_path, "", **{"openapi.json": "{"}) == set()


def test_a_root_path_is_in_front(tmp_path):
    code = "@app.get('/health')\ndef health(): ...\n"
    files = {"main.py": f"from fastapi import FastAPI\napp = FastAPI(root_path='/api')\n{code}", **WEB}
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["backend_paths"] == ["/api/"]
    assert rows["backend_health_path"] == "/api/health"


@pytest.mark.parametrize(
    ("name", "text", "is_stripped"),
    [
        ("requirements.txt", "fastapi==0.95.2\nuvicorn\n", True),
        ("requirements.txt", "uvicorn\nfastapi[all]==0.109.0\n", False),
        ("requirements.txt", "fastapi>=0.95.2\n", False),
        ("pyproject.toml", '[project]\ndependencies = [\n  "fastapi==0.108.0",\n]\n', True),
        ("pyproject.toml", '[tool.poetry.dependencies]\nfastapi = "^0.95"\n', True),
        ("poetry.lock", '[[package]]\nname = "fastapi"\nversion = "0.103.1"\n', True),
        ("Pipfile.lock", '{"default": {"fastapi": {"hashes": ["x"], "version": "==0.95.2"}}}', True),
    ],
)
def test_a_root_path_of_an_old_fastapi_is_stripped(tmp_path, name, text, is_stripped):
    code = "@app.get('/health')\ndef health(): ...\n@app.post('/login')\ndef login(): ...\n"
    files = {"main.py": f"from fastapi import FastAPI\napp = FastAPI(root_path='/api')\n{code}", name: text, **WEB}
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["backend_paths"] == (["/api/ -> /"] if is_stripped else ["/api/"])
    assert rows["backend_health_path"] == ("/health" if is_stripped else "/api/health")
    assert rows["nginx_login_path"] == "/api/login"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ({"/health": ""}, "/health"),
        ({"/api/v1/healthz": "", "/ping": ""}, "/api/v1/healthz"),
        ({"/ping": ""}, "/ping"),
        ({"/api/health-check/": ""}, "/api/health-check/"),
        ({"/admin/health": "user=Depends(get_current_user)"}, ""),
        ({"/users": "", "/healthy-food": ""}, ""),
        ({}, ""),
    ],
)
def test_the_health_path_is_found(tmp_path, routes, expected):
    code = "".join(f"@app.get('{path}')\ndef f{n}({args}): ...\n" for n, (path, args) in enumerate(routes.items()))
    rows = read(tmp_path, {"main.py": f"from fastapi import Depends\n{APP}{code}"}).all_found
    assert {one.setting: one.value for one in rows}["backend_health_path"] == expected


def test_a_router_that_asks_who_it_is_has_no_health_path(tmp_path):
    code = (
        f"{ROUTER}from fastapi import Depends\nr = APIRouter(dependencies=[Depends(verify_api_key)])\n@r.get('/health')\n"
        "def f(): ...\napp.include_router(r)\n"
    )
    rows = read(tmp_path, {"main.py": f"{APP}{code}"}).all_found
    assert {one.setting: one.value for one in rows}["backend_health_path"] == ""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"Dockerfile": "HEALTHCHECK --interval=5s \\\n  CMD curl -f http://localhost:8000/ok || exit 1\n"}, "/ok"),
        (
            {"compose.yaml": "services: {a: {healthcheck: {test: [CMD, curl, 'http://127.0.0.1:${PORT}/ok/']}}}\n"},
            "/ok",
        ),
        ({"compose.yaml": "services: {a: {healthcheck: {test: 'wget -q localhost/ok'}}}\n"}, ""),
        # Of another program, and one that needs a login.
        ({"Dockerfile": "HEALTHCHECK CMD curl http://localhost/other\n"}, ""),
        ({"Dockerfile": "HEALTHCHECK CMD curl http://localhost/own\n"}, ""),
        ({"Dockerfile": "CMD curl http://localhost/ok\n"}, ""),
    ],
)
def test_the_health_path_is_what_a_container_is_checked_by(tmp_path, files, expected):
    code = f"{APP}@app.get('/ok')\ndef f(): ...\n@app.get('/own')\ndef g(user=Depends(current_user)): ...\n"
    assert settings_of(tmp_path, {"main.py": code, **files})["backend_health_path"] == expected


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ("", ('"/docs", "/redoc", "/openapi.json",  # FastAPI\'s own pages, made public',)),
        ("docs_url='/pages', redoc_url=None", ('"/pages", "/openapi.json",  # FastAPI\'s own pages, made public',)),
        ("docs_url='/api/docs', openapi_url='/api/openapi.json'", ('"/redoc",  # FastAPI\'s own pages, made public',)),
        ("openapi_url=None", ()),
    ],
)
def test_fastapis_own_pages_are_named_where_they_are(tmp_path, options, more):
    code = f"from fastapi import FastAPI\napp = FastAPI({options})\n@app.get('/api/a')\ndef f(): ...\n"
    rows = read(tmp_path, {"main.py": code, **WEB}).all_found
    assert next(one for one in rows if one.setting == "backend_paths").more == more


def test_the_login_is_found(tmp_path):
    code = "@app.post('/auth/refresh-token')\ndef r(): ...\n@app.post('/auth/token')\ndef t(form: OAuth2PasswordRequestForm): ...\n"
    assert settings_of(tmp_path, {"main.py": f"{APP}{code}"})["nginx_login_path"] == "/auth/token"


def test_paths_beside_a_frontend_are_the_backends_by_their_first_part(tmp_path):
    code = "".join(
        f"@app.get('{path}')\ndef f(): ...\n" for path in ("/users", "/users/{id}", "/api/a", "/", "/{slug}")
    )
    files = {"main.py": f"{APP}{code}", **WEB}
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["backend_paths"] == ["/api/", "/users/"]
    said = notes_of(tmp_path, {})
    assert "main.py:11: /{slug} matches any path, but unknown paths go to the frontend" in said
    assert "main.py:9: / goes to the frontend" in said


def test_without_a_frontend_all_paths_are_the_backends(tmp_path):
    rows = [one.setting for one in read(tmp_path, {"main.py": f"{APP}@app.get('/users')\ndef f(): ...\n"}).all_found]
    assert "backend_paths" not in rows


@pytest.mark.parametrize(
    "proxy",
    [
        {"web/vite.config.ts": "server: { proxy: { '/api': { target: 'http://localhost:8000', rewrite: (p) => p.replace(/^\\/api/, '') } } }"},
        {"nginx.conf": "location /api/ {\n  proxy_set_header X y;\n  proxy_pass http://backend:8000/;\n}\n"},
    ],
)  # fmt: skip
def test_a_prefix_that_a_proxy_takes_off_is_taken_off(tmp_path, proxy):
    files = {"main.py": f"{APP}@app.post('/login')\ndef f(): ...\n", **WEB, **proxy}
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["backend_paths"] == ["/api/ -> /"]
    assert rows["nginx_login_path"] == "/api/login"


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "https://DOMAIN/api"),
        ({".env.production.example": 'VITE_API_URL="/api"\n'}, "https://DOMAIN/api"),
        ({"web/src/list.js": "fetch(`${import.meta.env.VITE_API_URL}/api/notes`)\n"}, "https://DOMAIN"),
    ],
)
def test_the_address_of_an_api_has_the_prefix_that_a_proxy_takes_off(tmp_path, more, url):
    files = {
        "main.py": f"{APP}@app.post('/login')\ndef f(): ...\n",
        "nginx.conf": "location /api/ {\n  proxy_pass http://backend:8000/;\n}\n",
        "web/src/main.js": "const api = import.meta.env.VITE_API_URL\n",
        **WEB,
        **more,
    }
    assert f" VITE_API_URL={url} " in settings_of(tmp_path, files)["frontend_build"]


def test_a_proxy_that_leaves_the_prefix_changes_nothing(tmp_path):
    files = {
        "main.py": f"{APP}@app.get('/api/a')\ndef f(): ...\n",
        "nginx.conf": "location /api/ { proxy_pass http://backend:8000; }\n",
        **WEB,
    }
    assert settings_of(tmp_path, files).get("backend_paths", ["/api/"]) == ["/api/"]


@pytest.mark.parametrize(
    ("code", "folders"),
    [
        ("os.makedirs('uploads', exist_ok=True)", ["uploads"]),
        ("Path('data/uploads').mkdir(parents=True)", ["data/uploads"]),
        ("open(f'uploads/{name}', 'wb')", ["uploads"]),
        ("DIR = 'uploads'\nopen(os.path.join(DIR, name), mode='wb')", ["uploads"]),
        ("DIR = Path(__file__).resolve().parent / 'uploads'\n(DIR / name).write_bytes(b'')", ["uploads"]),
        ("DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'uploads')\nos.mkdir(DIR)", ["uploads"]),
        ("DIR = os.getenv('UPLOADS', './uploads')\nos.makedirs(DIR)", ["uploads"]),
        ("import aiofiles\nasync def f(name):\n    async with aiofiles.open(f'uploads/{name}', 'wb') as x: ...", ["uploads"]),
        ("import logging\nlogging.FileHandler('logs/app.log')", ["logs"]),
        ("from logging.handlers import RotatingFileHandler\nRotatingFileHandler(filename='logs/app.log')", ["logs"]),
        ("from loguru import logger\nlogger.add('logs/app.log')", ["logs"]),
        (
            "@dataclass\nclass C:\n    d: str = field(default_factory=lambda: os.getenv('DIR', './uploads'))\nc = C()\nos.makedirs(c.d)",
            ["uploads"],
        ),
        (
            "class C(BaseSettings):\n    d: Path = Field(default_factory=lambda: Path('uploads'))\nc = C()\nc.d.mkdir()",
            ["uploads"],
        ),
        ("os.makedirs('a/b')\nos.makedirs('a')", ["a"]),
        ("from fastapi.staticfiles import StaticFiles\napp.mount('/m', StaticFiles(directory='media'))", ["media"]),
        # Nothing stays of these.
        ("open('data.json')\nopen('x/data.json', 'r')", None),
        ("open('/tmp/x', 'w')\nos.makedirs('/tmp/y')", None),
        ("os.makedirs(name)", None),
        ("from fastapi.staticfiles import StaticFiles\napp.mount('/s', StaticFiles(directory='static'))", None),
    ],
)  # fmt: skip
def test_folders_that_stay_are_found(tmp_path, code, folders):
    files = {
        "main.py": f"import os\nfrom pathlib import Path\n{APP}{code}\n",
        "static/style.css": "",
        "requirements.txt": PINNED,
    }
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows.get("shared_paths") == folders


def test_a_file_in_the_backends_own_folder_stays(tmp_path):
    rows = read(tmp_path, {"main.py": f"{APP}import logging\nlogging.FileHandler('app.log')\n"}).all_found
    assert {one.setting: one.value for one in rows}["shared_files"] == ["app.log"]


def test_a_folder_of_code_is_not_shared(tmp_path):
    files = {
        "main.py": f"import log.setup\n{APP}",
        "log/setup.py": "import logging\nlogging.FileHandler('log/app.log')\n",
    }
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert "shared_paths" not in rows
    assert rows["shared_files"] == ["log/app.log"]
    assert "log/setup.py:2: writes to log, which contains code" in notes_of(tmp_path, {})


def test_a_folder_of_a_container_becomes_one_that_stays(tmp_path):
    files = {"main.py": f"import os\n{APP}os.makedirs(os.getenv('UPLOAD_DIR', '/app/uploads'))\n"}
    rows = {one.setting: one.value for one in read(tmp_path, files).all_found}
    assert rows["shared_paths"] == ["uploads"]
    assert rows["backend_environment"] == {"UPLOAD_DIR": "uploads"}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.makedirs('/app/uploads')", "writes to /app/uploads, which the server does not have"),
        ("os.makedirs('../uploads')", "writes to ../uploads, outside of backend_source"),
        ("open('static/x', 'w')", "writes to static, which has files in git"),
        ("from fastapi.staticfiles import StaticFiles\napp.mount('/', StaticFiles(directory='../web/dist'))", "serves ../web/dist"),
    ],
)  # fmt: skip
def test_what_cannot_stay_is_reported(tmp_path, code, said):
    assert said in notes_of(tmp_path, {"main.py": f"import os\n{APP}{code}\n", "static/style.css": ""})


@pytest.mark.parametrize(
    ("code", "workers"),
    [
        ("@app.websocket('/ws')\nasync def f(s): ...", 1),
        ("from apscheduler.schedulers.asyncio import AsyncIOScheduler\nAsyncIOScheduler()", 1),
        ("import redis\n@app.websocket('/ws')\nasync def f(s): ...", None),
        ("", None),
    ],
)
def test_what_works_in_one_process_gets_one(tmp_path, code, workers):
    assert settings_of(tmp_path, {"main.py": f"{APP}{code}\n"}).get("backend_workers") == workers


def test_socket_io_is_passed_on(tmp_path):
    code = "import socketio\nsio = socketio.AsyncServer()\napp = socketio.ASGIApp(sio, app)\n"
    assert "/socket.io/" in paths(tmp_path, code)


FACTORY = "from fastapi import FastAPI\ndef create_app():\n    app = FastAPI({})\n    return app\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("docs_url='/v1/docs', redoc_url=None", ["/v1/docs"]),
        ("docs_url='/v1/docs', root_path='/api/', redoc_url='/v1/redoc'", ["/api/v1/docs", "/api/v1/redoc"]),
        ("docs_url='/docs'", None),
        ("docs_url=None", None),
        ("docs_url='/api/docs', redoc_url='/r'", ["/api/docs", "/r"]),
    ],
)
def test_where_fastapis_pages_are_is_found_if_it_is_not_the_usual_place(tmp_path, options, expected):
    for number, code in enumerate(
        (f"from fastapi import FastAPI\napp = FastAPI({options})\n", FACTORY.format(options))
    ):
        found = settings_of(tmp_path / str(number), {"main.py": code})
        assert found.get("nginx_docs_paths") == expected


def test_a_wrapped_application_has_its_paths_and_its_pages(tmp_path):
    code = "app = Pages(FastAPI(root_path='/v1', docs_url='/help'), 'dist')\n@app.get('/a')\ndef a(): ...\n"
    found = read(tmp_path, {"main.py": f"from fastapi import FastAPI\n{code}"}).project.backend
    assert [path for path, _ in found.paths] == ["/v1/a"]
    assert [one.path for one in found.routes.docs] == ["/help", "/redoc"]
