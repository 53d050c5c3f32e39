"""The documentation as a static site: `make docs`. https://www.sphinx-doc.org/en/master/usage/configuration.html"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.addnodes import pending_xref

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

# The order of the navigation. The build fails on a page that is missing here.
PAGES = [
    "projects",
    "compatibility",
    "inspect",
    "adoption",
    "settings",
    "connection",
    "components",
    "sites",
    "scale",
    "releases",
    "backups",
    "alarms",
    "report",
    "runbooks",
    "secrets",
    "security",
    "certificates",
    "upgrades",
    "upgrade-debian",
    "lab",
    "tests",
    "ci",
    "differences",
    "glossary",
]

project = html_title = "Slipway"
# The source folder is the repository's root: links to any of its files resolve as they do in a checkout.
root_doc = "README"
include_patterns = ["README.md", "docs/*.md"]
exclude_patterns = [".*", "**/node_modules"]  # large, and without pages
extensions = ["myst_parser"]
myst_heading_anchors = 3  # the anchors that GitHub gives to headings

html_theme = "furo"  # ships its styles and scripts: a page loads nothing from the network
html_use_index = html_copy_source = html_show_copyright = False
# Excerpts are fetched from the pages, which browsers refuse to a site that is opened as files.
html_show_search_summary = False


def add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """List the pages at the end of README.md, whose source stays free of Sphinx's directives."""
    if page == root_doc:
        pages = "\n".join(f"/docs/{name}" for name in PAGES)
        source[0] += f"\n```{{toctree}}\n:hidden:\n{pages}\n```\n"


def unlink_folders(app: Sphinx, page: nodes.document) -> None:
    """Replace links to folders by their text: Sphinx copies files that are linked, not folders."""
    for link in list(page.findall(pending_xref)):
        if Path(app.srcdir, link["refdoc"]).parent.joinpath(link["reftarget"]).is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", unlink_folders)
