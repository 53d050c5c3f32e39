"""The pages of a release are checked before activation, and their inline scripts are allowed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from slipway.settings.model import Settings
from slipway.tasks.release_steps import FOLDER, scripts_are_recorded
from support.release_model import Killed, Model
from support.release_tree import Tree

NGINX = "nginx.service"


@pytest.fixture
def model(settings_with: Callable[..., Settings]) -> Model:
    """A host where release 1 is live and release 2 is shipped."""
    model = Model.serving(settings_with(), "1", "2")
    model.active[NGINX] = ""
    return model


def reloads(model: Model) -> int:
    return model.told.count(f"reload {NGINX}")


def test_pages_that_would_be_blank_discard_the_release_before_it_starts(model):
    model.pages_wrong = "index.html would be blank"
    assert not model.step("pages", "2", "discard")
    assert "index.html would be blank" in model.error()
    assert model.errors[-1] == "release 2 was not activated; releases/1 is still live"
    assert (model.releases(), reloads(model)) == (["1"], 0)


def test_nginx_is_reloaded_before_the_switch_and_only_where_scripts_are_new(model):
    assert model.step("pages", "2", "discard")
    allowed = model.read(f"{model.facts.root}/csp.conf")
    # Also those of the release that may be rolled back to.
    assert all(f"releases/{release}/frontend/build" in allowed for release in ("1", "2"))
    assert reloads(model) == 1
    assert model.step("scripts_allowed")
    assert model.step("pages", "2", "discard")
    assert reloads(model) == 1


def test_what_nginx_cannot_read_discards_the_release_and_nginx_can_start_again(model):
    assert model.step("allow_scripts")
    file = f"{model.facts.root}/csp.conf"
    before = model.read(file)
    # The second time with the same scripts.
    for is_broken in (True, True, False):
        model.files[f"{model.facts.root}/releases/3/frontend/index.html"] = "3"
        model.active[NGINX], model.broken = "", {NGINX} if is_broken else set()
        assert model.step("pages", "3", "discard") is not is_broken
        if is_broken:
            assert f"{NGINX}: failed to reload" in model.error()
            assert model.errors[-1] == "release 3 was not activated; releases/1 is still live"
            assert (model.read(file), model.releases()) == (before, ["1", "2"])
    assert reloads(model) == 4


@pytest.mark.parametrize("kill_at", range(1, 5))
def test_nginx_has_read_the_scripts_whenever_the_release_was_interrupted(model, kill_at):
    with suppress(Killed):
        model.step("pages", "2", "discard", kill_at=kill_at)
    told = [*model.told]
    assert model.step("pages", "2", "discard")
    recorded = f"{model.facts.csp}\n{model.read(f'{model.facts.root}/csp.conf')}"
    assert model.read(f"{model.facts.root}/csp.checked") == recorded
    assert reloads(model) > told.count(f"reload {NGINX}") or kill_at > 3


def test_scripts_that_are_too_many_in_all_releases_are_those_of_the_kept_ones(model):
    model.facts = model.facts._replace(keep_releases=1)
    model.files |= {f"{model.facts.root}/releases/{name}/frontend/index.html": name for name in ("0", "3")}
    read = model.script_sources

    def few(builds, facts):
        if len(builds) > 2:
            raise ValueError("too many")
        return read(builds, facts)

    model.script_sources = few
    assert model.step("pages", "3", "discard")
    allowed = model.read(f"{model.facts.root}/csp.conf")
    assert [name for name in "0123" if f"releases/{name}/" in allowed] == ["1", "3"]
    model.facts = model.facts._replace(keep_releases=3)
    assert not model.step("pages", "3", "discard")
    assert "too many" in model.errors
    assert "3" not in model.releases()


def test_a_host_whose_nginx_does_not_run_yet_is_not_reloaded(model):
    del model.active[NGINX]
    assert not model.step("scripts_allowed")
    assert model.step("allow_scripts")
    assert reloads(model) == 0
    assert model.step("scripts_allowed")


@pytest.fixture
def tree(settings_with: Callable[..., Settings]) -> Iterator[Tree]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        yield Tree(Path(folder), settings_with())


def test_the_program_reads_pages_as_they_are_on_the_host(tree):
    tree.add("1", "2")
    tree.lead(current="1")
    for name in ("1", "2"):
        page = "<script>same()</script><link rel=stylesheet href=https://fonts.example/f.css>"
        (tree.root / f"releases/{name}/frontend/build/index.html").write_text(page)
    assert tree.step("scripts_allowed").returncode == 1
    assert tree.step("pages", "2", "discard").returncode == 0
    assert tree.step("scripts_allowed").returncode == 0
    assert (tree.root / "csp.conf").read_text().startswith('"/index.html" "\'sha256-')
    assert "https://fonts.example (style-src)" in tree.step("hints", "2").stdout
    (tree.root / "releases/2/frontend/build/index.html").write_text("<script src=/gone.js></script>")
    done = tree.step("pages", "2", "discard")
    assert (done.returncode, tree.there()) == (1, ["1"])
    assert "index.html would be blank: it loads /gone.js, which the build lacks" in done.stderr


@pytest.fixture
def recorded(tree) -> Callable[[], bool]:
    """Whether a plan is spared the reading of two releases' pages: one has an inline script, both have a backend."""
    tree.add("1", "2", environment="e")
    tree.lead(current="1")
    (tree.root / "releases/2/frontend/build/index.html").write_text("<script>one()</script>")

    def is_recorded() -> bool:
        return tree.sh(scripts_are_recorded(tree.settings).replace(FOLDER, f"{tree.folder}/lib")).returncode == 0

    assert not is_recorded()
    assert tree.step("pages", "2", "discard").returncode == 0
    assert is_recorded()
    return is_recorded


@pytest.mark.parametrize(
    "change",
    [
        "echo >> csp.conf",
        "rm csp.conf",
        "touch -d 2020-01-01 releases/2/frontend/build/index.html",
        "rm releases/2/frontend/build/index.html",
        "echo '<script>two()</script>' > releases/1/frontend/build/two.html",
        "ln -s /etc/hostname releases/1/frontend/build/two.html",
        "rm -r releases/1",
        "rm csp.checked",
    ],
)
def test_pages_are_read_again_after_a_change_of_them_or_of_what_is_allowed(tree, recorded, change):
    time.sleep(0.02)  # the kernel's clock for files has ticks
    assert tree.sh(f"cd {tree.settings.site_root} && {change}").returncode == 0
    assert not recorded()
    assert tree.step("pages", "2", "discard").returncode == 0
    assert recorded() or "ln -s" in change


def test_pages_are_read_again_under_another_policy(tree, recorded, settings_with):
    tree.settings = settings_with(nginx_csp="script-src 'none'")
    assert not recorded()


def test_what_a_backend_writes_does_not_matter_and_a_removed_release_is_not_pending(tree, recorded):
    time.sleep(0.02)
    (tree.root / "releases/2/backend/page.html").write_text("<script>three()</script>")
    assert recorded()
    tree.lead(previous="1")
    (tree.root / "releases/2").rename(tree.root / "releases/0")
    tree.settings = tree.settings.model_copy(update={"keep_releases": 1})
    assert tree.step("prune").returncode == 0
    assert tree.there() == ["1"]
    assert recorded()
    assert tree.step("scripts_allowed").returncode == 0
