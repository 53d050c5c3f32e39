"""Finds the frontend of a repository: its tool, its package manager, and its build's output."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from slipway.settings import frontend_tool, node_versions
from slipway.settings.frontend_tool import NO_BUILD
from slipway.starter.reading import pages_server
from slipway.starter.reading.files import Place, Repository, folder_of, line_of
from slipway.starter.reading.npm_options import without_peers
from slipway.starter.reading.pages_server import PagesServer

_GOOD_FOLDERS = ("frontend", "web", "client", "ui", "webapp", "front", "app", "site", "dashboard", "www")
# Folders that have no site, and those that have a lesser one.
_NO_SITE = re.compile(r"(examples?|docs?|storybook|e2e|emails?)([-_. ].*)?$")
_LESSER = re.compile(r"(website|mobile|admin|landing)([-_. ].*)?$")
_CONFIGS = ("js", "ts", "mjs", "mts", "cjs", "cts")


@dataclass(frozen=True)
class Tool:
    """A build tool: its output folder, the URL path of its hashed files, and the prefix of variables that it puts into
    the build. `marks` are packages that identify it."""

    name: str
    marks: tuple[str, ...]
    output: str
    assets: str
    prefix: str = ""


TOOLS = (
    Tool("next", ("next",), "out", "/_next/static/", "NEXT_PUBLIC_"),
    Tool("nuxt", ("nuxt", "nuxt3"), ".output/public", "/_nuxt/", "NUXT_PUBLIC_"),
    Tool("sveltekit", ("@sveltejs/kit",), "build", "/_app/immutable/", "PUBLIC_"),
    Tool("astro", ("astro",), "dist", "/_astro/", "PUBLIC_"),
    Tool("gatsby", ("gatsby",), "public", "/static/", "GATSBY_"),
    Tool("react-router", ("@react-router/dev", "@remix-run/dev"), "build/client", "/assets/", "VITE_"),
    Tool("angular", ("@angular/core", "ng"), "dist", "", ""),
    Tool("create-react-app", ("react-scripts", "@craco/craco", "react-app-rewired"), "build", "/static/", "REACT_APP_"),
    Tool("vue-cli", ("@vue/cli-service", "vue-cli-service"), "dist", "/js/", "VUE_APP_"),
    Tool("vite", ("vite",), "dist", "/assets/", "VITE_"),
    Tool("parcel", ("parcel",), "dist", "", ""),
    Tool("webpack", ("webpack",), "dist", "", ""),
)


@dataclass
class Frontend:
    """`output` is relative to `folder`, "" if unknown; `assets` is "" if hashed files have no separate folder.
    `problems` say why it can't be served, with the fix. `server` makes the pages, if they are no static files."""

    folder: str
    place: Place
    tool: str
    manager: str
    lock: str
    build: str
    output: str
    assets: str
    prefix: str
    problems: list[str] = field(default_factory=list)
    server: PagesServer | None = None
    # The folder in the repository that the build is configured to write, "" if unknown.
    target: str = ""
    # The command that writes it there.
    own_build: str = ""
    # The package manager as in pages_server.PRODUCTION, the command that installs it, and why the build is another one.
    installer: str = ""
    installation: str = ""
    reasons: list[str] = field(default_factory=list)


def frontends(repository: Repository) -> list[Frontend]:
    """All packages that build a site, most likely first."""
    found = []
    for file in repository.named("package.json"):
        package = _json(repository, file)
        build = package.get("scripts", {}).get("build") if isinstance(package.get("scripts"), dict) else None
        # A workspace's root only builds its members.
        if build and not re.match(
            r"(turbo|lerna|nx|pnpm (-r|--filter|--recursive)|npm run build (-w|--workspace))\b", str(build)
        ):
            found.append((file, package))
    ranked = sorted(found, key=lambda one: _rank(repository, *one))
    built = [_frontend(repository, file, package) for file, package in ranked if _tool(package) or _is_site(file)]
    return built or [*_pages(repository)]


def _is_site(file: str) -> bool:
    """Whether a package is a site by the name of its folder, whatever its tool."""
    return _plain(folder_of(file).rpartition("/")[2]) in _GOOD_FOLDERS


def _plain(name: str) -> str:
    """A folder's name in its usual spelling: "Front End" is "frontend", and so is "shop-frontend"."""
    words = re.split(r"[-_. ]+", name.lower())
    return "frontend" if "frontend" in words else "".join(words)


