"""Kinds of values that several settings take, and what each of them must match."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# A label of a host name, RFC 1035 section 2.3.1 with RFC 1123's leading digit.
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"(?=.{{4,253}}$)({LABEL}\.)+[a-z]([a-z0-9-]*[a-z0-9])?"
A_DOMAIN = 'a host name in lower case with at least one dot, as "example.org"'


def matching(pattern: str, expected: str) -> AfterValidator:
    """A validator for strings: the whole must match `pattern`; `expected` says so in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


Domain = Annotated[str, matching(DOMAIN, A_DOMAIN)]
Port = Annotated[int, Field(ge=1, le=65535)]
EnvName = Annotated[str, matching(r"[A-Z_][A-Z0-9_]*", "an environment variable's name: A-Z, 0-9 and _")]
UrlPath = Annotated[str, matching(r"/[\w./-]*", 'a URL path that begins with "/"')]
HttpUrl = Annotated[str, matching(r"https?://[\w.-]+(:\d+)?(/[\w./-]*)?", "an http(s) URL")]
UserName = Annotated[str, matching(r"[A-Za-z][\w-]{0,62}", "letters, digits, _ and -, a letter first")]
# systemd and Nginx read these lines: a newline or a quote would begin another setting.
PlainLine = Annotated[str, matching(r"[^\x00-\x1f]*", "one line")]
PlainText = Annotated[str, matching(r"[^\x00-\x1f\"\\]*", "one line without quotes or backslashes")]
