"""Unchanged projects are deployed with nothing but what `slipway init` writes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from slipway.dependencies import uv
from slipway.lab import network
from slipway.settings.hashed_names import has_hash
from slipway.site import Site
from support import python_builds, typed
from support.lab_host import TIMEOUT, LabHost, Running
from support.package_index import PackageIndex
from support.projects import copied
from support.waiting import wait_until

COMMIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "all")


@dataclass
class Project:
    """A project's repository, and the folder of Slipway's files in it."""

    server: LabHost
    top: Path
    # The lab has a name for each.
    domain: str = ""
    # Further settings that the lab has its own of.
    settings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.top / "deploy" if (self.top / "deploy/group_data").is_dir() else self.top

    @property
    def data(self) -> list[str]:
        """The options with the project's settings for the lab."""
        return [word for one in (f"site_domain={self.domain}", *self.settings) for word in ("--data", one)]

    def tried(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `slipway ARGUMENTS` in the project, whatever its exit code."""
        folder = self.top if arguments[0] == "init" else self.folder
        named = self.data if "lab" in arguments else []
        return typed.slipway(*arguments, *named, cwd=folder, env=self.server.env, limit=TIMEOUT)

    def running(self, *arguments: str) -> Running:
        """Start `slipway ARGUMENTS` in the project and go on."""
        return Running([sys.executable, "-m", "slipway", *arguments, *self.data], self.server.env, self.folder)

    def slipway(self, *arguments: str) -> str:
        """What `slipway ARGUMENTS` prints in the project; it must succeed."""
        done = self.tried(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, *options: str) -> Site:
        """As a user does: init with these options, lock if required, apply."""
        self.domain = f"{name}.{self.server.site().domain}"
        self.server.resolve(self.domain)
        for command in (("git", "init", "-q"), ("git", "add", "-A"), COMMIT):
            subprocess.run(command, cwd=self.top, check=True)
        said = self.slipway("init", "--yes", "--set", f"site_domain={name}.example.org", *options)
        if "slipway lock " in said:
            self.slipway("lock", "lab")
        self.slipway("apply", "lab", "--yes")
        # An exit code of 2 would mean pending changes.
        self.slipway("plan", "lab")
        return self.server.site(self.domain)

    def change(self, version: str) -> None:
        """Change the version that backend and page show."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=self.top, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            text = (self.top / name).read_bytes()
            if shown := re.search(rb'VERSION = "1"|\bpage 1\b', text):
                changed = shown[0].replace(b"1", version.encode())
                (self.top / name).write_bytes(text.replace(shown[0], changed))


def use_and_release(
    project: Project, site: Site, notes: str = "/notes", health: str = "/health", page: str = ""
) -> None:
    """Page, API and the documents in the database, over a release and a rollback."""

    def shows(version: str) -> None:
        assert site.get(health).json()["version"] == version
        if page:
            assert f"page {version}" in site.get(page).text

    shows("1")
    # Another project on the host may have the same database.
    before = site.get(notes).json()
    assert site.post(f"{notes}/first").status_code == 200
    project.change("2")
    project.slipway("release", "lab", "--yes")
    shows("2")
    assert site.post(f"{notes}/second").status_code == 200
    project.slipway("rollback", "lab", "--yes")
    shows("1")
    assert site.get(notes).json() == [*before, "first", "second"]


def test_an_application_that_composes_its_database_url_from_parts(server: LabHost, tmp_path: Path) -> None:
    """Without an authSource; its signing key is generated on the server."""
    project = Project(server, copied("parts", tmp_path))
    site = project.start("parts")
    assert site.get("/health").json() == {"version": "1", "key": "set"}
    use_and_release(project, site, "/api/v1/notes")
    # Its own deploy.py is plain pyinfra and describes no server of Slipway's.
    (project.folder / "deploy.py").write_text(
        'from pyinfra.operations import server\nserver.shell(commands=["true"])\n'
    )
    planned = project.tried("plan", "lab")
    assert planned.returncode == 1
    assert planned.stderr.startswith("slipway: deploy.py: found no components, expected a call as server(")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("host alone", ("/notes", "/healthz")),
        ("appended-url", ("/notes", "/status")),
        ("own-folders", ("/notes", "/health", "/")),
        ("served-by-api", ("/api/notes", "/api/health", "/")),
        ("vite-like", ("/backend/notes", "/backend/health", "/")),
    ],
)
def test_a_project_is_deployed_by_what_init_writes(
    server: LabHost, tmp_path: Path, name: str, paths: tuple[str, ...]
) -> None:
    project = Project(server, copied(name, tmp_path))
    use_and_release(project, project.start(name.replace(" ", "-")), *paths)


