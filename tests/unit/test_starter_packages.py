"""The packages that an application needs, and the list that installs them."""

from __future__ import annotations

import pytest

from support.repositories import APP, notes_of, settings_of


@pytest.mark.parametrize(
    ("code", "listed", "package"),
    [
        ("from dotenv import load_dotenv", "uvicorn", "python-dotenv"),
        ("from dotenv import load_dotenv", "uvicorn[standard]", ""),
        ("from dotenv import load_dotenv", "uvicorn\npydantic_settings", ""),
        ("from passlib.context import CryptContext", "uvicorn", "passlib"),
        ("from passlib.context import CryptContext", "uvicorn\npasslib[bcrypt]==1.7.4", ""),
        ("import jwt", "uvicorn", "pyjwt"),
        ("import jwt", "uvicorn\nPyJWT", ""),
        ("import jinja2", "uvicorn", "jinja2"),
        ("import aiofiles", "uvicorn", "aiofiles"),
        ("import yaml", "uvicorn", "pyyaml"),
        ("import redis.asyncio", "uvicorn", "redis"),
        ("import redis", "uvicorn\ncelery[redis]", ""),
        ("from dateutil import parser", "uvicorn", "python-dateutil"),
        ("from dateutil import parser", "uvicorn\npandas", ""),
    ],
)
def test_a_usual_module_without_its_package_is_told(tmp_path, code, listed, package):
    files = {"main.py": f"{APP}{code}\n", "requirements.txt": f"fastapi\n{listed}\n"}
    found = [line for line in notes_of(tmp_path, files).splitlines() if " needs " in line]
    assert len(found) == bool(package)
    assert (f" needs {package}, which requirements.txt" in "".join(found)) is bool(package)


def test_a_list_that_a_document_names_in_backticks_is_found(tmp_path):
    start = "Run `pip install -r requirements/live.txt`, then `uvicorn main:app`.\n"
    files = {"main.py": APP, "requirements.txt": "x==1\n", "requirements/live.txt": "y==1\n", "README.md": start}
    assert settings_of(tmp_path, files)["backend_requirements"] == "requirements/live.txt"


def test_the_url_of_redis_is_valkeys_beside_celerys_own(tmp_path):
    code = (
        "import os\nfrom celery import Celery\nqueue = Celery('x', broker=os.environ['CELERY_BROKER_URL'])\n"
        "cache = os.environ['REDIS_URL']\n"
    )
    found = settings_of(tmp_path, {"main.py": f"import tasks\n{APP}", "tasks.py": code})
    assert found["backend_environment"] == {"CELERY_BROKER_URL": "{valkey_celery_url}", "REDIS_URL": "{valkey_url}"}
    assert "backend_secrets" not in found
    assert found["valkey"] is True


@pytest.mark.parametrize(
    ("file", "text", "build"),
    [
        ("web/Dockerfile", "FROM node\nRUN npm ci --legacy-peer-deps\n", "npm ci --legacy-peer-deps && npm run build"),
        ("README.md", "cd web && npm install --legacy-peer-deps\n", "npm ci --legacy-peer-deps && npm run build"),
        ("README.md", "npm install\nnpm install -g serve --force\n", None),
        ("other/part/README.md", "npm install --force\n", None),
    ],
)
def test_peer_dependencies_that_conflict_are_installed_as_the_project_does(tmp_path, file, text, build):
    listed = '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "6"}}'
    found = settings_of(
        tmp_path, {"main.py": APP, "web/package.json": listed, "web/package-lock.json": "{}", file: text}
    )
    expected = build and found["frontend_build"].replace(" --no-audit --no-fund", "")
    assert expected == build
    assert ("frontend_build" in found) is (build is not None)


@pytest.mark.parametrize(
    ("dockerfile", "files", "expected"),
    [
        ("RUN poetry install --only main\n", ["poetry.lock", "requirements.txt"], "poetry.lock"),
        ('RUN ["uv", "sync", "--frozen"]\n', ["poetry.lock", "uv.lock"], "uv.lock"),
        ("RUN pipenv install --system\n", ["Pipfile.lock", "requirements.txt"], "Pipfile.lock"),
        ("RUN pdm install --prod\n", ["pdm.lock", "requirements.txt"], "pdm.lock"),
        # The only one, one that is not there, and two answers.
        ("RUN poetry install\n", ["poetry.lock"], None),
        ("RUN uv sync\n", ["poetry.lock", "requirements.txt"], None),
        ("RUN poetry install\nRUN pip install -r requirements.txt\n", ["poetry.lock", "requirements.txt"], None),
    ],
)
def test_the_lock_that_a_dockerfile_installs_is_chosen_among_several(tmp_path, dockerfile, files, expected):
    texts = {name: '[[package]]\nname = "fastapi"\n' for name in files}
    texts |= {"main.py": APP, "Dockerfile": f"FROM x\n{dockerfile}CMD uvicorn main:app\n"}
    assert settings_of(tmp_path, texts).get("backend_requirements") == expected


