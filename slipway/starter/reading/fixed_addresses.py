"""Finds the addresses of an API that are written in a frontend's code, where no variable changes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from slipway.starter.reading.files import Place, Repository, line_of

LOCAL = re.compile(r"(?:https?|wss?)://(?:localhost|127\.0\.0\.1|0\.0\.0\.0)(?::\d+)?[^\s'\"`<>)]*")
# Constants and variables that are not of the API.
NOT_THE_API = re.compile(
    r"KEY|TOKEN|SECRET|CLIENT_ID|PUBLIC_URL$|VERSION"
    r"|TIMEOUT|GOOGLE|MAPS?_|FACEBOOK|STRIPE|KEYCLOAK|AUTH0|SUPABASE|FIREBASE|SENTRY|CDN|MOCK|GITHUB|S3|BUCKET|CLOUDINARY|LOGO|IMAGE"
)
# Lines with a development address that browsers do not request.
NOT_ASKED = re.compile(r"console\.|\bproxy\b|target\s*:|placeholder|example|data-testid|schema\.org|w3\.org")
# What comes before an address that a variable overrides.
_OVERRIDDEN = re.compile(r"(?:import\.meta\.env|process\.env|\benv\.)[^\n]*(?:\|\||\?)")
_ABSOLUTE = re.compile(r"(?<=['\"`])(?:https?|wss?)://[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:[/?#][^\s'\"`<>$]*)?(?=['\"`$])")
# What an address is assigned to, itself or as one of two; and what it is given to.
_ASSIGNED = re.compile(r"([A-Za-z_$][\w$]*)['\"]?\s*(?::\s*string\s*=|[:=])\s*\(?\s*['\"`]$")
_CHOSEN = re.compile(r"\b([A-Za-z_$][\w$]*)['\"]?\s*(?::\s*string\s*=|[:=])(?!=).*?[^?]\?\s.*['\"`]$", re.DOTALL)
_BY_VARIABLE = re.compile(r"(?:import\.meta\.env|process\.env|\benv)\.(?!(?:PROD|DEV|MODE|NODE_ENV)\b)")
_REQUESTED = re.compile(r"(?:\bfetch|\baxios(?:\.\w+)?|\bnew\s+(?:WebSocket|EventSource)|\bio)\(\s*['\"`]$")
_API_WORDS = {"API", "BASE", "BACKEND", "SERVER", "FASTAPI", "WS", "WEBSOCKET", "SOCKET"}
_ADDRESS_WORDS = {"URL", "URI", "ENDPOINT", "ORIGIN", "HOST", "ROOT", *_API_WORDS}
# Where applications are hosted, which is seldom somebody else's API; and whose APIs are not the site's.
_HOSTING = re.compile(
    r"(^|\.)(onrender\.com|railway\.app|herokuapp\.com|fly\.dev|vercel\.app|netlify\.app|run\.app|azurewebsites\.net"
    r"|azurecontainerapps\.io|ngrok(-free)?\.(io|app|dev)|pythonanywhere\.com|koyeb\.app|cyclic\.app|ondigitalocean\.app"
    r"|(elasticbeanstalk|compute(-1)?\.amazonaws|elb\.amazonaws|awsapprunner)\.com|hf\.space|replit\.(app|dev)|repl\.co)$"
    r"|^\d+\.\d+\.\d+\.\d+$"
)
_OTHERS = re.compile(
    r"google|gstatic|okta|auth0|keycloak|cognito|microsoft|git(hub|lab)|stripe|paypal|openai|anthropic|supabase|firebase"
    r"|sentry|themoviedb|tmdb|openweather|cloudinary|unsplash|cdn|unpkg|facebook|twitter|mapbox|openstreetmap|rapidapi"
    r"|coingecko|pokeapi|spotify|discord|telegram|slack|linkedin|youtube|wikipedia|sanity\.io|contentful|algolia"
    r"|(^|\.)example\.(com|org|net)$"
)
# A port of the site's host: `http://${location.hostname}:8000`, location.origin + ":8000".
_PORT = re.compile(
    r"(?:(wss?|https?)://['\"`]?\s*(?:\+\s*|\$\{)\s*)?(?:\bwindow\.)?\b(?:location\.(?:hostname|host|origin)|hostname)"
    r"\s*(?:\}|\+\s*['\"`]):(?!(?:80|443)\b)(\d{2,5})\b"
)
_IF_DEVELOPED = re.compile(
    r"(?:\.DEV\b|['\"]development['\"]|\bif\s*\([^\n]*\b(?:localhost|127\.0\.0\.1)\b)[^\n]*\n?[^\n]*$"
)
# A file that pages load as it is, with settings for the time they run.
_AT_RUN_TIME = re.compile(r"\b(?:window|self|globalThis)(?:\.\w+|\[['\"]\w+['\"]\])\s*=\s*(?:Object\.freeze\(\s*)?\{")
_MAX_SETTINGS = 20_000


def local(file: str, text: str) -> Iterator[tuple[str, Place]]:
    """The addresses of the developer's machine."""
    for match in LOCAL.finditer(text):
        before, around = _before(text, match.start())
        if NOT_ASKED.search(before) or _OVERRIDDEN.search(text[max(0, match.start() - 200) : match.start()]):
            continue
        if re.search(r"['\"`]\s*$", around) or file.endswith(".html"):
            yield match[0], Place(file, line_of(text, match.start()))


