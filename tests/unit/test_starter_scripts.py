"""Which variables a frontend's scripts read, and which addresses are written in them."""

from __future__ import annotations

import json

import pytest

from support.repositories import APP, notes_of, read, settings_of

API = f"{APP}@app.get('/orders')\ndef orders(): ...\n@app.get('/me')\ndef me(): ...\n"


def package(tool: str, version: str = "1") -> str:
    return json.dumps({"scripts": {"build": "x build"}, "dependencies": {tool: version}})


VITE = {"web/package.json": package("vite"), "web/package-lock.json": "{}", "api/main.py": API}
REACT = {**VITE, "web/package.json": package("react-scripts", "5")}
NEXT = {**VITE, "web/package.json": package("next", "15")}


def given(top, files: dict[str, str], name: str) -> str | None:
    """The value that the build gets for a variable, None for none."""
    found = settings_of(top, files, site_domain="shop.example.org")
    words = f"{found.get('frontend_build', '')} {found.get('backend_build', '')}".split()
    return next((word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}=")), None)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        # Complete addresses: a browser takes a host alone for a relative path.
        ("axios.create({ baseURL: process.env.REACT_APP_API_HOST })", "https://shop.example.org"),
        ("fetchBaseQuery({\n  baseUrl: process.env.REACT_APP_API_HOST,\n})", "https://shop.example.org"),
        ("new ApolloClient({ uri: process.env.REACT_APP_API_HOST })", "https://shop.example.org"),
        ("axios.defaults.baseURL = process.env.REACT_APP_API_HOST;", "https://shop.example.org"),
        ("axios.get(process.env.REACT_APP_API_HOST + '/orders')", "https://shop.example.org"),
        ("const base = process.env.REACT_APP_API_HOST;\nfetch(`${base}/orders`)", "https://shop.example.org"),
        # Hosts after a scheme, also by a constant.
        ("const host = process.env.REACT_APP_API_URL;\nfetch(`https://${host}/orders`)", "shop.example.org"),
        ("const host: string = process.env.REACT_APP_API_URL\nnew WebSocket('wss://' + host + '/w')", "shop.example.org"),
        ("const { REACT_APP_API_URL: host } = process.env;\nfetch(`https://${host}/orders`)", "shop.example.org"),
        ("axios.create({ baseURL: process.env.REACT_APP_API_URL ? `https://${process.env.REACT_APP_API_URL}` : '' })",
         "shop.example.org"),
        ("const a = process.env.REACT_APP_API_HOST;\nconst b = { base: a ? `https://${a}/v1/` : LOCAL };", "shop.example.org"),
        ("connect(process.env.REACT_APP_API_HOST)", "shop.example.org"),
        # A constant of the same name.
        ("const host = process.env.REACT_APP_API_URL;\nfetch(`https://${other.host}/orders`)", "https://shop.example.org"),
    ],
)  # fmt: skip
def test_an_address_gets_a_scheme_where_the_code_writes_none(tmp_path, code, value):
    name = "REACT_APP_API_HOST" if "API_HOST" in code else "REACT_APP_API_URL"
    assert given(tmp_path, {**REACT, "web/src/api.js": code}, name) == value


def test_a_constant_is_followed_to_the_modules_that_import_it(tmp_path):
    files = {
        **VITE,
        "web/src/config.ts": "export const SERVER = import.meta.env.VITE_SERVER_URL;",
        "web/src/api.ts": "import { SERVER } from './config';\nfetch(`https://${SERVER}/orders`)",
        "web/src/other.ts": "export const SOCKET = import.meta.env.VITE_SOCKET_URL;",
        "web/src/unrelated.ts": "const SOCKET = find();\nfetch(`https://${SOCKET}/orders`)",
    }
    assert given(tmp_path, files, "VITE_SERVER_URL") == "shop.example.org"
    assert given(tmp_path, files, "VITE_SOCKET_URL") == "https://shop.example.org"