@pytest.mark.thorough
def test_a_factory_below_src_with_nested_settings_is_deployed_with_its_own_pages(
    server: LabHost, tmp_path: Path
) -> None:
    project = Project(server, copied("src-factory", tmp_path))
    site = project.start("nested")
    docs = site.get("/v1/docs")
    assert docs.status_code == 200
    assert "https://cdn.jsdelivr.net" in docs.headers["Content-Security-Policy"]
    use_and_release(project, site, "/v1/notes", "/healthz")


BOTH = """
backend_source = "services"
backend_requirements = "auth/requirements.txt"
backend_paths = ["/api/auth/"]
backend_environment["PYTHONPATH"] = "auth"
services = [
    {
        "name": "catalog",
        "app": "app.main:app",
        "path": "/api/catalog/",
        "health_path": "/api/catalog/health",
        "environment": {"PYTHONPATH": "catalog"},
    }
]
"""


@pytest.mark.thorough
def test_two_backends_of_a_repository_are_a_site_as_the_documentation_says(server: LabHost, tmp_path: Path) -> None:
    project = Project(server, copied("two-backends", tmp_path))
    for name in ("auth", "catalog"):
        (project.top / f"services/{name}/requirements.txt").write_text("fastapi\nuvicorn\npymongo\n")
    site = project.start("two")
    use_and_release(project, site, "/api/auth/notes", "/api/auth/health")
    assert site.get("/api/catalog/health").status_code == 404
    settings = project.folder / "group_data/all.py"
    settings.write_text(settings.read_text() + BOTH)
    project.slipway("lock", "lab")
    project.slipway("release", "lab", "--yes")
    project.slipway("apply", "lab", "--yes")
    for name in ("auth", "catalog"):
        assert site.get(f"/api/{name}/health").json()["service"] == name
    project.slipway("plan", "lab")


@pytest.mark.thorough
def test_workers_of_a_queue_run_beside_the_api(server: LabHost, tmp_path: Path) -> None:
    project = Project(server, copied("queue", tmp_path))
    site = project.start("queue")
    assert site.post("/sum/2/3").json() == {"sum": 5, "version": "1"}
    wait_until("Celery's beat has sent two tasks", lambda: site.get("/ticks").json() >= 2)
    use_and_release(project, site)
    project.slipway("release", "lab", "--yes")
    # The worker has the release's code, too.
    wait_until("the worker has changed", lambda: site.post("/sum/2/3").json() == {"sum": 5, "version": "2"})
    project.slipway("plan", "lab")


@pytest.mark.thorough
def test_a_frontend_whose_pages_a_server_makes_is_released_with_the_api(server: LabHost, tmp_path: Path) -> None:
    project = Project(server, copied("next-like", tmp_path))
    site = project.start("next")
    page = site.get("/anywhere")
    assert "<title>page 1</title>" in page.text
    # The API's address at build time, and while it runs.
    assert '<a href="https://next.example.org">https://next.' in page.text
    assert site.get("/_next/static/chunks/main.js").text == "1"
    assert site.get("/robots.txt").text == "User-agent: *\n"
    assert site.get("/old").headers["Location"] == f"https://{site.domain}/new"
    found = server.ssh("cd /var/www/next/current/backend; readlink web/node_modules/send; ls -A web")
    assert found.startswith(".pnpm/send/node_modules/send")
    assert ".env" not in found.split()
    environment = server.ssh("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID next-web)/environ")
    assert "API_URL=https://next." in environment
    assert "MONGO" not in environment, "the server of the pages has the database's password"
    listening = server.ssh("ss -Hltn | awk '{print $4}'").split()
    assert [one for one in listening if one.endswith(":3000")] == ["127.0.0.1:3000"]
    use_and_release(project, site, "/api/notes", "/api/health", "/anywhere")
    # Both change in one release, and nobody gets an error meanwhile.
    titles: list[str] = []
    release = project.running("release", "lab", "--yes")
    while release.process.poll() is None:
        answer = site.get("/")
        titles.append(answer.text.partition("<title>")[2].partition("<")[0])
    assert release.end()[0] == 0
    assert titles[0] == "page 1"
    assert "<title>page 2</title>" in site.get("/").text
    assert {*titles} <= {"page 1", "page 2"}
    (project.top / "web/stand-in/server.js").write_text("throw new Error('no pages today')\n")
    failed = project.tried("release", "lab", "--yes")
    assert failed.returncode == 1
    assert "no pages today" in failed.stderr
    assert "<title>page 2</title>" in site.get("/").text
    server.ssh("systemctl stop 'next-web*'")


