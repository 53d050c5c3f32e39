"""Masks secrets in command lines and URLs of a host."""

from __future__ import annotations

import re

MASK = "***"
_SECRETIVE = r"(?:pass(?:word|wd|phrase)?|pwd|pw|secret|token|(?:api|access|private|secret)[_-]?key|credentials?|auth)"
_NAME = rf"[\w.-]*{_SECRETIVE}[\w-]*"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\S+)"
_PATTERNS = (
    # The user information of a URL: scheme://user:password@host, scheme://token@host
    (re.compile(r"(?<=://)[^\s/@]*(?:/[^\s@]*)?@(?=[\w.\[-])"), f"{MASK}@"),
    # PGPASSWORD=x, --db-password=x
    (re.compile(rf"(?i)({_NAME}=){_VALUE}"), rf"\1{MASK}"),
    # --db-password x
    (re.compile(rf"(?i)((?<!\S)-{_NAME}\s+)(?!-){_VALUE}"), rf"\1{MASK}"),
    # "password": "x"
    (re.compile(rf"(?i)([\"']{_NAME}[\"']\s*:\s*){_VALUE}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {MASK}"),
    # curl -u user:secret
    (re.compile(r"((?<!\S)-u\s*[\w.@-]+:)\S+"), rf"\1{MASK}"),
    # mysqldump -psecret
    (re.compile(r"(\b(?:mysql|mariadb)\w*\b.*?\s-p)\S+"), rf"\1{MASK}"),
)


def masked(text: str) -> str:
    """`text` with its secrets masked."""
    for pattern, by in _PATTERNS:
        text = pattern.sub(by, text)
    return text
