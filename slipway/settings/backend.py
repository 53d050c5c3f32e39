"""Settings of the backend."""

import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from slipway.dependencies import files
from slipway.project import path
from slipway.settings.types import (
    ALL,
    MIN_SERVICE_MB,
    Check,
    EnvName,
    EnvText,
    HttpUrl,
    LocalFolder,
    MemoryLimit,
    PlainLine,
    Seconds,
    Section,
    Unit,
    UrlPath,
    Words,
    derived,
    is_ipv4,
    matching,
)


def is_listen_address(value: str) -> bool:
    address, _, port = value.rpartition(":")
    is_tcp = is_ipv4(address) and port.isdigit() and 1 <= int(port) <= 65535
    return is_tcp or bool(re.fullmatch(r"(/[\w.@-]+)+", value))


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

    backend_build_packages: Annotated[
        list[Annotated[str, matching(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", 'a package\'s name as "cffi"')]],
        Words("list of package names"),
    ] = Field([])
    """Packages that are built from their source on the server, in a sandbox, as they have no wheel for it. All others
    are installed from wheels alone. What a build needs of Debian, name in `extra_packages`: `["gcc", "python3-dev"]`,
    for example."""

    python_version: Annotated[str, matching(r"(3\.([89]|1[0-9]))?", 'a version of Python as "3.12"')] = ""
    """The Python that runs the backend; `""` for the system's. If it is another one, the server gets it from
    `python_mirror`."""

    python_mirror: HttpUrl = "https://github.com/astral-sh/python-build-standalone/releases/download"
    """Where the server gets the Python of `python_version`: a mirror of the releases of python-build-standalone, whose
    files uv checks by its own list of their hashes."""

    backend_app: Annotated[str, matching(r"[\w.]+:[\w.]+", 'module:attribute as "server:app"')] = "main:app"
    """What uvicorn runs."""

    backend_workers: Annotated[int, Field(ge=1, le=64), Unit("processes")] = 2
    """Number of uvicorn workers."""

    backend_listen: Annotated[
        str, Check(is_listen_address, 'a socket\'s absolute path, or address:port as "127.0.0.1:8001"')
    ] = derived("/run/{site_name}-backend.sock")
    """Where the backend is reached: the path of a link to its unix socket, or a TCP address. With TCP a release
    restarts the backend, and requests wait for a second or two."""

    backend_health_path: UrlPath = "/api/health"
    """A path that answers when the backend and its database are well."""

    backend_health_status: Annotated[int, Field(ge=200, le=599)] = 200
    """The HTTP status of a healthy answer."""

    backend_health_body: PlainLine = ""
    """Text that a healthy answer contains; `""` for any."""

    backend_health_seconds: Annotated[Seconds, Field(ge=1, le=3600)] = 60
    """How long the backend may take to become healthy after a start."""

    backend_environment: Annotated[dict[EnvName, EnvText], Words("dictionary of variable name to text")] = Field({})
    """Environment variables of the backend. A value may name what Slipway knows, as in `{"MONGODB_URI": "{mongo_url}"}`
    ([names](secrets.md#values-that-name-a-secret)). Plans and the unit file show values, but none with a secret's name
    in it."""

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

    @field_validator("backend_memory_max_mb")
    @classmethod
    def _enough_for_python(cls, value: int) -> int:
        if 0 < value < MIN_SERVICE_MB:
            raise ValueError(f"0, or at least {MIN_SERVICE_MB}")
        return value