@contextmanager
def private_index(project: Project, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the package of the project's own from an index with a login, which its list names with an old one."""
    index = PackageIndex(project.top.parent / "index")
    index.add("greeting", "1.0", module="GREETING = 'hello'\n")
    with index.behind_login("deploy", "s3cret", network.of(project.server.lab).gateway) as url:
        with (project.top / "api/requirements.txt").open("a") as file:
            file.write(f"--extra-index-url {url.replace('://', '://old:one@')}\n")
        for name, value in {"USERNAME": "deploy", "PASSWORD": "s3cret"}.items():
            patch.setitem(project.server.env, f"SLIPWAY_SECRET_UV_INDEX_PRIVATE_{name}", value)
        yield


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "health"),
    [
        # uv's workspace with a library of the repository, and SvelteKit.
        ("workspace", {"version": "1", "year": "2026"}),
        # React Router.
        ("pdm-lock", {"version": "1"}),
        # Nuxt, and an index with a login. A registry without an optional package of Vite 8 makes npm write a lock that
        # `npm ci` refuses; hence Vite 7.
        ("private-index", {"version": "1", "greeting": "hello"}),
    ],
)
def test_the_server_of_a_real_framework_makes_pages_from_what_the_api_answers(
    server: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, health: dict[str, str]
) -> None:
    project = Project(server, copied(name, tmp_path))
    web = project.top / "web"
    lock = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund")
    subprocess.run(lock, cwd=web, check=True, capture_output=True)
    if name == "workspace":
        uv.run(["lock"], project.top)
    with private_index(project, monkeypatch) if name == "private-index" else nullcontext():
        site = project.start(name)
    assert site.get("/api/health").json() == health
    first = site.get("/").text
    assert "<h1>page 1</h1>" in first
    script = re.search(r"""["'(]\.?(/[\w./-]+\.js)["')]""", first)
    assert script
    assert ("immutable" in site.get(script[1]).headers["Cache-Control"]) == has_hash(script[1])
    use_and_release(project, site, "/api/notes", "/api/health", "/")
    again = site.get("/").text
    assert "<li>first</li><li>second</li>" in re.sub("<!--.*?-->", "", again)
    project.slipway("rollback", "lab", "--yes")
    assert "<h1>page 2</h1>" in site.get("/").text
    project.slipway("plan", "lab")
    # The next project's server listens on the same port.
    server.ssh(f"systemctl stop '{name}-web*'")


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [1, 2])
def test_an_application_that_does_not_start_is_given_up_soon_and_its_first_apply_resumed(
    server: LabHost, tmp_path: Path, workers: int
) -> None:
    """uvicorn starts its workers again for as long as nobody ends it; alone it ends itself."""
    top = copied("parts", tmp_path)
    with (top / "app/config.py").open("a") as file:
        # Put together, as nobody can tell by reading.
        file.write('TOKEN = os.environ["_".join(("PAYMENT", "KEY"))]\n')
    project = Project(server, top)
    with pytest.raises(AssertionError) as caught:
        project.start(f"late-{workers}", "--set", f"backend_workers={workers}", "--set", "backend_health_seconds=300")
    said = str(caught.value)
    assert f"late-{workers}-backend.service: is crash-looping: KeyError: 'PAYMENT_KEY'" in said
    assert "set PAYMENT_KEY in backend_environment" in said
    assert "is not ready after" not in said
    settings = project.folder / "group_data/all.py"
    settings.write_text(settings.read_text() + "backend_environment['PAYMENT_KEY'] = 'x'\n")
    project.slipway("apply", "lab", "--yes")
    project.slipway("plan", "lab")
    assert server.site(project.domain).get("/health").json() == {"version": "1", "key": "set"}