@pytest.mark.parametrize(
    ("environment", "value"),
    [
        ("environment:\n      VITE_API_HOST: http://localhost:8000/v1", "https://shop.example.org/v1"),
        ("environment:\n      - VITE_API_HOST=http://localhost:8000", "https://shop.example.org"),
        ("environment:\n      - VITE_API_HOST=${API:-http://localhost:8000/v1}", "https://shop.example.org/v1"),
        ("environment:\n      VITE_API_HOST: http://api:8000/v1", "https://shop.example.org/v1"),
        ("build:\n      context: web\n      args:\n        VITE_API_HOST: http://localhost:8000", "https://shop.example.org"),
        ("environment:\n      VITE_API_HOST: localhost:8000", "shop.example.org"),
        # These tell nothing: another site, a name that is given elsewhere, a word.
        ("environment:\n      VITE_API_HOST: https://shop.example.net/v1", "shop.example.org"),
        ("environment:\n      - VITE_API_HOST=${API}", "shop.example.org"),
        ("environment:\n      - VITE_API_HOST", "shop.example.org"),
        ("environment:\n      VITE_API_HOST: api", "shop.example.org"),
        ("environment: 3", "shop.example.org"),
    ],
)  # fmt: skip
def test_a_containers_environment_is_an_example(tmp_path, environment, value):
    files = {
        **VITE,
        "web/src/api.js": "connect(import.meta.env.VITE_API_HOST)",
        "docker-compose.yml": f"services:\n  api:\n    image: x\n  web:\n    {environment}\n",
    }
    assert given(tmp_path, files, "VITE_API_HOST") == value


COMPUTED = {"web/src/config.js": "export const get = (key) => import.meta.env[key]\n"}


@pytest.mark.parametrize(
    ("files", "is_read"),
    [
        ({**COMPUTED, "web/src/api.js": "fetch(get('VITE_API_URL'))"}, True),
        ({"web/src/api.js": "const { VITE_API_URL } = import.meta.env;"}, True),
        ({"web/src/api.js": "const { MODE, VITE_API_URL: url } = import.meta.env;"}, True),
        ({"web/src/api.js": "const env = import.meta.env;\nfetch(env.VITE_API_URL)"}, True),
        # No build reads these.
        ({"web/src/api.js": "fetch(get('VITE_API_URL'))"}, False),
        ({**COMPUTED, "web/src/api.js": "throw Error('VITE_API_URL is missing')"}, False),
        ({"web/src/api.js": "const { VITE_API_URL } = settings;\nconst x = import.meta.env.DEV;"}, False),
        ({"web/src/api.js": "const { VITE_API_URL } = import.meta.env.settings;"}, False),
    ],
)
def test_a_variable_that_is_not_named_at_its_place_is_found(tmp_path, files, is_read):
    assert given(tmp_path, {**VITE, **files}, "VITE_API_URL") == ("https://shop.example.org" if is_read else None)


@pytest.mark.parametrize(
    ("code", "is_reported"),
    [
        ("const { VITE_MAP_KEY } = import.meta.env;", True),
        ("const { VITE_MAP_KEY = 'none' } = import.meta.env;", False),
        ("const { VITE_MAP_KEY: key } = import.meta.env;\nif (key) { f(key) }", False),
        ("const get = (key) => import.meta.env[key];\nf(get('VITE_MAP_KEY'))", True),
        ("const get = (key) => import.meta.env[key];\nf(get('VITE_MAP_KEY') || 'none')", False),
    ],
)
def test_such_a_variable_without_a_value_is_reported(tmp_path, code, is_reported):
    notes = notes_of(tmp_path, {**VITE, "web/src/a.js": code})
    assert ("built without a value: VITE_MAP_KEY" in notes) is is_reported