def elsewhere(file: str, text: str, has_other: bool) -> Iterator[tuple[str, Place]]:
    """The addresses of another host that are probably the API's. `has_other`: another address of the API is known, and
    only those of hosting providers count."""
    for match in _ABSOLUTE.finditer(text):
        host = urlsplit(match[0]).hostname or ""
        before, _ = _before(text, match.start())
        is_hosting = bool(_HOSTING.search(host))
        if LOCAL.match(match[0]) or _OTHERS.search(host) or NOT_ASKED.search(before) or (has_other and not is_hosting):
            continue
        around = re.split(r"[,;{}]|\b(?:const|let|var|return)\b", text[max(0, match.start() - 200) : match.start()])[-1]
        assigned = None if _BY_VARIABLE.search(around) else _ASSIGNED.search(around) or _CHOSEN.search(around)
        is_named = assigned and _is_of_api(assigned[1], is_hosting)
        if is_named or (is_hosting and _REQUESTED.search(around)):
            yield match[0], Place(file, line_of(text, match.start()))


def ports(file: str, text: str) -> Iterator[tuple[str, bool, Place]]:
    """The ports of the site's host that are requested, and whether by a plain WebSocket."""
    for match in _PORT.finditer(text):
        before, _ = _before(text, match.start())
        if not NOT_ASKED.search(before) and not _IF_DEVELOPED.search(text, max(0, match.start() - 160), match.start()):
            yield match[2], match[1] == "ws", Place(file, line_of(text, match.start()))


def settings(repository: Repository, folder: str) -> Iterator[str]:
    """The scripts of a frontend that are no part of the build, and set what it reads when it runs."""
    for name in ("public", "static"):
        for file in repository.below(f"{folder}/{name}".lstrip("/")):
            text = (repository.read(file) or "") if file.endswith(".js") else ""
            if len(text) < _MAX_SETTINGS and _AT_RUN_TIME.search(text):
                yield file


def _before(text: str, offset: int) -> tuple[str, str]:
    """The line before an offset, and the end of that."""
    begin = text.rfind("\n", 0, offset) + 1
    return text[begin:offset], text[max(begin, offset - 160) : offset]


def _is_of_api(name: str, is_hosting: bool) -> bool:
    """Whether a constant is the address of the API by its name. `is_hosting`: so is a short one."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\$", "_", name).upper()
    words = [word for word in plain.split("_") if word]
    if not words or NOT_THE_API.search(plain):
        return False
    if plain in ("BASEURL", "APIURL", "APIBASE", "APIBASEURL", "BACKENDURL", "SERVERURL"):
        return True
    is_named = bool(_API_WORDS & {*words}) and words[-1] in _ADDRESS_WORDS
    return is_named or (is_hosting and plain in ("URL", "HOST", "ENDPOINT", "ORIGIN"))
