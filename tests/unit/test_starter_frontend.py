"""Which frontend of a repository is found, how it is built, and where it looks for its API."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.settings import frontend_tool
from support.repositories import APP, notes_of, read, settings_of

TOOLS: dict[str, dict[str, Any]] = {
    "vite": {"devDependencies": {"vite": "6"}},
    "react-scripts": {"dependencies": {"react-scripts": "5"}},
    "@vue/cli-service": {},
    "webpack": {},
    "next": {"dependencies": {"next": "15"}},
    "vue": {"devDependencies": {"@vue/cli-service": "5"}},
    "angular": {"dependencies": {"@angular/core": "19"}},
    "svelte": {"devDependencies": {"@sveltejs/kit": "2", "vite": "6"}},
    "none": {"dependencies": {"lodash": "4"}},
}


def package(tool: str = "vite", **more: Any) -> str:
    return json.dumps({"scripts": {"build": "x build"}, **TOOLS[tool], **more})


def rows(top, files: dict[str, str], **answers: Any) -> dict[str, Any]:
    """The settings that follow, and those that are derived without."""
    found = read(top, {"main.py": APP, **files}, **answers)
    its = found.project.frontend
    source = str(top / its.folder) if its else ""
    derived = {
        "frontend_build": frontend_tool.build_command(source, "local"),
        "frontend_output": frontend_tool.output(source),
        "frontend_assets": frontend_tool.assets(source, its.output),
    } if its else {}  # fmt: skip
    return derived | {one.setting: one.value for one in found.all_found}


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        ({"web/package.json": package()}, "web"),
        ({"package.json": package()}, "."),
        ({"packages/ui/package.json": package(), "packages/api/x.py": ""}, "packages/ui"),
        ({"apps/web/package.json": package(), "package.json": '{"scripts": {"build": "turbo build"}}'}, "apps/web"),
        ({"apps/docs/package.json": package("vue"), "apps/web/package.json": package("vue")}, "apps/web"),
        ({"my app/package.json": package()}, "my app"),
        ({"web/package.json": f"\ufeff{package()}"}, "web"),
        # Whatever builds it.
        ({"web/package.json": package("none")}, "web"),
        ({"Front End/package.json": package("none")}, "Front End"),
        ({"shop-frontend/package.json": package("none")}, "shop-frontend"),
        ({"web_app/index.html": "<html>"}, "web_app"),
        ({"web/package.json": package("none"), "shop/package.json": package()}, "shop"),
        # Pages that need no build.
        ({"frontend/index.html": "<html>"}, "frontend"),
        ({"templates/index.html": "<html>"}, ""),
        # No site.
        ({"lib/package.json": package("none")}, ""),
        ({"package.json": '{"devDependencies": {"prettier": "3"}}'}, ""),
        ({"web/package.json": "{"}, ""),
        ({"node_modules/x/package.json": package()}, ""),
        ({}, ""),
    ],
)
def test_a_frontend_is_found(tmp_path, files, folder):
    assert rows(tmp_path, files)["frontend_source"] == folder


@pytest.mark.parametrize(
    ("files", "output", "assets"),
    [
        ({"package.json": package()}, "dist", "/assets/"),
        ({"package.json": package(), "vite.config.ts": "build: { outDir: './public_html', assetsDir: 'x' }"}, "public_html", "/x/"),
        ({"package.json": package(), "vite.config.js": "// outDir: 'old'\n"}, "dist", "/assets/"),
        ({"package.json": package("react-scripts")}, "build", "/static/"),
        ({"package.json": package("next"), "next.config.js": "module.exports = {output: 'export'}"}, "out", "/_next/static/"),
        ({"package.json": package("next"), "next.config.mjs": "output: 'export', distDir: 'dist'"}, "dist", "/_next/static/"),
        ({"package.json": package("vue"), "vue.config.js": "outputDir: 'build'"}, "build", "/js/"),
        ({"package.json": package("svelte"), "svelte.config.js": "import x from '@sveltejs/adapter-static'"}, "build", "/_app/immutable/"),
        (
            {"package.json": package("angular"), "angular.json": json.dumps({"projects": {"shop": {"architect": {"build": {
                "builder": "@angular-devkit/build-angular:application", "options": {"outputPath": "dist/shop"}}}}}})},
            "dist/shop/browser", "",
        ),
        (
            {"package.json": package("angular"), "angular.json": json.dumps({"projects": {"shop": {"architect": {"build": {
                "builder": "@angular-devkit/build-angular:browser", "options": {"outputPath": "dist/shop"}}}}}})},
            "dist/shop", "",
        ),
    ],
)  # fmt: skip
def test_what_a_build_writes_is_found(tmp_path, files, output, assets):
    found = rows(tmp_path, {f"web/{name}": text for name, text in files.items()})
    assert (found["frontend_output"], found.get("frontend_assets")) == (output, assets)


@pytest.mark.parametrize(
    ("files", "build"),
    [
        ({"web/package-lock.json": "{}"}, "npm ci --no-audit --no-fund && npm run build"),
        ({"web/yarn.lock": "# yarn lockfile v1\n"}, "yarn install --frozen-lockfile && yarn run build"),
        ({"web/yarn.lock": "__metadata:\n  version: 8\n"}, "yarn install --immutable && yarn run build"),
        ({"web/pnpm-lock.yaml": ""}, "pnpm install --frozen-lockfile && pnpm run build"),
        ({"web/bun.lock": ""}, "bun install --frozen-lockfile && bun run build"),
        # That of the workspace.
        ({"pnpm-lock.yaml": "", "pnpm-workspace.yaml": ""}, "pnpm install --frozen-lockfile && pnpm run build"),
        ({}, "npm install --no-audit --no-fund && npm run build"),
    ],
)
def test_the_package_manager_is_found_by_its_lock(tmp_path, files, build):
    assert rows(tmp_path, {"web/package.json": package(), **files})["frontend_build"] == build


def test_of_two_locks_the_one_that_is_named_is_taken(tmp_path):
    files = {"web/package.json": package(packageManager="npm@10"), "web/package-lock.json": "{}", "web/yarn.lock": ""}
    assert rows(tmp_path, files)["frontend_build"].startswith("npm ci")


@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({"src/api.js": "const API = import.meta.env.VITE_API_URL"}, "https://shop.example.org"),
        ({"src/api.js": "const API = import.meta.env.VITE_API_URL || 'http://localhost:8000/api'"}, "https://shop.example.org/api"),
        ({"src/api.ts": "x = import.meta.env['VITE_API_URL'] ?? `http://127.0.0.1:8000`"}, "https://shop.example.org"),
        ({"src/api.js": "import.meta.env.VITE_API_URL", ".env": "VITE_API_URL=http://localhost:8000/api/v1/\n"},
         "https://shop.example.org/api/v1"),
        ({"src/api.js": "import.meta.env.VITE_API_URL", ".env.example": "VITE_API_URL=http://localhost:8000\n"},
         "https://shop.example.org"),
        ({"src/s.js": "new WebSocket(import.meta.env.VITE_API_URL)", ".env": "VITE_API_URL=ws://localhost:8000/ws\n"},
         "wss://shop.example.org/ws"),
        # Nothing is to be set.
        ({"src/api.js": "import.meta.env.VITE_API_URL || '/api'"}, None),
        ({"src/api.js": "import.meta.env.VITE_API_URL", ".env.production": "VITE_API_URL=/api\n"}, None),
        ({"src/api.js": "import.meta.env.VITE_API_URL || 'http://localhost:8000'", ".env.production": "VITE_API_URL=https://x.org\n"},
         None),
        ({"src/api.js": "// import.meta.env.VITE_API_URL"}, None),
        ({"src/api.test.js": "import.meta.env.VITE_API_URL"}, None),
        ({"src/api.js": "import.meta.env.VITE_API_KEY + import.meta.env.MODE + import.meta.env.BASE_URL"}, None),
    ],
)  # fmt: skip
def test_a_build_is_told_where_the_api_is(tmp_path, files, value):
    web = {
        f"web/{name}": text for name, text in {"package.json": package(), "package-lock.json": "{}", **files}.items()
    }
    found = rows(tmp_path, web, site_domain="shop.example.org")["frontend_build"]
    setting = f"VITE_API_URL={value} " if value else ""
    assert found == f"npm ci --no-audit --no-fund && {setting}npm run build"


@pytest.mark.parametrize(
    ("tool", "read_by", "name"),
    [
        ("react-scripts", "process.env.REACT_APP_BACKEND_URL", "REACT_APP_BACKEND_URL"),
        ("vue", "process.env.VUE_APP_API", "VUE_APP_API"),
        ("svelte", "import { PUBLIC_API_URL } from '$env/static/public'", "PUBLIC_API_URL"),
    ],
)
def test_each_tool_has_variables_of_its_own(tmp_path, tool, read_by, name):
    found = rows(tmp_path, {"package.json": package(tool), "src/api.js": read_by}, site_domain="x.example.org")
    assert f"{name}=https://x.example.org" in found["frontend_build"]


@pytest.mark.parametrize(
    ("code", "more", "is_reported"),
    [
        ("const a = import.meta.env.VITE_MAP_KEY;", {}, True),
        ("const a = import.meta.env.VITE_MAP_KEY as string;", {}, True),
        ("f(import.meta.env['VITE_MAP_KEY'])", {"web/.env.example": "VITE_MAP_KEY=x\n"}, True),
        # An address elsewhere, which no file for production has.
        ("fetch(import.meta.env.VITE_PAY_URL)", {"web/.env.example": "VITE_PAY_URL=https://pay.example.org\n"}, True),
        # A file or the code has a value, or it may be missing.
        ("const a = import.meta.env.VITE_MAP_KEY;", {"web/.env.production": "VITE_MAP_KEY=x\n"}, False),
        ("const a = import.meta.env.VITE_MAP_KEY;", {"web/.env": "VITE_MAP_KEY=x\n"}, False),
        ("const a = import.meta.env.VITE_MAP_KEY || 'none';", {}, False),
        ("const a = import.meta.env.VITE_MAP_KEY ?? fallback;", {}, False),
        ("const a = import.meta.env.VITE_DARK === 'true';", {}, False),
        ("if (import.meta.env.VITE_DARK) { g(import.meta.env.VITE_DARK) }", {}, False),
        ("const a = import.meta.env.VITE_API_URL;", {}, False),
        ("const a = import.meta.env.MODE + process.env.NODE_ENV;", {}, False),
    ],
)
def test_a_variable_that_a_build_gets_no_value_for_is_reported(tmp_path, code, more, is_reported):
    notes = notes_of(tmp_path, {"main.py": APP, "web/package.json": package(), "web/src/a.ts": code, **more})
    assert ("built without a value: VITE_" in notes) is is_reported
    if is_reported:
        assert "set them in frontend_build or web/.env.production" in notes


def test_addresses_in_the_code_are_reported(tmp_path):
    files = {
        "main.py": APP,
        "web/package.json": package(),
        "web/src/a.js": "fetch('http://localhost:8000/api/users')\n// fetch('http://localhost:1')\n",
        "web/src/b.js": "const url = import.meta.env.VITE_API_URL || 'http://localhost:8000'\nconsole.log('http://localhost:2')\n",
        "web/src/a.test.js": "fetch('http://localhost:3')\n",
        "web/vite.config.js": "proxy: { '/api': 'http://localhost:4' }\n",
    }
    said = notes_of(tmp_path, files)
    assert (
        "web/src/a.js:1: 'http://localhost:8000/api/users' is the visitor's own machine; request '/api/users'" in said
    )
    assert said.count("visitor's own machine") == 1
    assert "web/src/b.js:1: VITE_API_URL is 'http://localhost:8000'" in said


# What is appended to this command is not Vite's.
OWN_BUILD = '{"scripts": {"build": "vite build && node copy.js"}, "devDependencies": {"vite": "6"}}'


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("build: { outDir: '../static' }", "--outDir dist --emptyOutDir"),
        ("build: { outDir: path.join(a, b) }", "--outDir dist --emptyOutDir"),
        ("base: '/shop/'", "--base /"),
        ("base: '/x/', build: { outDir: '../y' }", "--outDir dist --emptyOutDir --base /"),
    ],
)
def test_a_build_of_vites_goes_where_it_is_served_from(tmp_path, config, options):
    built = package(scripts={"build": "tsc -b && vite build"})
    files = {"vite.config.ts": config, "package.json": built, "package-lock.json": "{}", "main.py": APP}
    found = {one.setting: one.value for one in read(tmp_path / "npm", files).all_found}
    assert found["frontend_build"].endswith(f"npm run build -- {options}")
    assert found.get("frontend_output", "dist") == "dist"
    del files["package-lock.json"]
    files["pnpm-lock.yaml"] = ""
    found = {one.setting: one.value for one in read(tmp_path / "pnpm", files).all_found}
    assert found["frontend_build"].endswith(f"pnpm run build {options}")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"web/package.json": package("next", dependencies={"next": "^16.0.1"})}, "next needs Node.js >=20.9 on the server"),
        ({"web/package.json": package("next"), "web/.nvmrc": "22"}, "next needs Node.js 22 on the server"),
        ({"package.json": package("svelte"), "svelte.config.js": ""}, "@sveltejs/adapter-static with fallback"),
        ({"package.json": OWN_BUILD, "vite.config.js": "base: '/shop/'"}, "base is '/shop/'"),
        ({"package.json": OWN_BUILD, "vite.config.js": "outDir: '../static'"}, "the build is written to '../static'"),
        ({"package.json": package()}, "found no lock file"),
        ({"package.json": OWN_BUILD, "vite.config.js": "outDir: path.join(a, b)"}, "outDir could not be read"),
        ({"web/package.json": package("none")}, "the build's output is unknown"),
        ({"package.json": package(), "bun.lock": ""}, "bun is not installed on this machine"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_reported(tmp_path, files, said, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert said in notes_of(tmp_path, {"main.py": APP, **files})


@pytest.mark.parametrize(
    ("home", "is_below"),
    [
        *(("https://me.example.org/shop", True), ("/ads/", True), ("ads", True)),
        *(("https://me.example.org", False), ("https://me.example.org/", False), ("/", False), (".", False), ("./", False)),
    ],
)  # fmt: skip
def test_a_build_of_create_react_apps_goes_where_it_is_served_from(tmp_path, home, is_below):
    files = {"package.json": package("react-scripts", homepage=home), "package-lock.json": "{}"}
    build = rows(tmp_path, files)["frontend_build"]
    assert build == f"npm ci --no-audit --no-fund && {'PUBLIC_URL=/ ' * is_below}npm run build"


@pytest.mark.parametrize(
    ("tool", "version", "more", "is_old"),
    [
        ("react-scripts", "^4.0.3", {}, True),
        ("react-scripts", "5.0.1", {}, False),
        ("react-scripts", "latest", {}, False),
        ("@vue/cli-service", "~4.5.0", {}, True),
        ("@vue/cli-service", "~5.0.0", {}, False),
        ("webpack", "4.46.0", {}, True),
        ("webpack", "^5.1.0", {}, False),
        # An older Node.js, which has no such option, and a script that has it already.
        ("webpack", "4", {"engines": {"node": "16.x"}}, False),
        ("webpack", "4", {"engines": {"node": ">=14"}}, True),
        ("webpack", "4", {"scripts": {"build": "NODE_OPTIONS=--openssl-legacy-provider webpack"}}, False),
    ],
)
def test_a_build_by_webpack_4_gets_its_hashes(tmp_path, tool, version, more, is_old):
    files = {"package.json": package(tool, dependencies={tool: version}, **more), "package-lock.json": "{}"}
    found = [one for one in read(tmp_path, {"main.py": APP, **files}).all_found if one.setting == "frontend_build"]
    changed = [one for one in found if "NODE_OPTIONS=--openssl-legacy-provider npm run build" in one.value]
    assert bool(changed) is is_old
    assert all("needs MD4 of OpenSSL" in one.where for one in changed)


@pytest.mark.parametrize(
    ("named", "build", "said"),
    [
        ("pnpm@9.1.0", "pnpm install --no-frozen-lockfile && pnpm run build", "run `pnpm install`, and commit pnpm-lock.yaml"),
        ("yarn@4.5.0", "yarn install --no-immutable && yarn run build", "run `yarn install`, and commit yarn.lock"),
    ],
)  # fmt: skip
def test_the_named_package_manager_is_taken_without_a_lock(tmp_path, monkeypatch, named, build, said):
    monkeypatch.setattr("shutil.which", lambda name: None)
    files = {"package.json": package(packageManager=named)}
    assert rows(tmp_path, files)["frontend_build"] == build
    notes = notes_of(tmp_path, {"main.py": APP, **files})
    assert said in notes
    assert f"npm install --global {'@yarnpkg/cli-dist@4.5.0' if 'yarn' in named else named}" in notes


def test_a_page_with_the_path_of_the_backend_is_reported(tmp_path):
    files = {
        "main.py": f"{APP}@app.get('/users')\ndef f(): ...\n",
        "web/package.json": package(),
        "web/src/routes.jsx": '<Route path="/users/:id" /><Route path="/about" />',
    }
    said = notes_of(tmp_path, files)
    assert "web/src/routes.jsx:1: /users is both a page and a path of the backend (main.py:3)" in said
    assert "/about" not in said


def test_what_is_derived_is_not_written(tmp_path):
    files = {"main.py": APP, "web/package.json": package(), "web/package-lock.json": "{}"}
    names = [one.setting for one in read(tmp_path, files).all_found]
    assert not {"frontend_build", "frontend_output", "frontend_assets"} & {*names}


def test_an_api_elsewhere_is_reported_as_it_may_be_this_one(tmp_path):
    files = {
        "main.py": APP,
        "web/package.json": package(),
        "web/src/a.js": "fetch(import.meta.env.VITE_API_URL)",
        "web/.env": "VITE_API_URL=https://preview.example.dev/api\n",
    }
    said = notes_of(tmp_path, files, site_domain="shop.example.org")
    assert "VITE_API_URL is 'https://preview.example.dev/api' (web/.env:1), which is not this site" in said
    assert "VITE_API_URL=https://shop.example.org/api" in said
    files["web/.env"] = "VITE_API_URL=https://shop.example.org/api\n"
    assert "VITE_API_URL" not in notes_of(tmp_path / "same", files, site_domain="shop.example.org")


def test_an_address_in_the_code_is_named_as_visitors_reach_it(tmp_path):
    files = {
        "main.py": APP,
        "web/package.json": package("angular"),
        "web/proxy.conf.json": '{"/api": {"target": "http://localhost:8000", "pathRewrite": {"^/api": ""}}}',
        "web/src/environment.ts": "export const url = 'http://localhost:8000/graphql';",
    }
    assert "request '/api/graphql'" in notes_of(tmp_path, files)


def test_vues_output_beside_the_frontend_is_changed_by_an_option(tmp_path):
    files = {
        "main.py": APP,
        "web/package.json": package("vue", scripts={"build": "vue-cli-service build"}),
        "web/package-lock.json": "{}",
        "web/vue.config.js": "module.exports = { outputDir: '../static' }",
    }
    assert settings_of(tmp_path, files)["frontend_build"].endswith("npm run build -- --dest dist")


def test_a_second_frontend_is_reported(tmp_path):
    files = {
        "main.py": APP,
        **{f"{folder}/package.json": package() for folder in ("Admin-App", "Customer-App", "docs-site")},
    }
    assert settings_of(tmp_path, files)["frontend_source"] == "Customer-App"
    said = notes_of(tmp_path, files)
    assert "Admin-App/package.json:1: another frontend; frontend_source names the one to serve" in said
    assert "docs-site" not in said
    files["ui/package.json"] = package("none")
    assert "ui/package.json" not in notes_of(tmp_path, files), "a library of the site's"