def test_what_a_script_sets_at_run_time_is_not_the_builds(tmp_path):
    files = {
        **VITE,
        **COMPUTED,
        "web/src/api.js": "fetch(get('VITE_API_URL') + get('VITE_PATH'))",
        "web/public/config.js": "window.SETTINGS = {\n  VITE_API_URL: 'http://localhost:9000/v1',\n  VITE_PATH: '/x',\n}\n",
        "web/public/other.js": "let base = 'http://localhost:9001'\n",
    }
    assert given(tmp_path, files, "VITE_API_URL") is None
    said = notes_of(tmp_path, {})
    assert "web/public/config.js:2: 'http://localhost:9000/v1' is the visitor's own machine; request '/v1'" in said
    assert "built without a value" not in said
    assert "9001" not in said


HOSTED = "https://shop-api.onrender.com"


@pytest.mark.parametrize(
    ("code", "instead"),
    [
        (f"const BASE_URL = '{HOSTED}/';", "request '/'"),
        (f"export const apiUrl: string = `{HOSTED}/v1`", "request '/v1'"),
        (f"export const environment = {{\n  production: true,\n  apiUrl: '{HOSTED}',\n}}", "use '' instead of it"),
        (f"axios.create({{ baseURL: \"{HOSTED}\" }})", "use '' instead of it"),
        (f"axios.defaults.baseURL = '{HOSTED}'", "use '' instead of it"),
        (f"const API = location.hostname === 'localhost' ? 'http://localhost:8000' : '{HOSTED}';", "use '' instead of it"),
        (f"const API_URL = import.meta.env.PROD\n  ? '{HOSTED}'\n  : 'http://localhost:8000'", "use '' instead of it"),
        (f"fetch(`{HOSTED}/orders/${{id}}`)", "request '/orders/'"),
        (f"const url = '{HOSTED}'", "use '' instead of it"),
        ("const API_URL = 'https://api.shop.example.dev/v1'", "request '/v1'"),
        ("const SERVER = 'http://203.0.113.7:8000'", "use '' instead of it"),
        # Of the site itself, of others, and links.
        ("const API_URL = 'https://shop.example.org/v1'", None),
        ("const API_URL = 'https://api.themoviedb.org/3'", None),
        ("const IMAGE_BASE_URL = 'https://pictures.example.dev/'", None),
        ("axios.create({ baseUrl: 'https://dev-1.okta.com' })", None),
        ("const homepage = 'https://shop.example.dev'", None),
        (f"const DEMO_LINK = '{HOSTED}'", None),
        (f'<a href="{HOSTED}">', None),
        ("fetch('https://api.shop.example.dev/v1')", None),
        (f"const API_URL = import.meta.env.VITE_X ? a : '{HOSTED}'", None),
        (f"// const API_URL = '{HOSTED}'", None),
        (f"console.log({{ API_URL: '{HOSTED}' }})", None),
    ],
)  # fmt: skip
def test_an_api_elsewhere_in_the_code_is_reported(tmp_path, code, instead):
    said = notes_of(tmp_path, {**VITE, "web/src/a.tsx": code}, site_domain="shop.example.org")
    lines = [line for line in said.splitlines() if "is not this site; if it is the API" in line]
    assert [line.partition("API, ")[2] for line in lines] == ([instead] if instead else [])


def test_beside_an_address_that_is_known_only_hosting_is_reported(tmp_path):
    code = "fetch(import.meta.env.VITE_API_URL)\nconst WEATHER_API_URL = 'https://weather.example.dev'\n"
    files = {**VITE, "web/src/a.js": f"{code}const OLD_API_URL = '{HOSTED}'\n"}
    said = notes_of(tmp_path, files)
    assert f"web/src/a.js:3: '{HOSTED}' is not this site" in said
    assert "weather" not in said


