"""What an application needs beside what it lists: packages of Python that its code imports, and libraries of Debian."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from slipway.starter.reading.files import Place, Repository
from slipway.starter.reading.packages import Dependencies
from slipway.starter.reading.python import Module, argument, called, dotted_of
from slipway.starter.reading.values import Values

_WITH_BEANIE = ("beanie", "fastapi-users-db-beanie", "fastapi-users[beanie]")
_MONGO = ("pymongo", "motor", "odmantic", "mongoengine", "umongo", "fastapi-contrib", *_WITH_BEANIE)
_ALL = ("fastapi[all]", "fastapi[standard]")
_USERS = ("fastapi-users", "fastapi-users[beanie]", "fastapi-users-db-beanie")
# Modules that applications of this kind import, and the packages of which one brings each: the one to name first.
# A package that is in no list may come with another one, so that these are only those where that is known.
PROVIDERS = {
    "pymongo": _MONGO,
    "bson": _MONGO,
    "motor": ("motor", "odmantic", "umongo", "fastapi-contrib", *_WITH_BEANIE),
    "beanie": _WITH_BEANIE,
    "odmantic": ("odmantic",),
    "mongoengine": ("mongoengine",),
    "jose": ("python-jose",),
    "decouple": ("python-decouple",),
    "slowapi": ("slowapi",),
    "socketio": ("python-socketio", "fastapi-socketio"),
    "pydantic_settings": ("pydantic-settings", *_ALL),
    "dotenv": (
        *("python-dotenv", "uvicorn[standard]", "pydantic-settings", "pydantic[dotenv]", "environs", "fastapi-mail"),
        *_ALL,
    ),
    "passlib": ("passlib", *_USERS),
    "jwt": ("pyjwt", "jwt", "fastapi-jwt-auth", "async-fastapi-jwt-auth", "twilio", "msal", "firebase-admin", *_USERS),
    "jinja2": ("jinja2", "starlette[full]", "flask", "torch", "fastapi-mail", "jinja2-fragments", "sqladmin", *_ALL),
    "aiofiles": ("aiofiles", "starlette[full]", "fastapi-mail", "quart", *_ALL),
    "redis": (
        *("redis", "celery[redis]", "kombu[redis]", "arq", "rq", "redis-om", "fastapi-limiter"),
        *("fastapi-cache2[redis]", "aiocache[redis]", "dramatiq[redis]", "taskiq-redis", "saq"),
    ),
    "yaml": (
        *("pyyaml", "uvicorn[standard]", "dynaconf", "kubernetes", "transformers", "huggingface-hub", "langchain"),
        *("langchain-core", "langchain-community", "omegaconf", "sentence-transformers", "openapi-spec-validator"),
        *("pydantic-settings[yaml]", *_ALL),
    ),
    "dateutil": (
        *("python-dateutil", "pandas", "boto3", "botocore", "aioboto3", "celery", "arrow", "matplotlib", "croniter"),
        *("kubernetes", "freezegun", "fastapi-jwt-auth", "google-cloud-bigquery", "icalendar", "pendulum"),
    ),
}
# The same for what FastAPI and pydantic import themselves as soon as one of these names is used.
IMPLIED = {
    "OAuth2PasswordRequestForm": ("python-multipart", *_ALL),
    "UploadFile": ("python-multipart", *_ALL),
    "Form": ("python-multipart", *_ALL),
    "EmailStr": ("email-validator", "pydantic[email]", "fastapi-users", *_ALL),
}
# The wheel has its own of most libraries; a program of Debian's brings GLib, whose package has another name in 13.
OPENCV = "libgl1 libglib2.0-bin"
# What packages load or call of Debian, by names that Debian 12 and 13 have alike.
LIBRARIES = {
    "python-magic": "file",
    "weasyprint": "weasyprint",
    "pytesseract": "tesseract-ocr",
    "tesserocr": "tesseract-ocr",
    "ocrmypdf": "ocrmypdf",
    "pdf2image": "poppler-utils",
    "pydub": "ffmpeg",
    "ffmpeg-python": "ffmpeg",
    "python-ffmpeg": "ffmpeg",
    "ffmpeg-normalize": "ffmpeg",
    "openai-whisper": "ffmpeg",
    "whisper-timestamped": "ffmpeg",
    "whisperx": "ffmpeg",
    "stable-ts": "ffmpeg",
    "yt-dlp": "ffmpeg",
    "youtube-dl": "ffmpeg",
    "spleeter": "ffmpeg",
    "demucs": "ffmpeg",
    "sox": "sox",
    "phonemizer": "espeak-ng",
    "sounddevice": "libportaudio2",
    "pypandoc": "pandoc",
    "pyzbar": "zbar-tools",
    "pylibdmtx": "dmtx-utils",
    "cairosvg": "libcairo2",
    "cairocffi": "libcairo2",
    "wand": "imagemagick",
    "pyvips": "libvips-tools",
    "pyexiftool": "libimage-exiftool-perl",
    "graphviz": "graphviz",
    "pydot": "graphviz",
    "diagrams": "graphviz",
    "opencv-python": OPENCV,
    "opencv-contrib-python": OPENCV,
    "ultralytics": OPENCV,
    "deepface": OPENCV,
    "mediapipe": OPENCV,
    "lightgbm": "libgomp1",
    "pyodbc": "unixodbc",
    "pyenchant": "libenchant-2-2",
    "pysaml2": "xmlsec1",
    "python-gnupg": "gnupg",
    "gitpython": "git",
    "python-nmap": "nmap",
    "tabula-py": "default-jre-headless",
    "pyspark": "default-jre-headless",
}
# What Dockerfiles install for the same, by the name in LIBRARIES.
_BROUGHT = {
    "file": r"libmagic\d.*",
    "weasyprint": r"libpango.*|libcairo.*|libgdk-pixbuf.*|libharfbuzz.*|libffi\d.*|shared-mime-info",
    "tesseract-ocr": r"tesseract-ocr-eng|libtesseract\d.*|libleptonica\d.*",
    "ocrmypdf": r"tesseract-ocr(-eng)?|ghostscript",
    "poppler-utils": r"libpoppler.*",
    "ffmpeg": r"libav(codec|format|util|filter|device)\d.*|libavcodec-extra",
    "sox": r"libsox.*",
    "espeak-ng": r"espeak|libespeak.*",
    "libportaudio2": r"portaudio.*|libasound2.*",
    "zbar-tools": r"libzbar\d.*",
    "dmtx-utils": r"libdmtx\d.*",
    "libcairo2": r"libcairo.*",
    "imagemagick": r"libmagick.*",
    "libvips-tools": r"libvips\d.*",
    "libimage-exiftool-perl": r"exiftool",
    "libgl1": r"libgl1.*|libglx.*|libegl1.*|mesa-.*|libsm6|libxext6|libxrender1|libx11-6|libxcb1",
    "libglib2.0-bin": r"libglib2\.0.*",
    "unixodbc": r"odbcinst.*|libodbc.*",
    "libenchant-2-2": r"enchant-2|libenchant.*",
    "xmlsec1": r"libxmlsec1.*|libxml2",
    "default-jre-headless": r"default-jre|openjdk-.*",
}
# Programs that a setting for every system can't name, by the package that calls them.
_NOT_IN_13 = "wkhtmltopdf, which Debian 12 and Ubuntu have and Debian 13 has not: add it to extra_packages"
PROGRAMS = {
    "selenium": "a browser: add chromium and chromium-driver to extra_packages",
    "pdfkit": f"{_NOT_IN_13}, or use weasyprint",
    "imgkit": _NOT_IN_13,
}


def missing(
    repository: Repository, roots: list[str], modules: list[Module], listed: Dependencies
) -> Iterator[tuple[Place, str, str]]:
    """Where the code needs a package that no list has: the place, the name there, and the package."""
    prefixes, told = [f"{root}/" if root else "" for root in roots], set[str]()
    for module in modules:
        for place, head, name in _imports(module):
            is_own = any(repository.has(f"{one}{head}.py") or repository.is_folder(f"{one}{head}") for one in prefixes)
            providers = () if is_own else PROVIDERS.get(head, ())
            if head in ("fastapi", "pydantic") and name in IMPLIED and _is_used(name, module):
                providers = IMPLIED[name]
            if providers and not listed.names.intersection(providers) and providers[0] not in told:
                told.add(providers[0])
                yield place, name if name in IMPLIED else head, providers[0]


def fixed_keys(values: Values, modules: list[Module]) -> Iterator[Place]:
    """Where a key that signs tokens or sessions is a text in the code."""
    for node, scope in values.nodes(modules):
        if not isinstance(node, ast.Call):
            continue
        name, owner = called(node), dotted_of(node.func).rpartition(".")[0]
        if name in ("encode", "decode") and re.search(r"jwt|jws|jose", owner, re.IGNORECASE):
            key = argument(node, "key", 1) or argument(node, "secret")
        elif name in ("JWTStrategy", "add_middleware", "SessionMiddleware"):
            key = argument(node, "secret_key") or argument(node, "secret", 0 if name == "JWTStrategy" else None)
        else:
            continue
        match values.of(key, scope):
            case (str(text),) if text and "PUBLIC KEY" not in text:
                yield scope.module.place(node)


def libraries(listed: Dependencies) -> dict[str, str]:
    """Debian packages that the listed ones need, each with the name of one that does."""
    needed = sorted(listed.names & LIBRARIES.keys())
    return {debian: name for name in needed for debian in LIBRARIES[name].split()}


def brings(installed: Iterable[str], name: str) -> bool:
    """Whether one of the `installed` Debian packages is `name`, or brings it."""
    return any(one == name or re.fullmatch(_BROUGHT.get(one, "-"), name) for one in installed)


def _imports(module: Module) -> Iterator[tuple[Place, str, str]]:
    """Where a module imports something: the first part of where from, and the name, "" for a module as a whole."""
    for node in module.import_statements:
        if isinstance(node, ast.Import):
            yield from ((module.place(node), one.name.partition(".")[0], "") for one in node.names)
        elif not node.level and node.module:
            yield from ((module.place(node), node.module.partition(".")[0], one.name) for one in node.names)


def _is_used(name: str, module: Module) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(module.tree))