def _pages(repository: Repository) -> Iterator[Frontend]:
    """Folders of static pages without a build."""
    for file in repository.named("index.html"):
        folder = folder_of(file)
        if _is_site(file) and not repository.has(f"{folder}/__init__.py"):
            yield Frontend(folder, Place(file), "none", "", "", NO_BUILD, ".", "", "")


def _json(repository: Repository, file: str) -> dict[str, Any]:
    try:
        found = json.loads(repository.read(file) or "")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _packages(package: dict[str, Any]) -> set[str]:
    tables = [package.get(name) for name in ("dependencies", "devDependencies", "peerDependencies")]
    return {name for table in tables if isinstance(table, dict) for name in table}


def _tool(package: dict[str, Any]) -> Tool | None:
    # "next" in "next build": in a workspace only the root may list that package.
    names = _packages(package) | {*str(package["scripts"]["build"]).split()}
    return next((tool for tool in TOOLS if names & {*tool.marks}), None)


def is_no_site(folder: str) -> bool:
    """Whether a folder has documentation, examples or the like, by its name."""
    return any(_NO_SITE.match(part.lower()) for part in folder.split("/"))


def _rank(repository: Repository, file: str, package: dict[str, Any]) -> tuple[object, ...]:
    folders = [part.lower() for part in folder_of(file).split("/")]
    tool = _tool(package)
    is_library = "main" in package and "private" not in package
    poor = is_no_site(folder_of(file)) or any(map(_LESSER.match, folders))
    plain = {*map(_plain, folders)}
    good = next((n for n, name in enumerate(_GOOD_FOLDERS) if name in plain), len(_GOOD_FOLDERS))
    return tool is None, poor, is_library, good, len(folders), file


def _frontend(repository: Repository, file: str, package: dict[str, Any]) -> Frontend:
    folder = folder_of(file)
    tool = _tool(package) or Tool("a script of its own", (), "", "")
    manager = frontend_tool.manager_of(repository.top / folder, repository.top)
    lock = posixpath.relpath(manager.lock, repository.top.resolve()) if manager.lock else ""
    text = repository.read(file) or ""
    line = line_of(text, max(text.find('"build"'), 0))
    place = Place(file, line)
    found = Frontend(
        folder, place, tool.name, manager.name, lock, manager.build, tool.output, tool.assets, tool.prefix,
        installer=manager.name if not manager.is_berry else frontend_tool.BERRY * (manager.version[:1] == "4"),
        installation=manager.installation,
    )  # fmt: skip
    if not lock:
        written = next(name for name, its in reversed(frontend_tool.LOCKS.items()) if its == manager.name)
        found.problems.append(f"{file}: found no lock file: run `{manager.name} install`, and commit {written}")
    if reason := _needs_old_openssl(repository, found, package):
        # https://nodejs.org/en/blog/release/v17.0.0
        _with(found, "NODE_OPTIONS=--openssl-legacy-provider", reason)
    if not tool.marks and not frontend_tool.output(str(repository.top / folder)):
        found.problems.append(f"{file}: the build's output is unknown; set frontend_output and frontend_assets")
    if manager.name == "npm" and (where := without_peers(repository, folder)):
        found.build = re.sub(r"^npm (ci|install)\b", r"npm \1 --legacy-peer-deps", found.build)
        found.reasons.append(f"{where}: --legacy-peer-deps")
    own_build = found.build
    _CONFIGURED.get(tool.name, lambda *_: None)(repository, found)
    output = found.output or frontend_tool.output(str(repository.top / folder))
    if not found.target and output:
        found.target = posixpath.normpath(posixpath.join(folder, output))
    found.own_build = own_build
    home = str(package.get("homepage", "")) if tool.name == "create-react-app" else ""
    if urlsplit(home).path.strip("./"):
        _with(found, "PUBLIC_URL=/", f'{file}: "homepage" is {home!r}, but the site is at /')
    if tool.name in ("vite", "webpack", "parcel") and (
        match := re.search(r"--outDir[ =](\S+)|--dist-dir (\S+)", str(package["scripts"]["build"]))
    ):
        found.output = (match[1] or match[2]).strip("'\"./")
    return found


# The first major version of a tool that has webpack 5 (or Vite), by its package.
_WEBPACK_5 = {
    "react-scripts": 5,
    "@vue/cli-service": 5,
    "webpack": 5,
    "next": 11,
    "nuxt": 3,
    "gatsby": 3,
    "@angular/core": 12,
}


