"""What a frontend's files say about its build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.releases import build_tools
from slipway.settings import frontend_tool as tool
from slipway.settings.check import SettingsError, check
from slipway.settings.node_versions import satisfies


def frontend(folder: Path, package: dict[str, object] | None = None, **files: str) -> str:
    """A frontend with files, by names with __ for a dot; the folder has a space in its name."""
    source = folder / "front end"
    source.mkdir()
    if package is not None:
        # As an editor on Windows may write it.
        (source / "package.json").write_bytes(
            b"\xef\xbb\xbf" + json.dumps(package, indent=1).replace("\n", "\r\n").encode()
        )
    for name, text in files.items():
        (source / name.replace("__", ".")).write_text(text)
    return str(source)


@pytest.mark.parametrize(
    ("files", "package", "command"),
    [
        (["package-lock__json"], {}, "npm ci --no-audit --no-fund && npm run build"),
        (["pnpm-lock__yaml"], {}, "pnpm install --frozen-lockfile && pnpm run build"),
        (["yarn__lock"], {}, "yarn install --frozen-lockfile && yarn run build"),
        (["bun__lockb"], {}, "bun install --frozen-lockfile && bun run build"),
        # One that was left by accident.
        (["package-lock__json", "yarn__lock"], {}, "yarn install --frozen-lockfile && yarn run build"),
        (["pnpm-lock__yaml"], {"packageManager": "pnpm@9.1.0+sha512.abc"}, tool.BUILDS["pnpm"]),
        # A lock of another program than the named one, which does not read it, and none.
        (["package-lock__json"], {"packageManager": "pnpm@9"}, "pnpm install --no-frozen-lockfile && pnpm run build"),
        ([], {"packageManager": "yarn@1.22.22"}, "yarn install && yarn run build"),
        ([], {"packageManager": "yarn@4.5.0"}, "yarn install --no-immutable && yarn run build"),
        ([], {"packageManager": "unknown@1"}, "npm install --no-audit --no-fund && npm run build"),
        ([], {}, "npm install --no-audit --no-fund && npm run build"),
    ],
)  # fmt: skip
def test_packages_are_installed_by_the_program_whose_lock_is_there(tmp_path, files, package, command):
    source = frontend(tmp_path, package, **dict.fromkeys(files, ""))
    assert tool.build_command(source, "local") == command


def test_a_yarn_since_version_2_is_known_by_its_lock(tmp_path):
    source = frontend(tmp_path, {}, yarn__lock='# generated\n\n__metadata:\n  version: 8\n"a@npm:1":\n')
    assert tool.build_command(source, "local") == "yarn install --immutable && yarn run build"


def test_the_lock_of_a_workspace_is_further_up(tmp_path, monkeypatch):
    source = frontend(tmp_path, {})
    (tmp_path / "pnpm-lock.yaml").touch()
    for name in ("inventory.py", "deploy.py"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert tool.build_command(source, "local").startswith("pnpm ")


def test_a_member_of_a_workspace_is_not_built_where_its_lock_is_not(tmp_path, monkeypatch, settings_with):
    source = frontend(tmp_path, {"devDependencies": {"vite": "6"}})
    (tmp_path / "pnpm-lock.yaml").touch()
    for name in ("inventory.py", "deploy.py", "requirements.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    there = {"backend_source": str(tmp_path), "frontend_source": source, "frontend_build_on": "server"}
    (problem,) = build_tools.problems_there(settings_with(**there), "v18.20.4\n", "shop")
    assert problem.startswith(f"frontend_build_on: found the frontend's lock in {tmp_path}/pnpm-lock.yaml, expected")
    settings = settings_with(**there, frontend_build="npm install && npm run build")
    assert build_tools.problems_there(settings, "v18.20.4\n", "shop") == []
    (Path(source) / "package-lock.json").touch()
    assert build_tools.problems_there(settings_with(**there), "v18.20.4\n", "shop") == []


def test_a_server_gets_other_programs_than_npm_by_npm(tmp_path):
    source = frontend(tmp_path, {"packageManager": "pnpm@9.1.0"}, **{"pnpm-lock__yaml": ""})
    assert tool.build_command(source, "server") == (
        "npx --yes pnpm@9.1.0 install --frozen-lockfile && npx --yes pnpm@9.1.0 run build"
    )


@pytest.mark.parametrize(
    ("named", "lock", "package"),
    [
        # The package "yarn" is version 1, which overwrites such a lock.
        ({"packageManager": "yarn@4.5.0+sha512.abc"}, 8, "@yarnpkg/cli-dist@4.5.0"),
        ({}, 12, "@yarnpkg/cli-dist@4"),
        ({}, 9, "@yarnpkg/cli-dist@4.14"),
        ({}, 8, "@yarnpkg/cli-dist@4.13"),
        ({}, 6, "@yarnpkg/cli-dist@3"),
        ({}, 4, "@yarnpkg/cli-dist@2"),
        ({"packageManager": "yarn@1.22.22"}, 8, "@yarnpkg/cli-dist@4.13"),
        ({"packageManager": "yarn@1.22.22"}, None, "yarn@1.22.22"),
        ({}, None, "yarn"),
    ],
)
def test_a_lock_of_yarns_is_read_by_the_version_that_wrote_it(tmp_path, named, lock, package):
    text = f"# generated\n\n__metadata:\n  version: {lock}\n" if lock else "# yarn lockfile v1\n"
    source = frontend(tmp_path, named, yarn__lock=text)
    option = "--immutable" if lock else "--frozen-lockfile"
    assert tool.build_command(source, "server") == (
        f"npx --yes {package} install {option} && npx --yes {package} run build"
    )
    assert tool.manager_of(Path(source)).installation == f"npm install --global {package}"


@pytest.mark.parametrize(("version", "is_refused"), [("1.22.22", True), ("4.5.0", False), ("", False)])
def test_a_lock_of_a_newer_yarn_is_not_given_to_yarn_1(tmp_path, settings_with, monkeypatch, version, is_refused):
    source = frontend(tmp_path, {}, yarn__lock="__metadata:\n  version: 6\n")
    program = tmp_path / "yarn"
    program.write_text(f"#!/bin/sh\npwd >{tmp_path}/asked\necho {version}\n")
    program.chmod(0o755)
    monkeypatch.setattr(build_tools.shutil, "which", lambda name: str(program) if name == "yarn" else None)
    problems = build_tools.problems_here(settings_with(frontend_source=source, frontend_node=""))
    assert bool(problems) is is_refused
    for problem in problems:
        assert problem.startswith(f"frontend_build: found Yarn {version} on this machine, expected 3, as")
        assert "`npm install --global @yarnpkg/cli-dist@3` installs it" in problem
    (tmp_path / "requirements.txt").touch()
    built = settings_with(backend_source=str(tmp_path), backend_build="cd 'front end' && yarn install && yarn build")
    assert bool(build_tools.backend_problems(built)) is is_refused
    # The version that runs there may be another one.
    assert (tmp_path / "asked").read_text().strip() == source


def test_a_missing_yarn_is_installed_as_the_version_of_the_lock(tmp_path, settings_with, monkeypatch):
    source = frontend(tmp_path, {}, yarn__lock="__metadata:\n  version: 8\n")
    monkeypatch.setattr(build_tools.shutil, "which", lambda name: None)
    (problem,) = build_tools.problems_here(settings_with(frontend_source=source, frontend_node=""))
    assert "`npm install --global @yarnpkg/cli-dist@4.13` installs it" in problem


VITE = {"devDependencies": {"vite": "^6.0.0"}}


@pytest.mark.parametrize(
    ("package", "config", "found"),
    [
        (VITE, None, ("dist", "/assets/")),
        ({}, "export default {}", ("dist", "/assets/")),
        (VITE, "export default { build: { outDir: 'build', assetsDir: `static` } }", ("build", "/static/")),
        (VITE, "export default { build: { outDir: './build/' } } // outDir: '../x'", ("build", "/assets/")),
        # What only running it would tell.
        (VITE, "export default { build: { outDir: process.env.OUT } }", ("", "")),
        (VITE, "export default { build: { outDir: '../backend/static' } }", ("", "")),
        ({"dependencies": {"react-scripts": "5.0.1"}}, None, ("build", "/static/")),
        ({"dependencies": {"next": "15.0.0", "react": "19"}}, None, ("out", "/_next/static/")),
        ({"dependencies": {"astro": "5.0.0"}, **VITE}, None, ("dist", "/_astro/")),
        ({"dependencies": {"parcel": "2"}}, None, ("", "")),
    ],
)
def test_where_a_build_leaves_its_files_is_known_by_the_tool_and_its_configuration(tmp_path, package, config, found):
    source = frontend(tmp_path, package, **({"vite__config__ts": config} if config else {}))
    output = tool.output(source)
    assert (output, tool.assets(source, output)) == found


def test_pages_without_a_package_json_are_released_as_they_are(tmp_path, defaults):
    source = frontend(tmp_path, None, index__html="<p>plain")
    own = {name: value for name, value in defaults.items() if not name.startswith("frontend_")}
    settings = check({**own, "frontend_source": source})
    assert (settings.frontend_build, settings.frontend_output, settings.frontend_assets) == ("true", ".", "")


def test_what_the_files_do_not_tell_is_asked_for(tmp_path, defaults):
    own = {name: value for name, value in defaults.items() if not name.startswith("frontend_")}
    with pytest.raises(SettingsError) as caught:
        check({**own, "frontend_source": frontend(tmp_path, {})})
    (problem,) = caught.value.problems
    assert (
        "frontend_output: found '', derived from frontend_source, expected the folder that frontend_build writes in"
        in problem
    )
    assert "set frontend_output, and frontend_assets" in problem


@pytest.mark.parametrize(
    ("files", "engines", "wanted"),
    [
        ({"__nvmrc": "v20.9.0\r\n"}, ">=18", "^v20.9.0"),
        ({"__nvmrc": "lts/iron"}, "", "lts/iron"),
        ({"__node-version": "20"}, "", "20"),
        ({}, ">=18 <23", ">=18 <23"),
        # Nobody can compare with that.
        ({"__nvmrc": "${NODE}"}, "", ""),
        ({}, "", ""),
    ],
)
def test_the_versions_of_node_that_a_frontend_wants_are_read_off_it(tmp_path, files, engines, wanted):
    package = {"engines": {"node": engines}} if engines else {}
    assert tool.node_versions(frontend(tmp_path, package, **files)) == wanted


@pytest.mark.parametrize(
    ("wanted", "fits", "does_not"),
    [
        (">=20", (20, 0, 0), (18, 20, 0)),
        (">=20.19.0", (22, 0, 0), (20, 18, 9)),
        ("^20.19.0 || >=22.12.0", (20, 20, 0), (22, 11, 0)),
        ("20", (20, 99, 1), (21, 0, 0)),
        ("20.x", (20, 1, 0), (19, 9, 9)),
        ("v20.9", (20, 9, 7), (20, 10, 0)),
        ("~20.9.1", (20, 9, 7), (20, 9, 0)),
        (">= 18 < 23", (22, 9, 9), (23, 0, 0)),
        ("18 - 20", (20, 9, 9), (21, 0, 0)),
        ("<=20", (20, 99, 0), (21, 0, 0)),
        (">20", (21, 0, 0), (20, 99, 0)),
        ("lts/iron", (20, 1, 1), (22, 0, 0)),
    ],
)
def test_a_version_fits_what_npm_and_nvm_mean(wanted, fits, does_not):
    assert satisfies(fits, wanted)
    assert not satisfies(does_not, wanted)


@pytest.mark.parametrize("wanted", ["", "*", "lts/*", "node"])
def test_any_version_fits_what_asks_for_none(wanted):
    assert satisfies((4, 0, 0), wanted)


def test_what_is_missing_on_this_machine_is_reported_before_anything_is_built(settings_with, monkeypatch):
    monkeypatch.setattr(build_tools.shutil, "which", lambda name: None if name == "pnpm" else f"/usr/bin/{name}")
    monkeypatch.setattr(build_tools, "_node_here", lambda: "v16.20.0\n")
    settings = settings_with(frontend_build="pnpm install && pnpm run build", frontend_node=">=18")
    missing, wrong = build_tools.problems_here(settings)
    assert missing.startswith(
        "frontend_build: found no pnpm on this machine, which 'pnpm install && pnpm run build' needs"
    )
    assert wrong.startswith("frontend_node: found Node.js 16.20.0 on this machine, expected '>=18'")
    assert build_tools.problems_here(settings_with(frontend_build="make", frontend_node="")) == []
