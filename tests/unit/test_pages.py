"""What built pages load, and what a Content-Security-Policy allows."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from slipway.releases.pages import Load, Page, Policy, hints, nginx_map, problems, with_scripts
from slipway.settings.nginx import CSP

SELF = "default-src 'self'"


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def build(folder: Path, page: str, *files: str) -> str:
    (folder / "index.html").write_bytes(page.encode())
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


# --- What a page has in it


def test_scripts_are_hashed_as_a_browser_reads_them():
    """HTML normalizes line ends to LF, and keeps the rest of a script."""
    page = Page(
        "index.html",
        "<script>\r\n a < b && '</b>&amp;'\r</script><script type=module>import 'x'</script>"
        '<script type="application/json">{"a": 1}</script><script src=/a.js></script><script></script>',
    )
    assert page.scripts == ["\n a < b && '</b>&amp;'\n", "import 'x'", ""]


def test_what_a_page_loads_is_known_by_its_directive_and_origin():
    text = """<base href="/app/"><link rel="preconnect" href="https://pre.example">
    <link rel="shortcut icon" href="/icon.svg"><link rel=stylesheet href=https://fonts.googleapis.com/css2?family=A&B>
    <script src="main.js"></script><img src="data:image/png;base64,AA"><iframe src="//maps.example/x"></iframe>
    <script type="text/template" src="https://no.example/"></script><a href="https://elsewhere.example">x</a>
    <script src="https://shop.example/app/own.js"></script>"""
    assert [(load.directive, load.origin) for load in Page("a/b.html", text, "shop.example").loads] == [
        ("img-src", ""),
        ("style-src", "https://fonts.googleapis.com"),
        ("font-src", "https://fonts.gstatic.com"),
        ("script-src", ""),
        ("img-src", "data:"),
        ("frame-src", "https://maps.example"),
        ("script-src", ""),
    ]


# --- A policy


@pytest.mark.parametrize(
    ("policy", "directive", "url", "allowed"),
    [
        ("", "script-src", "https://a.example/x.js", True),
        (SELF, "script-src", "https://site.invalid/x.js", True),
        (SELF, "script-src", "https://a.example/x.js", False),
        ("script-src a.example", "script-src", "https://a.example/x.js", True),
        ("script-src https://*.a.example", "script-src", "https://cdn.a.example/x.js", True),
        ("script-src https://*.a.example", "script-src", "https://a.example/x.js", False),
        ("script-src http://a.example", "script-src", "https://a.example/x.js", False),
        ("script-src 'none'", "script-src", "https://site.invalid/x.js", False),
        ("script-src-elem https:; script-src 'none'", "script-src", "https://a.example/x.js", True),
        ("default-src 'none'; img-src data:", "img-src", "data:image/png,x", True),
        ("default-src *", "img-src", "data:image/png,x", False),
        ("default-src 'none'; child-src *", "frame-src", "https://a.example/", True),
        ("default-src 'none'", "form-action", "https://a.example/", True),
        ("form-action 'self'", "form-action", "https://a.example/", False),
        ("SCRIPT-SRC 'self'; script-src *", "script-src", "https://a.example/", False),
        ("script-src 'strict-dynamic' 'nonce-x'", "script-src", "https://a.example/", True),
    ],
)
def test_a_policy_allows_what_a_browser_would(policy, directive, url, allowed):
    assert Policy(policy).allows(Load(directive, url)) is allowed


@pytest.mark.parametrize(
    ("policy", "needs"),
    [
        (SELF, True),
        (CSP, True),
        ("", False),
        ("object-src 'none'", False),
        ("script-src 'self' 'unsafe-inline'", False),
        # A hash switches 'unsafe-inline' off: what is not among them is not run.
        ("script-src 'unsafe-inline' 'sha256-abc='", True),
        ("script-src 'none'", False),
    ],
)
def test_scripts_in_a_page_need_their_hashes_where_they_are_not_run_anyway(policy, needs):
    assert Policy(policy).needs_hashes() is needs


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (SELF, "default-src 'self'; script-src 'self' $x"),
        ("default-src 'none'", "default-src 'none'; script-src $x"),
        ("script-src 'self' a.example; img-src *", "script-src 'self' a.example $x; img-src *"),
        ("script-src 'self'; script-src-elem b.example", "script-src 'self'; script-src-elem b.example $x"),
    ],
)
def test_hashes_are_added_to_what_decides_on_scripts(policy, expected):
    assert with_scripts(policy, "$x") == expected


# --- A build


def test_nginx_gets_the_hashes_of_each_page_in_all_releases_under_both_names_of_an_index(tmp_path):
    for name, script in (("1", "one"), ("2", "two")):
        (tmp_path / name / "about").mkdir(parents=True)
        build(tmp_path / name, f"<script>{script}</script>")
        (tmp_path / name / "about/index.html").write_text("<p onclick='go()'>")
        (tmp_path / name / "plain.html").write_text("<script src=/a.js></script>")
    (tmp_path / '1/a"b\\c.html').write_text("<script>odd</script>")
    lines = nginx_map(SELF, [str(tmp_path / "1"), str(tmp_path / "2"), str(tmp_path / "none")]).splitlines()
    both = " ".join(sorted([sha256("one"), sha256("two")]))
    handlers = " ".join(sorted(["'unsafe-hashes'", sha256("go()")]))
    assert lines == [
        f'"/a\\"b\\\\c.html" "{sha256("odd")}";',
        f'"/about/index.html" "{handlers}";',
        f'"/about//index.html" "{handlers}";',
        f'"/index.html" "{both}";',
        f'"//index.html" "{both}";',
    ]
    assert nginx_map("script-src 'unsafe-inline'", [str(tmp_path / "1")]) == ""


def test_the_hashes_of_many_scripts_are_in_several_parameters_that_nginx_can_read(tmp_path):
    folder = build(tmp_path, "".join(f"<script>{number}</script>" for number in range(150)))
    found = dict(line.rstrip(";").split('" "') for line in nginx_map(SELF, [folder]).splitlines())
    assert [*found][:3] == ['"/index.html', '"1/index.html', '"2/index.html']
    # NGX_CONF_BUFFER of Nginx's src/core/ngx_conf_file.c.
    assert max(map(len, found.values())) < 4000
    together = "".join(value.rstrip('"') for key, value in found.items() if "//" not in key)
    assert together == " ".join(sorted(sha256(str(number)) for number in range(150)))


def test_more_scripts_than_a_header_can_allow_are_refused_with_what_to_do(tmp_path):
    folder = build(tmp_path, "".join(f"<script>{number}</script>" for number in range(600)))
    with pytest.raises(
        ValueError, match=r"index.html: found 600 inline scripts .*, expected at most 512, .*keep_releases"
    ):
        nginx_map(SELF, [folder])


def test_pages_that_differ_in_the_case_of_their_names_are_one_for_nginx(tmp_path):
    for name in ("About", "about"):
        (tmp_path / f"{name}.html").write_text(f"<script>{name}</script>")
    both = " ".join(sorted([sha256("About"), sha256("about")]))
    assert nginx_map(SELF, [str(tmp_path)]) == f'"/about.html" "{both}";\n'


def test_a_build_as_it_should_be_has_no_problem(tmp_path):
    page = '<script>x</script><script type="module" src="/assets/a%20b.js"></script><link rel=stylesheet href=./a.css>'
    folder = build(tmp_path, page, "assets/a b.js")
    assert problems(folder, CSP, "/assets/", "shop.example") == []
    assert problems(folder, CSP, "", "shop.example") == []
    assert hints(folder, CSP, "shop.example") == []


def test_a_script_that_the_backend_answers_need_not_be_in_the_build(tmp_path):
    folder = build(tmp_path, '<script src="/api/config.js"></script>')
    assert len(problems(folder, CSP, "", "", ["= /other", "/v1/", "= /api/config"])) == 1
    for location in ("/api/", "= /api/config.js", "/"):
        assert problems(folder, CSP, "", "", [location]) == []


def test_hashed_files_that_lie_elsewhere_are_reported_with_the_place_where_they_are(tmp_path):
    folder = build(tmp_path, '<script src="/assets/main.js"></script>', "assets/main.js")
    (problem,) = problems(folder, CSP, "/static/", "")
    assert problem == (
        "frontend_assets: found '/static/', no files in that folder of the build; the pages load files from /assets/"
    )
    # One that names no such files has none.
    assert problems(build(tmp_path, "<p>plain</p>"), CSP, "/static/", "") == []


BLANK = {
    "a script that is not there": (
        '<script src="/app/main.js">',
        SELF,
        "it loads /app/main.js, which the build lacks",
    ),
    "its own script blocked": (
        '<script src="/main.js"></script>',
        "default-src 'none'",
        "nginx_csp blocks /main.js; expected a policy that allows it, as nginx_csp = \"default-src 'none'; script-src"
        " 'self'\"",
    ),
    "all its scripts from elsewhere": (
        '<script src="https://cdn.example/main.js"></script>',
        SELF,
        "blocks https://cdn.example/main.js; expected a policy that allows it, as nginx_csp = \"default-src 'self';"
        " script-src 'self' https://cdn.example\"",
    ),
    "an inline script": ("<script>go()</script>", "script-src 'none'", "blocks its inline script"),
}


@pytest.mark.parametrize("what", BLANK)
def test_a_page_that_would_be_blank_is_reported_before_anybody_sees_it(tmp_path, what):
    page, policy, told = BLANK[what]
    (problem,) = problems(build(tmp_path, page, "main.js"), policy, "", "")
    assert problem.startswith("index.html would be blank: ")
    assert told in problem


def test_urls_that_a_style_sheet_does_not_load_are_no_loads(tmp_path):
    folder = build(tmp_path, '<script src="/main.js"></script>', "main.js")
    (tmp_path / "main.css").write_text(
        "/*! tailwindcss v3 | MIT License | https://tailwindcss.com */ /* url(https://old.example/a.png)\n*/"
        " a { background: url(\"data:image/svg+xml,%3csvg xmlns='http://www.w3.org/2000/svg'/%3e\") }"
        " b::after { content: 'https://text.example' }"
    )
    assert hints(folder, SELF, "") == []


def test_a_page_that_works_without_a_script_from_elsewhere_is_no_error_but_it_is_reported(tmp_path):
    page = '<script src="/main.js"></script><script src="https://count.example/c.js"></script>'
    folder = build(tmp_path, page, "main.js")
    (tmp_path / "main.css").write_text(
        "@import url('https://fonts.googleapis.com/css'); a { background: url(//pics.example/a.png) }"
        " @font-face { src: url(https://f.example/a.woff2?x) } b { background: url(data:image/png,x) }"
    )
    assert problems(folder, CSP, "", "") == []
    (hint,) = hints(folder, SELF, "")
    assert hint.startswith(
        "nginx_csp blocks what the pages load: https://count.example (script-src), https://f.example (font-src),"
        " https://fonts.googleapis.com (style-src), https://pics.example (img-src). To allow it: nginx_csp = "
    )
    policy = Policy(hint.partition('nginx_csp = "')[2].rstrip('"'))
    assert policy.allows(Load("script-src", "https://count.example/c.js"))
    assert policy.allows(Load("script-src", "https://site.invalid/main.js"))
    assert hints(folder, str(policy), "") == []