def test_a_site_without_a_backend_has_its_api_elsewhere(tmp_path):
    files = {"web/package.json": package("vite"), "web/src/a.js": f"const API_URL = '{HOSTED}'"}
    assert "is not this site" not in notes_of(tmp_path, files)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("fetch(`http://${window.location.hostname}:8000/orders`)", "port 8000 of the site is closed for visitors; leave it out"),
        ("const API = location.origin + ':8000';", "port 8000 of the site is closed for visitors; leave it out"),
        ("new WebSocket(`ws://${location.hostname}:8000/w`)", "leave it out, and use wss:"),
        ("new WebSocket('ws://' + window.location.hostname + ':8000/w')", "leave it out, and use wss:"),
        ("const API = location.hostname === 'localhost' ? 'http://localhost:9' : location.origin + ':8000'", "port 8000"),
        ("const { hostname } = window.location;\nnew WebSocket(`wss://${hostname}:8000/w`)", "port 8000 of the site is closed"),
        # The site's own ports, and development.
        ("const API = `https://${location.hostname}:443`", ""),
        ("const API = `${location.protocol}//${location.host}/v1`", ""),
        ("if (import.meta.env.DEV) {\n  API = `http://${location.hostname}:8000`\n}", ""),
        ("if (location.hostname === 'localhost') API = `http://${location.hostname}:8000`", ""),
        ("console.log(`${location.hostname}:8000`)", ""),
    ],
)  # fmt: skip
def test_a_port_of_the_site_is_reported(tmp_path, code, said):
    notes = notes_of(tmp_path, {**VITE, "web/src/a.js": code})
    assert said in notes
    assert bool(said) is ("closed for visitors" in notes)
    assert ("and use wss:" in notes) is ("ws://" in code)


@pytest.mark.parametrize(
    ("files", "paths"),
    [
        ({"web/vite.config.ts": "proxy: { '/api': {\n  target: x,\n  rewrite: (path) =>\n    path.replace(/^\\/api/, ''),\n} }"},
         ["/api/ -> /"]),
        ({"web/vite.config.ts": "proxy: { '/api': {\n  rewrite(path) {\n    return path.replace('/api', '')\n  },\n} }"}, ["/api/ -> /"]),
        ({"web/setupProxy.js": "proxy({ target: x, pathRewrite: {\n  '^/api': '',\n} })"}, ["/api/ -> /"]),
        ({"web/vite.config.ts": "proxy: { '/api': { target: x, rewrite: (path) => path,\n  bypass: () => '/other' } }"}, None),
    ],
)  # fmt: skip
def test_a_rewrite_over_several_lines_is_read(tmp_path, files, paths):
    found = settings_of(tmp_path, {**VITE, **files})["backend_paths"]
    assert found == (paths or ["/me/", "/orders/"])


@pytest.mark.parametrize(
    ("destination", "is_stripped"),
    [
        ("'http://localhost:8000/:path*'", True),
        (
            "\n      process.env.NODE_ENV === 'development'\n        ? 'http://localhost:8000/:path*'\n        : '/api/'",
            True,
        ),
        ("`${process.env.BACKEND_URL}/:path*`,\n      basePath: false", True),
        ("\n        'http://localhost:8000/api/:path*'", False),
        ("'/api/index.py' },\n    { source: '/old/:path*', destination: '/:path*'", False),
    ],
)
def test_a_rewrite_of_nextjs_over_several_lines_is_read(tmp_path, destination, is_stripped):
    config = (
        f"module.exports = {{ rewrites: () => [\n    {{ source: '/api/:path*', destination: {destination} }},\n] }}\n"
    )
    found = read(tmp_path, {**NEXT, "web/next.config.js": config}).project.api
    assert ("/api" in [path for path, _ in found.stripped]) is is_stripped


def test_a_variable_of_a_rewrite_over_several_lines_is_needed(tmp_path):
    config = (
        "module.exports = { rewrites: () => [{\n  source: '/api/:path*',\n"
        "  destination:\n    isLocal\n      ? 'http://localhost:8000/api/:path*'\n"
        "      : `${process.env.BACKEND_URL}/api/:path*`,\n}] };\n"
    )
    assert given(tmp_path, {**NEXT, "web/next.config.js": config}, "BACKEND_URL") == "https://shop.example.org"
