"""Settings of the backend."""

import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from slipway.dependencies import files, indexes
from slipway.project import path
from slipway.settings.routes import RoutePath, overlaps, route
from slipway.settings.types import (
    ALL,
    MIN_SERVICE_MB,
    AppTarget,
    Check,
    EnvName,
    EnvText,
    HealthPath,
    HealthStatus,
    HttpUrl,
    LocalFolder,
    MemoryLimit,
    PlainLine,
    RelativePath,
    Seconds,
    Section,
    Unit,
    Words,
    derived,
    is_ipv4,
    matching,
)


def is_listen_address(value: str) -> bool:
    address, _, port = value.rpartition(":")
    is_tcp = is_ipv4(address) and port.isdigit() and 1 <= int(port) <= 65535
    return is_tcp or bool(re.fullmatch(r"(/[\w.@-]+)+", value))


def index_secrets(given: object) -> list[str]:
    """The names of the secrets with the logins to python_indexes; none of them is required."""
    return [one for name in given for one in indexes.login_names(str(name))] if isinstance(given, dict) else []


def _is_below(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


SharedUrl = Annotated[str, matching(r"(/[\w-]+)+/", 'a URL path between slashes as "/uploads/"')]


class Backend(Section):
    """Backend"""

    per_site = ALL

    backend_source: LocalFolder
    """The FastAPI application, with a list of its dependencies: [releases.md](releases.md#dependencies)."""

    backend_requirements: Annotated[
        str, matching(r"([^\x00-\x1f/~][^\x00-\x1f]*)?", "a file's path, relative to backend_source")
    ] = ""
    """The file that lists the dependencies, relative to `backend_source`, such as `"requirements/production.txt"` or
    `"../uv.lock"`; `""` to find it."""

    backend_build: Annotated[str, matching(r".*", "a shell command")] = ""
    """A command that runs on your machine in `backend_source` before each release; what it writes to the folder
    `$OUTPUT` becomes a part of the backend's folder: `"go build -o $OUTPUT/search ../search"`
    ([sites.md](sites.md#a-server-for-the-pages))."""

    backend_build_packages: Annotated[
        list[Annotated[str, matching(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", 'a package\'s name as "cffi"')]],
        Words("list of package names"),
    ] = Field([])
    """Packages that are built from their source on the server, in a sandbox, as they have no wheel for it. All others
    are installed from wheels alone. What a build needs of Debian, name in `extra_packages`: `["gcc", "python3-dev"]`,
    for example."""

    python_indexes: Annotated[
        dict[
            Annotated[str, matching(r"[a-z][a-z0-9-]{0,30}", 'a short name as "company"')],
            HttpUrl,
        ],
        Words("dictionary of a name to an index's URL"),
    ] = Field({})
    """Package indexes that are asked before PyPI, such as `{"company": "https://pypi.example.org/simple"}`.
    Credentials are the [secrets](secrets.md) `UV_INDEX_COMPANY_USERNAME` and `UV_INDEX_COMPANY_PASSWORD`."""

    python_version: Annotated[str, matching(r"(3\.([89]|1[0-9]))?", 'a version of Python as "3.12"')] = ""
    """The Python that runs the backend; `""` for the system's. If it is another one, the server gets it from
    `python_mirror`."""

    python_mirror: HttpUrl = "https://github.com/astral-sh/python-build-standalone/releases/download"
    """Where the server gets the Python of `python_version`: a mirror of the releases of python-build-standalone, whose
    files uv checks by its own list of their hashes."""

    backend_app: AppTarget = "main:app"
    """What uvicorn runs: `"app.main:app"`, or with brackets a function that returns the application,
    `"app.main:create_app()"`."""

    backend_workers: Annotated[int, Field(ge=1, le=64), Unit("processes")] = 2
    """Number of uvicorn workers."""

    backend_listen: Annotated[
        str, Check(is_listen_address, 'a socket\'s absolute path, or address:port as "127.0.0.1:8001"')
    ] = derived("/run/{site_name}-backend.sock")
    """Where the backend is reached: the path of a link to its unix socket, or a TCP address. With TCP a release
    restarts the backend, and requests wait for a second or two."""

    backend_paths: list[RoutePath] = Field(["/api/"])
    """The URL paths that the backend answers: `"/api/"` is that path and all below it, `"= /users"` that path alone.
    `"/"` is whatever is no file of the frontend: then a path that neither knows gets the backend's answer, not the
    page. `"/api/ -> /"` passes `/api/users` on as `/users`. Without a frontend the backend answers everything else,
    too. FastAPI's own pages are `"/docs"`, `"/redoc"` and `"/openapi.json"`."""

    backend_health_path: HealthPath = "/api/health"
    """A path that answers when the backend and its database are well. `""`: any answer below 500 of `/` will do, which
    only shows that the backend runs. It is asked as a visitor would: with the site's host name, as by https."""

    backend_health_status: HealthStatus = 200
    """The HTTP status of a healthy answer; 0 for any below 500."""

    backend_health_body: PlainLine = ""
    """Text that a healthy answer contains; `""` for any."""

    backend_health_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """How long the backend may take to become healthy after a start."""

    backend_environment: Annotated[dict[EnvName, EnvText], Words("dictionary of variable name to text")] = Field({})
    """Environment variables of the backend. A value may name what Slipway knows, as in `{"MONGODB_URI": "{mongo_url}"}`
    ([names](secrets.md#values-that-name-a-secret)). Plans and the unit file show values, but none with a secret's name
    in it."""

    shared_paths: list[RelativePath] = Field([])
    """Folders, relative to the backend's, that the application writes to and that stay when a release changes, such as
    `["uploads", "data/logs"]`. Each is kept in `/var/www/SITE/shared/PATH`, and every release has a link to it. What
    the first release with such a path has there becomes its content; what later ones have there is left out."""

    shared_files: list[RelativePath] = Field([])
    """Files that stay, such as an SQLite database: `["app.db"]`. Each is kept in `/var/www/SITE/shared-files/PATH`,
    with those that the application makes beside it, a journal say."""

    shared_urls: Annotated[
        dict[SharedUrl, RelativePath], Words("dictionary of URL path to a folder of shared_paths, or one below it")
    ] = Field({})
    """What Nginx serves of the folders that stay, such as `{"/uploads/": "uploads"}`. Files of visitors are no part of
    the site: no script runs in them."""

    backend_memory_max_mb: MemoryLimit = 0
    """Memory limit of the backend with all its workers, as `mongodb_memory_max_mb`; 0 computes 4/10 of the memory. If
    the server runs out of memory, the kernel kills the backend before mongod."""

    backend_tasks_max: Annotated[int, Field(ge=16, le=100_000), Unit("processes and threads")] = 512
    """Maximum number of the backend's processes and threads. FastAPI uses up to 40 threads in each worker."""

    @field_validator("backend_requirements")
    @classmethod
    def _lists_dependencies(cls, value: str, info: ValidationInfo) -> str:
        if "backend_source" not in info.data:
            return value
        source = info.data["backend_source"]
        if value and not (path(source) / value).is_file():
            raise ValueError(f"a file, relative to backend_source ({source})")
        if not value and not files.is_there(path(source)):
            raise ValueError(
                f"the file that lists the dependencies: backend_source ({source}) has none of {files.EXPECTED}"
            )
        return value

    @field_validator("backend_paths")
    @classmethod
    def _each_once_a_path(cls, value: list[str]) -> list[str]:
        if problems := overlaps([(repr(text), text) for text in value], {}):
            raise ValueError(f"each path once; {'; '.join(problems)}")
        return value

    @field_validator("shared_paths", "shared_files")
    @classmethod
    def _not_in_each_other(cls, value: list[str], info: ValidationInfo) -> list[str]:
        known: list[str] = []
        for place in value:
            if place.partition("/")[0] == ".venv":
                raise ValueError("paths without .venv, which Slipway makes")
            folders = [*info.data.get("shared_paths", []), *known]
            if around := [one for one in folders if _is_below(place, one) or _is_below(one, place)]:
                raise ValueError(f"paths of which none is in another; found {around[0]!r} and {place!r}")
            known.append(place)
        return value

    @field_validator("shared_urls")
    @classmethod
    def _are_shared(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        folders = info.data.get("shared_paths", [])
        for place in value.values():
            if not any(_is_below(place, folder) for folder in folders):
                shared = ", ".join(folders) or "none"
                raise ValueError(f"folders of shared_paths ({shared}), or below one; found {place!r}")
        taken = {place: "the backend" for text in info.data.get("backend_paths", []) for place in route(text).locations}
        if problems := overlaps([("shared_urls", url) for url in value], taken):
            raise ValueError(f"a path of their own; {'; '.join(problems)}")
        return value

    @field_validator("backend_memory_max_mb")
    @classmethod
    def _enough_for_python(cls, value: int) -> int:
        if 0 < value < MIN_SERVICE_MB:
            raise ValueError(f"0, or at least {MIN_SERVICE_MB}")
        return value