@pytest.mark.parametrize(
    ("listed", "packages"),
    [
        ("openai-whisper", ["ffmpeg"]),
        ("yt_dlp\npydub", ["ffmpeg"]),
        ("pypandoc", ["pandoc"]),
        ("Wand", ["imagemagick"]),
        ("GitPython", ["git"]),
        ("opencv-python", ["libgl1", "libglib2.0-bin"]),
        # They bring what they need.
        ("pypandoc-binary\nopencv-python-headless\nimageio-ffmpeg\nfaster-whisper", None),
    ],
)
def test_what_packages_load_or_call_of_debian_is_installed(tmp_path, listed, packages):
    files = {"main.py": APP, "requirements.txt": f"fastapi\nuvicorn\n{listed}\n"}
    assert settings_of(tmp_path, files).get("extra_packages") == packages


@pytest.mark.parametrize("package", ["pdfkit", "imgkit"])
def test_a_program_that_not_every_release_has_is_told(tmp_path, package):
    files = {"main.py": APP, "requirements.txt": f"fastapi\nuvicorn\n{package}\n"}
    assert f"requirements.txt: {package} needs wkhtmltopdf, which Debian 12 and Ubuntu have" in notes_of(
        tmp_path, files
    )
    assert "extra_packages" not in settings_of(tmp_path, {})


IMAGE = "FROM python:3.12-slim\n{}\nCOPY . .\nCMD uvicorn main:app\n"


@pytest.mark.parametrize(
    ("lines", "listed"),
    [
        ("RUN apt-get update && apt-get install -y ffmpeg libmagic1 && rm -rf /var/lib/apt/lists/*", "ffmpeg, libmagic1"),
        ("RUN apt-get update \\\n # For pictures.\n && apt-get install -y --no-install-recommends \\\n    ffmpeg=7:5.1.* \\\n    # For maps.\n    libgeos-c1v5:amd64", "ffmpeg, libgeos-c1v5"),
        ("RUN apt install -t bookworm-backports -y ffmpeg", "ffmpeg"),
        ('RUN ["apt-get", "-qq", "install", "-y", "ffmpeg"]', "ffmpeg"),
        ("RUN <<EOF\napt-get install -y ffmpeg\npip install uvicorn\nEOF", "ffmpeg"),
        ("RUN apt-get install -y a1 b2 c3 d4 e5 f6 g7 h8 i9", "a1, b2, c3, d4, e5, f6, g7, h8, ..."),
        # Tools of the build and of people, and what a stage has that is not the last one's.
        ("RUN apt-get install -y gcc g++ build-essential libpq-dev python3-cffi libxml2 git curl ca-certificates $MORE", ""),
        ("FROM python AS build\nRUN apt-get install -y ffmpeg\nFROM python", ""),
        ("FROM python AS base\nRUN apt-get install -y ffmpeg\nFROM base", "ffmpeg"),
        ("# RUN apt-get install -y ffmpeg", ""),
    ],
)  # fmt: skip
def test_what_the_image_installs_with_apt_is_told(tmp_path, lines, listed):
    notes = notes_of(tmp_path, {"main.py": APP, "Dockerfile": IMAGE.format(lines)})
    assert ("with apt" in notes) is bool(listed)
    assert f": the image installs {listed} with apt; add to extra_packages" in notes or not listed


def test_what_extra_packages_bring_is_not_told_again(tmp_path):
    image = IMAGE.format("RUN apt-get install -y libgl1-mesa-glx libglib2.0-0 \\\n    ffmpeg libfoo1")
    files = {"main.py": APP, "Dockerfile": image, "requirements.txt": "fastapi\nuvicorn\nopencv-python\n"}
    assert "Dockerfile:2: the image installs ffmpeg, libfoo1 with apt" in notes_of(tmp_path, files)
    assert "with apt" not in notes_of(tmp_path, files, extra_packages=["libgl1", "libglib2.0-bin", "ffmpeg", "libfoo1"])