@pytest.mark.thorough
def test_a_repository_whose_top_is_the_backend_ships_nothing_of_its_developers(server: LabHost, tmp_path: Path) -> None:
    top = copied("whole-repository", tmp_path)
    for own in ("venv/pyvenv.cfg", "venv/lib/x.py", "node_modules/a.js", "data.log"):
        (top / own).parent.mkdir(parents=True, exist_ok=True)
        (top / own).write_text("x")
    (top / ".gitignore").write_text("*.log\n")
    project = Project(server, top)
    (top / ".env").write_text("DATABASE_URL=mongodb://localhost\n")
    site = project.start("whole")
    assert site._request("PUT", f"https://{site.domain}/api/files/a.txt", data=b"a visitor's").status_code == 200
    use_and_release(project, site, "/api/notes", "/api/health", "/")
    shipped = {name for name in site.get("/api/shipped").json() if "__pycache__" not in name}
    assert {"notes/main.py", "requirements.txt", "Procfile"} <= shipped
    assert not {one for one in shipped if one.startswith(("venv", "node_modules", "group_data", ".env"))}
    assert not shipped & {"data.log", "inventory.py", "deploy.py"}
    files = server.ssh("cat /var/www/whole/shared/uploads/a.txt")
    assert files == "a visitor's"


def test_a_list_without_hashes_is_locked_and_deployed(server: LabHost, tmp_path: Path) -> None:
    site = Project(server, copied("plain-requirements", tmp_path)).start("list")
    assert {"fastapi", "uvicorn"} <= site.get("/api/packages").json().keys()
    assert site.post("/api/notes/first").status_code == 200
    assert "first" in site.get("/api/notes").json()


LISTS = (
    *("plain-requirements", "pyproject-alone", "hashed-extras"),
    *("uv-lock", "poetry-lock", "pipfile-lock", "utf16 nested"),
)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_packages_in_any_form_is_found(server: LabHost, tmp_path: Path, name: str) -> None:
    project = Project(server, copied(name, tmp_path))
    site = project.start(name.replace(" ", "-"))
    assert {"fastapi", "uvicorn"} <= site.get("/api/packages").json().keys()
    use_and_release(project, site, "/api/notes", "/api/health")


@pytest.mark.thorough
def test_a_backend_is_run_by_the_python_that_its_project_names(server: LabHost, tmp_path: Path) -> None:
    """By a stand-in for uv's build of it: this machine's own Python, whose hash the host's uv is told. A lab that does
    not reach uv's builds ignores python_version."""
    if not (own := python_builds.here("3.12")):
        pytest.skip("this machine has no Python 3.12")
    project = Project(server, copied("plain-requirements", tmp_path), settings=("python_version=3.12",))
    (project.top / ".python-version").write_text("3.12\n")
    with python_builds.mirror(own, tmp_path / "mirror", network.of(server.lab).gateway) as url:
        server.ssh(f"mkdir /etc/uv; echo 'python-downloads-json-url = \"{url}/builds.json\"' > /etc/uv/uv.toml")
        site = project.start("newer", "--set", f"python_mirror={url}")
        program = server.ssh("readlink /proc/$(systemctl show -P MainPID newer-backend)/exe")
        assert re.fullmatch(r"/usr/lib/slipway/python/cpython-3\.12\.\d+-linux-x86_64-gnu/bin/python3\.12", program)
        use_and_release(project, site, "/api/notes", "/api/health")
        project.slipway("plan", "lab")
    server.ssh("rm -r /etc/uv")
