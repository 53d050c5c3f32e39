"""The script that unpacks a release on the host."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from slipway.releases import artifact
from slipway.settings.model import Settings
from slipway.tasks import python_environment, shared
from slipway.tasks.frontend_build import build_there


def unpack_script(
    settings: Settings,
    release: artifact.Release,
    parts: Collection[str],
    whole: Collection[str],
    wanted: python_environment.Environment | None = None,
    is_built: bool = False,
) -> str:
    """A shell script that unpacks the archive on its standard input as a release, complete with its Python environment,
    `wanted` if the backend changes.

    The parts in `whole`, and unchanged files, are hard links to the current release: a release never changes.
    `is_built`: the pages, too, where they are built on the server.
    """
    root = settings.site_root
    steps = [
        # Remove what an interrupted upload has left.
        f"umask 022; rm -rf {root}/releases/*.new; new={root}/releases/{release.id}.new; mkdir $new",
        f"trap {shlex.quote(given_up(root, release.id))} EXIT",
        "base64 -d | tar -xz -C $new --no-same-owner",
        *(f"cp -al {root}/current/{part} $new/{part}" for part in whole),
        f"kept=$new/{artifact.KEPT}; if [ -e $kept ]; then cd {root}/current/.;"
        " xargs -0 cp -l --parents -t $new < $kept; rm $kept; fi",
    ]
    if "backend" in parts:
        steps += shared.link_steps(settings, "$new/backend")
    if wanted:
        steps += [
            *python_environment.script(settings, wanted, "$new/backend"),
            "ln -s $venv $new/backend/.venv",
            f"{wanted.python} -I -m compileall -q $new/backend -x '[.]venv'",
        ]
    if "frontend" in parts and "frontend" not in whole and settings.frontend_build_on == "server" and not is_built:
        steps += build_there(settings)
    if "frontend" in parts and settings.frontend_assets:
        # Open pages request the hashed files of their own release.
        assets = settings.frontend_assets.rstrip("/")
        steps.append(
            f"mkdir -p $new/frontend/assets{assets}; for old in {root}/releases/*/frontend/build{assets}/; do"
            f" if [ -d $old ]; then cp -al --no-clobber $old/. $new/frontend/assets{assets}; fi; done"
        )
    # Sync before the rename: a release with its final name must be complete after a power cut.
    steps += ["sync -f $new", f"mv -T $new {root}/releases/{release.id}"]
    if settings.is_behind and "frontend" in parts:
        # Before another server sends pages of it, this one has its files.
        link = f"{root}/next-assets"
        steps.append(f"ln -sfn releases/{release.id} {link}.new; mv -fT {link}.new {link}")
    return "; ".join(steps)


def given_up(root: str, release_id: str) -> str:
    """The exit trap of a script that fails before the release is complete."""
    live = f'echo "release {release_id} was not activated; $(readlink {root}/current) is still live"'
    return f"[ $? = 0 ] || {{ rm -rf $new; [ ! -e {root}/current ] || {live}; }} >&2"