def _needs_old_openssl(repository: Repository, found: Frontend, package: dict[str, Any]) -> str:
    """Why the build needs hashes that the OpenSSL of Node.js 17 and newer only has on demand; "" if it does not."""
    if "openssl-legacy-provider" in str(package["scripts"]["build"]):
        return ""
    # An older Node.js does not know the option.
    wanted = frontend_tool.node_versions(str(repository.top / found.folder))
    if wanted and not any(node_versions.satisfies((major, 99, 0), wanted) for major in range(17, 40)):
        return ""
    marks = next((tool.marks for tool in TOOLS if tool.name == found.tool), ())
    for name in marks:
        version = re.search(r"\d+", _version(repository, found, name)) if name in _WEBPACK_5 else None
        if version and int(version[0]) < _WEBPACK_5[name]:
            return f"{found.place.file}: {name} {version[0]} has webpack 4, which needs MD4 of OpenSSL"
    return ""


def _with(found: Frontend, variable: str, reason: str) -> None:
    """The build with a variable, and why."""
    install, _, build = found.build.rpartition(" && ")
    found.build = " && ".join(part for part in (install, f"{variable} {build}") if part)
    found.reasons.append(reason)


# --- Configuration files ----------------------------------------------------------------------------------------------


def _config(repository: Repository, folder: str, *stems: str) -> tuple[str, str]:
    """The text of a tool's configuration file without comments, and its name; ("", "") for none."""
    for stem in stems:
        for suffix in _CONFIGS:
            file = f"{folder}/{stem}.{suffix}" if folder else f"{stem}.{suffix}"
            if repository.has(file):
                return uncommented(repository.read(file) or ""), file
    return "", ""


def uncommented(text: str) -> str:
    """JavaScript without comments; line numbers are kept."""
    without = re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    return re.sub(r"(^|[^:'\"])//[^\n]*", r"\1", without)


def _text_of(text: str, name: str) -> str:
    match = re.search(rf"\b{name}\s*:\s*['\"`]([^'\"`]*)['\"`]", text)
    return match[1] if match else ""


def _outside(found: Frontend, file: str, output: str) -> None:
    """The output folder, which must be below the frontend's."""
    output = output.removeprefix("./").rstrip("/")
    if output.startswith(("../", "/")):
        found.problems.append(
            f"{file}: the build is written to {output!r}: change it to a folder below {found.folder or '.'}"
        )
    elif output:
        found.output = output


def _vite(repository: Repository, found: Frontend) -> None:
    text, file = _config(repository, found.folder, "vite.config")
    output, base = _text_of(text, "outDir"), _text_of(text, "base")
    is_unknown, is_outside = "outDir" in text and not output, output.startswith(("../", "/"))
    if output.startswith("../"):
        found.target = posixpath.normpath(posixpath.join(found.folder, output))
    is_below = base not in ("", "/", "./")
    script = str(_json(repository, found.place.file)["scripts"]["build"])
    if re.search(r"\bvite build[^&|;]*$", script):
        # Command-line options override the file.
        options = ["--outDir dist --emptyOutDir"] * (is_unknown or is_outside) + ["--base /"] * is_below
        if options:
            found.build += f"{' --' if found.manager == 'npm' else ''} {' '.join(options)}"
        if not is_unknown and not is_outside:
            _outside(found, file, output)
    else:
        if is_unknown:
            found.output = ""
            found.problems.append(f"{file}: outDir could not be read; set frontend_output")
        _outside(found, file, output)
        if is_below:
            found.problems.append(f"{file}: base is {base!r}, but the site is at /: remove it")
    if folder := _text_of(text, "assetsDir"):
        found.assets = f"/{folder.strip('/')}/"


def _next(repository: Repository, found: Frontend) -> None:
    text, file = _config(repository, found.folder, "next.config")
    if (output := _text_of(text, "output")) != "export":
        version = _version(repository, found, "next")
        dist = _text_of(text, "distDir").removeprefix("./").rstrip("/") or ".next"
        found.server = pages_server.of_next(version, found.folder, found.lock, output == "standalone", dist)
    if folder := _text_of(text, "distDir"):
        _outside(found, file, folder)
    if base := _text_of(text, "basePath"):
        found.problems.append(f"{file}: basePath is {base!r}, but the site is at /: remove it")


