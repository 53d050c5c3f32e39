"""Which application of a repository is found, and where it is imported from."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.starter.notes import next_steps
from support.repositories import APP, PINNED, make, notes_of, read, settings_of

FACTORY = "from fastapi import FastAPI\ndef create_app():\n    app = FastAPI()\n    return app\n"
TWO = {"one/main.py": APP, "two/main.py": APP, "one/requirements.txt": PINNED, "two/requirements.txt": PINNED}


def target(top: Path, files: dict[str, str | bytes]) -> tuple[str, str] | None:
    """The folder and the application that are found."""
    found = settings_of(top, files)
    return (found["backend_source"], found["backend_app"]) if "backend_app" in found else None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"main.py": APP}, (".", "main:app")),
        ({"app/main.py": APP, "app/__init__.py": "", "requirements.txt": ""}, (".", "app.main:app")),
        ({"backend/app/main.py": APP, "backend/requirements.txt": ""}, ("backend", "app.main:app")),
        ({"apps/api/server.py": APP, "apps/web/package.json": "{}"}, ("apps/api", "server:app")),
        ({"my api/main.py": APP}, ("my api", "main:app")),
        ({"main.py": "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n"}, (".", "main:api")),
        ({"main.py": "try:\n    from fastapi import FastAPI\n    app = FastAPI()\nfinally:\n    pass\n"}, (".", "main:app")),
        # A package that makes it in its __init__ is imported from above it.
        ({"shop/__init__.py": APP, "pyproject.toml": "[project]\ndependencies = []\n"}, (".", "shop:app")),
        # Its imports say where from.
        ({"src/shop/main.py": f"from shop import db\n{APP}", "src/shop/db.py": ""}, ("src", "shop.main:app")),
        ({"backend/main.py": f"from backend.db import x\n{APP}", "backend/db.py": "x = 1"}, (".", "backend.main:app")),
        ({"backend/main.py": f"from .db import x\n{APP}", "backend/db.py": "x = 1"}, (".", "backend.main:app")),
        ({"backend/main.py": f"from db import x\n{APP}", "backend/db.py": "x = 1"}, ("backend", "main:app")),
        # Factories.
        ({"app/main.py": FACTORY, "app/__init__.py": ""}, (".", "app.main:create_app()")),
        ({"app/main.py": FACTORY, "asgi.py": "from app.main import create_app\napp = create_app()\n"}, (".", "asgi:app")),
        ({"main.py": f"{FACTORY}app = create_app()\n"}, (".", "main:app")),
        ({"main.py": "from fastapi import FastAPI\ndef make(settings):\n    return FastAPI()\n"}, None),
        (
            {"main.py": "from fastapi import FastAPI\nclass Server:\n    def __init__(self):\n        self.app = FastAPI()\n"
             "app = Server().app\n"},
            (".", "main:app"),
        ),
        ({"main.py": "from fastapi import FastAPI\nclass Own(FastAPI):\n    pass\napp = Own()\n"}, (".", "main:app")),
        # What wraps another is the one that runs.
        (
            {"main.py": f"import socketio\n{APP}sio = socketio.AsyncServer()\nasgi = socketio.ASGIApp(sio, app)\n"
             "import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('main:asgi')\n"},
            (".", "main:asgi"),
        ),
        ({"main.py": "from pages import SPA\nfrom fastapi import FastAPI\napp = SPA(FastAPI(), 'dist')\n"}, (".", "main:app")),
        ({"main.py": "import fastapi\napp = add_pages(app=fastapi.FastAPI())\n", "run.py": "client = TestClient(FastAPI())\n"}, (".", "main:app")),
        # Not an application.
        ({"main.py": "from fastapi import FastAPI\nclient = TestClient(FastAPI())\nhandler = Mangum(FastAPI())\n"}, None),
        ({"main.py": "FastAPI = 1\n"}, None),
        ({"main.py": "# app = FastAPI()\n"}, None),
        ({"test_main.py": APP, "tests/main.py": APP, "conftest.py": APP}, None),
        ({"node_modules/x/main.py": APP, ".venv/main.py": APP}, None),
        ({"env/pyvenv.cfg": "", "env/lib/main.py": APP}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_an_application_is_found(tmp_path, files, expected):
    assert target(tmp_path, files) == expected


@pytest.mark.parametrize(
    "start",
    [
        {"Dockerfile": 'FROM python:3.12\nWORKDIR /app\nCMD ["uvicorn", "two.main:app", "--host", "0.0.0.0"]\n'},
        {"two/Dockerfile": 'CMD ["uvicorn", "main:app", "--port", "8000"]\n'},
        {"docker-compose.yml": "services:\n  api:\n    build: ./two\n    command: uvicorn two.main:app --reload\n"},
        {"Procfile": "web: gunicorn -k uvicorn.workers.UvicornWorker two.main:app\n"},
        {"start.sh": "exec uvicorn two.main:app \\\n  --port 8000\n"},
        {"Makefile": "run:\n\tuvicorn two.main:app --reload\n"},
        {"Dockerfile": 'CMD ["fastapi", "run", "two/main.py", "--port", "80"]\n'},
        {"README.md": "Run it:\n\n    uvicorn two.main:app --reload\n"},
        {"run.py": "import uvicorn\nuvicorn.run('two.main:app', port=8000)\n"},
        {"pyproject.toml": '[tool.fastapi]\nentrypoint = "two.main:app"\n'},
        # What runs in production counts before what people type.
        {"README.md": "uvicorn one.main:app\n", "Dockerfile": "CMD uvicorn two.main:app\n"},
        # One that is gone does not count.
        {"Procfile": "web: uvicorn old.server:app\n", "README.md": "`uvicorn two.main:app`\n"},
    ],
)
def test_of_two_the_one_that_is_started_is_taken(tmp_path, start):
    found = read(tmp_path, {**TWO, **start})
    assert found.project.backend
    assert found.project.backend.app.file == "two/main.py"
    assert "other applications" not in notes_of(tmp_path, {})


def test_of_two_without_a_start_both_are_reported(tmp_path):
    assert "other applications: main:app (two/main.py:2)" in notes_of(tmp_path, TWO)


def test_an_application_that_is_mounted_is_no_other_one(tmp_path):
    files = {"main.py": f"import admin\n{APP}app.mount('/admin', admin.app)\n", "admin.py": APP}
    assert "other applications" not in notes_of(tmp_path, files)


def test_a_start_may_name_a_module_that_only_imports_it(tmp_path):
    files = {"app/__init__.py": "from .main import app\n", "app/main.py": APP, "Procfile": "web: uvicorn app:app\n"}
    assert target(tmp_path, files) == (".", "app:app")


@pytest.mark.parametrize("folder", ["examples/hello", "scripts", "docs_src"])
def test_examples_come_last(tmp_path, folder):
    assert target(tmp_path, {f"{folder}/main.py": APP, "deep/in/a/service.py": APP}) == ("deep/in/a", "service:app")
    assert "looks like an example" in notes_of(tmp_path / "other", {f"{folder}/main.py": APP})


@pytest.mark.parametrize(
    "source",
    [
        f"\ufeff{APP}".encode(),
        APP.encode("utf-16"),
        f"# grün\n{APP}".encode("latin-1"),
        f"# -*- coding: cp1252 -*-\n# grün\n{APP}".encode("cp1252"),
        APP.replace("\n", "\r\n").encode(),
        APP.replace("\n", "\r").encode(),
        # A Python that is not this one.
        f"{APP}type Name[T] = list[T]\n".encode(),
        f"print 'started'\n{APP}".encode(),
        f"def f():\n    return t'x' f''' '''\n\n{APP}x = (\n".encode(),
    ],
)
def test_any_encoding_and_syntax_is_read(tmp_path, source):
    assert target(tmp_path, {"main.py": source}) == (".", "main:app")


def test_a_syntax_that_is_not_known_is_reported(tmp_path):
    assert "main.py:3: invalid syntax in Python 3.11" in notes_of(tmp_path, {"main.py": f"{APP}type Name = int\n"})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"api/requirements.txt": PINNED}, None),
        ({"api/uv.lock": '[[package]]\nname = "uvicorn"\n', "api/requirements.txt": PINNED}, None),
        ({"requirements.txt": PINNED}, "../requirements.txt"),
        ({"poetry.lock": '[[package]]\nname = "uvicorn"\n'}, "../poetry.lock"),
        ({"requirements/prod.txt": PINNED}, "../requirements/prod.txt"),
        # A pyproject.toml with the options of tools lists nothing.
        ({"api/pyproject.toml": "[tool.ruff]\n", "Pipfile.lock": "{}"}, "../Pipfile.lock"),
        ({"config/requirements.txt": PINNED}, "../config/requirements.txt"),
    ],
)
def test_the_list_of_packages_is_found(tmp_path, files, expected):
    found = read(tmp_path, {"api/main.py": f"import db\n{APP}", "api/db.py": "", **files})
    assert {one.setting: one.value for one in found.all_found}.get("backend_requirements") == expected


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("RUN pip install --no-cache-dir -r requirements/live.txt\n", "requirements/live.txt"),
        ("RUN pip install -r /srv/requirements/live.txt && rm -rf /x\n", "requirements/live.txt"),
        ("COPY ./requirements/live.txt /srv/all.txt\nRUN pip install \\\n  --requirement /srv/all.txt\n", "requirements/live.txt"),
        # The usual one, one for development, and one that does not exist.
        ("RUN pip install -r requirements.txt -r requirements/live.txt\n", None),
        ("RUN pip install -r requirements.txt\nRUN pip install -r requirements/live.txt\n", None),
        ("RUN pip install -r requirements/dev.txt\n", None),
        ("RUN pip install -r requirements/other.txt\n", None),
    ],
)  # fmt: skip
def test_the_list_that_a_dockerfile_installs_is_found(tmp_path, dockerfile, expected):
    lists = {name: PINNED for name in ("requirements.txt", "requirements/live.txt", "requirements/dev.txt")}
    files = {"main.py": APP, **lists, "Dockerfile": f"FROM python:3.11\n{dockerfile}CMD uvicorn main:app\n"}
    assert settings_of(tmp_path, files).get("backend_requirements") == expected


def test_a_lock_counts_more_than_the_list_that_a_dockerfile_installs(tmp_path):
    lock = '[[package]]\nname = "uvicorn"\n'
    files = {"main.py": APP, "uv.lock": lock, "live.txt": PINNED, "Dockerfile": "RUN pip install -r live.txt\n"}
    assert "backend_requirements" not in settings_of(tmp_path, files)


def test_a_list_for_production_beside_the_usual_one_is_reported(tmp_path):
    files = {"main.py": APP, "requirements.txt": PINNED, "requirements-prod.txt": PINNED}
    said = "requirements.txt: requirements-prod.txt is beside it; backend_requirements names the list to install"
    assert said in notes_of(tmp_path, files)
    files["Dockerfile"] = "RUN pip install -r requirements-prod.txt\n"
    assert "is beside it" not in notes_of(tmp_path / "named", files)


def test_a_dockerfile_in_a_hidden_folder_is_read_if_a_compose_file_names_it(tmp_path):
    files = {
        **TWO,
        "two/.docker-files/api/Dockerfile": "CMD uvicorn main:app\n",
        "compose.yaml": "services:\n  api:\n    build:\n      context: two\n      dockerfile: .docker-files/api/Dockerfile\n",
    }
    assert settings_of(tmp_path, files)["backend_source"] == "two"
    files["compose.yaml"] = "services: {api: {build: {context: ., dockerfile: /etc/Dockerfile}}, b: 1}\n"
    assert settings_of(tmp_path, files)["backend_source"] == "one"


def test_without_a_list_of_packages_or_uvicorn_it_is_reported(tmp_path):
    assert "main.py: no list of Python packages" in notes_of(tmp_path, {"main.py": APP})
    assert "requirements.txt: uvicorn is missing" in notes_of(tmp_path, {"requirements.txt": "fastapi\n"})
    for line in ("fastapi[standard]==0.1", "uvicorn[standard]", "Uvicorn == 0.30 ; python_version > '3'"):
        assert "uvicorn" not in notes_of(tmp_path, {"requirements.txt": f"{line}\n"})


@pytest.mark.parametrize(
    ("files", "series"),
    [
        ({".python-version": "3.12.4\n"}, "3.12"),
        ({"runtime.txt": "python-3.10.9\n"}, "3.10"),
        ({"Dockerfile": "FROM python:3.13-slim AS build\n"}, "3.13"),
        ({"api/Dockerfile": "ARG X=1\nFROM --platform=linux/amd64 docker.io/library/python:3.9\n"}, "3.9"),
        ({".tool-versions": "nodejs 20\npython 3.12.1\n"}, "3.12"),
        ({"Pipfile": '[requires]\npython_version = "3.8"\n'}, "3.8"),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.12"\n'}, "3.12"),
        ({"pyproject.toml": '[project]\nrequires-python = "==3.11.*"\n'}, "3.11"),
        # Debian's own will do.
        ({"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.9"\n'}, None),
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.9,<4"\n'}, None),
        # One that is named counts before a range.
        ({"pyproject.toml": '[project]\nrequires-python = ">=3.9"\n', ".python-version": "3.13"}, "3.13"),
        ({"Dockerfile": "FROM node:20\n"}, None),
    ],
)
def test_the_python_is_found(tmp_path, files, series):
    found = read(tmp_path, {"api/main.py": APP, **files}).all_found
    assert {one.setting: one.value for one in found}.get("python_version") == series


def test_an_application_can_be_chosen(tmp_path):
    make(tmp_path, TWO)
    assert read(tmp_path, {}, backend_source="two", backend_app="main:app").project.backend.app.file == "two/main.py"


def test_a_server_that_an_import_starts_is_reported_and_one_of_a_script_is_not(tmp_path):
    run = "import uvicorn\n{0}uvicorn.run(app)\n"
    assert "main.py:4: starts a server when it is imported" in notes_of(
        tmp_path / "a", {"main.py": APP + run.format("")}
    )
    guarded = run.format('if __name__ == "__main__":\n    ') + "def serve():\n    uvicorn.run(app)\n"
    assert "starts a server" not in notes_of(tmp_path / "b", {"main.py": APP + guarded})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def serve():\n    import uvicorn\n    uvicorn.run('main:app')\nserve()\n", "main.py:6: starts a server"),
        ("import time\nwhile True:\n    time.sleep(1)\n", "main.py:4: loops"),
        ("name = input('name? ')\n", "main.py:3: asks for input"),
        ("while True:\n    break\n", ""),
        ("def ask():\n    return input()\n", ""),
    ],
)
def test_an_import_that_does_not_return_is_reported(tmp_path, code, said):
    told = notes_of(tmp_path, {"main.py": APP + code})
    assert (said in told) if said else ("so that the import never returns" not in told)


def test_nothing_of_the_application_runs(tmp_path):
    """Its modules connect, write and wait when they are imported."""
    code = "import socket, time\nopen('written', 'w')\nsocket.create_connection(('192.0.2.1', 80))\ntime.sleep(999)\n"
    files = {"main.py": f"import config\n{APP}", "config.py": code, "setup.py": code, "conftest.py": code}
    assert settings_of(tmp_path, files)["backend_app"] == "main:app"
    assert not (tmp_path / "written").exists()


def test_an_application_in_a_module_named_setup_is_found_and_setuptools_own_is_none(tmp_path):
    files = {
        "app/main.py": "from app.core.setup import make\napp = make(1)\n",
        "app/core/setup.py": "from fastapi import FastAPI\ndef make(x):\n    app = FastAPI()\n    return app\n",
        "setup.py": f"from setuptools import setup\n{APP}",
    }
    assert target(tmp_path, files) == (".", "app.main:app")


INDEXES = {
    "requirements.txt": "-i https://me:pw@pypi.example.org/simple/\nfastapi\nuvicorn\n",
    "pyproject.toml": '[project]\ndependencies = []\n[[tool.uv.index]]\nname = "Our_Own"\n'
    'url = "https://pypi.example.org/simple"\n[[tool.poetry.source]]\nname = "PyPI"\npriority = "primary"\n',
    "Pipfile": '[[source]]\nurl = "https://${USER}:${TOKEN}@packages.example.com/simple"\nname = "1"\n'
    '[[source]]\nurl = "https://pypi.org/simple"\nname = "pypi"\n',
}


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("requirements.txt", {"example": "https://pypi.example.org/simple"}),
        ("pyproject.toml", {"our-own": "https://pypi.example.org/simple"}),
        ("Pipfile", {"example": "https://packages.example.com/simple"}),
    ],
)
def test_an_index_beside_pypi_becomes_a_setting_without_its_login(tmp_path, file, found):
    files = {"main.py": APP, file: INDEXES[file]}
    assert settings_of(tmp_path, files)["python_indexes"] == found
    (name,) = found
    names = f"UV_INDEX_{name.upper().replace('-', '_')}"
    (line,) = [one for one in notes_of(tmp_path, files).splitlines() if "UV_INDEX" in one]
    assert line.endswith(f"give the login to it, if it needs one, as the secrets {names}_USERNAME and {names}_PASSWORD")
    assert line.startswith(f"{file}:")
    assert "@" not in line


def test_pypi_alone_is_no_setting(tmp_path):
    files = {"main.py": APP, "requirements.txt": "--index-url https://pypi.org/simple\nfastapi\nuvicorn\n"}
    assert "python_indexes" not in settings_of(tmp_path, files)


@pytest.mark.parametrize(
    ("code", "listed", "told"),
    [
        (
            "from motor.motor_asyncio import AsyncIOMotorClient",
            "fastapi\nuvicorn",
            "main.py:3: motor needs motor, which",
        ),
        ("from motor.motor_asyncio import AsyncIOMotorClient", "fastapi\nuvicorn\nbeanie", ""),
        ("from jose import jwt", "fastapi\nuvicorn\n-r lists/all.txt", ""),
        ("import bson.json_util", "fastapi\nuvicorn\nmotor", ""),
        ("from jose import jwt", "fastapi\nuvicorn\nPython_Jose[cryptography]>=3", ""),
        ("from jose import jwt", "fastapi\nuvicorn\njose", "jose needs python-jose, which"),
        ("from pydantic import EmailStr\nx: EmailStr", "fastapi\nuvicorn", "EmailStr needs email-validator, which"),
        ("from pydantic import EmailStr\nx: EmailStr", "fastapi[all]\nuvicorn", ""),
        ("from fastapi import UploadFile\nx: UploadFile", "fastapi\nuvicorn", "UploadFile needs python-multipart"),
        ("from fastapi import UploadFile", "fastapi\nuvicorn", ""),
        ("from decouple import config", "fastapi\nuvicorn", ""),
    ],
)
def test_a_package_that_the_code_imports_and_no_list_has_is_told(tmp_path, code, listed, told):
    files = {"main.py": f"{APP}{code}\n", "requirements.txt": f"{listed}\n", "decouple.py": "config = str\n"}
    files["lists/all.txt"] = "-r ../requirements.txt\npython-jose\n"
    found = [line for line in notes_of(tmp_path, files).splitlines() if " needs " in line]
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_libraries_of_debian_that_packages_need_become_a_setting(tmp_path):
    files = {"main.py": APP, "requirements.txt": "fastapi\nuvicorn\npython-magic==0.4.27\npdf2image\n"}
    assert settings_of(tmp_path, files)["extra_packages"] == ["poppler-utils", "file"]
    assert "extra_packages" not in settings_of(tmp_path, {**files, "requirements.txt": "fastapi\nuvicorn\n"})


def test_an_application_that_a_factory_mounts_is_a_part_of_it(tmp_path):
    files = {
        "pyproject.toml": '[project]\nname = "inv"\ndependencies = ["fastapi", "uvicorn", "pymongo"]\n',
        "src/inv/__init__.py": "",
        "src/inv/web/__init__.py": "",
        "src/inv/web/api.py": "from fastapi import FastAPI\napi = FastAPI()\n@api.get('/things')\ndef things(): ...\n",
        "src/inv/web/server.py": "from fastapi import FastAPI\nfrom .api import api\ndef build():\n    app = FastAPI()\n    app.mount('/api', api)\n    return app\n",
    }
    found = settings_of(tmp_path, files)
    assert (found["backend_source"], found["backend_app"]) == ("src", "inv.web.server:build()")
    assert found["backend_requirements"] == "../pyproject.toml"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"requirements.txt": "fastapi\nuvicorn\n"}, "slipway lock"),
        ({"Pipfile": "[packages]\nfastapi = '*'\nuvicorn = '*'\n"}, "pipenv lock"),
        ({"pyproject.toml": "[tool.poetry.dependencies]\nfastapi = '*'\nuvicorn = '*'\n"}, "poetry lock"),
        ({"pyproject.toml": "[project]\ndependencies = ['fastapi', 'uvicorn']\n"}, "slipway lock"),
        ({"poetry.lock": "", "pyproject.toml": "[tool.poetry.dependencies]\n"}, None),
    ],
)
def test_what_locks_the_packages_is_a_step(tmp_path, files, command):
    steps = [name for name, _ in next_steps(read(tmp_path, {"main.py": APP, **files}), "host")]
    assert [name for name in steps if name.endswith(" lock")] == ([command] if command else [])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"api/application.py": "from fastapi import FastAPI\nclass Api(FastAPI):\n    def __init__(self):\n        super().__init__()\n"}, (".", "api.application:Api()")),
        ({"api/application.py": "from fastapi import FastAPI\nclass Api(FastAPI): ...\n", "main.py": "from api.application import Api\napp = Api()\n"}, (".", "main:app")),
        ({"api/application.py": "from fastapi import FastAPI\nclass Api(FastAPI):\n    def __init__(self, settings):\n        super().__init__()\n"}, None),
    ],
)  # fmt: skip
def test_a_class_of_fastapis_can_be_a_factory(tmp_path, files, expected):
    assert target(tmp_path, {"api/__init__.py": "", **files}) == expected


def test_a_list_that_no_lock_can_be_made_from_is_reported(tmp_path):
    files = {"main.py": APP, "environment.yml": "dependencies:\n  - fastapi\n  - uvicorn\n"}
    said = notes_of(tmp_path, files)
    assert "environment.yml: not a list that pip reads; write requirements.txt" in said
    assert "is missing" not in said
    assert not [name for name, _ in next_steps(read(tmp_path, {}), "host") if name.endswith(" lock")]


def test_a_path_of_windows_is_reported(tmp_path):
    said = notes_of(tmp_path, {"main.py": f"{APP}import os\nos.makedirs('static\\\\uploads')\n"})
    assert "main.py:4: writes to static\\uploads, a path of Windows; write it with /" in said
