"""Which files of a frontend's build never change: their names contain a hash of their content.

The regular expressions are for a URL path, and for both Nginx (PCRE) and Python. One that is taken for a name without a
hash is only asked for again each time; the other mistake would show a visitor an old picture for a year.
"""

from __future__ import annotations

import re

# Folders whose files are all such: SvelteKit's, Next.js's and Nuxt's, but for the one that says which build is the
# latest, and those that are named by a hash, as Gatsby's.
_FOLDERS = "/(?:_app/immutable|_next/static|_nuxt(?!/builds/)|[0-9a-f]{20,64})/"
# webpack, Parcel, Turbopack: at least 8 hexadecimal digits. Digits alone are a date.
_HEXADECIMAL = "[.-](?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,64}[.][^/]+$"
# Vite, Rollup, esbuild, Astro: 8 characters of base64url. Words are none ("SemiBold", "manifest"), nor words with a
# number ("mobile01"), sizes ("1280x720"), dates, or parts of a name with dashes ("v12-bold"). About one hash in a
# hundred looks like one of these.
_NO_HASH = "(?:[A-Z]?[a-z]+[0-9]*|[A-Z]?[a-z]{2,}[A-Z][a-z]{2,}[0-9]*|[0-9]+x?[0-9]*|[0-9a-z]+[_-][0-9a-z_-]+)"
_BASE64 = f"[.-](?!{_NO_HASH}[.])[0-9A-Za-z_-]{{8}}[.][^/]+$"

PATTERNS = (_FOLDERS, _HEXADECIMAL, _BASE64)


def has_hash(path: str) -> bool:
    """Whether a URL path is that of a file that never changes."""
    return any(re.search(pattern, path) for pattern in PATTERNS)