def _sveltekit(repository: Repository, found: Frontend) -> None:
    text, file = _config(repository, found.folder, "svelte.config")
    if "adapter-node" in text and not _text_of(text, "out"):
        command = f"node {pages_server.FOLDER}/build"
        found.server = pages_server.of_packages(
            found.folder, found.lock, found.installer, command, pages_server.OF_SVELTEKIT
        )
    if "adapter-static" not in text and not found.server:
        found.problems.append(
            f'{file}: needs an adapter for this server: @sveltejs/adapter-static with fallback: "index.html", or'
            " @sveltejs/adapter-node, if pages are rendered at request time"
        )
    _outside(found, file, _text_of(text, "pages"))


def _react_router(repository: Repository, found: Frontend) -> None:
    text, file = _config(repository, found.folder, "react-router.config")
    if re.search(r"ssr\s*:\s*false", text):
        return
    for package, program in (("@react-router/serve", "react-router-serve"), ("@remix-run/serve", "remix-serve")):
        if _version(repository, found, package):
            # It looks for the pages' files in the folder that it runs in.
            command = f"env --chdir={pages_server.FOLDER} node_modules/.bin/{program} build/server/index.js"
            found.server = pages_server.of_packages(found.folder, found.lock, found.installer, command)
    if not found.server:
        found.problems.append(
            f"{file or 'react-router.config'}: the build needs a Node.js server: set ssr: false, or list"
            " @react-router/serve and commit package-lock.json, and init writes a service for it"
        )


def _vue_cli(repository: Repository, found: Frontend) -> None:
    text, file = _config(repository, found.folder, "vue.config")
    output = _text_of(text, "outputDir")
    script = str(_json(repository, found.place.file)["scripts"]["build"])
    if output.startswith("../"):
        found.target = posixpath.normpath(posixpath.join(found.folder, output))
    if output.startswith(("../", "/")) and re.search(r"\bvue-cli-service build[^&|;]*$", script):
        # A command-line option overrides the file.
        found.build += f"{' --' if found.manager == 'npm' else ''} --dest dist"
    else:
        _outside(found, file, output)
    if folder := _text_of(text, "assetsDir"):
        found.assets = f"/{folder.strip('/')}/"


def _angular(repository: Repository, found: Frontend) -> None:
    file = f"{found.folder}/angular.json".lstrip("/")
    projects = _json(repository, file).get("projects", {})
    for name, project in projects.items() if isinstance(projects, dict) else ():
        build = (project.get("architect") or project.get("targets") or {}).get("build", {})
        options, builder = build.get("options", {}), str(build.get("builder", ""))
        path = options.get("outputPath", f"dist/{name}")
        base = path.get("base", "dist") if isinstance(path, dict) else path
        # The application builder writes the browser's files into a subfolder.
        inner = path.get("browser", "browser") if isinstance(path, dict) else "browser"
        is_split = builder.endswith(":application")
        _outside(found, file, "/".join(part for part in (str(base), inner if is_split else "") if part))
        return


def _nuxt(repository: Repository, found: Frontend) -> None:
    text, _ = _config(repository, found.folder, "nuxt.config")
    script = str(_json(repository, found.place.file)["scripts"]["build"])
    if not re.search(r"ssr\s*:\s*false", text) and "generate" not in script:
        version = _version(repository, found, "nuxt")
        found.server = pages_server.of_nuxt(version, pages_server.nuxt_variables(text))


def _version(repository: Repository, found: Frontend, package: str) -> str:
    """The version of a package that the frontend lists, "" if it does not."""
    listed = _json(repository, found.place.file)
    tables = [listed.get(name) for name in ("dependencies", "devDependencies")]
    return next((str(table[package]) for table in tables if isinstance(table, dict) and package in table), "")


_CONFIGURED: dict[str, Any] = {
    "vite": _vite,
    "next": _next,
    "sveltekit": _sveltekit,
    "vue-cli": _vue_cli,
    "angular": _angular,
    "nuxt": _nuxt,
    "react-router": _react_router,
}


# --- Sources ----------------------------------------------------------------------------------------------------------


def sources(repository: Repository, folder: str) -> Iterator[str]:
    """The source files of the build."""
    skipped = re.compile(
        r"(\.(test|spec|stories|config|d|bak)\.\w+$)|(^|/)webpack[\w.]*\.dev(elopment)?\.\w+$|setupTests|(^|/)(public|static|mocks?|cypress|scripts|server)/"
    )
    count = 0
    for file in repository.below(folder):
        inner = file.removeprefix(f"{folder}/")
        if re.search(r"\.(jsx?|tsx?|mjs|vue|svelte|astro|html)$", file) and not skipped.search(inner):
            count += 1
            if count > 1500:
                return
            yield file
