"""README.md and docs/, without the site's generator: every link within the repository leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$|^    [^\n]*", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor ("" for none) of each link of a page within the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield page.parent / path if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page: those of one text are numbered."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        number = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", anchor) is not None for anchor in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    for file, anchor in links(page):
        assert file.exists(), f"{page.name} links to {file}, which does not exist"
        assert not anchor or anchor in anchors(file), f"{page.name} links to #{anchor}, which {file.name} does not have"


def test_the_readme_links_to_every_page():
    linked = {file.resolve() for file, _ in links(PROJECT / "README.md")}
    assert [page.name for page in PAGES[1:] if page not in linked] == []
