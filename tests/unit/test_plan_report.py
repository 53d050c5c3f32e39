"""The reports of a plan: JSON with its schema, and the HTML page."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slipway.engine.notes import Diff, Note
from slipway.engine.outcome import Change, Outcome
from slipway.ui.plan_report import MAX_LINES_OPEN, PlanReport, as_html, as_json, report_of, schema
from support import browser

SCHEMA = Path(__file__).resolve().parents[2] / "docs/plan.schema.json"
DIFF = "--- /etc/a\n+++ /etc/a\n@@ -1,2 +1,2 @@\n <b>same</b>\n-old\n+new & improved"
LONG = "--- /etc/long\n+++ /etc/long\n@@ -0,0 +1,99 @@\n" + "\n".join(f"+{'x' * 300}{n}" for n in range(99))
# A phone's browser may widen the window to what has no room in it.
WIDTH = "Math.max(document.documentElement.scrollWidth, innerWidth)"
VIEWPORT = "<meta name=viewport content='width=device-width, initial-scale=1'>"
ROLES = {"one": ["web", "app"], "two": ["db"]}
CHANGES = [
    Change("one", "Configure <Nginx>", [Note("mode 600 -> 644"), Diff(DIFF)], component="nginx"),
    Change("one", "Install secrets", [Note("JWT_SECRET: contents change (secret, not shown)")], component="backend"),
    Change("one", "Reload Nginx", [Note("follows: Configure <Nginx>")], is_reaction=True, component="nginx"),
    Change("one", "Write it at length", [Diff(LONG)], component="backend"),
]


def report(changes=(), failures=None, skipped=()):
    outcome = Outcome(list(changes), list(skipped), operations=40, seconds=1.234, failures=failures or {})
    return report_of("lab", ROLES, outcome)


def test_the_schema_in_the_docs_is_the_one_that_reports_follow():
    assert SCHEMA.read_text() == schema()


def test_every_field_of_the_schema_that_is_no_plain_word_is_described():
    """Lists and objects without a description are of no use to a program's author."""
    definitions = json.loads(schema())["$defs"].values()
    undescribed = [
        name
        for definition in definitions
        for name, field in definition["properties"].items()
        if field.get("type") == "array" and "description" not in field
    ]
    assert undescribed == []


def test_changes_are_by_host_and_component_with_reasons_apart_from_diffs():
    one, two = report(CHANGES, skipped=[("two", "skipped swap: a container")]).hosts
    assert [(part.name, [change.operation for change in part.changes]) for part in one.components] == [
        ("nginx", ["Configure <Nginx>", "Reload Nginx"]),
        ("backend", ["Install secrets", "Write it at length"]),
    ]
    configured, reloaded = one.components[0].changes
    assert (configured.reasons, configured.diffs) == (["mode 600 -> 644"], [DIFF])
    assert (configured.is_reaction, reloaded.is_reaction) == (False, True)
    assert (two.components, two.skipped, two.roles) == ([], ["skipped swap: a container"], ["db"])


@pytest.mark.parametrize(
    ("changes", "failures", "status", "by_host"),
    [
        ([], {}, "in sync", ["in sync", "in sync"]),
        (CHANGES, {}, "pending", ["pending", "in sync"]),
        (CHANGES, {"two": "no route"}, "failed", ["pending", "failed"]),
    ],
)
def test_a_status_is_the_exit_code_in_a_word(changes, failures, status, by_host):
    found = report(changes, failures)
    assert (found.status, [host.status for host in found.hosts]) == (status, by_host)
    assert found.totals.failures == len(failures)
    assert (found.totals.changes, found.totals.reactions) == (len(changes), 1 if changes else 0)


def test_json_says_its_version_and_is_what_was_found():
    found = report(CHANGES, {"two": "no route to host"})
    text = json.loads(as_json(found))
    assert (text["schema_version"], text["environment"], text["seconds"]) == (1, "lab", 1.23)
    assert text["when"].endswith("Z")
    assert set(text) == set(json.loads(schema())["required"])
    assert PlanReport.model_validate(text) == found


def test_a_page_escapes_what_hosts_say_and_asks_for_nothing():
    page = as_html(report(CHANGES, {"two": "<script>alert(1)</script>"}))
    assert "<script" not in page
    assert "Configure &lt;Nginx&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for asset in ("http:", "https:", "url(", "@import", " src="):
        assert asset not in page


def test_a_pages_diffs_are_coloured_and_long_ones_folded():
    page = as_html(report(CHANGES))
    assert '<span class="removed">-old</span><span class="added">+new &amp; improved</span>' in page
    assert LONG.count("\n") > MAX_LINES_OPEN
    assert (page.count("<details open>"), page.count("<details>")) == (1, 1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report in a browser."""
    if not browser.PATH:
        pytest.skip("no headless browser is here; python -m slipway.lab.packages installs one")
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "plan.html"
    file.write_text(
        as_html(report(CHANGES, {"two": f"no route to {'host' * 99}"}, [("one", "skipped swap: a container")]))
    )
    return file


@pytest.mark.parametrize("width", [320, 360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_alone_without_an_error_and_within_its_window(page, file, width, scheme):
    page.open(file, width, scheme)
    assert page.errors() == []
    assert page.requests() == [file.resolve().as_uri()]
    assert page.run(WIDTH) <= width
    text = page.run("document.body.innerText")
    for said in (
        "Plan of lab: failed",
        "Configure <Nginx>",
        "+new & improved",
        "no route to host",
        "(secret, not shown)",
    ):
        assert said in text
    dark = page.run("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(", ")[0]
    assert (int(dark) < 60) is (scheme == "dark")


def test_a_folded_diff_opens_at_a_click(page, file):
    page.open(file, 360)
    assert "x" * 300 not in page.run("document.body.innerText")
    page.run("document.querySelector('details:not([open]) summary').click()")
    assert "x" * 300 in page.run("document.body.innerText")
    assert page.run(WIDTH) == 360


def test_the_browser_would_tell_of_errors_requests_and_overflow(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(f"{VIEWPORT}<img src=no.png><div style='width: 900px'>wide</div><script>nonsense()</script>")
    page.open(bad, 360)
    assert any("nonsense is not defined" in error for error in page.errors())
    assert page.requests()[1:] == [f"file://{os.path.realpath(tmp_path)}/no.png"]
    assert page.run(WIDTH) > 900
